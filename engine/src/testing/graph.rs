//! Graphs of one operator, and short forms of what nodes are made of.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::{Expr, col};
use proptest::test_runner::{Config, RngSeed};
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::functions;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::node::{NodeKind, UnionNode};
use tidemill_plans::time::event_time_type;

use super::OperatorHarness;

/// A schema from `name:type` pairs; the types are `text`, `int`, `float`, `bool` and `time`, and `!`
/// behind one means NOT NULL.
pub(crate) fn schema(fields: &str) -> SchemaRef {
    let field = |field: &str| {
        let (name, kind) = field.split_once(':').expect("name:type");
        let data_type = match kind.trim_end_matches('!') {
            "text" => DataType::Utf8,
            "int" => DataType::Int64,
            "float" => DataType::Float64,
            "bool" => DataType::Boolean,
            "time" => event_time_type(),
            other => panic!("no type {other}"),
        };
        Field::new(name, data_type, !kind.ends_with('!'))
    };
    Arc::new(Schema::new(fields.split_whitespace().map(field).collect::<Vec<_>>()))
}

/// Two schemas behind each other.
pub(crate) fn joined(left: &SchemaRef, right: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(left.fields().iter().chain(right.fields()).cloned().collect::<Vec<_>>()))
}

/// A graph in which `kind` reads these inputs; it is the last node.
pub(crate) fn graph(kind: NodeKind, inputs: &[&SchemaRef], output: SchemaRef) -> DataflowGraph {
    let mut graph = DataflowGraph::default();
    // Only the schemas of the inputs matter: unions stand for whatever they come from.
    let stubs: Vec<_> =
        inputs.iter().map(|input| graph.add_node(NodeKind::Union(UnionNode {}), 1, Arc::clone(input))).collect();
    let node = graph.add_node(kind, 1, output);
    for (port, stub) in stubs.into_iter().enumerate() {
        graph.add_edge(stub, node, port as u32, Partitioning::Forward);
    }
    graph
}

/// The harness of such a graph's last node.
pub(crate) fn harness(kind: NodeKind, inputs: &[&SchemaRef], output: SchemaRef) -> OperatorHarness {
    let graph = graph(kind, inputs, output);
    let node = graph.nodes.last().expect("the operator").id;
    OperatorHarness::new(&graph, node).unwrap()
}

/// The harness of a graph's last node, whose operator may have so many bytes.
pub(crate) fn with_memory(graph: &DataflowGraph, bytes_max: usize) -> OperatorHarness {
    OperatorHarness::with_memory(graph, Some(bytes_max)).unwrap()
}

/// An aggregate function over a column.
pub(crate) fn call(function: &str, column: &str) -> Expr {
    functions::aggregate(function).expect("an aggregate function").call(vec![col(column)])
}

/// Expressions of a node.
pub(crate) fn exprs(exprs: impl IntoIterator<Item = Expr>) -> Vec<StreamExpr> {
    exprs.into_iter().map(StreamExpr).collect()
}

/// Plays a script: rows, `watermark seconds`, `end`, a step a line; rows that follow are one batch.
pub(crate) fn play(harness: &mut OperatorHarness, script: &str) {
    let mut rows = String::new();
    for line in script.lines().map(str::trim).chain(["flush"]) {
        let signal = line.strip_prefix("watermark ");
        if signal.is_none() && !["end", "flush", "---"].contains(&line) {
            rows.push_str(line);
            rows.push('\n');
            continue;
        }
        if !rows.is_empty() {
            harness.push(0, &std::mem::take(&mut rows)).unwrap();
        }
        match (signal, line) {
            (Some(seconds), _) => harness.watermark(0, seconds.parse().unwrap()).unwrap(),
            (None, "end") => harness.finish().unwrap(),
            _ => {}
        }
    }
}

/// How many rows came too late.
pub(crate) fn late(harness: &OperatorHarness) -> u64 {
    harness.stats().late_rows.load(Ordering::Relaxed)
}

/// The lines of an output, sorted: rows that belong together have no order of their own.
pub(crate) fn sorted_rows(output: &str) -> Vec<String> {
    let mut rows: Vec<String> =
        output.lines().filter(|line| !line.starts_with("watermark")).map(String::from).collect();
    rows.sort();
    rows
}

/// Proptest with few cases, the same ones in every run.
pub(crate) fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..Config::default() }
}
