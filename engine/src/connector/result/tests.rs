use std::sync::Mutex;

use expect_test::{Expect, expect};
use tidemill_plans::change::{ChangeOp, change_array, with_change_column};
use tidemill_plans::connector::RESULT_CONNECTOR;
use tidemill_plans::node::SortColumn;

use super::*;
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
    }
}

fn by(column: usize, descending: bool, nulls_first: bool) -> SortColumn {
    SortColumn { column, descending, nulls_first }
}

/// Rows of `k:text v:int`, batches parted by `---`; with a change in front where `changes` says so.
/// What a session sees has a dot behind each batch, and `finish` where the input ended.
fn check(node: &SinkNode, changes: bool, rows: &str, expected: Expect) {
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
        sink.write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
    }
    session.0.lock().unwrap().push_str("finish\n");
    sink.finish().unwrap();
    expected.assert_eq(&session.0.lock().unwrap());
}

#[test]
fn appended_rows_go_at_once_up_to_the_limit() {
    check(
        &node(),
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
        &SinkNode { limit: Some(2), ..node() },
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
        &SinkNode { limit: Some(0), ..node() },
        false,
        "b 2",
        expect![[r#"
        finish
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
