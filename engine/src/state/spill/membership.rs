//! Whether a key may be in a set, for a dozen bits a key: a Bloom filter (Bloom, 1970) in blocks of a cache line
//! (Putze, Sanders and Singler, 2007). It says "no" with certainty, and "yes" to one in 150 of what is not there.

/// Words of a block: one cache line.
const BLOCK_WORDS: usize = 8;

/// Bits for each key, and how many of them it sets.
const BITS_PER_KEY: usize = 12;
const PROBES: usize = 7;

/// A set of hashes that is filled once. See the [module](self).
#[derive(Debug)]
pub(super) struct Membership {
    blocks: Vec<[u64; BLOCK_WORDS]>,
}

impl Membership {
    /// Room for so many hashes.
    pub(super) fn for_keys(keys: usize) -> Self {
        let blocks = (keys * BITS_PER_KEY).div_ceil(BLOCK_WORDS * 64).max(1);
        Self { blocks: vec![[0; BLOCK_WORDS]; blocks] }
    }

    pub(super) fn add(&mut self, hash: u64) {
        let block = self.block_of(hash);
        for (word, bit) in places(hash) {
            self.blocks[block][word] |= bit;
        }
    }

    /// Whether this hash may have been added.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block_of(hash)];
        places(hash).all(|(word, bit)| block[word] & bit != 0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<[u64; BLOCK_WORDS]>()
    }

    /// Neighbours in the order of hashes are neighbours here.
    fn block_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize
    }
}

/// The words of a block, and the bits in them, that stand for a hash: nine bits of another hash for each.
fn places(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = mixed ^ (mixed >> 32);
    (0..PROBES).map(move |probe| {
        let place = (mixed >> (9 * probe)) & 511;
        ((place / 64) as usize, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn what_was_added_is_there_and_little_else() {
        let hasher = RandomState::new();
        let hashes = |numbers: std::ops::Range<u32>| numbers.map(|number| hasher.hash_one(number)).collect::<Vec<_>>();
        let mut set = Membership::for_keys(10_000);
        hashes(0..10_000).into_iter().for_each(|hash| set.add(hash));
        assert!(hashes(0..10_000).into_iter().all(|hash| set.may_hold(hash)));
        let wrong = hashes(10_000..20_000).into_iter().filter(|hash| set.may_hold(*hash)).count();
        assert!(wrong < 150, "{wrong} of 10000");
        assert!(set.bytes() < 16_000);
    }
}
