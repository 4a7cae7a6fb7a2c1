//! Reads JSON lines, a file a split. A line that is no JSON object of the declared types is a bad row.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;

use super::conform::Conform;
use super::file_error;
use super::source::{Split, Splits};
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// A subtask's files.
pub(super) fn splits(files: &[PathBuf], conform: &Conform, batch_rows: usize, share: Share) -> Result<Splits> {
    let mut splits = Splits { own: Vec::new(), all: files.len() };
    for (_, path) in files.iter().enumerate().filter(|(index, _)| share.owns(*index)) {
        // A declared type that JSON has no reader for is an error now, not a bad row each time.
        decode(&conform.columns, path, std::iter::empty(), 1)?;
        splits.own.push(Box::new(JsonFile {
            path: path.clone(),
            open: None,
            read: 0,
            conform: conform.clone(),
            batch_rows,
        }));
    }
    Ok(splits)
}

struct JsonFile {
    path: PathBuf,
    /// `None` until the first batch is asked for.
    open: Option<BufReader<File>>,
    /// Lines read so far.
    read: u64,
    conform: Conform,
    batch_rows: usize,
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

impl JsonFile {
    /// The next lines; `None` at the end. Empty lines count, though they are left out.
    fn read_lines(&mut self) -> Result<Option<Lines>> {
        let file = match &mut self.open {
            Some(open) => open,
            none => none.insert(BufReader::new(File::open(&self.path).map_err(file_error("open", &self.path))?)),
        };
        let mut lines = Lines::default();
        for _ in 0..self.batch_rows {
            let start = lines.text.len();
            if file.read_until(b'\n', &mut lines.text).map_err(file_error("read", &self.path))? == 0 {
                return Ok(Some(lines).filter(|lines| lines.len() > 0));
            }
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
    fn decode_range(&self, lines: &Lines, range: Range<usize>, rows: &mut Vec<RecordBatch>) -> Result<()> {
        let texts = range.clone().map(|line| lines.text(line));
        match decode(&self.conform.columns, &self.path, texts, range.len()) {
            Ok(batch) => rows.extend(batch),
            Err(error) if range.len() == 1 => self.refuse(lines, range.start, &error)?,
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.decode_range(lines, range.start..middle, rows)?;
                self.decode_range(lines, middle..range.end, rows)?;
            }
        }
        Ok(())
    }

    fn refuse(&self, lines: &Lines, line: usize, error: &EngineError) -> Result<()> {
        let text = String::from_utf8_lossy(lines.text(line).trim_ascii_end());
        let place = format!("{}:{}: {text}", self.path.display(), lines.ends[line].1);
        self.conform.bad_rows.push(error.chain(), place)
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
        let mut rows = Vec::new();
        if lines.len() > 0 {
            self.decode_range(&lines, 0..lines.len(), &mut rows)?;
        }
        Ok(Some(match rows.as_slice() {
            [batch] => batch.clone(),
            rows => concat_batches(&self.conform.columns, rows)?,
        }))
    }
}
