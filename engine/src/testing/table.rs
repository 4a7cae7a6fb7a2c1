//! The notation: one row a line, values separated by blanks, `@seconds` for a timestamp, `-` for
//! NULL; a changelog operation in front where the stream is updating.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_plans::change::{change_column_index, change_ops};

use crate::error::Result;

/// Reads rows of `schema`.
pub fn parse_rows(schema: &SchemaRef, text: &str) -> Result<RecordBatch> {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|line: &Vec<&str>| !line.is_empty())
        .collect();
    let mut columns = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        let values = lines.iter().map(|line| line.get(index).copied().filter(|value| *value != "-"));
        columns.push(parse_column(field.data_type(), values)?);
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn parse_column<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a str>>) -> Result<ArrayRef> {
    if let DataType::Timestamp(..) = data_type {
        let micros = |text: &str| text.trim_start_matches('@').parse::<f64>().ok().map(|s| (s * 1e6) as i64);
        let times: TimestampMicrosecondArray = values.map(|value| value.and_then(micros)).collect();
        return Ok(cast(&times, data_type)?);
    }
    Ok(cast(&(Arc::new(values.collect::<StringArray>()) as ArrayRef), data_type)?)
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
