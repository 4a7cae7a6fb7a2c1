//! The bytes of a snapshot where they are, and sections of them that are read one by one.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::error::ArrowError;

use crate::error::{EngineError, Result};

/// Bytes that are read at a time, to see whether all are as they were written.
const PART_BYTES: usize = 1 << 18;

/// A snapshot as it was written.
#[derive(Debug)]
pub enum SnapshotBytes {
    /// In memory.
    Held(Vec<u8>),
    /// In a file, which nobody changes any more.
    File(File),
}

impl SnapshotBytes {
    /// How many there are.
    pub fn length(&self) -> Result<u64> {
        match self {
            Self::Held(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata().map_err(failed)?.len()),
        }
    }

    /// Fills `to` with what is at an offset.
    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Held(bytes) => {
                let found = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)?.get(..to.len()));
                found.map(|found| to.copy_from_slice(found)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Self::File(file) => file.read_exact_at(to, offset),
        }
    }
}

/// Some of the bytes; reading takes them from the front.
#[derive(Debug, Clone)]
pub(super) struct Section {
    of: Arc<SnapshotBytes>,
    range: Range<u64>,
}

impl Section {
    pub(super) fn of(bytes: Arc<SnapshotBytes>, range: Range<u64>) -> Self {
        Self { of: bytes, range }
    }

    pub(super) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The first so many bytes, and the rest; nothing if there are fewer.
    pub(super) fn split_front(&self, bytes: u64) -> Option<(Self, Self)> {
        let middle = self.range.start.checked_add(bytes).filter(|middle| *middle <= self.range.end)?;
        Some(self.split_at(middle))
    }

    /// The last so many bytes, and what is in front of them; nothing if there are fewer.
    pub(super) fn split_back(&self, bytes: u64) -> Option<(Self, Self)> {
        let middle = self.range.end.checked_sub(bytes).filter(|middle| *middle >= self.range.start)?;
        Some(self.split_at(middle))
    }

    fn split_at(&self, middle: u64) -> (Self, Self) {
        let part = |range| Self { of: Arc::clone(&self.of), range };
        (part(self.range.start..middle), part(middle..self.range.end))
    }

    /// All of it; to be asked of small ones.
    pub(super) fn held(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length()).unwrap_or(usize::MAX)];
        self.of.read(&mut bytes, self.range.start).map_err(failed)?;
        Ok(bytes)
    }

    /// All of it, which has so many bytes.
    pub(super) fn array<const BYTES: usize>(&self) -> Result<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        self.of.read(&mut bytes, self.range.start).map_err(failed)?;
        Ok(bytes)
    }

    /// The CRC-32 of all of it.
    pub(super) fn checksum(mut self) -> Result<u32> {
        let mut part = vec![0; PART_BYTES];
        let mut checksum = crc32fast::Hasher::new();
        loop {
            match self.read(&mut part).map_err(failed)? {
                0 => return Ok(checksum.finalize()),
                bytes => checksum.update(&part[..bytes]),
            }
        }
    }
}

impl Read for Section {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let bytes = usize::try_from(self.length()).unwrap_or(usize::MAX).min(to.len());
        self.of.read(&mut to[..bytes], self.range.start)?;
        self.range.start += bytes as u64;
        Ok(bytes)
    }
}

fn failed(error: io::Error) -> EngineError {
    EngineError::from(ArrowError::from(error))
}
