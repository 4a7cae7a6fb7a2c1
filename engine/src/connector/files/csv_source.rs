//! Reads CSV files, a file a split. A line that is no row of the file is a bad row, not an error.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use csv::{Reader, ReaderBuilder, StringRecord};
use tidemill_plans::connector::delimiter;

use super::conform::Conform;
use super::file_error;
use super::source::{Split, Splits};
use crate::connector::option;
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// A subtask's files. Their headers are read and columns found here: what is wrong with them fails the
/// deployment, not the run.
pub(super) fn splits(
    files: &[PathBuf],
    conform: &Conform,
    options: &[(String, String)],
    batch_rows: usize,
    share: Share,
) -> Result<Splits> {
    let dialect = Dialect::from_options(options)?;
    let mut splits = Splits { own: Vec::new(), all: files.len() };
    for (_, path) in files.iter().enumerate().filter(|(index, _)| share.owns(*index)) {
        dialect.open(path, conform)?;
        splits.own.push(Box::new(CsvFile {
            path: path.clone(),
            dialect: dialect.clone(),
            open: None,
            conform: conform.clone(),
            batch_rows,
        }));
    }
    Ok(splits)
}

/// How a source's files are written.
#[derive(Clone)]
struct Dialect {
    header: bool,
    delimiter: u8,
    null: String,
}

/// A file that is being read.
struct OpenFile {
    reader: Reader<File>,
    /// Where each declared column is.
    columns: Vec<usize>,
    /// How many fields a row has.
    width: usize,
}

impl Dialect {
    fn from_options(options: &[(String, String)]) -> Result<Self> {
        Ok(Self {
            header: option(options, "header") != Some("false"),
            delimiter: option(options, "delimiter").map_or(Ok(b','), delimiter)?,
            null: option(options, "null_value").unwrap_or_default().to_owned(),
        })
    }

    /// Opens a file and finds the declared columns in it. Without a header: by position.
    fn open(&self, path: &Path, conform: &Conform) -> Result<OpenFile> {
        let file = File::open(path).map_err(file_error("open", path))?;
        let mut builder = ReaderBuilder::new();
        let mut reader = builder.has_headers(self.header).delimiter(self.delimiter).flexible(true).from_reader(file);
        if !self.header {
            let width = conform.columns.fields().len();
            return Ok(OpenFile { reader, columns: (0..width).collect(), width });
        }
        let names = reader.headers().map_err(|error| broken(path, "no CSV header", error))?;
        // Text can become any declared type; what it holds is checked row by row.
        let file: Vec<Field> = names
            .iter()
            .map(|name| {
                let declared = conform.columns.field_with_name(name).map(|field| field.data_type().clone());
                Field::new(name, declared.unwrap_or(DataType::Utf8), true)
            })
            .collect();
        let width = file.len();
        let columns = conform.find_columns(path, &Schema::new(file))?;
        Ok(OpenFile { reader, columns, width })
    }
}

/// What a line turned out to be.
enum Line {
    /// A row, which begins in this line.
    Row(u64),
    Bad {
        line: u64,
        reason: String,
        text: String,
    },
    End,
}

impl OpenFile {
    /// Reads the next line into `record`.
    fn read(&mut self, record: &mut StringRecord) -> csv::Result<Line> {
        let before = self.reader.position().line();
        match self.reader.read_record(record) {
            Ok(false) => return Ok(Line::End),
            Ok(true) => {}
            Err(error) if error.is_io_error() => return Err(error),
            Err(error) => return Ok(Line::Bad { line: before, reason: error.to_string(), text: String::new() }),
        }
        let line = record.position().map_or(before, csv::Position::line);
        if record.len() == self.width {
            return Ok(Line::Row(line));
        }
        let reason = format!("{} fields where the file has {}", record.len(), self.width);
        Ok(Line::Bad { line, reason, text: record.iter().collect::<Vec<_>>().join(",") })
    }
}

/// The system's error if it is one, else what is wrong with the file.
fn broken(path: &Path, what: &str, error: csv::Error) -> EngineError {
    let reason = format!("{what}: {error}");
    match error.into_kind() {
        csv::ErrorKind::Io(source) => file_error("read", path)(source),
        _ => EngineError::Format { path: path.to_path_buf(), reason },
    }
}

struct CsvFile {
    path: PathBuf,
    dialect: Dialect,
    /// `None` until the first batch is asked for.
    open: Option<OpenFile>,
    conform: Conform,
    batch_rows: usize,
}

impl Split for CsvFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(self.dialect.open(&self.path, &self.conform)?),
        };
        let path = self.path.display();
        let mut builders: Vec<StringBuilder> = open.columns.iter().map(|_| StringBuilder::new()).collect();
        let mut lines: Vec<u64> = Vec::new();
        let mut record = StringRecord::new();
        // Bad lines count too: a run of them must not keep the source from hearing a command.
        for _ in 0..self.batch_rows {
            match open.read(&mut record).map_err(|error| broken(&self.path, "not readable as CSV", error))? {
                Line::Row(line) => {
                    for (builder, column) in builders.iter_mut().zip(&open.columns) {
                        builder.append_option(record.get(*column).filter(|text| *text != self.dialect.null));
                    }
                    lines.push(line);
                }
                Line::Bad { line, reason, text } => {
                    self.conform.bad_rows.push(reason, format!("{path}:{line}: {text}"))?;
                }
                Line::End if lines.is_empty() => return Ok(None),
                Line::End => break,
            }
        }
        let columns: Vec<ArrayRef> =
            builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        self.conform.convert(&columns, lines.len(), &|row| format!("{path}:{}", lines[row])).map(Some)
    }
}
