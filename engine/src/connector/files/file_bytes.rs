//! The bytes of a file: on disk as the system gives them, of an object in stretches that grow while they are read one
//! behind the other, with the next one on its way.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use object_store::ObjectMeta;
use parquet::errors::Result as ParquetResult;
use parquet::file::reader::{ChunkReader, Length};

use super::medium::BucketFiles;
use super::waiting::Answer;
use crate::metrics::OperatorStats;

/// Bytes that are asked for first: a header, a footer, or the beginning of rows.
const FIRST_BYTES: u64 = 256 << 10;

/// Bytes of the end of an object that are asked for together, for whoever reads a footer.
const END_BYTES: u64 = 64 << 10;

/// Bytes that are asked for at a time in the long run. Two such stretches are in memory.
const BYTES_MAX: u64 = 4 << 20;

/// A file that is read.
pub(super) struct FileBytes {
    medium: Kind,
    /// What counts the bytes that are read.
    stats: Option<Arc<OperatorStats>>,
}

enum Kind {
    File(File),
    Object(Box<ObjectBytes>),
}

/// An object that is read.
pub(super) struct ObjectBytes {
    files: Arc<BucketFiles>,
    object: ObjectMeta,
    position: u64,
    /// A stretch that is in memory, and where it begins.
    start: u64,
    bytes: Bytes,
    /// The stretch behind it, where that has been asked for, and where that begins.
    next: Option<(u64, Answer<Bytes>)>,
    /// How much to ask for.
    wanted: u64,
    /// The end, if it has been asked for.
    end: OnceLock<Bytes>,
}

impl FileBytes {
    pub(super) fn of_file(file: File) -> Self {
        Self { medium: Kind::File(file), stats: None }
    }

    pub(super) fn of_object(files: &Arc<BucketFiles>, object: ObjectMeta) -> Self {
        Self { medium: Kind::Object(Box::new(ObjectBytes::new(Arc::clone(files), object))), stats: None }
    }

    /// The same, whose bytes are counted there when they are read.
    pub(super) fn counted(self, stats: Option<Arc<OperatorStats>>) -> Self {
        Self { stats, ..self }
    }

    fn count(&self, bytes: usize) {
        self.stats.iter().for_each(|stats| OperatorStats::add(&stats.file_bytes, bytes));
    }

    /// How many bytes there are.
    pub(super) fn length(&self) -> io::Result<u64> {
        match &self.medium {
            Kind::File(file) => Ok(file.metadata()?.len()),
            Kind::Object(object) => Ok(object.object.size),
        }
    }

    /// Another one, which is read from wherever it is told to.
    pub(super) fn again(&self) -> io::Result<Self> {
        let again = match &self.medium {
            Kind::File(file) => Self::of_file(file.try_clone()?),
            Kind::Object(object) => Self::of_object(&object.files, object.object.clone()),
        };
        Ok(again.counted(self.stats.clone()))
    }

    /// Bytes from a place on, as many as there are and fit, wherever it is being read.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.medium {
            Kind::File(file) => file.read_at(buffer, offset),
            Kind::Object(object) => {
                let read = object.stretch(offset, buffer.len() as u64)?;
                buffer[..read.len()].copy_from_slice(&read);
                Ok(read.len())
            }
        }
    }

    /// These parts of an object, which are asked for together; nothing of a file, which is read as it is needed.
    pub(super) fn fetch(&self, ranges: Vec<Range<u64>>) -> io::Result<Option<Fetched>> {
        let Kind::Object(object) = &self.medium else { return Ok(None) };
        let starts: Vec<u64> = ranges.iter().map(|range| range.start).collect();
        let parts = object.files.read_ranges(&object.object, ranges)?;
        self.count(parts.iter().map(Bytes::len).sum());
        let mut parts: Vec<(u64, Bytes)> = starts.into_iter().zip(parts).collect();
        parts.sort_by_key(|(start, _)| *start);
        Ok(Some(Fetched { length: object.object.size, parts: Arc::new(parts) }))
    }
}

impl ObjectBytes {
    fn new(files: Arc<BucketFiles>, object: ObjectMeta) -> Self {
        Self {
            files,
            object,
            position: 0,
            start: 0,
            bytes: Bytes::new(),
            next: None,
            wanted: FIRST_BYTES,
            end: OnceLock::new(),
        }
    }

    /// So many bytes from a place on, or what there is of them.
    fn stretch(&self, offset: u64, bytes: u64) -> io::Result<Bytes> {
        match self.range(offset, bytes) {
            Some(range) => self.files.ask(&self.object, range)?.wait(),
            None => Ok(Bytes::new()),
        }
    }

    /// From where on the end is asked for together.
    fn end_start(&self) -> u64 {
        self.object.size.saturating_sub(END_BYTES)
    }

    /// What is behind a place that is near the end.
    fn near_end(&self, offset: u64) -> io::Result<Option<Bytes>> {
        let Some(before) = offset.checked_sub(self.end_start()).and_then(|before| usize::try_from(before).ok()) else {
            return Ok(None);
        };
        let end = match self.end.get() {
            Some(end) => end,
            None => {
                let end = self.stretch(self.end_start(), END_BYTES)?;
                self.end.get_or_init(|| end)
            }
        };
        Ok((before < end.len()).then(|| end.slice(before..)))
    }

    fn range(&self, offset: u64, bytes: u64) -> Option<Range<u64>> {
        let end = offset.saturating_add(bytes).min(self.object.size);
        (offset < end).then_some(offset..end)
    }

    /// What is in memory from the position on.
    fn here(&self) -> &[u8] {
        let before = self.position.checked_sub(self.start).and_then(|before| usize::try_from(before).ok());
        before.and_then(|before| self.bytes.get(before..)).unwrap_or_default()
    }

    /// Sees to it that something is in memory from the position on, unless the object ends there.
    fn fill(&mut self) -> io::Result<()> {
        if !self.here().is_empty() || self.position >= self.object.size {
            return Ok(());
        }
        let follows = !self.bytes.is_empty() && self.position == self.start + self.bytes.len() as u64;
        self.wanted = if follows { (self.wanted * 2).min(BYTES_MAX) } else { FIRST_BYTES };
        let bytes = match self.next.take().filter(|(start, _)| *start == self.position) {
            Some((_, answer)) => answer.wait()?,
            None => self.stretch(self.position, self.wanted)?,
        };
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.start, self.bytes) = (self.position, bytes);
        let end = self.start + self.bytes.len() as u64;
        // Whoever reads on from one stretch to the next goes on so.
        if let Some(range) = self.range(end, self.wanted).filter(|_| follows) {
            self.next = Some((end, self.files.ask(&self.object, range)?));
        }
        Ok(())
    }
}

impl Read for FileBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.medium {
            Kind::File(file) => file.read(buffer)?,
            Kind::Object(object) => {
                object.fill()?;
                let here = object.here();
                let read = here.len().min(buffer.len());
                buffer[..read].copy_from_slice(&here[..read]);
                object.position += read as u64;
                read
            }
        };
        self.count(read);
        Ok(read)
    }
}

impl Seek for FileBytes {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.medium {
            Kind::File(file) => file.seek(to),
            Kind::Object(object) => {
                let place = match to {
                    SeekFrom::Start(offset) => Some(offset),
                    SeekFrom::End(offset) => object.object.size.checked_add_signed(offset),
                    SeekFrom::Current(offset) => object.position.checked_add_signed(offset),
                };
                object.position = place.ok_or(io::ErrorKind::InvalidInput)?;
                Ok(object.position)
            }
        }
    }
}

impl Length for FileBytes {
    fn len(&self) -> u64 {
        self.length().unwrap_or_default()
    }
}

impl ChunkReader for FileBytes {
    type T = BufReader<Self>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let mut reader = self.again()?;
        reader.seek(SeekFrom::Start(start))?;
        if let (Kind::Object(object), Kind::Object(again)) = (&self.medium, &mut reader.medium)
            && let Some(end) = object.near_end(start)?
        {
            (again.start, again.bytes) = (start, end);
        }
        Ok(BufReader::new(reader))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.count(length);
        match &self.medium {
            Kind::File(file) => file.get_bytes(start, length),
            Kind::Object(object) => match object.near_end(start)? {
                Some(end) if end.len() >= length => Ok(end.slice(..length)),
                _ => whole(object.stretch(start, length as u64)?, length),
            },
        }
    }
}

/// Parts of an object that are in memory.
#[derive(Clone)]
pub(super) struct Fetched {
    length: u64,
    /// Where each begins, in order.
    parts: Arc<Vec<(u64, Bytes)>>,
}

impl Fetched {
    /// What is in memory from a place on.
    fn from(&self, start: u64) -> Bytes {
        let behind = self.parts.partition_point(|(begins, _)| *begins <= start);
        let Some((begins, bytes)) = behind.checked_sub(1).and_then(|part| self.parts.get(part)) else {
            return Bytes::new();
        };
        let skip = usize::try_from(start - begins).unwrap_or(usize::MAX);
        if skip < bytes.len() { bytes.slice(skip..) } else { Bytes::new() }
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Fetched {
    type T = io::Cursor<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(io::Cursor::new(self.from(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let here = self.from(start);
        whole(if here.len() > length { here.slice(..length) } else { here }, length)
    }
}

/// These bytes, if they are as many as there should be.
fn whole(bytes: Bytes, length: usize) -> ParquetResult<Bytes> {
    if bytes.len() == length { Ok(bytes) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}
