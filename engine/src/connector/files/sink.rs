//! Writes a part file a subtask. It has a name that ends in `.inprogress` until it is complete, so
//! nobody takes half a file for a whole one.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tidemill_plans::PlanError;

use super::file_error;
use crate::connector::Sink;
use crate::error::{EngineError, Result};

/// Rows in a chunk. Parquet's pages end where a write ends, so the cut shows in the file.
const CHUNK_ROWS: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// The sink.
pub(super) struct FilesSink {
    /// Where the part is written.
    in_progress: PathBuf,
    /// Where it goes when it is complete.
    complete: PathBuf,
    /// `None` once finished.
    writer: Option<Writer>,
}

enum Writer {
    Parquet(Box<ArrowWriter<File>>),
    Csv(Box<arrow::csv::Writer<File>>),
    Json(arrow::json::LineDelimitedWriter<File>),
}

impl FilesSink {
    pub(super) fn open(folder: &Path, format: &str, subtask: u32, schema: SchemaRef) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(file_error("make", folder))?;
        let complete = folder.join(format!("part-{subtask}.{format}"));
        let in_progress = folder.join(format!("part-{subtask}.{format}.inprogress"));
        let file = File::create(&in_progress).map_err(file_error("write", &in_progress))?;
        let writer = match format {
            "parquet" => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = ArrowWriter::try_new(file, schema, Some(properties));
                Writer::Parquet(Box::new(writer.map_err(|error| broken(&in_progress, &error))?))
            }
            "csv" => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(file);
                // The header comes with the first batch; a part without rows must have one too.
                writer.write(&RecordBatch::new_empty(schema)).map_err(|error| broken(&in_progress, &error))?;
                Writer::Csv(Box::new(writer))
            }
            "json" => Writer::Json(arrow::json::LineDelimitedWriter::new(file)),
            other => return Err(PlanError::InvalidOption(format!("files cannot be written as '{other}'")).into()),
        };
        Ok(Self { in_progress, complete, writer: Some(writer) })
    }
}

fn broken(path: &Path, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::Format { path: path.to_path_buf(), reason: format!("cannot be written: {error}") }
}

impl Sink for FilesSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = &self.in_progress;
        match &mut self.writer {
            Some(Writer::Parquet(writer)) => writer.write(batch).map_err(|error| broken(path, &error)),
            Some(Writer::Csv(writer)) => writer.write(batch).map_err(|error| broken(path, &error)),
            Some(Writer::Json(writer)) => writer.write(batch).map_err(|error| broken(path, &error)),
            None => Err(broken(path, &"it is complete")),
        }
    }

    fn chunk_rows(&self) -> Option<NonZeroUsize> {
        Some(CHUNK_ROWS)
    }

    fn finish(&mut self) -> Result<()> {
        let path = &self.in_progress;
        match self.writer.take() {
            Some(Writer::Parquet(writer)) => {
                writer.close().map_err(|error| broken(path, &error))?;
            }
            Some(Writer::Csv(writer)) => writer.into_inner().flush().map_err(file_error("write", path))?,
            Some(Writer::Json(mut writer)) => {
                writer.finish().map_err(|error| broken(path, &error))?;
                writer.into_inner().flush().map_err(file_error("write", path))?;
            }
            None => return Ok(()),
        }
        std::fs::rename(path, &self.complete).map_err(file_error("complete", &self.complete))
    }
}

impl Drop for FilesSink {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // Nothing is lost if it stays: its name says that it is not complete.
            let _ = std::fs::remove_file(&self.in_progress);
        }
    }
}
