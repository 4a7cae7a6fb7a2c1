//! What one job holds on a worker, from its deployment until nothing of it is left.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, Addr};
use tidemill_engine::metrics::OperatorStats;
use tidemill_engine::task::{BuiltTask, DriverCommand, Task};
use tidemill_plans::catalog::ModelVersion;
use tidemill_plans::ids::JobId;
use tidemill_plans::protocol::OperatorMetrics;
use tokio::sync::watch;
use tracing::warn;

use crate::error::Result;
use crate::io_thread::{DriverThread, IoThread};
use crate::pools::ComputePool;
use crate::runner::{Notices, Reporter};
use crate::slots::{SlotId, SlotTable};
use crate::task_actor::{Cancel, TaskActor};

/// How long the threads of a cancelled job may take to end.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// A job's tasks, threads and counters.
pub(crate) struct JobResources {
    stats: Vec<Arc<OperatorStats>>,
    models: Arc<Mutex<Vec<ModelVersion>>>,
    cancelled: watch::Sender<bool>,
    /// Built and not started.
    waiting: Vec<BuiltTask>,
    actors: Vec<(SlotId, Addr<TaskActor<Task>>)>,
    threads: Vec<IoThread>,
    drivers: Vec<DriverThread>,
}

impl JobResources {
    /// The resources of a job whose tasks wait for their start.
    pub(crate) fn new(
        waiting: Vec<BuiltTask>,
        models: Arc<Mutex<Vec<ModelVersion>>>,
        cancelled: watch::Sender<bool>,
    ) -> Self {
        let stats = waiting.iter().flat_map(|built| built.task.stats()).collect();
        Self { stats, models, cancelled, waiting, actors: Vec::new(), threads: Vec::new(), drivers: Vec::new() }
    }

    /// Starts all tasks and drivers. After an error those that run are to be torn down.
    pub(crate) fn run(
        &mut self,
        job: JobId,
        slots: &mut SlotTable,
        pool: &ComputePool,
        notices: &Notices,
    ) -> Result<()> {
        for BuiltTask { task, driver } in std::mem::take(&mut self.waiting) {
            let reporter = Reporter { job, task: task.id(), notices: notices.clone() };
            if let Some(driver) = driver {
                self.drivers.push(DriverThread::start(driver, reporter.clone())?);
            }
            if task.is_io() {
                self.threads.push(IoThread::start(task, reporter)?);
            } else {
                let slot = slots.place();
                let actor = move |_: &mut _| TaskActor::new(task, reporter);
                self.actors.push((slot, TaskActor::start_in_arbiter(&pool.arbiter(slot), actor)));
            }
        }
        Ok(())
    }

    /// Tells all drivers something.
    pub(crate) fn command(&self, command: DriverCommand) {
        for driver in &self.drivers {
            driver.command(command);
        }
    }

    /// The metrics of all operators.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = OperatorMetrics> {
        self.stats.iter().map(|stats| stats.snapshot())
    }

    /// The model versions that were published since the last call.
    pub(crate) fn take_models(&self) -> Vec<ModelVersion> {
        std::mem::take(&mut *self.models.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Drops every task and driver where it is, and waits until they are gone. Answers with the places
    /// that are free then.
    pub(crate) async fn tear_down(self, job: JobId) -> Vec<SlotId> {
        let Self { cancelled, waiting, actors, threads, drivers, .. } = self;
        // First: a sink's thread may wait for a session to take its rows.
        cancelled.send_replace(true);
        drop(waiting);
        let mut handles: Vec<JoinHandle<()>> = drivers.into_iter().map(DriverThread::cancel).collect();
        handles.extend(threads.into_iter().map(IoThread::cancel));
        let mut places = Vec::with_capacity(actors.len());
        for (slot, actor) in actors {
            // An error means that the actor has stopped, as finished tasks do.
            let _ = actor.send(Cancel).await;
            places.push(slot);
        }
        let joining = tokio::task::spawn_blocking(move || handles.into_iter().for_each(|handle| drop(handle.join())));
        if tokio::time::timeout(JOIN_PATIENCE, joining).await.is_err() {
            warn!(%job, "threads of a cancelled job still wait for the outside");
        }
        places
    }
}
