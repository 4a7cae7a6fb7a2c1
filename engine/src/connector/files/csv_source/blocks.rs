//! The blocks of a file that a subtask reads, and the text of the file around them.
//!
//! A record belongs to the block that its first byte is in. Quotes may hide line ends, so where the
//! first record of a block begins depends on all that is before it: a subtask looks through the blocks
//! of others for quotes, which costs little beside reading records. Line numbers are counted for bad
//! rows only.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memchr::memchr_iter;

use super::record::{Fields, Quotes, Records, Syntax, is_line_end};
use crate::connector::files::file_bytes::FileBytes;
use crate::connector::files::{cut_off, file_error};
use crate::connector::share::Share;
use crate::error::{EngineError, Result};

/// Bytes that are read at a time at least.
const READ_BYTES: usize = 256 << 10;

/// Bytes of a record at most.
const RECORD_BYTES_MAX: usize = 512 << 20;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The blocks of a file that one subtask reads.
pub(super) struct Blocks {
    /// How many the file has.
    pub(super) all: usize,
    /// The bytes of the file when the source was opened.
    pub(super) length: u64,
    /// Whether others read the file too.
    pub(super) are_shared: bool,
    block_bytes: u64,
    own: VecDeque<u64>,
}

impl Blocks {
    /// A file's blocks, which follow `before` others that are dealt out.
    pub(super) fn new(length: u64, block_bytes: u64, before: usize, share: Share) -> Self {
        let all = length.div_ceil(block_bytes).max(1) as usize;
        if share.parallelism == 1 {
            // To its end, wherever that is by then.
            return Self { all: 1, length, are_shared: false, block_bytes: u64::MAX, own: VecDeque::from([0]) };
        }
        let own = (0..all).filter(|block| share.owns(before + block)).map(|block| block as u64).collect();
        Self { all, length, are_shared: true, block_bytes, own }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Where the block is that is being read.
    pub(super) fn current(&self) -> Option<Range<u64>> {
        let start = self.own.front()?.saturating_mul(self.block_bytes);
        Some(start..start.saturating_add(self.block_bytes))
    }

    /// Which block that is.
    pub(super) fn number(&self) -> Option<u64> {
        self.own.front().copied()
    }

    /// Goes on to a block; without one, behind the last.
    pub(super) fn skip_to(&mut self, block: Option<u64>) {
        self.own.retain(|own| block.is_some_and(|block| *own >= block));
    }

    pub(super) fn next(&mut self) {
        self.own.pop_front();
    }
}

/// A part of a file in memory, and how far it has been read.
pub(super) struct Text {
    file: FileBytes,
    path: PathBuf,
    syntax: Syntax,
    bytes: Vec<u8>,
    /// Where the part begins in the file.
    start: u64,
    /// What is before this has been read; here begins a record.
    position: usize,
    /// Whether nothing follows in the file.
    is_last: bool,
}

impl Text {
    /// The beginning of a file.
    pub(super) fn new(file: FileBytes, path: &Path, syntax: Syntax) -> Result<Self> {
        let path = path.to_path_buf();
        let mut text = Self { file, path, syntax, bytes: Vec::new(), start: 0, position: 0, is_last: false };
        text.read_more()?;
        if text.bytes.starts_with(BYTE_ORDER_MARK) {
            text.position = BYTE_ORDER_MARK.len();
        }
        Ok(text)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes that have been read since they were last forgotten.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Where a byte of the text is in the file.
    pub(super) fn offset_of(&self, position: usize) -> u64 {
        self.start + position as u64
    }

    /// Goes to where a record begins in the file.
    pub(super) fn seek(&mut self, offset: u64) -> Result<()> {
        let found =
            self.file.seek(SeekFrom::End(0)).and_then(|end| Ok((end, self.file.seek(SeekFrom::Start(offset))?)));
        let (end, start) = found.map_err(file_error("read", &self.path))?;
        if end < start {
            return Err(cut_off(&self.path, offset));
        }
        (self.start, self.position) = (start, 0);
        self.bytes.clear();
        self.read_more()
    }

    /// Where in the file the next record begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset_of(self.position)
    }

    /// Lets go of what has been read.
    pub(super) fn forget_read(&mut self) {
        self.bytes.drain(..self.position);
        self.start += self.position as u64;
        self.position = 0;
    }

    /// Reads on: as much as a record that has no end yet is long, so that its bytes are looked at a few
    /// times only.
    fn read_more(&mut self) -> Result<()> {
        let unread = self.bytes.len() - self.position;
        if unread > RECORD_BYTES_MAX {
            let reason = format!(
                "the record at byte {} has more than {RECORD_BYTES_MAX} bytes; is a quote not closed?",
                self.offset()
            );
            return Err(EngineError::Format { path: self.path.clone(), reason });
        }
        let wanted = unread.max(READ_BYTES) as u64;
        let read = (&mut self.file).take(wanted).read_to_end(&mut self.bytes);
        self.is_last = (read.map_err(file_error("read", &self.path))? as u64) < wanted;
        Ok(())
    }

    /// Goes on to the first record that begins at `offset` of the file or behind it; false if there is
    /// none. Forgets what has been read.
    pub(super) fn enter(&mut self, offset: u64) -> Result<bool> {
        if self.offset() >= offset {
            return Ok(true);
        }
        let mut quotes = Quotes::new(self.syntax);
        loop {
            let unread = &self.bytes[self.position..];
            let skipped = unread.len().min(usize::try_from(offset - self.offset()).unwrap_or(usize::MAX));
            quotes.skip(&unread[..skipped]);
            self.position += skipped;
            if self.offset() == offset {
                break;
            }
            if !self.read_next()? {
                return Ok(false);
            }
        }
        while !quotes.is_record_start() {
            match quotes.record_end(&self.bytes[self.position..]) {
                Some(end) => self.position += end,
                None => {
                    self.position = self.bytes.len();
                    if !self.read_next()? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads what follows the text, which has been read; false if nothing does.
    fn read_next(&mut self) -> Result<bool> {
        self.forget_read();
        if !self.is_last {
            self.read_more()?;
        }
        Ok(!self.bytes.is_empty())
    }

    /// Reads a record that begins before `end` of the file; false if there is none.
    pub(super) fn read_record(&mut self, records: &mut Records, end: u64) -> Result<bool> {
        let syntax = self.syntax;
        self.read_with(end, |text, start, is_last| records.cut(syntax, text, start, is_last))
    }

    /// Reads one record into `fields`; false if there is none.
    pub(super) fn read_fields(&mut self, fields: &mut Fields) -> Result<bool> {
        let syntax = self.syntax;
        self.read_with(u64::MAX, |text, start, is_last| fields.cut(syntax, text, start, is_last))
    }

    fn read_with(&mut self, end: u64, mut cut: impl FnMut(&[u8], usize, bool) -> Option<usize>) -> Result<bool> {
        loop {
            while self.bytes.get(self.position).is_some_and(|byte| is_line_end(*byte)) {
                self.position += 1;
            }
            if self.offset() >= end {
                return Ok(false);
            }
            if self.position < self.bytes.len()
                && let Some(record_end) = cut(&self.bytes, self.position, self.is_last)
            {
                self.position = record_end;
                return Ok(true);
            }
            if self.is_last {
                return Ok(false);
            }
            self.read_more()?;
        }
    }
}

/// Knows in which line of a file a byte is.
#[derive(Debug, Clone, Copy, bincode::Encode, bincode::Decode)]
pub(super) struct Lines {
    /// A place in the file, and its line, from 1 on.
    offset: u64,
    line: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self { offset: 0, line: 1 }
    }
}

impl Lines {
    /// The line of a byte of the text. What is between the last one that was asked for and this one is
    /// looked at for line ends.
    pub(super) fn at(&mut self, text: &Text, position: usize) -> io::Result<u64> {
        let offset = text.offset_of(position);
        if self.offset > offset && self.offset > text.offset_of(text.bytes.len()) {
            *self = Self::default();
        }
        match self.offset.checked_sub(text.start) {
            Some(known) if known as usize > position => {
                self.line -= count(&text.bytes[position..known as usize]);
            }
            Some(known) => self.line += count(&text.bytes[known as usize..position]),
            None => {
                self.line += count_in_file(&text.file, self.offset..text.start)? + count(&text.bytes[..position]);
            }
        }
        self.offset = offset;
        Ok(self.line)
    }
}

fn count(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}

fn count_in_file(file: &FileBytes, range: Range<u64>) -> io::Result<u64> {
    let mut chunk = vec![0; READ_BYTES];
    let (mut at, mut lines) = (range.start, 0);
    while at < range.end {
        let wanted = chunk.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        let read = file.read_at(&mut chunk[..wanted], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        lines += count(&chunk[..read]);
        at += read as u64;
    }
    Ok(lines)
}
