//! The queries that run as a whole, for whoever lists, counts or ends jobs.
//!
//! They run in this process, and end with their handles: so the actor, which has the jobs, has none of these. It takes them
//! in alone, one after the other, so that they and jobs are counted together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::JobId;
use tidemill_plans::protocol::OperatorMetrics;
use tokio::sync::watch;

use crate::actor::observe::named;
use crate::handle::{JobInfo, ObservedJob};
use crate::job::JobStatus;
use crate::job::checkpoint_log::CheckpointLog;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Queries(Mutex<BTreeMap<JobId, Entry>>);

#[derive(Debug)]
struct Entry {
    owner: Option<String>,
    /// Nothing before it runs.
    running: Option<Listed>,
}

/// What is known of a query that runs.
#[derive(Debug)]
pub(crate) struct Listed {
    /// What it writes, or that it has a result.
    pub(crate) makes: Vec<String>,
    /// Whether it is there for its rows.
    pub(crate) is_query: bool,
    /// The tables that it reads and its result.
    pub(crate) graph: DataflowGraph,
    pub(crate) status: watch::Receiver<JobStatus>,
    pub(crate) metrics: watch::Receiver<Vec<OperatorMetrics>>,
    pub(crate) progress: watch::Receiver<BatchProgress>,
    /// Ends it.
    pub(crate) stop: watch::Sender<bool>,
}

/// A query's place among all that run, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct QueryPlace {
    id: JobId,
    queries: Arc<Queries>,
}

impl Queries {
    /// Takes a query of a user in.
    pub(crate) fn take(self: &Arc<Self>, id: JobId, owner: Option<String>) -> QueryPlace {
        self.entries().insert(id, Entry { owner, running: None });
        QueryPlace { id, queries: Arc::clone(self) }
    }

    /// The users whose they are.
    pub(crate) fn owners(&self) -> Vec<Option<String>> {
        self.entries().values().map(|entry| entry.owner.clone()).collect()
    }

    /// How they are.
    pub(crate) fn jobs(&self) -> Vec<JobInfo> {
        let entries = self.entries();
        entries.iter().filter_map(|(id, entry)| Some(entry.running.as_ref()?.info(*id, entry.owner.clone()))).collect()
    }

    /// How they are, with their metrics.
    pub(crate) fn observe(&self) -> Vec<ObservedJob> {
        let observed = |(id, entry): (&JobId, &Entry)| {
            let running = entry.running.as_ref()?;
            Some(ObservedJob {
                info: running.info(*id, entry.owner.clone()),
                operators: running.graph.nodes.iter().map(named).collect(),
                metrics: running.metrics.borrow().clone(),
                checkpoints: CheckpointLog::default(),
            })
        };
        self.entries().iter().filter_map(observed).collect()
    }

    /// Whose a query is.
    pub(crate) fn owner(&self, id: JobId) -> Option<String> {
        self.entries().get(&id).and_then(|entry| entry.owner.clone())
    }

    /// Whether a job is one of these.
    pub(crate) fn have(&self, id: JobId) -> bool {
        self.entries().contains_key(&id)
    }

    /// Ends a query, if it is one of these.
    pub(crate) fn stop(&self, id: JobId) -> bool {
        let entries = self.entries();
        let Some(entry) = entries.get(&id) else { return false };
        if let Some(running) = &entry.running {
            running.stop.send_replace(true);
        }
        true
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<JobId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    fn info(&self, id: JobId, owner: Option<String>) -> JobInfo {
        let progress = *self.progress.borrow();
        JobInfo {
            id,
            status: self.status.borrow().clone(),
            restarts: progress.restarts,
            makes: self.makes.clone(),
            tasks: progress.tasks.all as usize,
            has_checkpoints: false,
            newest_checkpoint: None,
            is_query: self.is_query,
            progress: Some(progress),
            owner,
        }
    }
}

impl QueryPlace {
    /// It runs.
    pub(crate) fn list(&self, running: Listed) {
        if let Some(entry) = self.queries.entries().get_mut(&self.id) {
            entry.running = Some(running);
        }
    }
}

impl Drop for QueryPlace {
    fn drop(&mut self) {
        self.queries.entries().remove(&self.id);
    }
}
