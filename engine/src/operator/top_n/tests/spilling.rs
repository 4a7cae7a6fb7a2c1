//! With room for a few partitions only, the same comes out as with room for all of them.

use super::*;
use crate::testing::churn::{churn, play};
use crate::testing::graph::{sorted_rows, with_memory};

/// The nodes whose partitions go to disk, and whether their input is a changelog.
fn nodes(ttl: Option<TimeToLive>) -> Vec<(TopNNode, bool)> {
    let oldest = SortColumn { column: 2, descending: false, nulls_first: false };
    let in_order = TopNNode { order_by: vec![oldest], emit: TopNEmit::InOrder { time: 2 }, ..top(2, true) };
    let at_end = || TopNNode { emit: TopNEmit::AtEnd, ..top(2, true) };
    let of_rows = [top(1, false), top(2, true), top(3, false), at_end(), in_order].map(|node| (node, false));
    let of_changes = [top(1, false), top(2, true), at_end()].map(|node| (node, true));
    let all = of_rows.into_iter().chain(of_changes);
    // A result at the end is of everything.
    all.map(|(node, changes)| (TopNNode { ttl: ttl.filter(|_| node.emit != TopNEmit::AtEnd), ..node }, changes))
        .collect()
}

fn unlimited(graph: &DataflowGraph) -> OperatorHarness {
    OperatorHarness::new(graph, graph.nodes[1].id).unwrap().without_twin()
}

#[test]
fn partitions_stay_within_the_memory_and_come_back_with_their_rows() {
    const MEMORY: usize = 200_000;
    for (node, changes) in nodes(None) {
        let op = if changes { " 0" } else { "" };
        let play = |harness: &mut OperatorHarness, memory: usize| {
            for start in (0..3_000).step_by(100) {
                let rows: String = (start..start + 100).map(|key| format!("k{key} {key} @{start}{op}\n")).collect();
                harness.push(0, &rows).unwrap();
                harness.watermark(0, start + 1).unwrap();
                assert!(harness.state_bytes() <= memory, "{} bytes after {start}", harness.state_bytes());
            }
            let bytes = (harness.state_bytes(), harness.spilled_bytes());
            let before = harness.output().unwrap();
            harness.restart().unwrap();
            // Keys that are kept anew are in tiny batches here: they need more than was counted.
            assert!(harness.state_bytes() <= memory.saturating_add(memory / 4), "{} bytes", harness.state_bytes());
            let rows = [3, 2999, 3001, 1471].map(|key| format!("k{key} 9999 @3100{op}\n"));
            harness.push(0, &rows.concat()).unwrap();
            harness.finish().unwrap();
            (sorted_rows(&(before + &harness.output().unwrap())), bytes)
        };
        let graph = graph_of(node, WINDOWED, changes);
        let mut limited = with_memory(&graph, MEMORY).without_twin();
        let (rows, (_, spilled)) = play(&mut limited, MEMORY);
        let (all, (bytes, _)) = play(&mut unlimited(&graph), usize::MAX);
        assert_eq!(rows, all, "{changes} {:?}", graph.nodes[1].kind);
        assert!(spilled > 0 || bytes <= MEMORY, "{bytes} bytes without a limit");
    }
}

#[test]
fn of_partitions_on_disk_only_what_has_changed_is_written() {
    for (node, changes) in nodes(None) {
        let op = if changes { " 0" } else { "" };
        let mut harness = with_memory(&graph_of(node, WINDOWED, changes), 60_000).without_twin();
        let rows: String = (0..2_000).map(|key| format!("k{key} 1 @1{op}\n")).collect();
        harness.push(0, &rows).unwrap();
        harness.watermark(0, 2).unwrap();
        harness.written_rows().unwrap();
        harness.push(0, &format!("k1 2 @3{op}\nk1999 2 @3{op}\nk5000 2 @3{op}")).unwrap();
        harness.watermark(0, 4).unwrap();
        let written = harness.written_rows().unwrap();
        assert!((3..=6).contains(&written), "{written} rows");
        assert!(harness.spilled_bytes() > 0);
    }
}

proptest! {
    #![proptest_config(cases(5))]

    #[test]
    fn little_memory_changes_nothing(
        steps in churn(30),
        bytes_max in proptest::sample::select(vec![1, 3_000, 6_000, 12_000]),
        lives: bool,
    ) {
        let ttl = lives.then_some(TimeToLive { micros: 10_000_000, time: Some(2) });
        for (node, changes) in nodes(ttl) {
            let graph = graph_of(node, WINDOWED, changes);
            let limited = play(with_memory(&graph, bytes_max).with_twin_each(3), &steps, changes);
            prop_assert_eq!(limited, play(unlimited(&graph), &steps, changes));
        }
    }
}
