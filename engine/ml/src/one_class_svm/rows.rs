//! Rows side by side, and the kernel that says how alike each of them and another one are.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::lanes::{Instructions, LANES, Lane};
use tidemill_compute::kernel::logistic::exp_of_negative;

use crate::feature::dictionary::NO_SLOT;

/// Groups that a row is compared with at once.
const GROUPS: usize = 4;

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
        let blocks = into.chunks_mut(LANES * GROUPS).zip((first / LANES..).step_by(GROUPS));
        for (into, first) in blocks {
            let group = |place: usize| self.numbers_of(first + place);
            let groups = [group(0), group(1), group(2), group(3)];
            let mut sums = [[0.0; LANES]; GROUPS];
            Instructions::fastest().run(|| match kernel {
                Kernel::Linear => add_terms(groups, numbers, |own, other| own * other, &mut sums),
                Kernel::Rbf { .. } => {
                    add_terms(groups, numbers, |own, other| (own - other) * (own - other), &mut sums);
                }
            });
            if !categories.is_empty() {
                self.add_categories(kernel, categories, first, &mut sums);
            }
            let sums = sums.as_flattened_mut();
            if let Kernel::Rbf { gamma } = kernel {
                Instructions::fastest().run(|| exponentials(sums, gamma));
            }
            into.copy_from_slice(&sums[..into.len()]);
        }
    }

    /// The numbers of a group; past the last, that of the last one.
    fn numbers_of(&self, group: usize) -> &[Lane<f64>] {
        let group = group.min(self.rows.saturating_sub(1) / LANES);
        &self.numbers[group * self.numeric..(group + 1) * self.numeric]
    }

    /// Adds what categories do to sums of some groups from `first` on.
    fn add_categories(&self, kernel: Kernel, categories: &[u32], first: usize, sums: &mut [Lane<f64>; GROUPS]) {
        for (sums, group) in sums.iter_mut().zip(first..=self.rows.saturating_sub(1) / LANES) {
            let own = &self.categories[group * self.categorical..(group + 1) * self.categorical];
            for (own, category) in own.iter().zip(categories) {
                sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += kernel.of_categories(*own, *category));
            }
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

/// Adds `term` of each number of a row with those of four groups, so that a group's sums do not wait for each other.
#[inline(always)]
fn add_terms(
    groups: [&[Lane<f64>]; GROUPS],
    numbers: &[f64],
    term: impl Fn(f64, f64) -> f64,
    sums: &mut [Lane<f64>; GROUPS],
) {
    let [a, b, c, d] = groups;
    let count = numbers.len();
    let (a, b, c, d) = (&a[..count], &b[..count], &c[..count], &d[..count]);
    let mut own = *sums;
    for (place, number) in numbers.iter().enumerate() {
        for lane in 0..LANES {
            own[0][lane] += term(a[place][lane], *number);
            own[1][lane] += term(b[place][lane], *number);
            own[2][lane] += term(c[place][lane], *number);
            own[3][lane] += term(d[place][lane], *number);
        }
    }
    *sums = own;
}

/// `e^(-gamma d²)` in the place of each `d²`.
#[inline(always)]
fn exponentials(squares: &mut [f64], gamma: f64) {
    for square in squares {
        *square = exp_of_negative(-gamma * *square);
    }
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
