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

/// The numbers that [`CategoryDictionary::number_or_insert`] gives to NULL, to what is not stored, and to the first
/// name.
const NULL_NUMBER: u32 = 0;
const OVERFLOW_NUMBER: u32 = 1;
const FIRST_NUMBER: u32 = 2;

/// The most text that one feature's categories may hold, in bytes; later ones share the overflow
/// slot. It keeps a feature that turns out to be free text from growing a snapshot without end.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// What a category is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Category {
    /// A text, or `false` or `true`.
    Named(String),
    /// NULL, which is a category like any other.
    Null,
    /// All those beyond the most that are told apart.
    Other,
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

    /// The number of a category in this feature alone, which never changes: NULL has 0, those that are not stored
    /// share 1, others count from 2 by first sight. A dictionary has slots or numbers, and not both.
    #[inline]
    pub(crate) fn number_or_insert(&mut self, category: Option<&str>) -> u32 {
        let next = FIRST_NUMBER + self.entries.len() as u32;
        let Some(name) = category else {
            return take_slot(&mut self.null_slot, || NULL_NUMBER);
        };
        let hash = self.hasher.hash_one(name);
        match self.find(hash, name) {
            Some(number) => number,
            None if self.has_room(name) => self.insert(hash, name, next),
            None => take_slot(&mut self.overflow_slot, || OVERFLOW_NUMBER),
        }
    }

    /// How many names are stored.
    pub(crate) fn names(&self) -> usize {
        self.entries.len()
    }

    /// Past the largest number of a category.
    pub(crate) fn numbers(&self) -> usize {
        FIRST_NUMBER as usize + self.entries.len()
    }

    /// The slots in the order that a snapshot stores them: NULL, overflow, then by first sight.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let special = [self.null_slot, self.overflow_slot].into_iter().filter(|&slot| slot != NO_SLOT);
        special.chain(self.entries.iter().map(|entry| entry.slot))
    }

    /// What each of [`Self::slots`] stands for, and the slot.
    pub(crate) fn categories(&self) -> impl Iterator<Item = (Category, u32)> + '_ {
        let special = [(Category::Null, self.null_slot), (Category::Other, self.overflow_slot)];
        let name = |entry| self.name(entry).unwrap_or_default().to_owned();
        let named = self.entries.iter().map(move |entry| (Category::Named(name(entry)), entry.slot));
        special.into_iter().filter(|(_, slot)| *slot != NO_SLOT).chain(named)
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

    /// Rebuilds a dictionary that has numbers.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub(crate) fn restore_numbered(state: &DictionaryState, categories_max: usize) -> Result<Self> {
        // What comes before the names takes slots only where it is there.
        let mut next = FIRST_NUMBER - u32::from(state.has_null) - u32::from(state.has_overflow);
        let mut dictionary = Self::restore(state, categories_max, &mut next)?;
        dictionary.null_slot = if state.has_null { NULL_NUMBER } else { NO_SLOT };
        dictionary.overflow_slot = if state.has_overflow { OVERFLOW_NUMBER } else { NO_SLOT };
        Ok(dictionary)
    }

    #[inline]
    fn find(&self, hash: u64, name: &str) -> Option<u32> {
        let text = self.text.as_bytes();
        let is_name = |entry: &Entry| text.get(entry.start as usize..entry.end as usize) == Some(name.as_bytes());
        self.table.find(hash, is_name).map(|entry| entry.slot)
    }

    /// Whether this name may be stored.
    pub(crate) fn has_room(&self, name: &str) -> bool {
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
    use super::{Category, CategoryDictionary, NO_SLOT};

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
        let categories: Vec<_> = dictionary.categories().map(|(category, _)| category).collect();
        let named = |name: &str| Category::Named(name.into());
        assert_eq!(categories, [Category::Other, named("a"), named("b")]);
    }

    #[test]
    fn numbers_outlast_a_snapshot() {
        let mut dictionary = CategoryDictionary::new(2);
        let names = [Some("a"), Some("b"), Some("c"), None, Some("a"), Some("d")];
        let numbers = names.map(|name| dictionary.number_or_insert(name));
        assert_eq!(numbers, [2, 3, 1, 0, 2, 1]);
        let mut without = CategoryDictionary::new(2);
        assert_eq!([Some("a"), Some("b")].map(|name| without.number_or_insert(name)), [2, 3]);
        let restored = CategoryDictionary::restore_numbered(&dictionary.state(), 2).unwrap();
        assert_eq!(names.map(|name| restored.slot(name)), numbers);
        let restored = CategoryDictionary::restore_numbered(&without.state(), 2).unwrap();
        assert_eq!(names.map(|name| restored.slot(name)), [2, 3, NO_SLOT, NO_SLOT, 2, NO_SLOT]);
        assert_eq!((restored.numbers(), restored.state()), (4, without.state()));
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
