//! Writes a part file a subtask. It has a name that ends in `.inprogress` until it is complete, so
//! nobody takes half a file for a whole one.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tidemill_plans::PlanError;

use super::part::PartFile;
use super::{file_error, system_error};
use crate::connector::Sink;
use crate::error::{EngineError, Result};

/// Rows in a chunk. Parquet's pages end where a write ends, so the cut shows in the file.
const CHUNK_ROWS: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// The sink.
pub(super) struct FilesSink {
    /// `None` once finished.
    writer: Option<Writer>,
    part: PartFile,
}

/// Turns rows into the bytes of a format. Text is made in memory and then written, for Arrow's
/// writers do not tell a full disk from a value that they cannot write.
pub(super) enum Writer {
    Parquet(Box<ArrowWriter<File>>),
    Csv(File),
    Json(File),
}

impl FilesSink {
    pub(super) fn open(folder: &Path, format: &str, subtask: u32, schema: SchemaRef) -> Result<Self> {
        let part = PartFile::create(folder, &format!("part-{subtask}.{format}"))?;
        let writer = Writer::new(format, part.file()?, part.path(), schema)?;
        Ok(Self { writer: Some(writer), part })
    }
}

impl Writer {
    /// A writer to `file`, which errors call `path`.
    pub(super) fn new(format: &str, file: File, path: &Path, schema: SchemaRef) -> Result<Self> {
        match format {
            "parquet" => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(broken(path))?;
                Ok(Self::Parquet(Box::new(writer)))
            }
            "csv" => {
                // A part without rows must have a header too.
                write_text(&file, path, |text| write_csv(text, &RecordBatch::new_empty(schema), true))?;
                Ok(Self::Csv(file))
            }
            "json" => Ok(Self::Json(file)),
            other => Err(PlanError::InvalidOption(format!("files cannot be written as '{other}'")).into()),
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, path: &Path) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(batch).map_err(broken(path)),
            Self::Csv(file) => write_text(file, path, |text| write_csv(text, batch, false)),
            Self::Json(file) => write_text(file, path, |text| arrow::json::LineDelimitedWriter::new(text).write(batch)),
        }
    }

    /// Writes what is still in memory, and what ends the format.
    pub(super) fn finish(self, path: &Path) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.close().map(drop).map_err(broken(path)),
            // Text is written as it comes, and just ends.
            Self::Csv(_) | Self::Json(_) => Ok(()),
        }
    }
}

fn write_csv(text: &mut Vec<u8>, batch: &RecordBatch, header: bool) -> Result<(), ArrowError> {
    arrow::csv::WriterBuilder::new().with_header(header).build(text).write(batch)
}

/// Writes what `make` makes.
fn write_text(mut file: &File, path: &Path, make: impl FnOnce(&mut Vec<u8>) -> Result<(), ArrowError>) -> Result<()> {
    let mut text = Vec::new();
    make(&mut text).map_err(broken(path))?;
    file.write_all(&text).map_err(file_error("write", path))
}

/// The system's error if it is one, else why rows cannot be written in this format.
fn broken<E: std::error::Error + 'static>(path: &Path) -> impl Fn(E) -> EngineError {
    move |error| match system_error(&error) {
        Some(source) => file_error("write", path)(source),
        None => EngineError::Format { path: path.to_path_buf(), reason: format!("cannot be written: {error}") },
    }
}

impl Sink for FilesSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.part.path();
        match &mut self.writer {
            Some(writer) => writer.write(batch, path),
            None => Err(EngineError::Format { path: path.to_path_buf(), reason: String::from("it is complete") }),
        }
    }

    fn chunk_rows(&self) -> Option<NonZeroUsize> {
        Some(CHUNK_ROWS)
    }

    fn finish(&mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        writer.finish(self.part.path())?;
        self.part.complete()
    }
}
