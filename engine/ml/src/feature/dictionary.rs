//! Numbers the categories of one feature as they appear, each with the slot of its weight.
//!
//! All names live in one string, so growing rarely allocates and a snapshot is two copies. The hash
//! seed is random, and no result depends on it: order always means the order of first sight.

use bincode::{Decode, Encode};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use crate::error::{MlError, Result};

/// The slot of a category without a weight: past the end of any weight vector, so it adds nothing.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// The most text that one feature's categories may hold, in bytes; later ones share the overflow
/// slot. It keeps a feature that turns out to be free text from growing a snapshot without end.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// A category of a feature, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Category {
    /// NULL.
    Null,
    /// All categories past `max_categories` together.
    Other,
    /// A text, or `true` or `false`.
    Name(String),
}

/// The categories of one feature.
#[derive(Debug, Clone)]
pub(crate) struct CategoryDictionary {
    /// Names in order of first sight, end to end.
    text: String,
    /// One entry for each name, in the same order.
    entries: Vec<Entry>,
    /// The same entries by the hash of their name.
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
    /// Names that may be stored before the rest share `overflow_slot`.
    categories_max: usize,
    /// The slot of NULL, or `NO_SLOT` before it is seen.
    null_slot: u32,
    /// The slot shared by the names that were not stored, or `NO_SLOT` while there are none.
    overflow_slot: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    end: u32,
    slot: u32,
}

impl CategoryDictionary {
    pub(crate) fn new(categories_max: usize) -> Self {
        Self {
            text: String::new(),
            entries: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            categories_max,
            null_slot: NO_SLOT,
            overflow_slot: NO_SLOT,
        }
    }

    /// The slot of a category, or `NO_SLOT` for one that has no weight.
    #[inline]
    pub(crate) fn slot(&self, category: Option<&str>) -> u32 {
        match category {
            Some(name) => self.find(self.hasher.hash_one(name), name).unwrap_or(self.overflow_slot),
            None => self.null_slot,
        }
    }

    /// The slot of a category; one seen for the first time gets `new_slot()`, or the shared one.
    #[inline]
    pub(crate) fn slot_or_insert(&mut self, category: Option<&str>, new_slot: impl FnOnce() -> u32) -> u32 {
        let Some(name) = category else {
            return take_slot(&mut self.null_slot, new_slot);
        };
        let hash = self.hasher.hash_one(name);
        match self.find(hash, name) {
            Some(slot) => slot,
            None if self.has_room(name) => self.insert(hash, name, new_slot()),
            None => take_slot(&mut self.overflow_slot, new_slot),
        }
    }

    /// The slots in the order that a snapshot stores them: NULL, overflow, then by first sight.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let special = [self.null_slot, self.overflow_slot].into_iter().filter(|&slot| slot != NO_SLOT);
        special.chain(self.entries.iter().map(|entry| entry.slot))
    }

    /// The categories in the order of [`Self::slots`].
    pub(crate) fn names(&self) -> Vec<Category> {
        let null = (self.null_slot != NO_SLOT).then_some(Category::Null);
        let other = (self.overflow_slot != NO_SLOT).then_some(Category::Other);
        let names = self.entries.iter().map(|entry| Category::Name(self.name(entry).unwrap_or_default().to_owned()));
        null.into_iter().chain(other).chain(names).collect()
    }

    /// Adds `other`'s categories, calling `pair(own, others)` with the slots of each of them.
    pub(crate) fn merge(&mut self, other: &Self, mut new_slot: impl FnMut() -> u32, mut pair: impl FnMut(u32, u32)) {
        if other.null_slot != NO_SLOT {
            pair(take_slot(&mut self.null_slot, &mut new_slot), other.null_slot);
        }
        if other.overflow_slot != NO_SLOT {
            pair(take_slot(&mut self.overflow_slot, &mut new_slot), other.overflow_slot);
        }
        for entry in &other.entries {
            let slot = self.slot_or_insert(other.name(entry), &mut new_slot);
            pair(slot, entry.slot);
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let entries = self.entries.capacity() + self.table.capacity();
        self.text.capacity() + entries * size_of::<Entry>()
    }

    pub(crate) fn state(&self) -> DictionaryState {
        DictionaryState {
            has_null: self.null_slot != NO_SLOT,
            has_overflow: self.overflow_slot != NO_SLOT,
            lengths: self.entries.iter().map(|entry| entry.end - entry.start).collect(),
            text: self.text.clone(),
        }
    }

    /// Rebuilds a dictionary, numbering its slots from `*next_slot` in the order of [`Self::slots`].
    ///
    /// # Errors
    /// `CorruptState` when the names do not fill the text, repeat, or are more than allowed.
    pub(crate) fn restore(state: &DictionaryState, categories_max: usize, next_slot: &mut u32) -> Result<Self> {
        if state.lengths.len() > categories_max || state.text.len() > TEXT_BYTES_MAX {
            return Err(MlError::corrupt("a feature has more categories than its limit"));
        }
        let mut dictionary = Self::new(categories_max);
        let mut new_slot = || {
            *next_slot += 1;
            *next_slot - 1
        };
        if state.has_null {
            dictionary.null_slot = new_slot();
        }
        if state.has_overflow {
            dictionary.overflow_slot = new_slot();
        }
        dictionary.reserve(state);
        let mut rest = state.text.as_str();
        for &length in &state.lengths {
            let (name, after) = rest
                .split_at_checked(length as usize)
                .ok_or(MlError::corrupt("category names do not fit their text"))?;
            let hash = dictionary.hasher.hash_one(name);
            if dictionary.find(hash, name).is_some() {
                return Err(MlError::corrupt("a category appears twice"));
            }
            dictionary.insert(hash, name, new_slot());
            rest = after;
        }
        if rest.is_empty() { Ok(dictionary) } else { Err(MlError::corrupt("category names do not fit their text")) }
    }

    #[inline]
    fn find(&self, hash: u64, name: &str) -> Option<u32> {
        let text = self.text.as_bytes();
        let is_name = |entry: &Entry| text.get(entry.start as usize..entry.end as usize) == Some(name.as_bytes());
        self.table.find(hash, is_name).map(|entry| entry.slot)
    }

    fn has_room(&self, name: &str) -> bool {
        self.entries.len() < self.categories_max && self.text.len() + name.len() <= TEXT_BYTES_MAX
    }

    #[cold]
    fn insert(&mut self, hash: u64, name: &str, slot: u32) -> u32 {
        // `TEXT_BYTES_MAX` keeps both ends within 32 bits.
        let start = self.text.len() as u32;
        self.text.push_str(name);
        let entry = Entry { start, end: self.text.len() as u32, slot };
        let (text, hasher) = (&self.text, &self.hasher);
        let hash_of = |entry: &Entry| hasher.hash_one(&text[entry.start as usize..entry.end as usize]);
        self.table.insert_unique(hash, entry, hash_of);
        self.entries.push(entry);
        slot
    }

    fn reserve(&mut self, state: &DictionaryState) {
        self.text.reserve(state.text.len());
        self.entries.reserve(state.lengths.len());
        let (text, hasher) = (&self.text, &self.hasher);
        let hash_of = |entry: &Entry| hasher.hash_one(&text[entry.start as usize..entry.end as usize]);
        self.table.reserve(state.lengths.len(), hash_of);
    }

    fn name(&self, entry: &Entry) -> Option<&str> {
        self.text.get(entry.start as usize..entry.end as usize)
    }
}

/// A dictionary as a snapshot holds it; the slots follow from the order.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct DictionaryState {
    has_null: bool,
    has_overflow: bool,
    /// The length of each name in bytes, in order of first sight.
    lengths: Vec<u32>,
    /// The names, end to end.
    text: String,
}

fn take_slot(place: &mut u32, new_slot: impl FnOnce() -> u32) -> u32 {
    if *place == NO_SLOT {
        *place = new_slot();
    }
    *place
}

#[cfg(test)]
mod tests {
    use super::{CategoryDictionary, NO_SLOT};

    /// Learns the names in turn and returns their slots, which count from 0.
    fn learnt(dictionary: &mut CategoryDictionary, names: &[Option<&str>]) -> Vec<u32> {
        let mut next = dictionary.slots().count() as u32;
        let mut slots = Vec::new();
        for &name in names {
            slots.push(dictionary.slot_or_insert(name, || {
                next += 1;
                next - 1
            }));
        }
        slots
    }

    #[test]
    fn null_is_a_category_of_its_own() {
        let mut dictionary = CategoryDictionary::new(10);
        assert_eq!(learnt(&mut dictionary, &[Some("a"), None, Some(""), Some("a"), None]), [0, 1, 2, 0, 1]);
        assert_eq!(dictionary.slot(Some("b")), NO_SLOT);
    }

    #[test]
    fn categories_past_the_limit_share_one_slot() {
        let mut dictionary = CategoryDictionary::new(2);
        assert_eq!(learnt(&mut dictionary, &[Some("a"), Some("b"), Some("c"), Some("d"), Some("b")]), [0, 1, 2, 2, 1]);
        assert_eq!(dictionary.slot(Some("never seen")), 2);
    }

    #[test]
    fn merge_adds_the_other_categories_and_pairs_the_slots() {
        let (mut left, mut right) = (CategoryDictionary::new(3), CategoryDictionary::new(3));
        learnt(&mut left, &[Some("a"), Some("b")]);
        learnt(&mut right, &[Some("b"), Some("c"), Some("d"), None]);
        let (mut next, mut pairs) = (2, Vec::new());
        let new_slot = || {
            next += 1;
            next - 1
        };
        left.merge(&right, new_slot, |own, others| pairs.push((own, others)));
        // NULL is new, "b" is known, "c" fits, and "d" goes to the overflow slot.
        assert_eq!(pairs, [(2, 3), (1, 0), (3, 1), (4, 2)]);
    }
}
