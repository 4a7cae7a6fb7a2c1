//! What a model learns of the rows of a training set: what TRANSFORM makes of them, and what is in lists.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_ml::preprocessing::{ListFeatures, TargetRows, row_draws};
use tidemill_plans::PlanError;
use tidemill_plans::algorithm::SPLIT_COLUMN;
use tidemill_plans::bad_rows::{Evaluated, evaluate_good};
use tidemill_plans::node::FitNode;
use tidemill_plans::transform::{DRAW_COLUMN, Fitted, PreparedTransform, Transform, TransformFit};

use super::Fit;
use crate::error::{EngineError, Result};
use crate::operator::bad_rows::evaluate_or_route;
use crate::rows::{ArrivalBuffer, show_row};
use crate::task::OperatorContext;

impl Fit {
    /// Collects what features need to know of all rows. Rows whose features cannot be computed are dead letters, and the
    /// others are held again: they are needed a second time.
    pub(super) fn fit_transform(&mut self, transform: &Transform, ctx: &OperatorContext) -> Result<Option<Fitted>> {
        let failed = self.failed_features();
        let mut fit = TransformFit::new(transform)?;
        let mut again = ArrivalBuffer::new(&self.input, &self.memory);
        let mut count = 0;
        while let Some(rows) = self.held.take_chunk()? {
            if self.is_interrupted() {
                return Ok(None);
            }
            let (rows, arguments) = evaluate_or_route(rows, ctx, |rows| Ok(fit.arguments(rows)?))?;
            let draws = row_draws(count, rows.num_rows());
            count += rows.num_rows() as u64;
            fit.add(&arguments, &TargetRows { labels: &self.labels(&rows), draws: &draws }).map_err(&failed)?;
            again.push(&rows)?;
        }
        self.held = again;
        fit.finish().map(Some).map_err(failed)
    }

    /// Collects what is in the lists among the features. Rows without features are left to those who learn the others.
    pub(super) fn fit_lists(&mut self, fitted: &Fitted) -> Result<Option<ListFeatures>> {
        let mut lists = fitted.lists();
        if lists.is_empty() {
            return Ok(Some(ListFeatures::default()));
        }
        let transform = fitted.version.prepare()?;
        let mut again = ArrivalBuffer::new(&self.input, &self.memory);
        while let Some(rows) = self.held.take_chunk()? {
            if self.is_interrupted() {
                return Ok(None);
            }
            again.push(&rows)?;
            let features = |rows: &RecordBatch| Ok::<_, EngineError>(transform.features(rows)?);
            let made = evaluate_good(rows, features, |_, _| Ok(()))?;
            lists.add(&made.result).map_err(|source| self.failed(source))?;
        }
        self.held = again;
        Ok(Some(lists.finish()))
    }

    /// What the model learns of rows of the training set, the first of which has this number, and which rows these are.
    pub(super) fn made(
        &self,
        rows: RecordBatch,
        first: u64,
        transform: &PreparedTransform,
        ctx: &OperatorContext,
    ) -> Result<(RecordBatch, RecordBatch)> {
        let own: Vec<usize> = (0..rows.num_columns()).collect();
        let rows = with_column(&rows, DRAW_COLUMN, Arc::new(Int64Array::from(row_draws(first, rows.num_rows()))))?;
        let features = |rows: &RecordBatch| Ok::<_, EngineError>(transform.features(rows)?);
        let refuse = |row: &RecordBatch, reason: String| {
            let row = row.project(&own)?;
            ctx.dead_letter(&reason, || show_row(&row, 0))
        };
        let Evaluated { rows, result, .. } = evaluate_good(rows, features, refuse)?;
        let rows = rows.project(&own)?;
        let features = transform.expanded(&result).map_err(|source| self.failed(source))?.into_owned();
        Ok((rows.clone(), self.with_split(features, &rows)?))
    }

    /// Features with the column by which the rows are split, unless it is one of them.
    pub(super) fn with_split(&self, features: RecordBatch, rows: &RecordBatch) -> Result<RecordBatch> {
        let Some(split) = self.split else { return Ok(features) };
        let name = rows.schema_ref().field(split).name();
        if features.schema_ref().column_with_name(name).is_some() {
            return Ok(features);
        }
        with_column(&features, name, Arc::clone(rows.column(split)))
    }
}

/// Rows with another column behind.
fn with_column(rows: &RecordBatch, name: &str, column: ArrayRef) -> Result<RecordBatch> {
    let field = Arc::new(Field::new(name, column.data_type().clone(), true));
    let fields = rows.schema_ref().fields().iter().cloned().chain([field]);
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = rows.columns().iter().cloned().chain([column]).collect();
    Ok(RecordBatch::try_new(schema, columns).map_err(PlanError::from)?)
}

/// Where the column is by which rows are split.
pub(super) fn split_column(node: &FitNode, input: &SchemaRef) -> Option<usize> {
    let (_, name) = node.options.iter().find(|(option, _)| option == SPLIT_COLUMN)?;
    input.index_of(name).ok()
}
