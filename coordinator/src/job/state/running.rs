//! Tasks run until all have finished, one fails, or somebody stops the job. Barriers pass.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::ids::{Epoch, WorkerId};
use tidemill_plans::protocol::{StopMode, WorkerRequest};

use crate::job::epochs::Epochs;
use crate::job::progress::Progress;
use crate::job::state::{Committing, Failing, State, Stopping, Suspending, Then, Transition};
use crate::job::{Effect, Event, JobPlan, JobStatus, RequestKind};

/// When a job with materialized views has its first barrier.
const FIRST_EPOCH_OF_VIEWS: Duration = Duration::from_millis(100);

/// Counts tasks that end and barriers that pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    progress: Progress,
    epochs: Epochs,
    savepoint: Option<Savepoint>,
}

/// A checkpoint that somebody wants as a savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Savepoint {
    manifest: Manifest,
    /// The workers whose sinks do not show yet what it covers.
    waiting: BTreeSet<WorkerId>,
}

impl Running {
    pub(super) fn enter(plan: &JobPlan, progress: Progress, epochs: Epochs) -> Transition {
        debug_assert!(!progress.all_ended(plan), "a job whose tasks have all ended is over");
        let mut effects = vec![Effect::Publish(JobStatus::Running)];
        effects.extend(first_barrier(plan));
        (State::Running(Self { progress, epochs, savepoint: None }), effects)
    }

    pub(super) fn on(mut self, plan: &JobPlan, event: Event) -> Transition {
        let effects = match event {
            Event::TaskFinished { task, state } => {
                self.progress.end_task(plan, task);
                self.epochs.end_task(task, state);
                if self.progress.all_ended(plan) {
                    return Committing::enter(plan, self.progress, &self.epochs, JobStatus::Finished);
                }
                self.completed_epoch(plan)
            }
            Event::TaskFailed { task, cause } => return Failing::enter_for_task(plan, self.progress, task, cause),
            Event::WorkerLost { worker, reason } if plan.uses(worker) => {
                return Failing::enter_for_worker(plan, self.progress, worker, &reason);
            }
            Event::StopRequested(mode) => return self.stop(plan, mode, Then::Forget),
            Event::Interrupted(mode) => return self.stop(plan, mode, Then::after_interrupt(plan)),
            Event::SuspendRequested if plan.has_checkpoints() => return Suspending::enter(plan, self),
            Event::BarrierDue => {
                let mut effects = self.begin_epoch(plan);
                effects.extend(next_barrier(plan));
                effects
            }
            Event::CheckpointRequested => {
                self.epochs.want_checkpoint(plan);
                // One that is on its way may have begun before it was asked for: the next barrier follows it.
                self.begin_epoch(plan)
            }
            Event::BarrierPassed { task, epoch, state } => {
                self.epochs.pass(task, epoch, state);
                self.completed_epoch(plan)
            }
            Event::Superseded(cause) | Event::CheckpointFailed { epoch: Epoch::END, cause } => {
                return Failing::enter(plan, self.progress, cause);
            }
            Event::CheckpointFailed { epoch, cause } | Event::Sealed { epoch, result: Err(cause) } => {
                self.epochs.abandon_if(epoch).map(|epoch| Effect::EpochAbandoned(epoch, cause)).into_iter().collect()
            }
            Event::SavepointRequested => {
                self.epochs.want_savepoint(plan);
                self.begin_epoch(plan)
            }
            Event::SavepointTaken => {
                self.epochs.end_savepoint();
                self.savepoint = None;
                Vec::new()
            }
            Event::Sealed { epoch, result: Ok(()) } if self.epochs.sealed(epoch) => {
                let mut effects = plan.send_all(&WorkerRequest::Commit(plan.run(), epoch));
                if self.epochs.wants_checkpoint() {
                    effects.extend(self.begin_epoch(plan));
                }
                effects
            }
            Event::WorkerAnswered { worker, kind: RequestKind::Commit(epoch), result: Ok(()) } => {
                self.committed(worker, epoch).into_iter().collect()
            }
            // Without the version the job would go on with one that nobody means. The next attempt is told what is meant.
            Event::WorkerAnswered { kind: RequestKind::Commit(_) | RequestKind::Model, result: Err(cause), .. } => {
                return Failing::enter(plan, self.progress, cause);
            }
            // The barrier may have come to some tasks and never comes to the others. They wait for it until
            // the next epoch's barrier tells them that this one was given up.
            Event::WorkerAnswered { kind: RequestKind::Barrier, result: Err(cause), .. } => {
                self.epochs.abandon().map(|epoch| Effect::EpochAbandoned(epoch, cause)).into_iter().collect()
            }
            _ => Vec::new(),
        };
        (State::Running(self), effects)
    }

    pub(super) fn stop(self, plan: &JobPlan, mode: StopMode, then: Then) -> Transition {
        Stopping::enter(plan, self.progress, self.epochs, mode, then)
    }

    /// Has the next barrier be a checkpoint's; returns the newest epoch that has begun before.
    pub(super) fn want_checkpoint(&mut self, plan: &JobPlan) -> Epoch {
        self.epochs.want_checkpoint(plan);
        self.epochs.newest()
    }

    pub(super) fn begin_epoch(&mut self, plan: &JobPlan) -> Vec<Effect> {
        let Some(barrier) = self.epochs.begin(plan) else { return Vec::new() };
        let begun = barrier.is_checkpoint.then_some(Effect::CheckpointBegun(barrier.epoch));
        begun.into_iter().chain(plan.send_all(&WorkerRequest::Barrier(plan.run(), barrier))).collect()
    }

    fn completed_epoch(&mut self, plan: &JobPlan) -> Vec<Effect> {
        let Some(completed) = self.epochs.complete(plan, &self.progress) else { return Vec::new() };
        if let Some(manifest) = completed.manifest.as_ref().filter(|_| self.epochs.is_savepoint(completed.epoch)) {
            self.savepoint = Some(Savepoint { manifest: manifest.clone(), waiting: plan.workers().collect() });
        }
        let seal = completed.manifest.map(Effect::Seal);
        [Effect::EpochCompleted(completed.epoch)].into_iter().chain(seal).collect()
    }

    /// A worker's sinks show what the checkpoint of `epoch` covers.
    fn committed(&mut self, worker: WorkerId, epoch: Epoch) -> Option<Effect> {
        let savepoint = self.savepoint.as_mut().filter(|savepoint| savepoint.manifest.epoch == epoch)?;
        let is_last = savepoint.waiting.remove(&worker) && savepoint.waiting.is_empty();
        is_last.then(|| Effect::SavepointReady(savepoint.manifest.clone()))
    }
}

fn next_barrier(plan: &JobPlan) -> Option<Effect> {
    plan.barrier_interval().map(|interval| Effect::After(interval, Event::BarrierDue))
}

/// Whoever creates a view waits for its first epoch.
fn first_barrier(plan: &JobPlan) -> Option<Effect> {
    let interval = plan.barrier_interval()?;
    let first = if plan.has_views() { interval.min(FIRST_EPOCH_OF_VIEWS) } else { interval };
    Some(Effect::After(first, Event::BarrierDue))
}
