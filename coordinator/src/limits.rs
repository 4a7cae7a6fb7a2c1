//! How much a coordinator takes on at a time: what is more is refused with a word, before it does any harm.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{CoordinatorError, Result};

/// What a server takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest text of a client, statements or a plan, in bytes. What is read of it takes some hundred times as much.
    pub text_bytes_max: usize,
    /// How many statements of clients there may be at a time, with those whose rows are being fetched.
    pub statements_max: usize,
    /// How many jobs there may be, with those of SELECTs.
    pub jobs_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { text_bytes_max: 1 << 20, statements_max: 256, jobs_max: 1000 }
    }
}

impl Limits {
    /// An error if a text of a client is too long.
    pub(crate) fn check_text(&self, text: impl AsRef<[u8]>) -> Result<()> {
        let (bytes, max) = (text.as_ref().len(), self.text_bytes_max);
        if bytes <= max {
            return Ok(());
        }
        let message = format!(
            "the text has {bytes} bytes, and {max} are possible: send its statements one by one, rows by INSERT with \
             parameters or from files, or raise --max-statement-size"
        );
        Err(CoordinatorError::Statement { message })
    }
}

/// Places for the statements of clients.
#[derive(Debug, Clone)]
pub(crate) struct StatementPlaces {
    free: Arc<Semaphore>,
    max: usize,
}

impl StatementPlaces {
    pub(crate) fn new(max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))), max }
    }

    /// A place for a statement, for as long as it is kept.
    pub(crate) fn take(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.free).try_acquire_owned();
        place.map_err(|_| CoordinatorError::TooMany { what: "statements", max: self.max, option: "--max-statements" })
    }
}
