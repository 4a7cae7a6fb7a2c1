//! Plans as text: what EXPLAIN and EXPLAIN ANALYZE print.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;

/// A plan, a line a row, below the name of the engine.
pub(crate) fn plan(schema: SchemaRef, plan: &dyn ExecutionPlan, parts: usize) -> Result<RecordBatch> {
    lines(schema, &DisplayableExecutionPlan::new(plan).indent(false).to_string(), parts)
}

/// The same with what each operator has done.
pub(crate) fn analysis(schema: SchemaRef, plan: &dyn ExecutionPlan, parts: usize) -> Result<RecordBatch> {
    lines(schema, &DisplayableExecutionPlan::with_metrics(plan).indent(false).to_string(), parts)
}

fn lines(schema: SchemaRef, text: &str, parts: usize) -> Result<RecordBatch> {
    let engine = format!("Batch, by DataFusion in this process, in {parts} partitions");
    let lines = text.trim_end().lines().map(|line| format!("  {line}"));
    let lines: Vec<String> = std::iter::once(engine).chain(lines).collect();
    let lines: ArrayRef = Arc::new(StringArray::from(lines));
    Ok(RecordBatch::try_new(schema, vec![lines])?)
}
