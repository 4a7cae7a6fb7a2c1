//! Reads CSV files. A line that is no row of the file is a bad row, not an error.
//!
//! Several subtasks share a file by its blocks ([`blocks`]). Records are cut into fields without being
//! copied ([`record`]), and columns made from the fields' bytes ([`column`]). Only the columns that
//! somebody reads are made; of all others, it only matters that they are there.

mod blocks;
mod column;
mod record;

use std::cell::RefCell;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_plans::codec;
use tidemill_plans::connector::delimiter;

use self::blocks::{Blocks, Lines, Text};
use self::column::push_column;
use self::record::{Fields, Records, Syntax};
use super::conform::Conform;
use super::file_error;
use super::medium::FileAt;
use super::source::{Split, Splits};
use crate::connector::option;
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// Bytes of a batch's lines: it ends with the line that passes them.
const BATCH_BYTES: usize = 16 << 20;

/// How a source's files are read.
#[derive(Clone)]
pub(super) struct CsvOptions {
    syntax: Syntax,
    header: bool,
    null: String,
    /// The columns in the order in which a file without a header has them.
    declared: Vec<String>,
    /// What subtasks share a file by.
    block_bytes: u64,
    batch_rows: usize,
}

impl CsvOptions {
    /// Bytes of a block: much more than a record has, and little enough that subtasks which read blocks
    /// of one file are not far from each other in event time.
    const BLOCK_BYTES: u64 = 4 << 20;

    pub(super) fn new(options: &[(String, String)], declared: &[String], batch_rows: usize) -> Result<Self> {
        Ok(Self {
            syntax: Syntax { delimiter: option(options, "delimiter").map_or(Ok(b','), delimiter)? },
            header: option(options, "header") != Some("false"),
            null: option(options, "null_value").unwrap_or_default().to_owned(),
            declared: declared.to_vec(),
            block_bytes: Self::BLOCK_BYTES,
            batch_rows,
        })
    }

    #[cfg(test)]
    fn with_block_bytes(self, block_bytes: u64) -> Self {
        Self { block_bytes, ..self }
    }
}

/// A subtask's blocks, those of a file together. Headers are read and columns found here: what is wrong
/// with them fails the deployment, not the run.
pub(super) fn splits(files: &[FileAt], conform: &Conform, options: &CsvOptions, share: Share) -> Result<Splits> {
    let mut splits = Splits::default();
    for path in files {
        let length = path.size()?;
        // Who has a block reads the whole file: what is far is read by one.
        let block_bytes = if path.is_far() { u64::MAX } else { options.block_bytes };
        let blocks = Blocks::new(length, block_bytes, splits.all, share);
        splits.add_file(blocks.all);
        if blocks.is_empty() {
            continue;
        }
        OpenFile::open(path, options, conform)?;
        let (path, options, conform) = (path.clone(), options.clone(), conform.clone());
        splits.own.push(Box::new(CsvFile { path, options, blocks, begin: None, open: None, conform }));
    }
    Ok(splits)
}

/// A file that is being read, from behind its header on.
struct OpenFile {
    text: Text,
    /// Where each declared column is among the fields of a row.
    columns: Vec<usize>,
    /// How many fields a row has.
    width: usize,
    /// Asked for bad rows only.
    lines: RefCell<Lines>,
}

impl OpenFile {
    /// Opens a file and finds the declared columns in it. Without a header: by position.
    fn open(path: &FileAt, options: &CsvOptions, conform: &Conform) -> Result<Self> {
        let mut text = Text::new(path.open()?, path, options.syntax)?;
        let names = match options.header {
            true => header(&mut text, path)?,
            false => options.declared.clone(),
        };
        // Text can become any declared type; what it holds is checked row by row.
        let fields: Vec<Field> = names
            .iter()
            .map(|name| {
                let declared = conform.columns.field_with_name(name).map(|field| field.data_type().clone());
                Field::new(name, declared.unwrap_or(DataType::Utf8), true)
            })
            .collect();
        let width = fields.len();
        let columns = conform.find_columns(path, &Schema::new(fields))?;
        Ok(Self { text, columns, width, lines: RefCell::default() })
    }

    /// Records of a block, which ends at `end`.
    fn read_block(&mut self, end: u64, batch_rows: usize) -> Result<Records> {
        let mut records = Records::new(&self.columns, self.width);
        // Bad lines count too: a run of them must not keep the source from hearing a command.
        while records.lines() < batch_rows && self.text.position() < BATCH_BYTES {
            if !self.text.read_record(&mut records, end)? {
                break;
            }
        }
        Ok(records)
    }
}

/// The names in the first record; none in an empty file.
fn header(text: &mut Text, path: &Path) -> Result<Vec<String>> {
    let mut fields = Fields::default();
    text.read_fields(&mut fields)?;
    let names = fields.iter(text.bytes()).map(|name| std::str::from_utf8(name).map(str::to_owned));
    names
        .collect::<Result<_, _>>()
        .map_err(|error| EngineError::Format { path: path.to_path_buf(), reason: format!("no CSV header: {error}") })
}

/// How far a subtask has come in a file.
#[derive(bincode::Encode, bincode::Decode)]
struct Position {
    /// The block that it is reading; `None` behind its last.
    block: Option<u64>,
    /// Where it is, maybe far before the block; `None` before it has opened the file.
    place: Option<Place>,
}

/// The beginning of a record, which no quotes hide.
#[derive(Debug, Clone, Copy, bincode::Encode, bincode::Decode)]
struct Place {
    offset: u64,
    /// What is known of the lines before.
    lines: Lines,
}

struct CsvFile {
    path: FileAt,
    options: CsvOptions,
    blocks: Blocks,
    /// Where to go when it is opened, if not to its beginning.
    begin: Option<Place>,
    /// `None` until the first batch is asked for.
    open: Option<OpenFile>,
    conform: Conform,
}

impl CsvFile {
    fn reopen(&self) -> Result<OpenFile> {
        let now = self.path.size()?;
        if self.blocks.are_shared && now != self.blocks.length {
            let before = self.blocks.length;
            let reason = format!("it had {before} bytes when the job was deployed and has {now} now");
            return Err(EngineError::Format { path: self.path.to_path_buf(), reason });
        }
        let mut open = OpenFile::open(&self.path, &self.options, &self.conform)?;
        if let Some(place) = self.begin {
            open.text.seek(place.offset)?;
            open.lines = RefCell::new(place.lines);
        }
        Ok(open)
    }

    /// The records of the next batch; `None` behind the last block.
    fn next_records(&mut self) -> Result<Option<Records>> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let open = self.reopen()?;
                self.open.insert(open)
            }
        };
        while let Some(block) = self.blocks.current() {
            if self.path.is_far() {
                // Else a bad row would have all that is before it read once more.
                let line = open.lines.borrow_mut().at(&open.text, open.text.position());
                line.map_err(file_error("read", &self.path))?;
            }
            open.text.forget_read();
            if open.text.enter(block.start)? {
                let records = open.read_block(block.end, self.options.batch_rows)?;
                if records.lines() > 0 {
                    return Ok(Some(records));
                }
            }
            self.blocks.next();
        }
        Ok(None)
    }

    fn report(&self, open: &OpenFile, records: &Records, place: impl Fn(usize) -> String) -> Result<()> {
        for bad in &records.bad {
            let reason = format!("{} fields where the file has {}", bad.fields.len(), open.width);
            let fields: Vec<_> = bad.fields.iter(open.text.bytes()).map(String::from_utf8_lossy).collect();
            self.conform.bad_rows.push(reason, format!("{}: {}", place(bad.start), fields.join(",")))?;
        }
        Ok(())
    }
}

impl Split for CsvFile {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(records) = self.next_records()? else { return Ok(None) };
        let Some(open) = &self.open else { return Ok(None) };
        let path = self.path.display();
        let place = |start: usize| match open.lines.borrow_mut().at(&open.text, start) {
            Ok(line) => format!("{path}:{line}"),
            Err(_) => format!("{path}, byte {}", open.text.offset_of(start)),
        };
        self.report(open, &records, place)?;
        let place = |row: usize| place(records.start(row));
        let mut batch = self.conform.begin(records.rows(), &place);
        for column in 0..open.columns.len() {
            push_column(&mut batch, &records.column(open.text.bytes(), column), self.options.null.as_bytes())?;
        }
        batch.finish().map(Some)
    }

    fn position(&self) -> Result<Vec<u8>> {
        let place = match &self.open {
            Some(open) => Some(Place { offset: open.text.offset(), lines: *open.lines.borrow() }),
            None => self.begin,
        };
        Ok(codec::encode(&Position { block: self.blocks.number(), place })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let Position { block, place } = codec::decode(position)?;
        self.blocks.skip_to(block);
        self.begin = place;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
