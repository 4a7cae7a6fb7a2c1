//! A task's outgoing edges: which channel each row goes to, and what waits for room.
//!
//! Messages queue here when a channel is full. The task does nothing until they are gone, so what queues is one batch
//! in its parts, or one signal, for each edge, and back-pressure reaches the source.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use tidemill_plans::graph::Partitioning;
use tidemill_plans::key_group::{key_groups, owner};

use crate::error::{EngineError, Result};
use crate::task::{Message, Sender};

/// One outgoing edge of a task: how rows are spread over its channels.
pub struct OutEdge {
    partitioning: Partitioning,
    senders: Vec<Sender>,
    /// Whose turn it is when batches are dealt out in turn.
    turn: usize,
    hashes: Vec<u64>,
}

impl OutEdge {
    /// An edge over channels in the order of the receiving subtasks; `subtask` is the sender's own.
    #[must_use]
    pub fn new(partitioning: Partitioning, senders: Vec<Sender>, subtask: u32) -> Self {
        debug_assert!(!senders.is_empty(), "an edge leads somewhere");
        // Senders start at different receivers, so that the first batches do not all go to one.
        Self { partitioning, turn: subtask as usize % senders.len().max(1), senders, hashes: Vec::new() }
    }

    /// Which channel each part of a batch goes to.
    fn route(&mut self, batch: RecordBatch, out: &mut Vec<(usize, RecordBatch)>) -> Result<()> {
        if self.senders.len() == 1 {
            out.push((0, batch));
            return Ok(());
        }
        match &self.partitioning {
            Partitioning::Forward | Partitioning::First => out.push((0, batch)),
            Partitioning::Rebalance => {
                out.push((self.turn, batch));
                self.turn = (self.turn + 1) % self.senders.len();
            }
            Partitioning::Broadcast => out.extend((0..self.senders.len()).map(|to| (to, batch.clone()))),
            Partitioning::Hash(keys) => {
                let columns: Vec<ArrayRef> = keys.iter().map(|key| ArrayRef::clone(batch.column(*key))).collect();
                key_groups(&columns, &mut self.hashes)?;
                partition(&batch, &self.hashes, self.senders.len(), out)?;
            }
        }
        Ok(())
    }
}

/// Splits a batch by the owner of each row's key group, keeping the rows' order.
///
/// A counting sort of row numbers, then one `take` over all columns; the parts are slices of it.
fn partition(
    batch: &RecordBatch,
    groups: &[u64],
    parallelism: usize,
    out: &mut Vec<(usize, RecordBatch)>,
) -> Result<()> {
    let owners: Vec<usize> = groups.iter().map(|group| owner(*group as u32, parallelism as u32) as usize).collect();
    let mut ends = vec![0usize; parallelism + 1];
    for to in &owners {
        ends[to + 1] += 1;
    }
    for to in 0..parallelism {
        ends[to + 1] += ends[to];
    }
    let starts = ends.clone();
    let mut next = ends;
    let mut order = vec![0u32; owners.len()];
    for (row, to) in owners.iter().enumerate() {
        order[next[*to]] = row as u32;
        next[*to] += 1;
    }
    let sorted = take_record_batch(batch, &UInt32Array::from(order))?;
    for to in 0..parallelism {
        let rows = starts[to + 1] - starts[to];
        if rows > 0 {
            out.push((to, sorted.slice(starts[to], rows)));
        }
    }
    Ok(())
}

/// All outgoing edges of a task.
pub struct Outbox {
    edges: Vec<OutEdge>,
    waiting: VecDeque<(usize, usize, Message)>,
    parts: Vec<(usize, RecordBatch)>,
}

impl Outbox {
    /// An outbox over edges; an edge is named by its index.
    #[must_use]
    pub fn new(edges: Vec<OutEdge>) -> Self {
        Self { edges, waiting: VecDeque::new(), parts: Vec::new() }
    }

    /// Queues a message for an edge: a batch by its partitioning, all else to every channel.
    pub fn push(&mut self, edge: usize, message: Message) -> Result<()> {
        match message {
            Message::Batch(batch) => {
                let mut parts = std::mem::take(&mut self.parts);
                self.edges[edge].route(batch, &mut parts)?;
                for (channel, part) in parts.drain(..) {
                    self.waiting.push_back((edge, channel, Message::Batch(part)));
                }
                self.parts = parts;
            }
            signal => {
                for channel in 0..self.edges[edge].senders.len() {
                    self.waiting.push_back((edge, channel, signal.clone()));
                }
            }
        }
        Ok(())
    }

    /// Queues a signal for every channel of every edge.
    pub fn push_to_all(&mut self, signal: &Message) -> Result<()> {
        (0..self.edges.len()).try_for_each(|edge| self.push(edge, signal.clone()))
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends what waits, in order. Ready when nothing waits any more.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while let Some((edge, channel, _)) = self.waiting.front() {
            let sender = &self.edges[*edge].senders[*channel];
            match sender.poll_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(gone())),
                Poll::Ready(Ok(())) => {}
            }
            let Some((edge, channel, message)) = self.waiting.pop_front() else { break };
            if self.edges[edge].senders[channel].send(message).is_err() {
                return Poll::Ready(Err(gone()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn gone() -> EngineError {
    EngineError::Disconnected(String::from("a task downstream"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    #[test]
    fn hashing_keeps_every_row_once_in_order_and_a_key_on_one_side() {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]));
        let keys: Vec<i64> = (0..100).map(|i| i % 7).collect();
        let batch = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(keys))]).unwrap();
        let senders = (0..3).map(|_| crate::task::channel(1).0).collect();
        let mut edge = OutEdge::new(Partitioning::Hash(vec![0]), senders, 0);
        let mut parts = Vec::new();
        edge.route(batch, &mut parts).unwrap();
        assert_eq!(parts.iter().map(|(_, part)| part.num_rows()).sum::<usize>(), 100);
        for key in 0..7 {
            let homes =
                parts.iter().filter(|(_, part)| part.column(0).as_primitive::<Int64Type>().values().contains(&key));
            assert_eq!(homes.count(), 1);
        }
    }
}
