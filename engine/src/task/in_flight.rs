//! What was on its way when a barrier overtook it.
//!
//! A task that has waited for long enough for a checkpoint's barrier takes its snapshot without it. What then still
//! comes on a channel in front of the barrier is handled as ever, and becomes part of the snapshot, too: a task that
//! is restored gets it again before anything else (Chandy and Lamport, 1985). It belongs to that channel, so it can
//! only be restored where there are the same channels.

use arrow::array::RecordBatch;
use tidemill_plans::ids::Barrier;
use tidemill_plans::time::Watermark;

use crate::error::{EngineError, Result};
use crate::state::{Belongs, StateReader, StateWriter};
use crate::task::Message;

/// What comes in front of a barrier that has been passed already.
pub(super) struct Overtaken {
    barrier: Barrier,
    /// For each channel, whether the barrier has not come yet.
    waits: Vec<bool>,
    in_flight: InFlight,
}

/// Messages by channel, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct InFlight {
    pub(super) channels: Vec<Vec<Message>>,
}

impl Overtaken {
    /// Channels in their order; those that wait are the ones on which the barrier has not come.
    pub(super) fn new(barrier: Barrier, waits: Vec<bool>) -> Self {
        let channels = vec![Vec::new(); waits.len()];
        Self { barrier, waits, in_flight: InFlight { channels } }
    }

    /// A message has come on a channel.
    pub(super) fn take(&mut self, channel: usize, message: &Message) {
        match message {
            Message::Barrier(barrier) if *barrier == self.barrier => self.waits[channel] = false,
            // Who sends on it has ended before the barrier, and says so again when it is restored.
            Message::End(_) => self.waits[channel] = false,
            Message::Batch(batch) if batch.num_rows() == 0 => {}
            Message::Barrier(_) => {}
            message if self.waits[channel] => self.in_flight.channels[channel].push(message.clone()),
            _ => {}
        }
    }

    /// Whether the barrier has come everywhere.
    pub(super) fn is_complete(&self) -> bool {
        !self.waits.contains(&true)
    }

    /// The barrier that has overtaken the rest.
    pub(super) fn barrier(&self) -> Barrier {
        self.barrier
    }

    pub(super) fn into_in_flight(self) -> InFlight {
        self.in_flight
    }
}

/// A message but for its rows, which are written as such.
#[derive(bincode::Encode, bincode::Decode)]
enum Entry {
    Batch,
    Watermark(Watermark),
    Idle,
    Active,
}

impl InFlight {
    /// How many messages there are.
    pub(super) fn len(&self) -> usize {
        self.channels.iter().map(Vec::len).sum()
    }

    /// Writes it behind the state of a task.
    pub(super) fn snapshot(&self, state: &mut StateWriter<'_>) -> Result<()> {
        let mut entries: Vec<Vec<Entry>> = Vec::with_capacity(self.channels.len());
        for (channel, messages) in self.channels.iter().enumerate() {
            let entry = |message: &Message| match message {
                Message::Batch(_) => Some(Entry::Batch),
                Message::Watermark(watermark) => Some(Entry::Watermark(*watermark)),
                Message::Idle => Some(Entry::Idle),
                Message::Active => Some(Entry::Active),
                // Nothing overtakes what comes from a source's driver, which is the one channel of its task.
                Message::CaughtUp | Message::Barrier(_) | Message::End(_) => None,
            };
            entries.push(messages.iter().filter_map(entry).collect());
            let batches = messages.iter().filter_map(|message| match message {
                Message::Batch(batch) => Some(batch.clone()),
                _ => None,
            });
            state.rows(&format!("rows_{channel}"), Belongs::Anywhere, batches);
        }
        state.value("messages", &entries)
    }

    /// What a task had in flight.
    pub(super) fn restore(state: &StateReader<'_>) -> Result<Self> {
        let written: Vec<Vec<Vec<Entry>>> = state.values("messages")?;
        if state.is_rescaled() && written.iter().flatten().any(|messages| !messages.is_empty()) {
            let reason = "barriers have overtaken rows in this checkpoint, which cannot be dealt out to another number of \
                          instances; go back to the parallelism that the job had";
            return Err(EngineError::State(String::from(reason)));
        }
        let mut channels = Vec::new();
        for (channel, entries) in written.into_iter().next().unwrap_or_default().into_iter().enumerate() {
            let mut batches = state.rows(&format!("rows_{channel}"))?.into_iter();
            channels.push(entries.into_iter().filter_map(|entry| entry.message(&mut batches)).collect());
        }
        Ok(Self { channels })
    }
}

impl Entry {
    fn message(self, batches: &mut impl Iterator<Item = RecordBatch>) -> Option<Message> {
        Some(match self {
            Self::Batch => Message::Batch(batches.next()?),
            Self::Watermark(watermark) => Message::Watermark(watermark),
            Self::Idle => Message::Idle,
            Self::Active => Message::Active,
        })
    }
}
