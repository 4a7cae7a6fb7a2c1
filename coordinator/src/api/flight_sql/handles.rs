//! What clients have handles of: bounded in number, and forgotten when nobody has used it for a while.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Values by handle.
pub(super) struct Handles<T> {
    clock: Arc<dyn Clock>,
    /// How many are kept; of more, the one goes that nobody has used for the longest.
    max: usize,
    /// How long one is kept that nobody uses.
    time_to_live: Duration,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    given: u64,
    values: BTreeMap<String, (T, Duration)>,
}

impl<T: Clone> Handles<T> {
    pub(super) fn new(clock: Arc<dyn Clock>, max: usize, time_to_live: Duration) -> Self {
        Self { clock, max, time_to_live, kept: Mutex::new(Kept { given: 0, values: BTreeMap::new() }) }
    }

    /// Keeps a value; returns its handle.
    pub(super) fn insert(&self, value: T) -> String {
        let handle = {
            let mut kept = self.kept();
            kept.given += 1;
            // Nobody is to come upon another's by a slip.
            format!("{}-{:016x}", kept.given, RandomState::new().hash_one(kept.given))
        };
        self.put(&handle, value);
        handle
    }

    /// Keeps a value in the place of the one with this handle, if it is there still.
    pub(super) fn put(&self, handle: &str, value: T) {
        let now = self.clock.now();
        let mut kept = self.kept();
        kept.values.insert(handle.to_owned(), (value, now));
        kept.values.retain(|_, (_, used)| now.saturating_sub(*used) < self.time_to_live);
        if kept.values.len() > self.max {
            let oldest = kept.values.iter().min_by_key(|(_, (_, used))| *used).map(|(handle, _)| handle.clone());
            oldest.map(|oldest| kept.values.remove(&oldest));
        }
    }

    /// The value of a handle, which is used now.
    pub(super) fn get(&self, handle: &str) -> Option<T> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let (value, used) = kept.values.get_mut(handle)?;
        if now.saturating_sub(*used) >= self.time_to_live {
            kept.values.remove(handle);
            return None;
        }
        *used = now;
        Some(value.clone())
    }

    /// Forgets a handle; what it was of, if it was known.
    pub(super) fn remove(&self, handle: &str) -> Option<T> {
        self.kept().values.remove(handle).map(|(value, _)| value)
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;

    #[test]
    fn what_nobody_uses_goes() {
        let clock = Arc::new(TestClock::default());
        let handles = Handles::new(Arc::clone(&clock) as Arc<dyn Clock>, 2, Duration::from_secs(10));
        let (a, b) = (handles.insert("a"), handles.insert("b"));
        clock.advance(Duration::from_secs(6));
        assert_eq!(handles.get(&a), Some("a"));
        let c = handles.insert("c");
        assert_eq!((handles.get(&a), handles.get(&b), handles.get(&c)), (Some("a"), None, Some("c")));
        handles.put(&c, "d");
        assert_eq!((handles.remove(&c), handles.get(&c)), (Some("d"), None));
        clock.advance(Duration::from_secs(10));
        assert_eq!(handles.get(&a), None);
        assert_ne!(handles.insert("a"), a);
    }
}
