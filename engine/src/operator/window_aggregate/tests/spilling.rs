//! With room for a part of the panes only, the same comes out as with room for all of them.

use super::*;
use crate::testing::graph::with_memory;

/// `count(v)` by a text.
fn counts(window: WindowSpec) -> DataflowGraph {
    let output = schema("k:text window_start:time window_end:time window_time:time count:int");
    let aggregates = exprs([call("count", "v")]);
    let node = WindowAggregateNode { keys: vec![0], time: 2, window, aggregates, updates_within: 0 };
    graph(NodeKind::WindowAggregate(node), &[&schema("k:text v:int t:time")], output)
}

#[test]
fn panes_stay_within_the_memory_and_come_back_when_their_windows_close() {
    const MEMORY: usize = 70_000;
    for (window, windows) in [(tumble(100), 1), (hop(10, 100), 10), (cumulate(10, 100), 10)] {
        let mut harness = with_memory(&counts(window), MEMORY).with_twin_each(8);
        for start in (0..2_000).step_by(100) {
            // Half of the keys come again and again.
            let key = |n: i64| if n % 2 == 0 { n % 50 } else { n };
            let rows = (start..start + 100).map(|n| format!("{:0100} 1 @{}\n", key(n), n / 20));
            harness.push(0, &rows.collect::<String>()).unwrap();
            assert!(harness.state_bytes() <= MEMORY, "{} bytes after {start}", harness.state_bytes());
        }
        assert!(harness.spilled_bytes() > 0);
        harness.restart().unwrap();
        assert!(harness.state_bytes() <= MEMORY, "{} bytes", harness.state_bytes());
        harness.finish().unwrap();
        let rows = sorted_rows(&harness.output().unwrap());
        let all: Vec<_> = rows.iter().filter(|row| row.contains("@0 @100 ")).collect();
        assert_eq!(all.len(), 25 + 1_000);
        assert_eq!(*all[0], format!("{:0100} @0 @100 @99.999999 40", 0));
        let ends: std::collections::BTreeSet<_> = rows.iter().map(|row| row.split(' ').nth(2)).collect();
        assert!(ends.len() >= windows, "{ends:?}");
        assert_eq!((harness.state_bytes(), harness.spilled_bytes()), (0, 0));
    }
}

#[test]
fn rows_that_wait_stay_within_the_memory_and_come_back_when_their_pane_is_complete() {
    const MEMORY: usize = 200_000;
    let output = schema("k:text window_start:time window_end:time window_time:time sum:float");
    let node = WindowAggregateNode {
        keys: vec![0],
        time: 2,
        window: tumble(100),
        aggregates: exprs([call("sum", "v")]),
        updates_within: 0,
    };
    let graph = graph(NodeKind::WindowAggregate(node), &[&schema("k:text v:float t:time")], output);
    let mut harness = with_memory(&graph, MEMORY).with_twin_each(8);
    for start in (0..3_000).step_by(100) {
        let rows = (start..start + 100).map(|n| format!("{:0100} 1 @{}\n", n % 700, n / 30));
        harness.push(0, &rows.collect::<String>()).unwrap();
        assert!(harness.state_bytes() <= MEMORY, "{} bytes after {start}", harness.state_bytes());
    }
    assert!(harness.spilled_bytes() > 0);
    harness.restart().unwrap();
    harness.finish().unwrap();
    let rows = sorted_rows(&harness.output().unwrap());
    assert_eq!(rows.len(), 700);
    assert_eq!(rows[0], format!("{:0100} @0 @100 @99.999999 5.0", 0));
    assert_eq!((harness.state_bytes(), harness.spilled_bytes()), (0, 0));
}

#[test]
fn a_snapshot_has_rows_that_wait_in_no_other_memory() {
    let output = schema("k:text window_start:time window_end:time window_time:time sum:float");
    let aggregates = exprs([call("sum", "v")]);
    let node = WindowAggregateNode { keys: vec![0], time: 2, window: tumble(100), aggregates, updates_within: 0 };
    let graph = graph(NodeKind::WindowAggregate(node), &[&schema("k:text v:float t:time")], output);
    let mut harness = with_memory(&graph, 200_000).without_twin();
    for start in (0..1_000).step_by(10) {
        let rows = (start..start + 10).map(|n| format!("{:0100} 1 @{}\n", n % 700, n / 30));
        harness.push(0, &rows.collect::<String>()).unwrap();
    }
    assert!(harness.spilled_bytes() > 0 && harness.state_bytes() > 10_000, "{} bytes", harness.state_bytes());
    let snapshot = harness.snapshot().unwrap();
    assert_eq!((snapshot.rows_in_memory(), snapshot.row_count().unwrap()), (0, 1_000));
}

#[test]
fn rows_that_late_ones_may_come_among_stay_within_the_memory() {
    const MEMORY: usize = 300_000;
    let output = with_change_column(&schema("k:text window_start:time window_end:time window_time:time sum:float"));
    let aggregates = exprs([call("sum", "v")]);
    let updates_within = 1_000 * S;
    let node = WindowAggregateNode { keys: vec![0], time: 2, window: tumble(2), aggregates, updates_within };
    let graph = graph(NodeKind::WindowAggregate(node), &[&schema("k:text v:float t:time")], output);
    let mut harness = with_memory(&graph, MEMORY).without_twin();
    for start in (0..3_000).step_by(100) {
        let rows = (start..start + 100).map(|n| format!("{:0100} 1 @{}\n", n % 7, n / 30));
        harness.push(0, &rows.collect::<String>()).unwrap();
        harness.watermark(0, (start - 30) / 30).unwrap();
        assert!(harness.state_bytes() <= MEMORY, "{} bytes after {start}", harness.state_bytes());
    }
    assert!(harness.spilled_bytes() > 0);
    let snapshot = harness.snapshot().unwrap();
    assert!(snapshot.row_count().unwrap() > 3_000, "all rows, and partial results");
    assert_eq!(snapshot.rows_in_memory(), 0);
    harness.push(0, &format!("{:0100} 10 @41", 0)).unwrap();
    let written = harness.written_rows().unwrap();
    assert!(written <= 20, "{written} rows: the late one, and what its pane comes to now");
    harness.restart().unwrap();
    assert!(harness.state_bytes() <= MEMORY, "{} bytes", harness.state_bytes());
    harness.output().unwrap();
    harness.push(0, &format!("{:0100} 100 @41", 0)).unwrap();
    let rows = harness.output().unwrap();
    assert!(rows.contains(" 18.0") && rows.contains(" 118.0"), "{rows}");
    harness.finish().unwrap();
    assert_eq!((harness.state_bytes(), harness.spilled_bytes()), (0, 0));
}

/// Rows of keys and times that are up to so much behind, and watermarks.
#[derive(Debug, Clone)]
enum Move {
    Rows(Vec<(i64, i64)>),
    Watermark(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let step = prop_oneof![
        4 => prop::collection::vec((0..9i64, 0..25i64), 1..12).prop_map(Move::Rows),
        2 => (1..9i64).prop_map(Move::Watermark),
    ];
    prop::collection::vec(step, 1..20)
}

fn moved(mut harness: OperatorHarness, moves: &[Move]) -> (Vec<String>, u64) {
    let (mut now, mut number) = (0, 0);
    for step in moves {
        match step {
            Move::Rows(rows) => {
                let line = |(key, behind): &(i64, i64)| {
                    number += 1;
                    let float = 0.1 * f64::from(number * number) * 10f64.powi(number % 9);
                    format!("k{key} {number} {float:e} {} @{}\n", number % 3 == 0, now + 12 - behind)
                };
                harness.push(0, &rows.iter().map(line).collect::<String>()).unwrap();
            }
            Move::Watermark(by) => {
                now += by;
                harness.watermark(0, now).unwrap();
            }
        }
    }
    harness.finish().unwrap();
    assert_eq!(harness.spilled_bytes(), 0, "all windows have closed");
    let late = late(&harness);
    (sorted_rows(&harness.output().unwrap()), late)
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn little_memory_changes_nothing(moves in moves(), bytes_max in prop::sample::select(vec![1, 8_000, 30_000])) {
        for calls in [order_free, ordered] {
            for (window, updates_within) in [(tumble(10), 0), (hop(5, 15), 0), (cumulate(5, 15), 0), (hop(5, 15), 20 * S)] {
                let graph = over_rows(calls(), window, updates_within);
                let all = moved(OperatorHarness::new(&graph, graph.nodes[1].id).unwrap().without_twin(), &moves);
                prop_assert_eq!(moved(with_memory(&graph, bytes_max).with_twin_each(3), &moves), all);
            }
        }
    }
}

#[test]
fn large_windows_are_emitted_in_slices_also_from_memory() {
    let rows: String = (0..100).map(|row| format!("k{row} {row} @{}\n", row % 20)).collect();
    for (window, keys) in [(tumble(20), 100), (hop(10, 20), 100 + 50 + 50), (cumulate(10, 20), 50 + 100)] {
        let mut harness = sum_and_count(window);
        harness.push(0, &rows).unwrap();
        harness.finish().unwrap();
        let emitted = harness.output().unwrap().lines().filter(|line| !line.starts_with("watermark")).count();
        assert_eq!(emitted, keys);
        assert!((1..=8).contains(&harness.slice_rows_max()), "{} rows at a time", harness.slice_rows_max());
    }
}
