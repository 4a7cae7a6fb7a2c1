//! What columns files have: those of the first of them, by path. Of text, what the first rows are.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use arrow::csv::reader::Format;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::json::reader::infer_json_schema;
use arrow_avro::reader::ReaderBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use tidemill_plans::PlanError;
use tidemill_plans::connector::delimiter;

use super::listing::Listing;
use super::{file_error, option, required};
use crate::error::{EngineError, Result};

/// Rows of a text that are looked at. What comes behind them and does not fit is a bad row.
const ROWS_MAX: usize = 1000;

/// The columns of the files that these options of a source name.
pub(crate) fn columns_of(options: &[(String, String)]) -> Result<SchemaRef> {
    let format = required(options, "format")?;
    let listing = Listing::of(required(options, "path")?, format)?;
    let Some(path) = listing.files.first() else { return Err(EngineError::State(String::from("a list of no files"))) };
    let file = File::open(path).map_err(file_error("open", path))?;
    match format {
        "parquet" => {
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(unreadable(path))?;
            Ok(metadata.schema().as_ref().clone().into())
        }
        "arrow" => Ok(FileReader::try_new(file, None).map_err(unreadable(path))?.schema()),
        "avro" => Ok(ReaderBuilder::new().build(BufReader::new(file)).map_err(unreadable(path))?.schema()),
        "csv" => of_csv(file, options).map(SchemaRef::from).map_err(unreadable(path)),
        "json" => {
            let (schema, _) = infer_json_schema(BufReader::new(file), Some(ROWS_MAX)).map_err(unreadable(path))?;
            Ok(schema.into())
        }
        other => {
            let message =
                format!("files of the format '{other}' do not say their columns; declare them: (name TYPE, …)");
            Err(PlanError::InvalidOption(message).into())
        }
    }
}

fn of_csv(file: File, options: &[(String, String)]) -> Result<Schema, ArrowError> {
    let separator = option(options, "delimiter").map_or(Ok(b','), delimiter);
    let separator = separator.map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))?;
    let header = option(options, "header") != Some("false");
    let format = Format::default().with_header(header).with_delimiter(separator);
    Ok(format.infer_schema(BufReader::new(file), Some(ROWS_MAX))?.0)
}

fn unreadable<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> EngineError {
    move |error| EngineError::Format {
        path: path.to_path_buf(),
        reason: format!("its columns cannot be found: {error}"),
    }
}
