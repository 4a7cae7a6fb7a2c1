//! Plans as text: what EXPLAIN and EXPLAIN ANALYZE print.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use tidemill_plans::batch::Destination;

/// A plan, a line a row, below the name of the engine and where the rows go.
pub(crate) fn plan(
    schema: SchemaRef,
    plan: &dyn ExecutionPlan,
    destination: &Destination,
    parts: usize,
) -> Result<RecordBatch> {
    lines(schema, here(parts), &DisplayableExecutionPlan::new(plan).indent(false).to_string(), destination)
}

/// The same with what each operator has done.
pub(crate) fn analysis(
    schema: SchemaRef,
    plan: &dyn ExecutionPlan,
    destination: &Destination,
    parts: usize,
) -> Result<RecordBatch> {
    lines(schema, here(parts), &DisplayableExecutionPlan::with_metrics(plan).indent(false).to_string(), destination)
}

fn here(parts: usize) -> String {
    format!("Batch, by DataFusion in this process, in {parts} partitions")
}

/// A plan below who runs it and where the rows go.
pub(crate) fn lines(schema: SchemaRef, engine: String, text: &str, destination: &Destination) -> Result<RecordBatch> {
    let (sink, depth) = match destination {
        Destination::Sink(sink) => (Some(format!("  Sink: {} ({})", sink.table, sink.connector)), 4),
        // DataFusion's plan says so.
        Destination::Asker | Destination::Files(_) => (None, 2),
    };
    let lines = text.trim_end().lines().map(|line| format!("{:depth$}{line}", ""));
    let lines: Vec<String> = std::iter::once(engine).chain(sink).chain(lines).collect();
    let lines: ArrayRef = Arc::new(StringArray::from(lines));
    Ok(RecordBatch::try_new(schema, vec![lines])?)
}
