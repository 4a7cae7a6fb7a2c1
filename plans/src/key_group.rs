//! Key groups: the fixed number of parts that keyed state is cut into, so that it can be rescaled.
//!
//! A row belongs to the key group of its key's hash; a task owns a contiguous range of key groups.
//! The hash must be the same in every process of a cluster: so DataFusion's `create_hashes` with a
//! fixed seed, not a randomly keyed one. (It may change between DataFusion releases: state on disk
//! will need a hash whose values are pinned.)

use arrow::array::ArrayRef;
use datafusion::common::hash_utils::{RandomState, create_hashes};

use crate::error::Result;

/// How many key groups a job has.
pub const KEY_GROUPS: u32 = 128;

/// The fixed seed of the key hash.
const SEED: u64 = 0x7469_6465_6d69_6c6c;

/// The key group of every row of `keys` (columns of equal length, at least one).
pub fn key_groups(keys: &[ArrayRef], hashes: &mut Vec<u64>) -> Result<()> {
    let rows = keys.first().map_or(0, |column| column.len());
    hashes.clear();
    hashes.resize(rows, 0);
    create_hashes(keys, &RandomState::with_seed(SEED), hashes)?;
    // The upper bits: hash tables inside the operators use the lower ones.
    for hash in hashes.iter_mut() {
        *hash = (*hash >> 32) % u64::from(KEY_GROUPS);
    }
    Ok(())
}

/// The subtask that owns `key_group` at this parallelism: contiguous, balanced ranges, as Flink's.
#[must_use]
pub fn owner(key_group: u32, parallelism: u32) -> u32 {
    debug_assert!(key_group < KEY_GROUPS && parallelism > 0);
    key_group * parallelism / KEY_GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subtask_owns_a_contiguous_range() {
        for parallelism in [1, 2, 3, 4, 7, 128] {
            let owners: Vec<u32> = (0..KEY_GROUPS).map(|group| owner(group, parallelism)).collect();
            assert!(owners.is_sorted());
            assert_eq!(owners.first(), Some(&0));
            assert_eq!(owners.last(), Some(&(parallelism - 1)));
        }
    }
}
