//! Puts the rows of several inputs together.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::Operator;
use crate::error::Result;
use crate::task::OperatorContext;

/// See [`tidemill_plans::node::UnionNode`]. Inputs agree in types; the first one's names count.
pub(super) struct Union {
    output: SchemaRef,
}

impl Union {
    pub(super) fn new(output: SchemaRef) -> Self {
        Self { output }
    }
}

impl Operator for Union {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        ctx.emit(RecordBatch::try_new(Arc::clone(&self.output), batch.columns().to_vec())?);
        Ok(())
    }
}
