//! Keys with numbers that have no room in memory. They are only looked up: in memory is a Bloom filter of each run, and
//! where its blocks are, some two bytes a key.

use super::ScratchFolder;
use super::backend::{Entry, Layout, Part, StateBackend};
use super::sorted_runs::SortedRuns;
use crate::error::Result;

/// See the [module](self).
pub(crate) struct NumberedKeys {
    store: SortedRuns,
}

impl NumberedKeys {
    /// None, in this folder.
    pub(crate) fn new(folder: ScratchFolder) -> Self {
        Self { store: SortedRuns::new(folder, Layout::ManyRuns) }
    }

    /// Puts keys. One may come again, with another number.
    pub(crate) fn put<'a>(&mut self, keys: impl Iterator<Item = (&'a [u8], usize)>) -> Result<()> {
        let entry = |(key, number)| Entry { key, stamp: number as i64, value: &[] };
        self.store.put(Part::Written, &keys.map(entry).collect::<Vec<_>>())
    }

    /// The least number of each of these keys, if it is here.
    pub(crate) fn least(&self, keys: &[&[u8]]) -> Result<Vec<Option<usize>>> {
        let mut least: Vec<Option<usize>> = vec![None; keys.len()];
        self.store.find(keys, &mut |place, entry| {
            let number = entry.stamp as usize;
            least[place] = Some(least[place].map_or(number, |least| least.min(number)));
        })?;
        Ok(least)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.store.len() == 0
    }

    /// Bytes in memory.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.memory_bytes()
    }
}
