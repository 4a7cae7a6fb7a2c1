//! Reads JSON lines, a file a split. A line is a row, an envelope of changes, or a key with its last row; one
//! that is no JSON object of the declared types is a bad row.

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use tidemill_plans::codec;

use super::changes::{envelope, keyed_row, read_envelopes, read_upserts};
use super::conform::Conform;
use super::file_bytes::FileBytes;
use super::medium::FileAt;
use super::source::{Split, Splits};
use super::{cut_off, file_error};
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// What a line holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A row.
    Row,
    /// A Debezium envelope.
    Envelope,
    /// A key with its last row.
    Upsert {
        /// The columns of the key.
        keys: Vec<usize>,
    },
}

/// A subtask's files.
pub(super) fn splits(
    files: &[FileAt],
    conform: &Conform,
    line: &Line,
    batch_rows: usize,
    share: Share,
) -> Result<Splits> {
    let (objects, batch_lines) = match line {
        Line::Row => (Arc::clone(&conform.columns), batch_rows),
        // An update is two rows.
        Line::Envelope => (envelope(&conform.columns), (batch_rows / 2).max(1)),
        Line::Upsert { keys } => (keyed_row(&conform.columns, keys), batch_rows),
    };
    let mut splits = Splits::default();
    for path in files {
        if !share.owns(splits.add_file(1)) {
            continue;
        }
        // A declared type that JSON has no reader for is an error now, not a bad row each time.
        decode(&objects, path, std::iter::empty(), 1)?;
        splits.own.push(Box::new(JsonFile {
            path: path.clone(),
            open: None,
            offset: 0,
            read: 0,
            line: line.clone(),
            objects: Arc::clone(&objects),
            conform: conform.clone(),
            batch_lines,
        }));
    }
    Ok(splits)
}

struct JsonFile {
    path: FileAt,
    /// `None` until the first batch is asked for.
    open: Option<BufReader<FileBytes>>,
    /// Bytes read so far.
    offset: u64,
    /// Lines read so far.
    read: u64,
    line: Line,
    /// What a line is decoded as.
    objects: SchemaRef,
    conform: Conform,
    batch_lines: usize,
}

/// The lines that could be decoded.
#[derive(Default)]
struct Decoded {
    objects: Vec<RecordBatch>,
    /// Which line each object was.
    lines: Vec<usize>,
}

/// Lines of a file that are not empty. Bytes: what is no UTF-8 is one bad row.
#[derive(Default)]
struct Lines {
    /// The lines behind each other.
    text: Vec<u8>,
    /// Where each of them ends in `text`, and its number in the file.
    ends: Vec<(usize, u64)>,
}

impl Lines {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn text(&self, line: usize) -> &[u8] {
        let start = if line == 0 { 0 } else { self.ends[line - 1].0 };
        &self.text[start..self.ends[line].0]
    }
}

/// How far a file has been read.
#[derive(bincode::Encode, bincode::Decode)]
struct Position {
    offset: u64,
    lines: u64,
}

impl JsonFile {
    fn reopen(&self) -> Result<BufReader<FileBytes>> {
        let mut file = self.path.open()?;
        if self.offset > 0 {
            let end = file.seek(SeekFrom::End(0)).map_err(file_error("read", &self.path))?;
            if end < self.offset {
                return Err(cut_off(&self.path, self.offset));
            }
            file.seek(SeekFrom::Start(self.offset)).map_err(file_error("read", &self.path))?;
        }
        Ok(BufReader::new(file))
    }

    /// The next lines; `None` at the end. Empty lines count, though they are left out.
    fn read_lines(&mut self) -> Result<Option<Lines>> {
        let file = match &mut self.open {
            Some(open) => open,
            None => {
                let open = self.reopen()?;
                self.open.insert(open)
            }
        };
        let mut lines = Lines::default();
        for _ in 0..self.batch_lines {
            let start = lines.text.len();
            let read = file.read_until(b'\n', &mut lines.text).map_err(file_error("read", &self.path))?;
            if read == 0 {
                return Ok(Some(lines).filter(|lines| lines.len() > 0));
            }
            self.offset += read as u64;
            self.read += 1;
            if lines.text[start..].trim_ascii().is_empty() {
                lines.text.truncate(start);
            } else {
                lines.ends.push((lines.text.len(), self.read));
            }
        }
        Ok(Some(lines))
    }

    /// Decodes the lines of a range together. If one of them is no row, the halves are looked at alone:
    /// so a few bad lines cost a few decodings more, not one for each line.
    fn decode_range(&self, lines: &Lines, range: Range<usize>, decoded: &mut Decoded) -> Result<()> {
        let texts = range.clone().map(|line| lines.text(line));
        match decode(&self.objects, &self.path, texts, range.len()) {
            Ok(objects) => {
                decoded.objects.extend(objects);
                decoded.lines.extend(range);
            }
            Err(error) if range.len() == 1 => self.refuse(lines, range.start, error.chain())?,
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.decode_range(lines, range.start..middle, decoded)?;
                self.decode_range(lines, middle..range.end, decoded)?;
            }
        }
        Ok(())
    }

    fn refuse(&self, lines: &Lines, line: usize, reason: String) -> Result<()> {
        let text = String::from_utf8_lossy(lines.text(line).trim_ascii_end());
        let place = format!("{}:{}: {text}", self.path.display(), lines.ends[line].1);
        self.conform.bad_rows.push(reason, place)
    }
}

/// Reads lines of which each must be one object. The decoder reserves memory for `rows` rows of every
/// column, so that is the count of lines and no guess.
fn decode<'a>(
    schema: &SchemaRef,
    path: &Path,
    lines: impl Iterator<Item = &'a [u8]>,
    rows: usize,
) -> Result<Option<RecordBatch>> {
    let broken = |error: ArrowError| EngineError::Format {
        path: path.to_path_buf(),
        reason: format!("not readable as JSON lines: {error}"),
    };
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(rows).build_decoder().map_err(broken)?;
    for (before, line) in lines.enumerate() {
        if decoder.decode(line).map_err(broken)? < line.len() || decoder.len() > before + 1 {
            return Err(broken(ArrowError::JsonError(String::from("more than one object in a line"))));
        }
        if decoder.has_partial_record() {
            // The flush says what is missing.
            break;
        }
    }
    decoder.flush().map_err(broken)
}

impl Split for JsonFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(lines) = self.read_lines()? else { return Ok(None) };
        let mut decoded = Decoded::default();
        if lines.len() > 0 {
            self.decode_range(&lines, 0..lines.len(), &mut decoded)?;
        }
        let objects = match decoded.objects.as_slice() {
            [objects] => objects.clone(),
            parts => concat_batches(&self.objects, parts)?,
        };
        let columns = &self.conform.columns;
        let refuse = |object: usize, reason| self.refuse(&lines, decoded.lines[object], reason);
        match &self.line {
            Line::Row => Ok(Some(objects)),
            Line::Envelope => read_envelopes(&objects, columns, refuse).map(Some),
            Line::Upsert { keys } => read_upserts(&objects, columns, keys, refuse).map(Some),
        }
    }

    fn position(&self) -> Result<Vec<u8>> {
        Ok(codec::encode(&Position { offset: self.offset, lines: self.read })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let Position { offset, lines } = codec::decode(position)?;
        (self.offset, self.read) = (offset, lines);
        Ok(())
    }
}
