//! Savepoints of jobs that run.
//!
//! The job takes a checkpoint behind which it shows nothing until the savepoint is written: one that is to stop ends
//! there, and nothing that it has shown is missing in the savepoint, nor the other way round. If the savepoint of a
//! job that was to stop cannot be written, the job goes on from that checkpoint.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, MessageResult};
use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::ids::{JobId, RunId};
use tidemill_plans::protocol::StopMode;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::info;

use super::Coordinator;
use super::messages::{SavepointWritten, TakeSavepoint};
use crate::error::{CoordinatorError, Result};
use crate::job::{Event, JobStatus};
use crate::savepoints::{SAVEPOINT_LIMIT, Target};

/// A savepoint that somebody waits for.
pub(super) struct WantedSavepoint {
    target: Target,
    /// Whether the job ends with it.
    stops: bool,
    /// What there is to write, once the checkpoint is sealed.
    manifest: Option<Manifest>,
    answer: oneshot::Sender<Result<()>>,
}

impl WantedSavepoint {
    /// Tells whoever waits why there is none.
    pub(super) fn refuse(self, job: JobId, reason: String) {
        // Nobody may wait any more.
        let _ = self.answer.send(Err(CoordinatorError::NoSavepoint { job, reason }));
    }
}

impl Coordinator {
    fn want_savepoint(
        &mut self,
        message: TakeSavepoint,
        ctx: &mut Context<Self>,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let TakeSavepoint { job: id, target, stops } = message;
        let job = self.jobs.get_mut(&id).ok_or(CoordinatorError::NotRunning { job: id })?;
        if !job.restarts.has_checkpoints() {
            return Err(CoordinatorError::NoCheckpoints { job: id, what: "a savepoint" });
        }
        if *job.status.borrow() != JobStatus::Running {
            return Err(CoordinatorError::NotRunning { job: id });
        }
        if job.savepoint.is_some() {
            let reason = String::from("another one is being taken; wait for it");
            return Err(CoordinatorError::NoSavepoint { job: id, reason });
        }
        let (answer, written) = oneshot::channel();
        job.savepoint = Some(WantedSavepoint { target, stops, manifest: None, answer });
        let run = job.run();
        ctx.run_later(SAVEPOINT_LIMIT, move |actor, ctx| actor.give_savepoint_up(run, ctx));
        self.drive(run, Event::SavepointRequested, ctx);
        Ok(written)
    }

    /// The time for a savepoint is over, unless it has been written.
    fn give_savepoint_up(&mut self, run: RunId, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&run.job) else { return };
        if let Some(wanted) = job.savepoint.take_if(|wanted| wanted.manifest.is_none()) {
            wanted.refuse(run.job, format!("it was not taken within {SAVEPOINT_LIMIT:?}"));
            self.drive(run, Event::SavepointTaken, ctx);
        }
    }

    /// The checkpoint of a savepoint is sealed, and sinks show what it covers.
    pub(super) fn savepoint_ready(&mut self, manifest: Manifest, ctx: &mut Context<Self>) {
        let run = manifest.run;
        let Some(job) = self.jobs.get_mut(&run.job) else { return };
        let Some(wanted) = &mut job.savepoint else { return self.drive(run, Event::SavepointTaken, ctx) };
        wanted.manifest = Some(manifest);
        if wanted.stops {
            // What is on its way behind the checkpoint is dropped.
            job.restarts.attempts.hold();
            self.drive(run, Event::StopRequested(StopMode::Cancel), ctx);
        } else {
            self.write_savepoint(run.job, ctx);
        }
    }

    /// Writes the savepoint of a job that is held, or that shows nothing new meanwhile.
    pub(super) fn write_savepoint(&mut self, id: JobId, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(wanted) = &job.savepoint else { return };
        let (Some(manifest), Some(storage)) = (wanted.manifest.clone(), job.restarts.storage()) else { return };
        let (target, graph) = (wanted.target.clone(), job.machine.plan().deployment().graph.clone());
        let owner = wanted.stops.then(|| self.metadata.clone());
        let (coordinator, pushed) = (ctx.address(), Arc::clone(&self.pushed));
        self.tasks.spawn(async move {
            let writing = async {
                target.write(&storage, &manifest, &graph).await?;
                if let Err(error) = pushed.hold(id, manifest.epoch, &target.url).await {
                    return target.remove().await.and(Err(error));
                }
                // If another coordinator has taken over, the job goes on, and beyond the savepoint.
                let forgotten = match owner {
                    Some(metadata) => metadata.forget_job(id).await,
                    None => Ok(()),
                };
                if forgotten.is_err() { target.remove().await.and(forgotten) } else { Ok(()) }
            };
            let reason = format!("it was not written within {SAVEPOINT_LIMIT:?}");
            let written = timeout(SAVEPOINT_LIMIT, writing).await;
            let written = written.unwrap_or(Err(CoordinatorError::NoSavepoint { job: id, reason }));
            // Without an actor there is no job.
            let _ = coordinator.send(SavepointWritten { run: manifest.run, written }).await;
        });
    }

    fn savepoint_written(&mut self, run: RunId, written: Result<()>, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&run.job) else { return };
        let Some(WantedSavepoint { target, stops, answer, .. }) = job.savepoint.take() else { return };
        info!(%run, url = target.url, is_written = written.is_ok(), "savepoint");
        let is_over = stops && written.is_ok();
        // Nobody may wait any more.
        let _ = answer.send(written);
        match (stops, is_over) {
            (false, _) => self.drive(run, Event::SavepointTaken, ctx),
            (true, true) => self.stop_job(run.job, StopMode::Cancel, ctx),
            (true, false) => {
                job.restarts.attempts.begin_anew();
                self.go_on_if_over(run.job, ctx);
            }
        }
    }
}

impl Handler<TakeSavepoint> for Coordinator {
    type Result = MessageResult<TakeSavepoint>;

    fn handle(&mut self, message: TakeSavepoint, ctx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.want_savepoint(message, ctx))
    }
}

impl Handler<SavepointWritten> for Coordinator {
    type Result = MessageResult<SavepointWritten>;

    fn handle(&mut self, SavepointWritten { run, written }: SavepointWritten, ctx: &mut Context<Self>) -> Self::Result {
        self.savepoint_written(run, written, ctx);
        MessageResult(())
    }
}

/// How long whoever asks for a savepoint waits for it.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(2 * SAVEPOINT_LIMIT.as_secs() + 10);
