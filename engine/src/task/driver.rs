//! Drives a source on an I/O thread: reads batches, puts barriers between them, sends them on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam::channel::{Receiver as Commands, TryRecvError};
use tidemill_plans::ids::Epoch;

use crate::connector::{Source, SourceEvent};
use crate::error::{EngineError, Result};
use crate::task::{EndReason, Message, Sender};

/// How long a driver waits for room before it looks at its commands again.
const COMMAND_POLL: Duration = Duration::from_millis(20);

/// What a running source can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverCommand {
    /// Put this epoch's barrier behind what has been read.
    Barrier(Epoch),
    /// End the stream here.
    Stop,
    /// Give up at once.
    Cancel,
}

/// A source and the channel to the task that works on its rows.
pub struct SourceDriver {
    source: Box<dyn Source>,
    sender: Sender,
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
    pub(crate) fn new(source: Box<dyn Source>, sender: Sender) -> Self {
        Self { source, sender, pending: VecDeque::new() }
    }

    /// Runs until the source ends or a command ends it. Blocks: for an I/O thread.
    pub fn run(mut self, commands: Commands<DriverCommand>) -> Result<()> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            let end = match self.obey(&commands) {
                Ok(Next::Read) => match self.source.next_event()? {
                    SourceEvent::Batch(batch) => {
                        if !self.wait_for_room(&waker, &commands) {
                            return Ok(());
                        }
                        self.send(Message::Batch(batch))?;
                        continue;
                    }
                    SourceEvent::Idle => continue,
                    SourceEvent::End => EndReason::Finished,
                },
                Ok(Next::End(reason)) => reason,
                Ok(Next::Cancelled) => return Ok(()),
                Err(error) => return Err(error),
            };
            return self.send(Message::End(end));
        }
    }

    fn obey(&mut self, commands: &Commands<DriverCommand>) -> Result<Next> {
        loop {
            let command = self.pending.pop_front().map_or_else(|| commands.try_recv(), Ok);
            match command {
                Ok(DriverCommand::Barrier(epoch)) => self.send(Message::Barrier(epoch))?,
                Ok(DriverCommand::Stop) => return Ok(Next::End(EndReason::Stopped)),
                // Whoever held the other end is gone: so is the job.
                Ok(DriverCommand::Cancel) | Err(TryRecvError::Disconnected) => return Ok(Next::Cancelled),
                Err(TryRecvError::Empty) => return Ok(Next::Read),
            }
        }
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
