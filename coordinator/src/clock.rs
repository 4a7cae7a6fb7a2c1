//! Where the coordinator's time comes from.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time that never goes back. Tests pass one that stands still until they move it.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Time since a fixed moment of the clock's own choice.
    fn now(&self) -> Duration;

    /// Time since 1970 as the calendar has it, for what people say and read. It may go back.
    fn calendar(&self) -> Duration;
}

/// The machine's monotonic clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock that begins now.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that others are told to use")]
        let origin = Instant::now();
        Arc::new(Self { origin })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are told to use")]
    fn calendar(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
