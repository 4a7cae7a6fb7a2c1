//! Keys in memory, and the newest layer that has each.

use arrow::row::Rows;
use hashbrown::HashTable;

/// See the [module](self).
#[derive(Default)]
pub(super) struct HeldKeys {
    /// In batches, each with the layer that it is from.
    encoded: Vec<(Rows, usize)>,
    encoded_bytes: usize,
    places: HashTable<Place>,
}

/// Where a key is among the encoded ones of the newest layer that has it. As many keys as a job's state has may have
/// changed, so half of their hash does.
struct Place {
    hash: u32,
    batch: u32,
    row: u32,
}

impl Place {
    /// What the table finds places by. It looks at the first bits, and at the last.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl HeldKeys {
    /// Notes keys of a layer, whose hashes are these. Layers come in the order of their numbers.
    pub(super) fn note(&mut self, layer: usize, keys: Rows, hashes: &[u32]) {
        let batch = self.encoded.len() as u32;
        self.encoded_bytes += keys.size();
        self.encoded.push((keys, layer));
        for (row, hash) in (0u32..).zip(hashes) {
            let key = self.encoded[batch as usize].0.row(row as usize);
            if self.find(*hash, key.data()).is_none() {
                let rehash = |place: &Place| Place::spread(place.hash);
                self.places.insert_unique(Place::spread(*hash), Place { hash: *hash, batch, row }, rehash);
            }
        }
    }

    /// Whether a key may have this hash.
    pub(super) fn may_have(&self, hash: u32) -> bool {
        self.places.find(Place::spread(hash), |place| place.hash == hash).is_some()
    }

    /// The newest layer that has a key.
    pub(super) fn find(&self, hash: u32, key: &[u8]) -> Option<usize> {
        let is_found = |place: &Place| place.hash == hash && self.key(place) == key;
        self.places.find(Place::spread(hash), is_found).map(|place| self.encoded[place.batch as usize].1)
    }

    fn key(&self, place: &Place) -> &[u8] {
        self.encoded[place.batch as usize].0.row(place.row as usize).data()
    }

    /// All keys, each with its layer.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&[u8], usize)> {
        self.places.iter().map(|place| (self.key(place), self.encoded[place.batch as usize].1))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        // A byte of each place is the table's own.
        self.encoded_bytes + self.places.capacity() * (size_of::<Place>() + 1)
    }
}
