//! Rows on which an expression fails go to the dead letters, and the other rows go on.

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidemill_plans::bad_rows::{Evaluated, EvaluationError, evaluate_good, reason_of_arrow};

use crate::error::{EngineError, Result};
use crate::rows::show_row;
use crate::task::OperatorContext;

impl EvaluationError for EngineError {
    fn reason(&self) -> Option<String> {
        match self {
            Self::Arrow(error) => reason_of_arrow(error),
            Self::DataFusion(error) => error.reason(),
            _ => None,
        }
    }
}

/// Evaluates a batch; returns the rows that could be, and what came out of them.
pub(super) fn evaluate_or_route<T>(
    batch: RecordBatch,
    ctx: &OperatorContext,
    evaluate: impl Fn(&RecordBatch) -> Result<T>,
) -> Result<(RecordBatch, T)> {
    let refuse = |row: &RecordBatch, reason: String| ctx.dead_letter(&reason, || show_row(row, 0));
    let Evaluated { rows, result, .. } = evaluate_good(batch, evaluate, refuse)?;
    Ok((rows, result))
}

/// Leaves out the rows for which `bad` is true, which `reason` is wrong with.
pub(super) fn route(
    batch: RecordBatch,
    bad: &BooleanArray,
    reason: &str,
    ctx: &OperatorContext,
) -> Result<RecordBatch> {
    if !bad.has_true() {
        return Ok(batch);
    }
    report(&batch, bad, reason, ctx)?;
    Ok(filter_record_batch(&batch, &arrow::compute::not(bad)?)?)
}

/// Sends the rows for which `bad` is true to the dead letters.
pub(super) fn report(batch: &RecordBatch, bad: &BooleanArray, reason: &str, ctx: &OperatorContext) -> Result<()> {
    let mut rows = (0..batch.num_rows()).filter(|row| bad.is_valid(*row) && bad.value(*row));
    rows.try_for_each(|row| ctx.dead_letter(reason, || show_row(batch, row)))
}
