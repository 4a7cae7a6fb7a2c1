//! Rows as bytes: each feature's values in at most 256 bins, so that a histogram of them is small.
//!
//! Numbers are cut where their distribution says, as LightGBM does (Ke et al. 2017): a value of its own for each of few
//! distinct values, else about as many rows in each bin. Categories have a bin each, the most frequent first.

use super::first_slots;
use crate::batch::parallel::{in_parallel, stretches};
use crate::batch::{Chunk, TrainingSet};

/// The values of a byte.
pub(crate) const BINS_MAX: usize = 256;

/// Features whose bins lie side by side: their histograms fill a first-level cache.
pub(super) const BLOCK: usize = 8;

/// Rows that the distribution of numbers is looked up in, evenly spread over all.
const SAMPLE_ROWS: usize = 200_000;

/// Rows in a bin, where there are enough.
const BIN_ROWS_MIN: u64 = 3;

/// The bin of categories that have none of their own.
pub(crate) const OTHERS: u8 = 0;

/// How the values of one feature are put into bins.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FeatureBins {
    Numeric {
        /// The largest value of each bin; the last is infinite.
        uppers: Vec<f64>,
        /// Whether rows may be in one more bin, of missing values.
        has_missing: bool,
    },
    Categorical {
        /// The bin of each category, by its place in the dictionary.
        bins: Vec<u8>,
        /// The category of each bin from 1 on.
        categories: Vec<u32>,
    },
}

impl FeatureBins {
    /// How many bins there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Numeric { uppers, has_missing } => uppers.len() + usize::from(*has_missing),
            Self::Categorical { categories, .. } => 1 + categories.len(),
        }
    }

    fn numeric(mut values: Vec<f64>, max_bins: usize, has_missing: bool) -> Self {
        values.retain(|value| !value.is_nan());
        values.sort_unstable_by(f64::total_cmp);
        Self::Numeric { uppers: uppers(&distinct(&values), max_bins), has_missing }
    }

    /// Categories by how many rows each has, given in the order of the dictionary.
    fn categorical(rows: &[u64]) -> Self {
        let mut categories: Vec<u32> = (0..rows.len() as u32).filter(|place| rows[*place as usize] > 0).collect();
        categories.sort_by_key(|place| (std::cmp::Reverse(rows[*place as usize]), *place));
        categories.truncate(BINS_MAX - 1);
        let mut bins = vec![OTHERS; rows.len()];
        for (bin, place) in (1..=u8::MAX).zip(&categories) {
            bins[*place as usize] = bin;
        }
        Self::Categorical { bins, categories }
    }
}

/// Sorted values, each once, with its rows.
pub(crate) fn distinct(sorted: &[f64]) -> Vec<(f64, u64)> {
    // `==` joins -0.0 and 0.0, which lie on one side of any threshold.
    sorted.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect()
}

/// The largest value of each bin.
pub(crate) fn uppers(values: &[(f64, u64)], max_bins: usize) -> Vec<f64> {
    let mut cut = Cut::new(values, max_bins);
    for place in 0..values.len().saturating_sub(1) {
        if cut.ends_behind(place) {
            cut.end(place);
        }
    }
    cut.uppers.push(f64::INFINITY);
    cut.uppers
}

/// Cuts values into bins, from the lowest up.
struct Cut<'a> {
    values: &'a [(f64, u64)],
    max_bins: usize,
    uppers: Vec<f64>,
    /// Rows of the bin that is being filled.
    rows: u64,
    /// Rows that each bin should have; values with as many have one to themselves.
    mean: f64,
    large: f64,
    /// Rows and bins that are left for the other values.
    rows_left: u64,
    bins_left: usize,
}

impl<'a> Cut<'a> {
    fn new(values: &'a [(f64, u64)], max_bins: usize) -> Self {
        let all: u64 = values.iter().map(|value| value.1).sum();
        let mut cut = Self {
            values,
            max_bins,
            uppers: Vec::new(),
            rows: 0,
            mean: BIN_ROWS_MIN as f64,
            large: f64::INFINITY,
            rows_left: all,
            bins_left: max_bins,
        };
        if values.len() > max_bins {
            cut.large = (all as f64 / max_bins as f64).max(BIN_ROWS_MIN as f64);
            let large = values.iter().filter(|value| value.1 as f64 >= cut.large);
            let (count, rows) = large.fold((0, 0), |(count, rows), value| (count + 1, rows + value.1));
            (cut.rows_left, cut.bins_left) = (all - rows, max_bins - count);
            cut.mean = cut.rows_left as f64 / cut.bins_left.max(1) as f64;
        }
        cut
    }

    fn is_large(&self, place: usize) -> bool {
        self.values.get(place).is_some_and(|value| value.1 as f64 >= self.large)
    }

    /// Takes a value into the bin; whether that is full then.
    fn ends_behind(&mut self, place: usize) -> bool {
        let rows = self.values[place].1;
        self.rows += rows;
        if !self.is_large(place) {
            self.rows_left -= rows;
        }
        let is_full = self.is_large(place)
            || self.rows as f64 >= self.mean
            || (self.is_large(place + 1) && self.rows as f64 >= (self.mean / 2.0).max(1.0));
        is_full && self.uppers.len() + 1 < self.max_bins
    }

    fn end(&mut self, place: usize) {
        let (low, high) = (self.values[place].0, self.values[place + 1].0);
        let middle = low + (high - low) / 2.0;
        // Of neighbours there is nothing between.
        self.uppers.push(if middle < high { middle } else { low });
        self.rows = 0;
        if self.large.is_finite() && !self.is_large(place) {
            self.bins_left = self.bins_left.saturating_sub(1).max(1);
            self.mean = self.rows_left as f64 / self.bins_left as f64;
        }
    }
}

/// Rows whose values are bins.
#[derive(Debug)]
pub(super) struct BinnedRows {
    /// Numbers first, then categories.
    pub(super) features: Vec<FeatureBins>,
    /// Row by row, for each eight features their bins: a row of a leaf is one place in memory, or two.
    pub(super) bins: Vec<[u8; BLOCK]>,
    /// Eights of features.
    pub(super) blocks: usize,
    /// The same once more, feature by feature: what is split by one reads nothing of the others.
    pub(super) columns: Vec<Vec<u8>>,
}

impl BinnedRows {
    /// All rows of a set that is prepared, with missing numbers as NaN. The bins are those of the rows that are learnt.
    pub(super) fn of(set: &TrainingSet, learnt: &[u32], max_bins: usize, threads: usize) -> Self {
        let numeric = set.numeric();
        let widths: Vec<usize> = set.dictionaries().iter().map(|dictionary| dictionary.slots().count()).collect();
        let numbers: Vec<usize> = (0..numeric).collect();
        let numbers = in_parallel(&stretches(&numbers, threads), |features| {
            let bins_of = |feature: &usize| {
                let has_missing = set.moments()[*feature].count() < set.rows();
                FeatureBins::numeric(sample(set, learnt, *feature), max_bins, has_missing)
            };
            features.iter().map(bins_of).collect::<Vec<_>>()
        });
        let categories = category_rows(set, learnt, &widths).into_iter().map(|rows| FeatureBins::categorical(&rows));
        let features: Vec<FeatureBins> = numbers.into_iter().flatten().chain(categories).collect();

        let firsts = first_slots(numeric, &widths);
        let readers: Vec<Reader<'_>> =
            features.iter().enumerate().map(|(feature, bins)| Reader::new(feature, bins, numeric, &firsts)).collect();
        let chunks: Vec<&Chunk> = set.chunks().iter().collect();
        let bins = in_parallel(&stretches(&chunks, threads), |chunks| bins_of(chunks, &readers));
        let bins = bins.concat();
        let blocks = readers.len().div_ceil(BLOCK);
        drop(readers);
        let all: Vec<usize> = (0..features.len()).collect();
        let columns = in_parallel(&stretches(&all, threads), |features| {
            let column = |feature: &usize| {
                bins.iter().skip(feature / BLOCK).step_by(blocks).map(|bins| bins[feature % BLOCK]).collect()
            };
            features.iter().map(column).collect::<Vec<_>>()
        });
        let columns = columns.into_iter().flatten().collect();
        Self { features, bins, blocks, columns }
    }

    /// The bin of a row's value. All bins of a row lie side by side.
    pub(super) fn bin(&self, row: usize, feature: usize) -> u8 {
        self.bins[row * self.blocks + feature / BLOCK][feature % BLOCK]
    }
}

/// Some values of a number.
pub(crate) fn sample(set: &TrainingSet, learnt: &[u32], feature: usize) -> Vec<f64> {
    let step = learnt.len().div_ceil(SAMPLE_ROWS).max(1);
    learnt.iter().step_by(step).filter_map(|row| set.row(*row as usize)).map(|row| row.numbers[feature]).collect()
}

/// The rows of each category, by feature.
pub(crate) fn category_rows(set: &TrainingSet, learnt: &[u32], widths: &[usize]) -> Vec<Vec<u64>> {
    let mut rows: Vec<Vec<u64>> = widths.iter().map(|width| vec![0; *width]).collect();
    let firsts = first_slots(set.numeric(), widths);
    for row in learnt.iter().filter_map(|row| set.row(*row as usize)) {
        for ((slot, rows), first) in row.categories.iter().zip(&mut rows).zip(&firsts) {
            rows[(slot - first) as usize] += 1;
        }
    }
    rows
}

/// Finds the bin of a row's value.
enum Reader<'a> {
    Number { place: usize, uppers: Box<[f64; BINS_MAX]>, missing: u8 },
    Category { place: usize, first: u32, bins: &'a [u8] },
}

impl<'a> Reader<'a> {
    fn new(feature: usize, bins: &'a FeatureBins, numeric: usize, firsts: &[u32]) -> Self {
        match bins {
            FeatureBins::Numeric { uppers, .. } => {
                let mut padded = Box::new([f64::INFINITY; BINS_MAX]);
                padded[..uppers.len()].copy_from_slice(uppers);
                Self::Number { place: feature, uppers: padded, missing: uppers.len() as u8 }
            }
            FeatureBins::Categorical { bins, .. } => {
                let place = feature - numeric;
                Self::Category { place, first: firsts[place], bins }
            }
        }
    }

    fn bin(&self, numbers: &[f64], categories: &[u32]) -> u8 {
        match self {
            Self::Number { place, uppers, missing } => match numbers[*place] {
                value if value.is_nan() => *missing,
                value => first_at_least(uppers, value),
            },
            Self::Category { place, first, bins } => bins[(categories[*place] - first) as usize],
        }
    }
}

/// The place of the first bin whose largest value is not below this one: eight steps, none of which is a branch.
pub(crate) fn first_at_least(uppers: &[f64; BINS_MAX], value: f64) -> u8 {
    let mut place = 0_usize;
    for half in [128, 64, 32, 16, 8, 4, 2, 1] {
        place += if uppers[place + half - 1] < value { half } else { 0 };
    }
    place as u8
}

fn bins_of(chunks: &[&Chunk], readers: &[Reader<'_>]) -> Vec<[u8; BLOCK]> {
    let rows: usize = chunks.iter().map(|chunk| chunk.rows()).sum();
    let mut all = Vec::with_capacity(rows * readers.len().div_ceil(BLOCK));
    for row in chunks.iter().flat_map(|chunk| chunk.iter()) {
        for readers in readers.chunks(BLOCK) {
            let mut bins = [0; BLOCK];
            for (bin, reader) in bins.iter_mut().zip(readers) {
                *bin = reader.bin(row.numbers, row.categories);
            }
            all.push(bins);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin_of(uppers: &[f64], value: f64) -> u8 {
        let mut padded = [f64::INFINITY; BINS_MAX];
        padded[..uppers.len()].copy_from_slice(uppers);
        first_at_least(&padded, value)
    }

    #[test]
    fn few_values_have_a_bin_each() {
        let values = distinct(&[-0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 4.0, 4.0, 4.0]);
        assert_eq!(uppers(&values, 255), [0.5, 2.5, f64::INFINITY]);
        // A value of fewer rows joins the next.
        assert_eq!(uppers(&[(1.0, 1), (2.0, 3), (3.0, 3)], 255), [2.5, f64::INFINITY]);
        assert_eq!(uppers(&[], 255), [f64::INFINITY]);
        assert_eq!(uppers(&[(1.0, 9), (1.0_f64.next_up(), 9)], 255), [1.0, f64::INFINITY]);
    }

    #[test]
    fn many_values_are_cut_into_bins_of_as_many_rows() {
        let values: Vec<(f64, u64)> = (0..1000).map(|value| (f64::from(value), 10)).collect();
        let uppers = uppers(&values, 10);
        assert_eq!(uppers.len(), 10);
        assert!(uppers.windows(2).all(|pair| pair[0] < pair[1]));
        let rows = |bin: u8| values.iter().filter(|value| bin_of(&uppers, value.0) == bin).count();
        assert!((0..10).all(|bin| (98..=102).contains(&rows(bin))), "{uppers:?}");
    }

    #[test]
    fn a_frequent_value_ends_its_bin() {
        let mut values: Vec<(f64, u64)> = (0..1000).map(|value| (f64::from(value), 1)).collect();
        values[500].1 = 10_000;
        let uppers = uppers(&values, 20);
        let bin = bin_of(&uppers, 500.0);
        assert_ne!(bin_of(&uppers, 501.0), bin);
        assert!(
            uppers.len() <= 20 && bin_of(&uppers, -1e300) == 0 && bin_of(&uppers, 1e300) as usize == uppers.len() - 1
        );
    }

    #[test]
    fn the_most_frequent_categories_have_bins() {
        let mut rows: Vec<u64> = (0..300).map(|place| 1 + place).collect();
        rows[7] = 0;
        let FeatureBins::Categorical { bins, categories } = FeatureBins::categorical(&rows) else { panic!() };
        assert_eq!((categories[0], bins[299], bins[7], bins[0]), (299, 1, OTHERS, OTHERS));
        assert_eq!(categories.len(), 255);
    }
}
