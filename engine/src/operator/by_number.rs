//! What is known of each of an operator's keys, by the number of the key.
//!
//! There may be as much of it as there is memory, and keys come and go all the time. So it grows by an eighth, for a
//! vector that doubles is as large again as what it holds; and keys that go leave their room to those that come,
//! instead of a copy of the others that needs room beside it.

use std::ops::{Deref, DerefMut};

/// Grows by so many of the values that are there, or by more at once.
const GROWTH_PART: usize = 8;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct ByNumber<T>(Vec<T>);

impl<T> Default for ByNumber<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByNumber<T> {
    /// Adds what is known of the next number.
    pub(super) fn push(&mut self, value: T) {
        self.make_room(1);
        self.0.push(value);
    }

    /// Has something for so many numbers, new ones made so.
    pub(super) fn resize_with(&mut self, numbers: usize, new: impl FnMut() -> T) {
        self.make_room(numbers.saturating_sub(self.0.len()));
        self.0.resize_with(numbers, new);
    }

    fn make_room(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() < more {
            self.0.reserve_exact(more.max(self.0.len() / GROWTH_PART));
        }
    }

    /// Keeps these numbers only, which are in order: the i-th is the number i now. Of the last ones nothing may be known
    /// yet.
    pub(super) fn keep(&mut self, live: &[u32]) {
        debug_assert!(live.is_sorted(), "a number may only become smaller");
        let there = live.partition_point(|old| (*old as usize) < self.0.len());
        for (new, old) in live[..there].iter().enumerate() {
            self.0.swap(new, *old as usize);
        }
        self.0.truncate(there);
        if there < self.0.capacity() / 2 {
            self.0.shrink_to_fit();
        }
    }

    /// Bytes held: room that is empty is an eighth at most, or is about to be filled again.
    pub(super) fn bytes(&self) -> usize {
        self.0.len() * size_of::<T>()
    }
}

impl<T: Clone> ByNumber<T> {
    /// Has something for so many numbers, this for new ones.
    pub(super) fn resize(&mut self, numbers: usize, new: T) {
        self.resize_with(numbers, || new.clone());
    }
}

impl<T> Extend<T> for ByNumber<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        let values = values.into_iter();
        self.make_room(values.size_hint().0);
        values.for_each(|value| self.push(value));
    }
}

impl<T> Deref for ByNumber<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for ByNumber<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_an_eighth() {
        let mut values = ByNumber::default();
        for number in 0..100_000 {
            values.push(number);
            assert!(values.0.capacity() <= number + 1 + number / 8, "{} for {number}", values.0.capacity());
        }
        values.resize(150_000, 7);
        assert_eq!((values.0.capacity(), values[99_999], values[149_999]), (150_000, 99_999, 7));
        values.extend(0..10);
        assert_eq!((values.len(), values.0.capacity()), (150_010, 168_750));
    }

    #[test]
    fn what_goes_leaves_its_room() {
        let mut values = ByNumber::default();
        values.extend((0..100).map(|number| Some(Box::new(number))));
        let (room, live) = (values.0.capacity(), [1, 2, 5, 98, 99, 100, 101]);
        values.keep(&(0..90).collect::<Vec<_>>());
        assert_eq!((values.len(), values.0.capacity()), (90, room));
        values.resize(100, None);
        values.keep(&live);
        assert_eq!(values.iter().flatten().map(|number| **number).collect::<Vec<_>>(), [1, 2, 5]);
        assert_eq!((values.len(), values.0.capacity()), (5, 5), "most of it was empty");
    }
}
