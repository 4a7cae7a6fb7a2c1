//! What clients have handles of: bounded in number, and forgotten when nobody has used it for a while. A handle is its
//! user's: for another it is not there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Whose a handle is: a role, or whoever it is where nobody is asked.
pub(super) type Owner = Option<String>;

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
    values: BTreeMap<(Owner, String), (T, Duration)>,
}

impl<T: Clone> Handles<T> {
    pub(super) fn new(clock: Arc<dyn Clock>, max: usize, time_to_live: Duration) -> Self {
        Self { clock, max, time_to_live, kept: Mutex::new(Kept { given: 0, values: BTreeMap::new() }) }
    }

    /// A handle that was never given before.
    pub(super) fn next(&self) -> String {
        let mut kept = self.kept();
        kept.given += 1;
        // Nobody is to come upon another's by a slip.
        format!("{}-{:016x}", kept.given, RandomState::new().hash_one(kept.given))
    }

    /// Keeps a value; returns its handle.
    pub(super) fn insert(&self, owner: &Owner, value: T) -> String {
        let handle = self.next();
        self.put(owner, &handle, value);
        handle
    }

    /// Keeps a value in the place of the one with this handle, if it is there still.
    pub(super) fn put(&self, owner: &Owner, handle: &str, value: T) {
        let Ok(()) = self.put_if(owner, handle, value, |_| Ok::<_, Infallible>(()));
    }

    /// The same, unless it is refused for what else its owner has.
    pub(super) fn put_if<E>(
        &self,
        owner: &Owner,
        handle: &str,
        value: T,
        fits: impl FnOnce(&mut dyn Iterator<Item = &T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let now = self.clock.now();
        let mut kept = self.kept();
        kept.values.retain(|_, (_, used)| now.saturating_sub(*used) < self.time_to_live);
        let others = kept.values.iter().filter(|((of, other), _)| of == owner && other != handle);
        fits(&mut others.map(|(_, (value, _))| value))?;
        kept.values.insert((owner.clone(), handle.to_owned()), (value, now));
        if kept.values.len() > self.max {
            let oldest = kept.values.iter().min_by_key(|(_, (_, used))| *used).map(|(handle, _)| handle.clone());
            oldest.map(|oldest| kept.values.remove(&oldest));
        }
        Ok(())
    }

    /// The value of a handle, which is used now.
    pub(super) fn get(&self, owner: &Owner, handle: &str) -> Option<T> {
        let (key, now) = ((owner.clone(), handle.to_owned()), self.clock.now());
        let mut kept = self.kept();
        let (value, used) = kept.values.get_mut(&key)?;
        if now.saturating_sub(*used) >= self.time_to_live {
            kept.values.remove(&key);
            return None;
        }
        *used = now;
        Some(value.clone())
    }

    /// Forgets a handle; what it was of, if it was known.
    pub(super) fn remove(&self, owner: &Owner, handle: &str) -> Option<T> {
        self.kept().values.remove(&(owner.clone(), handle.to_owned())).map(|(value, _)| value)
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
        let nobody = &None;
        let (a, b) = (handles.insert(nobody, "a"), handles.insert(nobody, "b"));
        clock.advance(Duration::from_secs(6));
        assert_eq!(handles.get(nobody, &a), Some("a"));
        let c = handles.insert(nobody, "c");
        let got = |handle: &str| handles.get(nobody, handle);
        assert_eq!((got(&a), got(&b), got(&c)), (Some("a"), None, Some("c")));
        handles.put(nobody, &c, "d");
        assert_eq!((handles.remove(nobody, &c), got(&c)), (Some("d"), None));
        clock.advance(Duration::from_secs(10));
        assert_eq!(got(&a), None);
        assert_ne!(handles.insert(nobody, "a"), a);
    }

    #[test]
    fn what_is_refused_leaves_everything_as_it_was() {
        let handles = Handles::new(Arc::new(TestClock::default()), 9, Duration::from_secs(10));
        let (ann, bob) = (Some(String::from("ann")), Some(String::from("bob")));
        let put = |owner: &Owner, handle: &str, value: i32| {
            handles.put_if(owner, handle, value, |others| match others.sum::<i32>() + value {
                sum if sum <= 10 => Ok(()),
                sum => Err(sum),
            })
        };
        assert_eq!((put(&ann, "a", 6), put(&ann, "b", 4), put(&bob, "c", 10)), (Ok(()), Ok(()), Ok(())));
        assert_eq!((put(&ann, "d", 1), put(&ann, "a", 7)), (Err(11), Err(11)));
        assert_eq!((handles.get(&ann, "a"), handles.get(&ann, "d")), (Some(6), None));
        // What is replaced does not count.
        assert_eq!((put(&ann, "a", 5), put(&ann, "d", 1)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_handle_is_its_users() {
        let handles = Handles::new(Arc::new(TestClock::default()), 2, Duration::from_secs(10));
        let (ann, bob) = (Some(String::from("ann")), Some(String::from("bob")));
        let handle = handles.insert(&ann, 1);
        assert_eq!((handles.get(&bob, &handle), handles.get(&None, &handle)), (None, None));
        assert_eq!((handles.remove(&bob, &handle), handles.get(&ann, &handle)), (None, Some(1)));
    }
}
