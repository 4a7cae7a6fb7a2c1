//! What columns files have: those of the first of them, by path. Of text, what the first rows are.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::Parser;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::json::reader::infer_json_schema;
use arrow_avro::reader::ReaderBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use tidemill_plans::PlanError;
use tidemill_plans::connector::delimiter;
use tidemill_plans::partitions::{PARTITION_OPTION, partition_columns, partition_values};

use super::file_bytes::FileBytes;
use super::listing::Listing;
use super::medium::{FileAt, Medium};
use super::{file_error, option, required, system_error};
use crate::error::{EngineError, Result};

/// Rows of a text that are looked at. What comes behind them and does not fit is a bad row.
const ROWS_MAX: usize = 1000;

/// Folders within each other that may say what columns are.
const FOLDERS_MAX: usize = 8;

/// The columns of the files that these options of a source name, those last that folders say.
pub(crate) fn columns_of(options: &[(String, String)]) -> Result<SchemaRef> {
    let (path, format) = (required(options, "path")?, required(options, "format")?);
    let (medium, path) = Medium::of(path, options)?;
    let given = partition_columns(options).len();
    let found = Listing::in_folders(&medium, path, format, given);
    let files =
        if given == 0 { found.or_else(|error| deeper(&medium, path, format).ok_or(error)) } else { found }?.files;
    let Some(first) = files.first() else { return Err(EngineError::State(String::from("a list of no files"))) };
    let columns = columns_of_file(&medium.file(first.as_path()), format, options)?;
    let said = said(&files, if given > 0 { given } else { depth(path, first) });
    let own = columns.fields().iter().filter(|field| said.iter().all(|said| said.name() != field.name())).cloned();
    Ok(Schema::new(own.chain(said.iter().cloned().map(Arc::new)).collect::<Vec<_>>()).into())
}

/// Files below folders that say what columns are, where a folder has none itself.
fn deeper(medium: &Medium, path: &str, format: &str) -> Option<Listing> {
    let is_folder = match medium {
        Medium::Disk => Path::new(path).is_dir(),
        Medium::Bucket(_) => !path.contains(['*', '?', '[']),
    };
    (1..=FOLDERS_MAX).filter(|_| is_folder).find_map(|folders| Listing::in_folders(medium, path, format, folders).ok())
}

/// How many folders a file is below a path.
fn depth(path: &str, file: &Path) -> usize {
    file.strip_prefix(path).map_or(0, |below| below.components().count().saturating_sub(1))
}

/// The columns that so many folders say, of the type that all their values have.
fn said(files: &[PathBuf], folders: usize) -> Vec<Field> {
    let values: Vec<_> = files.iter().filter_map(|file| partition_values(file, folders)).collect();
    let Some(first) = values.first().filter(|_| folders > 0) else { return Vec::new() };
    let field = |(place, (name, _)): (usize, &(String, Option<String>))| {
        let texts = || values.iter().filter_map(|values| values.get(place)?.1.as_deref());
        let is_date = |text: &str| text.len() == 10 && Date32Type::parse(text).is_some();
        let data_type = match () {
            () if texts().all(|text| text.parse::<i64>().is_ok()) => DataType::Int64,
            () if texts().all(is_date) => DataType::Date32,
            () => DataType::Utf8,
        };
        let marked = [(String::from(PARTITION_OPTION), String::from("true"))];
        Field::new(name, data_type, true).with_metadata(marked.into())
    };
    first.iter().enumerate().map(field).collect()
}

/// The columns of a file.
pub(super) fn columns_of_file(path: &FileAt, format: &str, options: &[(String, String)]) -> Result<Schema> {
    let file = path.open()?;
    match format {
        "parquet" => {
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(unreadable(path))?;
            Ok(metadata.schema().as_ref().clone())
        }
        "arrow" => Ok(FileReader::try_new(file, None).map_err(unreadable(path))?.schema().as_ref().clone()),
        "avro" => {
            let reader = ReaderBuilder::new().build(BufReader::new(file)).map_err(unreadable(path))?;
            Ok(reader.schema().as_ref().clone())
        }
        "csv" => of_csv(file, options).map_err(unreadable(path)),
        "json" => {
            let (schema, _) = infer_json_schema(BufReader::new(file), Some(ROWS_MAX)).map_err(unreadable(path))?;
            Ok(schema)
        }
        other => {
            let message =
                format!("files of the format '{other}' do not say their columns; declare them: (name TYPE, …)");
            Err(PlanError::InvalidOption(message).into())
        }
    }
}

fn of_csv(file: FileBytes, options: &[(String, String)]) -> Result<Schema, ArrowError> {
    let separator = option(options, "delimiter").map_or(Ok(b','), delimiter);
    let separator = separator.map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))?;
    let header = option(options, "header") != Some("false");
    let format = Format::default().with_header(header).with_delimiter(separator);
    Ok(format.infer_schema(BufReader::new(file), Some(ROWS_MAX))?.0)
}

fn unreadable<E: std::error::Error + 'static>(path: &Path) -> impl Fn(E) -> EngineError {
    move |error| match system_error(&error) {
        Some(source) => file_error("read", path)(source),
        None => {
            EngineError::Format { path: path.to_path_buf(), reason: format!("its columns cannot be found: {error}") }
        }
    }
}
