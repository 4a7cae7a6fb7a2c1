//! Top-N and window functions.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use criterion::{Criterion, Throughput};
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{Expr, WindowFrame, WindowFunctionDefinition, col};
use tidemill_engine::testing::OperatorHarness;
use tidemill_plans::change::with_change_column;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::functions;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{NodeKind, OverEmit, OverWindowNode, SortColumn, TopNEmit, TopNNode};

use crate::graph::{ROWS, add_input, batch, schema};

fn sort(column: usize, descending: bool) -> SortColumn {
    SortColumn { column, descending, nulls_first: descending }
}

/// The `index`-th batch, each row with a key of its own.
fn new_keys(index: usize) -> RecordBatch {
    let rows = batch(index);
    let mut columns = rows.columns().to_vec();
    let keys = (index * ROWS..(index + 1) * ROWS).map(|row| row as i64);
    columns[0] = Arc::new(Int64Array::from_iter_values(keys)) as ArrayRef;
    RecordBatch::try_new(rows.schema(), columns).expect("the columns have the schema's types")
}

fn harness(kind: NodeKind, output: SchemaRef) -> OperatorHarness {
    let mut graph = DataflowGraph::default();
    let input = add_input(&mut graph, schema());
    let id = graph.add_node(kind, 1, output);
    graph.add_edge(input, id, 0, Partitioning::Hash(vec![0]));
    OperatorHarness::new(&graph, OperatorId(1)).expect("the operator can be built")
}

fn with(columns: &[(&str, DataType)]) -> SchemaRef {
    let own = schema().fields().iter().cloned().collect::<Vec<_>>();
    let more = columns.iter().map(|(name, kind)| Arc::new(Field::new(*name, kind.clone(), true)));
    Arc::new(Schema::new(own.into_iter().chain(more).collect::<Vec<_>>()))
}

fn top(limit: u64, rank: bool, order: SortColumn) -> OperatorHarness {
    let node = TopNNode {
        partition: vec![0],
        order_by: vec![order],
        limit,
        rank,
        emit: TopNEmit::OnUpdate,
        gather_ms: None,
        ttl: None,
    };
    let output = if rank { with(&[("rank", DataType::UInt64)]) } else { schema() };
    harness(NodeKind::TopN(node), with_change_column(&output))
}

/// The first rows of each key, over 4 columns, 8192 rows a batch.
pub(crate) fn top_n(c: &mut Criterion) {
    let mut group = c.benchmark_group("top n");
    group.throughput(Throughput::Elements(ROWS as u64));
    let (oldest, newest) = (sort(3, false), sort(3, true));
    let benches = [
        ("no row enters the oldest 10", batch as fn(usize) -> RecordBatch, 10, false, oldest),
        ("every row replaces the newest of its key", batch, 1, false, newest),
        ("every row enters the newest 10, with rank", batch, 10, true, newest),
        ("every key is new", new_keys, 1, false, newest),
    ];
    for (name, rows, limit, rank, order) in benches {
        group.bench_function(name, |b| {
            let mut operator = top(limit, rank, order);
            let mut index = 0;
            b.iter_batched(
                || {
                    index += 1;
                    rows(index)
                },
                |rows| {
                    operator.push_batch(0, rows).expect("rows of the schema");
                    operator.batches()
                },
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// ROW_NUMBER, LAG and a running SUM by key in event-time order, a watermark behind each batch.
pub(crate) fn over_window(c: &mut Criterion) {
    let call = |name: &str, arguments: Vec<Expr>| {
        let function = functions::window(name).map(WindowFunctionDefinition::WindowUDF);
        let function = function.or_else(|| functions::aggregate(name).map(WindowFunctionDefinition::AggregateUDF));
        let mut call = WindowFunction::new(function.expect("a function of DataFusion"), arguments);
        call.params.order_by = vec![Sort::new(col("ts"), true, false)];
        call.params.window_frame = WindowFrame::new(Some(false));
        StreamExpr(Expr::from(call))
    };
    let node = OverWindowNode {
        gather_ms: None,
        partition: vec![0],
        order_by: vec![sort(3, false)],
        functions: vec![call("row_number", vec![]), call("lag", vec![col("value")]), call("sum", vec![col("value")])],
        emit: OverEmit::InOrder { time: 3, rows_ahead: 0, micros_ahead: 0 },
        ttl: None,
    };
    let values = [("row_number", DataType::UInt64), ("lag", DataType::Float64), ("sum", DataType::Float64)];
    let mut group = c.benchmark_group("over");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("row_number, lag and sum by 1,000 keys", |b| {
        let mut operator = harness(NodeKind::OverWindow(node.clone()), with(&values));
        let mut index = 0;
        b.iter(|| {
            operator.push_batch(0, batch(index)).expect("rows of the schema");
            index += 1;
            operator.watermark(0, (index * ROWS / 1000) as i64).expect("rows are known");
            operator.batches()
        });
    });
    group.finish();
}
