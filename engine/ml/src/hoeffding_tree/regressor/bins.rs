//! What a leaf of numbers knows of one feature: the labels beside its values, in at most 64 bins of neighbouring values.
//!
//! FIMT-DD keeps every value that was seen, which has no bound. Here a value within a bin joins it, and one in a gap between
//! bins makes a bin of its own, until there are 64. From then on it joins the neighbour with fewer rows; if that has
//! more than its share, it still makes a bin, and the two neighbours with the fewest rows become one. So a number with few
//! values has them all, and of others no bin comes to have many more rows than others, far values or not.

use bincode::{Decode, Encode};

use super::split::keep_better;
use crate::feature::moments::Moments;
use crate::hoeffding_tree::split::{Split, Test};
use crate::model::NUMERIC_MAGNITUDE_MAX;

/// The most bins: their borders are the thresholds that are tried. River's rounding to a tenth has twenty for a number
/// between -1 and 1.
const BINS_MAX: usize = 64;

/// How many times its share of the rows a bin may have for a value beside it to join it.
const SHARES_MAX: u64 = 2;

/// The labels beside the values from `min` to `max`.
#[derive(Debug, Clone, Copy, Encode, Decode)]
struct Bin {
    min: f64,
    max: f64,
    labels: Moments,
}

/// Bins by ascending value, that do not touch.
#[derive(Debug, Clone, Default, Encode, Decode)]
pub(super) struct Bins {
    bins: Vec<Bin>,
    /// Rows of all.
    rows: u64,
}

impl Bins {
    /// Takes one row; returns the bytes that this has grown by.
    pub(super) fn add(&mut self, value: f64, label: f64) -> usize {
        self.rows = self.rows.saturating_add(1);
        let place = self.bins.partition_point(|bin| bin.max < value);
        if let Some(bin) = self.bin_of(place, value) {
            (bin.min, bin.max) = (bin.min.min(value), bin.max.max(value));
            bin.labels.add(label);
            return 0;
        }
        let mut labels = Moments::default();
        labels.add(label);
        self.bins.insert(place, Bin { min: value, max: value, labels });
        if self.bins.len() <= BINS_MAX {
            return size_of::<Bin>();
        }
        self.join();
        0
    }

    /// The bin that a value joins, which comes before the one at this place or within it.
    fn bin_of(&mut self, place: usize, value: f64) -> Option<&mut Bin> {
        if self.bins.get(place).is_some_and(|bin| bin.min <= value) {
            return self.bins.get_mut(place);
        }
        if self.bins.len() < BINS_MAX {
            return None;
        }
        let rows = |place: usize| self.bins.get(place).map_or(u64::MAX, |bin| bin.labels.count());
        let before = place.wrapping_sub(1);
        let fewer = if rows(before) < rows(place) { before } else { place };
        let share = SHARES_MAX * (self.rows / BINS_MAX as u64 + 1);
        if rows(fewer) <= share { self.bins.get_mut(fewer) } else { None }
    }

    /// Makes one of the two neighbours with the fewest rows, of equals the first.
    fn join(&mut self) {
        let rows = |pair: &[Bin]| pair.iter().map(|bin| bin.labels.count()).fold(0, u64::saturating_add);
        let fewest = self.bins.windows(2).enumerate().min_by_key(|(_, pair)| rows(pair)).map(|(place, _)| place);
        if let Some(place) = fewest {
            let joined = self.bins.remove(place + 1);
            let bin = &mut self.bins[place];
            bin.max = joined.max;
            bin.labels.merge(&joined.labels);
        }
    }

    /// Replaces the best split of a leaf by one between two bins of this feature, if that gains more.
    pub(super) fn offer(&self, feature: usize, best: &mut Option<(f64, Split<Moments>)>) {
        // What is above each border, from the last one back.
        let mut above = vec![Moments::default(); self.bins.len()];
        for place in (1..self.bins.len()).rev() {
            let mut sum = above[place];
            sum.merge(&self.bins[place].labels);
            above[place - 1] = sum;
        }
        let mut below = Moments::default();
        for (pair, above) in self.bins.windows(2).zip(above) {
            below.merge(&pair[0].labels);
            let between = pair[0].max + (pair[1].min - pair[0].max) / 2.0;
            // Of two neighbouring numbers the middle is one of them.
            let threshold = if between < pair[1].min { between } else { pair[0].max };
            keep_better(best, feature, Test::AtMost(threshold), vec![below, above]);
        }
    }

    /// Bytes that this holds, beside itself.
    pub(super) fn bytes(&self) -> usize {
        self.bins.len() * size_of::<Bin>()
    }

    /// Whether so many rows could have led here.
    pub(super) fn is_plausible(&self, rows: u64) -> bool {
        let is_bin = |bin: &Bin| {
            bin.min.abs() <= NUMERIC_MAGNITUDE_MAX
                && bin.max.abs() <= NUMERIC_MAGNITUDE_MAX
                && bin.min <= bin.max
                && bin.labels.is_plausible(rows)
        };
        self.bins.len() <= BINS_MAX
            && self.bins.iter().all(is_bin)
            && self.bins.is_sorted_by(|left, right| left.max < right.min)
            && self.bins.iter().try_fold(0_u64, |sum, bin| sum.checked_add(bin.labels.count())) == Some(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::Bins;
    use crate::batch::throughput::noise;
    use crate::hoeffding_tree::split::Test;

    #[test]
    fn a_number_with_few_values_has_them_all() {
        let mut bins = Bins::default();
        for row in 0..600 {
            bins.add(f64::from(row % 60), f64::from(u8::from(row % 60 >= 17)));
        }
        assert_eq!(bins.bins.len(), 60);
        let mut best = None;
        bins.offer(3, &mut best);
        let (gain, split) = best.unwrap();
        assert_eq!((split.feature, split.test), (3, Test::AtMost(16.5)));
        // All that labels differ by: 600 rows of the variance 17 · 43 / 60².
        assert!((gain - 600.0 * 17.0 * 43.0 / 3600.0).abs() < 1e-9, "{gain}");
        assert_eq!(split.branches.iter().map(|branch| branch.count()).collect::<Vec<_>>(), [170, 430]);
    }

    #[test]
    fn bins_are_bounded_and_about_even() {
        // A cube, so that most are near zero, and some far away; and values that only grow.
        let cube = |row: usize| noise(row, 0).powi(3) * if row.is_multiple_of(1000) { 1e9 } else { 1.0 };
        let line = |row: usize| row as f64;
        for value in [&cube as &dyn Fn(usize) -> f64, &line] {
            let mut bins = Bins::default();
            let mut bytes = 0;
            for row in 0..20_000 {
                bytes += bins.add(value(row), 1.0);
                assert_eq!(bytes, bins.bytes());
            }
            assert_eq!(bins.bins.len(), 64);
            assert!(bins.is_plausible(20_000));
            let largest = bins.bins.iter().map(|bin| bin.labels.count()).max().unwrap();
            assert!(largest < 20_000 / 8, "{largest}");
        }
    }
}
