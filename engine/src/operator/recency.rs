//! Which keys have to go when there is no room for all: those without a row lately.
//!
//! A key has a second chance (Corbató, 1968): the first to go are those that no row has touched since keys went last.
//! Among them, those that have been in memory for longest.

/// See the [module](self).
#[derive(Default)]
pub(super) struct Recency {
    /// Of each number, whether a row has touched it.
    touched: Vec<bool>,
}

impl Recency {
    /// A row touches a key.
    pub(super) fn note(&mut self, number: usize) {
        if number >= self.touched.len() {
            self.touched.resize((number + 1).next_power_of_two(), false);
        }
        self.touched[number] = true;
    }

    /// Which of so many keys go if so many are kept, in their order. Nothing is touched then.
    pub(super) fn take_cold(&mut self, keys: usize, kept: usize) -> Vec<u32> {
        let touched = std::mem::take(&mut self.touched);
        let is_touched = |number: &u32| touched.get(*number as usize).copied().unwrap_or_default();
        let (warm, mut cold): (Vec<u32>, Vec<u32>) = (0..keys as u32).partition(is_touched);
        cold.extend(warm);
        cold.truncate(keys.saturating_sub(kept));
        cold.sort_unstable();
        cold
    }

    /// Keeps these keys only: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) {
        let is_touched = |number: &u32| self.touched.get(*number as usize).copied().unwrap_or_default();
        self.touched = live.iter().map(is_touched).collect();
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.touched.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::changed_keys::others;

    #[test]
    fn what_was_touched_lately_goes_last() {
        let mut recency = Recency::default();
        [1, 3, 4].into_iter().for_each(|number| recency.note(number));
        assert_eq!(recency.take_cold(6, 3), [0, 2, 5]);
        [1, 3, 4].into_iter().for_each(|number| recency.note(number));
        assert_eq!(recency.take_cold(6, 1), [0, 1, 2, 3, 5], "the oldest of those that were");
        assert_eq!(recency.take_cold(6, 4), [0, 1], "nothing was touched since");
        recency.note(5);
        recency.keep(&others(&[0, 3], 6));
        assert_eq!(recency.take_cold(4, 1), [0, 1, 2], "it is number 3 now");
        assert!(recency.take_cold(4, 9).is_empty());
    }
}
