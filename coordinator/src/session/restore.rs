//! The session of a coordinator that begins, with what the one before it has left.
//!
//! An object is recorded in one commit with the job that works for it, and removed before that job ends. So whatever
//! moment the coordinator before has ended at, a job whose objects are all gone is one that was being ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::JobId;
use tidemill_plans::node::NodeKind;
use tidemill_plans::prediction::TrainedModels;
use tidemill_plans::settings::Settings;
use tidemill_sql::{Catalog, RunningView, Session};

use super::{Drops, ObjectJob, SqlSession, with_batches};
use crate::error::Result;
use crate::handle::{CoordinatorHandle, LeftJob};

impl SqlSession {
    /// A session with the objects that the metadata have, whose jobs go on, and which outlive the process. What is wrong
    /// with one of them does not hold up the others: it is told.
    pub async fn restore(coordinator: CoordinatorHandle, settings: Settings) -> Result<(Self, Vec<String>)> {
        let mut restored = Restored::default();
        let left_jobs = coordinator.left_jobs().await?;
        coordinator.access().forget_jobs(&left_jobs.iter().map(|job| job.id).collect::<Vec<_>>()).await?;
        for left in left_jobs {
            restored.take_up(&coordinator, left).await?;
        }
        // What they are made of may be what a model knows, or says.
        let models = Arc::clone(coordinator.serving()) as Arc<dyn TrainedModels>;
        let (catalog, lost) = Catalog::restored(&coordinator.objects().await?, Some(models));
        let Restored { jobs, running, mut told } = restored;
        let told_of = |(name, error)| format!("'{name}' could not be restored, drop it and create it anew: {error}");
        told.extend(lost.into_iter().map(told_of));
        let sql = with_batches(Session::restored(settings, catalog, running), &coordinator);
        Ok((Self { coordinator, sql, jobs, drops: Drops::default(), is_kept: true }, told))
    }
}

/// What has been found so far.
#[derive(Default)]
struct Restored {
    jobs: Vec<ObjectJob>,
    running: BTreeMap<String, RunningView>,
    told: Vec<String>,
}

impl Restored {
    async fn take_up(&mut self, coordinator: &CoordinatorHandle, left: LeftJob) -> Result<()> {
        let LeftJob { id, graph, objects, failure, .. } = left;
        if objects.as_ref().is_some_and(|objects| objects.is_empty()) {
            return coordinator.forget(id).await;
        }
        if let Some(objects) = &objects {
            self.running.extend(running_views(id, &graph, objects));
        }
        // One that has failed would fail again, unless somebody has done something about it.
        if failure.is_some() {
            return Ok(());
        }
        match (coordinator.resume(id).await, objects) {
            (Ok(mut handle), Some(objects)) => {
                handle.results.close();
                self.jobs.push(ObjectJob::new(handle, objects, &graph));
            }
            (Ok(_), None) => {}
            (Err(error), _) => self.told.push(format!("{id} does not go on: {}", error.chain())),
        }
        Ok(())
    }
}

/// The views that a job keeps for readers, by name.
pub(super) fn running_views(
    job: JobId,
    graph: &DataflowGraph,
    objects: &BTreeSet<String>,
) -> Vec<(String, RunningView)> {
    let views = graph.nodes.iter().filter(|node| node.is_view()).filter_map(|node| {
        let NodeKind::Sink(sink) = &node.kind else { return None };
        let view = RunningView { job, operator: node.id, parallelism: node.parallelism };
        objects.contains(&sink.table).then(|| (sink.table.clone(), view))
    });
    views.collect()
}
