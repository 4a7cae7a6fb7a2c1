//! Rows side by side, and the kernel that says how alike each of them and another one are.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::lanes::{LANES, Lane};
use tidemill_compute::kernel::logistic::exp_of_negative;

use crate::feature::dictionary::NO_SLOT;

/// How alike two rows are, of which categories are one-hot.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) enum Kernel {
    /// Their product.
    Linear,
    /// `e^(-gamma d²)`, where they are `d` apart.
    Rbf { gamma: f64 },
}

/// Rows in groups of [`LANES`]: of each group first every row's first number, then every row's second.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    numeric: usize,
    categorical: usize,
    rows: usize,
    numbers: Vec<Lane<f64>>,
    categories: Vec<Lane<u32>>,
}

impl Rows {
    pub(super) fn new(numeric: usize, categorical: usize) -> Self {
        Self { numeric, categorical, rows: 0, numbers: Vec::new(), categories: Vec::new() }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Entries of a row.
    pub(super) fn width(&self) -> usize {
        self.numeric + self.categorical
    }

    /// Takes a row, given its numbers, none missing, and its categories' slots.
    pub(super) fn push(&mut self, numbers: &[f64], categories: &[u32]) {
        let lane = self.rows % LANES;
        if lane == 0 {
            self.numbers.resize(self.numbers.len() + self.numeric, [0.0; LANES]);
            self.categories.resize(self.categories.len() + self.categorical, [NO_SLOT; LANES]);
        }
        let group = self.rows / LANES;
        for (lanes, number) in self.numbers[group * self.numeric..].iter_mut().zip(numbers) {
            lanes[lane] = *number;
        }
        for (lanes, slot) in self.categories[group * self.categorical..].iter_mut().zip(categories) {
            lanes[lane] = *slot;
        }
        self.rows += 1;
    }

    /// The numbers and categories of a row.
    pub(super) fn row(&self, row: usize) -> (Vec<f64>, Vec<u32>) {
        let (group, lane) = (row / LANES, row % LANES);
        let numbers = &self.numbers[group * self.numeric..(group + 1) * self.numeric];
        let categories = &self.categories[group * self.categorical..(group + 1) * self.categorical];
        (numbers.iter().map(|lanes| lanes[lane]).collect(), categories.iter().map(|lanes| lanes[lane]).collect())
    }

    /// How alike a row and those from `first` on are, of which there is room for; `first` begins a group.
    pub(super) fn kernel(
        &self,
        kernel: Kernel,
        (numbers, categories): (&[f64], &[u32]),
        first: usize,
        into: &mut [f64],
    ) {
        debug_assert!(first.is_multiple_of(LANES));
        for (into, group) in into.chunks_mut(LANES).zip(first / LANES..) {
            let own_numbers = &self.numbers[group * self.numeric..(group + 1) * self.numeric];
            let own_categories = &self.categories[group * self.categorical..(group + 1) * self.categorical];
            let mut sums = match kernel {
                Kernel::Linear => sums(own_numbers, numbers, |own, other| own * other),
                Kernel::Rbf { .. } => sums(own_numbers, numbers, |own, other| (own - other) * (own - other)),
            };
            for (own, category) in own_categories.iter().zip(categories) {
                sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += kernel.of_categories(*own, *category));
            }
            if let Kernel::Rbf { gamma } = kernel {
                sums.iter_mut().for_each(|sum| *sum = exp_of_negative(-gamma * *sum));
            }
            into.copy_from_slice(&sums[..into.len()]);
        }
    }
}

impl Kernel {
    /// What a known category adds to a product or a squared distance.
    fn of_categories(self, own: u32, other: u32) -> f64 {
        match self {
            Self::Linear => f64::from(u8::from(own == other)),
            Self::Rbf { .. } if own == other => 0.0,
            // In the places of both; one that was never seen has another one.
            Self::Rbf { .. } => 2.0,
        }
    }
}

fn sums(own: &[Lane<f64>], other: &[f64], term: impl Fn(f64, f64) -> f64) -> Lane<f64> {
    let mut sums = [0.0; LANES];
    for (own, other) in own.iter().zip(other) {
        sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += term(*own, *other));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_those_of_one_hot_rows() {
        let mut rows = Rows::new(2, 2);
        let some = [([1.0, 2.0], [3, 5]), ([0.5, -1.0], [4, 5]), ([0.0, 0.0], [3, 6])];
        (0..9).for_each(|row| rows.push(&some[row % 3].0, &some[row % 3].1));
        assert_eq!(rows.row(7), (vec![0.5, -1.0], vec![4, 5]));
        // One-hot: 3, 4, 5 and 6 have a place each, and what was never seen has another.
        let one_hot = |row: &([f64; 2], [u32; 2])| -> Vec<f64> {
            let places = [3, 4, 5, 6, NO_SLOT].map(|slot| f64::from(u8::from(row.1.contains(&slot))));
            row.0.iter().copied().chain(places).collect()
        };
        let asked = ([2.0, 1.0], [NO_SLOT, 5]);
        for first in [0, 4] {
            let (mut products, mut alike) = ([0.0; 5], [0.0; 5]);
            rows.kernel(Kernel::Linear, (&asked.0, &asked.1), first, &mut products);
            rows.kernel(Kernel::Rbf { gamma: 0.3 }, (&asked.0, &asked.1), first, &mut alike);
            for (place, (found, alike)) in products.iter().zip(&alike).enumerate() {
                let own = one_hot(&some[(first + place) % 3]);
                let pairs = || own.iter().zip(one_hot(&asked));
                let product: f64 = pairs().map(|(one, other)| one * other).sum();
                let square: f64 = pairs().map(|(one, other)| (one - other) * (one - other)).sum();
                assert!((found - product).abs() < 1e-15);
                assert!((alike - (-0.3 * square).exp()).abs() < 1e-15);
            }
        }
    }
}
