//! The journal: numbered objects that are created, never overwritten.
//!
//! Create-if-absent both orders the records and fences: of two coordinators that want to write
//! record `n`, one gets it and the other learns that it is no longer alone. So records are never
//! deleted either, or a coordinator that slept through a takeover could fill the gap. Snapshots
//! only shorten the way back after the index was lost.

use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use tidemill_plans::storage;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::record::Record;
use crate::error::{CoordinatorError, Result};
use crate::meta::MetaChange;

/// The journal on an object store, and where its end is.
#[derive(Debug)]
pub(super) struct Journal {
    objects: Arc<dyn ObjectStore>,
    /// The folder that `objects` is, if it is one: then records must be flushed.
    folder: Option<PathBuf>,
    writer: u64,
    /// The number of the newest record that is known.
    last: u64,
    fenced: bool,
}

impl Journal {
    /// A journal of which nothing has been read yet.
    pub(super) fn new(objects: Arc<dyn ObjectStore>, folder: Option<PathBuf>, writer: u64) -> Self {
        Self { objects, folder, writer, last: 0, fenced: false }
    }

    /// The number of the newest record that was read or written.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Writes a record behind the last one, and returns what is there then. That is another record of
    /// this writer if an earlier append failed after it had reached the store: it counts, and whoever
    /// wants more must append again.
    pub(super) async fn append(&mut self, changes: &[MetaChange]) -> Result<Record> {
        let sequence = self.last + 1;
        if self.fenced {
            return Err(CoordinatorError::Fenced { sequence });
        }
        let record = Record { sequence, writer: self.writer, changes: changes.to_vec() };
        let path = record_path(sequence);
        let found = match self.create(&path, record.to_bytes()?).await {
            Ok(()) => record,
            Err(object_store::Error::AlreadyExists { .. }) => self.record(sequence).await?,
            Err(error) => return Err(error.into()),
        };
        if found.writer != self.writer {
            self.fenced = true;
            return Err(CoordinatorError::Fenced { sequence });
        }
        self.flush(&path).await?;
        self.last = sequence;
        Ok(found)
    }

    /// An error if another writer has written behind what is known.
    pub(super) async fn check(&mut self) -> Result<()> {
        let sequence = self.last + 1;
        if !self.fenced {
            self.fenced = self.find(sequence).await?.is_some_and(|record| record.writer != self.writer);
        }
        if self.fenced { Err(CoordinatorError::Fenced { sequence }) } else { Ok(()) }
    }

    /// Reads the records behind `after`, in order, and remembers the end. The last one may have been cut
    /// short by a crash.
    pub(super) async fn read_after(&mut self, after: u64) -> Result<Vec<Record>> {
        let mut sequences = self.sequences("journal", &record_path(after)).await?;
        sequences.sort_unstable();
        let newest = sequences.last().copied();
        let mut records = Vec::with_capacity(sequences.len());
        for (sequence, expected) in sequences.into_iter().zip(after + 1..) {
            if sequence != expected {
                return Err(CoordinatorError::MissingRecord { sequence: expected });
            }
            records.push(match self.record(sequence).await {
                Err(error @ CoordinatorError::Torn { .. }) if Some(sequence) == newest => {
                    warn!(%error, "the last metadata record was not written to its end; it is left out");
                    self.replace(sequence).await?
                }
                record => record?,
            });
        }
        self.last = records.last().map_or(after, |record| record.sequence);
        Ok(records)
    }

    /// Puts an empty record in the place of a torn one, whose writer was never told that it is durable.
    /// The place stays taken, as all places do.
    async fn replace(&self, sequence: u64) -> Result<Record> {
        let record = Record { sequence, writer: self.writer, changes: Vec::new() };
        let path = record_path(sequence);
        self.objects.put(&path, record.to_bytes()?.into()).await?;
        self.flush(&path).await?;
        Ok(record)
    }

    /// Reads one record, if it is there as a whole.
    pub(super) async fn find(&self, sequence: u64) -> Result<Option<Record>> {
        match self.record(sequence).await {
            Err(
                CoordinatorError::ObjectStore(object_store::Error::NotFound { .. }) | CoordinatorError::Torn { .. },
            ) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The newest snapshot that can be read. A damaged one is passed over: the records are all there.
    pub(super) async fn newest_snapshot(&self) -> Result<Option<Record>> {
        let mut sequences = self.sequences("snapshot", &snapshot_path(0)).await?;
        sequences.sort_unstable();
        for sequence in sequences.into_iter().rev() {
            let path = snapshot_path(sequence);
            let bytes = self.objects.get(&path).await?.bytes().await?;
            match Record::from_bytes(&bytes, path.as_ref(), sequence) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => warn!(snapshot = %path, %error, "metadata snapshot passed over"),
            }
        }
        Ok(None)
    }

    /// Writes the sum of all records so far.
    pub(super) async fn write_snapshot(&self, changes: Vec<MetaChange>) -> Result<()> {
        let bytes = Record { sequence: self.last, writer: self.writer, changes }.to_bytes()?;
        match self.create(&snapshot_path(self.last), bytes).await {
            Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    async fn create(&self, path: &Path, bytes: Vec<u8>) -> Result<(), object_store::Error> {
        self.objects.put_opts(path, bytes.into(), PutMode::Create.into()).await.map(|_| ())
    }

    /// Makes an object durable; only folders need to be told.
    async fn flush(&self, path: &Path) -> Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let (root, file) = (folder.clone(), path.to_string());
        let flushed = spawn_blocking(move || storage::flush(&root, &file)).await;
        let flushed = flushed.unwrap_or_else(|error| Err(error.into()));
        flushed.map_err(|source| CoordinatorError::Folder { path: folder, source })
    }

    async fn record(&self, sequence: u64) -> Result<Record> {
        let path = record_path(sequence);
        Record::from_bytes(&self.objects.get(&path).await?.bytes().await?, path.as_ref(), sequence)
    }

    /// The numbers of the objects in a folder behind `offset`.
    async fn sequences(&self, folder: &str, offset: &Path) -> Result<Vec<u64>> {
        let listed: Vec<_> = self.objects.list_with_offset(Some(&Path::from(folder)), offset).try_collect().await?;
        let number = |path: &Path| path.filename()?.split('.').next()?.parse::<u64>().ok();
        Ok(listed.iter().filter_map(|meta| number(&meta.location)).collect())
    }
}

fn record_path(sequence: u64) -> Path {
    Path::from(format!("journal/{sequence:020}.rec"))
}

fn snapshot_path(sequence: u64) -> Path {
    Path::from(format!("snapshot/{sequence:020}.snap"))
}
