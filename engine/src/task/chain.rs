//! The operators of one task, as a tree: each hands its output to chained operators and to edges.
//!
//! There is no queue between chained operators: a batch goes down the tree depth first, before the
//! next input is taken. As soon as something waits for room in a channel, the rest is left until that is gone:
//! what an operator has emitted, and then what it has yet to emit.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_plans::ids::{Barrier, Epoch, OperatorId};
use tidemill_plans::time::Watermark;

use crate::clock;
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::operator::Operator;
use crate::state::{StateWriter, TaskState};
use crate::task::query_memory::HeldMemory;
use crate::task::{EndReason, Input, Message, OperatorContext, Outbox, PortWatermarks, batch_bytes};

/// Where an operator's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// To another operator of the chain, on port 0.
    Chained(usize),
    /// To an outgoing edge of the task.
    Edge(usize),
}

/// An operator in its place.
pub(super) struct Slot {
    pub(super) id: OperatorId,
    pub(super) operator: Box<dyn Operator>,
    pub(super) context: OperatorContext,
    pub(super) targets: Vec<Target>,
    pub(super) gathering: Gathering,
    /// What it holds of its query's memory.
    pub(super) held: HeldMemory,
}

/// How long an operator has put changes off.
pub(super) struct Gathering {
    /// How long it may.
    longest: Duration,
    /// When it began to, in nanoseconds of the monotonic clock; `None` if it has none.
    since: Option<u64>,
}

impl Gathering {
    /// An operator that may put changes off for so long.
    pub(super) fn for_at_most(longest: Duration) -> Self {
        Self { longest, since: None }
    }

    /// How long it still may; `None` if it has put nothing off.
    fn left(&self) -> Option<Duration> {
        let gathered = Duration::from_nanos(clock::monotonic_ns().saturating_sub(self.since?));
        Some(self.longest.saturating_sub(gathered))
    }

    /// Notes whether there are changes now.
    fn note(&mut self, has_gathered: bool) {
        match has_gathered {
            true => self.since = Some(self.since.unwrap_or_else(clock::monotonic_ns)),
            false => self.since = None,
        }
    }
}

/// Which operators of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All.
    All,
    /// The sinks, which are asked for what they have after everything has ended.
    Sinks,
}

impl Which {
    fn of(self, slots: &mut [Slot]) -> impl Iterator<Item = &mut Slot> {
        slots.iter_mut().filter(move |slot| self == Self::All || slot.operator.is_sink())
    }
}

/// What is still to be done.
enum Work {
    /// An operator gets an input.
    Input(usize, Input),
    /// A message goes to an edge.
    Send(usize, Message),
    /// An operator may have more to emit; this signal comes behind it.
    More(usize, Option<Message>),
    /// An operator emits what it has put off, if that is due.
    Pause(usize, Due),
}

/// Which of what operators put off is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    All,
    LongEnough,
}

/// The operators of one task; the first is the head.
pub struct Chain {
    slots: Vec<Slot>,
    /// The last is the first to be done. As long as the tree is deep, and what one call has emitted.
    work: Vec<Work>,
    /// Whether the operators had ended before they were restored: they are not called again.
    is_done: bool,
}

impl Chain {
    pub(super) fn new(slots: Vec<Slot>) -> Self {
        Self { slots, work: Vec::new(), is_done: false }
    }

    /// Has nothing more to do but to say so to those downstream.
    pub(super) fn set_done(&mut self) {
        self.is_done = true;
    }

    /// Gives an input to the head and what follows from it to everyone else, as far as there is room. All that followed
    /// from the input before has been done.
    pub fn handle(&mut self, input: Input, outbox: &mut Outbox) -> Result<()> {
        debug_assert!(!self.is_busy(), "one input after the other");
        if self.is_done {
            return match input {
                Input::End(reason) => outbox.push_to_all(&Message::End(reason)),
                _ => Ok(()),
            };
        }
        self.work.push(Work::Input(0, input));
        self.go_on(outbox)
    }

    /// Whether there is more to do of what has been begun.
    pub fn is_busy(&self) -> bool {
        !self.work.is_empty()
    }

    /// Goes on with what has been begun, until something waits for room.
    pub fn go_on(&mut self, outbox: &mut Outbox) -> Result<()> {
        while outbox.is_empty()
            && let Some(work) = self.work.pop()
        {
            self.step(work, outbox)?;
        }
        if !self.is_busy() {
            self.note_gathered();
        }
        Ok(())
    }

    /// Has everything ended that there is, whether or not there is room for what is said of it. What had been begun is
    /// left as it is.
    pub(super) fn cut(&mut self, outbox: &mut Outbox) -> Result<()> {
        self.work.clear();
        if self.is_done {
            return self.handle(Input::End(EndReason::Stopped), outbox);
        }
        self.work.push(Work::Input(0, Input::End(EndReason::Stopped)));
        while let Some(work) = self.work.pop() {
            self.step(work, outbox)?;
        }
        Ok(())
    }

    /// How long the operators may still put changes off, until the first of them is due; `None` if none
    /// does.
    pub fn gathering_left(&self) -> Option<Duration> {
        self.slots.iter().filter_map(|slot| slot.gathering.left()).min()
    }

    /// Has the operators emit what was put off for long enough.
    pub fn pause_due(&mut self, outbox: &mut Outbox) -> Result<()> {
        self.pause_where(Due::LongEnough, outbox)
    }

    /// Has everything emitted that was put off: an operator's changes may be gathered by the next.
    pub fn pause(&mut self, outbox: &mut Outbox) -> Result<()> {
        self.pause_where(Due::All, outbox)
    }

    fn pause_where(&mut self, due: Due, outbox: &mut Outbox) -> Result<()> {
        debug_assert!(!self.is_busy(), "one thing after the other");
        self.work.extend((0..self.slots.len()).rev().map(|index| Work::Pause(index, due)));
        self.go_on(outbox)
    }

    fn note_gathered(&mut self) {
        for slot in &mut self.slots {
            slot.gathering.note(slot.operator.has_gathered());
        }
    }

    /// Writes what operators hold, at a barrier that they have passed or at the end.
    pub(super) fn snapshot(&mut self, which: Which, state: &mut StateWriter<'_>) -> Result<()> {
        for slot in which.of(&mut self.slots) {
            let mut state = state.part(&slot.id.to_string());
            state.value("emitted", &slot.context.watermark())?;
            slot.operator.snapshot(&mut state.part("state")).map_err(|error| failed(slot, error))?;
        }
        Ok(())
    }

    /// Has operators take up what they held.
    pub(super) fn restore(&mut self, which: Which, state: &TaskState<'_>) -> Result<()> {
        for slot in which.of(&mut self.slots) {
            let Some(state) = state.operator(slot.id) else { continue };
            let emitted = state.values("emitted")?.into_iter().min().unwrap_or(Watermark::MIN);
            slot.context.go_on_at(emitted);
            slot.operator.restore(&state.part("state")).map_err(|error| failed(slot, error))?;
            note_held(slot).map_err(|error| failed(slot, error))?;
        }
        Ok(())
    }

    /// Whether an operator shows the outside what a sealed checkpoint covers, and so has to be told of it.
    pub(super) fn commits(&self) -> bool {
        self.slots.iter().any(|slot| slot.operator.commits())
    }

    /// The checkpoint of `epoch` is sealed.
    pub(super) fn commit(&mut self, epoch: Epoch) -> Result<()> {
        for slot in &mut self.slots {
            slot.operator.commit(epoch).map_err(|error| failed(slot, error))?;
        }
        Ok(())
    }

    /// The counters of every operator.
    pub fn stats(&self) -> impl Iterator<Item = Arc<OperatorStats>> {
        self.slots.iter().map(|slot| slot.context.shared_stats())
    }

    fn step(&mut self, work: Work, outbox: &mut Outbox) -> Result<()> {
        match work {
            Work::Input(index, input) => self.run(index, |slot| call(slot, input)),
            Work::Send(edge, message) => outbox.push(edge, message),
            Work::More(index, tail) => self.run(index, |slot| {
                slot.operator.on_more(&mut slot.context)?;
                Ok(tail)
            }),
            Work::Pause(index, due) => self.pause_one(index, due),
        }
    }

    fn pause_one(&mut self, index: usize, due: Due) -> Result<()> {
        let slot = &mut self.slots[index];
        let is_due = due == Due::All || slot.gathering.left().is_some_and(|left| left.is_zero());
        if !slot.operator.has_gathered() || !is_due {
            return Ok(());
        }
        slot.gathering.since = None;
        self.run(index, |slot| slot.operator.on_pause(&mut slot.context).map(|()| None))
    }

    /// Calls an operator. What it emits is the next to be handed on, and then its signal.
    fn run(&mut self, index: usize, call: impl FnOnce(&mut Slot) -> Result<Option<Message>>) -> Result<()> {
        let slot = &mut self.slots[index];
        let started = clock::monotonic_ns();
        let tail = match call(slot) {
            Ok(tail) => tail,
            Err(error) => return Err(failed(slot, error)),
        };
        let busy = clock::monotonic_ns().saturating_sub(started);
        let stats = slot.context.stats();
        OperatorStats::add(&stats.busy_ns, busy as usize);
        note_held(slot).map_err(|error| failed(slot, error))?;
        let output = slot.context.take_output();
        match slot.operator.has_more() {
            true => self.work.push(Work::More(index, tail)),
            false => tail.into_iter().for_each(|tail| self.hand_on(index, tail)),
        }
        output.into_iter().rev().for_each(|message| self.hand_on(index, message));
        Ok(())
    }

    /// Hands what an operator has emitted to everyone behind it, before all else.
    fn hand_on(&mut self, index: usize, message: Message) {
        let work = self.slots[index].targets.iter().rev().map(|target| match *target {
            Target::Edge(edge) => Work::Send(edge, message.clone()),
            Target::Chained(next) => Work::Input(next, to_input(message.clone())),
        });
        self.work.extend(work);
    }
}

/// Has the counters say what the operator holds. An error if its query holds too much with that.
fn note_held(slot: &Slot) -> Result<()> {
    let (stats, bytes) = (slot.context.stats(), slot.operator.state_bytes());
    stats.set_state_bytes(bytes, slot.operator.spilled_bytes());
    if let Some(checksum) = slot.operator.checksum() {
        stats.set_checksum(checksum);
    }
    slot.held.set(bytes)
}

fn failed(slot: &Slot, source: EngineError) -> EngineError {
    EngineError::Operator { operator: slot.context.name().to_owned(), source: Box::new(source) }
}

/// What one operator sends, the next one receives on its only port.
fn to_input(message: Message) -> Input {
    match message {
        Message::Batch(batch) => Input::Batch(0, batch),
        Message::Watermark(watermark) => Input::Watermarks(PortWatermarks::single(watermark)),
        Message::Idle => Input::Idle,
        Message::Active => Input::Active,
        Message::CaughtUp => Input::CaughtUp,
        Message::Barrier(barrier) => Input::Barrier(barrier),
        Message::End(reason) => Input::End(reason),
    }
}

/// Calls the operator; returns the signal that follows its output, if any.
fn call(slot: &mut Slot, input: Input) -> Result<Option<Message>> {
    match input {
        Input::Batch(port, batch) => on_batch(slot, port, batch).map(|()| None),
        Input::Watermarks(watermarks) => slot.operator.on_watermark(&watermarks, &mut slot.context).map(|()| None),
        Input::Idle => Ok(Some(note_idle(slot, true))),
        Input::Active => Ok(Some(note_idle(slot, false))),
        Input::CaughtUp => slot.operator.on_caught_up(&mut slot.context).map(|()| None),
        Input::Barrier(barrier) => on_barrier(slot, barrier).map(Some),
        Input::End(reason) => on_end(slot, reason).map(Some),
    }
}

fn on_batch(slot: &mut Slot, port: usize, batch: RecordBatch) -> Result<()> {
    let stats = slot.context.stats();
    OperatorStats::add(&stats.rows_in, batch.num_rows());
    OperatorStats::add(&stats.bytes_in, batch_bytes(&batch));
    slot.operator.on_batch(port, batch, &mut slot.context)
}

/// Operators need not know: what time it is for them is in the watermarks of their ports.
fn note_idle(slot: &Slot, idle: bool) -> Message {
    slot.context.stats().set_idle(idle);
    if idle { Message::Idle } else { Message::Active }
}

fn on_barrier(slot: &mut Slot, barrier: Barrier) -> Result<Message> {
    slot.operator.on_barrier(barrier.epoch, &mut slot.context)?;
    Ok(Message::Barrier(barrier))
}

fn on_end(slot: &mut Slot, reason: EndReason) -> Result<Message> {
    slot.operator.on_end(reason, &mut slot.context)?;
    Ok(Message::End(reason))
}
