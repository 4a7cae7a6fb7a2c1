//! The one place where the engine looks at a clock, for metrics and pacing only: results never
//! depend on it, so a replay gives the same output.

use std::sync::LazyLock;
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "this is the clock that the others are told to use")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the process first asked.
#[must_use]
pub fn monotonic_ns() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
