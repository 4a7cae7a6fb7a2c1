//! The one writer of a log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use tidemill_plans::PlanError;
use tidemill_plans::error::chain;
use tidemill_plans::pushed::{
    Kept, LogReader, Mark, Marks, Place, Retention, frame, segment_of, segment_path, segments,
};
use tracing::{info, warn};

/// Bytes from which on a segment is complete.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes of rows that are put into one frame, as far as rows can be parted.
const FRAME_BYTES: usize = 8 << 20;

/// Rows that are written together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) rows: RecordBatch,
    /// By what it is known if it is sent again, if its client says so.
    pub(crate) mark: Option<Mark>,
}

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
    /// When the end's segment was begun, since 1970, if this writer has begun it.
    begun: Duration,
    /// What is in it of clients that number their batches.
    marks: Marks,
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
        let (end, marks) = (Place::default(), Marks::default());
        let begun = Duration::ZERO;
        let mut log = Self { folder, end, file: None, bytes: 0, begun, marks, state: State::Open };
        log.look()?;
        Ok(log)
    }

    /// Finds out what there is.
    fn look(&mut self) -> io::Result<()> {
        (self.end, self.file, self.bytes) = (Place::default(), None, 0);
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(segment) = entry.file_name().to_str().and_then(segment_of) else { continue };
            self.bytes += entry.metadata()?.len();
            segments.push(segment);
        }
        segments.sort_unstable();
        self.find_end(&segments)?;
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

    /// Reads the last segment in which something is as a whole: it has the marks of all before it.
    fn find_end(&mut self, segments: &[u64]) -> io::Result<()> {
        self.marks = Marks::default();
        for segment in segments.iter().rev() {
            let mut reader = LogReader::new(self.folder.clone(), Place { segment: *segment, byte: 0 });
            let mut is_empty = true;
            while let Some(rows) = reader.next_rows()? {
                self.marks.read(&rows);
                is_empty = false;
            }
            self.end = reader.place();
            if !is_empty {
                break;
            }
        }
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

    /// The oldest segment that is kept, if there are others before it; now is since 1970.
    pub(super) fn kept_from(&self, retention: Retention, now: Duration) -> io::Result<Option<u64>> {
        let mut found = Vec::new();
        for segment in segments(&self.folder)? {
            let file = fs::metadata(segment_path(&self.folder, segment))?;
            let written = file.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            found.push((segment, file.len(), millis(now.saturating_sub(written))));
        }
        let kept = retention.kept_from(&found);
        Ok(kept.filter(|kept| found.first().is_some_and(|(first, ..)| first < kept)))
    }

    /// Removes all segments in front of one, the oldest first: who looks for one that is gone finds none before it.
    pub(super) fn remove_before(&mut self, segment: u64) -> io::Result<()> {
        if self.state == State::Closed {
            // Another log is in the folder by now, maybe.
            return Ok(());
        }
        let old = segments(&self.folder)?.into_iter().filter(|old| *old < segment.min(self.end.segment));
        for old in old.collect::<Vec<_>>() {
            let path = segment_path(&self.folder, old);
            let bytes = fs::metadata(&path)?.len();
            fs::remove_file(path)?;
            self.bytes = self.bytes.saturating_sub(bytes);
            info!(folder = %self.folder.display(), segment = old, bytes, "rows that nobody needs are removed");
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Writes batches; they are on disk when this returns, those that had been sent before as well. Says whether a
    /// segment was begun for them.
    pub(super) fn append(&mut self, batches: &[Batch], kept: Kept, now: Duration) -> io::Result<bool> {
        match self.state {
            State::Open => {}
            State::Unknown => self.look()?,
            State::Closed => return Err(ErrorKind::NotFound.into()),
        }
        let mut marks = self.marks.clone();
        let mut frames = Vec::new();
        for batch in batches {
            frames.extend(new_frames(batch, &mut marks)?);
        }
        let (Some(first), false) = (batches.first(), frames.is_empty()) else { return Ok(false) };
        self.check_room(frames.len() as u64, kept.max_bytes)?;
        self.state = State::Unknown;
        let segment = self.end.segment;
        self.write(&frames, first.rows.schema_ref(), kept.retention, now)?;
        (self.state, self.marks) = (State::Open, marks);
        Ok(self.end.segment > segment)
    }

    /// Whether the end's segment is complete.
    fn is_full(&self, retention: Retention, now: Duration) -> bool {
        let age = millis(now.saturating_sub(self.begun));
        self.end.byte >= SEGMENT_BYTES || retention.ends_segment(self.end.byte, age)
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

    fn write(&mut self, frames: &[u8], columns: &Schema, retention: Retention, now: Duration) -> io::Result<()> {
        if self.is_full(retention, now) {
            self.file = None;
        }
        let head = match self.file.is_none() && !self.marks.is_empty() {
            true => self.marks.without_rows(columns).and_then(|none| frame(&none)).map_err(invalid)?,
            false => Vec::new(),
        };
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let segment = self.end.segment + 1;
                let file =
                    OpenOptions::new().append(true).create_new(true).open(segment_path(&self.folder, segment))?;
                File::open(&self.folder)?.sync_all()?;
                (self.end, self.begun) = (Place { segment, byte: 0 }, now);
                self.file.insert(file)
            }
        };
        file.write_all(&head)?;
        file.write_all(frames)?;
        file.sync_data()?;
        let written = (head.len() + frames.len()) as u64;
        self.end.byte += written;
        self.bytes += written;
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The frames of a batch; none of one that is there already. One that may be sent again is in one frame: half of it would
/// be there twice then.
fn new_frames(batch: &Batch, marks: &mut Marks) -> io::Result<Vec<u8>> {
    let Some(mark) = &batch.mark else {
        let frames: io::Result<Vec<Vec<u8>>> = parts(&batch.rows).map(|rows| frame(&rows).map_err(invalid)).collect();
        return Ok(frames?.concat());
    };
    if marks.has(mark) {
        return Ok(Vec::new());
    }
    marks.note(mark);
    mark.on(&batch.rows).and_then(|rows| frame(&rows)).map_err(invalid)
}

fn invalid(error: PlanError) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, chain(&error))
}

/// A batch in parts that are not too large; none of a batch without rows.
fn parts(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let parts = rows.get_array_memory_size().div_ceil(FRAME_BYTES).max(1);
    let step = rows.num_rows().div_ceil(parts).max(1);
    (0..rows.num_rows()).step_by(step).map(move |first| rows.slice(first, step.min(rows.num_rows() - first)))
}
