//! Reads Avro object container files, a file a split.
//!
//! Columns are found by name in the schema that a file brings along, and only those that somebody reads
//! are decoded. Avro's timestamps are instants or local times, SQL's TIMESTAMP is neither: it takes
//! both, instants in UTC.
//!
//! Blocks are found here and decoded by the library, each as a file of its own: its reader of whole files
//! looks at no marker, takes the end of a file that was cut off for the end of its rows, and does not come
//! back from a block that has more rows than it says.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_avro::reader::{ReaderBuilder, read_header_info};

use super::conform::Conform;
use super::source::{Held, Split, Splits};
use super::{file_error, system_error};
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// Bytes of the marker behind a file's header and behind each of its blocks.
const MARKER_BYTES: usize = 16;

/// A subtask's files. Columns are checked here.
pub(super) fn splits(files: &[PathBuf], conform: &Conform, batch_rows: usize, share: Share) -> Result<Splits> {
    let mut splits = Splits { own: Vec::new(), all: files.len() };
    for (_, path) in files.iter().enumerate().filter(|(index, _)| share.owns(*index)) {
        OpenFile::open(path, conform)?;
        let (path, conform) = (path.clone(), conform.clone());
        splits.own.push(Box::new(AvroFile { path, open: None, held: Held::default(), rows: 0, conform, batch_rows }));
    }
    Ok(splits)
}

/// A file that is being read.
struct OpenFile {
    blocks: Blocks,
    /// Where the declared columns are; another one if none is declared, for rows to be counted.
    places: Vec<usize>,
    /// The columns as they are conformed: instants are TIMESTAMP where that is declared.
    columns: SchemaRef,
}

impl OpenFile {
    fn open(path: &Path, conform: &Conform) -> Result<Self> {
        let file = File::open(path).map_err(file_error("open", path))?;
        let blocks = Blocks::new(file).map_err(broken(path))?;
        let schema = ReaderBuilder::new().build(blocks.bytes.as_slice()).map_err(broken(path))?.schema();
        let schema = as_declared(&schema, &conform.columns);
        let mut places = conform.find_columns(path, &schema)?;
        if places.is_empty() {
            places.extend((!schema.fields().is_empty()).then_some(0));
        }
        let columns = Arc::new(schema.project(&places)?);
        Ok(Self { blocks, places, columns })
    }

    /// The rows of the next block; `None` at the end.
    fn read(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let Some(rows) = self.blocks.read()? else { return Ok(None) };
        let builder = ReaderBuilder::new().with_projection(self.places.clone()).with_batch_size(rows);
        // A batch of all its rows, no more: behind them the reader would look for more for ever.
        let batch = builder.build(self.blocks.bytes.as_slice())?.next().transpose()?;
        let batch = batch.ok_or_else(|| corrupt("a block without the rows that it counts"))?;
        let fields = self.columns.fields().iter();
        let columns = fields.zip(batch.columns()).map(|(field, column)| retyped(column, field.data_type()));
        RecordBatch::try_new(Arc::clone(&self.columns), columns.collect::<Result<_, _>>()?).map(Some)
    }
}

/// The blocks of a file.
struct Blocks {
    file: BufReader<File>,
    /// The header, and behind it the block that was read last.
    bytes: Vec<u8>,
    header_bytes: usize,
    /// What each block ends with.
    marker: [u8; MARKER_BYTES],
}

impl Blocks {
    fn new(file: File) -> Result<Self, ArrowError> {
        let mut file = Recorded { file: BufReader::new(file), bytes: Vec::new() };
        let header = read_header_info(&mut file)?;
        Ok(Self { file: file.file, header_bytes: file.bytes.len(), bytes: file.bytes, marker: header.sync() })
    }

    /// Reads the next block that has rows, and says how many; `None` at the end.
    fn read(&mut self) -> Result<Option<usize>, ArrowError> {
        while !self.file.fill_buf()?.is_empty() {
            self.bytes.truncate(self.header_bytes);
            let (rows, bytes) = (self.read_size()?, self.read_size()?);
            let rest = bytes.saturating_add(MARKER_BYTES);
            if Read::by_ref(&mut self.file).take(rest as u64).read_to_end(&mut self.bytes)? < rest {
                return Err(corrupt("it ends within a block, so it is cut off or still being written"));
            }
            if !self.bytes.ends_with(&self.marker) {
                return Err(corrupt("a block does not end with the file's marker"));
            }
            if rows > 0 {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    /// A number in Avro's encoding: seven bits a byte, the lowest first, the last bit for the sign.
    fn read_size(&mut self) -> Result<usize, ArrowError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            if self.file.read(&mut byte)? == 0 {
                return Err(corrupt("it ends within a block, so it is cut off or still being written"));
            }
            self.bytes.extend(byte);
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                let size = if value & 1 == 0 { usize::try_from(value >> 1).ok() } else { None };
                return size.ok_or_else(|| corrupt("a block of a negative size"));
            }
        }
        Err(corrupt("a block whose size is no number"))
    }
}

fn corrupt(what: &str) -> ArrowError {
    ArrowError::ParseError(what.to_owned())
}

/// Keeps what is read of a file.
struct Recorded {
    file: BufReader<File>,
    bytes: Vec<u8>,
}

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl BufRead for Recorded {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.file.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.extend_from_slice(&self.file.buffer()[..amount]);
        self.file.consume(amount);
    }
}

/// A file's columns, with instants as TIMESTAMP where that is what is declared.
fn as_declared(file: &Schema, declared: &Schema) -> Schema {
    let field = |field: &Arc<Field>| {
        let declared = declared.field_with_name(field.name()).map(Field::data_type);
        match (field.data_type(), declared) {
            (DataType::Timestamp(unit, Some(_)), Ok(DataType::Timestamp(_, None))) => {
                Arc::new(field.as_ref().clone().with_data_type(DataType::Timestamp(*unit, None)))
            }
            _ => Arc::clone(field),
        }
    };
    Schema::new(file.fields().iter().map(field).collect::<Vec<_>>())
}

/// A column whose values are of another type of the same form.
fn retyped(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    Ok(make_array(column.to_data().into_builder().data_type(data_type.clone()).build()?))
}

/// The system's error if it is one, else what is wrong with the file.
fn broken<E: std::error::Error + 'static>(path: &Path) -> impl Fn(E) -> EngineError {
    move |error| match system_error(&error) {
        Some(source) => file_error("read", path)(source),
        None => EngineError::Format { path: path.to_path_buf(), reason: format!("not readable as Avro: {error}") },
    }
}

struct AvroFile {
    path: PathBuf,
    /// `None` until the first batch is asked for.
    open: Option<OpenFile>,
    /// What is left of the current block.
    held: Held,
    /// Rows of the blocks before it.
    rows: usize,
    conform: Conform,
    batch_rows: usize,
}

impl Split for AvroFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(OpenFile::open(&self.path, &self.conform)?),
        };
        if self.held.is_empty() {
            self.rows += self.held.rows();
            let Some(block) = open.read().map_err(broken(&self.path))? else { return Ok(None) };
            self.held = Held::new(block);
        }
        let (first, batch) = self.held.take(self.batch_rows);
        let path = self.path.display();
        let place = |row: usize| format!("{path}, row {}", self.rows + first + row);
        let declared = &batch.columns()[..self.conform.columns.fields().len()];
        self.conform.convert(declared, batch.num_rows(), &place).map(Some)
    }
}
