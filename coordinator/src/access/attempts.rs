//! Tries to log in that have failed: who fails often waits longer each time.
//!
//! Counted are a user from one address, and an address whatever the user. A user alone is not: whoever knows a name
//! could lock its owner out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Tries that are free: of a user from one address, and of an address.
const FREE_OF_USER: u32 = 5;
const FREE_OF_ADDRESS: u32 = 50;

/// What the first wait is, and the longest.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Nothing is known any more of failures that are so long ago.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// How many users and addresses are remembered; of more, those go whose failure is the longest ago.
const REMEMBERED_MAX: usize = 4096;

/// A user from an address, or an address.
type Key = (Option<String>, Option<IpAddr>);

/// The failures that count.
pub(super) struct Attempts {
    clock: Arc<dyn Clock>,
    kept: Mutex<BTreeMap<Key, Failures>>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    /// By the clock.
    last: Duration,
}

impl Attempts {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// How long a user at an address has to wait until the next try counts; none if it may come now.
    pub(super) fn wait(&self, user: &str, address: Option<IpAddr>) -> Option<Duration> {
        let now = self.clock.now();
        let kept = self.kept();
        let waits = keys(user, address).into_iter().filter_map(|(key, free)| {
            let failures = kept.get(&key).filter(|failures| now.saturating_sub(failures.last) < FORGOTTEN_AFTER)?;
            let doublings = failures.count.checked_sub(free)?;
            let wait = WAIT.saturating_mul(1 << doublings.min(16)).min(WAIT_MAX);
            (failures.last + wait).checked_sub(now).filter(|wait| !wait.is_zero())
        });
        waits.max()
    }

    /// A try has failed.
    pub(super) fn failed(&self, user: &str, address: Option<IpAddr>) {
        let now = self.clock.now();
        let mut kept = self.kept();
        for (key, _) in keys(user, address) {
            let failures = kept.entry(key).or_insert(Failures { count: 0, last: now });
            let is_old = now.saturating_sub(failures.last) >= FORGOTTEN_AFTER;
            *failures = Failures { count: if is_old { 1 } else { failures.count.saturating_add(1) }, last: now };
        }
        while kept.len() > REMEMBERED_MAX {
            let oldest = kept.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
    }

    /// A user has logged in. What the address has failed at with others still counts.
    pub(super) fn succeeded(&self, user: &str, address: Option<IpAddr>) {
        self.kept().remove(&(Some(user.to_owned()), address));
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Key, Failures>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a try counts for, and how many tries each has that are free.
fn keys(user: &str, address: Option<IpAddr>) -> [(Key, u32); 2] {
    [((Some(user.to_owned()), address), FREE_OF_USER), ((None, address), FREE_OF_ADDRESS)]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::testing::TestClock;

    fn address(last: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from(0x0a00_0000 + last).into())
    }

    #[test]
    fn failures_slow_down_a_user_at_an_address() {
        let clock = Arc::new(TestClock::default());
        let attempts = Attempts::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let waits = |user: &str, from: u32| attempts.wait(user, address(from)).map(|wait| wait.as_secs());
        for _ in 0..FREE_OF_USER {
            assert_eq!(waits("ann", 1), None);
            attempts.failed("ann", address(1));
        }
        assert_eq!(waits("ann", 1), Some(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(waits("ann", 1), None);
        attempts.failed("ann", address(1));
        assert_eq!(waits("ann", 1), Some(2));
        // The owner elsewhere, and others at this address, are as they were.
        assert_eq!((waits("ann", 2), waits("bob", 1)), (None, None));
        (0..10).for_each(|_| attempts.failed("ann", address(1)));
        assert_eq!(waits("ann", 1), Some(60));
        attempts.succeeded("ann", address(1));
        assert_eq!(waits("ann", 1), None);
        (0..FREE_OF_ADDRESS).for_each(|n| attempts.failed(&format!("user{n}"), address(1)));
        assert_eq!(waits("ann", 1), Some(60));
        clock.advance(FORGOTTEN_AFTER);
        assert_eq!(waits("ann", 1), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let clock = Arc::new(TestClock::default());
        let attempts = Attempts::new(Arc::clone(&clock) as Arc<dyn Clock>);
        (0..3000).for_each(|n| attempts.failed("ann", address(n)));
        assert_eq!(attempts.kept().len(), REMEMBERED_MAX);
    }
}
