//! The logs of rows that clients push: the coordinator writes them, the tasks of sources read them.
//!
//! A log is a folder of segments, written one after the other. A segment is frames; a frame is a length, a checksum, and
//! an Arrow IPC stream of one batch. A frame at the end of the last segment that is not whole is being written, or
//! nobody was told that it is there: whoever writes on cuts it off, and begins another segment. So of a segment that
//! another follows all frames are whole.

mod marks;
mod retention;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use arrow::array::RecordBatch;

pub use self::marks::{Mark, Marks};
pub use self::retention::{BYTES_OPTION, Kept, RETENTION_OPTION, Retention};
use crate::codec::MESSAGE_BYTES_MAX;
use crate::error::{PlanError, Result};
use crate::ipc;

/// The connector of streams of pushed rows, which have no end.
pub const PUSH_CONNECTOR: &str = "push";

/// The connector of tables of pushed rows: whoever reads one reads what is there when its job begins.
pub const TABLE_CONNECTOR: &str = "table";

/// The option with the log's folder, which the coordinator adds.
pub const FOLDER: &str = "folder";

/// The option with the [`Place`] at which a table ends, which the coordinator adds.
pub const UNTIL: &str = "until";

/// The option with the [`Place`] at which a stream was when its job began, which the coordinator adds where that counts.
pub const SEAM: &str = "seam";

/// The option that says how many bytes of rows a log keeps.
pub const MAX_BYTES_OPTION: &str = "max_bytes";

/// The largest frame that is believed.
const FRAME_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Most frames are smaller.
const FRAME_BYTES_COMMON: usize = 4 << 20;

/// Bytes of a frame's length and checksum.
const HEAD_BYTES: usize = 8;

/// Whether the rows of this connector are pushed.
#[must_use]
pub fn is_pushed(connector: &str) -> bool {
    connector == PUSH_CONNECTOR || connector == TABLE_CONNECTOR
}

/// A place between two frames of a log. Segments count from 1; the default is in front of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub struct Place {
    /// The segment.
    pub segment: u64,
    /// Bytes of it in front of the place.
    pub byte: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.byte)
    }
}

impl FromStr for Place {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once(':').and_then(|(segment, byte)| Some((segment.parse().ok()?, byte.parse().ok()?)));
        let (segment, byte) = parts.ok_or_else(|| PlanError::InvalidGraph(format!("'{text}' is no place in a log")))?;
        Ok(Self { segment, byte })
    }
}

/// From where on a task needs a log, as of a barrier.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct LogNeed {
    /// The source whose log it is.
    pub source: String,
    /// The segment; zero if all are needed.
    pub segment: u64,
}

/// The file of a segment.
#[must_use]
pub fn segment_path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:016}.log"))
}

/// The segment that a file of this name is, if it is one.
#[must_use]
pub fn segment_of(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok().filter(|segment| *segment > 0)
}

/// The segments of a log, the oldest first.
pub fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        segments.extend(entry?.file_name().to_str().and_then(segment_of));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// In front of all rows that a log still has.
pub fn oldest_place(folder: &Path) -> io::Result<Place> {
    let oldest = segments(folder)?.first().copied();
    Ok(oldest.map_or(Place::default(), |segment| Place { segment, byte: 0 }))
}

/// Rows as a frame.
pub fn frame(rows: &RecordBatch) -> Result<Vec<u8>> {
    let mut frame = ipc::behind(vec![0; HEAD_BYTES], rows)?;
    let body = frame.len() - HEAD_BYTES;
    let length = u32::try_from(body).ok().filter(|_| body <= FRAME_BYTES_MAX);
    let length = length.ok_or(PlanError::TooLarge { size: body, limit: FRAME_BYTES_MAX })?;
    let checksum = crc32fast::hash(&frame[HEAD_BYTES..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(frame)
}

/// The rows of the next frame and its bytes; `None` if it is not whole.
fn read_frame(file: &mut impl Read) -> io::Result<Option<(RecordBatch, u64)>> {
    let Some(head) = read_whole(file, HEAD_BYTES)? else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, checksum) = (word(0) as usize, word(4));
    // Bytes that were never written are zeros.
    if length == 0 || length > FRAME_BYTES_MAX {
        return Ok(None);
    }
    let body = read_whole(file, length)?.filter(|body| crc32fast::hash(body) == checksum);
    let Some(body) = body else { return Ok(None) };
    let rows = ipc::decode(body).map_err(damaged)?.batches.pop().ok_or_else(|| damaged("a frame has no rows"))?;
    Ok(Some((rows, (HEAD_BYTES + length) as u64)))
}

/// So many bytes, if there are so many. Of what is not there no more takes memory than frames commonly have.
fn read_whole(file: &mut impl Read, bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut read = Vec::with_capacity(bytes.min(FRAME_BYTES_COMMON));
    file.take(bytes as u64).read_to_end(&mut read)?;
    Ok((read.len() == bytes).then_some(read))
}

fn damaged(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

/// Reads a log, also while it is written.
#[derive(Debug)]
pub struct LogReader {
    folder: PathBuf,
    place: Place,
    /// The file of the place's segment, once it has been read.
    file: Option<File>,
}

impl LogReader {
    /// A reader at this place.
    #[must_use]
    pub fn new(folder: PathBuf, place: Place) -> Self {
        Self { folder, place, file: None }
    }

    /// Where it is: in front of the frame that it reads next.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The rows of the next frame; `None` where there is none yet. An error if the log is damaged, or gone, or does not
    /// keep these rows any more.
    pub fn next_rows(&mut self) -> io::Result<Option<RecordBatch>> {
        loop {
            // Looked for first: what is read then is all that the segment ever has.
            let is_followed = segment_path(&self.folder, self.place.segment + 1).try_exists()?;
            if let Some(rows) = self.read()? {
                return Ok(Some(rows));
            }
            if !is_followed {
                return self.check_kept().map(|()| None);
            }
            self.leave_segment()?;
        }
    }

    fn read(&mut self) -> io::Result<Option<RecordBatch>> {
        if self.place.segment == 0 {
            return Ok(None);
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => match File::open(segment_path(&self.folder, self.place.segment)) {
                Ok(file) => self.file.insert(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return self.check_kept().and(Err(error)),
                Err(error) => return Err(error),
            },
        };
        file.seek(SeekFrom::Start(self.place.byte))?;
        let Some((rows, bytes)) = read_frame(file)? else { return Ok(None) };
        self.place.byte += bytes;
        Ok(Some(rows))
    }

    /// An error if the log has rows behind the place, but not the next ones any more. The oldest segments go first: if
    /// one is gone that is to come, so is the place's.
    fn check_kept(&self) -> io::Result<()> {
        if self.place.segment > 0 && segment_path(&self.folder, self.place.segment).try_exists()? {
            return Ok(());
        }
        match segments(&self.folder)?.first() {
            Some(oldest) if *oldest > self.place.segment.max(1) => Err(io::Error::new(
                ErrorKind::NotFound,
                format!(
                    "the rows behind {} are not kept any more: those of the log begin at segment {oldest}. Its source \
                     keeps what {RETENTION_OPTION} and {BYTES_OPTION} say; a new job begins with what is there",
                    self.place
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Goes on to the next segment, if there is nothing in this one any more. It may be shorter than it was: rows are
    /// cut off that nobody was told of.
    fn leave_segment(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.take()
            && file.metadata()?.len() > self.place.byte
        {
            return Err(damaged(format!(
                "no frame begins at byte {} of segment {}",
                self.place.byte, self.place.segment
            )));
        }
        self.place = Place { segment: self.place.segment + 1, byte: 0 };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn rows(values: std::ops::Range<i64>) -> RecordBatch {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        RecordBatch::try_from_iter([("a", values)]).unwrap()
    }

    /// The rows that a reader finds.
    fn read(reader: &mut LogReader) -> Vec<i64> {
        let mut values = Vec::new();
        while let Some(rows) = reader.next_rows().unwrap() {
            values.extend(rows.column(0).as_primitive::<Int64Type>().values());
        }
        values
    }

    #[test]
    fn frames_are_read_as_they_come() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = LogReader::new(folder.path().to_owned(), Place::default());
        assert_eq!(read(&mut reader), [0_i64; 0]);
        let (first, second) = (frame(&rows(0..3)).unwrap(), frame(&rows(3..5)).unwrap());
        fs::write(segment_path(folder.path(), 1), &first).unwrap();
        assert_eq!(read(&mut reader), [0, 1, 2]);
        let place = reader.place();
        assert_eq!((place.to_string().parse::<Place>().unwrap(), place.byte), (place, first.len() as u64));

        // Whatever there is of a frame, it is waited for.
        for bytes in 0..second.len() {
            fs::write(segment_path(folder.path(), 1), [&first[..], &second[..bytes]].concat()).unwrap();
            assert_eq!(read(&mut reader), [0_i64; 0]);
        }
        fs::write(segment_path(folder.path(), 1), [&first[..], &second[..]].concat()).unwrap();
        assert_eq!(read(&mut reader), [3, 4]);
        fs::write(segment_path(folder.path(), 2), &first).unwrap();
        assert_eq!(read(&mut reader), [0, 1, 2]);
        assert_eq!(read(&mut LogReader::new(folder.path().to_owned(), place)), [3, 4, 0, 1, 2]);

        // Who was told of rows that have been cut off since goes on behind them.
        fs::write(segment_path(folder.path(), 1), []).unwrap();
        assert_eq!(read(&mut LogReader::new(folder.path().to_owned(), place)), [0, 1, 2]);
    }

    #[test]
    fn damage_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut frames = [frame(&rows(0..3)).unwrap(), frame(&rows(3..5)).unwrap()].concat();
        frames[100] ^= 1;
        fs::write(segment_path(folder.path(), 1), &frames).unwrap();
        let open = || LogReader::new(folder.path().to_owned(), Place::default());
        assert_eq!(read(&mut open()), [0_i64; 0]);
        fs::write(segment_path(folder.path(), 2), []).unwrap();
        let error = open().next_rows().unwrap_err();
        assert!(error.to_string().contains("no frame begins at byte 0 of segment 1"), "{error}");
        // A length of four gigabytes takes no memory.
        fs::write(segment_path(folder.path(), 1), [0xff; 64]).unwrap();
        assert!(open().next_rows().is_err());
        let gone = LogReader::new(folder.path().to_owned(), Place { segment: 7, byte: 0 }).next_rows().unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn rows_that_are_not_kept_are_missed_by_who_wants_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |segment| segment_path(folder.path(), segment);
        assert_eq!(oldest_place(folder.path()).unwrap(), Place::default());
        for (segment, first) in (1..=4).zip(1..) {
            fs::write(path(segment), frame(&rows(first..first + 1)).unwrap()).unwrap();
        }
        let open = |segment| LogReader::new(folder.path().to_owned(), Place { segment, byte: 0 });
        // One that has read the first segment, and has it open.
        let mut slow = open(1);
        slow.next_rows().unwrap().unwrap();
        [1, 2].iter().for_each(|segment| fs::remove_file(path(*segment)).unwrap());
        for mut reader in [slow, open(0), open(1), open(2)] {
            let error = reader.next_rows().unwrap_err().to_string();
            assert!(error.contains("begin at segment 3") && error.contains("retention"), "{error}");
        }
        let oldest = oldest_place(folder.path()).unwrap();
        assert_eq!(read(&mut open(oldest.segment)), [3, 4]);
    }
}
