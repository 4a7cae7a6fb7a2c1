//! A job with checkpoints over all its attempts, under a seeded adversary.
//!
//! The coordinators run the real code: the machine, the attempts, and the functions that seal, claim and clear
//! checkpoints, over an object store whose every call the adversary decides on. The actor around them, the workers
//! and the tasks are modelled, each in a file that says after what. The adversary kills workers and coordinators,
//! lets a second coordinator resume the job while the first one runs on, loses answers, repeats events, and lets
//! anything take as long as it likes. Events of one worker stay in order, as do requests to it.
//!
//! Whatever it does, each row is shown at most once, only when a sealed checkpoint covers it, and in the end, when
//! the adversary rests, all rows are. `TIDEMILL_SIMULATION_SEED` runs one seed and prints what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use tidemill_plans::checkpoint::{Manifest, StateFile, TaskState};
use tidemill_plans::connector::VIEW_CONNECTOR;
use tidemill_plans::ids::{Epoch, RunId, TaskId, WorkerId};
use tidemill_plans::node::{NodeKind, SinkNode};
use tidemill_plans::protocol::{StopMode, WorkerEvent, WorkerRequest};
use tidemill_plans::settings::Settings;
use tidemill_plans::storage::Storage;

use self::coordinator::{Commons, Coordinator, JOB, Journal, Sent, Timer};
use self::store::{Fate, SimStore};
use self::tasks::{Channels, Shape, Site, State};
use self::worker::{Answer, Worker, failure};
use crate::job::{Event, JobFailure, RequestKind};
use crate::testing::{Random, two_stage_graph};

mod checks;
mod coordinator;
mod interleavings;
mod outside;
mod store;
mod tasks;
mod tests;
mod worker;

/// Workers of each coordinator.
const WORKERS: usize = 2;

/// Steps within which a job ends when the adversary rests.
const CALM_STEPS_MAX: usize = 30_000;

/// How often each fault strikes, in a thousand steps.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    worker_crashes: usize,
    coordinator_crashes: usize,
    resumes: usize,
    sleeps: usize,
    task_fails: usize,
    write_fails: usize,
    store: usize,
    time_outs: usize,
    stops: usize,
    savepoints: usize,
    leaves: usize,
}

impl Trouble {
    fn draw(random: &mut Random) -> Self {
        let mut rate = |most: usize| [0, 0, most / 3 + 1, most][random.below(4)];
        Self {
            worker_crashes: rate(15),
            coordinator_crashes: rate(6),
            resumes: rate(10),
            sleeps: rate(10),
            task_fails: rate(10),
            write_fails: rate(60),
            store: rate(200),
            time_outs: rate(30),
            stops: rate(4) / 2,
            savepoints: rate(200),
            leaves: rate(4),
        }
    }
}

struct World {
    random: Random,
    trouble: Trouble,
    commons: Commons,
    coordinators: Vec<Coordinator>,
    /// Each with the coordinator that it belongs to.
    workers: BTreeMap<WorkerId, (usize, Worker)>,
    last_worker: u32,
    channels: Channels,
    states: BTreeMap<String, State>,
    /// The files that the next one of a task goes on from.
    chains: BTreeMap<(RunId, TaskId), Vec<StateFile>>,
    /// How many manifests have been checked, and how many rows.
    checked: (usize, usize),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let sources = 1 + random.below(3);
        let shape = Shape {
            rows: (0..sources).map(|_| random.below(150) as u64).collect(),
            middles: 1 + u32::try_from(random.below(2)).unwrap(),
            sinks: 1 + u32::try_from(random.below(2)).unwrap(),
        };
        let mut settings = Settings::default();
        settings.set("restart_strategy", "fixed_delay").unwrap();
        settings.set("restart_attempts", if random.below(8) == 0 { "2" } else { "1000000" }).unwrap();
        settings.set("view_interval", "4s").unwrap();
        let mut graph = two_stage_graph(1, 1);
        if random.below(3) == 0 {
            // A barrier in three is a checkpoint's.
            let schema = Arc::clone(&graph.nodes[0].schema.0);
            graph.add_node(NodeKind::Sink(view()), 1, schema);
        }
        let store = SimStore::default();
        let journal = Journal::default();
        let trouble = Trouble::draw(&mut random);
        let commons = Commons {
            shape,
            graph,
            settings,
            store,
            journal,
            outside: outside::Outside::default(),
            is_given_up: false,
            has_stopped: false,
            suspensions: 0,
            savepoint: None,
            savepoints: 0,
            log: Vec::new(),
        };
        let mut world = Self {
            random,
            trouble,
            commons,
            coordinators: Vec::new(),
            workers: BTreeMap::new(),
            last_worker: 0,
            channels: Channels::new(),
            states: BTreeMap::new(),
            chains: BTreeMap::new(),
            checked: (0, 0),
        };
        world.submit();
        world
    }

    fn submit(&mut self) {
        self.open_coordinator();
        let storage = Storage::on(Arc::new(self.commons.store.clone()));
        let mut beginning = Box::pin(crate::checkpoints::begin(&storage, Manifest::beginning(RunId::first(JOB))));
        let beginning = loop {
            if let Some(beginning) = beginning.as_mut().now_or_never() {
                break beginning.unwrap();
            }
            self.commons.store.open().into_iter().for_each(|(_, call)| self.commons.store.decide(call, Fate::Done));
        };
        self.coordinators[0].submit(beginning, &mut self.commons);
    }

    fn open_coordinator(&mut self) {
        let number = self.coordinators.len();
        self.coordinators.push(Coordinator::open(number, &self.commons));
        for _ in 0..WORKERS {
            self.add_worker(number);
        }
    }

    fn add_worker(&mut self, coordinator: usize) {
        self.last_worker += 1;
        let id = WorkerId(self.last_worker);
        self.workers.insert(id, (coordinator, Worker::new(id)));
        self.coordinators[coordinator].add_worker(id, &mut self.commons);
    }

    /// Lets the adversary have its way for a while, then lets everything come to its end.
    fn run(&mut self) {
        for _ in 0..200 + self.random.below(1500) {
            self.step();
            self.check();
        }
        self.trouble = Trouble {
            worker_crashes: 0,
            coordinator_crashes: 0,
            resumes: 0,
            sleeps: 0,
            task_fails: 0,
            write_fails: 0,
            store: 0,
            time_outs: 0,
            stops: 0,
            savepoints: 0,
            leaves: 0,
        };
        self.commons.store.set_lag(0);
        self.coordinators.iter_mut().for_each(|coordinator| coordinator.is_asleep = false);
        self.commons.log.push(String::from("the adversary rests"));
        for _ in 0..CALM_STEPS_MAX {
            if !self.calm_step() {
                return self.check_end();
            }
            self.check();
        }
        panic!("the job does not end");
    }

    fn strikes(&mut self, rate: usize) -> bool {
        rate > 0 && self.random.below(1000) < rate
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => drop(self.step_worker()),
            30..47 => drop(self.deliver_event()),
            47..66 => drop(self.step_lane()),
            66..76 => drop(self.write_state()),
            76..91 => drop(self.step_store()),
            91..95 => drop(self.fire_timer(false)),
            95..97 => drop(self.write_journal()),
            _ => self.strike(),
        }
    }

    /// Does something, if there is something to do; false if all is over.
    fn calm_step(&mut self) -> bool {
        let first = self.random.below(6);
        for n in 0..6 {
            let has_moved = match (first + n) % 6 {
                0 => self.step_worker(),
                1 => self.deliver_event(),
                2 => self.step_lane(),
                3 => self.write_state(),
                4 => self.step_store(),
                _ => self.write_journal(),
            };
            if has_moved {
                return true;
            }
        }
        self.mend() || self.fire_timer(true) || self.time_out_lane() || self.resume_if_left()
    }

    fn step_worker(&mut self) -> bool {
        let Some(id) = self.any_worker(|_| true) else { return false };
        let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        let first = ids.iter().position(|other| *other == id).unwrap();
        for n in 0..ids.len() {
            let (_, worker) = self.workers.get_mut(&ids[(first + n) % ids.len()]).unwrap();
            let mut site =
                Site { shape: &self.commons.shape, channels: &mut self.channels, outside: &mut self.commons.outside };
            if worker.step(&mut site, &mut self.random) {
                return true;
            }
        }
        false
    }

    fn any_worker(&mut self, is_it: impl Fn(&(usize, Worker)) -> bool) -> Option<WorkerId> {
        let found: Vec<WorkerId> = self.workers.iter().filter(|(_, w)| is_it(w)).map(|(id, _)| *id).collect();
        (!found.is_empty()).then(|| found[self.random.below(found.len())])
    }

    /// Brings the oldest event of a worker to its coordinator; now and then its answer is lost.
    fn deliver_event(&mut self) -> bool {
        let coordinators = &self.coordinators;
        let up: BTreeSet<usize> = coordinators.iter().filter(|c| c.is_awake()).map(|c| c.number).collect();
        let Some(id) = self.any_worker(|(of, worker)| !worker.events.is_empty() && up.contains(of)) else {
            return false;
        };
        let is_repeated = self.trouble.time_outs > 0 && self.random.below(8) == 0;
        let (of, worker) = self.workers.get_mut(&id).unwrap();
        let event = if is_repeated { worker.events[0].clone() } else { worker.events.pop_front().unwrap() };
        let (run, event) = taken(event);
        self.coordinators[*of].drive(run, event, &mut self.commons);
        true
    }

    /// Sends a request, or brings an answer back.
    fn step_lane(&mut self) -> bool {
        let is_ready = |workers: &BTreeMap<WorkerId, (usize, Worker)>, key: &(RunId, WorkerId), sent: &Sent| {
            let worker = workers.get(&key.1).map(|(_, worker)| worker);
            match (worker, &sent.answer, sent.kind) {
                (None, ..) | (_, Some(_), _) => true,
                (Some(worker), None, RequestKind::Commit(epoch)) => worker.committed(key.0, epoch).is_some(),
                _ => false,
            }
        };
        let workers = &self.workers;
        let awake = self.coordinators.iter().filter(|c| c.is_awake());
        let lanes = awake.flat_map(|c| c.lanes.iter().map(move |(key, lane)| (c.number, key, lane)));
        let ready: Vec<(usize, (RunId, WorkerId))> = lanes
            .filter(|(_, key, lane)| match &lane.sent {
                Some(sent) => is_ready(workers, key, sent),
                None => !lane.queue.is_empty(),
            })
            .map(|(number, key, _)| (number, *key))
            .collect();
        if ready.is_empty() {
            return false;
        }
        let (number, key) = ready[self.random.below(ready.len())];
        let lane = self.coordinators[number].lanes.get_mut(&key).unwrap();
        match lane.sent.take() {
            None => {
                let request = lane.queue.pop_front().unwrap();
                self.send(number, key, request);
            }
            Some(sent) => self.answer(number, key, sent),
        }
        true
    }

    fn send(&mut self, number: usize, key: (RunId, WorkerId), request: WorkerRequest) {
        let kind = RequestKind::of(&request);
        let answer = match self.workers.get_mut(&key.1) {
            None => Answer::Now(Err(failure("unreachable"))),
            Some(_) if kind == RequestKind::Deploy => Answer::Now(self.deploy(key.1, &request)),
            Some((_, worker)) => {
                let (shape, channels) = (&self.commons.shape, &mut self.channels);
                worker.request(&request, &mut Site { shape, channels, outside: &mut self.commons.outside })
            }
        };
        let answer = match answer {
            Answer::Now(result) => Some(result),
            Answer::WhenCommitted => None,
        };
        self.coordinators[number].lanes.get_mut(&key).unwrap().sent = Some(Sent { kind, answer });
    }

    fn deploy(&mut self, id: WorkerId, request: &WorkerRequest) -> Result<(), JobFailure> {
        let WorkerRequest::Deploy(_, deployment) = request else { unreachable!("a deployment") };
        let restore = deployment.restore.as_ref().unwrap();
        let store = &self.commons.store;
        // Others have lost the job, and with it their state.
        let is_owner = store.newest().is_some_and(|newest| newest.run == deployment.run);
        let states = restore.tasks.iter().map(|(task, state)| {
            self.chains.entry((deployment.run, *task)).or_insert_with(|| state.files.clone());
            let is_whole = state.files.iter().all(|file| store.has(&file.path));
            let newest = self.states.get(&state.files.last()?.path).filter(|_| is_whole)?;
            Some((*task, newest.clone()))
        });
        let states: Option<BTreeMap<TaskId, State>> = states.collect();
        let (_, worker) = self.workers.get_mut(&id).unwrap();
        let (shape, channels) = (&self.commons.shape, &mut self.channels);
        let mut site = Site { shape, channels, outside: &mut self.commons.outside };
        let deployed = match states {
            Some(states) => worker.deploy(deployment, &states, &mut site),
            None => Err(failure("the state is gone")),
        };
        assert!(deployed.is_ok() || !is_owner, "{} cannot be restored: {deployed:?}", restore.path());
        deployed
    }

    fn answer(&mut self, number: usize, key: (RunId, WorkerId), sent: Sent) {
        let coordinator = &mut self.coordinators[number];
        let Some((_, worker)) = self.workers.get(&key.1) else {
            coordinator.lose(key.1, &mut self.commons);
            return coordinator.request_ended(key, sent.kind, Err(failure("unreachable")), &mut self.commons);
        };
        let result = match (sent.answer, sent.kind) {
            (Some(result), _) => result,
            (None, RequestKind::Commit(epoch)) => worker.committed(key.0, epoch).unwrap(),
            (None, kind) => unreachable!("{kind:?} is answered at once"),
        };
        coordinator.request_ended(key, sent.kind, result, &mut self.commons);
    }

    /// A lane waits no longer; what it has sent may still be carried out.
    fn time_out_lane(&mut self) -> bool {
        for coordinator in self.coordinators.iter_mut().filter(|c| c.is_awake()) {
            let lanes = coordinator.lanes.iter_mut();
            let waiting: Vec<(RunId, WorkerId)> =
                lanes.filter(|(_, lane)| lane.sent.is_some()).map(|(key, _)| *key).collect();
            if waiting.is_empty() {
                continue;
            }
            let key = waiting[self.random.below(waiting.len())];
            let sent = coordinator.lanes.get_mut(&key).unwrap().sent.take().unwrap();
            coordinator.request_ended(key, sent.kind, Err(failure("no answer in time")), &mut self.commons);
            return true;
        }
        false
    }

    /// Writes the state of a task, and has the coordinator told.
    fn write_state(&mut self) -> bool {
        let mut ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        while !ids.is_empty() {
            let id = ids.swap_remove(self.random.below(ids.len()));
            let (_, worker) = self.workers.get_mut(&id).unwrap();
            let Some((run, task, state)) = worker.next_write(&mut self.random) else { continue };
            let epoch = state.epoch;
            let path = StateFile::path_of(run, task, epoch);
            if self.strikes(self.trouble.write_fails) {
                let message = String::from("disk full");
                let (_, worker) = self.workers.get_mut(&id).unwrap();
                worker.events.push_back(WorkerEvent::CheckpointFailed { run, task, epoch, message });
                self.chains.insert((run, task), Vec::new());
                return true;
            }
            self.commons.store.write(&path);
            self.states.insert(path.clone(), state);
            let state = Some(self.chain(run, task, epoch, StateFile { path, bytes: 1 }));
            let event = match epoch {
                Epoch::END => WorkerEvent::TaskFinished { run, task, state },
                epoch => WorkerEvent::BarrierPassed { run, task, epoch, state, alignment_us: 0, needs: None },
            };
            self.workers.get_mut(&id).unwrap().1.events.push_back(event);
            return true;
        }
        false
    }

    /// The files of a task's state with a new one: behind those before it, or instead of them.
    fn chain(&mut self, run: RunId, task: TaskId, epoch: Epoch, file: StateFile) -> TaskState {
        let files = self.chains.entry((run, task)).or_default();
        if epoch == Epoch::END || self.random.below(4) == 0 {
            files.clear();
        }
        files.push(file);
        TaskState { files: files.clone() }
    }

    fn step_store(&mut self) -> bool {
        for coordinator in self.coordinators.iter_mut().filter(|c| c.is_awake()) {
            coordinator.poll(&mut self.commons);
        }
        let mut open = self.commons.store.open();
        open.retain(|(caller, _)| !self.coordinators[*caller].is_asleep);
        if open.is_empty() {
            return false;
        }
        let (_, call) = open[self.random.below(open.len())];
        let fate = match self.strikes(self.trouble.store) {
            true => [Fate::AnswerLost, Fate::Late][self.random.below(2)],
            false => Fate::Done,
        };
        self.commons.log.push(format!("store: call {call} {fate:?}"));
        self.commons.store.decide(call, fate);
        for coordinator in self.coordinators.iter_mut().filter(|c| c.is_awake()) {
            coordinator.poll(&mut self.commons);
        }
        true
    }

    fn write_journal(&mut self) -> bool {
        let with: Vec<usize> =
            self.coordinators.iter().filter(|c| c.is_awake() && !c.entries.is_empty()).map(|c| c.number).collect();
        if with.is_empty() {
            return false;
        }
        let coordinator = &mut self.coordinators[with[self.random.below(with.len())]];
        let entry = coordinator.entries.remove(0);
        coordinator.enter(entry, &mut self.commons);
        true
    }

    /// Fires a timer: of those that end things, only now and then, unless nothing else is left to do.
    fn fire_timer(&mut self, is_idle: bool) -> bool {
        let with: Vec<usize> =
            self.coordinators.iter().filter(|c| c.is_awake() && !c.timers.is_empty()).map(|c| c.number).collect();
        if with.is_empty() {
            return false;
        }
        let coordinator = &mut self.coordinators[with[self.random.below(with.len())]];
        let index = self.random.below(coordinator.timers.len());
        let is_soon = matches!(coordinator.timers[index], Timer::Look(_) | Timer::Event(_, Event::BarrierDue));
        if !is_idle && !is_soon && self.random.below(12) > 0 {
            return false;
        }
        let timer = coordinator.timers.swap_remove(index);
        coordinator.fire(timer, &mut self.commons);
        true
    }

    fn strike(&mut self) {
        let trouble = self.trouble;
        // A twentieth of the steps come here.
        let scale = 30;
        if self.strikes(trouble.worker_crashes * scale)
            && let Some(id) = self.any_worker(|_| true)
        {
            self.kill(id);
        }
        if self.strikes(trouble.task_fails * scale)
            && let Some(id) = self.any_worker(|_| true)
        {
            self.workers.get_mut(&id).unwrap().1.fail_task(&mut self.random);
        }
        if self.strikes(trouble.coordinator_crashes * scale) {
            let index = self.random.below(self.coordinators.len());
            self.commons.log.push(format!("c{index} crashes"));
            self.coordinators[index].crash();
        }
        if self.strikes(trouble.resumes * scale) && self.coordinators.len() < 5 {
            self.resume();
        }
        if self.strikes(trouble.sleeps * scale) {
            let index = self.random.below(self.coordinators.len());
            let coordinator = &mut self.coordinators[index];
            coordinator.is_asleep = !coordinator.is_asleep;
            self.commons.log.push(format!("c{index} sleeps: {}", coordinator.is_asleep));
        }
        if self.strikes(trouble.time_outs * scale) {
            self.time_out_lane();
        }
        if self.strikes(trouble.time_outs * scale) {
            let index = self.random.below(self.coordinators.len());
            let coordinator = &mut self.coordinators[index];
            if coordinator.is_awake() && !coordinator.errands.is_empty() {
                let errand = self.random.below(coordinator.errands.len());
                coordinator.give_up_errand(errand, &mut self.commons);
            }
        }
        if self.strikes(trouble.stops * scale) {
            let index = self.random.below(self.coordinators.len());
            let mode = [StopMode::Drain, StopMode::Drain, StopMode::Cut, StopMode::Cancel][self.random.below(4)];
            if self.coordinators[index].is_awake() && self.coordinators[index].run().is_some() {
                self.commons.log.push(format!("c{index} is to {mode:?}"));
                self.coordinators[index].stop(mode, &mut self.commons);
            }
        }
        if self.strikes(trouble.savepoints * scale) {
            let index = self.random.below(self.coordinators.len());
            let stops = self.random.below(2) == 0;
            if self.coordinators[index].is_awake() {
                self.commons.log.push(format!("c{index} is to take a savepoint; stops: {stops}"));
                self.coordinators[index].want_savepoint(stops, &mut self.commons);
            }
        }
        if self.strikes(trouble.leaves * scale) {
            self.leave();
        }
        if trouble.store > 0 {
            self.commons.store.set_lag(self.random.below(3));
        }
        if self.random.below(3) == 0 {
            self.mend();
        }
    }

    /// A worker is to end, or a coordinator.
    fn leave(&mut self) {
        let index = self.random.below(self.coordinators.len());
        let mode = [StopMode::Drain, StopMode::Cancel][self.random.below(2)];
        let kind = self.random.below(4);
        let coordinator = &mut self.coordinators[index];
        let Some(run) = coordinator.run().filter(|_| coordinator.is_awake()) else { return };
        self.commons.log.push(format!("c{index} or one of its workers leaves: {kind}"));
        match kind {
            0 => coordinator.keep(Event::SuspendRequested, &mut self.commons),
            1 => {
                // What is drained is the end of the job, though not all has been read.
                self.commons.has_stopped |= mode == StopMode::Drain;
                coordinator.keep(Event::Interrupted(mode), &mut self.commons);
            }
            _ => coordinator.drive(run, Event::SuspendRequested, &mut self.commons),
        }
    }

    fn kill(&mut self, id: WorkerId) {
        self.commons.log.push(format!("{id} is killed"));
        self.workers.remove(&id);
        self.commons.outside.kill(id);
    }

    fn resume(&mut self) {
        self.open_coordinator();
        let newest = self.coordinators.last_mut().unwrap();
        self.commons.log.push(format!("c{} resumes", newest.number));
        newest.resume();
    }

    /// Notices who is gone, and replaces workers.
    fn mend(&mut self) -> bool {
        for number in 0..self.coordinators.len() {
            let coordinator = &mut self.coordinators[number];
            let gone = coordinator.workers.iter().find(|id| !self.workers.contains_key(id)).copied();
            if let Some(gone) = gone.filter(|_| coordinator.is_awake()) {
                coordinator.lose(gone, &mut self.commons);
                return true;
            }
            if coordinator.is_awake() && coordinator.workers.len() < WORKERS {
                self.add_worker(number);
                return true;
            }
        }
        let down = |of: &usize| !self.coordinators[*of].is_up;
        let orphan = self.workers.iter().find(|(_, (of, _))| down(of)).map(|(id, _)| *id);
        if let Some((_, mut worker)) = orphan.and_then(|id| self.workers.remove(&id)) {
            worker.tear_down_all(&mut self.commons.outside);
            return true;
        }
        false
    }

    /// Somebody goes on with a job that all coordinators have left.
    fn resume_if_left(&mut self) -> bool {
        if self.commons.journal.attempt.is_none() || self.coordinators.iter().any(Coordinator::has_job) {
            return false;
        }
        self.resume();
        true
    }
}

/// An event of a worker, as the handle takes it.
fn taken(event: WorkerEvent) -> (RunId, Event) {
    match event {
        WorkerEvent::TaskFinished { run, task, state } => (run, Event::TaskFinished { task, state }),
        WorkerEvent::BarrierPassed { run, task, epoch, state, .. } => {
            (run, Event::BarrierPassed { task, epoch, state })
        }
        WorkerEvent::TaskFailed { run, task, domain, message } => {
            (run, Event::TaskFailed { task, cause: JobFailure { domain, message } })
        }
        WorkerEvent::CheckpointFailed { run, epoch, message, .. } => {
            (run, Event::CheckpointFailed { epoch, cause: JobFailure::external(message) })
        }
        other => unreachable!("{other:?}"),
    }
}

fn view() -> SinkNode {
    SinkNode {
        table: String::from("v"),
        connector: String::from(VIEW_CONNECTOR),
        options: Vec::new(),
        time: None,
        upsert_keys: Vec::new(),
        order_by: Vec::new(),
        limit: None,
        live: true,
    }
}
