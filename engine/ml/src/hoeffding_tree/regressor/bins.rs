//! What a leaf of numbers knows of one feature: the labels beside its values, in at most 64 bins of neighbouring values.
//!
//! FIMT-DD keeps every value that was seen, which has no bound. Here a value within a bin joins it, and one in a gap between
//! bins makes a bin of its own, until there are 64. From then on it joins the neighbour with fewer rows; if that has
//! more than its share, it still makes a bin, and the two neighbours with the fewest rows become one. So a number with few
//! values has them all, and of others no bin comes to have many more rows than others, far values or not.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
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

/// The labels beside values that are at least `min`.
#[derive(Debug, Clone, Copy)]
struct Bin {
    min: f64,
    labels: Moments,
}

/// Bins by ascending value, that do not touch.
#[derive(Debug, Clone, Default)]
pub(super) struct Bins {
    /// The largest value of each bin. Apart from the rest: a search for a value's bin reads nothing else, and most of what
    /// a leaf has is in no near cache.
    max: Vec<f64>,
    bins: Vec<Bin>,
    /// Rows of all.
    rows: u64,
}

/// Where a value lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BinPlace {
    /// The first bin with values that are at least as large.
    bin: u32,
    /// Whether it has smaller ones, too.
    is_within: bool,
}

impl Bins {
    /// What counts of this where there are no bins: as many bytes as in a snapshot, whatever it takes in memory, so that
    /// limits of memory hold a tree back where they always have.
    pub(super) const BYTES: usize = 4 * size_of::<u64>();

    /// Where a value lies by now, for [`Self::add`].
    pub(super) fn find(&self, value: f64) -> BinPlace {
        let bin = self.max.partition_point(|max| *max < value);
        BinPlace { bin: bin as u32, is_within: self.bins.get(bin).is_some_and(|bin| bin.min <= value) }
    }

    /// Takes one row, whose value lies at that place; returns the bytes that this has grown by.
    pub(super) fn add(&mut self, place: BinPlace, value: f64, label: f64) -> usize {
        self.rows = self.rows.saturating_add(1);
        let BinPlace { bin, is_within } = place;
        let place = bin as usize;
        if is_within {
            self.bins[place].labels.add(label);
            return 0;
        }
        if let Some(neighbour) = self.neighbour(place) {
            let bin = &mut self.bins[neighbour];
            bin.labels.add(label);
            if neighbour == place {
                bin.min = value;
            } else {
                self.max[neighbour] = value;
            }
            return 0;
        }
        let mut labels = Moments::default();
        labels.add(label);
        self.max.insert(place, value);
        self.bins.insert(place, Bin { min: value, labels });
        if self.bins.len() <= BINS_MAX {
            return BIN_BYTES;
        }
        self.join();
        0
    }

    /// The bin that a value joins which lies before the one at this place, if it does not make one of its own.
    fn neighbour(&self, place: usize) -> Option<usize> {
        if self.bins.len() < BINS_MAX {
            return None;
        }
        let rows = |place: usize| self.bins.get(place).map_or(u64::MAX, |bin| bin.labels.count());
        let before = place.wrapping_sub(1);
        let fewer = if rows(before) < rows(place) { before } else { place };
        let share = SHARES_MAX * (self.rows / BINS_MAX as u64 + 1);
        (rows(fewer) <= share).then_some(fewer)
    }

    /// Makes one of the two neighbours with the fewest rows, of equals the first.
    fn join(&mut self) {
        let rows = |pair: &[Bin]| pair.iter().map(|bin| bin.labels.count()).fold(0, u64::saturating_add);
        let fewest = self.bins.windows(2).enumerate().min_by_key(|(_, pair)| rows(pair)).map(|(place, _)| place);
        if let Some(place) = fewest {
            let joined = self.bins.remove(place + 1);
            self.bins[place].labels.merge(&joined.labels);
            // What is left is the larger of the two.
            self.max.remove(place);
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
        for (place, above) in above.iter().enumerate().take(self.bins.len().saturating_sub(1)) {
            below.merge(&self.bins[place].labels);
            keep_better(best, feature, &[below, *above], || Test::AtMost(self.threshold(place)));
        }
    }

    /// What parts a bin from the next one.
    fn threshold(&self, place: usize) -> f64 {
        let (max, min) = (self.max[place], self.bins[place + 1].min);
        let between = max + (min - max) / 2.0;
        // Of two neighbouring numbers the middle is one of them.
        if between < min { between } else { max }
    }

    /// Bytes that this holds, beside itself.
    pub(super) fn bytes(&self) -> usize {
        self.bins.len() * BIN_BYTES
    }

    /// Whether so many rows could have led here.
    pub(super) fn is_plausible(&self, rows: u64) -> bool {
        let is_bin = |(bin, max): (&Bin, &f64)| {
            bin.min.abs() <= NUMERIC_MAGNITUDE_MAX
                && max.abs() <= NUMERIC_MAGNITUDE_MAX
                && bin.min <= *max
                && bin.labels.is_plausible(rows)
        };
        let do_not_touch = |(max, next): (&f64, &Bin)| *max < next.min;
        self.bins.len() <= BINS_MAX
            && self.bins.iter().zip(&self.max).all(is_bin)
            && self.max.iter().zip(self.bins.iter().skip(1)).all(do_not_touch)
            && self.bins.iter().try_fold(0_u64, |sum, bin| sum.checked_add(bin.labels.count())) == Some(self.rows)
    }
}

/// The bytes of a bin.
const BIN_BYTES: usize = size_of::<f64>() + size_of::<Bin>();

/// A bin as a snapshot holds it.
#[derive(Encode, Decode)]
struct BinState {
    min: f64,
    max: f64,
    labels: Moments,
}

impl Encode for Bins {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let state = |(bin, max): (&Bin, &f64)| BinState { min: bin.min, max: *max, labels: bin.labels };
        self.bins.iter().zip(&self.max).map(state).collect::<Vec<_>>().encode(encoder)?;
        self.rows.encode(encoder)
    }
}

impl<Context> Decode<Context> for Bins {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let bins: Vec<BinState> = Decode::decode(decoder)?;
        let rows = Decode::decode(decoder)?;
        let max = bins.iter().map(|bin| bin.max).collect();
        Ok(Self { max, bins: bins.into_iter().map(|BinState { min, labels, .. }| Bin { min, labels }).collect(), rows })
    }
}

bincode::impl_borrow_decode!(Bins);

#[cfg(test)]
mod tests {
    use super::Bins;
    use crate::batch::throughput::noise;
    use crate::hoeffding_tree::split::Test;

    fn add(bins: &mut Bins, value: f64, label: f64) -> usize {
        bins.add(bins.find(value), value, label)
    }

    #[test]
    fn a_number_with_few_values_has_them_all() {
        let mut bins = Bins::default();
        for row in 0..600 {
            add(&mut bins, f64::from(row % 60), f64::from(u8::from(row % 60 >= 17)));
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
                bytes += add(&mut bins, value(row), 1.0);
                assert_eq!(bytes, bins.bytes());
            }
            assert_eq!(bins.bins.len(), 64);
            assert!(bins.is_plausible(20_000));
            let largest = bins.bins.iter().map(|bin| bin.labels.count()).max().unwrap();
            assert!(largest < 20_000 / 8, "{largest}");
        }
    }
}
