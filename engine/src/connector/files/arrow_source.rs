//! Reads Arrow IPC files: of the file format a record batch a split, of the stream format a file.
//!
//! Every subtask reads every footer when it is opened, as of Parquet files. Only the columns that
//! somebody reads are decoded.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileReader, FileReaderBuilder, StreamReader, read_footer_length};
use arrow::ipc::{Block, root_as_footer, root_as_message};
use tidemill_plans::codec;

use super::conform::Conform;
use super::file_bytes::FileBytes;
use super::held::Held;
use super::medium::FileAt;
use super::source::{Split, Splits};
use super::{file_error, rows_gone, system_error};
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// What a file of the file format begins and ends with; one of the stream format does neither.
const MAGIC: &[u8; 6] = b"ARROW1";

/// What stands in front of a message's length, but for the oldest files.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Bytes of the footer's length and of the magic word, which end a file.
const TRAILER_BYTES: u64 = 10;

/// A subtask's record batches, those of a file together. Columns are checked here.
pub(super) fn splits(files: &[FileAt], conform: &Conform, batch_rows: usize, share: Share) -> Result<Splits> {
    let mut splits = Splits::default();
    for path in files {
        let layout = Layout::of(path, conform)?;
        let parts = layout.parts();
        let first = splits.add_file(parts);
        let waiting: VecDeque<usize> = (0..parts).filter(|part| share.owns(first + part)).collect();
        if !waiting.is_empty() {
            let (path, conform) = (path.clone(), conform.clone());
            splits.own.push(Box::new(ArrowFile {
                path,
                layout,
                waiting,
                begin: Position::default(),
                open: None,
                number: 0,
                held: Held::default(),
                conform,
                batch_rows,
            }));
        }
    }
    Ok(splits)
}

/// What a file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    /// Record batches of a file of the file format; `None` for the stream format.
    batches: Option<usize>,
    /// Where each declared column is.
    columns: Vec<usize>,
}

impl Layout {
    fn of(path: &FileAt, conform: &Conform) -> Result<Self> {
        let mut file = path.open()?;
        let (batches, schema) = guarded(|| read_layout(&mut file)).map_err(broken(path))?;
        Ok(Self { batches, columns: conform.find_columns(path, &schema)? })
    }

    fn parts(&self) -> usize {
        self.batches.unwrap_or(1)
    }
}

/// How many record batches a file has, if it says so, and its columns.
fn read_layout(file: &mut FileBytes) -> Result<(Option<usize>, Schema), ArrowError> {
    if is_file_format(file)? {
        let (batches, schema) = read_footer(file)?;
        return Ok((Some(batches), schema));
    }
    check_stream(file)?;
    let stream = StreamReader::try_new(BufReader::new(file), None)?;
    Ok((None, stream.schema().as_ref().clone()))
}

/// Whether a file is of the file format. It is read from its beginning on afterwards.
fn is_file_format(file: &mut FileBytes) -> Result<bool, ArrowError> {
    let mut first = Vec::new();
    Read::by_ref(file).take(MAGIC.len() as u64).read_to_end(&mut first)?;
    file.rewind()?;
    Ok(first == MAGIC)
}

/// How many record batches a file has, and its columns. Arrow's reader trusts what the footer says
/// about places in the file, so that is checked here.
fn read_footer(file: &mut FileBytes) -> Result<(usize, Schema), ArrowError> {
    let cut_off = || ArrowError::ParseError(String::from("the file is cut off"));
    let length = file.seek(SeekFrom::End(0))?;
    let trailer_start = length.checked_sub(TRAILER_BYTES).ok_or_else(cut_off)?;
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.seek(SeekFrom::Start(trailer_start))?;
    file.read_exact(&mut trailer)?;
    let footer_start = trailer_start.checked_sub(read_footer_length(trailer)? as u64).ok_or_else(cut_off)?;
    let mut footer = vec![0; (trailer_start - footer_start) as usize];
    file.seek(SeekFrom::Start(footer_start))?;
    file.read_exact(&mut footer)?;
    let footer =
        root_as_footer(&footer).map_err(|error| ArrowError::ParseError(format!("the footer is broken: {error}")))?;
    let missing = |what: &str| ArrowError::ParseError(format!("the footer names no {what}"));
    let batches = footer.recordBatches().ok_or_else(|| missing("record batches"))?;
    let schema = footer.schema().ok_or_else(|| missing("schema"))?;
    let dictionaries = footer.dictionaries();
    if let Some(block) =
        batches.iter().chain(dictionaries.iter().flatten()).find(|block| !is_within(block, footer_start))
    {
        return Err(ArrowError::ParseError(format!(
            "the footer names a block at byte {} that is not there",
            block.offset()
        )));
    }
    Ok((batches.len(), fb_to_schema(schema)))
}

/// Checks that the messages of a stream are as long as they say, which Arrow's reader trusts. The file is
/// read from its beginning on afterwards.
fn check_stream(file: &mut FileBytes) -> Result<(), ArrowError> {
    let cut_off = || ArrowError::ParseError(String::from("the file is cut off or no Arrow stream"));
    let length = file.length()?;
    let mut reader = BufReader::new(&mut *file);
    let mut position = 0;
    let mut word = [0; 4];
    // The end may be marked by an empty message, or not at all.
    while position < length {
        reader.read_exact(&mut word)?;
        position += 4;
        if word == CONTINUATION {
            reader.read_exact(&mut word)?;
            position += 4;
        }
        let header_bytes = u64::from(u32::from_le_bytes(word));
        if header_bytes == 0 {
            break;
        }
        if header_bytes > length - position {
            return Err(cut_off());
        }
        let mut header = vec![0; header_bytes as usize];
        reader.read_exact(&mut header)?;
        position += header_bytes;
        let message = root_as_message(&header).map_err(|_| cut_off())?;
        let body_bytes = message.bodyLength();
        if !u64::try_from(body_bytes).is_ok_and(|bytes| bytes <= length - position) {
            return Err(cut_off());
        }
        reader.seek_relative(body_bytes)?;
        position += body_bytes as u64;
    }
    file.rewind()?;
    Ok(())
}

/// Whether a block ends before the footer starts.
fn is_within(block: &Block, footer_start: u64) -> bool {
    let part = |bytes: i64| u64::try_from(bytes).ok();
    let parts = [part(block.offset()), part(block.metaDataLength().into()), part(block.bodyLength())];
    let end = parts.into_iter().try_fold(0_u64, |sum, bytes| sum.checked_add(bytes?));
    end.is_some_and(|end| end <= footer_start)
}

/// Decodes with the library, which panics where a buffer is not inside its message, or a type is new.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Err(ArrowError::ParseError(text.unwrap_or("a message does not hold what it says").to_owned()))
    })
}

/// The system's error if it is one, else what is wrong with the file.
fn broken<E: std::error::Error + 'static>(path: &Path) -> impl Fn(E) -> EngineError {
    move |error| match system_error(&error) {
        Some(source) => file_error("read", path)(source),
        None => EngineError::Format { path: path.to_path_buf(), reason: format!("not readable as Arrow IPC: {error}") },
    }
}

/// How far a subtask has come in a file.
#[derive(Debug, Clone, Copy, Default, bincode::Encode, bincode::Decode)]
struct Position {
    /// The record batch that it is reading, or of a stream the next one; for a file `None` behind its last.
    batch: Option<usize>,
    /// Rows of it that have been passed on.
    rows: usize,
}

struct ArrowFile {
    path: FileAt,
    /// As it was when the source was opened.
    layout: Layout,
    /// Record batches still to read; of a stream, one number that stands for all.
    waiting: VecDeque<usize>,
    /// Where to begin: of a stream the record batch, and rows of the first one that are passed over.
    begin: Position,
    /// `None` until the first batch is asked for.
    open: Option<OpenFile>,
    /// Which record batch is the current one.
    number: usize,
    /// What is left of it.
    held: Held,
    conform: Conform,
    batch_rows: usize,
}

/// A file that is being read, of the declared columns in their order.
enum OpenFile {
    File(FileReader<BufReader<FileBytes>>),
    Stream {
        reader: StreamReader<BufReader<FileBytes>>,
        /// Record batches read so far.
        batches: usize,
    },
}

impl OpenFile {
    fn open(path: &FileAt, layout: &Layout) -> Result<Self> {
        let file = BufReader::new(path.open()?);
        let columns = layout.columns.clone();
        let opened = guarded(|| match layout.batches {
            Some(_) => FileReaderBuilder::new().with_projection(columns).build(file).map(Self::File),
            None => StreamReader::try_new(file, Some(columns)).map(|reader| Self::Stream { reader, batches: 0 }),
        });
        opened.map_err(broken(path))
    }

    /// Passes over the first record batches of a stream.
    fn skip(&mut self, before: usize, path: &Path) -> Result<()> {
        let Self::Stream { reader, batches } = self else { return Ok(()) };
        while *batches < before {
            let batch = guarded(|| reader.next().transpose()).map_err(broken(path))?;
            if batch.is_none() {
                let reason = format!("{before} of its record batches were read before, and it has {batches} now");
                return Err(EngineError::Format { path: path.to_path_buf(), reason });
            }
            *batches += 1;
        }
        Ok(())
    }

    /// The next record batch and its number.
    fn next(&mut self, waiting: &mut VecDeque<usize>) -> Result<Option<(usize, RecordBatch)>, ArrowError> {
        match self {
            Self::File(reader) => {
                let Some(number) = waiting.pop_front() else { return Ok(None) };
                reader.set_index(number)?;
                let batch = reader.next().transpose()?;
                Ok(batch.map(|batch| (number, batch)))
            }
            Self::Stream { reader, batches } => {
                let number = *batches;
                *batches += 1;
                let batch = reader.next().transpose()?;
                Ok(batch.map(|batch| (number, batch)))
            }
        }
    }
}

impl ArrowFile {
    fn reopen(&self) -> Result<OpenFile> {
        if Layout::of(&self.path, &self.conform)? == self.layout {
            let mut open = OpenFile::open(&self.path, &self.layout)?;
            open.skip(self.begin.batch.unwrap_or_default(), &self.path)?;
            return Ok(open);
        }
        // Record batches were dealt out by their number: other ones mean that others read it as it was.
        let reason = String::from("its record batches or columns are not those that it had when the job was deployed");
        Err(EngineError::Format { path: self.path.to_path_buf(), reason })
    }

    /// Sees to it that there are rows to pass on; false at the end.
    fn fill(&mut self) -> Result<bool> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let open = self.reopen()?;
                self.open.insert(open)
            }
        };
        while self.held.is_empty() {
            let next = guarded(|| open.next(&mut self.waiting)).map_err(broken(&self.path))?;
            let Some((number, batch)) = next else { return Ok(false) };
            let skip = std::mem::take(&mut self.begin.rows);
            if batch.num_rows() < skip {
                return Err(rows_gone(&self.path, &format!("record batch {number}"), skip, batch.num_rows()));
            }
            (self.number, self.held) = (number, Held::behind(batch, skip));
        }
        Ok(true)
    }

    /// The record batch to read next; of a file `None` behind the last.
    fn next_batch_number(&self) -> Option<usize> {
        match &self.open {
            Some(OpenFile::Stream { batches, .. }) => Some(*batches),
            None if self.layout.batches.is_none() => Some(self.begin.batch.unwrap_or_default()),
            _ => self.waiting.front().copied(),
        }
    }
}

impl Split for ArrowFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if !self.fill()? {
            return Ok(None);
        }
        let (first, rows) = self.held.take(self.batch_rows);
        let (path, number) = (self.path.display(), self.number);
        let place = |row: usize| format!("{path}, record batch {number}, row {}", first + row);
        self.conform.convert(rows.columns(), rows.num_rows(), &place).map(Some)
    }

    fn position(&self) -> Result<Vec<u8>> {
        let position = match self.held.is_empty() {
            true => Position { batch: self.next_batch_number(), rows: self.begin.rows },
            false => Position { batch: Some(self.number), rows: self.held.passed_on() },
        };
        Ok(codec::encode(&position)?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        self.begin = codec::decode(position)?;
        if self.layout.batches.is_some() {
            let batch = self.begin.batch;
            self.waiting.retain(|waiting| batch.is_some_and(|batch| *waiting >= batch));
        }
        Ok(())
    }
}
