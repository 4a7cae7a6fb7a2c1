//! The impurity of numbers: their squared distances from the mean (Breiman et al. 1984, chapter 8).
//!
//! A number is a whole number of a unit, a power of two that is so small that the sum over all rows just fits into 63
//! bits. So of a thousand rows no digit is lost, and of a million the last few of labels that differ in magnitude.

use std::cmp::Ordering;

use super::{BinRows, Impurity, Sample, Sums, is_pure};
use crate::boosted_trees::bins::BINS_MAX;
use crate::forest::tree::Leaves;

/// Units in the sum over all rows.
const UNITS: f64 = (1_u64 << 62) as f64;

/// Rows of numbers.
#[derive(Debug)]
pub(in crate::forest) struct NumberImpurity {
    /// What each row's number is above the least, in units.
    units: Vec<i64>,
    least: f64,
    unit: f64,
}

impl NumberImpurity {
    /// Of rows, given the number of each.
    pub(in crate::forest) fn new(labels: &[f64]) -> Self {
        let least = labels.iter().copied().fold(f64::INFINITY, f64::min);
        let most = labels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let unit = power_of_two_from((most - least) * labels.len() as f64 / UNITS);
        let units = labels.iter().map(|label| ((label - least) / unit).round() as i64).collect();
        Self { units, least, unit }
    }

    fn mean(&self, whole: Side) -> f64 {
        self.least + whole.sum as f64 / whole.rows as f64 * self.unit
    }
}

/// The least power of two that is not below this number; 1 of what is not positive.
fn power_of_two_from(number: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    if number.is_nan() || number <= 0.0 {
        return 1.0;
    }
    let floor = f64::from_bits(number.to_bits() & !MANTISSA).max(f64::MIN_POSITIVE);
    if floor < number { 2.0 * floor } else { floor }
}

impl Impurity for NumberImpurity {
    type Target = i64;
    type Sums = NumberSums;

    fn target(&self, row: usize) -> i64 {
        self.units[row]
    }

    fn sums(&self) -> NumberSums {
        let none = Side::default();
        let by_bin = Box::new([none; BINS_MAX]);
        NumberSums { unit: self.unit, by_bin, bins: BinRows::new(), whole: none, left: none, right: none }
    }

    fn impurity(&self, samples: &[Sample<i64>]) -> f64 {
        if is_pure(samples) {
            return 0.0;
        }
        let whole = Side::of(samples);
        let mean = whole.sum as f64 / whole.rows as f64;
        let square = |sample: &Sample<i64>| {
            let distance = (sample.target as f64 - mean) * self.unit;
            f64::from(sample.weight) * distance * distance
        };
        samples.iter().map(square).sum()
    }

    fn leaves(&self) -> Leaves {
        Leaves::Numbers { values: Vec::new(), rows: Vec::new() }
    }

    fn push_leaf(&self, samples: &[Sample<i64>], leaves: &mut Leaves) {
        let Leaves::Numbers { values, rows } = leaves else { return };
        let whole = Side::of(samples);
        values.push(self.mean(whole));
        rows.push(whole.rows as u32);
    }
}

/// Some rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Side {
    sum: i64,
    rows: u64,
}

impl Side {
    fn of(samples: &[Sample<i64>]) -> Self {
        let mut side = Self::default();
        samples.iter().for_each(|sample| side.add(sample.target * i64::from(sample.weight), u64::from(sample.weight)));
        side
    }

    #[inline]
    fn add(&mut self, sum: i64, rows: u64) {
        self.sum += sum;
        self.rows += rows;
    }

    /// How its mean compares with another's.
    fn compare(&self, other: &Self) -> Ordering {
        let product = |sum: i64, rows: u64| i128::from(sum) * i128::from(rows);
        product(self.sum, other.rows).cmp(&product(other.sum, self.rows))
    }
}

/// The sums of rows' numbers.
#[derive(Debug)]
pub(in crate::forest) struct NumberSums {
    unit: f64,
    by_bin: Box<[Side; BINS_MAX]>,
    bins: BinRows,
    whole: Side,
    left: Side,
    right: Side,
}

impl Sums<i64> for NumberSums {
    fn begin(&mut self, samples: &[Sample<i64>]) {
        self.whole = Side::of(samples);
    }

    fn fill(&mut self, samples: &[Sample<i64>], column: &[u8]) {
        for bin in &self.bins.seen {
            self.bins.counts[usize::from(*bin)] = 0;
            self.by_bin[usize::from(*bin)] = Side::default();
        }
        for sample in samples {
            let bin = usize::from(column[sample.row as usize]);
            self.bins.counts[bin] += 1;
            self.by_bin[bin].add(sample.target * i64::from(sample.weight), u64::from(sample.weight));
        }
        self.bins.find();
    }

    fn bins(&self) -> &BinRows {
        &self.bins
    }

    fn start(&mut self) {
        (self.left, self.right) = (Side::default(), self.whole);
    }

    fn take(&mut self, bin: u8) {
        let Side { sum, rows } = self.by_bin[usize::from(bin)];
        self.left.add(sum, rows);
        self.right.sum -= sum;
        self.right.rows -= rows;
    }

    /// `n l r (mean of l - mean of r)²` over the square of `n`, where `l` and `r` are the rows of both sides: of the
    /// difference no digit is lost.
    fn gain(&self) -> f64 {
        let product = |sum: i64, rows: u64| i128::from(sum) * i128::from(rows);
        let apart =
            (product(self.left.sum, self.right.rows) - product(self.right.sum, self.left.rows)) as f64 * self.unit;
        let rows = [self.left.rows, self.right.rows, self.whole.rows].map(|rows| rows as f64);
        apart / (rows[0] * rows[1]) * (apart / rows[2])
    }

    /// By their means, so that the best set is one of the first so many (Fisher 1958).
    fn sort(&self, bins: &mut [u8]) {
        let side = |bin: &u8| &self.by_bin[usize::from(*bin)];
        bins.sort_by(|a, b| side(a).compare(side(b)).then(a.cmp(b)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(impurity: &NumberImpurity, weights: &[u32]) -> Vec<Sample<i64>> {
        let rows = weights.iter().zip(0..);
        rows.map(|(weight, row)| Sample { row, weight: *weight, target: impurity.target(row as usize) }).collect()
    }

    #[test]
    fn gains_are_worked_by_hand() {
        let impurity = NumberImpurity::new(&[1e9, 1e9 + 2.0, 1e9 + 6.0]);
        let samples = samples(&impurity, &[1, 2, 1]);
        // The mean is 2.5 above the least: squares of 2.5, 0.5 twice, 3.5.
        assert_eq!(impurity.impurity(&samples), 19.0);
        let mut sums = impurity.sums();
        sums.begin(&samples);
        sums.fill(&samples, &[8, 3, 5]);
        assert_eq!(sums.bins().seen, [3, 5, 8]);
        let mut bins = [3, 5, 8];
        sums.sort(&mut bins);
        assert_eq!(bins, [8, 3, 5]);
        sums.start();
        sums.take(8);
        // The others have a mean of 10 / 3, and squares of 4 / 3 twice and 8 / 3.
        assert!((sums.gain() - (19.0 - 96.0 / 9.0)).abs() < 1e-12, "{}", sums.gain());
        sums.take(3);
        assert!((sums.gain() - (19.0 - 24.0 / 9.0)).abs() < 1e-12, "{}", sums.gain());
    }

    #[test]
    fn leaves_have_exact_means() {
        let impurity = NumberImpurity::new(&[0.1, 0.1, 0.3, -5.0]);
        let mut leaves = impurity.leaves();
        let samples = samples(&impurity, &[1, 2, 1, 1]);
        impurity.push_leaf(&samples[..2], &mut leaves);
        impurity.push_leaf(&samples[2..], &mut leaves);
        assert_eq!(impurity.impurity(&samples[..2]), 0.0);
        let Leaves::Numbers { values, rows } = leaves else { panic!() };
        assert!((values[0] - 0.1).abs() < 2e-15 && (values[1] + 2.35).abs() < 2e-15, "{values:?}");
        assert_eq!(rows, [3, 2]);
    }

    #[test]
    fn units_fit_whatever_the_numbers() {
        for labels in [vec![0.0; 3], vec![-1e50, 1e50], vec![1e-280, 3e-280], vec![5e-324, 0.0]] {
            let impurity = NumberImpurity::new(&labels);
            let samples = samples(&impurity, &vec![1; labels.len()]);
            let (mut leaves, mean) = (impurity.leaves(), labels.iter().sum::<f64>() / labels.len() as f64);
            impurity.push_leaf(&samples, &mut leaves);
            let Leaves::Numbers { values, .. } = leaves else { panic!() };
            let range = labels[labels.len() - 1] - labels[0];
            assert!((values[0] - mean).abs() <= 1e-15 * range.abs().max(1e-300), "{labels:?}: {values:?}");
        }
        assert_eq!((power_of_two_from(3.0), power_of_two_from(4.0), power_of_two_from(0.3)), (4.0, 4.0, 0.5));
    }
}
