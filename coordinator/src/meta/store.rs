//! Journal and index together: write to the first, read from the second.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tidemill_plans::storage::create_folder;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::index::{Applied, Index};
use super::journal::Journal;
use super::record::Record;
use crate::error::{CoordinatorError, Result};
use crate::meta::{Commit, MetaChange, MetaStore};

/// Records between two snapshots.
const SNAPSHOT_EVERY: u64 = 256;

/// A [`MetaStore`] on a journal with a sled index.
#[derive(Debug)]
pub struct JournalStore {
    journal: Journal,
    index: Index,
    /// A record of the journal that the index may not have.
    behind: Option<u64>,
}

impl JournalStore {
    /// A store that is gone with the process.
    pub async fn in_memory() -> Result<Self> {
        Self::open(Arc::new(InMemory::new()), None).await
    }

    /// The store in a local folder: `journal/` and `snapshot/` under `meta/`, and `meta-index/`.
    pub async fn in_folder(folder: &Path) -> Result<Self> {
        let (path, index) = (folder.join("meta"), folder.join("meta-index"));
        let root = create_folder(&path).map_err(|source| CoordinatorError::Folder { path, source })?;
        let objects = Arc::new(LocalFileSystem::new_with_prefix(&root)?);
        Self::open_in(objects, Some(root), Some(index)).await
    }

    /// Opens a journal, brings the index up to it, and claims it: any other coordinator on this
    /// journal is fenced from its next commit on.
    pub async fn open(objects: Arc<dyn ObjectStore>, index: Option<PathBuf>) -> Result<Self> {
        Self::open_in(objects, None, index).await
    }

    async fn open_in(objects: Arc<dyn ObjectStore>, folder: Option<PathBuf>, index: Option<PathBuf>) -> Result<Self> {
        let index = blocking(move || match index {
            Some(path) => Index::open(&path),
            None => Index::temporary(),
        })
        .await?;
        // Only has to differ between openings; nothing that is computed depends on it.
        let writer = RandomState::new().hash_one(0u8);
        let mut store = Self { journal: Journal::new(objects, folder, writer), index, behind: None };
        store.catch_up().await?;
        store.write(Vec::new()).await?;
        Ok(store)
    }

    async fn catch_up(&mut self) -> Result<()> {
        let mut applied = self.index.applied()?;
        if applied.sequence > 0 && !self.is_of_this_journal(applied).await? {
            warn!(sequence = applied.sequence, "metadata index belongs to another journal; rebuilding it");
            self.index.clear()?;
            applied = Applied::default();
        }
        if applied.sequence == 0
            && let Some(snapshot) = self.journal.newest_snapshot().await?
        {
            applied = self.apply(&snapshot)?;
        }
        let records = self.journal.read_after(applied.sequence).await?;
        for record in &records {
            self.apply(record)?;
        }
        if !records.is_empty() {
            info!(records = records.len(), from = applied.sequence, "metadata journal replayed");
        }
        Ok(())
    }

    async fn is_of_this_journal(&self, applied: Applied) -> Result<bool> {
        Ok(self.journal.find(applied.sequence).await?.is_some_and(|record| record.writer == applied.writer))
    }

    fn apply(&self, record: &Record) -> Result<Applied> {
        let applied = Applied { sequence: record.sequence, writer: record.writer };
        self.index.apply(&record.changes, applied)?;
        Ok(applied)
    }

    async fn write(&mut self, changes: Vec<MetaChange>) -> Result<()> {
        let mut is_done = false;
        while !is_done {
            if let Some(sequence) = self.behind {
                return Err(CoordinatorError::IndexBehind { sequence });
            }
            let record = self.journal.append(&changes).await?;
            is_done = record.changes == changes;
            self.follow(record).await?;
        }
        Ok(())
    }

    /// Brings the index up to a record that is in the journal. Without it, the records behind it must not
    /// be applied: the index would lack it for good.
    async fn follow(&mut self, record: Record) -> Result<()> {
        let sequence = record.sequence;
        self.behind = Some(sequence);
        let (index, applied) = (self.index.clone(), Applied { sequence, writer: record.writer });
        blocking(move || {
            index.apply(&record.changes, applied)?;
            index.flush()
        })
        .await?;
        self.behind = None;
        if sequence.is_multiple_of(SNAPSHOT_EVERY) {
            self.snapshot().await;
        }
        Ok(())
    }

    /// A snapshot that cannot be written is a longer replay, not a failed commit.
    async fn snapshot(&self) {
        let everything =
            self.index.scan(b"").map(|all| all.into_iter().map(|(key, value)| (key, Some(value))).collect());
        let written = match everything {
            Ok(changes) => self.journal.write_snapshot(changes).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            warn!(sequence = self.journal.last(), error = error.chain(), "metadata snapshot not written");
        }
    }
}

impl MetaStore for JournalStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.index.get(key)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.index.scan(prefix)
    }

    fn commit(&mut self, changes: Vec<MetaChange>) -> Commit<'_> {
        assert!(changes.iter().all(|(key, _)| key.first().is_some_and(|byte| *byte != 0)), "keys begin with a letter");
        Box::pin(self.write(changes))
    }

    fn check(&mut self) -> Commit<'_> {
        Box::pin(self.journal.check())
    }
}

/// Runs file work of sled where waiting is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.unwrap_or(Err(CoordinatorError::Lost { part: "metadata index" }))
}
