//! The operators of one task, as a tree: each hands its output to chained operators and to edges.
//!
//! There is no queue between chained operators: a batch goes down the tree depth first, before the
//! next input is taken.

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

/// The operators of one task; the first is the head.
pub struct Chain {
    slots: Vec<Slot>,
    /// Whether the operators had ended before they were restored: they are not called again.
    is_done: bool,
}

impl Chain {
    pub(super) fn new(slots: Vec<Slot>) -> Self {
        Self { slots, is_done: false }
    }

    /// Has nothing more to do but to say so to those downstream.
    pub(super) fn set_done(&mut self) {
        self.is_done = true;
    }

    /// Gives an input to the head and what follows from it to everyone else.
    pub fn handle(&mut self, input: Input, outbox: &mut Outbox) -> Result<()> {
        if self.is_done {
            return match input {
                Input::End(reason) => outbox.push_to_all(&Message::End(reason)),
                _ => Ok(()),
            };
        }
        self.dispatch(0, input, outbox)?;
        self.note_gathered();
        Ok(())
    }

    /// How long the operators may still put changes off, until the first of them is due; `None` if none
    /// does.
    pub fn gathering_left(&self) -> Option<Duration> {
        self.slots.iter().filter_map(|slot| slot.gathering.left()).min()
    }

    /// Has the operators emit what was put off for long enough.
    pub fn pause_due(&mut self, outbox: &mut Outbox) -> Result<()> {
        self.pause_where(|gathering| gathering.left().is_some_and(|left| left.is_zero()), outbox)
    }

    /// Has everything emitted that was put off: an operator's changes may be gathered by the next.
    pub fn pause(&mut self, outbox: &mut Outbox) -> Result<()> {
        self.pause_where(|_| true, outbox)
    }

    fn pause_where(&mut self, due: impl Fn(&Gathering) -> bool, outbox: &mut Outbox) -> Result<()> {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.operator.has_gathered() && due(&slot.gathering) {
                slot.gathering.since = None;
                self.run(index, outbox, |slot| slot.operator.on_pause(&mut slot.context).map(|()| None))?;
            }
        }
        self.note_gathered();
        Ok(())
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

    fn dispatch(&mut self, index: usize, input: Input, outbox: &mut Outbox) -> Result<()> {
        self.run(index, outbox, |slot| call(slot, input))
    }

    /// Calls an operator, and hands on what it emits.
    fn run(
        &mut self,
        index: usize,
        outbox: &mut Outbox,
        call: impl FnOnce(&mut Slot) -> Result<Option<Message>>,
    ) -> Result<()> {
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
        let mut output = slot.context.take_output();
        output.extend(tail);
        let targets = slot.targets.clone();
        for message in output {
            for target in &targets {
                match *target {
                    Target::Edge(edge) => outbox.push(edge, message.clone())?,
                    Target::Chained(next) => self.dispatch(next, to_input(message.clone()), outbox)?,
                }
            }
        }
        Ok(())
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
