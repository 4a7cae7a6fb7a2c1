//! What each sort of a pool holds: rows that it collects, and the merge of them.
//!
//! To the pool these are two consumers with many reservations (one for each batch that waits to be merged), and nothing in
//! them says that they belong together but this: a sort registers its rows and then, on the same thread, its merge.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::thread::{self, ThreadId};

/// The part of a sort's share that its rows may have, in percent: a merge of them has been seen to take 1.5 times as
/// much (keys in a form that can be compared, batches that are not used up).
const ROWS_PERCENT: usize = 60;

/// The part of a share that rows and merge may have together before rows have to be written, in percent. The rest is for
/// the merge: rows that find no room go to disk, a merge that finds none fails.
const MERGING_PERCENT: usize = 75;

/// A consumer's id in DataFusion.
type Consumer = usize;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sorts {
    /// By the consumer of its rows.
    sorts: HashMap<Consumer, Sort>,
    /// The sort that a merge belongs to.
    merges: HashMap<Consumer, Consumer>,
    /// Sorts whose merge is not there yet, and the thread that registered them.
    begun: Vec<(ThreadId, Consumer)>,
}

/// Bytes of a sort.
#[derive(Clone, Copy, Debug, Default)]
struct Sort {
    rows: usize,
    merge: usize,
    /// Which of the two are there: a merge of what was written outlives the rows.
    consumers: u8,
}

impl Sort {
    fn bytes(self) -> usize {
        self.rows + self.merge
    }
}

impl Sorts {
    pub(super) fn len(&self) -> usize {
        self.sorts.len()
    }

    pub(super) fn begin(&mut self, rows: Consumer) {
        self.sorts.entry(rows).or_default().consumers += 1;
        self.begun.push((thread::current().id(), rows));
    }

    /// A merge of no sort that is known here is one whose rows take nothing.
    pub(super) fn begin_merge(&mut self, merge: Consumer) {
        let here = thread::current().id();
        let rows = match self.begun.iter().rposition(|(thread, _)| *thread == here) {
            Some(at) => self.begun.swap_remove(at).1,
            None => merge,
        };
        self.sorts.entry(rows).or_default().consumers += 1;
        self.merges.insert(merge, rows);
    }

    /// Does nothing for what is no sort's.
    pub(super) fn end(&mut self, consumer: Consumer) {
        self.begun.retain(|(_, rows)| *rows != consumer);
        let rows = self.merges.remove(&consumer).unwrap_or(consumer);
        if let Entry::Occupied(mut sort) = self.sorts.entry(rows) {
            sort.get_mut().consumers -= 1;
            if sort.get().consumers == 0 {
                sort.remove();
            }
        }
    }

    /// Does nothing for what is no sort's.
    pub(super) fn grow(&mut self, consumer: Consumer, bytes: usize) {
        if let Some(held) = self.held(consumer) {
            *held += bytes;
        }
    }

    /// Does nothing for what is no sort's.
    pub(super) fn shrink(&mut self, consumer: Consumer, bytes: usize) {
        if let Some(held) = self.held(consumer) {
            *held = held.saturating_sub(bytes);
        }
    }

    fn held(&mut self, consumer: Consumer) -> Option<&mut usize> {
        match self.merges.get(&consumer) {
            Some(rows) => self.sorts.get_mut(rows).map(|sort| &mut sort.merge),
            None => self.sorts.get_mut(&consumer).map(|sort| &mut sort.rows),
        }
    }

    /// What the rows of a sort may have of its share beyond what they hold.
    pub(super) fn left_for_rows(&self, rows: Consumer, share: usize) -> usize {
        let sort = self.sorts.get(&rows).copied().unwrap_or_default();
        let alone = (share / 100 * ROWS_PERCENT).saturating_sub(sort.rows);
        match sort.merge {
            0 => alone,
            _ => alone.min((share / 100 * MERGING_PERCENT).saturating_sub(sort.bytes())),
        }
    }

    /// What a merge may have of the share of its sort beyond what it holds.
    pub(super) fn left_for_merge(&self, merge: Consumer, share: usize) -> usize {
        let sort = self.merges.get(&merge).and_then(|rows| self.sorts.get(rows)).copied().unwrap_or_default();
        share.saturating_sub(sort.bytes())
    }
}
