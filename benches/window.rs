//! A sliding window aggregate over 1,000 keys.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use criterion::{Criterion, Throughput};
use datafusion::logical_expr::{Expr, col};
use tidemill_engine::testing::OperatorHarness;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::functions;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{NodeKind, WindowAggregateNode, WindowSpec};
use tidemill_plans::time::event_time_type;

use crate::graph::{ROWS, add_input, batch, schema};

fn call(function: &str, column: &str) -> StreamExpr {
    let function = functions::aggregate(function).expect("a function of DataFusion");
    StreamExpr(Expr::AggregateFunction(datafusion::logical_expr::expr::AggregateFunction::new_udf(
        function,
        vec![col(column)],
        false,
        None,
        Vec::new(),
        None,
    )))
}

fn harness(column: &str) -> OperatorHarness {
    let mut graph = DataflowGraph::default();
    let input = add_input(&mut graph, schema());
    let node = WindowAggregateNode {
        keys: vec![0],
        time: 3,
        window: WindowSpec::Hop { slide: 2_000_000, size: 10_000_000, offset: 0 },
        aggregates: vec![call("count", column), call("sum", column)],
        updates_within: 0,
    };
    let result = if column == "value" { DataType::Float64 } else { DataType::Int64 };
    let output = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("window_start", event_time_type(), true),
        Field::new("window_end", event_time_type(), true),
        Field::new("window_time", event_time_type(), true),
        Field::new("count", DataType::Int64, true),
        Field::new("sum", result, true),
    ]));
    let id = graph.add_node(NodeKind::WindowAggregate(node), 1, output);
    graph.add_edge(input, id, 0, Partitioning::Hash(vec![0]));
    OperatorHarness::new(&graph, OperatorId(1)).expect("the operator can be built")
}

/// COUNT and SUM by key over 10 s every 2 s, 8192 rows (8 s) a batch, a watermark behind each.
pub(crate) fn window_aggregate(c: &mut Criterion) {
    let mut group = c.benchmark_group("window aggregate");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, column) in [("integers, as they come", "key"), ("floats, in canonical order", "value")] {
        group.bench_function(name, |b| {
            let mut operator = harness(column);
            let mut index = 0;
            b.iter(|| {
                operator.push_batch(0, batch(index)).expect("rows of the schema");
                index += 1;
                operator.watermark(0, (index * ROWS / 1000) as i64).expect("windows close");
                operator.batches()
            });
        });
    }
    group.finish();
}
