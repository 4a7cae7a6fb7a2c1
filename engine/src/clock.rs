//! The one place where the engine looks at a clock: for metrics and pacing, on which no result depends,
//! and for the time at which a source that has a PROCTIME column reads its rows. A replay gives the same
//! output, but for what such a column decides.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "this is the clock that the others are told to use")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the process first asked.
#[must_use]
pub fn monotonic_ns() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970, for PROCTIME alone: it may jump when the system's clock is set.
#[expect(clippy::disallowed_methods, reason = "this is the clock that the others are told to use")]
#[must_use]
pub(crate) fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
