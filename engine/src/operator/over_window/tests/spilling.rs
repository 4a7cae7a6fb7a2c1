//! With room for a few partitions only, the same comes out as with room for all of them.

use super::*;
use crate::testing::churn::{churn, play};
use crate::testing::graph::with_memory;

/// Calls over rows that have come.
fn calls() -> Vec<(WindowFunction, DataType)> {
    let preceding = WindowFrameBound::Preceding;
    let int = |call| (call, DataType::Int64);
    vec![
        (call("rank", vec![]), DataType::UInt64),
        int(call("sum", vec![col("v")])),
        int(call("first_value", vec![col("v")])),
        int(call("nth_value", vec![col("v"), lit(3i64)])),
        int(call("lag", vec![col("v"), lit(2i64)])),
        int(framed("sum", WindowFrameUnits::Rows, preceding(rows(2)), WindowFrameBound::CurrentRow)),
        int(framed("max", WindowFrameUnits::Range, preceding(seconds(4)), WindowFrameBound::CurrentRow)),
        (call("avg", vec![cast(col("v"), DataType::Float64) / lit(7.0)]), DataType::Float64),
    ]
}

/// When rows come out, and whether the input is a changelog.
fn emits() -> [(OverEmit, bool); 5] {
    let in_order = |seconds: i64| OverEmit::InOrder { time: 2, rows_ahead: 0, micros_ahead: seconds * 1_000_000 };
    [
        (in_order(0), false),
        (in_order(3), false),
        (OverEmit::OnUpdate, false),
        (OverEmit::OnUpdate, true),
        (OverEmit::AtEnd, true),
    ]
}

fn unlimited(graph: &DataflowGraph) -> OperatorHarness {
    OperatorHarness::new(graph, graph.nodes[1].id).unwrap().without_twin()
}

#[test]
fn partitions_stay_within_the_memory_and_come_back_with_their_rows() {
    const MEMORY: usize = 300_000;
    for (emit, changes) in emits() {
        let op = if changes { " 0" } else { "" };
        let play = |harness: &mut OperatorHarness, memory: usize| {
            for start in (0..1_500).step_by(50) {
                let rows: String = (start..start + 50).map(|key| format!("k{key} {key} @{start}{op}\n")).collect();
                harness.push(0, &rows).unwrap();
                harness.watermark(0, start + 40).unwrap();
                assert!(harness.state_bytes() <= memory, "{} bytes after {start}", harness.state_bytes());
            }
            let bytes = (harness.state_bytes(), harness.spilled_bytes());
            let before = harness.output().unwrap();
            harness.restart().unwrap();
            // Keys that are kept anew are in tiny batches here: they need more than was counted.
            assert!(harness.state_bytes() <= memory.saturating_add(memory / 4), "{} bytes", harness.state_bytes());
            let rows = [3, 1499, 1501, 971].map(|key| format!("k{key} 9999 @1600{op}\n"));
            harness.push(0, &rows.concat()).unwrap();
            harness.finish().unwrap();
            (sorted_rows(&(before + &harness.output().unwrap())), bytes)
        };
        let calls = vec![calls().swap_remove(1), calls().swap_remove(5)];
        let graph = graph_of(None, calls, emit, changes);
        let mut limited = with_memory(&graph, MEMORY).without_twin();
        let (rows, (_, spilled)) = play(&mut limited, MEMORY);
        let (all, (bytes, _)) = play(&mut unlimited(&graph), usize::MAX);
        assert_eq!(rows, all, "{changes} {:?}", graph.nodes[1].kind);
        assert!(spilled > 0 || bytes <= MEMORY, "{bytes} bytes without a limit");
    }
}

#[test]
fn rows_that_wait_stay_within_the_memory_and_come_out_with_those_behind_them() {
    const MEMORY: usize = 40_000;
    let lead = vec![(call("lead", vec![col("v")]), DataType::Int64)];
    let graph = graph_of(None, lead, OverEmit::InOrder { time: 2, rows_ahead: 1, micros_ahead: 0 }, false);
    let mut harness = with_memory(&graph, MEMORY).without_twin();
    for start in (0..2_000).step_by(50) {
        let rows: String = (start..start + 50).map(|n| format!("k{} {n} @{n}\n", n % 4)).collect();
        harness.push(0, &rows).unwrap();
        assert!(harness.state_bytes() <= MEMORY, "{} bytes after {start}", harness.state_bytes());
    }
    assert!(harness.spilled_bytes() > 0);
    harness.restart().unwrap();
    for time in (0..2_000).step_by(100) {
        harness.watermark(0, time).unwrap();
        assert!(harness.state_bytes() <= MEMORY, "{} bytes at {time}", harness.state_bytes());
    }
    harness.finish().unwrap();
    let rows = harness.output().unwrap();
    let rows: Vec<&str> = rows.lines().filter(|row| !row.starts_with("watermark")).collect();
    assert_eq!(rows.len(), 2_000);
    assert!(rows.contains(&"k3 1003 @1003 1007") && rows.contains(&"k3 1999 @1999 -"));
    assert_eq!(harness.spilled_bytes(), 0);
}

#[test]
fn partitions_give_way_to_rows_that_wait_between_watermarks() {
    const MEMORY: usize = 300_000;
    let calls = vec![calls().swap_remove(1), calls().swap_remove(5)];
    let in_order = OverEmit::InOrder { time: 2, rows_ahead: 0, micros_ahead: 0 };
    let mut harness = with_memory(&graph_of(None, calls, in_order, false), MEMORY).without_twin();
    let mut push = |start: i64, time: i64, passes: bool| {
        let rows: String = (start..start + 50).map(|n| format!("k{n} {n} @{time}\n")).collect();
        harness.push(0, &rows).unwrap();
        if passes {
            harness.watermark(0, time + 1).unwrap();
        }
        harness.state_bytes()
    };
    let mut most = 0;
    for start in (0..3_000).step_by(50) {
        most = most.max(push(start, start / 50, true));
    }
    assert!(most > MEMORY / 2 && most <= MEMORY, "{most} bytes of partitions");
    for start in (3_000..6_000).step_by(50) {
        let bytes = push(start, 100, false);
        assert!(bytes <= MEMORY, "{bytes} bytes after {start}");
    }
    let snapshot = harness.snapshot().unwrap();
    let rows = snapshot.row_count().unwrap();
    assert!(rows > 6_000, "{rows} rows");
    assert_eq!(snapshot.rows_in_memory(), 0);
}

proptest! {
    #![proptest_config(cases(5))]

    #[test]
    fn little_memory_changes_nothing(
        steps in churn(20),
        bytes_max in proptest::sample::select(vec![1, 10_000, 30_000]),
        lives: bool,
    ) {
        let ttl = lives.then_some(TimeToLive { micros: 10_000_000, time: Some(2) });
        // Each partition is in memory there, but for rows that wait for the watermark.
        let waits = OverEmit::InOrder { time: 2, rows_ahead: 1, micros_ahead: 0 };
        for (emit, changes) in emits().into_iter().chain([(waits, false)]) {
            let lead = (emit == waits).then(|| (call("lead", vec![col("v"), lit(1i64)]), DataType::Int64));
            let calls = calls().into_iter().chain(lead).collect();
            let graph = graph_of(ttl.filter(|_| emit != OverEmit::AtEnd), calls, emit, changes);
            let limited = play(with_memory(&graph, bytes_max).with_twin_each(3), &steps, changes);
            prop_assert_eq!(limited, play(unlimited(&graph), &steps, changes));
        }
    }
}
