//! Gradients summed up by bins: what splits are chosen by.
//!
//! Gradients are whole numbers of a small unit. So sums have no rounding: they are the same whatever the order of rows and
//! the number of threads, and the histogram of one child is exactly that of its parent less the other's.

use std::ops::{AddAssign, SubAssign};

use super::bins::{BINS_MAX, BLOCK, BinnedRows};
use super::parallel::in_parallel;

/// Units of the largest gradient: 2^32 rows of it fit into 62 bits.
const UNITS: f64 = (1_u64 << 30) as f64;

/// Rows below which a thread costs more than it saves.
const ROWS_FOR_THREADS: usize = 1 << 15;

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
        [(first / self.first).round() as i32, (second / self.second).round() as i32]
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
    /// That of these rows, whose gradients are in the order of the rows.
    pub(super) fn of(binned: &BinnedRows, rows: &[u32], gradients: &[Gradient], threads: usize) -> Self {
        let threads = if rows.len() < ROWS_FOR_THREADS { 1 } else { threads };
        let each = rows.len().div_ceil(threads).max(1);
        let parts: Vec<_> = rows.chunks(each).zip(gradients.chunks(each)).collect();
        let mut sums = in_parallel(&parts, |(rows, gradients)| {
            let mut sum = Self::empty(binned);
            sum.add(binned, rows, gradients);
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
        Self { features: vec![[Sum::default(); BINS_MAX]; binned.blocks.len() * BLOCK] }
    }

    fn add(&mut self, binned: &BinnedRows, rows: &[u32], gradients: &[Gradient]) {
        let (features, _) = self.features.as_chunks_mut::<BLOCK>();
        for (place, (sums, bins)) in features.iter_mut().zip(&binned.blocks).enumerate() {
            let width = (binned.features.len() - place * BLOCK).min(BLOCK);
            match width {
                1 => add_block::<1>(sums, bins, rows, gradients),
                2 => add_block::<2>(sums, bins, rows, gradients),
                3 => add_block::<3>(sums, bins, rows, gradients),
                4 => add_block::<4>(sums, bins, rows, gradients),
                5 => add_block::<5>(sums, bins, rows, gradients),
                6 => add_block::<6>(sums, bins, rows, gradients),
                7 => add_block::<7>(sums, bins, rows, gradients),
                _ => add_block::<BLOCK>(sums, bins, rows, gradients),
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

/// Adds rows to the sums of the first `WIDTH` features of a block.
fn add_block<const WIDTH: usize>(
    sums: &mut [OfFeature; BLOCK],
    bins: &[[u8; BLOCK]],
    rows: &[u32],
    gradients: &[Gradient],
) {
    for (row, gradient) in rows.iter().zip(gradients) {
        let bins = bins[*row as usize];
        for feature in 0..WIDTH {
            sums[feature][usize::from(bins[feature])].add(*gradient);
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
        let blocks = vec![(0..rows).map(bins).collect(), (0..rows).map(bins).collect()];
        let feature = super::super::bins::FeatureBins::Numeric { uppers: vec![f64::INFINITY], has_missing: false };
        let binned = BinnedRows { features: vec![feature; 11], blocks, rows: rows as usize };
        let gradient = |row: u32| [row as i32 * 7 % 1001 - 500, row as i32 % 13];
        let of = |rows: &[u32], threads| {
            let gradients: Vec<Gradient> = rows.iter().map(|row| gradient(*row)).collect();
            Histogram::of(&binned, rows, &gradients, threads)
        };
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
