//! Turns rows into the bytes of a file, whatever its format.

use std::io::{BufWriter, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::json::writer::LineDelimited;
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::format::AvroOcfFormat;
use arrow_avro::writer::{AvroWriter, WriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tidemill_plans::PlanError;
use tidemill_plans::connector::{Direction, value};
use tidemill_plans::flat::flat;

use super::changes::Encoding;
use super::parts::PartBytes;
use super::{file_error, required, system_error};
use crate::error::{EngineError, Result};

/// Turns rows into the bytes of a format. Text is made in memory and then written, for Arrow's
/// writers do not tell a full disk from a value that they cannot write.
pub(super) enum Writer {
    Parquet(Box<ArrowWriter<PartBytes>>),
    Arrow(Box<FileWriter<BufWriter<PartBytes>>>),
    Avro(Box<AvroWriter<BufWriter<PartBytes>>>),
    Csv(PartBytes),
    Json(PartBytes, Encoding),
}

impl Writer {
    /// A writer to `file`, which errors call `path`; `keys` tell rows apart where the format wants to know.
    pub(super) fn new(
        options: &[(String, String)],
        keys: &[usize],
        mut file: PartBytes,
        path: &Path,
        schema: SchemaRef,
    ) -> Result<Self> {
        match required(options, "format")? {
            "parquet" => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(broken(path))?;
                Ok(Self::Parquet(Box::new(writer)))
            }
            "arrow" => {
                let writer = FileWriter::try_new_buffered(file, &schema).map_err(broken(path))?;
                Ok(Self::Arrow(Box::new(writer)))
            }
            "avro" => avro_writer(options, file, path, &schema).map(Box::new).map(Self::Avro),
            "csv" => {
                // A part without rows must have a header too.
                write_text(&mut file, path, |text| write_csv(text, &RecordBatch::new_empty(schema), true))?;
                Ok(Self::Csv(file))
            }
            "json" => Ok(Self::Json(file, Encoding::Rows)),
            "debezium-json" => Ok(Self::Json(file, Encoding::Debezium)),
            "upsert-json" => Ok(Self::Json(file, Encoding::Upsert { keys: keys.to_vec() })),
            other => Err(PlanError::InvalidOption(format!("files cannot be written as '{other}'")).into()),
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, path: &Path) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(batch).map_err(broken(path)),
            Self::Arrow(writer) => writer.write(batch).map_err(broken(path)),
            Self::Avro(writer) => writer.write(batch).map_err(|error| broken(path)(ArrowError::from(error))),
            Self::Csv(file) => write_text(file, path, |text| write_csv(text, batch, false)),
            Self::Json(file, encoding) => {
                let objects = encoding.encode(batch)?;
                write_text(file, path, |text| write_json(text, &objects, encoding.has_nulls()))
            }
        }
    }

    /// Writes what is still in memory, and what ends the format.
    pub(super) fn finish(self, path: &Path) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.close().map(drop).map_err(broken(path)),
            Self::Arrow(mut writer) => writer.finish().map_err(broken(path)),
            Self::Avro(mut writer) => writer.finish().map_err(|error| broken(path)(ArrowError::from(error))),
            // Text is written as it comes, and just ends.
            Self::Csv(_) | Self::Json(..) => Ok(()),
        }
    }
}

/// A writer of object container files. The marker between their blocks is random, as Avro wants it: the
/// same rows make files that differ in it.
fn avro_writer(
    options: &[(String, String)],
    file: PartBytes,
    path: &Path,
    schema: &SchemaRef,
) -> Result<AvroWriter<BufWriter<PartBytes>>> {
    if let Some(field) = schema.fields().iter().find(|field| !is_avro_name(field.name())) {
        let name = field.name();
        let reason =
            format!("Avro has no field '{name}', only names of letters, digits and _; write AS name in the query");
        return Err(EngineError::Format { path: path.to_path_buf(), reason });
    }
    let codec = match value("files", Direction::Sink, options, "codec") {
        Some("none") => None,
        Some("deflate") => Some(CompressionCodec::Deflate),
        Some("zstd") => Some(CompressionCodec::ZStandard),
        _ => Some(CompressionCodec::Snappy),
    };
    let builder = WriterBuilder::new(schema.as_ref().clone()).with_compression(codec);
    builder.build::<_, AvroOcfFormat>(BufWriter::new(file)).map_err(|error| broken(path)(ArrowError::from(error)))
}

/// Whether a field may have this name, which the library would change otherwise.
fn is_avro_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

fn write_csv(text: &mut Vec<u8>, batch: &RecordBatch, header: bool) -> Result<(), ArrowError> {
    arrow::csv::WriterBuilder::new().with_header(header).build(text).write(&*flat(batch)?)
}

fn write_json(text: &mut Vec<u8>, objects: &RecordBatch, nulls: bool) -> Result<(), ArrowError> {
    let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(nulls);
    builder.build::<_, LineDelimited>(text).write(objects)
}

/// Writes what `make` makes.
fn write_text(
    file: &mut PartBytes,
    path: &Path,
    make: impl FnOnce(&mut Vec<u8>) -> Result<(), ArrowError>,
) -> Result<()> {
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
