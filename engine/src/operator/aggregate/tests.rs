//! Updating aggregates by hand: what is emitted when, and that its bits do not depend on cuts.

mod spilling;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{Expr, ExprFunctionExt, cast, col, lit};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::change::with_change_column;
use tidemill_plans::functions;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{call, cases, exprs, graph, harness, schema};
use crate::testing::rescale::check_rescaled;

/// `sum(v)` and `count(v)` by `k`, in event-time order.
fn by_key(emit: AggregateEmit) -> OperatorHarness {
    let input = schema("k:text v:int t:time");
    let output = with_change_column(&schema("k:text sum:int count:int"));
    let aggregates = exprs([call("sum", "v"), call("count", "v")]);
    let node = AggregateNode { keys: vec![0], time: Some(2), aggregates, emit, gather_ms: None, ttl: None };
    harness(NodeKind::Aggregate(node), &[&input], output)
}

fn global(emit: AggregateEmit) -> OperatorHarness {
    let output = with_change_column(&schema("sum:int count:int"));
    let aggregates = exprs([call("sum", "v"), call("count", "v")]);
    let node = AggregateNode { keys: vec![], time: None, aggregates, emit, gather_ms: None, ttl: None };
    harness(NodeKind::Aggregate(node), &[&schema("v:int")], output)
}

/// Batches are parted by `---`, or by `watermark seconds`.
fn check(mut harness: OperatorHarness, script: &str, expected: Expect) {
    for part in script.split("---") {
        let (rows, watermark) = part.split_once("watermark").unwrap_or((part, ""));
        harness.push(0, rows).unwrap();
        if let Ok(seconds) = watermark.trim().parse() {
            harness.watermark(0, seconds).unwrap();
        }
    }
    harness.finish().unwrap();
    expected.assert_eq(&harness.output().unwrap());
}

#[test]
fn each_changed_group_is_emitted_when_event_time_moves() {
    let script = "a 1 @1\nb 2 @2\na 3 @3\nwatermark 5 --- a 10 @6\nwatermark 7";
    check(
        by_key(AggregateEmit::OnUpdate),
        script,
        expect![[r#"
        +I a 4 2
        +I b 2 1
        watermark @5
        -U a 4 2
        +U a 14 3
        watermark @7
        watermark end
    "#]],
    );
}

#[test]
fn a_result_that_stays_the_same_is_not_emitted_again() {
    let script = "a 1 @1\nwatermark 5 --- a - @6\nwatermark 7 --- a 0 @8";
    check(
        by_key(AggregateEmit::OnUpdate),
        script,
        expect![[r#"
        +I a 1 1
        watermark @5
        watermark @7
        -U a 1 1
        +U a 1 2
        watermark end
    "#]],
    );
}

#[test]
fn where_order_matters_rows_are_taken_in_event_time_order_once_the_watermark_has_passed_them() {
    let output = with_change_column(&Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new_list("all", Field::new_list_field(DataType::Int64, true), true),
    ])));
    let aggregates = exprs([call("array_agg", "v")]);
    let node = AggregateNode {
        keys: vec![0],
        time: Some(2),
        aggregates,
        emit: AggregateEmit::OnUpdate,
        gather_ms: None,
        ttl: None,
    };
    check(
        harness(NodeKind::Aggregate(node), &[&schema("k:text v:int t:time")], output),
        "a 1 @5\na 2 @4\nwatermark 5 --- a 4 @9",
        expect![[r#"
            watermark @5
            +I a [2]
            watermark end
            -U a [2]
            +U a [2, 1, 4]
        "#]],
    );
}

#[test]
fn late_rows_still_count() {
    check(
        by_key(AggregateEmit::OnUpdate),
        "a 1 @5\nwatermark 10 --- a 2 @3\nwatermark 11",
        expect![[r#"
        +I a 1 1
        watermark @10
        -U a 1 1
        +U a 3 2
        watermark @11
        watermark end
    "#]],
    );
}

#[test]
fn null_keys_are_a_group() {
    check(
        by_key(AggregateEmit::OnUpdate),
        "- 1 @1\n- 2 @2",
        expect![[r#"
        +I - 3 2
        watermark end
    "#]],
    );
}

#[test]
fn at_the_end_each_group_is_emitted_once() {
    check(
        by_key(AggregateEmit::AtEnd),
        "a 1 @1\nb 2 @2\nwatermark 5 --- a 3 @7\nwatermark 8",
        expect![[r#"
        watermark @5
        watermark @8
        watermark end
        +I a 4 2
        +I b 2 1
    "#]],
    );
    check(
        by_key(AggregateEmit::AtEnd),
        "",
        expect![[r#"
        watermark end
    "#]],
    );
}

#[test]
fn without_keys_a_count_of_nothing_is_zero() {
    check(
        global(AggregateEmit::AtEnd),
        "",
        expect![[r#"
        watermark end
        +I - 0
    "#]],
    );
    check(
        global(AggregateEmit::AtEnd),
        "1\n2\n---\n4\n-",
        expect![[r#"
        watermark end
        +I 7 3
    "#]],
    );
    check(
        global(AggregateEmit::OnUpdate),
        "",
        expect![[r#"
        +I - 0
        watermark end
    "#]],
    );
}

#[test]
fn without_event_time_each_batch_is_an_update() {
    check(
        global(AggregateEmit::OnUpdate),
        "1\n2\n---\n4\n---\n-",
        expect![[r#"
        +I 3 2
        -U 3 2
        +U 7 3
        watermark end
    "#]],
    );
}

#[test]
fn filter_and_distinct_apply_to_their_own_aggregate() {
    let input = schema("k:text v:int t:time");
    let output = with_change_column(&schema("k:text big:int distinct:int all:int"));
    let big = call("sum", "v").filter(col("v").gt(lit(1i64))).build().unwrap();
    let distinct = call("count", "v").distinct().build().unwrap();
    let aggregates = exprs([big, distinct, call("count", "v")]);
    let node = AggregateNode {
        keys: vec![0],
        time: Some(2),
        aggregates,
        emit: AggregateEmit::OnUpdate,
        gather_ms: None,
        ttl: None,
    };
    let harness = harness(NodeKind::Aggregate(node), &[&input], output);
    check(
        harness,
        "a 1 @1\na 5 @2\na - @2\nwatermark 3 --- a 5 @4\nb 1 @5\nwatermark 6 --- a 7 @7",
        expect![[r#"
        +I a 5 2 2
        watermark @3
        -U a 5 2 2
        +U a 10 2 3
        +I b - 1 1
        watermark @6
        -U a 10 2 3
        +U a 17 3 4
        watermark end
    "#]],
    );
}

#[test]
fn keys_alone_are_the_distinct_rows() {
    let output = with_change_column(&schema("k:text"));
    let node = AggregateNode {
        keys: vec![0],
        time: None,
        aggregates: vec![],
        emit: AggregateEmit::OnUpdate,
        gather_ms: None,
        ttl: None,
    };
    let harness = harness(NodeKind::Aggregate(node), &[&schema("k:text")], output);
    check(
        harness,
        "a\nb\na\n---\nb\nc",
        expect![[r#"
        +I a
        +I b
        +I c
        watermark end
    "#]],
    );
}

#[test]
fn a_stop_emits_nothing() {
    let mut harness = by_key(AggregateEmit::AtEnd);
    harness.push(0, "a 1 @1").unwrap();
    harness.watermark(0, 5).unwrap();
    harness.stop().unwrap();
    expect![[r#"
        watermark @5
    "#]]
    .assert_eq(&harness.output().unwrap());
}

/// The last state of each group that a changelog leaves, having checked that every -U takes back
/// exactly what was said before.
fn replay(output: &str) -> std::collections::BTreeMap<String, String> {
    let mut live = std::collections::BTreeMap::new();
    for line in output.lines().filter(|line| !line.starts_with("watermark")) {
        let (op, row) = line.split_once(' ').unwrap();
        let (key, values) = row.split_once(' ').unwrap();
        let before = match op {
            "+I" | "+U" => live.insert(key.to_owned(), values.to_owned()),
            _ => live.remove(key),
        };
        assert_eq!(before.as_deref(), (op == "-U").then_some(values), "{line}");
    }
    live
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn the_result_has_the_same_bits_however_rows_interleave(
        rows in Just((0..40i64).collect::<Vec<_>>()).prop_shuffle(),
        batch in 1usize..12,
    ) {
        let run = |rows: &[i64], batch: usize, emit: AggregateEmit| {
            let input = schema("k:text v:float t:time");
            let output = with_change_column(&schema("k:text sum:float dev:float n:int"));
            let distinct = call("count", "v").distinct().build().unwrap();
            let aggregates = exprs([call("sum", "v"), call("stddev", "v"), distinct]);
            let node = AggregateNode { keys: vec![0], time: Some(2), aggregates, emit, gather_ms: None, ttl: None };
            let mut harness = harness(NodeKind::Aggregate(node), &[&input], output);
            for (index, part) in rows.chunks(batch).enumerate() {
                let value = |i: i64| 0.1 * (i * i) as f64 * 10f64.powi((i % 7) as i32);
                let line = |i: &i64| format!("k{} {:e} @{}\n", i % 2, value(*i), i / 2);
                harness.push(0, &part.iter().map(line).collect::<String>()).unwrap();
                let missing = rows[((index + 1) * batch).min(rows.len())..].iter().min();
                harness.watermark(0, missing.map_or(20, |i| i / 2)).unwrap();
            }
            harness.finish().unwrap();
            replay(&harness.output().unwrap())
        };
        let in_order: Vec<i64> = (0..40).collect();
        for emit in [AggregateEmit::AtEnd, AggregateEmit::OnUpdate] {
            prop_assert_eq!(run(&rows, batch, emit), run(&in_order, 40, emit));
        }
    }
}

#[test]
fn floats_that_are_equal_are_one_key() {
    let output = with_change_column(&schema("k:float count:int"));
    let node = AggregateNode {
        keys: vec![0],
        time: None,
        aggregates: exprs([call("count", "v")]),
        emit: AggregateEmit::AtEnd,
        gather_ms: None,
        ttl: None,
    };
    let harness = harness(NodeKind::Aggregate(node), &[&schema("k:float v:int")], output);
    check(
        harness,
        "0.0 1\n-0.0 2\nNaN 3\n-NaN 4\n1.5 5\n- 6\n- 7",
        expect![[r#"
        watermark end
        +I 0.0 2
        +I NaN 2
        +I 1.5 1
        +I - 2
    "#]],
    );
}

/// Many functions over `k v f t`, a changelog; the operation is the last value: 0 (+I) or 3 (-D).
fn over_changes(ttl: Option<i64>) -> OperatorHarness {
    let graph = changes_graph(ttl);
    OperatorHarness::new(&graph, graph.nodes[1].id).unwrap()
}

fn changes_graph(ttl: Option<i64>) -> DataflowGraph {
    let distinct = call("count", "v").distinct().build().unwrap();
    changes_graph_with(distinct, ttl)
}

/// With this function, whose result is a number, among the others.
fn changes_graph_with(one: Expr, ttl: Option<i64>) -> DataflowGraph {
    let input = with_change_column(&schema("k:text v:int f:float t:time"));
    let output =
        schema("k:text n:int rows:int sum:int min:int max:int mean:float distinct:int least:text median:float");
    let rows = functions::aggregate("count").unwrap().call(vec![lit(1i64)]);
    let aggregates = exprs([
        call("count", "v"),
        rows,
        call("sum", "v"),
        call("min", "v"),
        call("max", "v"),
        call("avg", "f"),
        one,
        call("min", "k"),
        call("median", "f"),
    ]);
    let node =
        AggregateNode { keys: vec![0], time: Some(3), aggregates, emit: AggregateEmit::OnUpdate, gather_ms: None, ttl };
    graph(NodeKind::Aggregate(node), &[&input], with_change_column(&output))
}

#[test]
fn a_row_that_goes_leaves_the_aggregates_as_they_were_and_the_last_one_deletes_the_group() {
    check(
        over_changes(None),
        "a 1 0.5 @1 0\na 4 1e20 @1 0\n---\na 4 1e20 @1 3\n---\na 1 0.5 @1 3\nb - - @1 0\n---\nb - - @1 3\nb 7 7 @1 0",
        expect![[r#"
            +I a 2 2 5 1 4 5e19 2 a 5e19
            -U a 2 2 5 1 4 5e19 2 a 5e19
            +U a 1 1 1 1 1 0.5 1 a 0.5
            -D a 1 1 1 1 1 0.5 1 a 0.5
            +I b 0 1 - - - - 0 b -
            -U b 0 1 - - - - 0 b -
            +U b 1 1 7 7 7 7.0 1 b 7.0
            watermark end
        "#]],
    );
}

#[test]
fn a_group_that_comes_and_goes_between_two_emissions_is_never_seen() {
    let mut harness = over_changes(None);
    harness.push_unpaused(0, "a 1 0.5 @1 0").unwrap();
    harness.push_unpaused(0, "b 1 0.5 @1 0\na 1 0.5 @1 3").unwrap();
    harness.pause().unwrap();
    harness.push_unpaused(0, "b 2 0.5 @1 0").unwrap();
    harness.push_unpaused(0, "b 2 0.5 @1 3").unwrap();
    harness.pause().unwrap();
    expect![[r#"
        +I b 1 1 1 1 1 0.5 1 b 0.5
    "#]]
    .assert_eq(&harness.output().unwrap());
}

#[test]
fn groups_that_nothing_changes_are_dropped_after_their_time_to_live() {
    let mut harness = over_changes(Some(10_000_000));
    harness.push(0, "a 1 1 @100 0\nb 1 1 @101 0\nc 1 1 @102 0\nd 1 1 @109 0").unwrap();
    harness.watermark(0, 105).unwrap();
    let before = harness.state_bytes();
    harness.watermark(0, 113).unwrap();
    assert!(harness.state_bytes() < before);
    harness.output().unwrap();
    harness.push(0, "a 5 5 @113 0\nd 5 5 @113 0").unwrap();
    expect![[r#"
        +I a 1 1 5 5 5 5.0 1 a 5.0
        -U d 1 1 1 1 1 1.0 1 d 1.0
        +U d 2 2 6 1 5 3.0 2 d 3.0
    "#]]
    .assert_eq(&harness.output().unwrap());
}

proptest! {
    #![proptest_config(cases(200))]

    /// What a changelog of changes says in the end is what an insert of the rows that are left says.
    #[test]
    fn what_came_and_went_leaves_no_trace(
        changes in proptest::collection::vec((0..4i64, prop::option::weighted(0.8, 0..4i64), any::<bool>()), 0..60),
        cut in 1..9usize,
        pauses in any::<bool>(),
    ) {
        let line = |(key, value): &(i64, Option<i64>), op: i64| {
            let value = value.map_or(String::from("- -"), |value| format!("{value} {}", (value as f64 + 0.1) * 1e15));
            format!("k{key} {value} @1 {op}")
        };
        let (mut rows, mut script): (Vec<(i64, Option<i64>)>, Vec<String>) = (Vec::new(), Vec::new());
        for (key, value, goes) in changes {
            match rows.iter().position(|row| *row == (key, value)).filter(|_| goes) {
                Some(place) => script.push(line(&rows.remove(place), 3)),
                None => {
                    rows.push((key, value));
                    script.push(line(&(key, value), 0));
                }
            }
        }
        let mut changed = over_changes(None);
        for batch in script.chunks(cut) {
            changed.push_unpaused(0, &batch.join("\n")).unwrap();
            if pauses {
                changed.pause().unwrap();
            }
        }
        changed.finish().unwrap();
        let mut fresh = over_changes(None);
        fresh.push(0, &rows.iter().map(|row| line(row, 0)).collect::<Vec<_>>().join("\n")).unwrap();
        fresh.finish().unwrap();
        prop_assert_eq!(replay_changes(&changed.output().unwrap()), replay_changes(&fresh.output().unwrap()));
    }
}

/// The rows that a changelog leaves by their keys; what goes must be what was there.
fn replay_changes(output: &str) -> std::collections::BTreeMap<String, String> {
    let mut live = std::collections::BTreeMap::new();
    for line in output.lines().filter(|line| !line.starts_with("watermark")) {
        let (op, row) = line.split_once(' ').unwrap();
        let (key, values) = row.split_once(' ').unwrap();
        if op.starts_with('+') {
            let before = live.insert(key.to_owned(), values.to_owned());
            assert!(before.is_none(), "{line}: the group was there");
        } else {
            assert_eq!(live.remove(key).as_deref(), Some(values), "{line}");
        }
    }
    live
}

/// Functions that DataFusion's accumulators do, and others over rows that only come: `k v f b t`.
fn over_rows() -> DataflowGraph {
    over_rows_of(|_| true)
}

/// Those of them that are to be there.
fn over_rows_of(is_wanted: impl Fn(&Expr) -> bool) -> DataflowGraph {
    let distinct = |function: &str, column: &str| call(function, column).distinct().build().unwrap();
    let two = |function: &str| {
        functions::aggregate(function).unwrap().call(vec![col("f"), cast(col("v"), DataType::Float64)])
    };
    let list = |name: &str, data_type| Field::new_list(name, Field::new_list_field(data_type, true), true);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let calls = [
        (call("array_agg", "k"), list("all", DataType::Utf8)),
        (distinct("array_agg", "v"), list("distinct", DataType::Int64)),
        (
            functions::aggregate("string_agg").unwrap().call(vec![col("k"), lit("-")]),
            Field::new("text", DataType::LargeUtf8, true),
        ),
        (call("median", "f"), number("median")),
        (call("first_value", "v"), Field::new("first", DataType::Int64, true)),
        (call("last_value", "v"), Field::new("last", DataType::Int64, true)),
        (call("bool_and", "b"), Field::new("and", DataType::Boolean, true)),
        (call("bit_xor", "v"), Field::new("xor", DataType::Int64, true)),
        (call("approx_distinct", "v"), Field::new("about", DataType::UInt64, true)),
        (functions::aggregate("roc_auc").unwrap().call(vec![col("b"), col("f")]), number("auc")),
        (call("sum", "f"), number("sum")),
        (distinct("avg", "f"), number("mean")),
        (distinct("stddev", "f"), number("deviation")),
        (two("corr"), number("corr")),
        (two("regr_intercept"), number("intercept")),
        (two("covar_samp"), number("covar")),
        (call("max", "k"), Field::new("max", DataType::Utf8, true)),
        (call("min", "b"), Field::new("min", DataType::Boolean, true)),
        (call("max", "f"), number("max_f")),
    ];
    let (calls, fields): (Vec<_>, Vec<_>) = calls.into_iter().filter(|(call, _)| is_wanted(call)).unzip();
    let output = std::iter::once(Field::new("k", DataType::Utf8, true)).chain(fields);
    let output = with_change_column(&Arc::new(Schema::new(output.collect::<Vec<_>>())));
    let node = AggregateNode {
        keys: vec![0],
        time: Some(4),
        aggregates: exprs(calls),
        emit: AggregateEmit::OnUpdate,
        gather_ms: None,
        ttl: None,
    };
    graph(NodeKind::Aggregate(node), &[&schema("k:text v:int f:float b:bool t:time")], output)
}

fn some_rows(rows: std::ops::Range<i64>) -> String {
    let line = |i: i64| {
        let float = if i % 5 == 0 {
            String::from("-")
        } else {
            format!("{:e}", 0.1 * (i * i) as f64 * 10f64.powi((i % 9) as i32))
        };
        let value = if i % 7 == 0 { String::from("-") } else { (i * i % 11).to_string() };
        format!("k{} {value} {float} {} @{}\n", i * i % 13, i % 3 == 0, i)
    };
    rows.map(line).collect()
}

/// What comes out of a node over [`some_rows`].
fn play_rows(mut harness: OperatorHarness) -> String {
    for start in (0..120).step_by(8) {
        harness.push(0, &some_rows(start..start + 8)).unwrap();
        harness.watermark(0, start + 5).unwrap();
    }
    harness.finish().unwrap();
    harness.output().unwrap()
}

#[test]
fn results_are_the_same_however_often_the_state_is_written() {
    let graph = over_rows();
    let build = || OperatorHarness::new(&graph, graph.nodes[1].id).unwrap();
    let output = play_rows(build());
    assert!(output.lines().count() > 100);
    // Without a twin nothing is written.
    assert_eq!(output, play_rows(build().without_twin()));
}

#[test]
fn what_is_compressed_when_it_is_read_goes_on_from_what_was_written() {
    let output = with_change_column(&schema("k:text about:float"));
    let about = functions::aggregate("approx_percentile_cont").unwrap().call(vec![col("f"), lit(0.3)]);
    let node = AggregateNode {
        keys: vec![],
        time: Some(4),
        aggregates: exprs([about]),
        emit: AggregateEmit::OnUpdate,
        gather_ms: None,
        ttl: None,
    };
    let output = Arc::new(output.project(&[1, 2]).unwrap());
    let harness = harness(NodeKind::Aggregate(node), &[&schema("k:text v:int f:float b:bool t:time")], output);
    assert!(play_rows(harness).lines().count() > 20);
}

#[test]
fn groups_go_to_the_instances_that_have_their_keys() {
    let part = |rows: std::ops::Range<i64>| format!("{}watermark {}\n", some_rows(rows.clone()), rows.end - 5);
    check_rescaled(&over_rows(), &[0], [&part(0..60), &part(60..90), &part(90..120)]);
    let change = |k: i64, v: i64, t: i64, op: i64| format!("k{k} {v} {v}.5 @{t} {op}\n");
    let came: String = (0..40).map(|i| change(i % 11, i % 3, i, 0)).collect();
    let went: String = (0..30).map(|i| change(i % 11, i % 3, i, 3)).collect();
    let parts = [format!("{came}watermark 30"), format!("{went}watermark 45"), format!("{came}{went}watermark 60")];
    for ttl in [None, Some(12_000_000)] {
        check_rescaled(&changes_graph(ttl), &[0], [&parts[0], &parts[1], &parts[2]]);
    }
}
