//! Waits for an object store, on a thread that may: connectors block, and stores are asked by async code.
//!
//! All requests of a process run on two threads of their own, so connections are kept from one to the next, whoever asks.

use std::io::{self, Error, ErrorKind};
use std::sync::OnceLock;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use tidemill_plans::bucket::StoreError;
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

/// How long an answer may take, with what is sent again: more than the store's own limits, which say what was in the way.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// An answer that is on its way. Dropped before it has come, nobody asks any more.
pub(super) struct Answer<T> {
    answer: Receiver<Result<T, StoreError>>,
    task: AbortHandle,
}

/// Asks, and does not wait.
pub(super) fn ask<T: Send + 'static>(
    question: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> io::Result<Answer<T>> {
    let (sender, answer) = bounded(1);
    let task = threads()?.spawn(async move {
        // Whoever is gone does not want to know.
        let _ = sender.send(question.await);
    });
    Ok(Answer { answer, task: task.abort_handle() })
}

/// Asks, and waits.
pub(super) fn wait<T: Send + 'static>(
    question: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> io::Result<T> {
    ask(question)?.wait()
}

impl<T> Answer<T> {
    pub(super) fn wait(self) -> io::Result<T> {
        self.wait_for(ANSWER_LIMIT)
    }

    /// The same for no longer than this.
    pub(super) fn wait_for(self, limit: Duration) -> io::Result<T> {
        match self.answer.recv_timeout(limit) {
            Ok(answer) => answer.map_err(StoreError::into_io),
            Err(RecvTimeoutError::Timeout) => {
                Err(Error::new(ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Error::other("what asked the store has ended; this is a bug")),
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn threads() -> io::Result<&'static Runtime> {
    static THREADS: OnceLock<Runtime> = OnceLock::new();
    if let Some(threads) = THREADS.get() {
        return Ok(threads);
    }
    let made = Builder::new_multi_thread().worker_threads(2).thread_name("objects").enable_all().build()?;
    // Of two that begin at once one is dropped, by a thread that may wait for it.
    Ok(THREADS.get_or_init(|| made))
}
