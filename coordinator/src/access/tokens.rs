//! Tokens: what whoever has logged in shows from then on, instead of a password.
//!
//! They are known to this process alone and gone with it. Kept is what an HMAC makes of a token, under a key that
//! nobody else has: a copy of the table is no token, and how long a look-up takes tells nothing of one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::hmac;

use super::{random, random_text};
use crate::clock::Clock;
use crate::error::Result;

/// How many tokens there are at most; of more, the one goes that would end first.
const TOKENS_MAX: usize = 10_000;

/// What is kept of a token.
type Print = [u8; 32];

/// The tokens that hold.
pub(super) struct Tokens {
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    key: hmac::Key,
    kept: Mutex<BTreeMap<Print, Token>>,
}

struct Token {
    role: String,
    /// By the clock.
    ends: Duration,
}

impl Tokens {
    pub(super) fn new(clock: Arc<dyn Clock>, lifetime: Duration) -> Result<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?);
        Ok(Self { clock, lifetime, key, kept: Mutex::default() })
    }

    /// A new token for a role.
    pub(super) fn issue(&self, role: &str) -> Result<String> {
        let token = random_text::<32>()?;
        self.keep(&token, role, self.lifetime);
        Ok(token)
    }

    /// Has a text stand for a role for so long, as a token does.
    pub(super) fn keep(&self, token: &str, role: &str, lifetime: Duration) {
        let now = self.clock.now();
        let token = (self.print(token), Token { role: role.to_owned(), ends: now + lifetime });
        let mut kept = self.kept();
        kept.insert(token.0, token.1);
        if kept.len() > TOKENS_MAX {
            kept.retain(|_, token| token.ends > now);
        }
        if kept.len() > TOKENS_MAX {
            let first = kept.iter().min_by_key(|(_, token)| token.ends).map(|(print, _)| *print);
            first.map(|first| kept.remove(&first));
        }
    }

    /// The role that a token is for.
    pub(super) fn role_of(&self, token: &str) -> Option<String> {
        let (print, now) = (self.print(token), self.clock.now());
        let mut kept = self.kept();
        if kept.get(&print)?.ends <= now {
            kept.remove(&print);
            return None;
        }
        kept.get(&print).map(|token| token.role.clone())
    }

    /// Has a token hold no more.
    pub(super) fn revoke(&self, token: &str) {
        let print = self.print(token);
        self.kept().remove(&print);
    }

    /// Has all tokens of a role hold no more; how many there were.
    pub(super) fn revoke_all(&self, role: &str) -> usize {
        let mut kept = self.kept();
        let before = kept.len();
        kept.retain(|_, token| token.role != role);
        before - kept.len()
    }

    fn print(&self, token: &str) -> Print {
        let mut print = Print::default();
        let tag = hmac::sign(&self.key, token.as_bytes());
        print.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        print
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Print, Token>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;

    #[test]
    fn tokens_end() {
        let clock = Arc::new(TestClock::default());
        let tokens = Tokens::new(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(60)).unwrap();
        let (a, b) = (tokens.issue("ann").unwrap(), tokens.issue("bob").unwrap());
        assert!(a.len() == 43 && a != b);
        assert_eq!((tokens.role_of(&a).as_deref(), tokens.role_of(&b).as_deref()), (Some("ann"), Some("bob")));
        assert_eq!(tokens.role_of("x"), None);
        tokens.revoke(&a);
        assert_eq!((tokens.role_of(&a), tokens.role_of(&b).as_deref()), (None, Some("bob")));
        clock.advance(Duration::from_secs(59));
        let c = tokens.issue("bob").unwrap();
        assert!(tokens.role_of(&b).is_some());
        clock.advance(Duration::from_secs(1));
        assert_eq!((tokens.role_of(&b), tokens.role_of(&c).as_deref()), (None, Some("bob")));
        assert_eq!((tokens.revoke_all("bob"), tokens.revoke_all("bob"), tokens.role_of(&c)), (1, 0, None));
    }

    #[test]
    fn their_number_is_bounded() {
        let clock = Arc::new(TestClock::default());
        let tokens = Tokens::new(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(60)).unwrap();
        let first = tokens.issue("ann").unwrap();
        clock.advance(Duration::from_secs(1));
        (0..TOKENS_MAX).for_each(|number| tokens.keep(&number.to_string(), "bob", Duration::from_secs(60)));
        assert_eq!((tokens.role_of(&first), tokens.role_of("0").as_deref()), (None, Some("bob")));
    }
}
