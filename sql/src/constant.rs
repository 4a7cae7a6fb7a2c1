//! Results that are known without running anything: a SELECT without FROM.
//!
//! `SELECT 1` is what clients ask to see whether a server is there, and drivers before each statement. A job for it takes
//! a hundred times as long as the answer.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{FieldRef, SchemaRef};
use tidemill_plans::Result;
use tidemill_plans::connector::VALUES_CONNECTOR;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{NodeKind, Projection};
use tidemill_plans::values;

/// The rows that come to a result's sink if they are made of one row in the statement, by nothing but projections and
/// filters. Nothing if they are not, or if a row is one that an operator would refuse: it says so better.
pub(crate) fn constant_rows(graph: &DataflowGraph, sink: OperatorId) -> Option<RecordBatch> {
    let NodeKind::Sink(node) = &graph.node(sink).ok()?.kind else { return None };
    let rows = rows_of(graph, input_of(graph, sink)?)?;
    let wanted = node.limit.map_or(1, |limit| usize::try_from(limit).unwrap_or(1));
    Some(rows.slice(0, rows.num_rows().min(wanted)))
}

/// The rows that an operator gives out. Calls itself for its input: a graph has a bound of levels.
fn rows_of(graph: &DataflowGraph, operator: OperatorId) -> Option<RecordBatch> {
    let node = graph.node(operator).ok()?;
    match &node.kind {
        NodeKind::Source(source) if source.connector == VALUES_CONNECTOR => {
            values::from_options(&source.options).ok().filter(|rows| rows.num_rows() == 1)
        }
        NodeKind::Filter(filter) => {
            let rows = rows_of(graph, input_of(graph, operator)?)?;
            let predicate = filter.predicate.to_physical(rows.schema_ref()).ok()?;
            let kept = predicate.evaluate(&rows).and_then(|kept| kept.into_array(rows.num_rows())).ok()?;
            filter_record_batch(&rows, kept.as_any().downcast_ref::<BooleanArray>()?).ok()
        }
        NodeKind::Project(project) => {
            let rows = rows_of(graph, input_of(graph, operator)?)?;
            projected(&rows, &project.columns, &node.schema.0).ok()
        }
        _ => None,
    }
}

fn input_of(graph: &DataflowGraph, operator: OperatorId) -> Option<OperatorId> {
    let mut inputs = graph.inputs(operator).map(|(_, edge)| edge.from);
    inputs.next().filter(|_| inputs.next().is_none())
}

/// An error where a column may not be NULL and is, too.
fn projected(rows: &RecordBatch, columns: &[Projection], output: &SchemaRef) -> Result<RecordBatch> {
    let value = |(column, field): (&Projection, &FieldRef)| -> Result<ArrayRef> {
        let value = column.expr.to_physical(rows.schema_ref())?.evaluate(rows)?.into_array(rows.num_rows())?;
        Ok(cast(&value, field.data_type())?)
    };
    let values: Result<Vec<ArrayRef>> = columns.iter().zip(output.fields()).map(value).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(output), values?, &options)?)
}
