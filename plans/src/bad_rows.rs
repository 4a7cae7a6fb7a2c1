//! Rows on which an expression fails: a text that is no number, a division by zero.
//!
//! They are data: whoever evaluates leaves them out, and says so. A batch is evaluated as a whole; only where that
//! fails are the rows at fault looked for, by halving. Streams and batches do so alike, or they would answer differently.

use arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;

use crate::error::Result;

/// An error of an evaluation.
pub trait EvaluationError: From<ArrowError> {
    /// What is wrong with a row, if it is the row that is wrong and not the plan.
    fn reason(&self) -> Option<String>;
}

impl EvaluationError for DataFusionError {
    fn reason(&self) -> Option<String> {
        match self {
            Self::ArrowError(error, _) => reason_of_arrow(error),
            Self::Execution(message) => Some(message.clone()),
            Self::Context(_, inner) | Self::Diagnostic(_, inner) => inner.reason(),
            Self::Shared(inner) => inner.reason(),
            _ => None,
        }
    }
}

/// What is wrong with a row, if an error of Arrow's is about one.
#[must_use]
pub fn reason_of_arrow(error: &ArrowError) -> Option<String> {
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

/// What came out of a batch.
#[derive(Debug)]
pub struct Evaluated<T> {
    /// The rows that could be evaluated.
    pub rows: RecordBatch,
    /// What came out of them.
    pub result: T,
    /// Which of the rows these are; nothing if they are all.
    pub good: Option<BooleanArray>,
}

/// Evaluates a batch. `refuse` is told of each row that cannot be, as a batch of one, and why.
///
/// # Errors
/// One that is no row's; what `refuse` returns.
pub fn evaluate_good<T, E: EvaluationError>(
    batch: RecordBatch,
    evaluate: impl Fn(&RecordBatch) -> Result<T, E>,
    mut refuse: impl FnMut(&RecordBatch, String) -> Result<(), E>,
) -> Result<Evaluated<T>, E> {
    let error = match evaluate(&batch) {
        Ok(result) => return Ok(Evaluated { rows: batch, result, good: None }),
        Err(error) => error,
    };
    let mut keep = BooleanBufferBuilder::new(batch.num_rows());
    find_bad(&batch, error, &|rows| evaluate(rows).map(drop), &mut refuse, &mut keep)?;
    let good = BooleanArray::new(keep.finish(), None);
    let rows = filter_record_batch(&batch, &good)?;
    let result = evaluate(&rows)?;
    Ok(Evaluated { rows, result, good: Some(good) })
}

/// Appends for each row whether it can be evaluated; `error` is what becomes of all of them together.
fn find_bad<E: EvaluationError>(
    rows: &RecordBatch,
    error: E,
    evaluate: &dyn Fn(&RecordBatch) -> Result<(), E>,
    refuse: &mut dyn FnMut(&RecordBatch, String) -> Result<(), E>,
    keep: &mut BooleanBufferBuilder,
) -> Result<(), E> {
    let (Some(reason), 1..) = (error.reason(), rows.num_rows()) else { return Err(error) };
    if rows.num_rows() == 1 {
        keep.append(false);
        return refuse(rows, reason);
    }
    let half = rows.num_rows() / 2;
    for part in [rows.slice(0, half), rows.slice(half, rows.num_rows() - half)] {
        match evaluate(&part) {
            Ok(()) => keep.append_n(part.num_rows(), true),
            Err(error) => find_bad(&part, error, evaluate, refuse, keep)?,
        }
    }
    Ok(())
}

/// A row as `name=value` pairs, for people.
///
/// # Errors
/// A value has no text.
pub fn show_row(batch: &RecordBatch, row: usize) -> Result<String, ArrowError> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::compute::kernels::numeric::div;
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn rows_that_fail_are_left_out_and_told() {
        let divisors: ArrayRef = Arc::new(Int64Array::from(vec![5, 0, 2, 0, 1]));
        let batch = RecordBatch::try_from_iter([("a", divisors)]).unwrap();
        let ten = Int64Array::new_scalar(10);
        let mut told = Vec::new();
        let evaluated = evaluate_good(
            batch,
            |rows| Ok::<_, DataFusionError>(div(&ten, rows.column(0))?),
            |row, reason| {
                told.push(format!("{}: {reason}", show_row(row, 0)?));
                Ok(())
            },
        );
        let Evaluated { result, good, .. } = evaluated.unwrap();
        assert_eq!(result.as_primitive::<Int64Type>().values(), &[2, 5, 10]);
        assert_eq!(good.unwrap().iter().flatten().collect::<Vec<_>>(), [true, false, true, false, true]);
        assert_eq!(told, ["a=0: Divide by zero error"; 2]);
    }

    #[test]
    fn what_is_no_rows_fault_ends_it() {
        let ones: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
        let batch = RecordBatch::try_from_iter([("a", ones)]).unwrap();
        let fails = |_: &RecordBatch| Err::<(), _>(DataFusionError::Internal(String::from("x")));
        assert!(evaluate_good(batch, fails, |_, _| Ok(())).is_err());
    }
}
