//! How fast windows over many keys are, as a measurement:
//! `cargo test --workspace --lib -- --ignored --nocapture windows_of_many_keys`.
#![expect(clippy::print_stdout, reason = "a measurement reports to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]

use std::time::Instant;

use tidemill_plans::node::NodeKind;

use super::*;
use crate::testing::graph::{call, exprs, harness, schema};

const KEYS: i64 = 100_000;

/// Seconds that `panes` panes of rows take, one for each key in each pane, with a watermark behind each pane.
fn seconds(window: WindowSpec, panes: i64) -> f64 {
    let input = schema("k:int v:int t:time");
    let output = schema("k:int window_start:time window_end:time window_time:time count:int");
    let aggregates = exprs([call("count", "v")]);
    let node = WindowAggregateNode { keys: vec![0], time: 2, window, aggregates, updates_within: 0 };
    // A twin would be most of the work.
    let mut harness = harness(NodeKind::WindowAggregate(node), &[&input], output).without_twin();
    let started = Instant::now();
    for pane in 0..panes {
        let rows = 0..KEYS;
        let column = |of: &dyn Fn(i64) -> i64| crate::rows::int64(rows.clone().map(of));
        let times = arrow::compute::cast(&column(&|_| pane * 1_000_000), input.field(2).data_type()).unwrap();
        let columns = vec![column(&|row| row * 7919 % KEYS), column(&|row| row), times];
        harness.push_batch(0, RecordBatch::try_new(Arc::clone(&input), columns).unwrap()).unwrap();
        harness.watermark(0, pane + 1).unwrap();
        harness.batches();
    }
    started.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement, not a check"]
fn windows_of_many_keys() {
    let second = 1_000_000;
    for panes in [5, 20, 60] {
        let hop = WindowSpec::Hop { slide: second, size: panes * second, offset: 0 };
        let cumulate = WindowSpec::Cumulate { step: second, size: panes * second, offset: 0 };
        println!("{panes} panes: HOP {:.2} s, CUMULATE {:.2} s", seconds(hop, 60), seconds(cumulate, 60));
    }
    let tumble = WindowSpec::Tumble { size: second, offset: 0 };
    println!("TUMBLE {:.2} s", seconds(tumble, 60));
}
