//! Keeps the rows for which a predicate is true.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::node::FilterNode;

use super::Operator;
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

impl Operator for Filter {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let keep = self.predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
        ctx.emit(filter_record_batch(&batch, keep.as_boolean())?);
        Ok(())
    }
}
