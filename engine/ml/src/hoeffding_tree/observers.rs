//! What a leaf knows of the features of each class's rows: a normal distribution of each number, and how often each
//! category was seen.
//!
//! Numbers and counts lie class by class, since naive Bayes reads all features of one class after another, and since
//! a new class then only appends.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::ln;

use super::normal::distribution;
use super::tree::Row;
use crate::feature::moments::Moments;
use crate::model::NUMERIC_MAGNITUDE_MAX;

/// The smallest variance that a number has a density by: beneath it, and with one value only, it says nothing.
const VARIANCE_MIN: f64 = 1e-100;

/// Between which a product of many numbers is kept, so that no next one leads out of the range of `f64`.
const PRODUCT_RANGE: std::ops::RangeInclusive<f64> = 1e-100..=1e100;

/// `ln 2π`.
const LN_TAU: f64 = 1.837_877_066_409_345_3;

/// What is known of one number in one class.
#[derive(Debug, Clone, Copy, Encode, Decode)]
pub(crate) struct NumberSummary {
    moments: Moments,
    min: f64,
    max: f64,
}

impl Default for NumberSummary {
    fn default() -> Self {
        Self { moments: Moments::default(), min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl NumberSummary {
    fn add(&mut self, value: f64) {
        self.moments.add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Rows that have the number.
    pub(super) fn count(&self) -> u64 {
        self.moments.count()
    }

    /// The smallest and the largest value; in the wrong order of no value.
    pub(super) fn range(&self) -> (f64, f64) {
        (self.min, self.max)
    }

    /// The variance that the values are a sample of, if it can be told.
    fn variance(&self) -> Option<f64> {
        let count = self.moments.count();
        let variance = self.moments.squares() / count.saturating_sub(1) as f64;
        (count > 1 && variance >= VARIANCE_MIN).then_some(variance)
    }

    /// About how many rows are at most at `threshold`: all or none where that is certain.
    pub(super) fn rows_below(&self, threshold: f64) -> f64 {
        let rows = self.count() as f64;
        match self.variance() {
            _ if threshold < self.min => 0.0,
            _ if threshold >= self.max => rows,
            Some(variance) => rows * distribution((threshold - self.moments.mean()) / variance.sqrt()),
            None => 0.5 * rows,
        }
    }

    fn is_plausible(&self, rows: u64) -> bool {
        let is_number = |value: f64| value.abs() <= NUMERIC_MAGNITUDE_MAX;
        self.moments.is_plausible(rows)
            && (self.count() == 0 || is_number(self.min) && is_number(self.max) && self.min <= self.max)
    }
}

/// What is known of all features in each class.
#[derive(Debug, Clone, Default, Encode, Decode)]
pub(crate) struct Observers {
    /// Rows seen of each class.
    rows: Vec<u64>,
    /// For each class, one for each numeric feature.
    numbers: Vec<NumberSummary>,
    /// For each class, one for each categorical feature: rows of each category. One past the end has none.
    categories: Vec<Vec<u64>>,
    /// For each categorical feature, how many categories have rows in some class.
    distinct: Vec<u64>,
}

impl Observers {
    /// Takes one row; returns the bytes that this has grown by.
    pub(super) fn observe(&mut self, row: Row<'_>, class: usize) -> usize {
        let mut grown = if class < self.rows.len() { 0 } else { self.add_classes(row, class + 1) };
        self.rows[class] = self.rows[class].saturating_add(1);
        let (first, width) = (class * row.numbers.len(), row.numbers.len());
        for (summary, value) in self.numbers[first..first + width].iter_mut().zip(row.numbers) {
            if !value.is_nan() {
                summary.add(*value);
            }
        }
        for (feature, category) in row.categories.iter().enumerate() {
            grown += self.count(feature, class, *category as usize, row.categories.len());
        }
        grown
    }

    fn add_classes(&mut self, row: Row<'_>, classes: usize) -> usize {
        let before = self.bytes();
        self.rows.resize(classes, 0);
        self.numbers.resize(classes * row.numbers.len(), NumberSummary::default());
        self.categories.resize(classes * row.categories.len(), Vec::new());
        self.distinct.resize(row.categories.len(), 0);
        self.bytes() - before
    }

    fn count(&mut self, feature: usize, class: usize, category: usize, width: usize) -> usize {
        let own = class * width + feature;
        if self.categories[own].get(category).is_none_or(|rows| *rows == 0) {
            let is_new = |counts: &Vec<u64>| counts.get(category).is_none_or(|rows| *rows == 0);
            let mut in_all_classes = self.categories.iter().skip(feature).step_by(width);
            self.distinct[feature] += u64::from(in_all_classes.all(is_new));
        }
        let counts = &mut self.categories[own];
        let missing = (category + 1).saturating_sub(counts.len());
        counts.resize(counts.len() + missing, 0);
        counts[category] = counts[category].saturating_add(1);
        missing * size_of::<u64>()
    }

    /// Bytes that this holds, beside itself.
    pub(super) fn bytes(&self) -> usize {
        let counts: usize =
            self.categories.iter().map(|counts| size_of::<Vec<u64>>() + counts.len() * size_of::<u64>()).sum();
        (self.rows.len() + self.distinct.len()) * size_of::<u64>()
            + self.numbers.len() * size_of::<NumberSummary>()
            + counts
    }

    /// What is known of one number in each class.
    pub(super) fn number(&self, feature: usize, width: usize) -> impl Iterator<Item = &NumberSummary> {
        self.numbers.iter().skip(feature).step_by(width)
    }

    /// How often each category of one feature was seen in each class.
    pub(super) fn category(&self, feature: usize, width: usize) -> impl Iterator<Item = &[u64]> {
        self.categories.iter().skip(feature).step_by(width).map(Vec::as_slice)
    }

    /// The logarithm of how likely a row's features are in a class, each by itself: numbers by a normal density,
    /// categories by their share, each counted once more than seen (as MOA does). What is not known counts nothing.
    pub(super) fn ln_likelihood(&self, row: Row<'_>, class: usize) -> f64 {
        let rows = self.rows.get(class).copied().unwrap_or(0);
        if rows == 0 {
            return 0.0;
        }
        let (mut variances, mut distance, mut known) = (LnProduct::new(), 0.0, 0);
        let numbers = &self.numbers[class * row.numbers.len()..][..row.numbers.len()];
        for (value, summary) in row.numbers.iter().zip(numbers) {
            if let Some(variance) = summary.variance().filter(|_| !value.is_nan()) {
                let difference = value - summary.moments.mean();
                distance += difference * difference / variance;
                variances.multiply(variance);
                known += 1;
            }
        }
        let mut shares = LnProduct::new();
        let categories = &self.categories[class * row.categories.len()..][..row.categories.len()];
        for ((category, counts), distinct) in row.categories.iter().zip(categories).zip(&self.distinct) {
            let seen = counts.get(*category as usize).copied().unwrap_or(0);
            shares.multiply((seen as f64 + 1.0) / (rows as f64 + *distinct as f64));
        }
        shares.ln() - 0.5 * (distance + variances.ln() + f64::from(known) * LN_TAU)
    }

    /// Whether rows of so many classes could have led here, given how many numbers there are and how many categories
    /// each feature has.
    pub(super) fn is_plausible(&self, classes: usize, features: (usize, &[usize]), rows: u64) -> bool {
        let (numbers, categories) = features;
        let (own, width) = (self.rows.len(), categories.len());
        let fits = |(place, counts): (usize, &Vec<u64>)| {
            counts.len() <= categories[place % width] && counts.iter().all(|count| *count <= rows)
        };
        let is_distinct = |feature: usize| {
            let seen = |category: &usize| {
                self.category(feature, width).any(|counts| counts.get(*category).is_some_and(|count| *count > 0))
            };
            self.distinct[feature] == (0..categories[feature]).filter(seen).count() as u64
        };
        own <= classes
            && self.rows.iter().all(|own| *own <= rows)
            && self.numbers.len() == own * numbers
            && self.numbers.iter().all(|summary| summary.is_plausible(rows))
            && self.categories.len() == own * width
            && self.categories.iter().enumerate().all(fits)
            && self.distinct.len() == if own == 0 { 0 } else { width }
            && (0..self.distinct.len()).all(is_distinct)
    }
}

/// The logarithm of a product, for one logarithm and not one for each factor.
struct LnProduct {
    product: f64,
    /// The logarithm of what was taken out of `product`.
    taken: f64,
}

impl LnProduct {
    fn new() -> Self {
        Self { product: 1.0, taken: 0.0 }
    }

    /// A factor between 1e-100 and 1e102.
    fn multiply(&mut self, factor: f64) {
        self.product *= factor;
        if !PRODUCT_RANGE.contains(&self.product) {
            self.taken += ln(self.product);
            self.product = 1.0;
        }
    }

    fn ln(&self) -> f64 {
        // Of one there is nothing to work out, and no category is what many rows have.
        if self.product == 1.0 { self.taken } else { self.taken + ln(self.product) }
    }
}
