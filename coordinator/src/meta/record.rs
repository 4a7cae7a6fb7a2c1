//! Records and snapshots as bytes: a CRC-32 of what follows, then the message.

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
        let mut bytes = crc32fast::hash(&body).to_le_bytes().to_vec();
        bytes.extend(body);
        Ok(bytes)
    }

    /// Reads a record back; `object` and `sequence` say where it was found.
    pub(super) fn from_bytes(bytes: &[u8], object: &str, sequence: u64) -> Result<Self> {
        let corrupted = |reason: String| CoordinatorError::Corrupted { object: object.to_owned(), reason };
        let Some((stored, body)) = bytes.split_first_chunk::<4>() else {
            return Err(corrupted(format!("{} bytes are too few", bytes.len())));
        };
        let (stored, computed) = (u32::from_le_bytes(*stored), crc32fast::hash(body));
        if stored != computed {
            return Err(corrupted(format!("checksum {computed:08x} instead of {stored:08x}")));
        }
        let record: Self = codec::decode(body)?;
        if record.sequence != sequence {
            return Err(corrupted(format!("it says that it is record {}", record.sequence)));
        }
        Ok(record)
    }
}
