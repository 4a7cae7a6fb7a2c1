//! How much queries hold in memory: each no more than it may, and all of them together no more than there is.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};
use tidemill_plans::held::StreamsHeld;
use tidemill_plans::settings::Settings;

use crate::shares::SharesPool;

/// The consumers that an error names.
const NAMED_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// What a query has room in.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// Bytes that it may hold in memory; nothing if it has no limit of its own.
    pub(crate) memory: Option<u64>,
    /// Where the rest goes.
    pub(crate) scratch: PathBuf,
}

impl Room {
    pub(crate) fn of_query(settings: &Settings, scratch: &Path) -> Self {
        let limits = [settings.query_memory, settings.state_memory].into_iter();
        Self { memory: limits.filter(|bytes| *bytes > 0).min(), scratch: scratch.to_path_buf() }
    }

    /// Of what is no query's.
    pub(crate) fn of_engine(scratch: &Path) -> Self {
        Self { memory: None, scratch: scratch.to_path_buf() }
    }
}

/// A pool that all queries share, of what streams leave of so many bytes.
pub(crate) fn shared(bytes: usize, streams: StreamsHeld) -> Arc<dyn MemoryPool> {
    named(SharesPool::beside(bytes, streams))
}

/// The pool of a query: what it takes is taken from the one that all share, too.
pub(crate) fn of_query(limit: Option<u64>, shared: &Arc<dyn MemoryPool>) -> Arc<dyn MemoryPool> {
    let Some(limit) = limit else { return Arc::clone(shared) };
    let own = named(SharesPool::new(usize::try_from(limit).unwrap_or(usize::MAX)));
    Arc::new(QueryPool { own, shared: Arc::clone(shared) })
}

fn named(pool: SharesPool) -> Arc<dyn MemoryPool> {
    Arc::new(TrackConsumersPool::new(pool, NAMED_MAX))
}

/// A part of a shared pool.
#[derive(Debug)]
struct QueryPool {
    own: Arc<dyn MemoryPool>,
    shared: Arc<dyn MemoryPool>,
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} within {}", self.own, self.shared)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        let shared = self.shared.try_grow(reservation, additional);
        if shared.is_err() {
            self.own.shrink(reservation, additional);
        }
        shared
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_its_limit_and_all_have_theirs() {
        let shared = shared(100, StreamsHeld::default());
        let (one, other) = (of_query(Some(60), &shared), of_query(Some(60), &shared));
        let ones = MemoryConsumer::new("one").register(&one);
        let others = MemoryConsumer::new("other").register(&other);
        assert!(ones.try_grow(61).is_err(), "its own limit");
        ones.try_grow(60).unwrap();
        assert!(others.try_grow(41).is_err(), "what both have");
        assert_eq!((shared.reserved(), other.reserved()), (60, 0), "nothing is kept of what failed");
        others.try_grow(40).unwrap();
        drop(ones);
        assert_eq!(shared.reserved(), 40);
    }
}
