//! Rows on which an expression fails: a text that is no number, a division by zero.
//!
//! They are data, so they go to the dead letters and the other rows go on. A batch is evaluated as a
//! whole; only where that fails are the rows at fault looked for, by halving.

use arrow::array::{Array, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use crate::error::{EngineError, Result};
use crate::rows::show_row;
use crate::task::OperatorContext;

/// Evaluates a batch; returns the rows that could be, and what came out of them.
pub(super) fn evaluate_or_route<T>(
    batch: RecordBatch,
    ctx: &OperatorContext,
    evaluate: impl Fn(&RecordBatch) -> Result<T>,
) -> Result<(RecordBatch, T)> {
    let error = match evaluate(&batch) {
        Ok(result) => return Ok((batch, result)),
        Err(error) => error,
    };
    let mut keep = BooleanBufferBuilder::new(batch.num_rows());
    find_bad(&batch, error, &|rows| evaluate(rows).map(drop), ctx, &mut keep)?;
    let good = filter_record_batch(&batch, &BooleanArray::new(keep.finish(), None))?;
    let result = evaluate(&good)?;
    Ok((good, result))
}

/// Appends for each row whether it can be evaluated; `error` is what becomes of all of them together.
fn find_bad(
    rows: &RecordBatch,
    error: EngineError,
    evaluate: &dyn Fn(&RecordBatch) -> Result<()>,
    ctx: &OperatorContext,
    keep: &mut BooleanBufferBuilder,
) -> Result<()> {
    let (Some(reason), 1..) = (reason(&error), rows.num_rows()) else { return Err(error) };
    if rows.num_rows() == 1 {
        keep.append(false);
        return ctx.dead_letter(&reason, || show_row(rows, 0));
    }
    let half = rows.num_rows() / 2;
    for part in [rows.slice(0, half), rows.slice(half, rows.num_rows() - half)] {
        match evaluate(&part) {
            Ok(()) => keep.append_n(part.num_rows(), true),
            Err(error) => find_bad(&part, error, evaluate, ctx, keep)?,
        }
    }
    Ok(())
}

/// What is wrong with a row, if it is the row that is wrong and not the plan.
fn reason(error: &EngineError) -> Option<String> {
    fn of_arrow(error: &ArrowError) -> Option<String> {
        let of_data = matches!(
            error,
            ArrowError::CastError(_)
                | ArrowError::ParseError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::InvalidArgumentError(_)
        );
        of_data.then(|| error.to_string())
    }
    fn of_datafusion(error: &DataFusionError) -> Option<String> {
        match error {
            DataFusionError::ArrowError(error, _) => of_arrow(error),
            DataFusionError::Execution(message) => Some(message.clone()),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_datafusion(inner),
            DataFusionError::Shared(inner) => of_datafusion(inner),
            _ => None,
        }
    }
    match error {
        EngineError::Arrow(error) => of_arrow(error),
        EngineError::DataFusion(error) => of_datafusion(error),
        _ => None,
    }
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
