//! The jobs of a worker: what state each is in, and what the coordinator must hear of it.
//!
//! Plain logic: the worker's actor feeds it requests and notices and does what it answers.

use std::collections::HashMap;

use tidemill_engine::state::Snapshot;
use tidemill_engine::task::Passed;
use tidemill_plans::ids::{ChannelId, Epoch, RunId, TaskId};
use tidemill_plans::protocol::WorkerEvent;

use crate::error::{Result, WorkersError};
use crate::runner::{Failure, Notice};

/// A task as it is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeployedTask {
    /// Which one.
    pub(crate) id: TaskId,
    /// Whether a driver feeds it.
    pub(crate) has_driver: bool,
    /// Its channels to and from other workers.
    pub(crate) remote_channels: Vec<ChannelId>,
}

/// What follows from a notice, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Send all metrics and models now: the event that follows may be the job's last.
    Heartbeat,
    /// Send the model versions that a job has published: once the state that follows is sealed, no later attempt
    /// publishes them again.
    Models(RunId),
    /// Send an event.
    Report(WorkerEvent),
    /// Write a task's state, and then say that it has passed the barrier of this epoch, or ended.
    Write(RunId, TaskId, Passed),
}

/// All jobs of a worker. `R` is what a job holds: its tasks, threads and counters.
#[derive(Debug)]
pub(crate) struct JobTable<R> {
    jobs: HashMap<RunId, Job<R>>,
}

#[derive(Debug)]
struct Job<R> {
    phase: Phase,
    tasks: HashMap<TaskId, TaskState>,
    channels: HashMap<ChannelId, TaskId>,
    resources: Option<R>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its tasks are being built.
    Deploying,
    /// Its tasks wait for the start.
    Deployed,
    /// Its tasks run.
    Running,
    /// Its tasks were told to end at once: nothing that they still say matters.
    Cancelled,
}

#[derive(Debug, Default)]
struct TaskState {
    /// Finished or failed: nothing more is reported.
    ended: bool,
    /// Whether a driver feeds it that has not ended yet.
    driver_runs: bool,
    /// A complaint that the driver is gone, kept until the driver has said why.
    held: Option<Failure>,
}

impl<R> Default for JobTable<R> {
    fn default() -> Self {
        Self { jobs: HashMap::new() }
    }
}

impl<R> JobTable<R> {
    /// Notes that a job's tasks are being built.
    pub(crate) fn begin(&mut self, run: RunId) -> Result<()> {
        if self.jobs.contains_key(&run) {
            return Err(WorkersError::AlreadyDeployed(run));
        }
        let deploying =
            Job { phase: Phase::Deploying, tasks: HashMap::new(), channels: HashMap::new(), resources: None };
        self.jobs.insert(run, deploying);
        Ok(())
    }

    /// Notes that a job's tasks are built. If it was released meanwhile, its resources come back.
    pub(crate) fn deployed(&mut self, run: RunId, tasks: &[DeployedTask], resources: R) -> Result<(), R> {
        let Some(state) = self.jobs.get_mut(&run).filter(|state| state.phase == Phase::Deploying) else {
            return Err(resources);
        };
        for task in tasks {
            state.tasks.insert(task.id, TaskState { driver_runs: task.has_driver, ..TaskState::default() });
            state.channels.extend(task.remote_channels.iter().map(|channel| (*channel, task.id)));
        }
        state.phase = Phase::Deployed;
        state.resources = Some(resources);
        Ok(())
    }

    /// Notes that a job starts.
    pub(crate) fn start(&mut self, run: RunId) -> Result<&mut R> {
        let state = self.jobs.get_mut(&run).filter(|state| state.phase == Phase::Deployed);
        let state = state.ok_or(WorkersError::NotDeployed(run))?;
        state.phase = Phase::Running;
        state.resources.as_mut().ok_or(WorkersError::NotDeployed(run))
    }

    /// What a job holds, if it has not been cancelled.
    pub(crate) fn resources(&mut self, run: RunId) -> Option<&mut R> {
        self.jobs.get_mut(&run)?.resources.as_mut()
    }

    /// What all jobs hold.
    pub(crate) fn all_resources(&self) -> impl Iterator<Item = (RunId, &R)> {
        self.jobs.iter().filter_map(|(id, job)| Some((*id, job.resources.as_ref()?)))
    }

    /// Ends a job whose sinks are to complete what they have: they still need what the job holds.
    pub(crate) fn cut(&mut self, run: RunId) -> Option<&R> {
        let state = self.jobs.get_mut(&run)?;
        state.phase = Phase::Cancelled;
        state.resources.as_ref()
    }

    /// Ends a job without waiting for its tasks; what it held is to be torn down.
    pub(crate) fn cancel(&mut self, run: RunId) -> Option<R> {
        let state = self.jobs.get_mut(&run)?;
        state.phase = Phase::Cancelled;
        state.resources.take()
    }

    /// Forgets a job; what it still held is to be torn down.
    pub(crate) fn release(&mut self, run: RunId) -> Option<R> {
        self.jobs.remove(&run)?.resources
    }

    /// The ids of all jobs.
    pub(crate) fn ids(&self) -> Vec<RunId> {
        self.jobs.keys().copied().collect()
    }

    /// Takes what a part of a job says. What comes after a job's end is not for the coordinator.
    pub(crate) fn notice(&mut self, notice: Notice) -> Vec<Effect> {
        match notice {
            Notice::BarrierPassed(run, task, passed) => self.passed(run, task, passed),
            Notice::Finished(run, task, state) => self.finished(run, task, state),
            Notice::Failed(run, task, failure) => self.failed(run, task, failure),
            Notice::DriverEnded(run, task, failure) => self.driver_ended(run, task, failure),
            Notice::ChannelFailed(channel, failure) => {
                let task = self.jobs.get(&channel.run).and_then(|state| state.channels.get(&channel)).copied();
                task.map(|task| self.failed(channel.run, task, failure)).unwrap_or_default()
            }
        }
    }

    fn passed(&mut self, run: RunId, task: TaskId, passed: Passed) -> Vec<Effect> {
        if self.live_task(run, task).is_none() {
            return Vec::new();
        }
        let Passed { epoch, alignment_us, .. } = passed;
        match passed.state {
            None => {
                let (state, needs) = (None, None);
                vec![Effect::Report(WorkerEvent::BarrierPassed { run, task, epoch, state, alignment_us, needs })]
            }
            Some(_) => vec![Effect::Models(run), Effect::Write(run, task, passed)],
        }
    }

    fn finished(&mut self, run: RunId, task: TaskId, last: Option<Snapshot>) -> Vec<Effect> {
        let Some(state) = self.live_task(run, task) else { return Vec::new() };
        state.ended = true;
        let report = match last {
            None => Effect::Report(WorkerEvent::TaskFinished { run, task, state: None }),
            Some(_) => Effect::Write(run, task, Passed { epoch: Epoch::END, state: last, ..Passed::default() }),
        };
        let all_ended = self.jobs.get(&run).is_some_and(|state| state.tasks.values().all(|task| task.ended));
        match all_ended {
            true => vec![Effect::Heartbeat, report],
            false => vec![Effect::Models(run), report],
        }
    }

    fn failed(&mut self, run: RunId, task: TaskId, failure: Failure) -> Vec<Effect> {
        let Some(state) = self.live_task(run, task) else { return Vec::new() };
        if failure.is_disconnect && state.driver_runs {
            state.held = Some(failure);
            return Vec::new();
        }
        state.ended = true;
        let Failure { domain, message, .. } = failure;
        vec![Effect::Heartbeat, Effect::Report(WorkerEvent::TaskFailed { run, task, domain, message })]
    }

    fn driver_ended(&mut self, run: RunId, task: TaskId, failure: Option<Failure>) -> Vec<Effect> {
        let Some(state) = self.live_task(run, task) else { return Vec::new() };
        state.driver_runs = false;
        let failure = failure.or(state.held.take());
        failure.map(|failure| self.failed(run, task, failure)).unwrap_or_default()
    }

    /// A running job's task that has not ended.
    fn live_task(&mut self, run: RunId, task: TaskId) -> Option<&mut TaskState> {
        let state = self.jobs.get_mut(&run).filter(|state| state.phase == Phase::Running)?;
        state.tasks.get_mut(&task).filter(|task| !task.ended)
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ErrorDomain;
    use tidemill_plans::ids::{JobId, StageId};

    use super::*;

    const RUN: RunId = RunId::first(JobId(1));
    const CHANNEL: ChannelId = ChannelId { run: RUN, edge: 0, from: 0, to: 1 };

    fn task(subtask: u32) -> TaskId {
        TaskId { stage: StageId(0), subtask }
    }

    fn failure(message: &str, is_disconnect: bool) -> Failure {
        Failure { domain: ErrorDomain::User, message: String::from(message), is_disconnect }
    }

    /// A job of a source task with a driver (0) and one with a remote channel (1), deployed.
    fn deployed() -> JobTable<&'static str> {
        let mut table = JobTable::default();
        table.begin(RUN).unwrap();
        let tasks = [
            DeployedTask { id: task(0), has_driver: true, remote_channels: vec![] },
            DeployedTask { id: task(1), has_driver: false, remote_channels: vec![CHANNEL] },
        ];
        table.deployed(RUN, &tasks, "resources").unwrap();
        table
    }

    fn running() -> JobTable<&'static str> {
        let mut table = deployed();
        table.start(RUN).unwrap();
        table
    }

    fn check(table: &mut JobTable<&'static str>, notice: Notice, expected: &str) {
        let text: Vec<String> = table
            .notice(notice)
            .into_iter()
            .map(|effect| match effect {
                Effect::Heartbeat => String::from("heartbeat"),
                Effect::Models(_) => String::from("models"),
                Effect::Report(WorkerEvent::TaskFinished { task, .. }) => format!("finished {}", task.subtask),
                Effect::Report(WorkerEvent::TaskFailed { task, message, .. }) => {
                    format!("failed {} {message}", task.subtask)
                }
                Effect::Report(WorkerEvent::BarrierPassed { task, epoch, .. }) => {
                    format!("passed {} {}", task.subtask, epoch.0)
                }
                Effect::Write(_, task, passed) => format!("write {} {}", task.subtask, passed.epoch),
                Effect::Report(other) => format!("{other:?}"),
            })
            .collect();
        assert_eq!(text.join(", "), expected);
    }

    #[test]
    fn the_last_task_to_finish_is_preceded_by_a_heartbeat() {
        let mut table = running();
        check(
            &mut table,
            Notice::BarrierPassed(RUN, task(0), Passed { epoch: Epoch(4), ..Passed::default() }),
            "passed 0 4",
        );
        check(&mut table, Notice::DriverEnded(RUN, task(0), None), "");
        check(&mut table, Notice::Finished(RUN, task(0), None), "models, finished 0");
        check(&mut table, Notice::Finished(RUN, task(1), None), "heartbeat, finished 1");
        check(&mut table, Notice::Finished(RUN, task(1), None), "");
    }

    #[test]
    fn what_a_state_holds_of_models_is_told_before_it_is_written() {
        let mut table = running();
        let passed = Passed { epoch: Epoch(4), state: Some(Snapshot::default()), ..Passed::default() };
        check(&mut table, Notice::BarrierPassed(RUN, task(1), passed), "models, write 1 epoch-4");
        let last = Some(Snapshot::default());
        check(&mut table, Notice::Finished(RUN, task(1), last), &format!("models, write 1 {}", Epoch::END));
    }

    #[test]
    fn a_drivers_error_comes_before_its_tasks_complaint() {
        for driver_first in [true, false] {
            let mut table = running();
            let gone = Notice::Failed(RUN, task(0), failure("the source is gone", true));
            let cause = Notice::DriverEnded(RUN, task(0), Some(failure("no such file", false)));
            if driver_first {
                check(&mut table, cause, "heartbeat, failed 0 no such file");
                check(&mut table, gone, "");
            } else {
                check(&mut table, gone, "");
                check(&mut table, cause, "heartbeat, failed 0 no such file");
            }
        }
    }

    #[test]
    fn a_complaint_without_another_cause_is_reported() {
        let mut table = running();
        check(&mut table, Notice::Failed(RUN, task(0), failure("gone", true)), "");
        check(&mut table, Notice::DriverEnded(RUN, task(0), None), "heartbeat, failed 0 gone");
        check(&mut table, Notice::Failed(RUN, task(1), failure("gone", true)), "heartbeat, failed 1 gone");
    }

    #[test]
    fn a_failed_channel_fails_its_task_once_and_unknown_ones_nobody() {
        let mut table = running();
        let unknown = ChannelId { edge: 9, ..CHANNEL };
        check(&mut table, Notice::ChannelFailed(unknown, failure("lost", false)), "");
        check(&mut table, Notice::ChannelFailed(CHANNEL, failure("lost", false)), "heartbeat, failed 1 lost");
        check(&mut table, Notice::ChannelFailed(CHANNEL, failure("lost", false)), "");
    }

    #[test]
    fn a_cancelled_job_says_nothing_and_gives_its_resources_back_once() {
        let mut table = running();
        assert_eq!(table.cancel(RUN), Some("resources"));
        check(&mut table, Notice::Failed(RUN, task(1), failure("gone", true)), "");
        assert_eq!(table.release(RUN), None);
        assert_eq!(table.release(RUN), None);
        check(&mut table, Notice::Finished(RUN, task(1), None), "");
    }

    #[test]
    fn a_job_that_is_cut_says_nothing_and_keeps_its_resources_until_it_is_released() {
        let mut table = running();
        assert_eq!(table.cut(RUN), Some(&"resources"));
        check(&mut table, Notice::Failed(RUN, task(0), failure("a task downstream is gone", true)), "");
        check(&mut table, Notice::Finished(RUN, task(1), None), "");
        assert_eq!(table.release(RUN), Some("resources"));
        assert_eq!(table.cut(RUN), None);
    }

    #[test]
    fn requests_in_the_wrong_order_are_refused() {
        let mut table: JobTable<&str> = JobTable::default();
        assert!(matches!(table.start(RUN), Err(WorkersError::NotDeployed(RUN))));
        table.begin(RUN).unwrap();
        assert!(matches!(table.begin(RUN), Err(WorkersError::AlreadyDeployed(RUN))));
        assert!(table.start(RUN).is_err());
        // Released while its tasks were being built: they come back to be dropped.
        assert_eq!(table.release(RUN), None);
        assert_eq!(table.deployed(RUN, &[], "late"), Err("late"));
        let mut table = running();
        assert!(matches!(table.start(RUN), Err(WorkersError::NotDeployed(RUN))));
        assert_eq!(table.all_resources().count(), 1);
        assert_eq!(table.ids(), [RUN]);
    }
}
