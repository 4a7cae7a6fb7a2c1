//! How a source's files are read, whatever their format.

use std::path::PathBuf;

use tidemill_plans::PlanError;
use tidemill_plans::node::SourceNode;

use super::conform::Conform;
use super::csv_source::CsvOptions;
use super::json_source::Line;
use super::medium::Medium;
use super::source::Splits;
use super::{arrow_source, avro_source, csv_source, json_source, parquet_source, required};
use crate::connector::share::Share;
use crate::error::Result;

/// A format, and what its files are read as.
pub(super) struct Reading {
    format: Format,
    pub(super) medium: Medium,
    conform: Conform,
    batch_rows: usize,
}

enum Format {
    Parquet,
    Arrow,
    Avro,
    Csv(CsvOptions),
    Json(Line),
}

impl Reading {
    pub(super) fn new(node: &SourceNode, medium: Medium, conform: Conform, batch_rows: usize) -> Result<Self> {
        let format = match required(&node.options, "format")? {
            "parquet" => Format::Parquet,
            "arrow" => Format::Arrow,
            "avro" => Format::Avro,
            "csv" => Format::Csv(CsvOptions::new(&node.options, &node.declared, batch_rows)?),
            "json" => Format::Json(Line::Row),
            "debezium-json" => Format::Json(Line::Envelope),
            "upsert-json" => Format::Json(Line::Upsert { keys: key_places(node)? }),
            other => return Err(PlanError::InvalidOption(format!("files cannot be read as '{other}'")).into()),
        };
        Ok(Self { format, medium, conform, batch_rows })
    }

    /// A subtask's splits of these files, in order. What is wrong with a file as a whole is found here.
    pub(super) fn splits(&self, files: &[PathBuf], share: Share) -> Result<Splits> {
        let stats = &self.conform.bad_rows.stats;
        let files = &self.medium.files(files).into_iter().map(|file| file.counted(stats)).collect::<Vec<_>>();
        match &self.format {
            Format::Parquet => parquet_source::splits(files, &self.conform, self.batch_rows, share),
            Format::Arrow => arrow_source::splits(files, &self.conform, self.batch_rows, share),
            Format::Avro => avro_source::splits(files, &self.conform, self.batch_rows, share),
            Format::Csv(options) => csv_source::splits(files, &self.conform, options, share),
            Format::Json(line) => json_source::splits(files, &self.conform, line, self.batch_rows, share),
        }
    }
}

/// Where the columns of a source's key are.
fn key_places(node: &SourceNode) -> Result<Vec<usize>> {
    let place = |name: &String| Ok(node.columns.0.index_of(name)?);
    node.upsert_key.iter().map(place).collect()
}
