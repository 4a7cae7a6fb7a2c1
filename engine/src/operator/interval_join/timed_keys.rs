//! The held rows of each key by their event time.
//!
//! Most keys of a large join have one row, so neither a key nor its only row is an allocation: the keys'
//! bytes stand one behind the other, and a key's rows leave their entry at the second one.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

use crate::operator::held_rows::Place;

/// A row by its event time and where it is held.
pub(super) type HeldRow = (i64, Place);

/// See the [module](self).
#[derive(Default)]
pub(super) struct TimedKeys {
    keys: HashTable<Key>,
    /// The bytes of all keys, those without rows too until the next [`Self::retain`].
    bytes: Vec<u8>,
    hasher: DefaultHashBuilder,
}

struct Key {
    hash: u64,
    /// Where its bytes are.
    start: usize,
    end: usize,
    /// By time; those of one time as they came.
    rows: SmallVec<[HeldRow; 1]>,
}

impl TimedKeys {
    /// The rows of a key by time.
    pub(super) fn rows(&self, key: &[u8]) -> &[HeldRow] {
        let hash = self.hasher.hash_one(key);
        let found = self.keys.find(hash, |known| known.hash == hash && &self.bytes[known.start..known.end] == key);
        found.map_or(&[], |known| known.rows.as_slice())
    }

    /// Adds a row to a key.
    pub(super) fn insert(&mut self, key: &[u8], row: HeldRow) {
        let hash = self.hasher.hash_one(key);
        let bytes = &mut self.bytes;
        let is_key = |known: &Key| known.hash == hash && &bytes[known.start..known.end] == key;
        match self.keys.entry(hash, is_key, |known| known.hash) {
            Entry::Occupied(known) => insert_by_time(&mut known.into_mut().rows, row),
            Entry::Vacant(free) => {
                let start = bytes.len();
                bytes.extend_from_slice(key);
                free.insert(Key { hash, start, end: bytes.len(), rows: SmallVec::from_buf([row]) });
            }
        }
    }

    /// Keeps the rows for which `keep` holds.
    pub(super) fn retain(&mut self, keep: impl Fn(&HeldRow) -> bool) {
        let (old, old_bytes) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.bytes));
        for mut key in old {
            key.rows.retain(|row| keep(row));
            if key.rows.is_empty() {
                continue;
            }
            let bytes = &old_bytes[key.start..key.end];
            (key.start, key.end) = (self.bytes.len(), self.bytes.len() + bytes.len());
            self.bytes.extend_from_slice(bytes);
            self.keys.insert_unique(key.hash, key, |known| known.hash);
        }
    }

    /// All rows, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &HeldRow> {
        self.keys.iter().flat_map(|key| &key.rows)
    }

    /// All rows, in no order, to be given other places.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut HeldRow> {
        self.keys.iter_mut().flat_map(|key| &mut key.rows)
    }

    /// Bytes held, but for those of keys with several rows, which the caller counts by row.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.capacity() + self.keys.capacity() * size_of::<Key>()
    }
}

/// Most rows come in order: they go to the end.
fn insert_by_time(rows: &mut SmallVec<[HeldRow; 1]>, row: HeldRow) {
    match rows.last() {
        Some((last, _)) if *last > row.0 => {
            let at = rows.partition_point(|(time, _)| *time <= row.0);
            rows.insert(at, row);
        }
        _ => rows.push(row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_key_and_in_order_of_time_before_and_after_some_went() {
        let mut keys = TimedKeys::default();
        for (key, time) in [("b", 5), ("a", 3), ("", 9), ("b", 2), ("b", 5), ("ab", 1)] {
            let number = keys.all().count() as u32;
            keys.insert(key.as_bytes(), (time, (0, number)));
        }
        assert_eq!(keys.rows(b"b"), [(2, (0, 3)), (5, (0, 0)), (5, (0, 4))]);
        assert_eq!(keys.rows(b""), [(9, (0, 2))]);
        assert_eq!(keys.rows(b"c"), []);
        keys.retain(|(time, _)| *time > 2);
        assert_eq!(keys.rows(b"b"), [(5, (0, 0)), (5, (0, 4))]);
        assert_eq!(keys.rows(b"ab"), []);
        assert_eq!(keys.bytes.len(), 2, "the bytes of a key without rows are gone");
        keys.all_mut().for_each(|(_, place)| place.0 = 7);
        assert_eq!(keys.rows(b"a"), [(3, (7, 1))]);
    }
}
