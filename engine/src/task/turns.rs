//! Whose turn it is among the ports of a task, so that equal inputs stay side by side.
//!
//! What one input of a join is ahead of the other waits in the join's state. So the next message is taken from the port
//! that has brought the fewest bytes: not by turns, for batches differ in size, nor by watermarks, which many inputs do
//! not have, and which sources that wait for each other keep together. A port that has nothing just now may only have
//! been kept from sending: its task may run on this thread, where those that other threads have woken get few turns as
//! long as others are ready. So a port that is far ahead waits for it. Not for long, for it may have nothing for hours:
//! each wait that was in vain lets the others get further ahead before they wait again.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How many bytes a port may be ahead of one that has nothing, before it waits: after waits in vain it is more.
const AHEAD_BYTES: RangeInclusive<usize> = 1 << 20..=16 << 20;

/// How long it waits.
const WAIT: Duration = Duration::from_millis(1);

/// See the [module](self).
pub(super) struct Turns {
    /// How many bytes each port has brought more than the one with the fewest, as far as it matters.
    ahead: Vec<usize>,
    ahead_max: usize,
    /// The port that has brought something last. Of those that are level it is the last to be looked at.
    last: usize,
    /// When a port began to wait, in nanoseconds of the monotonic clock.
    waits_since: Option<u64>,
}

impl Turns {
    /// For so many ports, of which there is one at least.
    pub(super) fn new(ports: usize) -> Self {
        Self { ahead: vec![0; ports], ahead_max: *AHEAD_BYTES.start(), last: ports - 1, waits_since: None }
    }

    /// The ports in the order in which they are looked at.
    pub(super) fn order(&self) -> Vec<usize> {
        let count = self.ahead.len();
        let mut ports: Vec<usize> = (1..=count).map(|at| (self.last + at) % count).collect();
        ports.sort_by_key(|port| self.ahead[*port]);
        ports
    }

    /// Whether a port has to wait at this time, since one that is behind it has nothing.
    pub(super) fn must_wait(&mut self, port: usize, now: u64) -> bool {
        if self.ahead[port] < self.ahead_max {
            return false;
        }
        if !left(*self.waits_since.get_or_insert(now), now).is_zero() {
            return true;
        }
        self.ahead.fill(0);
        self.ahead_max = (2 * self.ahead_max).min(*AHEAD_BYTES.end());
        self.waits_since = None;
        false
    }

    /// A port has brought so many bytes.
    pub(super) fn note(&mut self, port: usize, bytes: usize) {
        let was_awaited = self.ahead[port] == 0 && self.ahead.iter().any(|ahead| *ahead > 0);
        // One that has waited goes on when nobody is awaited any more.
        if was_awaited || self.ahead[port] >= self.ahead_max {
            self.waits_since = None;
        }
        if was_awaited {
            self.ahead_max = (self.ahead_max / 2).max(*AHEAD_BYTES.start());
        }
        self.last = port;
        // A port that was idle for long is not preferred for as long.
        self.ahead[port] = (self.ahead[port] + bytes).min(*AHEAD_BYTES.end());
        let least = self.ahead.iter().min().copied().unwrap_or_default();
        self.ahead.iter_mut().for_each(|ahead| *ahead -= least);
    }

    /// No port waits: whoever has something may bring it.
    pub(super) fn note_none_waits(&mut self) {
        self.waits_since = None;
    }

    /// For how long a port still waits, if one does.
    pub(super) fn wait_left(&self, now: u64) -> Option<Duration> {
        self.waits_since.map(|since| left(since, now))
    }
}

/// How long is left of a wait since then.
fn left(since: u64, now: u64) -> Duration {
    WAIT.saturating_sub(Duration::from_nanos(now.saturating_sub(since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_port_that_has_brought_least_is_the_first() {
        let mut turns = Turns::new(3);
        assert_eq!(turns.order(), [0, 1, 2]);
        turns.note(0, 300);
        turns.note(1, 100);
        assert_eq!(turns.order(), [2, 1, 0]);
        turns.note(2, 200);
        assert_eq!((turns.order(), turns.ahead.clone()), (vec![1, 2, 0], vec![200, 0, 100]));
    }

    #[test]
    fn who_is_far_ahead_waits_a_moment_and_each_time_gets_further() {
        let (mut turns, ms) = (Turns::new(2), 1_000_000);
        let mut brought = Vec::new();
        for now in 0..6 {
            let mut bytes = 0;
            while !turns.must_wait(1, now * ms) {
                turns.note(1, MIB / 4);
                bytes += MIB / 4;
            }
            brought.push(bytes / MIB);
            assert_eq!(turns.wait_left(now * ms + ms / 4), Some(WAIT * 3 / 4));
        }
        assert_eq!(brought, [1, 2, 4, 8, 16, 16]);
        // As soon as the other brings something, nobody waits.
        turns.note(0, MIB / 4);
        assert_eq!((turns.wait_left(0), turns.ahead_max), (None, 8 * MIB));
        assert_eq!(turns.order(), [0, 1]);
    }

    #[test]
    fn one_port_never_waits() {
        let mut turns = Turns::new(1);
        turns.note(0, 100 * MIB);
        assert!(!turns.must_wait(0, 0));
    }
}
