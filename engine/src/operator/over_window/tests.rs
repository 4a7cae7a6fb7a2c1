//! Window functions by hand, and both operators against each other; that they answer as DataFusion does
//! is tested through SQL.

mod spilling;

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{
    Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, cast, col, lit,
};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_plans::change::with_change_column;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::functions;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::node::{NodeKind, SortColumn, TimeToLive};

use super::*;
use crate::testing::OperatorHarness;
use crate::testing::graph::{cases, graph, late, play, schema, sorted_rows};
use crate::testing::instances;

const ROWS: &str = "k:text v:int t:time";

/// A call over event time, with the frame that SQL gives it where it says none.
fn call(name: &str, arguments: Vec<Expr>) -> WindowFunction {
    let function = functions::window(name).map(WindowFunctionDefinition::WindowUDF);
    let function = function.or_else(|| functions::aggregate(name).map(WindowFunctionDefinition::AggregateUDF));
    let mut call = WindowFunction::new(function.expect("a function"), arguments);
    call.params.order_by = vec![Sort::new(col("t"), true, false)];
    call.params.window_frame = WindowFrame::new(Some(false));
    call
}

fn framed(name: &str, units: WindowFrameUnits, start: WindowFrameBound, end: WindowFrameBound) -> WindowFunction {
    let mut call = call(name, vec![col("v")]);
    call.params.window_frame = WindowFrame::new_bounds(units, start, end);
    call
}

fn rows(count: u64) -> ScalarValue {
    ScalarValue::UInt64(Some(count))
}

fn seconds(count: i64) -> ScalarValue {
    ScalarValue::new_interval_mdn(0, 0, count * 1_000_000_000)
}

fn operator(calls: Vec<(WindowFunction, DataType)>, emit: OverEmit, changes: bool) -> OperatorHarness {
    operator_for(None, calls, emit, changes)
}

fn operator_for(
    ttl: Option<TimeToLive>,
    calls: Vec<(WindowFunction, DataType)>,
    emit: OverEmit,
    changes: bool,
) -> OperatorHarness {
    let graph = graph_of(ttl, calls, emit, changes);
    OperatorHarness::new(&graph, graph.nodes[1].id).unwrap()
}

fn graph_of(
    ttl: Option<TimeToLive>,
    calls: Vec<(WindowFunction, DataType)>,
    emit: OverEmit,
    changes: bool,
) -> DataflowGraph {
    let input = schema(ROWS);
    let values = calls.iter().enumerate().map(|(i, (_, kind))| Field::new(format!("f{i}"), kind.clone(), true));
    let own = input.fields().iter().map(|field| field.as_ref().clone());
    let mut output = std::sync::Arc::new(Schema::new(own.chain(values).collect::<Vec<_>>()));
    if !matches!(emit, OverEmit::InOrder { .. }) {
        output = with_change_column(&output);
    }
    let node = OverWindowNode {
        gather_ms: None,
        partition: vec![0],
        order_by: vec![SortColumn { column: 2, descending: false, nulls_first: false }],
        functions: calls.into_iter().map(|(call, _)| StreamExpr(Expr::from(call))).collect(),
        emit,
        ttl,
    };
    let input = if changes { with_change_column(&input) } else { input };
    graph(NodeKind::OverWindow(node), &[&input], output)
}

fn in_order(calls: Vec<(WindowFunction, DataType)>, rows_ahead: u64, seconds_ahead: i64) -> OperatorHarness {
    operator(calls, OverEmit::InOrder { time: 2, rows_ahead, micros_ahead: seconds_ahead * 1_000_000 }, false)
}

fn check(mut harness: OperatorHarness, script: &str, expected: Expect) {
    play(&mut harness, script);
    expected.assert_eq(&harness.output().unwrap());
}

#[test]
fn a_row_is_emitted_once_when_event_time_has_passed_it() {
    let calls = vec![
        (call("row_number", vec![]), DataType::UInt64),
        (call("sum", vec![col("v")]), DataType::Int64),
        (call("lag", vec![col("v")]), DataType::Int64),
    ];
    check(
        in_order(calls, 0, 0),
        "a 1 @3
         b 5 @2
         a 2 @1
         watermark 3
         a 4 @3
         a - @4
         watermark 9
         a 3 @10
         end",
        expect![[r#"
            a 2 @1 1 2 -
            b 5 @2 1 5 -
            watermark @3
            a 1 @3 2 7 2
            a 4 @3 3 7 1
            a - @4 4 7 4
            watermark @9
            a 3 @10 5 10 -
            watermark end
        "#]],
    );
}

#[test]
fn late_rows_are_counted_and_left_out() {
    let mut harness = in_order(vec![(call("count", vec![lit(1)]), DataType::Int64)], 0, 0);
    play(&mut harness, "a 1 @5\nwatermark 5\na 2 @4\na 3 @6\nend");
    expect![[r#"
        watermark @5
        a 1 @5 1
        a 3 @6 2
        watermark end
    "#]]
    .assert_eq(&harness.output().unwrap());
    assert_eq!(late(&harness), 1);
}

#[test]
fn rows_wait_for_those_behind_them() {
    check(
        in_order(vec![(call("lead", vec![col("v")]), DataType::Int64)], 1, 0),
        "a 1 @1
         b 2 @2
         watermark 5
         a 3 @6
         watermark 7
         end",
        expect![[r#"
            watermark @1
            a 1 @1 3
            watermark @2
            b 2 @2 -
            a 3 @6 -
            watermark end
        "#]],
    );
    let frame = |start, end| framed("sum", WindowFrameUnits::Range, start, end);
    let frame = frame(WindowFrameBound::Preceding(seconds(1)), WindowFrameBound::Following(seconds(2)));
    check(
        in_order(vec![(frame, DataType::Int64)], 0, 2),
        "a 1 @1
         a 2 @2
         b 7 @2
         watermark 4
         a 4 @4
         watermark 5
         watermark 20
         end",
        expect![[r#"
            a 1 @1 3
            watermark @2
            a 2 @2 7
            b 7 @2 7
            watermark @4
            a 4 @4 4
            watermark @20
            watermark end
        "#]],
    );
}

#[test]
fn a_row_comes_out_once_time_and_rows_have_come_whatever_came_with_it() {
    check(
        in_order(vec![(call("lead", vec![col("v")]), DataType::Int64)], 1, 1),
        "a 1 @4
         a 2 @4
         watermark 6",
        expect![[r#"
            a 1 @4 2
            watermark @4
        "#]],
    );
}

#[test]
fn an_empty_batch_and_an_empty_stream_give_nothing() {
    let calls = || vec![(call("rank", vec![]), DataType::UInt64)];
    check(
        in_order(calls(), 0, 0),
        "end",
        expect![[r#"
        watermark end
    "#]],
    );
    let mut updating = operator(calls(), OverEmit::AtEnd, false);
    updating.push(0, "").unwrap();
    updating.finish().unwrap();
    expect![[r#"
        watermark end
    "#]]
    .assert_eq(&updating.output().unwrap());
}

#[test]
fn rows_that_no_frame_reaches_are_forgotten() {
    let frame =
        framed("sum", WindowFrameUnits::Rows, WindowFrameBound::Preceding(rows(2)), WindowFrameBound::CurrentRow);
    let calls = vec![
        (frame, DataType::Int64),
        (call("first_value", vec![col("v")]), DataType::Int64),
        (call("count", vec![col("v")]), DataType::Int64),
    ];
    let mut harness = in_order(calls, 0, 0);
    let mut most = 0;
    for second in 0..1000 {
        harness.push(0, &format!("a {second} @{second}")).unwrap();
        harness.watermark(0, second).unwrap();
        if second == 100 {
            most = harness.state_bytes();
        }
    }
    assert!(harness.state_bytes() <= most * 2, "{most} bytes became {}", harness.state_bytes());
    assert!(harness.output().unwrap().ends_with("a 998 @998 2991 0 999\nwatermark @999\n"));
}

#[test]
fn in_order_only_what_has_changed_is_written() {
    let sum = framed("sum", WindowFrameUnits::Rows, WindowFrameBound::Preceding(rows(1)), WindowFrameBound::CurrentRow);
    let mut harness = in_order(vec![(sum, DataType::Int64)], 0, 0).without_twin();
    play(&mut harness, "a 1 @1\na 2 @2\nb 1 @1\nc 1 @1\nwatermark 3");
    // What is known of each partition, and the rows that its next frame reaches.
    assert_eq!(harness.written_rows().unwrap(), 3 + 4);
    assert_eq!(harness.written_rows().unwrap(), 0, "nothing has changed");
    play(&mut harness, "b 5 @4\nd 1 @4\nwatermark 5");
    assert_eq!(harness.written_rows().unwrap(), 2 + 3);
}

#[test]
fn what_changes_in_a_partition_is_emitted() {
    let calls = vec![(call("row_number", vec![]), DataType::UInt64), (call("sum", vec![col("v")]), DataType::Int64)];
    check(
        operator(calls, OverEmit::OnUpdate, true),
        "a 1 @1 0
         a 2 @3 0
         b 9 @1 0
         ---
         a 5 @2 0
         ---
         a 1 @1 3
         a 5 @2 3
         ---
         b 9 @1 3",
        expect![[r#"
            +I a 1 @1 1 1
            +I a 2 @3 2 3
            +I b 9 @1 1 9
            -D a 2 @3 2 3
            +I a 2 @3 3 8
            +I a 5 @2 2 6
            -D a 1 @1 1 1
            +I a 2 @3 1 2
            -D a 2 @3 3 8
            -D a 5 @2 2 6
            -D b 9 @1 1 9
        "#]],
    );
}

#[test]
fn at_the_end_everything_is_emitted_once() {
    check(
        operator(vec![(call("ntile", vec![lit(2)]), DataType::UInt64)], OverEmit::AtEnd, false),
        "a 1 @1
         a 2 @3
         ---
         a 5 @2
         b 9 @1
         end",
        expect![[r#"
            watermark end
            +I a 1 @1 1
            +I a 5 @2 1
            +I a 2 @3 2
            +I b 9 @1 1
        "#]],
    );
}

/// All that can be emitted in order.
fn many() -> Vec<(WindowFunction, DataType)> {
    let (preceding, following) = (WindowFrameBound::Preceding, WindowFrameBound::Following);
    let int = |call| (call, DataType::Int64);
    vec![
        (call("rank", vec![]), DataType::UInt64),
        (call("dense_rank", vec![]), DataType::UInt64),
        int(call("sum", vec![col("v")])),
        int(call("first_value", vec![col("v")])),
        int(call("nth_value", vec![col("v"), lit(3i64)])),
        int(call("lag", vec![col("v"), lit(2i64)])),
        int(call("lead", vec![col("v"), lit(1i64)])),
        int(framed("sum", WindowFrameUnits::Rows, preceding(rows(2)), following(rows(1)))),
        int(framed("max", WindowFrameUnits::Rows, preceding(rows(3)), preceding(rows(1)))),
        int(framed("bit_or", WindowFrameUnits::Rows, preceding(rows(2)), WindowFrameBound::CurrentRow)),
        int(framed("sum", WindowFrameUnits::Range, preceding(seconds(2)), following(seconds(1)))),
        int(framed("min", WindowFrameUnits::Range, preceding(seconds(4)), preceding(seconds(2)))),
    ]
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn in_order_gives_the_rows_of_the_whole(
        given in proptest::collection::vec((0..3u8, proptest::option::weighted(0.9, -4..5i8), 0..20i64), 1..60),
        step in 1..8i64,
    ) {
        let mut streaming = in_order(many(), 1, 1);
        let mut whole = operator(many(), OverEmit::AtEnd, false);
        // By time, so that no row is late; batches of some seconds each.
        let mut batches: BTreeMap<i64, String> = BTreeMap::new();
        for (key, value, time) in given {
            let value = value.map_or(String::from("-"), |value| value.to_string());
            let batch = batches.entry(time / step).or_default();
            batch.push_str(&format!("k{key} {value} @{time}\n"));
        }
        for (number, batch) in batches {
            streaming.push(0, &batch).unwrap();
            whole.push(0, &batch).unwrap();
            streaming.watermark(0, (number + 1) * step).unwrap();
        }
        streaming.finish().unwrap();
        whole.finish().unwrap();
        let sorted = |output: String| {
            let lines = output.lines().filter(|line| !line.starts_with("watermark"));
            let mut lines: Vec<String> = lines.map(|line| line.trim_start_matches("+I ").to_owned()).collect();
            lines.sort();
            lines
        };
        prop_assert_eq!(sorted(streaming.output().unwrap()), sorted(whole.output().unwrap()));
    }
}

#[test]
fn partitions_that_no_row_touches_are_dropped_after_their_time_to_live() {
    let in_order = OverEmit::InOrder { time: 2, rows_ahead: 0, micros_ahead: 0 };
    let mut text = String::new();
    for (emit, op) in [(in_order, ""), (OverEmit::OnUpdate, " 0")] {
        let calls = vec![(call("sum", vec![col("v")]), DataType::Int64)];
        let ttl = TimeToLive { micros: 10_000_000, time: Some(2) };
        let mut harness = operator_for(Some(ttl), calls, emit, !op.is_empty());
        let rows = (0..50).map(|k| format!("k{k} 5 @100{op}")).collect::<Vec<_>>().join("\n");
        harness.push(0, &rows).unwrap();
        harness.push(0, &format!("k7 3 @108{op}")).unwrap();
        harness.watermark(0, 109).unwrap();
        let before = harness.state_bytes();
        harness.watermark(0, 113).unwrap();
        assert!(harness.state_bytes() < before, "{before} became {}", harness.state_bytes());
        harness.output().unwrap();
        harness.push(0, &format!("k7 9 @114{op}\nk8 9 @114{op}")).unwrap();
        harness.watermark(0, 116).unwrap();
        text.push_str(&harness.output().unwrap());
    }
    expect![[r#"
        k7 9 @114 17
        k8 9 @114 9
        watermark @116
        +I k7 9 @114 17
        +I k8 9 @114 9
        watermark @116
    "#]]
    .assert_eq(&text);
}

proptest! {
    #![proptest_config(cases(80))]

    /// Partitions that no row comes for again may be dropped without a difference.
    #[test]
    fn a_time_to_live_changes_nothing_of_what_has_come(
        given in proptest::collection::vec((0..20i64, -4..5i8, 0..6i64), 1..80),
        step in 1..8i64,
        gone in any::<bool>(),
    ) {
        let ttl = TimeToLive { micros: 10_000_000, time: Some(2) };
        let emit = OverEmit::InOrder { time: 2, rows_ahead: 1, micros_ahead: 1_000_000 };
        let mut forgetful = operator_for(Some(ttl), many(), emit, false).with_twin_each(11);
        let mut lasting = operator_for(None, many(), emit, false).with_twin_each(13);
        // A key's rows come within six seconds, three seconds after those of the key before.
        let mut batches: BTreeMap<i64, String> = BTreeMap::new();
        for (key, value, time) in given {
            let time = key * 3 + time;
            batches.entry(time / step).or_default().push_str(&format!("k{key} {value} @{time}\n"));
        }
        let mut bytes = (0, 0);
        for operator in [&mut forgetful, &mut lasting] {
            for (number, batch) in &batches {
                operator.push(0, batch).unwrap();
                operator.watermark(0, (number + 1) * step).unwrap();
            }
            if gone {
                operator.watermark(0, 1000).unwrap();
            }
            bytes = (bytes.1, operator.state_bytes());
        }
        prop_assert!(!gone || bytes.0 < bytes.1, "{} bytes, {} without a time to live", bytes.0, bytes.1);
        for operator in [&mut forgetful, &mut lasting] {
            operator.finish().unwrap();
        }
        let rows = |operator: &mut OperatorHarness| sorted_rows(&operator.output().unwrap());
        prop_assert_eq!(rows(&mut forgetful), rows(&mut lasting));
    }
}

#[test]
fn another_number_of_instances_goes_on_with_what_was_held() {
    for (emit, changes) in [
        (OverEmit::InOrder { time: 2, rows_ahead: 1, micros_ahead: 1_000_000 }, false),
        (OverEmit::OnUpdate, true),
        (OverEmit::AtEnd, true),
    ] {
        let mut script = String::new();
        for row in 0..60 {
            script.push_str(&format!("L k{} {} @{row}{}\n", row % 7, row * 7 % 10, if changes { " 0" } else { "" }));
            if row % 6 == 5 {
                script.push_str(&format!("L watermark {}\n", row - 4));
            }
        }
        let ttl = TimeToLive { micros: 30_000_000, time: Some(2) };
        let over = operator_for(Some(ttl), many(), emit, changes);
        let steps = instances::steps(&over, &format!("{script}end"));
        instances::check_rescaling(&over, &[Partitioning::Hash(vec![0])], &steps);
    }
}

/// The harness restores a twin before each step: what is added up must be the same to the bit.
#[test]
fn sums_of_floats_go_on_as_they_were() {
    let float = |by: f64| cast(col("v"), DataType::Float64) / lit(by);
    let mut calls = Vec::new();
    for name in ["sum", "avg", "stddev", "var_pop", "median", "max", "corr", "covar_samp", "regr_slope"] {
        let two = ["corr", "covar_samp", "regr_slope"].contains(&name);
        let arguments = if two { vec![float(7.0), float(-3.0) * float(11.0)] } else { vec![float(7.0)] };
        let growing = call(name, arguments);
        let mut sliding = growing.clone();
        sliding.params.window_frame = WindowFrame::new_bounds(
            WindowFrameUnits::Rows,
            WindowFrameBound::Preceding(rows(3)),
            WindowFrameBound::CurrentRow,
        );
        calls.extend([growing, sliding].map(|call| (call, DataType::Float64)));
    }
    let mut distinct = call("count", vec![col("v")]);
    distinct.params.distinct = true;
    calls.push((distinct, DataType::Int64));
    let mut filtered =
        framed("sum", WindowFrameUnits::Rows, WindowFrameBound::Preceding(rows(2)), WindowFrameBound::CurrentRow);
    filtered.params.args = vec![float(10.0)];
    filtered.params.filter = Some(Box::new(col("v").gt(lit(0i64))));
    calls.push((filtered, DataType::Float64));
    let mut harness = in_order(calls, 0, 0);
    for second in 0..120i64 {
        let value = if second % 9 == 5 { String::from("-") } else { (second * 37 % 101 - 50).to_string() };
        harness.push(0, &format!("k{} {value} @{second}", second % 3)).unwrap();
        harness.watermark(0, second + 1).unwrap();
    }
    assert_eq!(sorted_rows(&harness.output().unwrap()).len(), 120);
}

#[test]
fn functions_go_on_as_they_were() {
    let until = |name: &str, mut arguments: Vec<Expr>, end| {
        arguments.insert(0, col("v"));
        let mut call = call(name, arguments);
        call.params.window_frame = WindowFrame::new_bounds(
            WindowFrameUnits::Rows,
            WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
            end,
        );
        (call, DataType::Int64)
    };
    let before = || WindowFrameBound::Preceding(rows(2));
    let calls = vec![
        until("first_value", vec![], before()),
        until("last_value", vec![], before()),
        until("nth_value", vec![lit(3i64)], WindowFrameBound::CurrentRow),
        until("nth_value", vec![lit(-2i64)], WindowFrameBound::CurrentRow),
        (call("row_number", vec![]), DataType::UInt64),
        (call("rank", vec![]), DataType::UInt64),
        (call("dense_rank", vec![]), DataType::UInt64),
        (call("lag", vec![col("v"), lit(3i64), lit(-1i64)]), DataType::Int64),
    ];
    let mut harness = in_order(calls, 0, 0);
    for second in 0..4 {
        harness.push(0, &format!("a {second} @{second}\na {} @{second}", second + 10)).unwrap();
        harness.watermark(0, second + 1).unwrap();
    }
    let output = sorted_rows(&harness.output().unwrap());
    expect![[r#"
        a 0 @0 - - - - 1 1 1 -1
        a 1 @1 0 0 1 10 3 3 2 -1
        a 10 @0 - - - 0 2 1 1 -1
        a 11 @1 0 10 1 1 4 3 2 0
        a 12 @2 0 11 1 2 6 5 3 1
        a 13 @3 0 12 1 3 8 7 4 2
        a 2 @2 0 1 1 11 5 5 3 10
        a 3 @3 0 2 1 12 7 7 4 11"#]]
    .assert_eq(&output.join("\n"));
}

#[test]
fn rows_that_have_waited_are_emitted_in_slices() {
    let rows: String = (0..100).map(|row| format!("k{row} {row} @1\n")).collect();
    let last =
        framed("sum", WindowFrameUnits::Range, WindowFrameBound::CurrentRow, WindowFrameBound::Following(seconds(9)));
    for (call, rows_ahead, seconds_ahead) in [(call("lead", vec![col("v")]), 1, 0), (last, 0, 9)] {
        let mut harness = in_order(vec![(call, DataType::Int64)], rows_ahead, seconds_ahead);
        harness.push(0, &rows).unwrap();
        harness.watermark(0, 5).unwrap();
        assert_eq!(harness.output().unwrap(), "watermark @1\n");
        harness.finish().unwrap();
        let emitted = harness.output().unwrap().lines().filter(|line| !line.starts_with("watermark")).count();
        assert_eq!(emitted, 100);
        assert_eq!(harness.slice_rows_max(), 4);
    }
}
