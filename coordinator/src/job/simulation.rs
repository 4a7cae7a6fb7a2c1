//! Jobs under a seeded adversary: answers, failures, losses and timers in any order, some twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidemill_plans::ErrorDomain;
use tidemill_plans::checkpoint::{Manifest, StateFile, TaskState};
use tidemill_plans::ids::{Epoch, JobId, RunId, StageId, TaskId, WorkerId};
use tidemill_plans::protocol::{Deployment, StopMode, WorkerRequest};
use tidemill_plans::settings::Settings;

use super::*;
use crate::testing::{Random, two_stage_graph};

/// Steps after which timers and answers must have ended any job.
const STEPS_MAX: usize = 400;

/// A job, its workers' queues, its timers, and what has been seen of it.
struct World {
    machine: JobMachine,
    lanes: BTreeMap<WorkerId, VecDeque<WorkerRequest>>,
    timers: Vec<Event>,
    /// Requests that were carried out, by worker.
    done: BTreeMap<WorkerId, Vec<RequestKind>>,
    deploy_sent: BTreeSet<WorkerId>,
    deploy_answered: BTreeSet<WorkerId>,
    statuses: Vec<JobStatus>,
    epochs: Vec<Epoch>,
    /// Epochs whose manifests are being written, and those that are sealed.
    sealing: Vec<Epoch>,
    sealed: BTreeSet<Epoch>,
    /// How often the job is being given up.
    giving_up: usize,
    first_failure: Option<String>,
    savepoints: usize,
}

impl World {
    fn new(workers: u32) -> Self {
        Self::of(workers, None)
    }

    /// A job that goes on from a checkpoint, if it has any.
    fn of(workers: u32, restore: Option<Manifest>) -> Self {
        let tasks: Vec<(TaskId, WorkerId)> =
            (0..2).flat_map(|stage| (0..workers).map(move |n| (task(stage, n), WorkerId(n + 1)))).collect();
        let deployment = Deployment {
            run: RunId::first(JobId(1)),
            graph: two_stage_graph(workers, workers),
            tasks,
            workers: (1..=workers).map(|n| (WorkerId(n), format!("http://w{n}"))).collect(),
            settings: Settings::default(),
            checkpoints: restore.as_ref().map(|_| String::from("storage")),
            restore,
            secrets: Vec::new(),
        };
        Self {
            machine: JobMachine::new(JobPlan::new(deployment)),
            lanes: (1..=workers).map(|n| (WorkerId(n), VecDeque::new())).collect(),
            timers: Vec::new(),
            done: BTreeMap::new(),
            deploy_sent: BTreeSet::new(),
            deploy_answered: BTreeSet::new(),
            statuses: Vec::new(),
            epochs: Vec::new(),
            sealing: Vec::new(),
            sealed: BTreeSet::new(),
            giving_up: 0,
            first_failure: None,
            savepoints: 0,
        }
    }

    /// Delivers an event and takes the effects, checking what must hold at every step.
    fn deliver(&mut self, event: Event) {
        let failure = failure_of(&event);
        let was_failing = self.first_failure.is_some();
        for effect in self.machine.on(event) {
            match effect {
                Effect::Send(worker, request) => self.send(worker, request),
                Effect::Publish(status) => self.publish(status),
                Effect::After(_, event) => self.timers.push(event),
                Effect::EpochCompleted(epoch) => self.epochs.push(epoch),
                Effect::Seal(manifest) => self.sealing.push(manifest.epoch),
                Effect::GiveUp => self.giving_up += 1,
                Effect::SavepointReady(manifest) => self.savepoint_ready(manifest.epoch),
                Effect::EpochAbandoned(..) | Effect::CheckpointBegun(_) => {}
            }
        }
        let failing = matches!(self.machine.state(), state::State::Failing(_))
            || matches!(self.statuses.last(), Some(JobStatus::Failed { .. }));
        if failing && !was_failing {
            self.first_failure = failure;
            assert!(self.first_failure.is_some(), "a job fails because of something");
        }
    }

    /// Behind a savepoint nothing is shown before it is taken.
    fn savepoint_ready(&mut self, epoch: Epoch) {
        for (worker, done) in &self.done {
            let last = done.iter().rfind(|kind| matches!(kind, RequestKind::Commit(_)));
            assert_eq!(last, Some(&RequestKind::Commit(epoch)), "{worker} shows what the savepoint covers: {done:?}");
        }
        self.savepoints += 1;
    }

    fn send(&mut self, worker: WorkerId, request: WorkerRequest) {
        match RequestKind::of(&request) {
            RequestKind::Deploy => assert!(self.deploy_sent.insert(worker), "{worker} is deployed to once"),
            RequestKind::Start => {
                assert_eq!(self.deploy_answered.len(), self.lanes.len(), "no Start before every Deploy is answered")
            }
            RequestKind::Commit(epoch) => {
                let has_ended = self.machine.plan().restored_epoch() == Some(Epoch::END);
                assert!(has_ended || self.sealed.contains(&epoch), "{epoch} is committed once it is sealed");
            }
            RequestKind::Cut => assert_eq!(self.giving_up, 0, "nobody goes on with a job that is cut"),
            _ => assert!(self.deploy_sent.contains(&worker), "{worker} knows the job that it is asked about"),
        }
        self.lanes.get_mut(&worker).unwrap().push_back(request);
    }

    fn publish(&mut self, status: JobStatus) {
        assert!(!self.statuses.iter().any(JobStatus::is_terminal), "{status:?} after {:?}", self.statuses);
        self.statuses.push(status);
    }

    /// Carries out the oldest request of a worker.
    fn answer(&mut self, worker: WorkerId, result: Result<(), JobFailure>) -> Option<Event> {
        let request = self.lanes.get_mut(&worker)?.pop_front()?;
        let kind = RequestKind::of(&request);
        self.done.entry(worker).or_default().push(kind);
        if kind == RequestKind::Deploy && result.is_ok() {
            self.deploy_answered.insert(worker);
        }
        Some(Event::WorkerAnswered { worker, kind, result })
    }

    /// What becomes of a manifest that is being written.
    fn seal(&mut self, index: usize, result: Result<(), JobFailure>) -> Option<Event> {
        if index >= self.sealing.len() {
            return None;
        }
        let epoch = self.sealing.swap_remove(index);
        self.sealed.extend(result.is_ok().then_some(epoch));
        Some(Event::Sealed { epoch, result })
    }

    /// The job is given up, or cannot be.
    fn give_up(&mut self, result: Result<(), JobFailure>) -> Option<Event> {
        self.giving_up = self.giving_up.checked_sub(1)?;
        Some(Event::GivenUp(result))
    }

    /// Answers everything and lets every timer fire until the job is over, then checks the whole.
    fn finish(mut self) -> Self {
        for _ in 0..STEPS_MAX {
            let workers: Vec<WorkerId> = self.lanes.keys().copied().collect();
            for worker in workers {
                // All of them: an answer that is late enough for a timer is what the steps before are for.
                while let Some(event) = self.answer(worker, Ok(())) {
                    self.deliver(event);
                }
            }
            while let Some(event) = self.seal(0, Ok(())).or_else(|| self.give_up(Ok(()))) {
                self.deliver(event);
            }
            if self.lanes.values().any(|lane| !lane.is_empty()) {
                continue;
            }
            for event in std::mem::take(&mut self.timers) {
                self.deliver(event);
            }
            if self.machine.has_ended() && self.lanes.values().all(VecDeque::is_empty) {
                break;
            }
            self.deliver(Event::StopRequested(StopMode::Drain));
        }
        self.check();
        self
    }

    fn check(&self) {
        let terminal = self.statuses.iter().filter(|status| status.is_terminal()).count();
        assert_eq!(terminal, 1, "exactly one end: {:?}", self.statuses);
        for worker in &self.deploy_sent {
            let done = &self.done[worker];
            let releases = done.iter().filter(|kind| **kind == RequestKind::Release).count();
            assert_eq!(releases, 1, "{worker} is released once: {done:?}");
            assert_eq!(done.last(), Some(&RequestKind::Release), "nothing follows the release: {done:?}");
            if self.machine.plan().has_checkpoints() && self.statuses.last() == Some(&JobStatus::Finished) {
                assert!(self.has_committed(*worker), "{worker} shows everything: {done:?}");
            }
        }
        if self.statuses.last() == Some(&JobStatus::Suspended) {
            let is_cut = self.done.values().flatten().any(|kind| *kind == RequestKind::Cut);
            assert!(!is_cut, "a job that goes on shows nothing that no checkpoint covers: {:?}", self.done);
            assert!(self.machine.plan().has_checkpoints(), "a job without checkpoints cannot go on");
        }
        assert!(self.epochs.is_sorted_by(|a, b| a < b), "epochs grow: {:?}", self.epochs);
        if let Some(JobStatus::Failed { message, .. }) = self.statuses.last() {
            let first = self.first_failure.as_ref().unwrap();
            assert!(message.contains(first.as_str()), "{message} is not the first cause {first}");
        }
    }
}

impl World {
    fn has_committed(&self, worker: WorkerId) -> bool {
        self.done.get(&worker).is_some_and(|done| done.contains(&RequestKind::Commit(Epoch::END)))
    }
}

fn task(stage: u32, subtask: u32) -> TaskId {
    TaskId { stage: StageId(stage), subtask }
}

fn failure(text: String) -> JobFailure {
    JobFailure { domain: ErrorDomain::User, message: text }
}

fn failure_of(event: &Event) -> Option<String> {
    match event {
        Event::WorkerAnswered { result: Err(cause), .. }
        | Event::TaskFailed { cause, .. }
        | Event::CheckpointFailed { cause, .. }
        | Event::Sealed { result: Err(cause), .. }
        | Event::GivenUp(Err(cause))
        | Event::Superseded(cause) => Some(cause.message.clone()),
        Event::CommitTimedOut => Some(String::from("sinks did not commit")),
        Event::WorkerLost { worker, .. } => Some(format!("{worker} at http://w{} was lost", worker.0)),
        Event::StopTimedOut(StopMode::Cut) => Some(String::from("sinks did not complete what they had")),
        _ => None,
    }
}

/// Any event, whether or not it makes sense now; `n` marks its failure.
fn any_event(world: &mut World, random: &mut Random, trouble: usize, n: usize) -> Option<Event> {
    let workers = world.lanes.len();
    let worker = WorkerId(u32::try_from(random.below(workers)).unwrap() + 1);
    let (stage, subtask) = (random.below(3), random.below(workers + 1));
    let some_task = task(u32::try_from(stage).unwrap(), u32::try_from(subtask).unwrap());
    let fails = trouble > 0 && random.below(100) < trouble;
    let result = if fails { Err(failure(format!("storage {n}"))) } else { Ok(()) };
    let state = world.machine.plan().has_checkpoints().then(|| StateFile { path: format!("{n}"), bytes: 1 }.into());
    if state.is_some() && random.below(4) == 0 {
        return checkpoint_event(world, random, result, n);
    }
    let mode = [StopMode::Drain, StopMode::Cut, StopMode::Cancel][random.below(3)];
    Some(match random.below(if trouble > 0 { 14 } else { 8 }) {
        0..=3 => {
            let result = if fails { Err(failure(format!("answer {n}"))) } else { Ok(()) };
            return world.answer(worker, result);
        }
        4 | 5 => Event::TaskFinished { task: some_task, state },
        6 => Event::BarrierPassed { task: some_task, epoch: Epoch(random.below(4) as u64), state },
        7 => Event::BarrierDue,
        8 if fails => Event::TaskFailed { task: some_task, cause: failure(format!("task {n}")) },
        9 if fails => Event::WorkerLost { worker, reason: format!("loss {n}") },
        10 if fails => Event::StopRequested(mode),
        12 if fails => Event::SuspendRequested,
        13 if fails => Event::Interrupted(mode),
        11 if fails && !world.timers.is_empty() => {
            let timer = random.below(world.timers.len());
            world.timers.swap_remove(timer)
        }
        _ => Event::Submitted,
    })
}

/// Any event of a job's checkpoints.
fn checkpoint_event(world: &mut World, random: &mut Random, result: Result<(), JobFailure>, n: usize) -> Option<Event> {
    let fails = result.is_err();
    let cause = failure(format!("checkpoint {n}"));
    let epoch = [Epoch(1), Epoch(2), Epoch::END][random.below(3)];
    match random.below(7) {
        5 => Some(Event::SavepointRequested),
        6 if fails => Some(Event::SavepointTaken),
        0 if fails => Some(Event::CheckpointFailed { epoch, cause }),
        1 if fails => Some(Event::Superseded(cause)),
        2 => world.give_up(result),
        _ => {
            let index = random.below(world.sealing.len().max(1));
            world.seal(index, result)
        }
    }
}

/// The checkpoint that a job goes on from: none, its beginning, one within, or the last of all.
fn any_checkpoint(random: &mut Random) -> Option<Manifest> {
    let beginning = Manifest::beginning(RunId::first(JobId(1)));
    let epoch = [Epoch(0), Epoch(0), Epoch(3), Epoch::END].get(random.below(5))?;
    Some(Manifest { epoch: *epoch, ..beginning })
}

fn simulate(seed: u64, trouble: usize) -> World {
    let mut random = Random::new(seed);
    let workers = 1 + u32::try_from(random.below(3)).unwrap();
    let mut world = World::of(workers, any_checkpoint(&mut random));
    let steps = random.below(STEPS_MAX);
    for n in 0..steps {
        if let Some(event) = any_event(&mut world, &mut random, trouble, n) {
            world.deliver(event.clone());
            // One in eight arrives twice.
            if random.below(8) == 0 {
                world.deliver(event);
            }
        }
    }
    world.deliver(Event::Submitted);
    world.finish()
}

#[test]
fn whatever_happens_in_whatever_order_a_job_ends_once_and_is_released() {
    let mut ends = BTreeMap::new();
    let mut committed = 0;
    for trouble in [0, 5, 20, 60] {
        for seed in 0..3000 {
            let world = simulate(seed, trouble);
            let end = match world.statuses.last() {
                Some(JobStatus::Failed { .. }) => "failed",
                Some(JobStatus::Finished) => "finished",
                Some(JobStatus::Suspended) => "suspended",
                _ => "stopped",
            };
            *ends.entry(end).or_insert(0) += 1;
            committed += usize::from(world.machine.plan().has_checkpoints() && world.has_committed(WorkerId(1)));
        }
    }
    // The adversary is of use only if it reaches every end.
    assert!(ends.len() == 4 && ends.values().all(|n| *n > 100), "{ends:?}");
    assert!(committed > 300, "{committed} jobs have shown everything with their last checkpoint");
}

/// A job without trouble, one event at a time; `disturb` is delivered before step `at`.
fn straight_run(at: usize, disturb: Event) -> World {
    let mut world = World::new(2);
    let mut steps: VecDeque<Option<Event>> = VecDeque::from([Some(Event::Submitted)]);
    let answers = 2 * 2;
    steps.extend(std::iter::repeat_n(None, answers));
    steps.push_back(Some(Event::BarrierDue));
    steps.extend(std::iter::repeat_n(None, 2));
    for (stage, n) in [(0, 0), (0, 1), (1, 0)] {
        steps.push_back(Some(Event::BarrierPassed { task: task(stage, n), epoch: Epoch(1), state: None }));
    }
    steps.extend(
        [(1, 1), (0, 0), (0, 1), (1, 0)]
            .map(|(stage, n)| Some(Event::TaskFinished { task: task(stage, n), state: None })),
    );
    for (n, step) in steps.into_iter().enumerate() {
        if n == at {
            world.deliver(disturb.clone());
        }
        let busiest = world.lanes.iter().max_by_key(|(_, lane)| lane.len()).map(|(worker, _)| *worker).unwrap();
        if let Some(event) = step.or_else(|| world.answer(busiest, Ok(()))) {
            world.deliver(event);
        }
    }
    world.finish()
}

const STRAIGHT_STEPS: usize = 15;

#[test]
fn a_job_without_trouble_finishes() {
    let world = straight_run(usize::MAX, Event::Submitted);
    assert_eq!(world.statuses, [JobStatus::Scheduling, JobStatus::Running, JobStatus::Finished]);
    // The last task never passed the barrier: it finished, which counts as well.
    assert_eq!(world.epochs, [Epoch(1)]);
}

#[test]
fn a_task_that_fails_at_any_step_fails_the_job_with_its_cause() {
    for at in 1..STRAIGHT_STEPS {
        let world = straight_run(at, Event::TaskFailed { task: task(1, 0), cause: failure("boom".into()) });
        let failed = JobStatus::Failed { domain: ErrorDomain::User, message: "boom".into() };
        assert_eq!(world.statuses.last(), Some(&failed), "step {at}");
    }
}

#[test]
fn a_worker_that_is_lost_at_any_step_fails_the_job_by_name() {
    for at in 1..STRAIGHT_STEPS {
        let world = straight_run(at, Event::WorkerLost { worker: WorkerId(2), reason: "no heartbeat for 5 s".into() });
        let message = String::from("worker-2 at http://w2 was lost: no heartbeat for 5 s");
        let failed = JobStatus::Failed { domain: ErrorDomain::External, message };
        assert_eq!(world.statuses.last(), Some(&failed), "step {at}");
    }
}

#[test]
fn a_stop_at_any_step_stops_the_job() {
    for mode in [StopMode::Drain, StopMode::Cut, StopMode::Cancel] {
        for at in 0..STRAIGHT_STEPS {
            let world = straight_run(at, Event::StopRequested(mode));
            assert_eq!(world.statuses.last(), Some(&JobStatus::Stopped), "step {at}");
        }
    }
}

/// A job with checkpoints on one worker, whose tasks run.
fn running(restored: Epoch) -> World {
    let beginning = Manifest::beginning(RunId::first(JobId(1)));
    let mut world = World::of(1, Some(Manifest { epoch: restored, ..beginning }));
    world.deliver(Event::Submitted);
    world.deliver_answers(2);
    world
}

impl World {
    /// Has worker 1 answer its oldest requests.
    fn deliver_answers(&mut self, count: usize) {
        for _ in 0..count {
            let event = self.answer(WorkerId(1), Ok(())).unwrap();
            self.deliver(event);
        }
    }

    /// Both tasks pass the first checkpoint's barrier or end, and say so.
    fn deliver_states(&mut self, event: impl Fn(TaskId, Option<TaskState>) -> Event) {
        for stage in [0, 1] {
            self.deliver(event(task(stage, 0), Some(StateFile { path: format!("{stage}"), bytes: 1 }.into())));
        }
    }
}

#[test]
fn behind_a_savepoint_nothing_begins_before_it_is_taken() {
    let mut world = running(Epoch(0));
    world.deliver(Event::BarrierDue);
    // The barrier that is on its way may be older than the wish.
    world.deliver(Event::SavepointRequested);
    for epoch in [Epoch(1), Epoch(2)] {
        assert_eq!(sent(&world), [RequestKind::Barrier]);
        world.deliver_answers(1);
        world.deliver_states(|task, state| Event::BarrierPassed { task, epoch, state });
        let event = world.seal(0, Ok(())).unwrap();
        world.deliver(event);
        assert_eq!((sent(&world)[0], world.savepoints), (RequestKind::Commit(epoch), 0));
        world.deliver_answers(1);
    }
    assert_eq!(world.savepoints, 1);
    world.deliver(Event::BarrierDue);
    assert_eq!(sent(&world), []);
    world.deliver(Event::SavepointTaken);
    world.deliver(Event::BarrierDue);
    assert_eq!(sent(&world), [RequestKind::Barrier]);
}

#[test]
fn an_attempt_that_cannot_be_told_of_a_version_fails() {
    let mut world = running(Epoch(0));
    let told = |result| Event::WorkerAnswered { worker: WorkerId(1), kind: RequestKind::Model, result };
    world.deliver(told(Ok(())));
    assert!(matches!(world.machine.state(), state::State::Running(_)));
    world.deliver(told(Err(failure(String::from("no answer")))));
    assert!(matches!(world.machine.state(), state::State::Failing(_)));
}

#[test]
fn the_answer_to_an_earlier_commit_does_not_stand_for_that_to_the_last() {
    let mut world = running(Epoch(0));
    world.deliver(Event::BarrierDue);
    world.deliver_answers(1);
    world.deliver_states(|task, state| Event::BarrierPassed { task, epoch: Epoch(1), state });
    let event = world.seal(0, Ok(())).unwrap();
    world.deliver(event);
    world.deliver_states(|task, state| Event::TaskFinished { task, state });
    let event = world.seal(0, Ok(())).unwrap();
    world.deliver(event);
    assert_eq!(sent(&world), [RequestKind::Commit(Epoch(1)), RequestKind::Commit(Epoch::END)]);
    world.deliver_answers(1);
    assert!(!world.machine.has_ended());
    world.deliver_answers(1);
    assert_eq!(world.finish().statuses.last(), Some(&JobStatus::Finished));
}

#[test]
fn no_epoch_comes_behind_the_last() {
    let mut world = running(Epoch::END);
    world.deliver(Event::BarrierDue);
    assert_eq!(sent(&world), []);
    world.finish();
}

#[test]
fn who_learns_that_another_has_the_job_ends_at_once() {
    for is_stopping in [false, true] {
        let mut world = running(Epoch(0));
        if is_stopping {
            world.deliver(Event::StopRequested(StopMode::Drain));
        }
        world.deliver(Event::Superseded(failure("somebody else has sealed it".into())));
        let failed = JobStatus::Failed { domain: ErrorDomain::User, message: "somebody else has sealed it".into() };
        assert_eq!(world.finish().statuses.last(), Some(&failed));
    }
}

#[test]
fn a_job_with_checkpoints_is_given_up_before_it_is_cut() {
    let mut world = running(Epoch(0));
    world.deliver(Event::StopRequested(StopMode::Cut));
    assert_eq!(sent(&world), []);
    let event = world.give_up(Ok(())).unwrap();
    world.deliver(event);
    assert_eq!(sent(&world), [RequestKind::Cut]);
    assert_eq!(world.finish().statuses.last(), Some(&JobStatus::Stopped));

    let mut world = running(Epoch(0));
    world.deliver(Event::StopRequested(StopMode::Cut));
    let event = world.give_up(Err(failure("another coordinator has taken over".into()))).unwrap();
    world.deliver(event);
    assert_eq!(sent(&world), [RequestKind::Cancel]);
    world.finish();
}

#[test]
fn a_job_that_drains_while_it_is_given_up_shows_everything() {
    let mut world = running(Epoch(0));
    world.deliver(Event::StopRequested(StopMode::Cut));
    world.deliver_states(|task, state| Event::TaskFinished { task, state });
    let world = world.finish();
    assert!(world.has_committed(WorkerId(1)));
    assert_eq!(world.statuses.last(), Some(&JobStatus::Stopped));
}

/// A running job on two workers that was asked to drain and did not in time.
fn cut() -> World {
    let mut world = World::new(2);
    world.deliver(Event::Submitted);
    for _ in 0..2 {
        for worker in [WorkerId(1), WorkerId(2)] {
            let event = world.answer(worker, Ok(())).unwrap();
            world.deliver(event);
        }
    }
    world.deliver(Event::StopRequested(StopMode::Drain));
    world.deliver(Event::StopTimedOut(StopMode::Drain));
    world
}

fn sent(world: &World) -> Vec<RequestKind> {
    world.lanes[&WorkerId(1)].iter().map(RequestKind::of).collect()
}

#[test]
fn a_job_that_drains_too_slowly_ends_when_its_sinks_have_completed_what_they_have() {
    let mut world = cut();
    assert_eq!(sent(&world), [RequestKind::Drain, RequestKind::Cut]);
    // The old timer means nothing any more, nor does a task whose sink is gone.
    world.deliver(Event::StopTimedOut(StopMode::Drain));
    world.deliver(Event::TaskFailed { task: task(0, 0), cause: failure("a task downstream is gone".into()) });
    for worker in [WorkerId(1), WorkerId(2)] {
        assert!(!world.machine.has_ended());
        let kind = RequestKind::Cut;
        world.deliver(Event::WorkerAnswered { worker, kind, result: Ok(()) });
    }
    assert_eq!(world.statuses.last(), Some(&JobStatus::Stopped));
    world.finish();
}

#[test]
fn files_that_cannot_be_completed_fail_the_job() {
    let mut world = cut();
    let result = Err(failure("disk full".into()));
    world.deliver(Event::WorkerAnswered { worker: WorkerId(1), kind: RequestKind::Cut, result });
    let failed = JobStatus::Failed { domain: ErrorDomain::User, message: "disk full".into() };
    assert_eq!(world.finish().statuses.last(), Some(&failed));

    let mut world = cut();
    world.deliver(Event::StopTimedOut(StopMode::Cut));
    world.deliver(Event::StopTimedOut(StopMode::Cancel));
    let message = String::from("sinks did not complete what they had within 4s");
    assert_eq!(world.statuses.last(), Some(&JobStatus::Failed { domain: ErrorDomain::External, message }));
    world.finish();
}

#[test]
fn whoever_cannot_wait_for_the_files_can_cancel_and_time_alone_ends_the_job() {
    let mut world = cut();
    world.deliver(Event::StopRequested(StopMode::Cancel));
    assert_eq!(sent(&world), [RequestKind::Drain, RequestKind::Cut, RequestKind::Cancel]);
    world.deliver(Event::StopTimedOut(StopMode::Cut));
    assert!(!world.machine.has_ended());
    world.deliver(Event::StopTimedOut(StopMode::Cancel));
    assert_eq!(world.statuses.last(), Some(&JobStatus::Stopped));
    world.finish();
}

/// A job that runs and is told this.
fn told(event: Event) -> World {
    let mut world = running(Epoch(0));
    world.deliver(event);
    world
}

#[test]
fn a_job_leaves_off_at_a_checkpoint_that_has_begun_since_it_was_told_to() {
    let mut world = running(Epoch(0));
    world.deliver(Event::BarrierDue);
    world.deliver(Event::SuspendRequested);
    world.deliver_answers(1);
    world.deliver_states(|task, state| Event::BarrierPassed { task, epoch: Epoch(1), state });
    let event = world.seal(0, Ok(())).unwrap();
    world.deliver(event);
    // What was read behind that first one's barrier is still to be covered, by the next.
    assert!(matches!(world.machine.state(), state::State::Suspending(_)));
    assert_eq!(sent(&world), [RequestKind::Commit(Epoch(1)), RequestKind::Barrier]);
    world.deliver_answers(2);
    world.deliver_states(|task, state| Event::BarrierPassed { task, epoch: Epoch(2), state });
    let event = world.seal(0, Ok(())).unwrap();
    world.deliver(event);
    assert_eq!(sent(&world), [RequestKind::Commit(Epoch(2)), RequestKind::Cancel]);
    assert_eq!(world.finish().statuses.last(), Some(&JobStatus::Suspended));
}

#[test]
fn a_job_that_gets_no_checkpoint_in_time_leaves_off_at_the_one_before() {
    let mut world = told(Event::SuspendRequested);
    world.deliver_answers(1);
    world.deliver_states(|task, state| Event::BarrierPassed { task, epoch: Epoch(1), state });
    let event = world.seal(0, Err(failure("disk full".into()))).unwrap();
    world.deliver(event);
    assert!(sent(&world).is_empty());
    // The next barrier is a checkpoint's, whatever the interval.
    world.deliver(Event::BarrierDue);
    assert_eq!(sent(&world), [RequestKind::Barrier]);
    world.deliver_answers(1);
    world.deliver(Event::SuspendTimedOut);
    assert_eq!(sent(&world), [RequestKind::Cancel]);
    assert_eq!(world.finish().statuses.last(), Some(&JobStatus::Suspended));
}

#[test]
fn an_interrupted_job_that_does_not_drain_in_time_leaves_off_and_a_stopped_one_is_cut() {
    let mut world = told(Event::Interrupted(StopMode::Drain));
    assert_eq!(sent(&world), [RequestKind::Drain]);
    world.deliver_answers(1);
    world.deliver(Event::StopTimedOut(StopMode::Drain));
    assert_eq!(sent(&world), [RequestKind::Cancel]);
    assert_eq!(world.finish().statuses.last(), Some(&JobStatus::Suspended));

    let mut world = told(Event::Interrupted(StopMode::Drain));
    world.deliver(Event::StopRequested(StopMode::Drain));
    world.deliver(Event::StopTimedOut(StopMode::Drain));
    assert_eq!(world.giving_up, 1);
    assert_eq!(world.finish().statuses.last(), Some(&JobStatus::Stopped));
}
