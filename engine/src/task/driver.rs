//! Drives a source on an I/O thread: reads batches, puts barriers between them, sends them on; says when
//! there are none, and waits for other sources.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam::channel::{Receiver as Commands, TryRecvError};
use tidemill_plans::ids::{Barrier, Epoch};
use tidemill_plans::node::SourceNode;
use tidemill_plans::pushed::LogNeed;
use tidemill_plans::time::Watermark;

use crate::clock;
use crate::connector::{Source, SourceEvent};
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::task::alignment::Member;
use crate::task::source_clock::{Now, SourceClock};
use crate::task::{EndReason, Message, Sender, TaskEnv, batch_bytes};

/// How long a driver waits for room before it looks at its commands again.
const COMMAND_POLL: Duration = Duration::from_millis(20);

/// How long it waits for slower sources before it looks again where they are.
const ALIGNMENT_POLL: Duration = Duration::from_millis(1);

/// What a running source can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverCommand {
    /// Put this barrier behind what has been read.
    Barrier(Barrier),
    /// End the stream here.
    Stop,
    /// Give up at once.
    Cancel,
}

/// How far a source had come at each barrier of a checkpoint that is on its way; shared by its driver, which
/// knows, and its task, which writes it down. A checkpoint or two are on their way at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Positions(Arc<Mutex<VecDeque<Position>>>);

/// What a source says of itself at the barrier of an epoch.
#[derive(Debug)]
pub(super) struct Position {
    epoch: Epoch,
    /// How far it has come.
    pub(super) place: Vec<u8>,
    /// What of a log it needs to come back there.
    pub(super) needs: Option<LogNeed>,
}

impl Positions {
    fn note(&self, position: Position) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(position);
    }

    /// The position at the barrier of `epoch`; those of earlier ones are forgotten.
    pub(super) fn at(&self, epoch: Epoch) -> Option<Position> {
        let mut positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while positions.front().is_some_and(|position| position.epoch < epoch) {
            positions.pop_front();
        }
        positions.pop_front_if(|position| position.epoch == epoch)
    }
}

/// A source and the channel to the task that works on its rows.
pub struct SourceDriver {
    source: Box<dyn Source>,
    sender: Sender,
    stats: Arc<OperatorStats>,
    clock: SourceClock,
    /// Its place among the sources that wait for each other.
    alignment: Option<Member>,
    positions: Positions,
    /// Commands that came while a batch waited for room; they are obeyed behind it.
    pending: VecDeque<DriverCommand>,
}

/// Whether the driver goes on after a command.
enum Next {
    Read,
    End(EndReason),
    Cancelled,
}

impl SourceDriver {
    /// A driver of `source`, which was opened for one subtask of `node`; `stats` are the subtask's.
    pub(crate) fn new(
        node: &SourceNode,
        source: Box<dyn Source>,
        sender: Sender,
        env: &TaskEnv,
        stats: &Arc<OperatorStats>,
    ) -> Result<Self> {
        let clock = SourceClock::new(node, Now::read())?;
        let alignment = env.alignment.join(node, env, stats)?;
        stats.set_backfilling(source.is_backfilling());
        let (stats, positions) = (Arc::clone(stats), Positions::default());
        Ok(Self { source, sender, stats, clock, alignment, positions, pending: VecDeque::new() })
    }

    /// Goes on where one like it was: this watermark has been emitted.
    pub(super) fn go_on_at(&mut self, watermark: Watermark) {
        self.clock.go_on_at(watermark);
    }

    /// Where the source's task learns how far the source had come at a barrier.
    pub(super) fn positions(&self) -> Positions {
        self.positions.clone()
    }

    /// Runs until the source ends or a command ends it. Blocks: for an I/O thread.
    pub fn run(mut self, commands: Commands<DriverCommand>) -> Result<()> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            let end = match self.obey(&commands) {
                Ok(Next::Read) if self.is_held_back() => {
                    thread::park_timeout(ALIGNMENT_POLL);
                    continue;
                }
                Ok(Next::Read) => match self.next_event()? {
                    SourceEvent::Batch(batch) => {
                        if !self.wait_for_room(&waker, &commands) {
                            return Ok(());
                        }
                        self.send_rows(batch)?;
                        self.send_due()?;
                        continue;
                    }
                    SourceEvent::Idle => {
                        self.send_due()?;
                        continue;
                    }
                    SourceEvent::CaughtUp => {
                        self.stats.set_backfilling(false);
                        self.send(Message::CaughtUp)?;
                        continue;
                    }
                    SourceEvent::End => EndReason::Finished,
                },
                Ok(Next::End(reason)) => reason,
                Ok(Next::Cancelled) => return Ok(()),
                Err(error) => return Err(error),
            };
            return self.send(Message::End(end));
        }
    }

    /// What the source says next. The time that rows took counts; that of waiting for some does not.
    fn next_event(&mut self) -> Result<SourceEvent> {
        let started = clock::monotonic_ns();
        let event = self.source.next_event()?;
        if let SourceEvent::Batch(_) = event {
            OperatorStats::add(&self.stats.busy_ns, clock::monotonic_ns().saturating_sub(started) as usize);
        }
        Ok(event)
    }

    /// Whether others must catch up first. Meanwhile nobody asks whether it has rows.
    fn is_held_back(&mut self) -> bool {
        let held_back = self.alignment.as_mut().is_some_and(Member::must_wait);
        if held_back {
            self.clock.note_held_back(Now::read());
        }
        held_back
    }

    fn send_rows(&mut self, batch: RecordBatch) -> Result<()> {
        let now = Now::read();
        if let Some(active) = self.clock.note_rows(now) {
            self.note_idle(&active);
            self.send(active)?;
        }
        if let Some(alignment) = &mut self.alignment {
            alignment.note_read(batch_bytes(&batch));
        }
        let batch = self.clock.stamp(batch, now)?;
        self.send(Message::Batch(batch))
    }

    /// Sends what the clock says, if it says anything. Who has not read all that was there is not idle, however long
    /// that takes: its rows are to be late for nobody.
    fn send_due(&mut self) -> Result<()> {
        let now = Now::read();
        if self.source.is_backfilling() {
            self.clock.note_held_back(now);
        }
        let Some(signal) = self.clock.due(now) else { return Ok(()) };
        self.note_idle(&signal);
        self.send(signal)
    }

    fn note_idle(&self, signal: &Message) {
        if let Some(alignment) = &self.alignment {
            alignment.set_idle(matches!(signal, Message::Idle));
        }
    }

    fn obey(&mut self, commands: &Commands<DriverCommand>) -> Result<Next> {
        loop {
            let command = self.pending.pop_front().map_or_else(|| commands.try_recv(), Ok);
            match command {
                Ok(DriverCommand::Barrier(barrier)) => self.send_barrier(barrier)?,
                Ok(DriverCommand::Stop) => return Ok(Next::End(EndReason::Stopped)),
                // Whoever held the other end is gone: so is the job.
                Ok(DriverCommand::Cancel) | Err(TryRecvError::Disconnected) => return Ok(Next::Cancelled),
                Err(TryRecvError::Empty) => return Ok(Next::Read),
            }
        }
    }

    /// Sends a barrier, and before a checkpoint's how far the source has come.
    fn send_barrier(&self, barrier: Barrier) -> Result<()> {
        if barrier.is_checkpoint {
            let (place, needs) = (self.source.position()?, self.source.needs());
            self.positions.note(Position { epoch: barrier.epoch, place, needs });
        }
        self.send(Message::Barrier(barrier))
    }

    /// Waits until the task takes more; false if the job was cancelled meanwhile. A stop or a barrier
    /// is put off: the batch in hand goes first.
    fn wait_for_room(&mut self, waker: &Waker, commands: &Commands<DriverCommand>) -> bool {
        let mut cx = Context::from_waker(waker);
        loop {
            match self.sender.poll_ready(&mut cx) {
                Poll::Ready(Ok(())) => return true,
                Poll::Ready(Err(_)) => return false,
                Poll::Pending => thread::park_timeout(COMMAND_POLL),
            }
            match commands.try_recv() {
                Ok(DriverCommand::Cancel) | Err(TryRecvError::Disconnected) => return false,
                Ok(command) => self.pending.push_back(command),
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    fn send(&self, message: Message) -> Result<()> {
        self.sender.send(message).map_err(|_| EngineError::Disconnected(String::from("the source's task")))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
