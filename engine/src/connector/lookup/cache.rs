//! The rows of keys that were asked for not long ago.
//!
//! Bounded in rows: the keys that have not been asked for longest go first. That a key has no rows is
//! worth remembering too, and counts as one.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use hashbrown::HashMap;

use crate::task::batch_bytes;

/// See the [module](self).
pub(super) struct Cache {
    rows_max: usize,
    ttl_ns: u64,
    entries: HashMap<Box<[u8]>, Entry>,
    /// Keys by when they were last asked for.
    by_use: BTreeMap<u64, Box<[u8]>>,
    uses: u64,
    rows: usize,
    bytes: usize,
}

struct Entry {
    rows: RecordBatch,
    fetched_ns: u64,
    last_use: u64,
}

impl Entry {
    fn weight(&self) -> usize {
        self.rows.num_rows().max(1)
    }
}

impl Cache {
    /// A cache for so many rows, which are true for so long.
    pub(super) fn new(rows_max: usize, ttl_ns: u64) -> Self {
        Self { rows_max, ttl_ns, entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, rows: 0, bytes: 0 }
    }

    /// What is known of a key, if it is not too old.
    pub(super) fn get(&mut self, key: &[u8], now_ns: u64) -> Option<RecordBatch> {
        let entry = self.entries.get_mut(key)?;
        if now_ns.saturating_sub(entry.fetched_ns) >= self.ttl_ns {
            self.remove(key);
            return None;
        }
        self.uses += 1;
        if let Some(key) = self.by_use.remove(&entry.last_use) {
            self.by_use.insert(self.uses, key);
        }
        entry.last_use = self.uses;
        Some(entry.rows.clone())
    }

    /// Notes what a key has, and forgets what there is no room for.
    pub(super) fn insert(&mut self, key: &[u8], rows: RecordBatch, now_ns: u64) {
        self.remove(key);
        self.uses += 1;
        let entry = Entry { rows, fetched_ns: now_ns, last_use: self.uses };
        self.rows += entry.weight();
        self.bytes += batch_bytes(&entry.rows) + key.len();
        self.by_use.insert(self.uses, Box::from(key));
        self.entries.insert(Box::from(key), entry);
        while self.rows > self.rows_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.last_use);
            self.rows -= entry.weight();
            self.bytes -= batch_bytes(&entry.rows) + key.len();
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::rows::int64;

    fn rows(values: &[i64]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![int64(values.iter().copied())]).unwrap()
    }

    fn known(cache: &mut Cache, now: u64) -> String {
        let known = |key: &&str| cache.get(key.as_bytes(), now).is_some();
        ["a", "b", "c"].into_iter().filter(known).collect()
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let mut cache = Cache::new(4, 100);
        cache.insert(b"a", rows(&[1, 2]), 0);
        cache.insert(b"b", rows(&[]), 0);
        assert_eq!(cache.get(b"a", 1).unwrap().num_rows(), 2);
        cache.insert(b"c", rows(&[3, 4]), 1);
        assert_eq!(known(&mut cache, 1), "ac", "b made room, although it had no rows");
        cache.insert(b"b", rows(&[5, 6, 7, 8, 9]), 1);
        assert_eq!(known(&mut cache, 1), "", "there is no room for b, nor for another beside it");
        assert_eq!((cache.rows, cache.bytes(), cache.by_use.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_too_old_is_asked_for_again() {
        let mut cache = Cache::new(10, 100);
        cache.insert(b"a", rows(&[1]), 50);
        assert!(cache.get(b"a", 149).is_some());
        assert!(cache.get(b"a", 150).is_none());
        assert_eq!((cache.rows, cache.bytes()), (0, 0));
        cache.insert(b"a", rows(&[1]), 150);
        cache.insert(b"a", rows(&[2, 3]), 160);
        assert_eq!(cache.get(b"a", 251).unwrap().num_rows(), 2);
        assert_eq!(cache.rows, 2);
    }
}
