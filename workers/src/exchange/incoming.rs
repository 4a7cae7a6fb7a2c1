//! The receiving end of a connection: puts frames into the tasks' queues and returns credit.
//!
//! It is the response stream of a `DoExchange` call, and polling it reads the request stream: so the
//! call's own task does all the work, and when the peer dies the stream is dropped, and with it the
//! queues' senders: the tasks learn of it without any other message. It never waits for a queue,
//! because frames only come for credit; so one slow channel does not hold up the others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use futures::{Stream, StreamExt};
use tidemill_engine::task::{Message, Sender};
use tidemill_plans::ids::{ChannelId, RunId};
use tonic::Status;
use tracing::{debug, warn};

use crate::error::{Result, WorkersError};
use crate::exchange::ExchangeFailures;
use crate::exchange::batch_codec;
use crate::exchange::credit::Ledger;
use crate::exchange::frame::{FrameHeader, FrameKind};

/// Frames handled before other connections of the same thread get their turn.
const FRAMES_PER_POLL: usize = 32;

/// A channel that a task here receives.
pub(crate) struct Incoming {
    /// The columns of its batches.
    pub(crate) schema: SchemaRef,
    /// The queue to the task. Its own bound is nothing: credit is the bound.
    pub(crate) sender: Sender,
    /// The credit that its sender gets at the start, in bytes.
    pub(crate) granted: u64,
}

/// The channels that wait for their sender to open them.
#[derive(Default)]
pub(crate) struct Registry {
    waiting: Mutex<HashMap<ChannelId, Incoming>>,
}

impl Registry {
    /// Adds a channel.
    pub(crate) fn add(&self, id: ChannelId, channel: Incoming) {
        self.lock().insert(id, channel);
    }

    /// Forgets the channels of a job that were never opened.
    pub(crate) fn release(&self, job: RunId) {
        self.lock().retain(|id, _| id.run != job);
    }

    fn take(&self, id: ChannelId) -> Option<Incoming> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChannelId, Incoming>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future that is ready when the exchange closes.
pub(crate) type Closed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One connection's frames in, replies out.
pub(crate) struct IncomingLink<S> {
    frames: S,
    peer: String,
    registry: Arc<Registry>,
    failures: Arc<dyn ExchangeFailures>,
    closed: Closed,
    channels: HashMap<ChannelId, OpenChannel>,
    /// Channels whose sender has no credit left: their queues must be watched.
    exhausted: Vec<ChannelId>,
    /// Channels that were refused, until their last frame: people and the peer are told once.
    rejected: HashSet<ChannelId>,
    replies: VecDeque<FlightData>,
}

struct OpenChannel {
    schema: SchemaRef,
    sender: Sender,
    ledger: Ledger,
    sequence: u64,
}

/// What became of a frame.
enum Taken {
    Queued,
    Ended,
    TaskGone,
}

impl<S> IncomingLink<S>
where
    S: Stream<Item = Result<FlightData, Status>> + Unpin,
{
    /// A connection from `peer`.
    pub(crate) fn new(
        frames: S,
        peer: String,
        registry: Arc<Registry>,
        failures: Arc<dyn ExchangeFailures>,
        closed: Closed,
    ) -> Self {
        Self {
            frames,
            peer,
            registry,
            failures,
            closed,
            channels: HashMap::new(),
            exhausted: Vec::new(),
            rejected: HashSet::new(),
            replies: VecDeque::new(),
        }
    }

    fn take(&mut self, frame: FlightData, cx: &mut Context<'_>) -> Result<()> {
        let header = FrameHeader::of(&frame, &self.peer)?;
        let id = header.channel;
        let is_last = matches!(header.kind, FrameKind::End(_) | FrameKind::Close);
        let taken = match header.kind {
            FrameKind::Open => self.open(id),
            FrameKind::Close => {
                self.channels.remove(&id);
                Ok(())
            }
            _ => self.deliver(header, frame, cx),
        };
        if is_last {
            self.rejected.remove(&id);
        }
        taken
    }

    fn open(&mut self, id: ChannelId) -> Result<()> {
        let Some(channel) = self.registry.take(id) else {
            return self.reject(id, &WorkersError::UnknownChannel(id));
        };
        let Incoming { schema, sender, granted } = channel;
        let ledger = Ledger::new(granted);
        let bytes = ledger.granted();
        // The sender's Open was number 0.
        self.channels.insert(id, OpenChannel { schema, sender, ledger, sequence: 1 });
        self.reply(id, FrameKind::Credit { bytes })
    }

    fn deliver(&mut self, header: FrameHeader, frame: FlightData, cx: &mut Context<'_>) -> Result<()> {
        let id = header.channel;
        let Some(channel) = self.channels.get_mut(&id) else {
            return self.reject(id, &WorkersError::UnknownChannel(id));
        };
        match channel.take(header, frame) {
            Ok(Taken::Queued) => self.return_credit(id, cx),
            Ok(Taken::Ended) => {
                self.channels.remove(&id);
                Ok(())
            }
            Ok(Taken::TaskGone) => {
                self.channels.remove(&id);
                self.rejected.insert(id);
                // Its job is being cancelled, or it has failed and said why: no news for anybody here.
                self.reply(id, FrameKind::Reject { reason: String::from("the receiving task is gone") })
            }
            Err(error) => {
                // Reported before the queue's sender goes: the task would only say that it is gone.
                self.failures.channel_failed(id, &error);
                self.channels.remove(&id);
                self.reject(id, &error)
            }
        }
    }

    fn reject(&mut self, id: ChannelId, error: &WorkersError) -> Result<()> {
        if !self.rejected.insert(id) {
            // Frames that were on their way when the channel was refused.
            return Ok(());
        }
        warn!(channel = %id, peer = self.peer, error = error.chain(), "channel refused");
        self.reply(id, FrameKind::Reject { reason: error.chain() })
    }

    fn reply(&mut self, id: ChannelId, kind: FrameKind) -> Result<()> {
        self.replies.push_back(FrameHeader::reply(id, kind).to_frame()?);
        Ok(())
    }

    /// Returns what a channel's task has taken, and watches its queue if no frame would remind us.
    fn return_credit(&mut self, id: ChannelId, cx: &mut Context<'_>) -> Result<()> {
        let Some(channel) = self.channels.get_mut(&id) else { return Ok(()) };
        let mut bytes = channel.settle();
        if bytes.is_none() && channel.ledger.is_exhausted() {
            // The waker first, then another look: the task may take a message in between.
            let _ = channel.sender.poll_ready(cx);
            bytes = channel.settle();
        }
        if channel.ledger.is_exhausted() && !self.exhausted.contains(&id) {
            self.exhausted.push(id);
        }
        match bytes {
            Some(bytes) => self.reply(id, FrameKind::Credit { bytes }),
            None => Ok(()),
        }
    }

    fn look_at_exhausted(&mut self, cx: &mut Context<'_>) -> Result<()> {
        for id in std::mem::take(&mut self.exhausted) {
            self.return_credit(id, cx)?;
        }
        Ok(())
    }

    fn poll_replies(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<FlightData>, Status>> {
        self.look_at_exhausted(cx).map_err(|error| self.fail(&error))?;
        for _ in 0..FRAMES_PER_POLL {
            if let Some(reply) = self.replies.pop_front() {
                return Poll::Ready(Ok(Some(reply)));
            }
            match self.frames.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Ready(Some(Err(status))) => {
                    debug!(peer = self.peer, %status, "connection lost");
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Some(Ok(frame))) => self.take(frame, cx).map_err(|error| self.fail(&error))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// An error that no single channel can be blamed for ends them all.
    fn fail(&mut self, error: &WorkersError) -> Status {
        for id in self.channels.keys() {
            self.failures.channel_failed(*id, error);
        }
        self.channels.clear();
        Status::invalid_argument(error.chain())
    }
}

impl OpenChannel {
    fn take(&mut self, header: FrameHeader, frame: FlightData) -> Result<Taken> {
        let channel = header.channel;
        if header.sequence != self.sequence {
            return Err(WorkersError::Sequence { channel, expected: self.sequence, found: header.sequence });
        }
        self.sequence += 1;
        let (message, counted) = match header.kind {
            FrameKind::Batch { size } => (Message::Batch(batch_codec::decode(channel, &self.schema, frame)?), size),
            FrameKind::Watermark(watermark) => signal(Message::Watermark(watermark)),
            FrameKind::Idle => signal(Message::Idle),
            FrameKind::Active => signal(Message::Active),
            FrameKind::Barrier(epoch) => signal(Message::Barrier(epoch)),
            FrameKind::End(kind) => signal(Message::End(kind.into())),
            FrameKind::Open | FrameKind::Close | FrameKind::Credit { .. } | FrameKind::Reject { .. } => {
                let reason = String::from("a frame that receivers do not take");
                return Err(WorkersError::Schema { channel, reason });
            }
        };
        let ended = matches!(message, Message::End(_));
        let local = message.size();
        Ok(match self.sender.send(message) {
            Err(_) => Taken::TaskGone,
            Ok(()) if ended => Taken::Ended,
            Ok(()) => {
                self.ledger.received(local, counted);
                Taken::Queued
            }
        })
    }

    fn settle(&mut self) -> Option<u64> {
        self.ledger.settle(self.sender.queued_bytes());
        self.ledger.take_return()
    }
}

/// A message that is not a batch: both ends count it the same.
fn signal(message: Message) -> (Message, u64) {
    let counted = message.size() as u64;
    (message, counted)
}

impl<S> Stream for IncomingLink<S>
where
    S: Stream<Item = Result<FlightData, Status>> + Unpin,
{
    type Item = Result<FlightData, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        this.poll_replies(cx).map(Result::transpose)
    }
}

impl<S> Drop for IncomingLink<S> {
    fn drop(&mut self) {
        for id in self.channels.keys() {
            let reason = String::from("the connection ended");
            let error = WorkersError::ChannelLost { channel: *id, peer: self.peer.clone(), reason };
            self.failures.channel_failed(*id, &error);
        }
    }
}

#[cfg(test)]
mod tests;
