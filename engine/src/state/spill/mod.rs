//! State that has no room in memory: operators put what has not been touched lately on local disk, and take it
//! back when a row asks for it.
//!
//! Reading order: [`backend`] is the seam, [`sorted_runs`] the store behind it, with its files ([`run`],
//! [`scratch`]), what it knows without reading them ([`membership`]) and when it puts them together ([`sizes`]);
//! [`rows`] is the container that operators have: Arrow columns by key, and [`batches`] the same for rows as state has
//! them; [`numbered_keys`] is for keys alone. [`run_queue`] has rows that wait for their time, [`set_aside`] what
//! snapshots wait with. All of it is scratch.
//! What outlives a process is in checkpoints, in their format.

mod backend;
mod batches;
mod membership;
mod numbered_keys;
mod rows;
mod run;
mod run_queue;
mod scratch;
mod set_aside;
mod sizes;
mod sorted_batch;
mod sorted_runs;

pub(crate) use backend::{Layout, Part};
pub(crate) use batches::{BatchesView, SpilledBatches, TakenRows, with_keys};
pub(crate) use numbered_keys::NumberedKeys;
pub(crate) use rows::{SpilledRows, SpilledView};
pub(crate) use run_queue::{QueuedView, RunQueue};
pub use scratch::ScratchFolder;
pub(crate) use set_aside::set_aside;
pub(crate) use sorted_batch::{SortedBatch, cut_before, in_order};

/// How much state an instance of an operator keeps in memory, and where the rest goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateMemory {
    /// Bytes; `None` if there is no limit.
    pub bytes_max: Option<usize>,
    /// Where the rest goes.
    pub scratch: ScratchFolder,
}

/// Of the bytes that operators may have, so many percent are left to them when they have too many.
const KEPT_PERCENT: usize = 70;

/// What is handled at a time takes no more than this part of the memory, but so many rows in any case.
const BESIDE_PART: usize = 32;
const ROWS_AT_ONCE_MIN: usize = 256;

impl StateMemory {
    /// How many keys there is room for, of so many, if it is not for all: they have so many bytes, and what is known
    /// of those on disk has others beside.
    pub(crate) fn room(&self, keys: usize, bytes: usize, beside: usize) -> Option<usize> {
        let excess = self.excess(bytes, beside).filter(|_| keys > 0)?;
        Some((keys as u128 * (bytes - excess) as u128 / bytes.max(1) as u128) as usize)
    }

    /// How many of so many bytes have to go, if there is no room for all of them.
    pub(crate) fn excess(&self, bytes: usize, beside: usize) -> Option<usize> {
        let bytes_max = self.bytes_max.filter(|bytes_max| bytes + beside > *bytes_max)?;
        let kept = (bytes_max / 100 * KEPT_PERCENT).saturating_sub(beside);
        Some(bytes.saturating_sub(kept))
    }

    /// How many rows are handled at a time, at most so many, if of such there are so many bytes for each: they are in
    /// memory beside those that are held.
    pub(crate) fn rows_at_once(&self, most: usize, row_bytes: usize) -> usize {
        let bytes = self.bytes_max.map_or(usize::MAX, |bytes_max| bytes_max / BESIDE_PART);
        (bytes / row_bytes.max(1)).clamp(most.min(ROWS_AT_ONCE_MIN), most)
    }

    /// Whether so many bytes are more than what is handled at a time takes, beside what is held.
    pub(crate) fn is_too_much_beside(&self, bytes: usize) -> bool {
        self.bytes_max.is_some_and(|bytes_max| bytes > bytes_max / BESIDE_PART)
    }

    /// Whether there is a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.bytes_max.is_some()
    }

    /// The same, without a limit unless state can go.
    pub(crate) fn limited_if(&self, can_go: bool) -> Self {
        Self { bytes_max: self.bytes_max.filter(|_| can_go), scratch: self.scratch.clone() }
    }

    /// The share of each of so many instances.
    #[must_use]
    pub fn shared_by(&self, instances: usize) -> Self {
        let share = |bytes: usize| (bytes / instances.max(1)).max(1);
        Self { bytes_max: self.bytes_max.map(share), scratch: self.scratch.clone() }
    }
}
