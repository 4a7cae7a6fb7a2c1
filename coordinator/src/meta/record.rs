//! Records and snapshots as bytes: a header, then the message.
//!
//! The header has the message's length and CRC-32. The length, which has a CRC-32 of its own, tells a
//! record that a crash cut short from one that has been damaged since.

use tidemill_plans::codec;

use crate::error::{CoordinatorError, Result};
use crate::meta::MetaChange;

/// One commit of the journal, or the sum of all up to `sequence` in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(super) struct Record {
    /// Its number in the journal, from 1.
    pub sequence: u64,
    /// Who wrote it: a number drawn when the journal was opened.
    pub writer: u64,
    /// What it changes.
    pub changes: Vec<MetaChange>,
}

impl Record {
    /// The record's bytes.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let body = codec::encode(self)?;
        let length = (body.len() as u64).to_le_bytes();
        let checks = [crc32fast::hash(&length), crc32fast::hash(&body)].map(u32::to_le_bytes);
        Ok([&length[..], &checks[0], &checks[1], &body].concat())
    }

    /// Reads a record back; `object` and `sequence` say where it was found.
    pub(super) fn from_bytes(bytes: &[u8], object: &str, sequence: u64) -> Result<Self> {
        let corrupted = |reason: String| CoordinatorError::Corrupted { object: object.to_owned(), reason };
        let torn = || CoordinatorError::Torn { object: object.to_owned(), bytes: bytes.len() };
        let check = |part: &[u8], stored: &[u8; 4]| match (crc32fast::hash(part), u32::from_le_bytes(*stored)) {
            (computed, stored) if computed == stored => Ok(()),
            (computed, stored) => Err(corrupted(format!("checksum {computed:08x} instead of {stored:08x}"))),
        };
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(torn)?;
        let (length_check, rest) = rest.split_first_chunk::<4>().ok_or_else(torn)?;
        let (body_check, body) = rest.split_first_chunk::<4>().ok_or_else(torn)?;
        // A file system may know a file's size before it has the bytes, and shows zeros instead.
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(torn());
        }
        check(length, length_check)?;
        if (body.len() as u64) < u64::from_le_bytes(*length) {
            return Err(torn());
        }
        check(body, body_check)?;
        let record: Self = codec::decode(body)?;
        if record.sequence != sequence {
            return Err(corrupted(format!("it says that it is record {}", record.sequence)));
        }
        Ok(record)
    }
}
