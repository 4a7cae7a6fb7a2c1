//! The jobs of a worker: what state each is in, and what the coordinator must hear of it.
//!
//! Plain logic: the worker's actor feeds it requests and notices and does what it answers.

use std::collections::HashMap;

use tidemill_plans::ids::{ChannelId, JobId, TaskId};
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
    /// Send an event.
    Report(WorkerEvent),
}

/// All jobs of a worker. `R` is what a job holds: its tasks, threads and counters.
#[derive(Debug)]
pub(crate) struct JobTable<R> {
    jobs: HashMap<JobId, Job<R>>,
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
    pub(crate) fn begin(&mut self, job: JobId) -> Result<()> {
        if self.jobs.contains_key(&job) {
            return Err(WorkersError::AlreadyDeployed(job));
        }
        let deploying =
            Job { phase: Phase::Deploying, tasks: HashMap::new(), channels: HashMap::new(), resources: None };
        self.jobs.insert(job, deploying);
        Ok(())
    }

    /// Notes that a job's tasks are built. If it was released meanwhile, its resources come back.
    pub(crate) fn deployed(&mut self, job: JobId, tasks: &[DeployedTask], resources: R) -> Result<(), R> {
        let Some(state) = self.jobs.get_mut(&job).filter(|state| state.phase == Phase::Deploying) else {
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
    pub(crate) fn start(&mut self, job: JobId) -> Result<&mut R> {
        let state = self.jobs.get_mut(&job).filter(|state| state.phase == Phase::Deployed);
        let state = state.ok_or(WorkersError::NotDeployed(job))?;
        state.phase = Phase::Running;
        state.resources.as_mut().ok_or(WorkersError::NotDeployed(job))
    }

    /// What a job holds, if it has not been cancelled.
    pub(crate) fn resources(&mut self, job: JobId) -> Option<&mut R> {
        self.jobs.get_mut(&job)?.resources.as_mut()
    }

    /// What all jobs hold.
    pub(crate) fn all_resources(&self) -> impl Iterator<Item = (JobId, &R)> {
        self.jobs.iter().filter_map(|(id, job)| Some((*id, job.resources.as_ref()?)))
    }

    /// Ends a job whose sinks are to complete what they have: they still need what the job holds.
    pub(crate) fn cut(&mut self, job: JobId) -> Option<&R> {
        let state = self.jobs.get_mut(&job)?;
        state.phase = Phase::Cancelled;
        state.resources.as_ref()
    }

    /// Ends a job without waiting for its tasks; what it held is to be torn down.
    pub(crate) fn cancel(&mut self, job: JobId) -> Option<R> {
        let state = self.jobs.get_mut(&job)?;
        state.phase = Phase::Cancelled;
        state.resources.take()
    }

    /// Forgets a job; what it still held is to be torn down.
    pub(crate) fn release(&mut self, job: JobId) -> Option<R> {
        self.jobs.remove(&job)?.resources
    }

    /// The ids of all jobs.
    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    /// Takes what a part of a job says. What comes after a job's end is not for the coordinator.
    pub(crate) fn notice(&mut self, notice: Notice) -> Vec<Effect> {
        match notice {
            Notice::BarrierPassed(job, task, epoch) => match self.live_task(job, task) {
                Some(_) => vec![Effect::Report(WorkerEvent::BarrierPassed { job, task, epoch })],
                None => Vec::new(),
            },
            Notice::Finished(job, task) => self.finished(job, task),
            Notice::Failed(job, task, failure) => self.failed(job, task, failure),
            Notice::DriverEnded(job, task, failure) => self.driver_ended(job, task, failure),
            Notice::ChannelFailed(channel, failure) => {
                let task = self.jobs.get(&channel.job).and_then(|state| state.channels.get(&channel)).copied();
                task.map(|task| self.failed(channel.job, task, failure)).unwrap_or_default()
            }
        }
    }

    fn finished(&mut self, job: JobId, task: TaskId) -> Vec<Effect> {
        let Some(state) = self.live_task(job, task) else { return Vec::new() };
        state.ended = true;
        let report = Effect::Report(WorkerEvent::TaskFinished { job, task });
        let all_ended = self.jobs.get(&job).is_some_and(|state| state.tasks.values().all(|task| task.ended));
        if all_ended { vec![Effect::Heartbeat, report] } else { vec![report] }
    }

    fn failed(&mut self, job: JobId, task: TaskId, failure: Failure) -> Vec<Effect> {
        let Some(state) = self.live_task(job, task) else { return Vec::new() };
        if failure.is_disconnect && state.driver_runs {
            state.held = Some(failure);
            return Vec::new();
        }
        state.ended = true;
        let Failure { domain, message, .. } = failure;
        vec![Effect::Heartbeat, Effect::Report(WorkerEvent::TaskFailed { job, task, domain, message })]
    }

    fn driver_ended(&mut self, job: JobId, task: TaskId, failure: Option<Failure>) -> Vec<Effect> {
        let Some(state) = self.live_task(job, task) else { return Vec::new() };
        state.driver_runs = false;
        let failure = failure.or(state.held.take());
        failure.map(|failure| self.failed(job, task, failure)).unwrap_or_default()
    }

    /// A running job's task that has not ended.
    fn live_task(&mut self, job: JobId, task: TaskId) -> Option<&mut TaskState> {
        let state = self.jobs.get_mut(&job).filter(|state| state.phase == Phase::Running)?;
        state.tasks.get_mut(&task).filter(|task| !task.ended)
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ErrorDomain;
    use tidemill_plans::ids::{Epoch, StageId};

    use super::*;

    const JOB: JobId = JobId(1);
    const CHANNEL: ChannelId = ChannelId { job: JOB, edge: 0, from: 0, to: 1 };

    fn task(subtask: u32) -> TaskId {
        TaskId { stage: StageId(0), subtask }
    }

    fn failure(message: &str, is_disconnect: bool) -> Failure {
        Failure { domain: ErrorDomain::User, message: String::from(message), is_disconnect }
    }

    /// A job of a source task with a driver (0) and one with a remote channel (1), deployed.
    fn deployed() -> JobTable<&'static str> {
        let mut table = JobTable::default();
        table.begin(JOB).unwrap();
        let tasks = [
            DeployedTask { id: task(0), has_driver: true, remote_channels: vec![] },
            DeployedTask { id: task(1), has_driver: false, remote_channels: vec![CHANNEL] },
        ];
        table.deployed(JOB, &tasks, "resources").unwrap();
        table
    }

    fn running() -> JobTable<&'static str> {
        let mut table = deployed();
        table.start(JOB).unwrap();
        table
    }

    fn check(table: &mut JobTable<&'static str>, notice: Notice, expected: &str) {
        let text: Vec<String> = table
            .notice(notice)
            .into_iter()
            .map(|effect| match effect {
                Effect::Heartbeat => String::from("heartbeat"),
                Effect::Report(WorkerEvent::TaskFinished { task, .. }) => format!("finished {}", task.subtask),
                Effect::Report(WorkerEvent::TaskFailed { task, message, .. }) => {
                    format!("failed {} {message}", task.subtask)
                }
                Effect::Report(WorkerEvent::BarrierPassed { task, epoch, .. }) => {
                    format!("passed {} {}", task.subtask, epoch.0)
                }
                Effect::Report(other) => format!("{other:?}"),
            })
            .collect();
        assert_eq!(text.join(", "), expected);
    }

    #[test]
    fn the_last_task_to_finish_is_preceded_by_a_heartbeat() {
        let mut table = running();
        check(&mut table, Notice::BarrierPassed(JOB, task(0), Epoch(4)), "passed 0 4");
        check(&mut table, Notice::DriverEnded(JOB, task(0), None), "");
        check(&mut table, Notice::Finished(JOB, task(0)), "finished 0");
        check(&mut table, Notice::Finished(JOB, task(1)), "heartbeat, finished 1");
        check(&mut table, Notice::Finished(JOB, task(1)), "");
    }

    #[test]
    fn a_drivers_error_comes_before_its_tasks_complaint() {
        for driver_first in [true, false] {
            let mut table = running();
            let gone = Notice::Failed(JOB, task(0), failure("the source is gone", true));
            let cause = Notice::DriverEnded(JOB, task(0), Some(failure("no such file", false)));
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
        check(&mut table, Notice::Failed(JOB, task(0), failure("gone", true)), "");
        check(&mut table, Notice::DriverEnded(JOB, task(0), None), "heartbeat, failed 0 gone");
        check(&mut table, Notice::Failed(JOB, task(1), failure("gone", true)), "heartbeat, failed 1 gone");
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
        assert_eq!(table.cancel(JOB), Some("resources"));
        check(&mut table, Notice::Failed(JOB, task(1), failure("gone", true)), "");
        assert_eq!(table.release(JOB), None);
        assert_eq!(table.release(JOB), None);
        check(&mut table, Notice::Finished(JOB, task(1)), "");
    }

    #[test]
    fn a_job_that_is_cut_says_nothing_and_keeps_its_resources_until_it_is_released() {
        let mut table = running();
        assert_eq!(table.cut(JOB), Some(&"resources"));
        check(&mut table, Notice::Failed(JOB, task(0), failure("a task downstream is gone", true)), "");
        check(&mut table, Notice::Finished(JOB, task(1)), "");
        assert_eq!(table.release(JOB), Some("resources"));
        assert_eq!(table.cut(JOB), None);
    }

    #[test]
    fn requests_in_the_wrong_order_are_refused() {
        let mut table: JobTable<&str> = JobTable::default();
        assert!(matches!(table.start(JOB), Err(WorkersError::NotDeployed(JOB))));
        table.begin(JOB).unwrap();
        assert!(matches!(table.begin(JOB), Err(WorkersError::AlreadyDeployed(JOB))));
        assert!(table.start(JOB).is_err());
        // Released while its tasks were being built: they come back to be dropped.
        assert_eq!(table.release(JOB), None);
        assert_eq!(table.deployed(JOB, &[], "late"), Err("late"));
        let mut table = running();
        assert!(matches!(table.start(JOB), Err(WorkersError::NotDeployed(JOB))));
        assert_eq!(table.all_resources().count(), 1);
        assert_eq!(table.ids(), [JOB]);
    }
}
