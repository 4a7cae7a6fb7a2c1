//! A task's input channels, seen as one stream: watermarks merged, barriers aligned, ends counted.
//!
//! A watermark of a port is the minimum over its channels, and never goes back. A barrier is
//! delivered once it has come on every channel that has not ended; until then the channels where it
//! has come are not read (aligned checkpoints, Carbone et al. 2015). A channel that has ended takes
//! no part in alignment, so a finished input cannot hold checkpoints up. An epoch that was given up may
//! have come on some channels and never comes on the others: the next epoch's barrier takes its place.

use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use tidemill_plans::ids::Epoch;
use tidemill_plans::time::Watermark;

use crate::error::{EngineError, Result};
use crate::task::{EndReason, Gone, Message, Receiver};

/// What the inbox delivers to the stage's head.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Rows on a port.
    Batch(usize, RecordBatch),
    /// The watermark of at least one port has moved.
    Watermarks(PortWatermarks),
    /// A barrier, aligned over all channels.
    Barrier(Epoch),
    /// Every channel has ended; the worst reason.
    End(EndReason),
}

/// The watermark of each port of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortWatermarks(Vec<Watermark>);

impl PortWatermarks {
    /// For operators with one input.
    #[must_use]
    pub fn single(watermark: Watermark) -> Self {
        Self(vec![watermark])
    }

    /// Of these ports, port 0 first.
    #[must_use]
    pub fn of(ports: Vec<Watermark>) -> Self {
        debug_assert!(!ports.is_empty(), "an operator has at least one port");
        Self(ports)
    }

    /// The watermark of a port.
    #[must_use]
    pub fn port(&self, port: usize) -> Watermark {
        self.0.get(port).copied().unwrap_or(Watermark::MIN)
    }

    /// The watermark of all ports together.
    #[must_use]
    pub fn min(&self) -> Watermark {
        self.0.iter().min().copied().unwrap_or(Watermark::MIN)
    }
}

/// The merged input of a task.
pub struct Inbox {
    channels: Vec<Channel>,
    watermarks: Vec<Watermark>,
    /// The newest epoch of which a barrier has come; older ones have been given up.
    newest: Epoch,
    /// The last epoch that was delivered.
    delivered: Epoch,
    /// Where the next look begins, so that no channel starves another.
    next: usize,
    reason: EndReason,
    ended: bool,
}

struct Channel {
    name: String,
    port: usize,
    receiver: Receiver,
    watermark: Watermark,
    /// The barrier that has come here and not yet everywhere.
    barrier: Option<Epoch>,
    ended: bool,
}

impl Inbox {
    /// An inbox over channels, each with its port and a name for errors.
    #[must_use]
    pub fn new(channels: Vec<(usize, String, Receiver)>) -> Self {
        let ports = channels.iter().map(|(port, ..)| port + 1).max().unwrap_or(1);
        let channels = channels
            .into_iter()
            .map(|(port, name, receiver)| Channel {
                name,
                port,
                receiver,
                watermark: Watermark::MIN,
                barrier: None,
                ended: false,
            })
            .collect();
        Self {
            channels,
            watermarks: vec![Watermark::MIN; ports],
            newest: Epoch::default(),
            delivered: Epoch::default(),
            next: 0,
            reason: EndReason::Finished,
            ended: false,
        }
    }

    /// The next input; pending when no channel that may be read has a message.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Input>> {
        // One pass may deliver nothing yet change what may be read (a barrier that completes), so
        // passes go on until one finds no message.
        loop {
            let mut progress = false;
            for _ in 0..self.channels.len() {
                let index = self.next;
                self.next = (self.next + 1) % self.channels.len();
                let channel = &mut self.channels[index];
                if channel.ended || channel.barrier.is_some() {
                    continue;
                }
                match channel.receiver.poll_recv(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Err(Gone)) => {
                        return Poll::Ready(Err(EngineError::Disconnected(channel.name.clone())));
                    }
                    Poll::Ready(Ok(message)) => {
                        progress = true;
                        if let Some(input) = self.take(index, message) {
                            return Poll::Ready(Ok(input));
                        }
                    }
                }
            }
            if let Some(end) = self.take_end() {
                return Poll::Ready(Ok(end));
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    fn take(&mut self, index: usize, message: Message) -> Option<Input> {
        let channel = &mut self.channels[index];
        match message {
            Message::Batch(batch) => Some(Input::Batch(channel.port, batch)),
            Message::Watermark(watermark) => {
                channel.watermark = channel.watermark.max(watermark);
                self.merge_watermarks()
            }
            Message::Barrier(epoch) => self.take_barrier(index, epoch),
            Message::End(reason) => {
                channel.ended = true;
                self.reason = self.reason.max(reason);
                if reason == EndReason::Finished {
                    channel.watermark = Watermark::MAX;
                }
                // An end can complete a barrier that the others wait for. The watermark it brings
                // belongs behind that barrier, and is found again by the next merge.
                self.aligned().or_else(|| self.merge_watermarks())
            }
        }
    }

    fn merge_watermarks(&mut self) -> Option<Input> {
        let mut moved = false;
        for (port, known) in self.watermarks.iter_mut().enumerate() {
            let channels = self.channels.iter().filter(|channel| channel.port == port);
            let merged = channels.map(|channel| channel.watermark).min().unwrap_or(Watermark::MIN);
            if merged > *known {
                *known = merged;
                moved = true;
            }
        }
        moved.then(|| Input::Watermarks(PortWatermarks(self.watermarks.clone())))
    }

    /// Blocks a channel until the others have the barrier too. A newer epoch means that the one before
    /// was given up: channels that wait for it are read on. An older one is no barrier any more.
    fn take_barrier(&mut self, index: usize, epoch: Epoch) -> Option<Input> {
        if epoch < self.newest || epoch <= self.delivered {
            return None;
        }
        if epoch > self.newest {
            self.newest = epoch;
            self.unblock();
        }
        self.channels[index].barrier = Some(epoch);
        self.aligned()
    }

    fn unblock(&mut self) {
        for channel in &mut self.channels {
            channel.barrier = None;
        }
    }

    /// The barrier, once every channel that has not ended has it; unblocks them all.
    fn aligned(&mut self) -> Option<Input> {
        let mut open = self.channels.iter().filter(|channel| !channel.ended);
        let first = open.next()?.barrier?;
        debug_assert_eq!(first, self.newest, "channels wait for the newest epoch only");
        if !open.all(|channel| channel.barrier == Some(first)) {
            return None;
        }
        self.unblock();
        self.delivered = first;
        Some(Input::Barrier(first))
    }

    fn take_end(&mut self) -> Option<Input> {
        if self.ended || !self.channels.iter().all(|channel| channel.ended) {
            return None;
        }
        // A watermark that an end has brought and that was not delivered yet comes first.
        if let Some(watermarks) = self.merge_watermarks() {
            return Some(watermarks);
        }
        self.ended = true;
        Some(Input::End(self.reason))
    }
}

#[cfg(test)]
mod tests;
