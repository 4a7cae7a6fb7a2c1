//! Keeps the rows for which a predicate is true. A row for which it cannot be said is a dead letter.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::node::FilterNode;

use super::Operator;
use super::bad_rows::evaluate_or_route;
use crate::error::Result;
use crate::task::OperatorContext;

/// See [`FilterNode`].
pub(super) struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
}

impl Filter {
    pub(super) fn new(node: &FilterNode, input: &SchemaRef) -> Result<Self> {
        Ok(Self { predicate: node.predicate.to_physical(input)? })
    }
}

/// For which rows a condition holds. One that is NULL does not.
pub(super) fn holds(condition: &dyn PhysicalExpr, rows: &RecordBatch) -> Result<BooleanArray> {
    let holds = condition.evaluate(rows)?.into_array(rows.num_rows())?;
    let holds = holds.as_boolean();
    Ok(if holds.null_count() == 0 { holds.clone() } else { prep_null_mask_filter(holds) })
}

impl Operator for Filter {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let (batch, keep) =
            evaluate_or_route(batch, ctx, |rows| Ok(self.predicate.evaluate(rows)?.into_array(rows.num_rows())?))?;
        ctx.emit(filter_record_batch(&batch, keep.as_boolean())?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
