//! Where operators put state that has no room in their memory.
//!
//! The store is scratch: what must not be lost is in checkpoints. So nothing is flushed, a file goes with the
//! process that wrote it, and bytes may be laid out as this build likes.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use crate::error::Result;

/// An entry: any number of them may have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// What it is found by.
    pub(crate) key: &'a [u8],
    /// By what [`StateBackend::drop_before`] tells old entries; or it is found by that first.
    pub(crate) stamp: i64,
    /// What is found.
    pub(crate) value: &'a [u8],
}

/// Whether the operator's last snapshot has an entry as it is. The next one may be of what has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It has.
    Written,
    /// It lacks it, or has an older one.
    Unwritten,
}

/// By what entries are found, and in how many puts those of a key come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// By key, in one put: none of its entries is in the store then, and all that are taken are behind each other.
    OneRun,
    /// By key, in any number of puts.
    ManyRuns,
    /// By stamp and then by key, in any number of puts.
    ByStamp,
}

/// Whoever wants to see entries that are dropped.
pub(crate) type Dropped<'a> = dyn FnMut(Entry<'_>) -> Result<()> + 'a;

/// Entries by key, on local disk.
///
/// An operator calls it from its compute thread, as it calls its other containers. An error means that the disk is
/// full or broken: it ends the attempt, and what is in the store then is of no use to anybody.
pub(crate) trait StateBackend: Send {
    /// Adds entries. Of those of a key there are others in the store only if its layout says so.
    fn put(&mut self, part: Part, entries: &[Entry<'_>]) -> Result<()>;

    /// Takes the entries of these keys out, and shows each with its key's place in `keys` and the part it was in.
    fn take(&mut self, keys: &[&[u8]], found: &mut dyn FnMut(usize, Part, Entry<'_>)) -> Result<()>;

    /// Drops the entries with an older stamp, and shows them if somebody wants to see them.
    fn drop_before(&mut self, stamp: i64, dropped: Option<&mut Dropped<'_>>) -> Result<()>;

    /// Drops the entries with these stamps, by which the store is in order.
    fn drop_at(&mut self, stamps: Range<i64>) -> Result<()>;

    /// What is in the store now, or one part of it, in any order: what is put and taken later does not show.
    fn view(&self, only: Option<Part>) -> Arc<dyn StateView>;

    /// A snapshot has everything that is in the store now.
    fn note_written(&mut self);

    /// No entry has a lesser stamp, and none a greater one, than these; none if there are no entries.
    fn stamps(&self) -> Option<(i64, i64)>;

    /// How many entries there are.
    fn len(&self) -> usize;

    /// Bytes that it needs in memory.
    fn memory_bytes(&self) -> usize;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}

/// A store as it was at one moment. Any thread may read it, any number of times.
pub(crate) trait StateView: Send + Sync {
    /// Goes through it from the start.
    fn scan(&self) -> Box<dyn StateScan>;

    /// Shows the entries with a stamp, by which the store is in order, whose keys have such hashes.
    fn read(&self, stamp: i64, hashes: RangeInclusive<u64>, found: &mut dyn FnMut(Entry<'_>)) -> Result<()>;

    /// Shows the entries with a stamp, by which the store is in order, that have this key.
    fn find(&self, stamp: i64, key: &[u8], found: &mut dyn FnMut(Entry<'_>)) -> Result<()>;
}

/// Entries, one after another.
pub(crate) trait StateScan: Send {
    /// The next entry.
    fn next(&mut self) -> Result<Option<Entry<'_>>>;
}
