//! When a job that has found no worker at all begins: as soon as there are as many slots as it can use, or when
//! nobody has come for a while. Workers come back one after the other when their coordinator has been restarted,
//! and the first of them is not to get everything.

use std::time::Duration;

/// How long a job with some slots waits for more.
pub const SETTLE: Duration = Duration::from_secs(2);

/// The wait of one job. Pure: the time is passed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotWait {
    wanted: u32,
    /// The greatest number of slots so far, and since when.
    best: Option<(u32, Duration)>,
}

/// What to do with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Begin it.
    Begin,
    /// Ask again after a while.
    AskAgain(Duration),
    /// Nothing, until a worker comes.
    Wait,
}

impl SlotWait {
    /// A job that can use so many slots.
    #[must_use]
    pub fn new(wanted: u32) -> Self {
        Self { wanted, best: None }
    }

    /// There are so many slots now.
    pub fn offer(&mut self, slots: u32, now: Duration) -> Offer {
        if slots == 0 {
            self.best = None;
            return Offer::Wait;
        }
        if slots >= self.wanted {
            return Offer::Begin;
        }
        let (best, since) = *self.best.get_or_insert((slots, now));
        if slots > best {
            self.best = Some((slots, now));
            return Offer::AskAgain(SETTLE);
        }
        match SETTLE.saturating_sub(now.saturating_sub(since)) {
            Duration::ZERO => Offer::Begin,
            left => Offer::AskAgain(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_job_begins_with_what_it_wants_or_with_what_there_is_after_a_while() {
        let mut wait = SlotWait::new(4);
        assert_eq!(wait.offer(0, at(0)), Offer::Wait);
        assert_eq!(wait.offer(1, at(60_000)), Offer::AskAgain(SETTLE));
        assert_eq!(wait.offer(2, at(61_000)), Offer::AskAgain(SETTLE));
        assert_eq!(wait.offer(2, at(62_000)), Offer::AskAgain(at(1000)));
        assert_eq!(wait.offer(4, at(62_500)), Offer::Begin);
        assert_eq!(wait.offer(2, at(63_000)), Offer::Begin);
        assert_eq!(SlotWait::new(1).offer(1, at(0)), Offer::Begin);
    }

    #[test]
    fn workers_that_are_gone_again_do_not_count() {
        let mut wait = SlotWait::new(4);
        assert_eq!(wait.offer(2, at(0)), Offer::AskAgain(SETTLE));
        assert_eq!(wait.offer(0, at(1000)), Offer::Wait);
        assert_eq!(wait.offer(1, at(5000)), Offer::AskAgain(SETTLE));
    }
}
