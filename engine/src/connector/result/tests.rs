//! What a session sees of a stream: rows as they come, or the rows that are left at the end, in order.

use std::sync::Mutex;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use expect_test::{Expect, expect};
use tidemill_plans::ErrorDomain;
use tidemill_plans::change::{ChangeOp, change_array, with_change_column};
use tidemill_plans::connector::RESULT_CONNECTOR;
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::SortColumn;

use super::*;
use crate::state::Snapshot;
use crate::testing::graph::schema;
use crate::testing::{parse_rows, show_rows, test_env};

/// Keeps what a session would see.
#[derive(Default)]
struct Session(Mutex<String>);

impl ResultPort for Session {
    fn send(&self, _operator: OperatorId, batch: &RecordBatch) -> Result<()> {
        self.0.lock().unwrap().push_str(&format!("{}.\n", show_rows(batch)?));
        Ok(())
    }
}

fn node() -> SinkNode {
    SinkNode {
        table: String::from("result"),
        connector: RESULT_CONNECTOR.to_owned(),
        options: vec![],
        time: None,
        upsert_keys: vec![],
        order_by: vec![],
        limit: None,
        live: false,
    }
}

/// Rows that the sink's operator has put in event-time order.
fn timed() -> SinkNode {
    SinkNode { time: Some(1), ..node() }
}

fn by(column: usize, descending: bool, nulls_first: bool) -> SortColumn {
    SortColumn { column, descending, nulls_first }
}

/// Rows of `k:text v:int`, batches parted by `---`; with a change in front where `changes` says so.
/// What a session sees has a dot behind each batch, and `finish` where the input ended.
fn check(node: &SinkNode, changes: bool, rows: &str, expected: Expect) {
    expected.assert_eq(&results(node, changes, rows).unwrap());
}

/// What a session sees of these rows, or why there is no result.
fn results(node: &SinkNode, changes: bool, rows: &str) -> Result<String> {
    let plain = schema("k:text v:int");
    let schema = if changes { with_change_column(&plain) } else { Arc::clone(&plain) };
    let session = Arc::new(Session::default());
    let results: Arc<dyn ResultPort> = Arc::<Session>::clone(&session);
    let env = TaskEnv { results, ..test_env().unwrap() };
    let mut sink = ResultSink::new(node, OperatorId(0), &env, Arc::clone(&schema));
    for part in rows.split("---") {
        let (mut ops, mut text) = (Vec::new(), String::new());
        for line in part.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (op, row) = if changes { line.split_once(' ').unwrap() } else { ("+I", line) };
            let all = [ChangeOp::Insert, ChangeOp::UpdateBefore, ChangeOp::UpdateAfter, ChangeOp::Delete];
            ops.extend(all.into_iter().find(|known| known.to_string() == op));
            text.push_str(&format!("{row}\n"));
        }
        let mut columns = parse_rows(&plain, &text).unwrap().columns().to_vec();
        columns.extend(changes.then(|| change_array(&ops)));
        sink = restored(&mut sink, node, &env, &schema)?;
        sink.write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap())?;
    }
    session.0.lock().unwrap().push_str("finish\n");
    sink.finish()?;
    let seen = session.0.lock().unwrap().clone();
    Ok(seen)
}

/// The sink as it goes on from a checkpoint.
fn restored(sink: &mut ResultSink, node: &SinkNode, env: &TaskEnv, schema: &SchemaRef) -> Result<ResultSink> {
    let mut snapshot = Snapshot::default();
    sink.snapshot(&mut snapshot.writer(Epoch(1)))?;
    let mut restored = ResultSink::new(node, OperatorId(0), env, Arc::clone(schema));
    restored.restore(&StateReader::new(&[snapshot], 0, 1))?;
    assert_eq!(restored.state_bytes() > 0, sink.state_bytes() > 0);
    Ok(restored)
}

#[test]
fn rows_that_nobody_waits_for_go_together_and_a_limit_is_not_waited_for() {
    let gathers = vec![(String::from(GATHERS_OPTION), String::from("true"))];
    let node = SinkNode { live: true, options: gathers, ..node() };
    let rows = "b 2\na 1 --- c 3";
    check(
        &node,
        false,
        rows,
        expect![[r#"
        finish
        b 2
        a 1
        c 3
        .
    "#]],
    );
    check(
        &SinkNode { limit: Some(1), ..node },
        false,
        rows,
        expect![[r#"
        b 2
        .
        finish
    "#]],
    );
}

#[test]
fn rows_in_event_time_order_go_at_once_up_to_the_limit() {
    check(
        &timed(),
        false,
        "b 2\na 1 --- c 3",
        expect![[r#"
        b 2
        a 1
        .
        c 3
        .
        finish
    "#]],
    );
    check(
        &SinkNode { limit: Some(2), ..timed() },
        false,
        "b 2 --- a 1\nc 3 --- d 4",
        expect![[r#"
        b 2
        .
        a 1
        .
        finish
    "#]],
    );
    check(
        &SinkNode { limit: Some(0), ..timed() },
        false,
        "b 2",
        expect![[r#"
        finish
    "#]],
    );
}

#[test]
fn rows_without_time_or_order_are_ordered_by_all_columns_before_the_limit() {
    let node = |limit| SinkNode { limit, ..node() };
    check(
        &node(None),
        false,
        "b 2\na 3 --- a 1\n- 9\nb -",
        expect![[r#"
        finish
        - 9
        a 1
        a 3
        b -
        b 2
        .
    "#]],
    );
    check(
        &node(Some(2)),
        false,
        "b 2\na 3 --- a 1\nb -",
        expect![[r#"
        finish
        a 1
        a 3
        .
    "#]],
    );
}

#[test]
fn with_keys_a_row_replaces_the_one_of_its_key() {
    let node = SinkNode { upsert_keys: vec![0], ..node() };
    check(
        &node,
        true,
        "+I a 1\n+I b 2\n-U a 1\n+U a 5 --- +I c 3\n-D b 2",
        expect![[r#"
        finish
        a 5
        c 3
        .
    "#]],
    );
}

#[test]
fn without_keys_a_change_takes_away_one_equal_row() {
    check(
        &node(),
        true,
        "+I a 1\n+I a 1\n+I a 1\n-D a 1\n+I - -\n-U - -\n+U - 3",
        expect![[r#"
        finish
        - 3
        a 1
        a 1
        .
    "#]],
    );
}

#[test]
fn order_by_sorts_with_nulls_where_they_belong_and_ties_by_all_columns() {
    let rows = "a 1\nb -\n- 2 --- c 2\nb 2\na 3";
    let order = |order_by| SinkNode { order_by, ..node() };
    check(
        &order(vec![by(1, false, false)]),
        false,
        rows,
        expect![[r#"
        finish
        a 1
        - 2
        b 2
        c 2
        a 3
        b -
        .
    "#]],
    );
    check(
        &order(vec![by(1, true, true)]),
        false,
        rows,
        expect![[r#"
        finish
        b -
        a 3
        - 2
        b 2
        c 2
        a 1
        .
    "#]],
    );
    check(
        &order(vec![by(1, true, false), by(0, true, true)]),
        false,
        rows,
        expect![[r#"
        finish
        a 3
        - 2
        c 2
        b 2
        a 1
        b -
        .
    "#]],
    );
    check(
        &SinkNode { limit: Some(2), ..order(vec![by(0, true, false)]) },
        false,
        rows,
        expect![[r#"
        finish
        c 2
        b -
        .
    "#]],
    );
}

#[test]
fn many_ties_keep_their_order() {
    let rows: String = (0..100).rev().map(|i| format!("k{:02} {}\n", i, i / 50)).collect();
    let node = SinkNode { order_by: vec![by(1, true, false)], limit: Some(3), ..node() };
    check(
        &node,
        false,
        &rows,
        expect![[r#"
        finish
        k50 1
        k51 1
        k52 1
        .
    "#]],
    );
}

#[test]
fn an_ordered_changelog_is_merged_first() {
    let node = SinkNode { upsert_keys: vec![0], order_by: vec![by(1, true, false)], limit: Some(2), ..node() };
    check(
        &node,
        true,
        "+I a 9\n+I b 2\n+I c 3\n-U a 9\n+U a 1",
        expect![[r#"
        finish
        c 3
        b 2
        .
    "#]],
    );
}

#[test]
fn nothing_is_nothing() {
    check(
        &node(),
        true,
        "",
        expect![[r#"
        finish
    "#]],
    );
    check(
        &SinkNode { order_by: vec![by(0, false, false)], ..node() },
        false,
        "",
        expect![[r#"
        finish
    "#]],
    );
}

#[test]
fn a_row_may_be_taken_away_before_it_comes() {
    // Of a single count and many tasks' rows, UNION ALL may mix up the order: only sums matter.
    check(
        &node(),
        true,
        "-U a 1\n+U a 2 --- +I a 1\n+I b 1",
        expect![[r#"
        finish
        a 2
        b 1
        .
    "#]],
    );
}

#[test]
fn a_row_that_is_taken_away_and_never_came_is_an_error() {
    let check = |node: &SinkNode, rows: &str, row: &str| {
        let error = results(node, true, rows).unwrap_err();
        let expected = format!(
            "a change takes away a row that is not there: {row}; a source of changes lacks some, or this is a \
             bug in Tidemill"
        );
        assert_eq!((error.to_string(), error.domain()), (expected, ErrorDomain::Internal));
    };
    check(&node(), "+I a 1\n-D a 2", "k=a, v=2");
    check(&node(), "+I a 1\n-D a 1\n-D a 1", "k=a, v=1");
    check(&SinkNode { upsert_keys: vec![0], ..node() }, "+I a 1\n-U b 2\n+U b 3", "k=b, v=2");
    check(&SinkNode { upsert_keys: vec![0], ..node() }, "+I a 1\n-D a 1\n-D a 1", "k=a, v=1");
}

/// A sink of `k:text v:int`, and what its session sees.
fn sink(node: &SinkNode, changes: bool) -> (ResultSink, SchemaRef, Arc<Session>) {
    let plain = schema("k:text v:int");
    let schema = if changes { with_change_column(&plain) } else { plain };
    let session = Arc::new(Session::default());
    let results: Arc<dyn ResultPort> = Arc::<Session>::clone(&session);
    let env = TaskEnv { results, ..test_env().unwrap() };
    (ResultSink::new(node, OperatorId(0), &env, Arc::clone(&schema)), schema, session)
}

#[test]
fn what_is_held_of_a_changelog_is_what_is_left_of_it() {
    for upsert_keys in [vec![0], vec![]] {
        let (mut sink, schema, session) = sink(&SinkNode { upsert_keys, ..node() }, true);
        let keys: Vec<String> = (0..10).map(|key| format!("k{key}")).collect();
        let mut most = 0;
        for round in 0..2000 {
            let (mut k, mut v, mut ops) = (Vec::new(), Vec::new(), Vec::new());
            for key in &keys {
                if round > 0 {
                    k.push(key.as_str());
                    v.push(round - 1);
                    ops.push(ChangeOp::UpdateBefore);
                }
                k.push(key.as_str());
                v.push(round);
                ops.push(if round > 0 { ChangeOp::UpdateAfter } else { ChangeOp::Insert });
            }
            let columns: Vec<ArrayRef> =
                vec![Arc::new(StringArray::from(k)), Arc::new(Int64Array::from(v)), change_array(&ops)];
            sink.write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
            most = most.max(sink.state_bytes());
        }
        assert!(most > 0 && most < 1 << 19, "{most} bytes held of 40000 changes to 10 rows");
        sink.finish().unwrap();
        let expected: String = keys.iter().map(|key| format!("{key} 1999\n")).collect();
        assert_eq!(*session.0.lock().unwrap(), format!("{expected}.\n"));
        assert_eq!(sink.state_bytes(), 0);
    }
}

#[test]
fn of_appended_rows_only_those_within_the_limit_are_held() {
    let limited = SinkNode { limit: Some(3), order_by: vec![by(1, true, false)], ..node() };
    let (mut sink, schema, session) = sink(&limited, false);
    let mut most = 0;
    for value in 0..2000 {
        let keys = StringArray::from(vec!["k"; 20]);
        let values: Int64Array = (0..20).map(|row| Some(value * 20 + row)).collect();
        sink.write(&RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(keys), Arc::new(values)]).unwrap())
            .unwrap();
        most = most.max(sink.state_bytes());
    }
    assert!(most > 0 && most < 1 << 19, "{most} bytes held for 3 of 40000 rows");
    sink.finish().unwrap();
    assert_eq!(*session.0.lock().unwrap(), "k 39999\nk 39998\nk 39997\n.\n");
}
