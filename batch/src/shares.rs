//! A memory pool in which what spills leaves room for the rest of it.
//!
//! DataFusion's own fair pool gives what may spill all that there is, and a sort fails when it is to merge what it holds:
//! the merge needs up to half as much again, and what another sort has given back is taken by the first that asks (a
//! merge of spilled runs takes as many of them as it gets room for). So each sort has a share here, which is its own:
//! rows up to a part of it, the merge up to what they leave.

mod sorts;

use std::fmt;
use std::sync::Mutex;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};
use tidemill_plans::held::StreamsHeld;

use self::sorts::Sorts;

/// How DataFusion names what sorts hold, and the merges of it.
const SORT: &str = "ExternalSorter[";
const MERGE: &str = "ExternalSorterMerge[";

/// One of so many parts of a pool is for what cannot spill, whether or not it is there yet: the merge of a result is the
/// last to ask.
const PART_KEPT: usize = 4;

/// One of so many parts of what queries share with streams is for queries, whatever streams hold: these cannot give back
/// what they have, and a query that gets nothing at all never ends.
const PART_OF_QUERIES: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct SharesPool {
    bytes: usize,
    /// What streams hold of that.
    streams: StreamsHeld,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// How many consumers may spill and are no sorts.
    spilling: usize,
    /// What those hold, and sorts with their merges.
    shares: usize,
    /// What of that is whose.
    sorts: Sorts,
    /// What all others hold.
    others: usize,
}

/// What asks for memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Rows of a sort.
    Rows,
    /// A sort's merge.
    Merge,
    /// What spills otherwise: aggregates, repartitions, joins of some kinds.
    Spilling,
    /// What cannot spill.
    Other,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Self {
        match consumer.name() {
            name if name.starts_with(SORT) => Self::Rows,
            name if name.starts_with(MERGE) => Self::Merge,
            _ if consumer.can_spill() => Self::Spilling,
            _ => Self::Other,
        }
    }
}

impl SharesPool {
    pub(crate) fn new(bytes: usize) -> Self {
        Self::beside(bytes, StreamsHeld::default())
    }

    /// A pool of what streams leave of so many bytes.
    pub(crate) fn beside(bytes: usize, streams: StreamsHeld) -> Self {
        Self { bytes, streams, held: Mutex::default() }
    }

    /// What there is for queries now. What they have beyond that they keep until they give it back.
    fn bytes(&self) -> usize {
        let least = self.bytes / PART_OF_QUERIES;
        self.bytes.saturating_sub(self.streams.bytes()).max(least)
    }

    /// What an error says of streams, if they hold anything.
    fn beside_streams(&self) -> String {
        match self.streams.bytes() {
            0 => String::new(),
            held => format!("; streams hold {} of {}", human_readable_size(held), human_readable_size(self.bytes)),
        }
    }

    fn with<R>(&self, look: impl FnOnce(&mut Held) -> R) -> R {
        look(&mut self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Held {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Other => &mut self.others,
            _ => &mut self.shares,
        }
    }

    fn grow(&mut self, reservation: &MemoryReservation, bytes: usize) {
        let (kind, consumer) = (Kind::of(reservation.consumer()), reservation.consumer().id());
        *self.of(kind) += bytes;
        self.sorts.grow(consumer, bytes);
    }

    fn shrink(&mut self, reservation: &MemoryReservation, bytes: usize) {
        let (kind, consumer) = (Kind::of(reservation.consumer()), reservation.consumer().id());
        let of = self.of(kind);
        *of = of.saturating_sub(bytes);
        self.sorts.shrink(consumer, bytes);
    }

    /// What there is for a reservation now.
    fn available(&self, pool: usize, reservation: &MemoryReservation) -> usize {
        let free = pool.saturating_sub(self.shares + self.others);
        let share = pool.saturating_sub(self.others.max(pool / PART_KEPT)) / (self.spilling + self.sorts.len()).max(1);
        let consumer = reservation.consumer();
        let most = match Kind::of(consumer) {
            Kind::Rows => self.sorts.left_for_rows(consumer.id(), share),
            Kind::Merge => self.sorts.left_for_merge(consumer.id(), share),
            Kind::Spilling => share.saturating_sub(reservation.size()),
            Kind::Other => usize::MAX,
        };
        free.min(most)
    }
}

impl fmt::Display for SharesPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(pool_size: {})", self.name(), human_readable_size(self.bytes()))
    }
}

impl MemoryPool for SharesPool {
    fn name(&self) -> &str {
        "shares"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.with(|held| match Kind::of(consumer) {
            Kind::Rows => held.sorts.begin(consumer.id()),
            Kind::Merge => held.sorts.begin_merge(consumer.id()),
            Kind::Spilling => held.spilling += 1,
            Kind::Other => {}
        });
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.with(|held| match Kind::of(consumer) {
            Kind::Rows | Kind::Merge => held.sorts.end(consumer.id()),
            Kind::Spilling => held.spilling = held.spilling.saturating_sub(1),
            Kind::Other => {}
        });
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.with(|held| held.grow(reservation, additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.with(|held| held.shrink(reservation, shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let available = self.with(|held| {
            let available = held.available(self.bytes(), reservation);
            if additional <= available {
                held.grow(reservation, additional);
                return None;
            }
            Some(available)
        });
        match available {
            None => Ok(()),
            Some(available) => Err(DataFusionError::ResourcesExhausted(format!(
                "Failed to allocate additional {} for {}, which has {}: there are {}{}",
                human_readable_size(additional),
                reservation.consumer().name(),
                human_readable_size(reservation.size()),
                human_readable_size(available),
                self.beside_streams(),
            ))),
        }
    }

    fn reserved(&self) -> usize {
        self.with(|held| held.shares + held.others)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pool(bytes: usize) -> Arc<dyn MemoryPool> {
        Arc::new(SharesPool::new(bytes))
    }

    fn consumer(pool: &Arc<dyn MemoryPool>, name: &str, spills: bool) -> MemoryReservation {
        MemoryConsumer::new(name).with_can_spill(spills).register(pool)
    }

    #[test]
    fn rows_of_a_sort_leave_room_for_its_merge() {
        let pool = pool(8_000);
        let (first, merge) =
            (consumer(&pool, "ExternalSorter[0]", true), consumer(&pool, "ExternalSorterMerge[0]", false));
        let (second, greedy) =
            (consumer(&pool, "ExternalSorter[1]", true), consumer(&pool, "ExternalSorterMerge[1]", false));
        assert!(first.try_grow(1_801).is_err(), "a share is 3,000");
        first.try_grow(1_800).unwrap();
        second.try_grow(1_800).unwrap();
        assert!(second.try_grow(1).is_err());
        second.free();
        assert!(greedy.try_grow(3_001).is_err(), "the share of another is not taken");
        greedy.try_grow(3_000).unwrap();
        first.free();
        merge.try_grow(3_000).unwrap();
        let last = consumer(&pool, "SortPreservingMergeExec[0]", false);
        last.try_grow(2_000).unwrap();
        assert!(last.try_grow(1).is_err(), "there is no more");
        assert_eq!(pool.reserved(), 8_000);
    }

    /// What a sort writes to disk it takes from its merge and holds until it is written, beside the batches that wait to be
    /// merged: each of these is a reservation of its own.
    #[test]
    fn rows_that_are_written_leave_room_for_the_merge_they_come_from() {
        let pool = pool(8_000);
        let rows = consumer(&pool, "ExternalSorter[0]", true);
        let merge = consumer(&pool, "ExternalSorterMerge[0]", false);
        let _other = consumer(&pool, "ExternalSorter[0]", true);
        let _its_merge = consumer(&pool, "ExternalSorterMerge[0]", false);
        rows.try_grow(1_800).unwrap();
        let batches = [rows.split(900), rows.split(900)];
        assert!(rows.try_grow(1).is_err(), "a share is 3,000, whoever holds it");
        drop(batches);
        let cursors = merge.new_empty();
        cursors.try_grow(1_500).unwrap();
        rows.try_grow(700).unwrap();
        assert!(rows.try_grow(100).is_err(), "a quarter stays for the merge");
        let output = merge.new_empty();
        output.try_grow(800).unwrap();
        assert!(cursors.try_grow(1).is_err());
    }

    #[test]
    fn queries_get_what_streams_leave_and_a_quarter_at_least() {
        let streams = StreamsHeld::default();
        let pool: Arc<dyn MemoryPool> = Arc::new(SharesPool::beside(8_000, streams.clone()));
        let (join, stream) = (consumer(&pool, "HashJoinInput", false), streams.share());
        join.try_grow(3_000).unwrap();
        stream.set(5_000);
        let error = join.try_grow(1).unwrap_err().to_string();
        assert!(error.contains("there are 0.0 B; streams hold 4.9 KB of 7.8 KB"), "{error}");
        stream.set(4_000);
        join.try_grow(1_000).unwrap();
        stream.set(80_000);
        assert!(join.try_grow(1).is_err(), "what it has is more than what is left");
        join.free();
        join.try_grow(2_000).unwrap();
        assert!(join.try_grow(1).is_err());
        drop(stream);
        join.try_grow(6_000).unwrap();
    }

    #[test]
    fn what_cannot_spill_may_have_all_that_is_there() {
        let pool = pool(8_000);
        let join = consumer(&pool, "HashJoinInput", false);
        join.try_grow(6_000).unwrap();
        let sums = consumer(&pool, "GroupedHashAggregateStream[0] (sum)", true);
        assert!(sums.try_grow(2_001).is_err());
        sums.try_grow(2_000).unwrap();
        assert!(join.try_grow(1).is_err());
        drop((join, sums));
        assert_eq!(pool.reserved(), 0);
    }
}
