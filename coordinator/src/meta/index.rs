//! The local copy of the journal's sum in sled, and what to do when sled does not open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_plans::codec;
use tracing::warn;

use crate::error::{CoordinatorError, Result};
use crate::meta::MetaChange;

/// The key that says how far the journal has been applied; no other key begins with a zero byte.
const APPLIED: &[u8] = b"\0applied";

/// How long to wait for whoever has the folder open: threads of sled's close what was dropped a moment ago.
const LOCK_TRIES: u32 = 50;
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The last record that the index contains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(super) struct Applied {
    /// Its number; 0 for an empty index.
    pub sequence: u64,
    /// Its writer: tells a journal from another one with as many records.
    pub writer: u64,
}

/// An indexed copy that may be lost at any time.
#[derive(Debug, Clone)]
pub(super) struct Index {
    db: sled::Db,
}

impl Index {
    /// An index that lasts as long as the process.
    pub(super) fn temporary() -> Result<Self> {
        Ok(Self { db: sled::Config::new().temporary(true).flush_every_ms(None).open()? })
    }

    /// Opens the folder, or moves it aside and begins an empty one. Waits for a while if somebody has it open.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut opened = try_open(path);
        for _ in 0..LOCK_TRIES {
            match &opened {
                Err(reason) if is_locked(reason) => std::thread::sleep(LOCK_POLL),
                _ => break,
            }
            opened = try_open(path);
        }
        match opened {
            Ok(db) => Ok(Self { db }),
            Err(reason) if is_locked(&reason) => Err(CoordinatorError::InUse { path: path.to_owned() }),
            Err(reason) => {
                let aside = move_aside(path)?;
                warn!(
                    folder = %path.display(), moved_to = %aside.display(), reason,
                    "metadata index does not open; rebuilding it from the journal"
                );
                Ok(Self { db: sled::Config::new().path(path).flush_every_ms(None).open()? })
            }
        }
    }

    /// How far the journal has been applied.
    pub(super) fn applied(&self) -> Result<Applied> {
        match self.db.get(APPLIED)? {
            Some(bytes) => Ok(codec::decode(&bytes)?),
            None => Ok(Applied::default()),
        }
    }

    /// Applies a record's changes, all or none, without flushing.
    pub(super) fn apply(&self, changes: &[MetaChange], applied: Applied) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        batch.insert(APPLIED, codec::encode(&applied)?);
        Ok(self.db.apply_batch(batch)?)
    }

    /// Makes what was applied durable.
    pub(super) fn flush(&self) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }

    /// Forgets everything.
    pub(super) fn clear(&self) -> Result<()> {
        Ok(self.db.clear()?)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get(key)?.map(|value| value.to_vec()))
    }

    /// All keys that begin with `prefix`, and their values.
    pub(super) fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        for entry in self.db.scan_prefix(prefix) {
            let (key, value) = entry?;
            if key != APPLIED {
                found.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(found)
    }
}

fn is_locked(reason: &str) -> bool {
    reason.contains("could not acquire lock")
}

/// Opens and reads everything once. Damaged files make sled panic as often as they make it fail.
fn try_open(path: &Path) -> Result<sled::Db, String> {
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let db = sled::Config::new().path(path).flush_every_ms(None).open()?;
        for entry in db.iter() {
            entry?;
        }
        Ok::<_, sled::Error>(db)
    }));
    match attempt {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err(String::from("sled panicked")),
    }
}

/// Renames the folder to the first free `<name>.broken-<n>`.
fn move_aside(path: &Path) -> Result<PathBuf> {
    let free = (1..).map(|n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".broken-{n}"));
        PathBuf::from(name)
    });
    let aside = free.into_iter().find(|aside| !aside.exists()).unwrap_or_default();
    std::fs::rename(path, &aside).map_err(|source| CoordinatorError::Folder { path: path.to_owned(), source })?;
    Ok(aside)
}
