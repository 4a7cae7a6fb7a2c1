//! Computes the columns of the output from each row. A row that has no such columns is a dead letter.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter, is_null, not, or};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::change::change_column_index;
use tidemill_plans::node::{ProjectNode, Projection};

use super::Operator;
use super::bad_rows::{evaluate_or_route, report};
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
        ctx.emit(self.columns.evaluate_or_route(batch, ctx)?);
        Ok(())
    }
}

/// Expressions that make an output batch; an input's changelog column follows them.
pub(crate) struct Columns {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    change: Option<usize>,
    output: SchemaRef,
}

impl Columns {
    pub(crate) fn new(columns: &[Projection], input: &Schema, output: SchemaRef) -> Result<Self> {
        let exprs: tidemill_plans::Result<_> = columns.iter().map(|column| column.expr.to_physical(input)).collect();
        let exprs: Vec<_> = exprs?;
        let carried = change_column_index(input).filter(|_| output.fields().len() == exprs.len() + 1);
        Ok(Self { exprs, change: carried, output })
    }

    /// The output of the rows that it can be computed of.
    pub(crate) fn evaluate_or_route(&self, batch: RecordBatch, ctx: &OperatorContext) -> Result<RecordBatch> {
        let (batch, columns) = evaluate_or_route(batch, ctx, |rows| self.evaluate(rows))?;
        let Some(nulls) = self.forbidden_nulls(&columns)? else { return self.output_of(columns, batch.num_rows()) };
        // Shown as it came: what it was computed to may not say what is wrong.
        report(&batch, &nulls, "NULL in a column that is declared NOT NULL", ctx)?;
        let good = not(&nulls)?;
        let columns = columns.iter().map(|column| filter(column, &good)).collect::<Result<_, _>>()?;
        self.output_of(columns, good.true_count())
    }

    /// The rows with a NULL where none may be, if there are any.
    fn forbidden_nulls(&self, columns: &[ArrayRef]) -> Result<Option<BooleanArray>> {
        let mut nulls: Option<BooleanArray> = None;
        for (column, field) in columns.iter().zip(self.output.fields()) {
            if !field.is_nullable() && column.null_count() > 0 {
                let here = is_null(column)?;
                nulls = Some(nulls.map_or_else(|| Ok(here.clone()), |known| or(&known, &here))?);
            }
        }
        Ok(nulls)
    }

    fn output_of(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
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
        Ok(columns)
    }
}

#[cfg(test)]
mod tests;
