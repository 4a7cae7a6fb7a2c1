//! Which logins are news: the audit log is to have each session of a user, and not each request.
//!
//! Clients show their password or token with every request, so a session is what goes on without a long pause, from one
//! address. Whoever logs in with a word of its own, for a token, begins another one, and no more than one a minute is noted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Whoever comes again after such a pause begins another session.
const PAUSE: Duration = Duration::from_secs(15 * 60);

/// How long after a login another one of the same user from the same address is no news.
const INTERVAL: Duration = Duration::from_secs(60);

/// How many users and addresses are remembered; of more, the one goes that was there the longest ago.
const REMEMBERED_MAX: usize = 4096;

type Key = (String, Option<IpAddr>);

/// Who has been there lately.
pub(super) struct Logins {
    clock: Arc<dyn Clock>,
    kept: Mutex<BTreeMap<Key, Seen>>,
}

/// By the clock.
#[derive(Clone, Copy)]
struct Seen {
    noted: Duration,
    last: Duration,
}

impl Logins {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// Whether it is news that a user is there, who may have logged in for a token.
    pub(super) fn is_news(&self, user: &str, address: Option<IpAddr>, for_token: bool) -> bool {
        let (key, now) = ((user.to_owned(), address), self.clock.now());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = kept.get(&key).copied();
        let is_news = seen.is_none_or(|seen| {
            let is_due = now.saturating_sub(seen.noted) >= INTERVAL;
            now.saturating_sub(seen.last) >= PAUSE || for_token && is_due
        });
        let noted = seen.filter(|_| !is_news).map_or(now, |seen| seen.noted);
        kept.insert(key, Seen { noted, last: now });
        if kept.len() > REMEMBERED_MAX {
            let oldest = kept.iter().min_by_key(|(_, seen)| seen.last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        is_news
    }
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
    fn a_session_is_news_once() {
        let clock = Arc::new(TestClock::default());
        let logins = Logins::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let request = |user: &str, from: u32| logins.is_news(user, address(from), false);
        let login = |user: &str, from: u32| logins.is_news(user, address(from), true);
        assert_eq!(
            [request("ann", 1), request("ann", 1), request("ann", 2), request("bob", 1)],
            [true, false, true, true]
        );
        // A token right behind the first request is of the same session.
        assert!(!login("ann", 1));
        clock.advance(INTERVAL);
        assert_eq!([login("ann", 1), login("ann", 1), request("ann", 1)], [true, false, false]);
        for _ in 0..3 {
            clock.advance(PAUSE - Duration::from_secs(1));
            assert!(!request("ann", 1));
        }
        clock.advance(PAUSE);
        assert_eq!([request("ann", 1), request("ann", 1)], [true, false]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let clock = Arc::new(TestClock::default());
        let logins = Logins::new(Arc::clone(&clock) as Arc<dyn Clock>);
        (0..5000).for_each(|n| assert!(logins.is_news("ann", address(n), false)));
        assert_eq!(logins.kept.lock().unwrap().len(), REMEMBERED_MAX);
    }
}
