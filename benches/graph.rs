//! Rows and small graphs that the benches share.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{NodeKind, SinkNode, SourceNode};
use tidemill_plans::time::event_time_type;

/// Rows in a batch.
pub(crate) const ROWS: usize = 8192;

/// key BIGINT, name VARCHAR, value DOUBLE, ts TIMESTAMP.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("value", DataType::Float64, true),
        Field::new("ts", event_time_type(), true),
    ]))
}

/// The `index`-th batch: 1,000 keys, a row a millisecond.
pub(crate) fn batch(index: usize) -> RecordBatch {
    let rows = (index * ROWS..(index + 1) * ROWS).map(|row| row as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.clone().map(|row| Some(row * 7919 % 1000)).collect::<Int64Array>()),
        Arc::new(rows.clone().map(|row| Some(format!("name-{}", row % 97))).collect::<StringArray>()),
        Arc::new(rows.clone().map(|row| Some(row as f64 * 0.5)).collect::<Float64Array>()),
        Arc::new(rows.map(|row| Some(row * 1000)).collect::<TimestampMicrosecondArray>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns have the schema's types")
}

/// A source that is never opened: it gives a graph its input.
pub(crate) fn add_input(graph: &mut DataflowGraph, schema: SchemaRef) -> OperatorId {
    let source = SourceNode {
        table: String::from("input"),
        connector: String::from("files"),
        options: Vec::new(),
        declared: schema.fields().iter().map(|field| field.name().clone()).collect(),
        columns: StreamSchema(Arc::clone(&schema)),
        projection: Vec::new(),
        event_time: None,
        upsert_key: Vec::new(),
    };
    graph.add_node(NodeKind::Source(source), 1, schema)
}

/// A blackhole behind `from`.
pub(crate) fn add_sink(graph: &mut DataflowGraph, from: OperatorId, schema: SchemaRef, partitioning: Partitioning) {
    let sink = SinkNode::new("nowhere", "blackhole");
    let to = graph.add_node(NodeKind::Sink(sink), 1, schema);
    graph.add_edge(from, to, 0, partitioning);
}
