//! What one job holds on a worker, from its deployment until nothing of it is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr};
use futures::future::{join, join_all};
use tidemill_engine::connector::ServedVersions;
use tidemill_engine::metrics::OperatorStats;
use tidemill_engine::task::{BuiltTask, DriverCommand, Passed, PublishedModels, Task};
use tidemill_plans::catalog::ModelWeights;
use tidemill_plans::ids::{Epoch, RunId, TaskId};
use tidemill_plans::protocol::OperatorMetrics;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::checkpoint_writer::CheckpointWriter;
use crate::error::Result;
use crate::io_thread::{DriverThread, IoThread};
use crate::pools::ComputePool;
use crate::runner::{Failure, Notices, Reporter};
use crate::slots::{SlotId, SlotTable};
use crate::task_actor::{Cancel, TaskActor};

/// How long the sinks of a cancelled job may take to end: a file that is being completed is waited for.
const SINK_PATIENCE: Duration = Duration::from_secs(10);

/// How long its other tasks may. They hold nothing of the outside, so one that computes is left to find
/// out by itself that nobody wants its result.
const COMPUTE_PATIENCE: Duration = Duration::from_millis(500);

/// Says to whoever is in the middle of something that nobody wants it any more.
pub(crate) struct Ends {
    /// To those that wait for a session.
    pub(crate) cancelled: watch::Sender<bool>,
    /// To those that compute.
    pub(crate) interrupt: Arc<AtomicBool>,
}

/// A job's tasks, threads and counters.
pub(crate) struct JobResources {
    stats: Vec<Arc<OperatorStats>>,
    models: Arc<Mutex<PublishedModels>>,
    served: Arc<ServedVersions>,
    ends: Ends,
    /// Built and not started.
    waiting: Vec<BuiltTask>,
    actors: Vec<(SlotId, Addr<TaskActor<Task>>)>,
    threads: Vec<IoThread>,
    drivers: Vec<DriverThread>,
    /// Writes the tasks' state, if the job has checkpoints.
    writer: Option<CheckpointWriter>,
}

impl JobResources {
    /// The resources of a job whose tasks wait for their start.
    pub(crate) fn new(
        waiting: Vec<BuiltTask>,
        models: Arc<Mutex<PublishedModels>>,
        served: Arc<ServedVersions>,
        ends: Ends,
        writer: Option<CheckpointWriter>,
    ) -> Self {
        let stats = waiting.iter().flat_map(|built| built.task.stats()).collect();
        Self {
            stats,
            models,
            served,
            ends,
            waiting,
            actors: Vec::new(),
            threads: Vec::new(),
            drivers: Vec::new(),
            writer,
        }
    }

    /// Starts all tasks and drivers. After an error those that run are to be torn down.
    pub(crate) fn run(
        &mut self,
        run: RunId,
        slots: &mut SlotTable,
        pool: &ComputePool,
        notices: &Notices,
    ) -> Result<()> {
        for BuiltTask { task, driver } in std::mem::take(&mut self.waiting) {
            let reporter = Reporter { run, task: task.id(), notices: notices.clone() };
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

    /// Has the sources of a model give out what its name means from now on.
    pub(crate) fn serve(&self, reference: String, weights: Arc<ModelWeights>) {
        self.served.put(reference, weights);
    }

    /// Has a task's state written.
    pub(crate) fn write(&self, task: TaskId, passed: Passed) {
        if let Some(writer) = &self.writer {
            writer.write(task, passed);
        }
    }

    /// Tells every sink that the checkpoint of `epoch` is sealed; the answer comes when all have shown what it
    /// covers.
    pub(crate) fn commit(&self, epoch: Epoch) -> impl Future<Output = Result<(), Failure>> + 'static {
        let sinks: Vec<_> = self.threads.iter().map(|thread| thread.commit(epoch)).collect();
        async move { join_all(sinks).await.into_iter().collect() }
    }

    /// The metrics of all operators.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = OperatorMetrics> {
        self.stats.iter().map(|stats| stats.snapshot())
    }

    /// The models that were published since the last call.
    pub(crate) fn take_models(&self) -> PublishedModels {
        std::mem::take(&mut *self.models.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks every sink to complete what it has written; the answer comes when all have. The other tasks
    /// go on until they are torn down: a sink must not take the loss of its input for a failure.
    pub(crate) fn cut(&self) -> impl Future<Output = Result<(), Failure>> + 'static {
        let sinks: Vec<_> = self.threads.iter().map(|thread| thread.cut().wait()).collect();
        // Behind that: what a fit does next is to look for it.
        self.ends.interrupt.store(true, Ordering::Relaxed);
        async move { join_all(sinks).await.into_iter().collect() }
    }

    /// Drops every task and driver where it is, and waits until they are gone. Answers with the places
    /// that are free then.
    pub(crate) async fn tear_down(self, run: RunId) -> Vec<SlotId> {
        let Self { ends, waiting, actors, threads, drivers, .. } = self;
        // First: a sink's thread may wait for a session to take its rows.
        ends.cancelled.send_replace(true);
        drop(waiting);
        let sinks: Vec<_> = threads.into_iter().map(|thread| thread.cancel().wait()).collect();
        ends.interrupt.store(true, Ordering::Relaxed);
        let drivers = join_all(drivers.into_iter().map(|driver| driver.cancel().wait()));
        let (places, actors): (Vec<SlotId>, Vec<_>) = actors.into_iter().unzip();
        // An error means that the actor has stopped, as finished tasks do.
        let actors = join_all(actors.iter().map(|actor| actor.send(Cancel)));
        let (sinks, others) =
            join(timeout(SINK_PATIENCE, join_all(sinks)), timeout(COMPUTE_PATIENCE, join(drivers, actors))).await;
        if sinks.is_err() {
            warn!(%run, "sinks of a cancelled job still wait for the outside");
        }
        if others.is_err() {
            debug!(%run, "tasks of a cancelled job still compute");
        }
        places
    }
}
