//! The one writer of a log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use arrow::array::RecordBatch;
use tidemill_plans::error::chain;
use tidemill_plans::pushed::{LogReader, Place, frame, segment_of, segment_path};
use tracing::warn;

/// Bytes from which on a segment is complete.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes of rows that are put into one frame, as far as rows can be parted.
const FRAME_BYTES: usize = 8 << 20;

/// A log that can be written.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    /// Behind the last frame that is whole.
    end: Place,
    /// The file of the end's segment, if this writer has begun it.
    file: Option<File>,
    /// Bytes of all segments.
    bytes: u64,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Something could not be written, and it is not known what is there of it.
    Unknown,
    /// Its source was dropped.
    Closed,
}

impl Log {
    /// Opens the log in a folder, which has to be there. What was not written to its end is cut off.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        let mut log = Self { folder, end: Place::default(), file: None, bytes: 0, state: State::Open };
        log.look()?;
        Ok(log)
    }

    /// Finds out what there is.
    fn look(&mut self) -> io::Result<()> {
        (self.end, self.file, self.bytes) = (Place::default(), None, 0);
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(segment) = entry.file_name().to_str().and_then(segment_of) else { continue };
            self.bytes += entry.metadata()?.len();
            self.end.segment = self.end.segment.max(segment);
        }
        let mut reader = LogReader::new(self.folder.clone(), self.end);
        while reader.next_rows()?.is_some() {}
        self.end = reader.place();
        if self.end.segment > 0 {
            let last = OpenOptions::new().write(true).open(segment_path(&self.folder, self.end.segment))?;
            let cut = last.metadata()?.len().saturating_sub(self.end.byte);
            if cut > 0 {
                let folder = self.folder.display();
                warn!(%folder, bytes = cut, "the end of a log was not written as a whole, and is cut off");
                self.bytes -= cut;
                last.set_len(self.end.byte)?;
                last.sync_all()?;
            }
        }
        self.state = State::Open;
        Ok(())
    }

    /// Behind everything that is in it.
    pub(super) fn end(&self) -> Place {
        self.end
    }

    /// Nothing more is written.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.file = None;
    }

    /// Writes rows; they are on disk when this returns.
    pub(super) fn append(&mut self, rows: &[RecordBatch], max_bytes: Option<u64>) -> io::Result<()> {
        match self.state {
            State::Open => {}
            State::Unknown => self.look()?,
            State::Closed => return Err(ErrorKind::NotFound.into()),
        }
        let frames: io::Result<Vec<Vec<u8>>> = rows.iter().flat_map(parts).map(|rows| framed(&rows)).collect();
        let frames = frames?.concat();
        if frames.is_empty() {
            return Ok(());
        }
        self.check_room(frames.len() as u64, max_bytes)?;
        self.state = State::Unknown;
        self.write(&frames)?;
        self.state = State::Open;
        Ok(())
    }

    fn check_room(&self, more: u64, max_bytes: Option<u64>) -> io::Result<()> {
        match max_bytes {
            Some(max) if self.bytes + more > max => {
                let message = format!(
                    "it has {} bytes of the {max} of its option max_bytes, and {more} more do not fit",
                    self.bytes
                );
                Err(io::Error::new(ErrorKind::QuotaExceeded, message))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.end.byte >= SEGMENT_BYTES {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let segment = self.end.segment + 1;
                let file =
                    OpenOptions::new().append(true).create_new(true).open(segment_path(&self.folder, segment))?;
                File::open(&self.folder)?.sync_all()?;
                self.end = Place { segment, byte: 0 };
                self.file.insert(file)
            }
        };
        file.write_all(frames)?;
        file.sync_data()?;
        self.end.byte += frames.len() as u64;
        self.bytes += frames.len() as u64;
        Ok(())
    }
}

fn framed(rows: &RecordBatch) -> io::Result<Vec<u8>> {
    frame(rows).map_err(|error| io::Error::new(ErrorKind::InvalidInput, chain(&error)))
}

/// A batch in parts that are not too large; none of a batch without rows.
fn parts(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let parts = rows.get_array_memory_size().div_ceil(FRAME_BYTES).max(1);
    let step = rows.num_rows().div_ceil(parts).max(1);
    (0..rows.num_rows()).step_by(step).map(move |first| rows.slice(first, step.min(rows.num_rows() - first)))
}
