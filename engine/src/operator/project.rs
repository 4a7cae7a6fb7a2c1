//! Computes the columns of the output from each row.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::change::change_column_index;
use tidemill_plans::node::{ProjectNode, Projection};

use super::Operator;
use crate::error::Result;
use crate::task::OperatorContext;

/// See [`ProjectNode`].
pub(super) struct Project {
    columns: Columns,
}

impl Project {
    pub(super) fn new(node: &ProjectNode, input: &SchemaRef, output: SchemaRef) -> Result<Self> {
        Ok(Self { columns: Columns::new(&node.columns, input, output)? })
    }
}

impl Operator for Project {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        ctx.emit(self.columns.evaluate(&batch)?);
        Ok(())
    }
}

/// Expressions that make an output batch; an input's changelog column follows them.
pub(super) struct Columns {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    change: Option<usize>,
    output: SchemaRef,
}

impl Columns {
    pub(super) fn new(columns: &[Projection], input: &Schema, output: SchemaRef) -> Result<Self> {
        let exprs: tidemill_plans::Result<_> = columns.iter().map(|column| column.expr.to_physical(input)).collect();
        let exprs: Vec<_> = exprs?;
        let carried = change_column_index(input).filter(|_| output.fields().len() == exprs.len() + 1);
        Ok(Self { exprs, change: carried, output })
    }

    pub(super) fn evaluate(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.output.fields().len());
        for (expr, field) in self.exprs.iter().zip(self.output.fields()) {
            let column = expr.evaluate(batch)?.into_array(batch.num_rows())?;
            // A planned type may be narrower in its metadata only; a real difference is cast.
            columns.push(if column.data_type() == field.data_type() {
                column
            } else {
                cast(&column, field.data_type())?
            });
        }
        columns.extend(self.change.map(|index| Arc::clone(batch.column(index))));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?)
    }
}
