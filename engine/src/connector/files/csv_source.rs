//! Reads CSV files, a file a split. A line that is no row of the file is a bad row, not an error.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use csv::{Reader, ReaderBuilder, StringRecord};

use super::conform::Conform;
use super::file_error;
use super::source::Split;
use crate::connector::option;
use crate::error::{EngineError, Result};

/// Every file. Headers are read and columns found here.
pub(super) fn splits(
    files: &[PathBuf],
    conform: &Conform,
    options: &[(String, String)],
    batch_rows: usize,
) -> Result<Vec<Box<dyn Split>>> {
    let header = option(options, "header") != Some("false");
    let delimiter = option(options, "delimiter").and_then(|text| text.bytes().next()).unwrap_or(b',');
    let null = option(options, "null_value").unwrap_or_default().to_owned();
    let mut splits: Vec<Box<dyn Split>> = Vec::new();
    for path in files {
        let file = File::open(path).map_err(file_error("open", path))?;
        let mut reader = ReaderBuilder::new().has_headers(header).delimiter(delimiter).flexible(true).from_reader(file);
        let (columns, width) = find(&mut reader, path, conform, header)?;
        splits.push(Box::new(CsvFile {
            path: path.clone(),
            reader,
            columns,
            width,
            null: null.clone(),
            conform: conform.clone(),
            batch_rows,
        }));
    }
    Ok(splits)
}

/// Where each declared column is, and how many fields a row has. Without a header: by position.
fn find(reader: &mut Reader<File>, path: &Path, conform: &Conform, header: bool) -> Result<(Vec<usize>, usize)> {
    if !header {
        let width = conform.columns.fields().len();
        return Ok(((0..width).collect(), width));
    }
    let names = reader
        .headers()
        .map_err(|error| EngineError::Format { path: path.to_path_buf(), reason: format!("no CSV header: {error}") })?;
    // Text can become any declared type; what it holds is checked row by row.
    let file: Vec<Field> = names
        .iter()
        .map(|name| {
            let declared = conform.columns.field_with_name(name).map(|field| field.data_type().clone());
            Field::new(name, declared.unwrap_or(DataType::Utf8), true)
        })
        .collect();
    let width = file.len();
    Ok((conform.find_columns(path, &Schema::new(file))?, width))
}

struct CsvFile {
    path: PathBuf,
    reader: Reader<File>,
    columns: Vec<usize>,
    width: usize,
    null: String,
    conform: Conform,
    batch_rows: usize,
}

impl CsvFile {
    fn refuse(&self, line: u64, reason: String, row: &str) -> Result<()> {
        self.conform.bad_rows.push(reason, format!("{}:{line}: {row}", self.path.display()))
    }
}

impl Split for CsvFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut builders: Vec<StringBuilder> = self.columns.iter().map(|_| StringBuilder::new()).collect();
        let mut lines: Vec<u64> = Vec::new();
        let mut record = StringRecord::new();
        while lines.len() < self.batch_rows {
            let line = self.reader.position().line();
            match self.reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {}
                Err(error) if error.is_io_error() => {
                    let reason = format!("line {line}: {error}");
                    return Err(EngineError::Format { path: self.path.clone(), reason });
                }
                Err(error) => {
                    self.refuse(line, error.to_string(), "")?;
                    continue;
                }
            }
            let line = record.position().map_or(line, csv::Position::line);
            if record.len() != self.width {
                let reason = format!("{} fields where the file has {}", record.len(), self.width);
                self.refuse(line, reason, &record.iter().collect::<Vec<_>>().join(","))?;
                continue;
            }
            for (builder, column) in builders.iter_mut().zip(&self.columns) {
                builder.append_option(record.get(*column).filter(|text| *text != self.null));
            }
            lines.push(line);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> =
            builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        let path = self.path.display();
        self.conform.convert(&columns, lines.len(), &|row| format!("{path}:{}", lines[row])).map(Some)
    }
}
