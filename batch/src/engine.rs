//! What runs queries as a whole, whatever it is.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::batch::work::{WorkAnswer, WorkRequest};
use tidemill_plans::batch::{BatchQuery, ReadCounts};
use tidemill_plans::ids::WorkerId;
use tidemill_plans::settings::Settings;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{BatchError, Result};

/// Batches that wait for whoever reads a result, before the query does.
pub(crate) const BATCHES_MAX: usize = 4;

/// Runs queries as a whole. Shared by all sessions.
pub trait BatchEngine: Debug + Send + Sync {
    /// Begins to run a query, and returns at once: what is wrong with it comes in the place of its rows. It has ended
    /// when its run has been dropped.
    ///
    /// # Errors
    /// The engine itself cannot run.
    fn run(&self, query: BatchQuery, settings: &Settings) -> Result<BatchRun>;

    /// The columns of the files that these options of a source name. Waits for the disk.
    fn columns(&self, options: &[(String, String)]) -> Result<SchemaRef>;

    /// The workers that it has queries run by, if it can do that.
    fn workers(&self) -> Option<&dyn BatchWorkers> {
        None
    }
}

/// What an engine is told of workers in other processes, and what they ask it.
pub trait BatchWorkers: Send + Sync {
    /// A worker is there, and is reached at this address (a URL).
    fn join(&self, worker: WorkerId, address: String, slots: u32);

    /// A worker is gone, or is about to be. Does not wait.
    fn lose(&self, worker: WorkerId);

    /// What a worker is to do, once there is something or a while has passed; nothing if it is none of these. May be dropped
    /// while it waits: then the worker asks again.
    fn work(&self, worker: WorkerId, request: WorkRequest) -> BoxFuture<'_, Result<Option<WorkAnswer>>>;
}

/// A query that runs. Dropping it ends the query.
#[derive(Debug)]
pub struct BatchRun {
    rows: mpsc::Receiver<Step>,
    progress: Arc<dyn Progress>,
    /// Whether the last row has come.
    has_ended: bool,
    /// Whether that was all.
    is_complete: bool,
    /// What was told last.
    told: BatchProgress,
    _task: JoinSet<()>,
}

/// What comes of a query. That it ends is said: a task that is gone says nothing.
#[derive(Debug)]
pub(crate) enum Step {
    Rows(RecordBatch),
    Failed(BatchError),
    End,
}

/// Says how far a query has come.
pub(crate) trait Progress: Debug + Send + Sync {
    /// What has been read by now.
    fn counts(&self) -> ReadCounts;

    /// All that is known of how far it is.
    fn progress(&self) -> BatchProgress;
}

impl BatchRun {
    /// A run whose steps come from this task.
    pub(crate) fn new(rows: mpsc::Receiver<Step>, progress: Arc<dyn Progress>, task: JoinSet<()>) -> Self {
        Self { rows, progress, has_ended: false, is_complete: false, told: BatchProgress::default(), _task: task }
    }

    /// The next rows, with the query's schema; nothing behind the last, or behind an error. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.has_ended {
            return None;
        }
        let step = self.rows.recv().await.unwrap_or(Step::Failed(BatchError::Lost));
        self.has_ended = !matches!(step, Step::Rows(_));
        self.is_complete = matches!(step, Step::End);
        match step {
            Step::Rows(rows) => Some(Ok(rows)),
            Step::Failed(error) => Some(Err(error)),
            Step::End => None,
        }
    }

    /// What has been read by now.
    #[must_use]
    pub fn counts(&self) -> ReadCounts {
        self.progress.counts()
    }

    /// How far it is. A fraction never goes back, and is whole once the last row has come.
    pub fn progress(&mut self) -> BatchProgress {
        self.told = self.progress.progress().behind(self.told);
        if self.is_complete {
            self.told = self.told.ended();
        }
        self.told
    }
}
