//! What clients push: a log for each source, in the coordinator's folder, which the tasks of jobs read.
//!
//! Rows are acknowledged once they are on disk. From there on a source is like files that grow: positions belong to
//! checkpoints, so each job has every row once, and as often as jobs want them the rows are there; for ever, unless the
//! source says how much is kept: [`shortening`].

mod fit;
mod holds;
mod log;
mod readers;
mod shortening;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_plans::connector::{StartupMode, option};
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::node::{NodeKind, SourceNode};
use tidemill_plans::pushed::{FOLDER, Kept, PUSH_CONNECTOR, Place, Retention, SEAM, TABLE_CONNECTOR, UNTIL, is_pushed};
use tokio::task::spawn_blocking;

pub(crate) use self::fit::Fit;
pub(crate) use self::log::Batch;
use self::log::Log;
use self::readers::Readers;
use crate::clock::Clock;
use crate::error::{CoordinatorError, Result};
use crate::file_name::file_name;
use crate::metadata::MetadataHandle;

/// The logs of a coordinator.
pub(crate) struct PushedLogs {
    /// Without one there are no logs.
    folder: Option<PathBuf>,
    /// Knows the jobs that read them.
    metadata: MetadataHandle,
    clock: Arc<dyn Clock>,
    /// Those that have been written or read, by the source's name.
    open: Mutex<BTreeMap<String, Arc<Mutex<Log>>>>,
    readers: Mutex<Readers>,
    /// How much is kept of the logs of which that is known.
    kept: Mutex<BTreeMap<String, Retention>>,
    /// Held by whoever changes what savepoints need.
    holding: tokio::sync::Mutex<()>,
}

/// A log, until its source is dropped.
#[derive(Clone)]
pub(crate) struct PushedLog {
    source: String,
    log: Arc<Mutex<Log>>,
    logs: Arc<PushedLogs>,
}

impl PushedLogs {
    pub(crate) fn new(folder: Option<PathBuf>, metadata: MetadataHandle, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (open, readers, kept, holding) = Default::default();
        Arc::new(Self { folder, metadata, clock, open, readers, kept, holding })
    }

    /// Makes an empty log for a source that is being created.
    pub(crate) async fn create(&self, source: &str) -> Result<()> {
        self.remove(source).await?;
        let folder = self.folder_of(source)?;
        on_disk(source, move || fs::create_dir_all(folder)).await
    }

    /// Removes the log of a source that is dropped, if it has one. Who writes to it is told.
    pub(crate) async fn remove(&self, source: &str) -> Result<()> {
        let folder = self.folder_of(source)?;
        let open = self.open().remove(source);
        self.readers().retain(source, &[]);
        lock(&self.kept).remove(source);
        on_disk(source, move || {
            if let Some(open) = open {
                lock(&open).close();
            }
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        })
        .await
    }

    /// The log of a source.
    pub(crate) async fn open_log(self: &Arc<Self>, source: &str) -> Result<PushedLog> {
        let open = self.open().get(source).cloned();
        let log = match open {
            Some(open) => open,
            None => {
                let folder = self.folder_of(source)?;
                let opened = on_disk(source, move || Log::open(folder)).await?;
                // Another may have been faster; nothing has been written by this one.
                let mut open = self.open();
                Arc::clone(open.entry(source.to_owned()).or_insert_with(|| Arc::new(Mutex::new(opened))))
            }
        };
        Ok(PushedLog { source: source.to_owned(), log, logs: Arc::clone(self) })
    }

    /// Tells the sources of a graph where what they read is; and tables, how far.
    pub(crate) async fn resolve(self: &Arc<Self>, graph: &mut DataflowGraph) -> Result<()> {
        for node in &mut graph.nodes {
            if let NodeKind::Source(source) = &mut node.kind
                && is_pushed(&source.connector)
            {
                self.resolve_source(source).await?;
            }
        }
        Ok(())
    }

    async fn resolve_source(self: &Arc<Self>, source: &mut SourceNode) -> Result<()> {
        let end = self.open_log(&source.table).await?.end();
        self.set_kept(&source.table, Retention::of(&source.options));
        let folder = self.folder_of(&source.table)?.display().to_string();
        source.options.retain(|(key, _)| key != FOLDER);
        source.options.push((FOLDER.to_owned(), folder));
        // A job that goes on ends where it was to end.
        if source.connector == TABLE_CONNECTOR && source.options.iter().all(|(key, _)| key != UNTIL) {
            source.options.push((UNTIL.to_owned(), end.to_string()));
        }
        // What is there when a job begins for the first time is so for all its attempts.
        let has_seam = StartupMode::of(&source.options) != StartupMode::Earliest;
        if source.connector == PUSH_CONNECTOR && has_seam && option(&source.options, SEAM).is_none() {
            source.options.push((SEAM.to_owned(), end.to_string()));
        }
        Ok(())
    }

    fn folder_of(&self, source: &str) -> Result<PathBuf> {
        let no_folder = "the coordinator keeps what is pushed in its --data-dir, and was started without one";
        let folder = self.folder.as_ref().ok_or_else(|| refused(source, no_folder.to_owned()))?;
        Ok(folder.join(file_name(source, '%')))
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Mutex<Log>>>> {
        lock(&self.open)
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        lock(&self.readers)
    }
}

impl fmt::Debug for PushedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushedLog").field("source", &self.source).finish_non_exhaustive()
    }
}

impl PushedLog {
    /// Writes batches; when this returns they are on disk. What is not kept is removed now and then.
    pub(crate) async fn append(&self, batches: Vec<Batch>, kept: Kept) -> Result<()> {
        let (log, now) = (Arc::clone(&self.log), self.logs.clock.calendar());
        self.logs.set_kept(&self.source, kept.retention);
        let has_begun = on_disk(&self.source, move || lock(&log).append(&batches, kept, now)).await?;
        if has_begun {
            self.logs.shorten_or_warn(&self.source).await;
        }
        Ok(())
    }

    /// Behind everything that is in it.
    fn end(&self) -> Place {
        lock(&self.log).end()
    }
}

fn lock<T>(log: &Mutex<T>) -> MutexGuard<'_, T> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn on_disk<T: Send + 'static>(source: &str, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = spawn_blocking(work).await.map_err(|_| CoordinatorError::Lost { part: "log" })?;
    done.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            refused(source, String::from("it has no log here: it was dropped, or is no source of this server"))
        }
        io::ErrorKind::QuotaExceeded => {
            CoordinatorError::LogFull { source_name: source.to_owned(), reason: error.to_string() }
        }
        _ => refused(source, error.to_string()),
    })
}

fn refused(source: &str, reason: String) -> CoordinatorError {
    CoordinatorError::Pushed { source_name: source.to_owned(), reason }
}

#[cfg(test)]
mod tests;
