//! How much the operators of a query hold in memory on one worker, all together, and how much they may; and all streams
//! of the process, which queries as a whole leave room.
//!
//! An operator tells what it holds after each call, and it is added up there: no row costs more. What is too much ends the
//! query that it is of, and nothing else, before the process has no memory left. Rows on their way are bounded by
//! channels, and are not counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_plans::held::{HeldShare, StreamsHeld};

use crate::error::{EngineError, Result};

/// What the operators of a job hold on this worker.
#[derive(Debug, Default)]
pub struct QueryMemory {
    /// Bytes; none without a limit, and then nothing is added up.
    bytes_max: Option<u64>,
    held: AtomicU64,
    streams: StreamsHeld,
    shares: Mutex<Vec<Arc<Share>>>,
}

/// What one instance of an operator holds.
#[derive(Debug)]
struct Share {
    operator: String,
    bytes: AtomicU64,
}

/// What an instance of an operator holds, as long as it is there.
#[derive(Debug)]
pub(super) struct HeldMemory {
    of_query: Option<(Arc<QueryMemory>, Arc<Share>)>,
    of_streams: HeldShare,
}

impl QueryMemory {
    /// So many bytes for all operators; 0 for no limit. What they hold counts among these streams'.
    #[must_use]
    pub fn new(bytes_max: u64, streams: StreamsHeld) -> Self {
        Self { bytes_max: Some(bytes_max).filter(|bytes| *bytes > 0), streams, ..Self::default() }
    }

    /// Nothing yet, for the operator that `name` tells a person.
    pub(super) fn hold(self: &Arc<Self>, name: &str) -> HeldMemory {
        let of_query = self.bytes_max.map(|_| {
            let share = Arc::new(Share { operator: name.to_owned(), bytes: AtomicU64::new(0) });
            self.shares.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&share));
            (Arc::clone(self), share)
        });
        HeldMemory { of_query, of_streams: self.streams.share() }
    }

    /// The operator that holds most in all its instances here, and how much that is.
    fn greatest(&self) -> (String, u64) {
        let mut operators: BTreeMap<String, u64> = BTreeMap::new();
        for share in self.shares.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *operators.entry(share.operator.clone()).or_default() += share.bytes.load(Ordering::Relaxed);
        }
        operators.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or_default()
    }
}

impl HeldMemory {
    /// The operator holds so many bytes now. An error if all of them together hold too much, and this one holds more
    /// than before.
    pub(super) fn set(&self, bytes: usize) -> Result<()> {
        self.of_streams.set(bytes);
        let Some((memory, share)) = &self.of_query else { return Ok(()) };
        let bytes = bytes as u64;
        let before = share.bytes.swap(bytes, Ordering::Relaxed);
        if bytes <= before {
            memory.held.fetch_sub(before - bytes, Ordering::Relaxed);
            return Ok(());
        }
        let more = bytes - before;
        let held = memory.held.fetch_add(more, Ordering::Relaxed) + more;
        match memory.bytes_max.filter(|bytes_max| held > *bytes_max) {
            None => Ok(()),
            Some(bytes_max) => {
                let (operator, most) = memory.greatest();
                Err(EngineError::QueryMemory { held, bytes_max, operator, most })
            }
        }
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        if let Some((memory, share)) = &self.of_query {
            memory.held.fetch_sub(share.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_hold_is_added_up_as_long_as_they_are_there() {
        let streams = StreamsHeld::default();
        let memory = Arc::new(QueryMemory::new(4 << 20, streams.clone()));
        let (join, first, second) = (memory.hold("Join 1"), memory.hold("Aggregate 2"), memory.hold("Aggregate 2"));
        join.set(2 << 20).unwrap();
        first.set(1 << 20).unwrap();
        // What shrinks, or stays, is no reason to end.
        second.set((3 << 20) - 1).unwrap_err();
        second.set(1 << 20).unwrap();
        drop(first);
        second.set((2 << 20) - 1).unwrap();
        join.set(1 << 20).unwrap();
        let error = second.set((3 << 20) + 1).unwrap_err().to_string();
        assert!(error.starts_with("the query holds 4.0 MB of state in memory, 3.0 MB of it in Aggregate 2"), "{error}");
        assert!(error.contains("query_memory, which is 4.0 MB here"), "{error}");
        assert!(streams.bytes() > 4 << 20);
        drop((join, second));
        assert_eq!(memory.held.load(Ordering::Relaxed), 0);
        assert_eq!(streams.bytes(), 0);
    }

    #[test]
    fn without_a_limit_nothing_is_added_up() {
        let memory = Arc::new(QueryMemory::new(0, StreamsHeld::default()));
        memory.hold("Join 1").set(usize::MAX).unwrap();
        assert_eq!(memory.held.load(Ordering::Relaxed), 0);
    }
}
