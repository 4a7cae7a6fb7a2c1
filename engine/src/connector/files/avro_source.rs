//! Reads Avro object container files, a file a split.
//!
//! Columns are found by name in the schema that a file brings along, and only those that somebody reads
//! are decoded. Avro's timestamps are instants or local times, SQL's TIMESTAMP is neither: it takes
//! both, instants in UTC.
//!
//! Blocks are found here and decoded by the library, each as a file of its own: its reader of whole files
//! looks at no marker, takes the end of a file that was cut off for the end of its rows, and does not come
//! back from a block that has more rows than it says.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_avro::reader::{ReaderBuilder, read_header_info};
use tidemill_plans::codec;

use super::conform::Conform;
use super::file_bytes::FileBytes;
use super::held::Held;
use super::medium::FileAt;
use super::source::{Split, Splits};
use super::{cut_off, file_error, rows_gone, system_error};
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// Bytes of the marker behind a file's header and behind each of its blocks.
const MARKER_BYTES: usize = 16;

/// A subtask's files. Columns are checked here.
pub(super) fn splits(files: &[FileAt], conform: &Conform, batch_rows: usize, share: Share) -> Result<Splits> {
    let mut splits = Splits::default();
    for path in files {
        if !share.owns(splits.add_file(1)) {
            continue;
        }
        OpenFile::open(path, conform)?;
        let (path, conform) = (path.clone(), conform.clone());
        let (begin, held) = (Position::default(), Held::default());
        splits.own.push(Box::new(AvroFile { path, begin, open: None, held, rows: 0, conform, batch_rows }));
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
    fn open(path: &FileAt, conform: &Conform) -> Result<Self> {
        let blocks = Blocks::new(path.open()?).map_err(broken(path))?;
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
    file: BufReader<FileBytes>,
    /// Where in the file the block begins that was read last, and the one behind it.
    start: u64,
    end: u64,
    /// The header, and behind it the block that was read last.
    bytes: Vec<u8>,
    header_bytes: usize,
    /// What each block ends with.
    marker: [u8; MARKER_BYTES],
}

impl Blocks {
    fn new(file: FileBytes) -> Result<Self, ArrowError> {
        let mut file = Recorded { file: BufReader::new(file), bytes: Vec::new() };
        let header = read_header_info(&mut file)?;
        let header_bytes = file.bytes.len();
        let (start, end) = (header_bytes as u64, header_bytes as u64);
        Ok(Self { file: file.file, start, end, header_bytes, bytes: file.bytes, marker: header.sync() })
    }

    /// Goes to where a block begins, or to the end; false if the file ends before.
    fn seek(&mut self, offset: u64) -> io::Result<bool> {
        let end = self.file.seek(SeekFrom::End(0))?;
        (self.start, self.end) = (offset, offset);
        self.file.seek(SeekFrom::Start(offset))?;
        Ok(offset <= end)
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
            self.start = self.end;
            self.end += (self.bytes.len() - self.header_bytes) as u64;
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
    file: BufReader<FileBytes>,
    bytes: Vec<u8>,
}

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl BufRead for Recorded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
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

/// How far a file has been read.
#[derive(Debug, Clone, Copy, Default, bincode::Encode, bincode::Decode)]
struct Position {
    /// Where the block begins that is being read; 0 before the file was opened.
    offset: u64,
    /// Rows of the blocks before it.
    rows_before: usize,
    /// Rows of it that have been passed on.
    rows: usize,
}

struct AvroFile {
    path: FileAt,
    /// Where to begin.
    begin: Position,
    /// `None` until the first batch is asked for.
    open: Option<OpenFile>,
    /// What is left of the current block.
    held: Held,
    /// Rows of the blocks before it.
    rows: usize,
    conform: Conform,
    batch_rows: usize,
}

impl AvroFile {
    fn reopen(&self) -> Result<OpenFile> {
        let mut open = OpenFile::open(&self.path, &self.conform)?;
        let offset = self.begin.offset;
        if offset > 0 && !open.blocks.seek(offset).map_err(file_error("read", &self.path))? {
            return Err(cut_off(&self.path, offset));
        }
        Ok(open)
    }
}

impl Split for AvroFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let open = self.reopen()?;
                self.open.insert(open)
            }
        };
        if self.held.is_empty() {
            self.rows += self.held.rows();
            let Some(block) = open.read().map_err(broken(&self.path))? else { return Ok(None) };
            let skip = std::mem::take(&mut self.begin.rows);
            if block.num_rows() < skip {
                let part = format!("block at byte {}", open.blocks.start);
                return Err(rows_gone(&self.path, &part, skip, block.num_rows()));
            }
            self.held = Held::behind(block, skip);
        }
        let (first, batch) = self.held.take(self.batch_rows);
        let path = self.path.display();
        let place = |row: usize| format!("{path}, row {}", self.rows + first + row);
        let declared = &batch.columns()[..self.conform.columns.fields().len()];
        self.conform.convert(declared, batch.num_rows(), &place).map(Some)
    }

    fn position(&self) -> Result<Vec<u8>> {
        let position = match &self.open {
            None => self.begin,
            Some(open) if self.held.is_empty() => {
                let rows_before = self.rows + self.held.rows();
                Position { offset: open.blocks.end, rows_before, rows: self.begin.rows }
            }
            Some(open) => Position { offset: open.blocks.start, rows_before: self.rows, rows: self.held.passed_on() },
        };
        Ok(codec::encode(&position)?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        self.begin = codec::decode(position)?;
        self.rows = self.begin.rows_before;
        Ok(())
    }
}
