//! A coordinator of the job: the real machine, attempts and checkpoints, with the actor's part played here as
//! `coordinator/src/actor.rs`, `actor/restart.rs` and `actor/lane.rs` have it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{Epoch, JobId, RunId, TaskId, WorkerId};
use tidemill_plans::protocol::{Deployment, StopMode, WorkerRequest};
use tidemill_plans::settings::Settings;
use tidemill_plans::storage::Storage;

use super::outside::Outside;
use super::store::SimStore;
use super::tasks::Shape;
use super::worker::failure;
use crate::checkpoints;
use crate::error::{CoordinatorError, Result};
use crate::job::{Attempts, Effect, Event, JobFailure, JobMachine, JobPlan, JobStatus, Over, Recovery, RequestKind};

pub(super) const JOB: JobId = JobId(1);

/// What is kept of the job in the metadata, behind a journal that fences.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The newest attempt; nothing once the job has ended.
    pub(super) attempt: Option<u32>,
    /// How many records there are.
    length: u64,
}

/// What all coordinators see.
pub(super) struct Commons {
    pub(super) shape: Shape,
    pub(super) graph: DataflowGraph,
    pub(super) settings: Settings,
    pub(super) store: SimStore,
    pub(super) journal: Journal,
    pub(super) outside: Outside,
    /// Whether what is shown may go beyond checkpoints, for nobody goes on with the job.
    pub(super) is_given_up: bool,
    /// Whether somebody has wanted the job to end.
    pub(super) has_stopped: bool,
    /// The savepoint with which the job has ended.
    pub(super) savepoint: Option<Manifest>,
    /// How often the job has left off at a checkpoint.
    pub(super) suspensions: u64,
    /// How many savepoints could have been taken.
    pub(super) savepoints: u64,
    pub(super) log: Vec<String>,
}

/// See the [module](self).
pub(super) struct Coordinator {
    pub(super) number: usize,
    /// Where it believes that the journal ends.
    tail: u64,
    job: Option<Job>,
    attempts: Attempts,
    pub(super) lanes: BTreeMap<(RunId, WorkerId), Lane>,
    pub(super) timers: Vec<Timer>,
    pub(super) errands: Vec<Errand>,
    pub(super) entries: Vec<Entry>,
    pub(super) workers: BTreeSet<WorkerId>,
    storage: Storage,
    /// Whether its process is there.
    pub(super) is_up: bool,
    /// Whether it sleeps, and knows nothing of it.
    pub(super) is_asleep: bool,
    pub(super) status: Option<JobStatus>,
}

struct Job {
    machine: JobMachine,
    deployed: BTreeSet<WorkerId>,
    savepoint: Savepoint,
}

/// A savepoint that is wanted of a job.
#[derive(Default)]
enum Savepoint {
    #[default]
    None,
    /// The job goes on when it is written.
    Passing,
    /// The job is to end with it.
    Last,
    /// It is what there is to write when the attempt is over.
    Ready(Manifest),
}

/// Requests to a worker, one after the other.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<WorkerRequest>,
    /// What was sent and is not answered.
    pub(super) sent: Option<Sent>,
}

pub(super) struct Sent {
    pub(super) kind: RequestKind,
    /// Nothing for a commit whose sinks are asked.
    pub(super) answer: Option<Result<(), JobFailure>>,
}

pub(super) enum Timer {
    Event(RunId, Event),
    /// It is time to look for a checkpoint after this attempt.
    Look(RunId),
}

/// Something that is written to the journal.
pub(super) enum Entry {
    NextAttempt,
    /// The job is over.
    Forget {
        is_finished: bool,
    },
    GiveUp(RunId),
    /// The job has ended with a savepoint.
    ForgetAtSavepoint(Manifest),
}

/// A call of the storage's functions that is going on.
pub(super) struct Errand {
    pub(super) kind: ErrandKind,
    future: Pin<Box<dyn Future<Output = Done>>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum ErrandKind {
    Seal(RunId, Epoch),
    Claim,
    Clean,
}

enum Done {
    Sealed(Manifest, Result<()>),
    Claimed(Result<Manifest>),
    Clean,
}

impl Coordinator {
    /// A coordinator that has read the journal.
    pub(super) fn open(number: usize, commons: &Commons) -> Self {
        Self {
            number,
            tail: commons.journal.length,
            job: None,
            attempts: Attempts::new(Some(Recovery::new(&commons.settings))),
            lanes: BTreeMap::new(),
            timers: Vec::new(),
            errands: Vec::new(),
            entries: Vec::new(),
            workers: BTreeSet::new(),
            storage: Storage::on(Arc::new(commons.store.of(number))),
            is_up: true,
            is_asleep: false,
            status: None,
        }
    }

    /// Submits the job.
    pub(super) fn submit(&mut self, beginning: Manifest, commons: &mut Commons) {
        commons.journal = Journal { attempt: Some(0), length: 1 };
        self.tail = 1;
        self.start(beginning, commons);
    }

    /// Goes on with the job, if it has not ended.
    pub(super) fn resume(&mut self) {
        self.entries.push(Entry::NextAttempt);
    }

    /// Whether it is there and not asleep.
    pub(super) fn is_awake(&self) -> bool {
        self.is_up && !self.is_asleep
    }

    /// Whether it has anything to do with the job.
    pub(super) fn has_job(&self) -> bool {
        let has_work = self.job.is_some() || !self.errands.is_empty() || !self.entries.is_empty();
        self.is_up && (has_work || self.lanes.values().any(|lane| lane.sent.is_some() || !lane.queue.is_empty()))
    }

    pub(super) fn run(&self) -> Option<RunId> {
        self.job.as_ref().map(|job| job.machine.plan().run())
    }

    pub(super) fn deployment(&self) -> Option<&Deployment> {
        self.job.as_ref().map(|job| job.machine.plan().deployment())
    }

    /// Its process is killed.
    pub(super) fn crash(&mut self) {
        self.is_up = false;
        (self.job, self.errands, self.timers) = (None, Vec::new(), Vec::new());
        self.entries.clear();
        self.lanes.clear();
    }

    /// Places the tasks, or has them wait for a worker.
    fn place(&self, claimed: Manifest, commons: &Commons) -> JobPlan {
        let deployment = Deployment {
            run: claimed.run,
            graph: commons.graph.clone(),
            tasks: Vec::new(),
            workers: Vec::new(),
            settings: commons.settings.clone(),
            checkpoints: Some(String::from("sim")),
            restore: Some(claimed),
            secrets: Vec::new(),
        };
        if self.workers.is_empty() {
            return JobPlan::unplaced(deployment);
        }
        let workers: Vec<WorkerId> = self.workers.iter().copied().collect();
        // Another attempt places its tasks elsewhere.
        let first = deployment.run.attempt as usize;
        let on = |(n, task): (usize, TaskId)| (task, workers[(first + n) % workers.len()]);
        let tasks: Vec<(TaskId, WorkerId)> = commons.shape.tasks().enumerate().map(on).collect();
        let used: BTreeSet<WorkerId> = tasks.iter().map(|(_, worker)| *worker).collect();
        let workers = used.into_iter().map(|worker| (worker, String::new())).collect();
        JobPlan::new(Deployment { tasks, workers, ..deployment })
    }

    fn start(&mut self, claimed: Manifest, commons: &mut Commons) {
        self.begin(self.place(claimed, commons), commons);
    }

    /// A worker has come.
    pub(super) fn add_worker(&mut self, worker: WorkerId, commons: &mut Commons) {
        self.workers.insert(worker);
        let waiting = self.job.as_ref().filter(|job| job.machine.is_waiting());
        if let Some(claimed) = waiting.and_then(|job| job.machine.plan().deployment().restore.clone()) {
            self.start(claimed, commons);
        }
    }

    fn begin(&mut self, plan: JobPlan, commons: &mut Commons) {
        let run = plan.run();
        commons.log.push(format!("c{} begins {run} from {:?}", self.number, plan.restored_epoch()));
        let (machine, deployed) = (JobMachine::new(plan), BTreeSet::new());
        self.job = Some(Job { machine, deployed, savepoint: Savepoint::None });
        self.drive(run, Event::Submitted, commons);
    }

    pub(super) fn drive(&mut self, run: RunId, event: Event, commons: &mut Commons) {
        let Some(job) = self.job.as_mut().filter(|job| job.machine.plan().run() == run) else { return };
        commons.log.push(format!("c{} {run}: {event:?}", self.number));
        for effect in job.machine.on(event) {
            self.carry_out(run, effect, commons);
        }
        self.go_on_if_over();
    }

    fn carry_out(&mut self, run: RunId, effect: Effect, commons: &mut Commons) {
        match effect {
            Effect::Send(worker, request) => self.send(run, worker, request, commons),
            Effect::Publish(status) => self.publish(status, commons),
            Effect::After(_, event) => self.timers.push(Timer::Event(run, event)),
            Effect::Seal(manifest) => self.seal(manifest),
            Effect::GiveUp => self.entries.push(Entry::GiveUp(run)),
            Effect::SavepointReady(manifest) => self.savepoint_ready(manifest, commons),
            Effect::CheckpointBegun(_) | Effect::EpochCompleted(_) | Effect::EpochAbandoned(..) => {}
        }
    }

    fn send(&mut self, run: RunId, worker: WorkerId, request: WorkerRequest, commons: &Commons) {
        match &request {
            WorkerRequest::Deploy(..) => {
                self.job.as_mut().unwrap().deployed.insert(worker);
            }
            WorkerRequest::Commit(of, epoch) => {
                let is_it = |manifest: &Manifest| manifest.run == *of && manifest.epoch == *epoch;
                assert!(commons.store.was_sealed(is_it), "{epoch} of {of} is committed and not sealed");
            }
            _ => {}
        }
        self.lanes.entry((run, worker)).or_default().queue.push_back(request);
    }

    fn publish(&mut self, status: JobStatus, commons: &mut Commons) {
        let run = self.run().unwrap();
        commons.suspensions += u64::from(status == JobStatus::Suspended);
        let status = self.attempts.settle(run, status, Duration::ZERO);
        commons.log.push(format!("c{} {run} is {status:?}", self.number));
        commons.has_stopped |= status == JobStatus::Stopped;
        if status == JobStatus::Suspended {
            self.status = Some(status);
            return;
        }
        if status.is_terminal() {
            let before = self.status.as_ref();
            assert!(!before.is_some_and(JobStatus::is_terminal), "{status:?} after {before:?}");
            let is_finished = status == JobStatus::Finished;
            if is_finished && !commons.has_stopped {
                let all: u64 = commons.shape.rows.iter().sum();
                assert_eq!(commons.outside.visible().len() as u64, all, "a job that has finished shows all rows");
            }
            self.entries.push(Entry::Forget { is_finished });
        }
        self.status = Some(status);
    }

    fn go_on_if_over(&mut self) {
        let Some(job) = self.job.as_ref().filter(|job| job.machine.has_ended() && job.deployed.is_empty()) else {
            return;
        };
        let run = job.machine.plan().run();
        match self.attempts.when_over() {
            Over::Forget => self.job = None,
            Over::TryAgain(_) => self.timers.push(Timer::Look(run)),
            Over::WriteSavepoint => {
                let savepoint = std::mem::take(&mut self.job.as_mut().unwrap().savepoint);
                let Savepoint::Ready(manifest) = savepoint else { panic!("a job is held for a savepoint") };
                self.entries.push(Entry::ForgetAtSavepoint(manifest));
            }
            Over::Wait => {}
        }
    }

    /// Somebody wants a savepoint, and perhaps the job to end with it.
    pub(super) fn want_savepoint(&mut self, stops: bool, commons: &mut Commons) {
        let Some(job) = self.job.as_mut().filter(|_| self.status == Some(JobStatus::Running)) else { return };
        if !matches!(job.savepoint, Savepoint::None) {
            return;
        }
        job.savepoint = if stops { Savepoint::Last } else { Savepoint::Passing };
        commons.has_stopped |= stops;
        let run = job.machine.plan().run();
        self.drive(run, Event::SavepointRequested, commons);
    }

    fn savepoint_ready(&mut self, manifest: Manifest, commons: &mut Commons) {
        let Some(job) = &mut self.job else { return };
        commons.savepoints += 1;
        let (run, is_last) = (job.machine.plan().run(), matches!(job.savepoint, Savepoint::Last));
        job.savepoint = if is_last { Savepoint::Ready(manifest) } else { Savepoint::None };
        if is_last {
            self.attempts.hold();
            self.drive(run, Event::StopRequested(StopMode::Cancel), commons);
        } else {
            self.drive(run, Event::SavepointTaken, commons);
        }
    }

    pub(super) fn fire(&mut self, timer: Timer, commons: &mut Commons) {
        match timer {
            Timer::Event(run, event) => self.drive(run, event, commons),
            Timer::Look(run) if self.run() == Some(run) => self.entries.push(Entry::NextAttempt),
            Timer::Look(_) => {}
        }
    }

    /// A lane has got an answer, or given up.
    pub(super) fn request_ended(
        &mut self,
        (run, worker): (RunId, WorkerId),
        kind: RequestKind,
        result: Result<(), JobFailure>,
        commons: &mut Commons,
    ) {
        if let Some(job) = self.job.as_mut().filter(|job| job.machine.plan().run() == run)
            && kind == RequestKind::Release
        {
            job.deployed.remove(&worker);
        }
        self.drive(run, Event::WorkerAnswered { worker, kind, result }, commons);
        self.go_on_if_over();
    }

    pub(super) fn lose(&mut self, worker: WorkerId, commons: &mut Commons) {
        if !self.workers.remove(&worker) {
            return;
        }
        let Some(job) = &mut self.job else { return };
        job.deployed.remove(&worker);
        let run = job.machine.plan().run();
        self.drive(run, Event::WorkerLost { worker, reason: String::from("killed") }, commons);
    }

    pub(super) fn stop(&mut self, mode: StopMode, commons: &mut Commons) {
        let Some(run) = self.run() else { return };
        commons.has_stopped = true;
        if self.attempts.stop() {
            return self.drive(run, Event::StopRequested(mode), commons);
        }
        self.publish(JobStatus::Stopped, commons);
        self.go_on_if_over();
    }

    /// Its process is to end, and another coordinator to go on with the job.
    pub(super) fn keep(&mut self, event: Event, commons: &mut Commons) {
        let Some(job) = &self.job else { return };
        let run = job.machine.plan().run();
        if self.attempts.keep() || !job.machine.has_ended() {
            return self.drive(run, event, commons);
        }
        self.publish(JobStatus::Suspended, commons);
        self.go_on_if_over();
    }

    /// Writes to the journal, unless another coordinator has.
    pub(super) fn enter(&mut self, entry: Entry, commons: &mut Commons) {
        let fenced = CoordinatorError::Fenced { sequence: self.tail + 1 };
        let is_fenced = self.tail != commons.journal.length;
        match entry {
            Entry::NextAttempt if is_fenced => self.claimed(Err(fenced), commons),
            Entry::NextAttempt => match commons.journal.attempt {
                None => self.claimed(Err(CoordinatorError::NoSuchJob { job: JOB }), commons),
                Some(attempt) => {
                    let run = RunId { job: JOB, attempt: attempt + 1 };
                    self.write(Some(run.attempt), commons);
                    self.claim(run);
                }
            },
            Entry::Forget { .. } if is_fenced => {}
            Entry::Forget { is_finished } => {
                self.write(None, commons);
                if is_finished {
                    let storage = self.storage.clone();
                    self.errand(ErrandKind::Clean, async move {
                        let _ = checkpoints::clear(&storage, JOB).await;
                        Done::Clean
                    });
                }
            }
            // It is a savepoint of a job that has gone on.
            Entry::ForgetAtSavepoint(_) if is_fenced => {
                self.attempts.begin_anew();
                self.go_on_if_over();
            }
            Entry::ForgetAtSavepoint(manifest) => {
                self.write(None, commons);
                commons.savepoint = Some(manifest);
                self.stop(StopMode::Cancel, commons);
            }
            Entry::GiveUp(run) if is_fenced => {
                let result = Err(failure("another coordinator has taken over"));
                self.drive(run, Event::GivenUp(result), commons);
            }
            Entry::GiveUp(run) => {
                self.write(None, commons);
                commons.is_given_up = true;
                self.drive(run, Event::GivenUp(Ok(())), commons);
            }
        }
    }

    fn write(&mut self, attempt: Option<u32>, commons: &mut Commons) {
        commons.journal = Journal { attempt, length: commons.journal.length + 1 };
        self.tail = commons.journal.length;
    }

    fn claim(&mut self, run: RunId) {
        let known = self.deployment().and_then(|deployment| deployment.restore.as_ref());
        let known = known.map_or(0, |manifest| manifest.number);
        let (storage, damaged) = (self.storage.clone(), self.attempts.damaged().to_vec());
        self.errand(ErrandKind::Claim, async move {
            Done::Claimed(checkpoints::claim(&storage, run, known, &damaged).await)
        });
    }

    fn claimed(&mut self, claimed: Result<Manifest>, commons: &mut Commons) {
        if self.job.is_none() {
            return match claimed {
                Ok(claimed) => self.start(claimed, commons),
                Err(_) => self.crash(),
            };
        }
        if !self.attempts.is_waiting() {
            return;
        }
        self.attempts.begin();
        match claimed {
            Ok(claimed) => self.start(claimed, commons),
            Err(error) => {
                self.publish(JobStatus::Failed { domain: error.domain(), message: error.chain() }, commons);
                self.go_on_if_over();
            }
        }
    }

    fn seal(&mut self, manifest: Manifest) {
        let storage = self.storage.clone();
        self.errand(ErrandKind::Seal(manifest.run, manifest.epoch), async move {
            let sealed = checkpoints::seal(&storage, &manifest).await;
            Done::Sealed(manifest, sealed)
        });
    }

    fn errand(&mut self, kind: ErrandKind, future: impl Future<Output = Done> + 'static) {
        self.errands.push(Errand { kind, future: Box::pin(future) });
    }

    /// Sees which errands are done.
    pub(super) fn poll(&mut self, commons: &mut Commons) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut done = Vec::new();
        self.errands.retain_mut(|errand| match errand.future.as_mut().poll(&mut cx) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                done.push(outcome);
                false
            }
        });
        for outcome in done {
            match outcome {
                Done::Sealed(manifest, result) => self.sealed(manifest, result, commons),
                Done::Claimed(claimed) => self.claimed(claimed, commons),
                Done::Clean => {}
            }
        }
    }

    fn sealed(&mut self, manifest: Manifest, result: Result<()>, commons: &mut Commons) {
        let (run, epoch) = (manifest.run, manifest.epoch);
        let event = match result {
            Ok(()) => {
                let storage = self.storage.clone();
                self.errand(ErrandKind::Clean, async move {
                    let _ = checkpoints::collect_garbage(&storage, &manifest).await;
                    Done::Clean
                });
                Event::Sealed { epoch, result: Ok(()) }
            }
            Err(error @ CoordinatorError::Sealed { .. }) => Event::Superseded(JobFailure::external(error.chain())),
            Err(error) => Event::Sealed { epoch, result: Err(JobFailure::external(error.chain())) },
        };
        self.drive(run, event, commons);
    }

    /// The storage has not answered in time.
    pub(super) fn give_up_errand(&mut self, index: usize, commons: &mut Commons) {
        let Errand { kind, .. } = self.errands.swap_remove(index);
        match kind {
            ErrandKind::Seal(run, epoch) => {
                self.drive(run, Event::Sealed { epoch, result: Err(failure("no answer")) }, commons);
            }
            ErrandKind::Claim => self.claimed(Err(CoordinatorError::Lost { part: "checkpoint storage" }), commons),
            ErrandKind::Clean => {}
        }
    }
}
