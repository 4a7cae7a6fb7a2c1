//! Savepoints: written from the files of a checkpoint that has just been sealed, and read by the first attempt of
//! another job.

use std::time::Duration;

use tidemill_plans::PlanError;
use tidemill_plans::checkpoint::{Manifest, Origin, StateFile, TaskState};
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{JobId, RunId};
use tidemill_plans::rescale::with_sources;
use tidemill_plans::savepoint::{Migration, SAVEPOINT_FILE, SavedFile, SavedTask, Savepoint, source_instances};
use tidemill_plans::settings::Settings;
use tidemill_plans::storage::Storage;

use crate::checkpoints::flush;
use crate::error::{CoordinatorError, Result};

/// How long a savepoint may take, from the wish for it until it is written.
pub(crate) const SAVEPOINT_LIMIT: Duration = Duration::from_secs(600);

/// Where a savepoint is to be written.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    storage: Storage,
}

impl Target {
    /// At a folder or URL, where there must be no savepoint yet.
    pub(crate) async fn at(url: String) -> Result<Self> {
        let storage = Storage::open(&url)?;
        match storage.get(SAVEPOINT_FILE).await? {
            None => Ok(Self { url, storage }),
            Some(_) => Err(taken(url)),
        }
    }

    /// Below the checkpoints of a job, under a number that no savepoint there has.
    pub(crate) async fn below(checkpoints: &str, job: JobId) -> Result<String> {
        let (folder, prefix) = ("savepoints", format!("{job}-"));
        let paths = Storage::open(checkpoints)?.list(folder).await?;
        let names = paths.iter().filter_map(|path| path.split('/').nth(1)?.strip_prefix(&prefix)?.parse::<u64>().ok());
        Ok(format!("{checkpoints}/{folder}/{prefix}{}", names.max().unwrap_or(0) + 1))
    }

    /// Copies the state of a sealed checkpoint, and then writes what makes a savepoint of it.
    pub(crate) async fn write(&self, from: &Storage, manifest: &Manifest, graph: &DataflowGraph) -> Result<()> {
        let mut savepoint = Savepoint::of(manifest, graph)?;
        for (task, state) in &manifest.tasks {
            let mut files = Vec::with_capacity(state.files.len());
            for (number, file) in state.files.iter().enumerate() {
                let path = format!("state/{}-{}-{number}.state", task.stage.0, task.subtask);
                copy(from, &file.path, &self.storage, &path).await?;
                files.push(SavedFile { path, bytes: file.bytes });
            }
            savepoint.tasks.push(SavedTask { stage: task.stage.0, subtask: task.subtask, files });
        }
        let text = savepoint.to_text()?;
        if !self.storage.create(SAVEPOINT_FILE, text.into_bytes()).await? {
            return Err(taken(self.url.clone()));
        }
        flush(&self.storage, SAVEPOINT_FILE).await
    }

    /// Removes what has been written.
    pub(crate) async fn remove(&self) -> Result<()> {
        self.storage.delete(SAVEPOINT_FILE).await?;
        for path in self.storage.list("state").await? {
            self.storage.delete(&path).await?;
        }
        Ok(())
    }
}

fn taken(url: String) -> CoordinatorError {
    let reason = String::from("there is one already, and none is overwritten");
    CoordinatorError::Savepoint(PlanError::Savepoint { url, reason })
}

/// A savepoint that a job is to begin from.
pub(crate) struct Beginning {
    savepoint: Savepoint,
    storage: Storage,
    origins: Vec<Option<Origin>>,
    /// The job's graph, with the sources that the savepoint has.
    pub(crate) graph: DataflowGraph,
}

impl Beginning {
    /// Finds out what a graph keeps of the savepoint that its settings name.
    pub(crate) async fn find(graph: &DataflowGraph, settings: &Settings) -> Result<Self> {
        let url = &settings.from_savepoint;
        let (savepoint, storage) = read(url).await?;
        let migration = Migration::of(&savepoint, graph);
        let origins = migration.origins(url, settings.allow_dropped_state).map_err(CoordinatorError::Savepoint)?;
        let sources = source_instances(&savepoint, &migration, graph);
        let graph = with_sources(graph, &sources, settings.parallelism)?;
        Ok(Self { savepoint, storage, origins, graph })
    }

    /// Copies the state to where the job has its checkpoints; returns the checkpoint that the job begins from, which
    /// is not sealed.
    pub(crate) async fn take_up(self, to: &Storage, run: RunId) -> Result<Manifest> {
        let epoch = self.savepoint.epoch();
        let mut tasks = Vec::with_capacity(self.savepoint.tasks.len());
        for saved in &self.savepoint.tasks {
            let mut state = TaskState::default();
            for (number, file) in saved.files.iter().enumerate() {
                let path = StateFile::path_of_saved(run, saved.task(), epoch, number);
                copy(&self.storage, &file.path, to, &path).await?;
                state.files.push(StateFile { path, bytes: file.bytes });
            }
            tasks.push((saved.task(), state));
        }
        Ok(Manifest { number: 0, run, epoch, tasks, origins: Some(self.origins) })
    }
}

/// What a graph keeps of a savepoint.
pub(crate) async fn migration(url: &str, graph: &DataflowGraph) -> Result<Migration> {
    let (savepoint, _) = read(url).await?;
    Ok(Migration::of(&savepoint, graph))
}

async fn read(url: &str) -> Result<(Savepoint, Storage)> {
    let none = || {
        let reason = format!("there is none: {SAVEPOINT_FILE} is missing");
        CoordinatorError::Savepoint(PlanError::Savepoint { url: url.to_owned(), reason })
    };
    let storage = Storage::open_existing(url)?.ok_or_else(none)?;
    let text = storage.get(SAVEPOINT_FILE).await?.ok_or_else(none)?;
    Ok((Savepoint::from_text(&text, url).map_err(CoordinatorError::Savepoint)?, storage))
}

async fn copy(from: &Storage, path: &str, to: &Storage, new: &str) -> Result<()> {
    let missing = || PlanError::Checkpoint { path: path.to_owned(), reason: String::from("it is gone") };
    let bytes = from.get(path).await?.ok_or_else(missing)?;
    to.put(new, bytes).await?;
    flush(to, new).await
}
