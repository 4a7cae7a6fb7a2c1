//! Rows side by side, so that one row is compared with several at once.

use tidemill_compute::kernel::lanes::{LANES, Lane};

use super::config::Distance;
use crate::feature::dictionary::NO_SLOT;

/// Rows in groups of [`LANES`]: of each group first every row's first number, then every row's second.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    distance: Distance,
    numeric: usize,
    categorical: usize,
    rows: usize,
    /// Divided by the row's length if the distance is an angle.
    numbers: Vec<Lane<f64>>,
    /// Slots of categories; `NO_SLOT` for one that the model has never seen.
    categories: Vec<Lane<u32>>,
    ends: Vec<Lane<End>>,
}

/// What a distance takes of a row beside its numbers and categories.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    /// The sum of distances between this row's categories and others in which no category is the same.
    pub(super) categories_apart: f64,
    /// One over the row's length; 0 of one without.
    pub(super) per_length: f64,
}

/// Rows that lie side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) numbers: &'a [Lane<f64>],
    pub(super) categories: &'a [Lane<u32>],
    pub(super) ends: &'a Lane<End>,
}

impl Rows {
    pub(super) fn new(distance: Distance, numeric: usize, categorical: usize) -> Self {
        Self { distance, numeric, categorical, rows: 0, numbers: Vec::new(), categories: Vec::new(), ends: Vec::new() }
    }

    pub(super) fn reserve(&mut self, rows: usize) {
        let groups = rows.div_ceil(LANES);
        self.numbers.reserve_exact(groups * self.numeric);
        self.categories.reserve_exact(groups * self.categorical);
        self.ends.reserve_exact(groups);
    }

    /// Takes a row, given its numbers, none missing, and its categories' slots.
    pub(super) fn push(&mut self, numbers: &[f64], categories: &[u32]) {
        let lane = self.rows % LANES;
        if lane == 0 {
            self.numbers.resize(self.numbers.len() + self.numeric, [0.0; LANES]);
            self.categories.resize(self.categories.len() + self.categorical, [NO_SLOT; LANES]);
            self.ends.push([End::default(); LANES]);
        }
        let known = categories.iter().filter(|slot| **slot != NO_SLOT).count() as f64;
        let length = (numbers.iter().map(|number| number * number).sum::<f64>() + known).sqrt();
        let per_length = if length > 0.0 { 1.0 / length } else { 0.0 };
        let divisor = if self.distance == Distance::Cosine && length > 0.0 { length } else { 1.0 };
        let group = self.rows / LANES;
        for (lanes, number) in self.numbers[group * self.numeric..].iter_mut().zip(numbers) {
            lanes[lane] = number / divisor;
        }
        for (lanes, slot) in self.categories[group * self.categorical..].iter_mut().zip(categories) {
            lanes[lane] = *slot;
        }
        // One-hot, two categories differ in two places by one; one that was never seen has no place of its own.
        let categories_apart = categories.len() as f64 + known;
        self.ends[group][lane] = End { categories_apart, per_length };
        self.rows += 1;
    }

    pub(super) fn clear(&mut self) {
        self.rows = 0;
        self.numbers.clear();
        self.categories.clear();
        self.ends.clear();
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A row's numbers.
    pub(super) fn numbers_of(&self, row: usize) -> impl Iterator<Item = f64> {
        let group = &self.numbers[row / LANES * self.numeric..(row / LANES + 1) * self.numeric];
        group.iter().map(move |lanes| lanes[row % LANES])
    }

    /// All numbers, row by row, and how many a row has; nothing of rows with categories.
    pub(super) fn as_numbers(&self) -> Option<(Vec<f64>, usize)> {
        (self.categorical == 0).then(|| ((0..self.rows).flat_map(|row| self.numbers_of(row)).collect(), self.numeric))
    }

    /// Rows and numbers of a row; nothing of rows with categories.
    pub(super) fn shape_of_numbers(&self) -> Option<(usize, usize)> {
        (self.categorical == 0).then_some((self.rows, self.numeric))
    }

    /// Some of the rows, which have no categories.
    pub(super) fn some(&self, rows: &[usize]) -> Self {
        let mut some = Self::new(self.distance, self.numeric, 0);
        some.reserve(rows.len());
        for row in rows {
            some.push(&self.numbers_of(*row).collect::<Vec<_>>(), &[]);
        }
        some
    }

    pub(super) fn groups(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn distance(&self) -> Distance {
        self.distance
    }

    /// Bytes of a group.
    pub(super) fn group_bytes(&self) -> usize {
        self.numeric * size_of::<Lane<f64>>() + self.categorical * size_of::<Lane<u32>>() + size_of::<Lane<End>>()
    }

    #[inline]
    pub(super) fn group(&self, group: usize) -> Group<'_> {
        Group {
            numbers: &self.numbers[group * self.numeric..(group + 1) * self.numeric],
            categories: &self.categories[group * self.categorical..(group + 1) * self.categorical],
            ends: &self.ends[group],
        }
    }
}
