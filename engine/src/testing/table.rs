//! The notation: one row a line, values separated by blanks, `@seconds` for a timestamp, `-` for
//! NULL; a changelog operation in front where the stream is updating.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_plans::change::{change_column_index, change_ops};

use crate::error::{EngineError, Result};

/// Reads rows of `schema`. A line with too many or too few values, or with one that is not of its
/// column's type, is an error: a slip in a test must not pass for a NULL.
pub fn parse_rows(schema: &SchemaRef, text: &str) -> Result<RecordBatch> {
    let mut lines: Vec<Vec<Option<&str>>> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let values: Vec<_> = line.split_whitespace().map(|value| Some(value).filter(|value| *value != "-")).collect();
        if values.len() != schema.fields().len() {
            let wanted = schema.fields().len();
            return Err(wrong(format!("'{line}' has {} values, the schema {wanted} columns", values.len())));
        }
        lines.push(values);
    }
    let mut columns = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        columns.push(parse_column(field.data_type(), lines.iter().map(|line| line[index]))?);
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn wrong(message: String) -> EngineError {
    ArrowError::ParseError(message).into()
}

fn parse_column<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a str>>) -> Result<ArrayRef> {
    if let DataType::Timestamp(..) = data_type {
        let micros = |text: &str| {
            let seconds = text.strip_prefix('@').and_then(|seconds| seconds.parse::<f64>().ok());
            seconds.map(|s| (s * 1e6).round() as i64).ok_or_else(|| wrong(format!("'{text}' is no @seconds")))
        };
        let times: Result<TimestampMicrosecondArray> = values.map(|value| value.map(micros).transpose()).collect();
        return Ok(cast(&times?, data_type)?);
    }
    let texts = Arc::new(values.collect::<StringArray>()) as ArrayRef;
    Ok(cast_with_options(&texts, data_type, &CastOptions { safe: false, ..CastOptions::default() })?)
}

/// Writes rows in the notation.
pub fn show_rows(batch: &RecordBatch) -> Result<String> {
    let change = change_column_index(batch.schema_ref());
    let ops = change_ops(batch)?;
    let mut text = String::new();
    for (row, op) in ops.iter().enumerate() {
        let mut values: Vec<String> = Vec::new();
        if change.is_some() {
            values.push(op.to_string());
        }
        for column in &batch.columns()[..change.unwrap_or(batch.num_columns())] {
            values.push(show_value(column, row)?);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", values.join(" "));
    }
    Ok(text)
}

fn show_value(column: &ArrayRef, row: usize) -> Result<String> {
    if column.is_null(row) {
        return Ok(String::from("-"));
    }
    if let DataType::Timestamp(..) = column.data_type() {
        let times = cast(column, &tidemill_plans::time::event_time_type())?;
        let micros = times.as_primitive::<TimestampMicrosecondType>().value(row);
        return Ok(format!("@{}", micros as f64 / 1e6));
    }
    Ok(ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default())?.value(row).to_string())
}
