//! Reads one split after another.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_plans::codec;

use super::format::Reading;
use super::listing::Listing;
use super::medium::FileAt;
use crate::connector::share::Share;
use crate::connector::{Source, SourceEvent};
use crate::error::{EngineError, Result};

/// A part of the files that is read from its beginning to its end. It holds nothing open before its
/// first batch and behind its last.
pub(super) trait Split: Send {
    /// The next rows, out of so many lines as a batch has rows at most: empty if none of them is a
    /// row. `None` at the end.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>>;

    /// Where it is: behind everything that it has given out.
    fn position(&self) -> Result<Vec<u8>>;

    /// Goes to where one like it was. Called before anything was read.
    fn seek(&mut self, position: &[u8]) -> Result<()>;
}

/// The splits of a source.
#[derive(Default)]
pub(super) struct Splits {
    /// What this subtask reads, in order.
    pub(super) own: Vec<Box<dyn Split>>,
    /// How many splits each file has, for all subtasks together.
    of_files: Vec<usize>,
    /// How many splits all subtasks read together.
    pub(super) all: usize,
}

impl Splits {
    /// Counts the splits of the next file, and says which number the first of them has among all.
    pub(super) fn add_file(&mut self, splits: usize) -> usize {
        let first = self.all;
        self.of_files.push(splits);
        self.all += splits;
        first
    }
}

/// The files source.
pub(super) struct FilesSource {
    reading: Arc<Reading>,
    share: Share,
    /// All files, also those that others read.
    files: Vec<SeenFile>,
    /// Splits still to read, the next one last.
    splits: Vec<Box<dyn Split>>,
    /// How many splits have been read to their ends.
    read: usize,
    /// What must still be there when the first row is read.
    unchecked: Option<Listing>,
}

/// A file as it was when the source was opened.
#[derive(Clone, bincode::Encode, bincode::Decode)]
struct SeenFile {
    path: Vec<u8>,
    bytes: u64,
    splits: usize,
}

/// How far a source has come.
#[derive(bincode::Encode, bincode::Decode)]
enum Position {
    V1 {
        /// In the order in which their splits are dealt out.
        files: Vec<SeenFile>,
        /// How many of its own splits have been read.
        read: usize,
        /// Where the next one is; `None` behind the last.
        within: Option<Vec<u8>>,
    },
}

impl SeenFile {
    fn new(file: &FileAt) -> Result<Self> {
        let bytes = file.size()?;
        Ok(Self { path: file.as_os_str().as_bytes().to_vec(), bytes, splits: 0 })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.path))
    }

    /// Whether the file can still be what it was. More may have been added to it.
    fn check(&self, now: &Self) -> Result<()> {
        let reason = if now.bytes < self.bytes {
            format!("it had {} bytes when it was read and has {} now", self.bytes, now.bytes)
        } else if now.splits != self.splits {
            format!("it had {} parts when they were dealt out to be read and has {} now", self.splits, now.splits)
        } else {
            return Ok(());
        };
        Err(EngineError::Format { path: self.path(), reason })
    }
}

impl FilesSource {
    /// A subtask's splits of these files.
    pub(super) fn open(reading: Arc<Reading>, files: &[PathBuf], share: Share) -> Result<Self> {
        let mut seen: Vec<SeenFile> = reading.medium.files(files).iter().map(SeenFile::new).collect::<Result<_>>()?;
        let Splits { own: mut splits, of_files, .. } = reading.splits(files, share)?;
        seen.iter_mut().zip(of_files).for_each(|(file, splits)| file.splits = splits);
        splits.reverse();
        Ok(Self { reading, share, files: seen, splits, read: 0, unchecked: None })
    }

    /// Looks once more at the files that were listed, before it reads.
    pub(super) fn check_first(self, listing: Listing) -> Self {
        Self { unchecked: Some(listing), ..self }
    }

    /// How many splits all subtasks read together.
    pub(super) fn splits_of_all(&self) -> usize {
        self.files.iter().map(|file| file.splits).sum()
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(split) = self.splits.last_mut() {
            if let Some(batch) = split.next_batch()? {
                return Ok(Some(batch));
            }
            self.splits.pop();
            self.read += 1;
        }
        Ok(None)
    }
}

impl Source for FilesSource {
    fn next_event(&mut self) -> Result<SourceEvent> {
        if let Some(listing) = self.unchecked.take() {
            listing.check_unchanged()?;
        }
        Ok(match self.read()? {
            None => SourceEvent::End,
            // Only bad rows: a command may have come while they were read.
            Some(batch) if batch.num_rows() == 0 => SourceEvent::Idle,
            Some(batch) => SourceEvent::Batch(batch),
        })
    }

    fn position(&self) -> Result<Vec<u8>> {
        if let Some(listing) = &self.unchecked {
            // Who goes on from here finds no other files than these.
            listing.check_unchanged()?;
        }
        let within = self.splits.last().map(|split| split.position()).transpose()?;
        Ok(codec::encode(&Position::V1 { files: self.files.clone(), read: self.read, within })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let Position::V1 { files, read, within } = codec::decode(position)?;
        let paths: Vec<PathBuf> = files.iter().map(SeenFile::path).collect();
        // Not what was found when this was opened: files may have come since the splits were dealt out.
        *self = Self::open(Arc::clone(&self.reading), &paths, self.share)?;
        files.iter().zip(&self.files).try_for_each(|(before, now)| before.check(now))?;
        let left = self.splits.len().checked_sub(read);
        let left =
            left.ok_or_else(|| EngineError::State(format!("{read} of {} splits were read", self.splits.len())))?;
        self.splits.truncate(left);
        self.read = read;
        match (self.splits.last_mut(), within) {
            (Some(split), Some(within)) => split.seek(&within),
            (None, None) => Ok(()),
            _ => Err(EngineError::State(format!("{left} splits are left, not as many as there were"))),
        }
    }
}
