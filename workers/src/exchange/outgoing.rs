//! The sending end of a connection: takes messages from the tasks' queues, in turn, as credit allows.
//!
//! It is the request stream of a `DoExchange` call. A channel without credit is not looked at, so its
//! queue fills up and its task waits, while the other channels go on. Nothing is held back to make
//! larger frames: what a task emits leaves at once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use futures::Stream;
use tidemill_engine::task::{Message, Receiver, batch_bytes};
use tidemill_plans::ids::{ChannelId, RunId};
use tokio::sync::mpsc;

use crate::error::{Result, WorkersError};
use crate::exchange::ExchangeFailures;
use crate::exchange::batch_codec::{self, BatchEncoder};
use crate::exchange::credit::Credit;
use crate::exchange::frame::{FrameHeader, FrameKind};

/// A channel that a task here sends on.
pub(crate) struct Outgoing {
    /// The channel.
    pub(crate) id: ChannelId,
    /// The columns of its batches.
    pub(crate) schema: SchemaRef,
    /// The queue from the task.
    pub(crate) receiver: Receiver,
}

/// What a connection is told.
pub(crate) enum LinkCommand {
    /// Start a channel.
    Open(Outgoing),
    /// Drop the channels of a job.
    Release(RunId),
    /// The receiver returned credit, in bytes.
    Credit(ChannelId, u64),
    /// The receiver refuses a channel.
    Reject(ChannelId, String),
    /// The connection is gone.
    Lost(String),
}

/// One connection's frames.
pub(crate) struct OutgoingLink {
    commands: mpsc::Receiver<LinkCommand>,
    peer: String,
    failures: Arc<dyn ExchangeFailures>,
    channels: Vec<OpenChannel>,
    /// Which channel is looked at first: it moves on, so that no channel starves another.
    next: usize,
    /// Frames that need no credit.
    notices: VecDeque<FlightData>,
    encoder: BatchEncoder,
    lost: bool,
}

struct OpenChannel {
    id: ChannelId,
    schema: SchemaRef,
    receiver: Receiver,
    credit: Credit,
    sequence: u64,
    /// The rest of a batch that was cut.
    parts: VecDeque<RecordBatch>,
}

/// What a channel has to send.
enum Next {
    Nothing,
    Frame(FlightData),
    Last(FlightData),
    Closed,
}

impl OutgoingLink {
    /// A connection to `peer` without channels.
    pub(crate) fn new(
        commands: mpsc::Receiver<LinkCommand>,
        peer: String,
        failures: Arc<dyn ExchangeFailures>,
    ) -> Self {
        Self {
            commands,
            peer,
            failures,
            channels: Vec::new(),
            next: 0,
            notices: VecDeque::new(),
            encoder: BatchEncoder::default(),
            lost: false,
        }
    }

    fn obey(&mut self, command: LinkCommand) -> Result<()> {
        match command {
            LinkCommand::Open(Outgoing { id, schema, receiver }) => {
                self.notices.push_back(FrameHeader { channel: id, sequence: 0, kind: FrameKind::Open }.to_frame()?);
                let credit = Credit::default();
                self.channels.push(OpenChannel { id, schema, receiver, credit, sequence: 1, parts: VecDeque::new() });
            }
            LinkCommand::Release(job) => {
                let ids: Vec<ChannelId> = self.channels.iter().map(|channel| channel.id).collect();
                for id in ids.into_iter().filter(|id| id.run == job) {
                    self.close(id)?;
                }
            }
            LinkCommand::Credit(id, bytes) => {
                if let Some(channel) = self.channels.iter_mut().find(|channel| channel.id == id) {
                    channel.credit.grant(bytes);
                }
            }
            LinkCommand::Reject(id, reason) => {
                let error = WorkersError::Rejected { channel: id, peer: self.peer.clone(), reason };
                self.fail(id, &error)?;
            }
            LinkCommand::Lost(reason) => {
                for channel in std::mem::take(&mut self.channels) {
                    self.failures.channel_failed(channel.id, &lost(channel.id, &self.peer, reason.clone()));
                }
                self.lost = true;
            }
        }
        Ok(())
    }

    /// Drops a channel and tells the receiver, whose task then learns that its input is gone.
    fn close(&mut self, id: ChannelId) -> Result<()> {
        if let Some(index) = self.channels.iter().position(|channel| channel.id == id) {
            self.channels.remove(index);
            self.notices.push_back(FrameHeader::reply(id, FrameKind::Close).to_frame()?);
        }
        Ok(())
    }

    fn fail(&mut self, id: ChannelId, error: &WorkersError) -> Result<()> {
        if self.channels.iter().any(|channel| channel.id == id) {
            self.failures.channel_failed(id, error);
        }
        self.close(id)
    }

    /// The next frame of the channel whose turn it is.
    fn poll_channels(&mut self, cx: &mut Context<'_>) -> Result<Option<FlightData>> {
        for _ in 0..self.channels.len() {
            self.next %= self.channels.len().max(1);
            let channel = &mut self.channels[self.next];
            let id = channel.id;
            match channel.poll_next(&mut self.encoder, cx) {
                Ok(Next::Nothing) => self.next += 1,
                Ok(Next::Frame(frame)) => {
                    self.next += 1;
                    return Ok(Some(frame));
                }
                Ok(Next::Last(frame)) => {
                    self.channels.remove(self.next);
                    return Ok(Some(frame));
                }
                Ok(Next::Closed) => {
                    self.close(id)?;
                    return Ok(self.notices.pop_front());
                }
                Err(error) => {
                    self.fail(id, &error)?;
                    return Ok(self.notices.pop_front());
                }
            }
        }
        Ok(None)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Result<Poll<Option<FlightData>>> {
        while let Poll::Ready(command) = self.commands.poll_recv(cx) {
            let Some(command) = command else { return Ok(Poll::Ready(None)) };
            self.obey(command)?;
        }
        if self.lost {
            return Ok(Poll::Ready(None));
        }
        if let Some(notice) = self.notices.pop_front() {
            return Ok(Poll::Ready(Some(notice)));
        }
        Ok(self.poll_channels(cx)?.map_or(Poll::Pending, |frame| Poll::Ready(Some(frame))))
    }
}

impl OpenChannel {
    fn poll_next(&mut self, encoder: &mut BatchEncoder, cx: &mut Context<'_>) -> Result<Next> {
        if !self.credit.may_send() {
            return Ok(Next::Nothing);
        }
        if let Some(part) = self.parts.pop_front() {
            return self.batch_frame(encoder, &part).map(Next::Frame);
        }
        let message = match self.receiver.poll_recv(cx) {
            Poll::Pending => return Ok(Next::Nothing),
            Poll::Ready(Err(_)) => return Ok(Next::Closed),
            Poll::Ready(Ok(message)) => message,
        };
        let size = message.size() as u64;
        let kind = match message {
            Message::Batch(batch) => {
                self.parts.extend(batch_codec::split(&batch));
                let part = self.parts.pop_front().unwrap_or(batch);
                return self.batch_frame(encoder, &part).map(Next::Frame);
            }
            Message::Watermark(watermark) => FrameKind::Watermark(watermark),
            Message::Idle => FrameKind::Idle,
            Message::Active => FrameKind::Active,
            // Between a source's driver and its task, which are in one process.
            Message::CaughtUp => return self.poll_next(encoder, cx),
            Message::Barrier(epoch) => FrameKind::Barrier(epoch),
            Message::End(reason) => {
                return Ok(Next::Last(self.header(FrameKind::End(reason.into()), size).to_frame()?));
            }
        };
        Ok(Next::Frame(self.header(kind, size).to_frame()?))
    }

    fn batch_frame(&mut self, encoder: &mut BatchEncoder, batch: &RecordBatch) -> Result<FlightData> {
        let (head, body) = encoder.encode(self.id, &self.schema, batch)?;
        let size = batch_bytes(batch) as u64;
        self.header(FrameKind::Batch { size }, size).to_batch_frame(head, body)
    }

    /// The header of the next frame, which costs `size` bytes of credit.
    fn header(&mut self, kind: FrameKind, size: u64) -> FrameHeader {
        let sequence = self.sequence;
        self.sequence += 1;
        self.credit.spend(size);
        FrameHeader { channel: self.id, sequence, kind }
    }
}

fn lost(channel: ChannelId, peer: &str, reason: String) -> WorkersError {
    WorkersError::ChannelLost { channel, peer: String::from(peer), reason }
}

impl Stream for OutgoingLink {
    type Item = FlightData;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FlightData>> {
        let this = self.get_mut();
        match this.poll_frame(cx) {
            Ok(poll) => poll,
            // A header that cannot be encoded: no frame after it would be in order.
            Err(error) => {
                for channel in std::mem::take(&mut this.channels) {
                    this.failures.channel_failed(channel.id, &error);
                }
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for OutgoingLink {
    fn drop(&mut self) {
        for channel in &self.channels {
            let error = lost(channel.id, &self.peer, String::from("the connection ended"));
            self.failures.channel_failed(channel.id, &error);
        }
    }
}
