//! Rows on which an expression fails: a text that is no number, a division by zero.
//!
//! They are data, so they go to the dead letters and the other rows go on. A batch is evaluated as a
//! whole; only where that fails are the rows at fault looked for, by halving.

use arrow::array::{Array, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;

use crate::error::{EngineError, Result};
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
    if reason(&error).is_none() {
        return Err(error);
    }
    let mut keep = BooleanBufferBuilder::new(batch.num_rows());
    find_bad(&batch, &|rows| evaluate(rows).map(drop), ctx, &mut keep)?;
    let good = filter_record_batch(&batch, &BooleanArray::new(keep.finish(), None))?;
    let result = evaluate(&good)?;
    Ok((good, result))
}

/// Appends for each row whether it can be evaluated.
fn find_bad(
    rows: &RecordBatch,
    evaluate: &dyn Fn(&RecordBatch) -> Result<()>,
    ctx: &OperatorContext,
    keep: &mut BooleanBufferBuilder,
) -> Result<()> {
    let Err(error) = evaluate(rows) else {
        keep.append_n(rows.num_rows(), true);
        return Ok(());
    };
    let Some(reason) = reason(&error) else { return Err(error) };
    if rows.num_rows() <= 1 {
        keep.append_n(rows.num_rows(), false);
        return if rows.num_rows() == 1 { ctx.dead_letter(&reason, || show_row(rows, 0)) } else { Err(error) };
    }
    let half = rows.num_rows() / 2;
    find_bad(&rows.slice(0, half), evaluate, ctx, keep)?;
    find_bad(&rows.slice(half, rows.num_rows() - half), evaluate, ctx, keep)
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
    for row in (0..batch.num_rows()).filter(|row| bad.is_valid(*row) && bad.value(*row)) {
        ctx.dead_letter(reason, || show_row(&batch, row))?;
    }
    Ok(filter_record_batch(&batch, &arrow::compute::not(bad)?)?)
}

/// A row as `name=value` pairs, for people.
pub(super) fn show_row(batch: &RecordBatch, row: usize) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut text = String::new();
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(field.name());
        text.push('=');
        text.push_str(&ArrayFormatter::try_new(column.as_ref(), &options)?.value(row).to_string());
    }
    Ok(text)
}
