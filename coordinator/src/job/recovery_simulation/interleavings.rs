//! All interleavings of a few attempts at one job, where the [simulation](super) draws some of larger ones.
//!
//! An attempt is what seals and claims checkpoints, which is the real code; its tasks write a block of rows an epoch,
//! and a manifest has the blocks that it covers, each with the attempt that wrote it. Between any two calls to the
//! store any other attempt may move, so one that crashes is one that does not move again. Of two attempts, one write
//! fails: its answer is lost, or it is carried out later, though its epoch has been given up. States are told apart by
//! what the store has and by what each attempt has been answered, for nothing else decides what it does.
//!
//! A block is shown when a manifest that covers it has been sealed or claimed. No place in the stream may be shown as
//! two attempts have written it, and whose sinks are opened must have everything that has been shown. They are not
//! opened for an attempt after those of a later one, though its claim may be answered as late: sinks know who had them.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Context;

use futures::task::noop_waker_ref;
use tidemill_plans::checkpoint::{Manifest, StateFile};
use tidemill_plans::ids::{Epoch, RunId, StageId, TaskId};
use tidemill_plans::storage::Storage;

use super::coordinator::JOB;
use super::store::{Fate, SimStore};
use crate::checkpoints::{begin, claim, collect_garbage, seal};
use crate::error::CoordinatorError;

/// What is shown.
#[derive(Default)]
struct Shown {
    /// Which attempt has written each block.
    blocks: Mutex<BTreeMap<u32, u32>>,
    /// The newest attempt that sinks have been opened for.
    newest: Mutex<u32>,
    /// What must not be.
    wrong: Mutex<Option<String>>,
}

impl Shown {
    fn show(&self, manifest: &Manifest) {
        let mut shown = self.blocks.lock().unwrap();
        for (block, attempt) in blocks(manifest) {
            if shown.insert(block, attempt).is_some_and(|before| before != attempt) {
                *self.wrong.lock().unwrap() = Some(format!("block {block} is shown twice"));
            }
        }
    }

    /// Sinks are opened for an attempt, and drop what is behind its manifest; unless they have been for a later one.
    fn go_on(&self, manifest: &Manifest) -> bool {
        let mut newest = self.newest.lock().unwrap();
        if manifest.run.attempt < *newest {
            return false;
        }
        *newest = manifest.run.attempt;
        let covered: BTreeMap<u32, u32> = blocks(manifest).collect();
        let shown = self.blocks.lock().unwrap().clone();
        if let Some((block, _)) = shown.iter().find(|(block, attempt)| covered.get(block) != Some(attempt)) {
            *self.wrong.lock().unwrap() = Some(format!("block {block} has been shown, and is dropped"));
        }
        self.show(manifest);
        true
    }
}

/// The blocks that a manifest covers, each with the attempt that has written it.
fn blocks(manifest: &Manifest) -> impl Iterator<Item = (u32, u32)> {
    manifest.tasks.iter().map(|(task, state)| (task.subtask, state.bytes() as u32))
}

/// What an attempt does, as [`crate::actor`] has it done.
async fn attempt(storage: Storage, run: RunId, epochs: u64, shown: Arc<Shown>) {
    let claimed = match run.attempt {
        0 => Ok(Manifest::beginning(run)),
        _ => claim(&storage, run, 0, &[]).await,
    };
    let Some(claimed) = claimed.ok().filter(|claimed| shown.go_on(claimed)) else { return };
    let Manifest { mut number, epoch, mut tasks, .. } = claimed;
    for epoch in (epoch.0 + 1..).take(epochs as usize).map(Epoch) {
        let task = TaskId { stage: StageId(0), subtask: tasks.len() as u32 };
        tasks.push((task, StateFile { path: String::new(), bytes: u64::from(run.attempt) }.into()));
        let manifest = Manifest { number: number + 1, run, epoch, tasks: tasks.clone(), origins: None };
        match seal(&storage, &manifest).await {
            Ok(()) => {
                number += 1;
                shown.show(&manifest);
                let _ = collect_garbage(&storage, &manifest).await;
            }
            Err(CoordinatorError::Sealed { .. }) => return,
            // The epoch is given up, and the next one covers its rows.
            Err(_) => {}
        }
    }
}

/// An attempt, its call to the store, and what becomes of that.
type Choice = (usize, u64, Fate);

/// One run, as far as it has come.
struct World {
    store: SimStore,
    attempts: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    /// What each attempt has been answered.
    heard: Vec<u64>,
    is_over: Vec<bool>,
    shown: Arc<Shown>,
    may_fail: bool,
}

impl World {
    /// Attempts that try to seal so many epochs each.
    fn new(epochs: &[u64], may_fail: bool) -> Self {
        let (store, shown) = (SimStore::default(), Arc::<Shown>::default());
        let storage = Storage::on(Arc::new(store.clone()));
        let mut beginning = Box::pin(begin(&storage, Manifest::beginning(RunId::first(JOB))));
        while beginning.as_mut().poll(&mut Context::from_waker(noop_waker_ref())).is_pending() {
            store.open().into_iter().for_each(|(_, call)| store.decide(call, Fate::Done));
        }
        drop(beginning);
        let attempts = epochs.iter().zip(0..).map(|(epochs, number)| -> Pin<Box<dyn Future<Output = ()>>> {
            let storage = Storage::on(Arc::new(store.of(number as usize)));
            Box::pin(attempt(storage, RunId { job: JOB, attempt: number }, *epochs, Arc::clone(&shown)))
        });
        let attempts: Vec<_> = attempts.collect();
        let (heard, is_over) = (vec![0; attempts.len()], vec![false; attempts.len()]);
        let mut world = Self { store, attempts, heard, is_over, shown, may_fail };
        (0..world.attempts.len()).for_each(|attempt| world.poll(attempt));
        world
    }

    fn poll(&mut self, attempt: usize) {
        if !self.is_over[attempt] {
            let polled = self.attempts[attempt].as_mut().poll(&mut Context::from_waker(noop_waker_ref()));
            self.is_over[attempt] = polled.is_ready();
            let of_state = self.store.open().into_iter().find(|(_, call)| self.store.is_of_state(*call));
            if let Some((_, call)) = of_state {
                self.store.decide(call, Fate::Done);
                self.poll(attempt);
            }
        }
    }

    /// What may happen next.
    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (attempt, call) in self.store.open() {
            choices.push((attempt, call, Fate::Done));
            if self.may_fail && self.store.is_write(call) {
                choices.extend([Fate::AnswerLost, Fate::Late].map(|fate| (attempt, call, fate)));
            }
        }
        choices
    }

    fn take(&mut self, choice: Choice) {
        let (attempt, call, fate) = choice;
        let mut heard = DefaultHasher::new();
        (self.heard[attempt], fate as u8, self.store.answer_now(call)).hash(&mut heard);
        self.heard[attempt] = heard.finish();
        self.take_again(choice);
    }

    /// Takes a choice of which it is known what is heard.
    fn take_again(&mut self, (attempt, call, fate): Choice) {
        self.may_fail &= fate == Fate::Done;
        self.store.decide(call, fate);
        self.poll(attempt);
    }

    #[track_caller]
    fn check(&self, way: &[Choice]) {
        if let Some(wrong) = self.shown.wrong.lock().unwrap().as_ref() {
            panic!("{wrong} after {way:?}");
        }
    }

    /// What tells this state from others.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.store.contents(), &self.heard, self.may_fail).hash(&mut hasher);
        self.shown.blocks.lock().unwrap().hash(&mut hasher);
        self.shown.newest.lock().unwrap().hash(&mut hasher);
        hasher.finish()
    }
}

/// A way that has not been gone: how to get there, what each attempt has heard by then, and what is done there.
struct Branch {
    way: Vec<Choice>,
    heard: Vec<u64>,
    next: Choice,
}

/// Visits every state; returns how many there are.
fn explore(epochs: &[u64], may_fail: bool) -> usize {
    let mut seen: HashSet<u64> = HashSet::new();
    let mut branches: Vec<Branch> = Vec::new();
    let (mut world, mut way) = (World::new(epochs, may_fail), Vec::new());
    loop {
        while seen.insert(world.fingerprint()) {
            let mut choices = world.choices().into_iter();
            let Some(first) = choices.next() else { break };
            branches.extend(choices.map(|next| Branch { way: way.clone(), heard: world.heard.clone(), next }));
            way.push(first);
            world.take(first);
            world.check(&way);
        }
        let Some(branch) = branches.pop() else { return seen.len() };
        world = World::new(epochs, may_fail);
        branch.way.iter().for_each(|choice| world.take_again(*choice));
        world.heard = branch.heard;
        world.take(branch.next);
        way = branch.way;
        way.push(branch.next);
        world.check(&way);
    }
}

/// Attempts that try to seal so many epochs each, and whether a write may fail.
const CASES: [(&[u64], bool); 3] = [(&[1, 2], true), (&[2, 1], true), (&[1, 0, 1], false)];

#[test]
fn in_every_interleaving_a_row_is_shown_once_and_stays() {
    for (epochs, may_fail) in CASES {
        let states = explore(epochs, may_fail);
        assert!(states > 1000, "{epochs:?}: {states} states");
    }
}
