//! Checks that instances of another number can take an operator's state over.

use arrow::array::RecordBatch;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::Epoch;
use tidemill_plans::time::{EventTime, Watermark};

use super::graph::sorted_rows;
use super::harness::Instance;
use super::instances::part;
use super::{parse_rows, show_rows, test_env};
use crate::state::{Snapshot, StateReader};
use crate::task::{Message, PortWatermarks};

/// How many instances take over from one.
const INSTANCES: u32 = 3;

/// Plays three scripts over the last node of `graph`, whose input is partitioned by the columns `keys`: the
/// first with one instance, the second with three that take over its state, the third with one that takes
/// over theirs. What comes out must be what one instance emits that goes on all the time. Scripts are rows and
/// `watermark seconds`, a step a line; rows that follow are one batch.
pub(crate) fn check_rescaled(graph: &DataflowGraph, keys: &[usize], scripts: [&str; 3]) {
    let [first, second, third] = scripts;
    let mut one = build(graph);
    play(graph, &mut one, first, |rows| rows);
    one.context.take_output();
    let before = [snapshot(&mut one)];
    let mut several: Vec<Instance> = (0..INSTANCES).map(|own| restore(graph, &before, own, INSTANCES, &one)).collect();
    let route = Partitioning::Hash(keys.to_vec());
    for (own, instance) in (0..).zip(&mut several) {
        play(graph, instance, second, |rows| part(&rows, &route, own, INSTANCES).unwrap());
    }
    play(graph, &mut one, second, |rows| rows);
    let emitted = several.iter_mut().map(output).collect::<String>();
    assert_eq!(sorted_rows(&emitted), sorted_rows(&output(&mut one)), "of three instances and of one");
    let before: Vec<Snapshot> = several.iter_mut().map(snapshot).collect();
    let mut again = restore(graph, &before, 0, 1, &one);
    play(graph, &mut again, third, |rows| rows);
    play(graph, &mut one, third, |rows| rows);
    let expected = output(&mut one);
    assert!(!expected.is_empty(), "the scripts show what was kept");
    assert_eq!(sorted_rows(&output(&mut again)), sorted_rows(&expected), "of one instance after three, and of one");
}

fn build(graph: &DataflowGraph) -> Instance {
    let node = graph.nodes.last().expect("the operator").id;
    Instance::build(graph, node, test_env().unwrap()).unwrap()
}

fn snapshot(instance: &mut Instance) -> Snapshot {
    let mut snapshot = Snapshot::default();
    instance.operator.snapshot(&mut snapshot.writer(Epoch(1))).unwrap();
    Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap()
}

fn restore(graph: &DataflowGraph, from: &[Snapshot], own: u32, of: u32, at: &Instance) -> Instance {
    let mut instance = build(graph);
    instance.operator.restore(&StateReader::new(from, own, of)).unwrap();
    instance.context.go_on_at(at.context.watermark());
    instance
}

fn play(graph: &DataflowGraph, to: &mut Instance, script: &str, own: impl Fn(RecordBatch) -> RecordBatch) {
    let node = graph.nodes.last().expect("the operator").id;
    let schema = graph.input_schemas(node).unwrap().remove(0);
    let mut rows = String::new();
    for line in script.lines().map(str::trim).chain(["watermark"]) {
        let Some(seconds) = line.strip_prefix("watermark") else {
            rows = rows + line + "\n";
            continue;
        };
        let batch = own(parse_rows(&schema, &std::mem::take(&mut rows)).unwrap());
        to.operator.on_batch(0, batch, &mut to.context).unwrap();
        to.end_call().unwrap();
        if let Ok(seconds) = seconds.trim().parse::<i64>() {
            let watermarks = PortWatermarks::of(vec![Watermark(EventTime(seconds * 1_000_000))]);
            to.operator.on_watermark(&watermarks, &mut to.context).unwrap();
        }
        to.pause().unwrap();
    }
}

fn output(instance: &mut Instance) -> String {
    let batches = instance.context.take_output().into_iter();
    let rows = batches.filter_map(|message| match message {
        Message::Batch(batch) => Some(show_rows(&batch).unwrap()),
        _ => None,
    });
    rows.collect()
}
