//! The signals that ask a program to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Result;

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    has_to_end: bool,
}

impl Interrupts {
    /// From now on, signals come here.
    pub fn listen() -> Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, has_to_end: false })
    }

    /// The next of them.
    pub async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => {
                self.has_to_end = true;
                SignalKind::terminate()
            }
        }
    }

    /// Whether SIGTERM has come, which is for the program and not for what it does at the moment.
    #[must_use]
    pub fn has_to_end(&self) -> bool {
        self.has_to_end
    }
}
