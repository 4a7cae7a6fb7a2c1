//! Numbers the barriers of a job and notices when one has passed through every task.

use std::collections::BTreeMap;

use tidemill_plans::checkpoint::{Manifest, TaskState};
use tidemill_plans::ids::{Barrier, Epoch, TaskId};

use crate::job::JobPlan;
use crate::job::progress::Progress;

/// At most one epoch is in flight: a second barrier behind a slow first one would only make
/// alignment buffers longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// The newest epoch that was begun.
    last: Epoch,
    /// How many barriers have been begun since the last checkpoint's.
    since_checkpoint: u32,
    /// The number of the newest manifest that is known to be sealed.
    number: u64,
    in_flight: Option<InFlight>,
    /// Whether the next barrier is a checkpoint's in any case.
    is_wanted: bool,
    savepoint: Wish,
    /// The state that tasks have ended with: it belongs to every later checkpoint.
    ended: BTreeMap<TaskId, TaskState>,
}

/// How far a savepoint has come that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Wish {
    #[default]
    None,
    /// The next checkpoint is the one.
    Next,
    /// This checkpoint is, and until the savepoint is taken it stays the newest.
    At(Epoch),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct InFlight {
    barrier: Barrier,
    /// The tasks that the barrier has passed through, with their state at it.
    passed: BTreeMap<TaskId, Option<TaskState>>,
    /// Whether every task has passed it, and its manifest is being written.
    is_sealing: bool,
}

/// A barrier that has passed through every task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) epoch: Epoch,
    /// The manifest to seal, if the barrier was a checkpoint's.
    pub(crate) manifest: Option<Manifest>,
}

impl Epochs {
    /// Epochs behind those of the attempts before.
    pub(crate) fn new(plan: &JobPlan) -> Self {
        let number = plan.deployment().restore.as_ref().map_or(0, |manifest| manifest.number);
        Self { last: plan.restored_epoch().unwrap_or_default(), number, ..Self::default() }
    }

    /// Begins an epoch, unless one is in flight or the last of all is sealed: an attempt may begin behind that, to
    /// have sinks commit again.
    pub(crate) fn begin(&mut self, plan: &JobPlan) -> Option<Barrier> {
        if self.in_flight.is_some() || self.last == Epoch::END || matches!(self.savepoint, Wish::At(_)) {
            return None;
        }
        self.last = Epoch(self.last.0 + 1);
        self.since_checkpoint += 1;
        let is_due = |barriers| self.since_checkpoint >= barriers;
        let is_checkpoint = self.is_wanted || plan.barriers_per_checkpoint().is_some_and(is_due);
        // Whoever asks for one wants to read it in another way: with other instances, or by another graph.
        let may_overtake = is_checkpoint && !self.is_wanted;
        if is_checkpoint {
            (self.since_checkpoint, self.is_wanted) = (0, false);
        }
        if is_checkpoint && self.savepoint == Wish::Next {
            self.savepoint = Wish::At(self.last);
        }
        let barrier = Barrier { epoch: self.last, is_checkpoint, may_overtake };
        self.in_flight = Some(InFlight { barrier, passed: BTreeMap::new(), is_sealing: false });
        Some(barrier)
    }

    /// The next barrier is to be a checkpoint's.
    pub(crate) fn want_checkpoint(&mut self, plan: &JobPlan) {
        self.is_wanted = plan.has_checkpoints();
    }

    /// The next checkpoint is to be a savepoint, too.
    pub(crate) fn want_savepoint(&mut self, plan: &JobPlan) {
        self.want_checkpoint(plan);
        if self.is_wanted && self.savepoint == Wish::None {
            self.savepoint = Wish::Next;
        }
    }

    /// The savepoint is taken, or nobody wants it any more.
    pub(crate) fn end_savepoint(&mut self) {
        self.savepoint = Wish::None;
    }

    /// Whether the checkpoint of `epoch` is a savepoint, too.
    pub(crate) fn is_savepoint(&self, epoch: Epoch) -> bool {
        self.savepoint == Wish::At(epoch)
    }

    /// The newest epoch that has begun.
    pub(crate) fn newest(&self) -> Epoch {
        self.last
    }

    /// Whether a checkpoint is wanted that has not begun.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.is_wanted
    }

    /// Notes that the barrier of `epoch` has passed through `task`.
    pub(crate) fn pass(&mut self, task: TaskId, epoch: Epoch, state: Option<TaskState>) {
        if let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.barrier.epoch == epoch) {
            in_flight.passed.insert(task, state);
        }
    }

    /// Notes the state that a task has ended with.
    pub(crate) fn end_task(&mut self, task: TaskId, state: Option<TaskState>) {
        self.ended.extend(state.map(|state| (task, state)));
    }

    /// The epoch in flight, if every task has passed its barrier or has ended. A checkpoint stays in flight
    /// until it is sealed.
    pub(crate) fn complete(&mut self, plan: &JobPlan, progress: &Progress) -> Option<Completed> {
        let in_flight = self.in_flight.as_mut().filter(|in_flight| !in_flight.is_sealing)?;
        let passed = |task: &TaskId| in_flight.passed.contains_key(task) || progress.has_ended(*task);
        if !plan.tasks().all(|task| passed(&task)) {
            return None;
        }
        let Barrier { epoch, is_checkpoint, .. } = in_flight.barrier;
        if !is_checkpoint {
            self.in_flight = None;
            return Some(Completed { epoch, manifest: None });
        }
        in_flight.is_sealing = true;
        // A task that has passed the barrier and ended since has gone on: what it ended with is too new.
        let state = |task: TaskId| {
            let passed = in_flight.passed.get(&task).cloned().unwrap_or_else(|| self.ended.get(&task).cloned());
            Some((task, passed?))
        };
        let tasks = plan.tasks().filter_map(state).collect();
        let manifest = Manifest { number: self.number + 1, run: plan.run(), epoch, tasks, origins: None };
        Some(Completed { epoch, manifest: Some(manifest) })
    }

    /// The last checkpoint, of tasks that have all ended.
    pub(crate) fn last_manifest(&self, plan: &JobPlan) -> Manifest {
        let tasks = self.ended.iter().map(|(task, state)| (*task, state.clone())).collect();
        Manifest { number: self.number + 1, run: plan.run(), epoch: Epoch::END, tasks, origins: None }
    }

    /// Notes that the checkpoint in flight is sealed; says whether it was this one.
    pub(crate) fn sealed(&mut self, epoch: Epoch) -> bool {
        let is_it = |in_flight: &mut InFlight| in_flight.barrier.epoch == epoch && in_flight.is_sealing;
        let is_sealed = self.in_flight.take_if(is_it).is_some();
        self.number += u64::from(is_sealed);
        is_sealed
    }

    /// Gives the epoch in flight up: a worker did not take its barrier, or state was not written.
    pub(crate) fn abandon(&mut self) -> Option<Epoch> {
        let epoch = self.in_flight.take()?.barrier.epoch;
        if self.is_savepoint(epoch) {
            (self.savepoint, self.is_wanted) = (Wish::Next, true);
        }
        Some(epoch)
    }

    /// Gives `epoch` up if it is in flight.
    pub(crate) fn abandon_if(&mut self, epoch: Epoch) -> Option<Epoch> {
        if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.barrier.epoch == epoch) {
            self.abandon()
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ids::{JobId, RunId, StageId, WorkerId};
    use tidemill_plans::protocol::Deployment;
    use tidemill_plans::settings::Settings;

    use super::*;
    use crate::testing::two_stage_graph;

    /// Whether a barrier is begun by an attempt that goes on from a checkpoint.
    fn next_after(epoch: Epoch) -> Option<Epoch> {
        let run = RunId::first(JobId(1));
        let tasks = [0, 1].map(|stage| (TaskId { stage: StageId(stage), subtask: 0 }, WorkerId(1)));
        let plan = JobPlan::new(Deployment {
            run: run.next(),
            graph: two_stage_graph(1, 1),
            tasks: tasks.to_vec(),
            workers: vec![(WorkerId(1), String::new())],
            settings: Settings::default(),
            checkpoints: Some(String::from("checkpoints")),
            restore: Some(Manifest { number: 1, run, epoch, tasks: Vec::new(), origins: None }),
            secrets: Vec::new(),
        });
        Epochs::new(&plan).begin(&plan).map(|barrier| barrier.epoch)
    }

    #[test]
    fn no_epoch_follows_the_last() {
        assert_eq!(next_after(Epoch(7)), Some(Epoch(8)));
        assert_eq!(next_after(Epoch::END), None);
    }
}
