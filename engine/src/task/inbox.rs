//! A task's input channels, seen as one stream: watermarks merged, barriers aligned, ends counted.
//!
//! A watermark of a port is the minimum over its channels that are not idle, and never goes back. When
//! the last one goes idle, it moves up to the furthest that an idle one has promised, as in Flink, and
//! stands: so it does not matter who went idle first. A port all of whose channels are idle goes with
//! the others: an operator with two inputs waits for neither. A channel that comes back holds time up
//! again from where it is by then; its rows behind that are late.
//!
//! A barrier is delivered once it has come on every channel that has not ended; until then the channels where it
//! has come are not read (aligned checkpoints, Carbone et al. 2015). A channel that has ended takes
//! no part in alignment, so a finished input cannot hold checkpoints up. An epoch that was given up may
//! have come on some channels and never comes on the others: the next epoch's barrier takes its place.
//!
//! Ports are read in turn, by bytes (`turns.rs`), and so are the channels of a port.
//!
//! A barrier of a checkpoint that has waited for long enough is delivered before it has come everywhere, and what
//! comes in front of it since is noted (`in_flight.rs`).

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_plans::ids::Barrier;
use tidemill_plans::time::Watermark;

use crate::clock;
use crate::error::{EngineError, Result};
use crate::task::in_flight::{InFlight, Overtaken};
use crate::task::turns::Turns;
use crate::task::{EndReason, Gone, Message, Receiver};

/// What the inbox delivers to the stage's head.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Rows on a port.
    Batch(usize, RecordBatch),
    /// The watermark of at least one port has moved.
    Watermarks(PortWatermarks),
    /// No channel has rows for the time being.
    Idle,
    /// Some channel has rows again.
    Active,
    /// All that a source had when its job began has been delivered.
    CaughtUp,
    /// A barrier, aligned over all channels.
    Barrier(Barrier),
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

    /// The watermarks of all ports, port 0 first.
    pub fn iter(&self) -> impl Iterator<Item = Watermark> {
        self.0.iter().copied()
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
    /// Whether all channels that have not ended are idle, as was delivered.
    idle: bool,
    /// What a message has brought and was not delivered yet, in order.
    ready: VecDeque<Input>,
    /// The newest barrier that has come; older ones have been given up.
    newest: Barrier,
    /// The last one that was delivered.
    delivered: Barrier,
    /// When the newest barrier came first, and how long it then took until it had come everywhere; in nanoseconds
    /// of the monotonic clock. For metrics.
    aligning_since: u64,
    alignment_ns: u64,
    /// For how long a barrier that may overtake waits.
    overtakes_after: Option<Duration>,
    /// What the last barrier overtakes.
    overtaken: Option<Overtaken>,
    /// Where the next look begins, so that no channel starves another of its port.
    next: usize,
    turns: Turns,
    reason: EndReason,
    ended: bool,
}

/// How far a port is by its own channels, and whether they are idle.
struct PortTime {
    watermark: Watermark,
    idle: bool,
}

struct Channel {
    name: String,
    port: usize,
    receiver: Receiver,
    watermark: Watermark,
    idle: bool,
    /// The barrier that has come here and not yet everywhere.
    barrier: Option<Barrier>,
    ended: bool,
    /// What was in flight when the task was last written.
    again: VecDeque<Message>,
}

impl Channel {
    /// Whether it is only for now that it has none.
    fn may_bring_rows(&self) -> bool {
        !self.ended && !self.idle && self.barrier.is_none()
    }
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
                idle: false,
                barrier: None,
                ended: false,
                again: VecDeque::new(),
            })
            .collect();
        Self {
            channels,
            watermarks: vec![Watermark::MIN; ports],
            idle: false,
            ready: VecDeque::new(),
            newest: Barrier::default(),
            delivered: Barrier::default(),
            aligning_since: 0,
            alignment_ns: 0,
            overtakes_after: None,
            overtaken: None,
            next: 0,
            turns: Turns::new(ports),
            reason: EndReason::Finished,
            ended: false,
        }
    }

    /// Lets barriers overtake that have waited for so long.
    #[must_use]
    pub fn overtaking_after(self, overtakes_after: Option<Duration>) -> Self {
        Self { overtakes_after, ..self }
    }

    /// Goes on from the watermarks that the ports had: what is behind them has been delivered. What was in flight
    /// comes first.
    pub(super) fn restore(&mut self, watermarks: &[Watermark], in_flight: InFlight) {
        for (known, before) in self.watermarks.iter_mut().zip(watermarks) {
            *known = *before;
        }
        for (channel, messages) in self.channels.iter_mut().zip(in_flight.channels) {
            channel.again = messages.into();
        }
    }

    /// Whether the last barrier has come everywhere.
    pub(super) fn is_aligned(&self) -> bool {
        self.overtaken.is_none()
    }

    /// What the last barrier has overtaken, once it has come everywhere.
    pub(super) fn take_in_flight(&mut self) -> Option<(Barrier, InFlight)> {
        let overtaken = self.overtaken.take_if(|overtaken| overtaken.is_complete())?;
        Some((overtaken.barrier(), overtaken.into_in_flight()))
    }

    /// For how long the barrier that has come first may still wait; `None` if none waits, or for ever.
    fn alignment_left(&self) -> Option<Duration> {
        let is_waiting = self.newest > self.delivered && self.newest.may_overtake;
        let limit = self.overtakes_after.filter(|_| is_waiting)?;
        let waited = Duration::from_nanos(clock::monotonic_ns().saturating_sub(self.aligning_since));
        Some(limit.saturating_sub(waited))
    }

    /// When [`Self::poll`] may have something though nothing has come; `None` if it cannot.
    pub(super) fn wait_left(&self) -> Option<Duration> {
        let turns = self.turns.wait_left(clock::monotonic_ns());
        self.alignment_left().into_iter().chain(turns).min()
    }

    /// For how many microseconds channels waited for the last barrier that was delivered.
    #[must_use]
    pub fn alignment_us(&self) -> u64 {
        self.alignment_ns / 1000
    }

    /// The next input; pending when no channel that may be read has a message.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Input>> {
        if let Some(input) = self.ready.pop_front() {
            return Poll::Ready(Ok(input));
        }
        // A message may deliver nothing yet change what may be read (a barrier that completes), so
        // this goes on until there is none.
        loop {
            if self.alignment_left().is_some_and(|left| left.is_zero()) {
                return Poll::Ready(Ok(self.overtake()));
            }
            let Some((index, message)) = self.next_message(cx)? else {
                return self.take_end().map_or(Poll::Pending, |end| Poll::Ready(Ok(end)));
            };
            if let Some(input) = self.take(index, message) {
                return Poll::Ready(Ok(input));
            }
        }
    }

    /// The next message, and the channel that it came on; none while there is none, or others have to come first.
    fn next_message(&mut self, cx: &mut Context<'_>) -> Result<Option<(usize, Message)>> {
        let mut is_one_awaited = false;
        for port in self.turns.order() {
            if is_one_awaited && self.turns.must_wait(port, clock::monotonic_ns()) {
                return Ok(None);
            }
            if let Some((index, message)) = self.next_of_port(port, cx)? {
                self.turns.note(port, message.size());
                return Ok(Some((index, message)));
            }
            is_one_awaited |= self.channels.iter().any(|channel| channel.port == port && channel.may_bring_rows());
        }
        self.turns.note_none_waits();
        Ok(None)
    }

    fn next_of_port(&mut self, port: usize, cx: &mut Context<'_>) -> Result<Option<(usize, Message)>> {
        for at in 0..self.channels.len() {
            let index = (self.next + at) % self.channels.len();
            let channel = &mut self.channels[index];
            if channel.port != port || channel.ended || channel.barrier.is_some() {
                continue;
            }
            let again = channel.again.pop_front();
            match again.map_or_else(|| channel.receiver.poll_recv(cx), |message| Poll::Ready(Ok(message))) {
                Poll::Pending => {}
                Poll::Ready(Err(Gone)) => return Err(EngineError::Disconnected(channel.name.clone())),
                Poll::Ready(Ok(message)) => {
                    self.next = (index + 1) % self.channels.len();
                    return Ok(Some((index, message)));
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, index: usize, message: Message) -> Option<Input> {
        if let Some(overtaken) = &mut self.overtaken {
            overtaken.take(index, &message);
        }
        let channel = &mut self.channels[index];
        match message {
            Message::Batch(batch) => Some(Input::Batch(channel.port, batch)),
            Message::Watermark(watermark) => {
                channel.watermark = channel.watermark.max(watermark);
                self.deliver_time()
            }
            Message::Idle | Message::Active => {
                channel.idle = matches!(message, Message::Idle);
                self.deliver_time()
            }
            Message::CaughtUp => Some(Input::CaughtUp),
            Message::Barrier(barrier) => self.take_barrier(index, barrier),
            Message::End(reason) => {
                channel.ended = true;
                self.reason = self.reason.max(reason);
                if reason == EndReason::Finished {
                    channel.watermark = Watermark::MAX;
                }
                // An end can complete a barrier that the others wait for. The watermark it brings
                // belongs behind that barrier.
                let barrier = self.aligned();
                self.ready.extend(barrier);
                self.deliver_time()
            }
        }
    }

    /// Delivers how far time has moved, and then whether anybody still moves it.
    fn deliver_time(&mut self) -> Option<Input> {
        let moved = self.merge_watermarks();
        self.ready.extend(moved);
        let open = || self.channels.iter().filter(|channel| !channel.ended);
        let idle = open().all(|channel| channel.idle);
        // With the last channel's end comes the end, and nobody asks any more.
        if idle != self.idle && open().next().is_some() {
            self.idle = idle;
            self.ready.push_back(if idle { Input::Idle } else { Input::Active });
        }
        self.ready.pop_front()
    }

    fn merge_watermarks(&mut self) -> Option<Input> {
        let ports: Vec<PortTime> = (0..self.watermarks.len()).map(|port| self.port_time(port)).collect();
        let active = ports.iter().filter(|port| !port.idle).map(|port| port.watermark).min();
        let pace = active.or_else(|| ports.iter().map(|port| port.watermark).max());
        let mut moved = false;
        for (known, port) in self.watermarks.iter_mut().zip(ports) {
            // An end somewhere else is no end of an idle port.
            let others = pace.filter(|pace| port.idle && !pace.is_end()).unwrap_or(Watermark::MIN);
            let merged = port.watermark.max(others);
            if merged > *known {
                *known = merged;
                moved = true;
            }
        }
        moved.then(|| Input::Watermarks(PortWatermarks(self.watermarks.clone())))
    }

    /// How far a port's own channels take it.
    fn port_time(&self, port: usize) -> PortTime {
        let channels = || self.channels.iter().filter(move |channel| channel.port == port);
        let idle = channels().filter(|channel| !channel.ended && channel.idle).map(|channel| channel.watermark);
        let is_idle = channels().any(|channel| !channel.ended) && channels().all(|c| c.ended || c.idle);
        let others = channels().filter(|channel| channel.ended || !channel.idle).map(|channel| channel.watermark);
        let others = others.min();
        let watermark = if is_idle {
            // What has ended well is at infinity, which is nobody's time; what was stopped stands.
            idle.max().into_iter().chain(others).min()
        } else {
            others
        };
        PortTime { watermark: watermark.unwrap_or(Watermark::MIN), idle: is_idle }
    }

    /// Blocks a channel until the others have the barrier too. A newer epoch means that the one before
    /// was given up: channels that wait for it are read on. An older one is no barrier any more.
    fn take_barrier(&mut self, index: usize, barrier: Barrier) -> Option<Input> {
        if barrier < self.newest || barrier <= self.delivered {
            return None;
        }
        if barrier > self.newest {
            // What an older one has overtaken belongs to no checkpoint.
            self.overtaken = None;
            self.newest = barrier;
            self.aligning_since = clock::monotonic_ns();
            self.unblock();
        }
        self.channels[index].barrier = Some(barrier);
        self.aligned()
    }

    /// Delivers the newest barrier before it has come everywhere.
    fn overtake(&mut self) -> Input {
        let waits = self.channels.iter().map(|channel| !channel.ended && channel.barrier.is_none()).collect();
        self.overtaken = Some(Overtaken::new(self.newest, waits));
        self.deliver_barrier(self.newest)
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
        debug_assert_eq!(first, self.newest, "channels wait for the newest barrier only");
        if !open.all(|channel| channel.barrier == Some(first)) {
            return None;
        }
        Some(self.deliver_barrier(first))
    }

    fn deliver_barrier(&mut self, barrier: Barrier) -> Input {
        self.unblock();
        self.delivered = barrier;
        self.alignment_ns = clock::monotonic_ns().saturating_sub(self.aligning_since);
        Input::Barrier(barrier)
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
