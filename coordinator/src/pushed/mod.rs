//! What clients push: a log for each source, in the coordinator's folder, which the tasks of jobs read.
//!
//! Rows are acknowledged once they are on disk. From there on a source is like files that grow: positions belong to
//! checkpoints, so each job has every row once, and as often as jobs want them the rows are there.

mod fit;
mod log;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::node::{NodeKind, SourceNode};
use tidemill_plans::pushed::{FOLDER, Place, TABLE_CONNECTOR, UNTIL, is_pushed};
use tokio::task::spawn_blocking;

pub(crate) use self::fit::Fit;
pub(crate) use self::log::Batch;
use self::log::Log;
use crate::error::{CoordinatorError, Result};

/// The logs of a coordinator.
#[derive(Debug)]
pub(crate) struct PushedLogs {
    /// Without one there are no logs.
    folder: Option<PathBuf>,
    /// Those that have been written or read, by the source's name.
    open: Mutex<BTreeMap<String, PushedLog>>,
}

/// A log, until its source is dropped.
#[derive(Debug, Clone)]
pub(crate) struct PushedLog {
    source: String,
    log: Arc<Mutex<Log>>,
}

impl PushedLogs {
    pub(crate) fn new(folder: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { folder, open: Mutex::default() })
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
        on_disk(source, move || {
            if let Some(open) = open {
                lock(&open.log).close();
            }
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        })
        .await
    }

    /// The log of a source.
    pub(crate) async fn open_log(&self, source: &str) -> Result<PushedLog> {
        if let Some(open) = self.open().get(source) {
            return Ok(open.clone());
        }
        let folder = self.folder_of(source)?;
        let opened = on_disk(source, move || Log::open(folder)).await?;
        let log = PushedLog { source: source.to_owned(), log: Arc::new(Mutex::new(opened)) };
        // Another may have been faster; nothing has been written by this one.
        Ok(self.open().entry(source.to_owned()).or_insert(log).clone())
    }

    /// Tells the sources of a graph where what they read is; and tables, how far.
    pub(crate) async fn resolve(&self, graph: &mut DataflowGraph) -> Result<()> {
        for node in &mut graph.nodes {
            if let NodeKind::Source(source) = &mut node.kind
                && is_pushed(&source.connector)
            {
                self.resolve_source(source).await?;
            }
        }
        Ok(())
    }

    async fn resolve_source(&self, source: &mut SourceNode) -> Result<()> {
        let end = self.open_log(&source.table).await?.end();
        let folder = self.folder_of(&source.table)?.display().to_string();
        source.options.retain(|(key, _)| key != FOLDER);
        source.options.push((FOLDER.to_owned(), folder));
        // A job that goes on ends where it was to end.
        if source.connector == TABLE_CONNECTOR && source.options.iter().all(|(key, _)| key != UNTIL) {
            source.options.push((UNTIL.to_owned(), end.to_string()));
        }
        Ok(())
    }

    fn folder_of(&self, source: &str) -> Result<PathBuf> {
        let no_folder = "the coordinator keeps what is pushed in its --data-dir, and was started without one";
        let folder = self.folder.as_ref().ok_or_else(|| refused(source, no_folder.to_owned()))?;
        Ok(folder.join(file_name(source)))
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, PushedLog>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PushedLog {
    /// Writes batches; when this returns they are on disk. No more than `max_bytes` are kept.
    pub(crate) async fn append(&self, batches: Vec<Batch>, max_bytes: Option<u64>) -> Result<()> {
        let log = Arc::clone(&self.log);
        on_disk(&self.source, move || lock(&log).append(&batches, max_bytes)).await
    }

    /// Behind everything that is in it.
    fn end(&self) -> Place {
        lock(&self.log).end()
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
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

/// The name of a log's folder: that of its source, whatever characters it has.
fn file_name(source: &str) -> String {
    let mut name = String::new();
    for byte in source.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => name.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(name, "%{byte:02x}");
            }
        }
    }
    name
}

#[cfg(test)]
mod tests;
