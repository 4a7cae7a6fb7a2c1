//! Gradients summed up by bins: what splits are chosen by.
//!
//! Gradients are whole numbers of a small unit. So sums have no rounding: they are the same whatever the order of rows and
//! the number of threads, and the histogram of one child is exactly that of its parent less the other's.

use std::ops::{AddAssign, SubAssign};

use super::bins::{BINS_MAX, BLOCK, BinnedRows};
use crate::batch::parallel::{in_parallel, stretches};

/// Units of the largest gradient: 2^32 rows of it fit into 62 bits.
const UNITS: f64 = (1_u64 << 30) as f64;

/// Rows below which a thread costs more than it saves.
pub(super) const ROWS_FOR_THREADS: usize = 1 << 13;

/// Rows whose bins stay in a cache while one block of features after the other takes them.
const ROWS_AT_ONCE: usize = 512;

/// Rows whose bins are fetched before the first is added: a processor waits for many places in memory at once, but does not
/// look ahead past the sums of many rows.
const ROWS_AHEAD: usize = 32;

/// The first and second derivative of the loss of a row by its score.
pub(super) type Gradient = [i32; 2];

/// What a unit of either derivative is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Units {
    pub(super) first: f64,
    pub(super) second: f64,
}

impl Units {
    /// For derivatives whose magnitudes are at most these.
    pub(super) fn up_to(first: f64, second: f64) -> Self {
        let unit = |largest: f64| if largest > 0.0 { largest / UNITS } else { 1.0 };
        Self { first: unit(first), second: unit(second) }
    }

    pub(super) fn gradient(&self, first: f64, second: f64) -> Gradient {
        // The nearest whole number; a function of the C library would be called for `round`.
        let whole = |units: f64| (units + 0.5_f64.copysign(units)) as i32;
        [whole(first / self.first), whole(second / self.second)]
    }
}

/// The sums of rows' derivatives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) first: i64,
    pub(super) second: i64,
}

impl Sum {
    pub(super) fn of(gradients: impl Iterator<Item = Gradient>) -> Self {
        let mut sum = Self::default();
        gradients.for_each(|gradient| sum.add(gradient));
        sum
    }

    fn add(&mut self, [first, second]: Gradient) {
        self.first += i64::from(first);
        self.second += i64::from(second);
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.first += other.first;
        self.second += other.second;
    }
}

impl SubAssign for Sum {
    fn sub_assign(&mut self, other: Self) {
        self.first -= other.first;
        self.second -= other.second;
    }
}

type OfFeature = [Sum; BINS_MAX];

/// The sums of some rows, for each bin of each feature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    /// Whole blocks of features, of which the last may have fewer.
    features: Vec<OfFeature>,
}

impl Histogram {
    /// That of these rows, given the gradients of all.
    pub(super) fn of(binned: &BinnedRows, rows: &[u32], gradients: &[Gradient], threads: usize) -> Self {
        let threads = if rows.len() < ROWS_FOR_THREADS { 1 } else { threads };
        let mut sums = in_parallel(&stretches(rows, threads), |rows| {
            let gradients: Vec<Gradient> = rows.iter().map(|row| gradients[*row as usize]).collect();
            let mut sum = Self::empty(binned);
            sum.add(binned, rows, &gradients);
            sum
        })
        .into_iter();
        let mut all = sums.next().unwrap_or_else(|| Self::empty(binned));
        for other in sums {
            all.features
                .iter_mut()
                .flatten()
                .zip(other.features.iter().flatten())
                .for_each(|(own, others)| *own += *others);
        }
        all
    }

    fn empty(binned: &BinnedRows) -> Self {
        Self { features: vec![[Sum::default(); BINS_MAX]; binned.blocks * BLOCK] }
    }

    fn add(&mut self, binned: &BinnedRows, rows: &[u32], gradients: &[Gradient]) {
        let (features, _) = self.features.as_chunks_mut::<BLOCK>();
        for (rows, gradients) in rows.chunks(ROWS_AT_ONCE).zip(gradients.chunks(ROWS_AT_ONCE)) {
            for (block, sums) in features.iter_mut().enumerate() {
                let rows = Rows { bins: &binned.bins, blocks: binned.blocks, block, rows, gradients };
                match (binned.features.len() - block * BLOCK).min(BLOCK) {
                    1 => rows.add_to::<1>(sums),
                    2 => rows.add_to::<2>(sums),
                    3 => rows.add_to::<3>(sums),
                    4 => rows.add_to::<4>(sums),
                    5 => rows.add_to::<5>(sums),
                    6 => rows.add_to::<6>(sums),
                    7 => rows.add_to::<7>(sums),
                    _ => rows.add_to::<BLOCK>(sums),
                }
            }
        }
    }

    /// Takes the rows of a part of it out.
    pub(super) fn subtract(&mut self, part: &Self) {
        self.features.iter_mut().flatten().zip(part.features.iter().flatten()).for_each(|(own, parts)| *own -= *parts);
    }

    /// The sums of a feature's bins.
    pub(super) fn feature(&self, feature: usize) -> &OfFeature {
        &self.features[feature]
    }
}

/// Some rows, of which a block of features takes the bins.
struct Rows<'a> {
    bins: &'a [[u8; BLOCK]],
    blocks: usize,
    block: usize,
    rows: &'a [u32],
    gradients: &'a [Gradient],
}

impl Rows<'_> {
    /// Adds them to the sums of the first `WIDTH` features of the block.
    fn add_to<const WIDTH: usize>(&self, sums: &mut [OfFeature; BLOCK]) {
        let mut ahead = [[0; BLOCK]; ROWS_AHEAD];
        for (rows, gradients) in self.rows.chunks(ROWS_AHEAD).zip(self.gradients.chunks(ROWS_AHEAD)) {
            for (bins, row) in ahead.iter_mut().zip(rows) {
                *bins = self.bins[*row as usize * self.blocks + self.block];
            }
            for (bins, gradient) in ahead.iter().zip(gradients) {
                for feature in 0..WIDTH {
                    sums[feature][usize::from(bins[feature])].add(*gradient);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_child_is_the_parent_less_the_other() {
        let rows = 40_000_u32;
        let bins = |row: u32| std::array::from_fn(|feature| (row.wrapping_mul(2_654_435_761) >> (feature + 8)) as u8);
        let bins = (0..rows).flat_map(|row| [bins(row), bins(row ^ 1)]).collect();
        let feature = super::super::bins::FeatureBins::Numeric { uppers: vec![f64::INFINITY], has_missing: false };
        let binned = BinnedRows { features: vec![feature; 11], bins, blocks: 2, columns: Vec::new() };
        let gradient = |row: u32| [row as i32 * 7 % 1001 - 500, row as i32 % 13];
        let gradients: Vec<Gradient> = (0..rows).map(gradient).collect();
        let of = |rows: &[u32], threads| Histogram::of(&binned, rows, &gradients, threads);
        let all: Vec<u32> = (0..rows).collect();
        let (left, right): (Vec<u32>, Vec<u32>) = all.iter().partition(|row| *row % 3 == 0);
        let mut parent = of(&all, 4);
        assert_eq!(parent, of(&all, 1));
        parent.subtract(&of(&left, 1));
        assert_eq!(parent, of(&right, 2));
        let sum = Sum::of(right.iter().map(|row| gradient(*row)));
        for feature in 0..11 {
            let mut bins = Sum::default();
            parent.feature(feature).iter().for_each(|bin| bins += *bin);
            assert_eq!(bins, sum);
        }
        assert_eq!(parent.feature(12), &[Sum::default(); BINS_MAX]);
    }

    #[test]
    fn gradients_are_whole_numbers_of_their_unit() {
        let units = Units::up_to(2.0, 0.25);
        assert_eq!(units.gradient(-2.0, 0.25), [-(1 << 30), 1 << 30]);
        assert_eq!(Units::up_to(0.0, 0.0).gradient(0.0, 0.0), [0, 0]);
    }
}
