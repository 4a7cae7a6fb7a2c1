//! A worker process: runs its part of attempts, and reports as `workers/src/jobs.rs`, `checkpoint_writer.rs` and
//! `events.rs` do. State is written in the order in which tasks said it; events are sent in order, each until it is
//! answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidemill_plans::ids::{Epoch, RunId, TaskId, WorkerId};
use tidemill_plans::protocol::{Deployment, StopMode, WorkerEvent, WorkerRequest};

use super::outside::Outside;
use super::tasks::{Command, Notice, SINK, SOURCE, Site, State, Task};
use crate::job::JobFailure;
use crate::testing::Random;

/// See the [module](self).
pub(super) struct Worker {
    pub(super) id: WorkerId,
    runs: BTreeMap<RunId, Part>,
    /// What is to be told to the coordinator.
    pub(super) events: VecDeque<WorkerEvent>,
}

/// An attempt's part on a worker.
struct Part {
    phase: Phase,
    tasks: BTreeMap<TaskId, Task>,
    /// Tasks of which nothing more is reported.
    ended: BTreeSet<TaskId>,
    writes: VecDeque<(TaskId, State)>,
    /// The sinks that have not committed yet, of each commit.
    commits: Vec<(Epoch, BTreeSet<TaskId>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Deployed,
    Running,
    Cancelled,
}

/// How a request is answered.
pub(super) enum Answer {
    Now(Result<(), JobFailure>),
    /// When all sinks have committed; [`Worker::committed`] tells.
    WhenCommitted,
}

impl Worker {
    pub(super) fn new(id: WorkerId) -> Self {
        Self { id, runs: BTreeMap::new(), events: VecDeque::new() }
    }

    /// Takes a request; a deployment has its own way.
    pub(super) fn request(&mut self, request: &WorkerRequest, site: &mut Site<'_>) -> Answer {
        Answer::Now(match request {
            WorkerRequest::Start(run) => match self.runs.get_mut(run) {
                Some(part) if part.phase == Phase::Deployed => {
                    part.phase = Phase::Running;
                    Ok(())
                }
                _ => Err(failure("it is not deployed")),
            },
            WorkerRequest::Barrier(run, barrier) => self.command(*run, Command::Barrier(*barrier)),
            WorkerRequest::Stop(run, StopMode::Drain) => self.command(*run, Command::Stop).or(Ok(())),
            WorkerRequest::Stop(run, StopMode::Cut) => self.cut(*run, site),
            WorkerRequest::Stop(run, StopMode::Cancel) | WorkerRequest::Release(run) => {
                self.tear_down(*run, site.outside);
                Ok(())
            }
            WorkerRequest::Commit(run, epoch) => return self.commit(*run, *epoch),
            other => unreachable!("{other:?}"),
        })
    }

    /// Builds the tasks of a deployment; `states` are those of the checkpoint that they go on from.
    pub(super) fn deploy(
        &mut self,
        deployment: &Deployment,
        states: &BTreeMap<TaskId, State>,
        site: &mut Site<'_>,
    ) -> Result<(), JobFailure> {
        let run = deployment.run;
        let own = deployment.tasks.iter().filter(|(_, on)| *on == self.id).map(|(task, _)| *task);
        let mut tasks = BTreeMap::new();
        for id in own {
            let Some(task) = Task::build((run, id, self.id), states.get(&id), site) else {
                return Err(failure("a part that a checkpoint covers is gone"));
            };
            tasks.insert(id, task);
        }
        let (ended, writes, commits) = (BTreeSet::new(), VecDeque::new(), Vec::new());
        self.runs.insert(run, Part { phase: Phase::Deployed, tasks, ended, writes, commits });
        Ok(())
    }

    fn command(&mut self, run: RunId, command: Command) -> Result<(), JobFailure> {
        let part = self.runs.get_mut(&run).ok_or_else(|| failure("it is not deployed"))?;
        for task in part.tasks.values_mut().filter(|task| task.owner().1.stage == SOURCE && !task.has_ended) {
            task.commands.push_back(command);
        }
        Ok(())
    }

    fn commit(&mut self, run: RunId, epoch: Epoch) -> Answer {
        let Some(part) = self.runs.get_mut(&run) else { return Answer::Now(Err(failure("it is not deployed"))) };
        let sinks = part.tasks.values_mut().filter(|task| task.owner().1.stage == SINK);
        let told = sinks.map(|sink| {
            sink.commits.push_back(epoch);
            sink.owner().1
        });
        part.commits.push((epoch, told.collect()));
        Answer::WhenCommitted
    }

    /// Whether a commit is done.
    pub(super) fn committed(&self, run: RunId, epoch: Epoch) -> Option<Result<(), JobFailure>> {
        let Some(part) = self.runs.get(&run) else { return Some(Err(failure("a task's thread is gone"))) };
        let commit = part.commits.iter().find(|(of, _)| *of == epoch)?;
        commit.1.is_empty().then_some(Ok(()))
    }

    fn cut(&mut self, run: RunId, site: &mut Site<'_>) -> Result<(), JobFailure> {
        let Some(part) = self.runs.get_mut(&run) else { return Ok(()) };
        part.phase = Phase::Cancelled;
        for task in part.tasks.values_mut().filter(|task| task.owner().1.stage == SINK) {
            task.cut(site).map_err(|reason| failure(&reason))?;
        }
        Ok(())
    }

    fn tear_down(&mut self, run: RunId, outside: &mut Outside) {
        let Some(part) = self.runs.remove(&run) else { return };
        part.tasks.values().for_each(|task| outside.let_go(task.owner()));
    }

    /// Nobody is there to report to.
    pub(super) fn tear_down_all(&mut self, outside: &mut Outside) {
        for run in self.runs.keys().copied().collect::<Vec<_>>() {
            self.tear_down(run, outside);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.runs.is_empty() && self.events.is_empty()
    }

    /// Has one of its tasks do something; false if none could.
    pub(super) fn step(&mut self, site: &mut Site<'_>, random: &mut Random) -> bool {
        let running = self.runs.iter_mut().filter(|(_, part)| part.phase != Phase::Deployed);
        let tasks: Vec<(RunId, TaskId)> =
            running.flat_map(|(run, part)| part.tasks.keys().map(|task| (*run, *task))).collect();
        let first = random.below(tasks.len().max(1));
        (0..tasks.len()).any(|n| {
            let (run, task) = tasks[(first + n) % tasks.len()];
            self.step_task(run, task, site, random)
        })
    }

    fn step_task(&mut self, run: RunId, id: TaskId, site: &mut Site<'_>, random: &mut Random) -> bool {
        let Some(part) = self.runs.get_mut(&run) else { return false };
        let Some(task) = part.tasks.get_mut(&id) else { return false };
        if !task.has_failed
            && let Some(epoch) = task.commits.pop_front()
        {
            match task.commit(epoch, site.outside) {
                Ok(()) => part.commits.iter_mut().filter(|(of, _)| *of == epoch).for_each(|(_, left)| {
                    left.remove(&id);
                }),
                Err(reason) => {
                    task.has_failed = true;
                    self.take(run, id, Notice::Failed(reason));
                }
            }
            return true;
        }
        let Some(notices) = task.step(site, random) else { return false };
        notices.into_iter().for_each(|notice| self.take(run, id, notice));
        true
    }

    /// Something outside has made a task fail.
    pub(super) fn fail_task(&mut self, random: &mut Random) {
        let running = self.runs.iter_mut().filter(|(_, part)| part.phase == Phase::Running);
        let mut tasks: Vec<_> =
            running.flat_map(|(run, part)| part.tasks.iter_mut().map(|(id, task)| (*run, *id, task))).collect();
        if tasks.is_empty() {
            return;
        }
        let index = random.below(tasks.len());
        let (run, id, task) = &mut tasks[index];
        task.has_failed = true;
        let (run, id) = (*run, *id);
        self.take(run, id, Notice::Failed(String::from("on purpose")));
    }

    fn take(&mut self, run: RunId, task: TaskId, notice: Notice) {
        let Some(part) = self.runs.get_mut(&run).filter(|part| part.phase == Phase::Running) else { return };
        if part.ended.contains(&task) {
            return;
        }
        match notice {
            Notice::Passed(epoch, None) => {
                let (state, needs) = (None, None);
                self.events.push_back(WorkerEvent::BarrierPassed { run, task, epoch, state, alignment_us: 0, needs });
            }
            Notice::Passed(_, Some(state)) => part.writes.push_back((task, state)),
            Notice::Finished(state) => {
                part.ended.insert(task);
                part.writes.push_back((task, state));
            }
            Notice::Failed(message) => {
                part.ended.insert(task);
                let domain = tidemill_plans::ErrorDomain::External;
                self.events.push_back(WorkerEvent::TaskFailed { run, task, domain, message });
            }
        }
    }

    /// The state that is to be written next, of some attempt.
    pub(super) fn next_write(&mut self, random: &mut Random) -> Option<(RunId, TaskId, State)> {
        let mut parts: Vec<_> = self.runs.iter_mut().filter(|(_, part)| !part.writes.is_empty()).collect();
        let index = random.below(parts.len().max(1));
        let (run, part) = parts.get_mut(index)?;
        let (task, state) = part.writes.pop_front()?;
        Some((**run, task, state))
    }
}

pub(super) fn failure(message: &str) -> JobFailure {
    JobFailure::external(message.to_owned())
}
