//! With room for the rows of a few sessions only, the same comes out as with room for all of them.

use tidemill_plans::graph::DataflowGraph;

use super::*;
use crate::testing::graph::with_memory;

/// Sums of floats, which show the order of rows, and counts.
fn float_sums() -> DataflowGraph {
    let output = schema("k:text window_start:time window_end:time window_time:time sum:float count:int");
    let aggregates = exprs([call("sum", "v"), call("count", "v")]);
    let node = SessionWindowNode { keys: vec![0], time: 2, gap: 10 * S, aggregates };
    graph(NodeKind::SessionWindow(node), &[&schema("k:text v:float t:time")], output)
}

#[test]
fn rows_stay_within_the_memory_and_come_back_when_their_session_closes() {
    const MEMORY: usize = 150_000;
    let mut harness = with_memory(&float_sums(), MEMORY).with_twin_each(7);
    for start in (0..2_000).step_by(100) {
        let rows = (start..start + 100).map(|n| format!("{:0100} 1 @{}\n", n % 500, n / 250));
        harness.push(0, &rows.collect::<String>()).unwrap();
        harness.watermark(0, start / 250).unwrap();
        // The newest rows wait for the watermark: they are not among it.
        assert!(harness.state_bytes() <= MEMORY + 100_000, "{} bytes after {start}", harness.state_bytes());
    }
    assert!(harness.spilled_bytes() > 0);
    harness.restart().unwrap();
    harness.finish().unwrap();
    let rows = sorted_rows(&harness.output().unwrap());
    assert_eq!(rows.len(), 500);
    assert_eq!(rows[0], format!("{:0100} @0 @16 @15.999999 4.0 4", 0));
    assert_eq!((harness.state_bytes(), harness.spilled_bytes()), (0, 0));
}

#[test]
fn what_is_written_of_sessions_is_what_has_come_since() {
    let graph = float_sums();
    let mut harness = OperatorHarness::new(&graph, graph.nodes[1].id).unwrap().without_twin();
    harness.push(0, &(0..40).map(|n| format!("k{n} 1 @{}\n", n % 4)).collect::<String>()).unwrap();
    harness.watermark(0, 5).unwrap();
    assert_eq!(harness.written_rows().unwrap(), 40);
    harness.push(0, "k1 2 @6\nk2 2 @6").unwrap();
    harness.watermark(0, 7).unwrap();
    assert_eq!(harness.written_rows().unwrap(), 2);
    assert_eq!(harness.written_rows().unwrap(), 0);
    // Those of the second 0 have closed, and a row waits.
    harness.watermark(0, 11).unwrap();
    harness.push(0, "k3 4 @12").unwrap();
    assert_eq!(harness.written_rows().unwrap(), 1);
}

fn played(mut harness: OperatorHarness, rows: &[(u8, i64, bool)], batch: usize) -> (Vec<String>, u64) {
    let mut now = 0;
    for (number, part) in rows.chunks(batch).enumerate() {
        let line = |(key, behind, _): &(u8, i64, bool)| {
            let value = 0.1 * (number * number) as f64 * 10f64.powi(i32::from(key % 7));
            format!("k{key} {value:e} @{}\n", now + 20 - behind)
        };
        harness.push(0, &part.iter().map(line).collect::<String>()).unwrap();
        now += part.iter().filter(|(_, _, moves)| *moves).count() as i64;
        harness.watermark(0, now).unwrap();
    }
    harness.finish().unwrap();
    assert_eq!((harness.state_bytes(), harness.spilled_bytes()), (0, 0));
    let late = late(&harness);
    (sorted_rows(&harness.output().unwrap()), late)
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn little_memory_changes_nothing(
        rows in prop::collection::vec((0u8..12, 0i64..40, any::<bool>()), 1..120),
        batch in 1usize..9,
        bytes_max in prop::sample::select(vec![1, 2_000, 6_000]),
    ) {
        let graph = float_sums();
        let all = played(OperatorHarness::new(&graph, graph.nodes[1].id).unwrap().without_twin(), &rows, batch);
        prop_assert_eq!(played(with_memory(&graph, bytes_max).with_twin_each(2), &rows, batch), all);
    }
}
