//! The impurity of classes: the Gini index or the entropy (Breiman et al. 1984, section 4.3).
//!
//! Both are sums over classes of a function of how many rows have it: the square of the number `n`, or `n log2 n`. The
//! latter is a whole number of a small unit, so that a class's part can be taken out of a sum without a trace.

use std::sync::Arc;

use tidemill_compute::kernel::softmax::ln;

use super::{BinRows, Impurity, Sample, Sums, is_pure};
use crate::boosted_trees::bins::BINS_MAX;
use crate::forest::config::Criterion;
use crate::forest::tree::Leaves;

/// Numbers of rows whose `n log2 n` is looked up: half a megabyte of them.
const LOOKED_UP: u64 = 1 << 16;

/// How often the axis along which classes vary most is turned towards it. Categories are sorted by it, which needs no
/// digits.
const TURNS: usize = 20;

/// Rows of classes.
#[derive(Debug)]
pub(in crate::forest) struct ClassImpurity {
    /// The place of each row's class.
    labels: Vec<u32>,
    classes: usize,
    measure: Measure,
}

/// What is summed up of each class.
#[derive(Debug, Clone)]
enum Measure {
    Squares,
    Logarithms {
        /// Units in 1.
        scale: f64,
        /// Of numbers from 0 on.
        table: Arc<[u64]>,
    },
}

impl Measure {
    /// For up to so many rows.
    fn new(criterion: Criterion, rows: u64) -> Self {
        match criterion {
            Criterion::Gini => Self::Squares,
            Criterion::Entropy => {
                // The sum over all classes is at most that of one class of all rows, which then fits into 62 bits.
                let bits = |number: u64| u64::BITS - number.leading_zeros();
                let scale = 2.0_f64.powi(62 - bits(rows.max(1) * u64::from(bits(rows))).cast_signed());
                let table = (0..LOOKED_UP.min(rows + 1)).map(|number| logarithms(number, scale)).collect();
                Self::Logarithms { scale, table }
            }
        }
    }

    /// The part of a class of so many rows. It is below 2^64 for up to 2^32 rows, and so is a sum over classes.
    #[inline]
    fn part(&self, number: u64) -> u64 {
        match self {
            Self::Squares => number * number,
            Self::Logarithms { scale, table } => match table.get(number as usize) {
                Some(part) => *part,
                None => logarithms(number, *scale),
            },
        }
    }

    /// How pure rows are, given the sum over their classes: their number less their number times their impurity.
    #[inline]
    fn purity(&self, sum: u64, rows: u64) -> f64 {
        match self {
            Self::Squares => sum as f64 / rows as f64,
            // Of these, the difference is exact, and the number of rows, which is the same before a split and after,
            // left out.
            Self::Logarithms { scale, .. } => sum.wrapping_sub(self.part(rows)).cast_signed() as f64 / scale,
        }
    }
}

/// `n log2 n` in units.
fn logarithms(number: u64, scale: f64) -> u64 {
    let number = number.max(1) as f64;
    (number * ln(number) * std::f64::consts::LOG2_E * scale).round() as u64
}

impl ClassImpurity {
    /// Of rows, given the place of each one's class, of so many classes.
    pub(in crate::forest) fn new(labels: Vec<u32>, classes: usize, criterion: Criterion) -> Self {
        let measure = Measure::new(criterion, labels.len() as u64);
        Self { labels, classes, measure }
    }
}

/// The weight of each class, in order; only of those that there are.
fn weights(samples: &[Sample<u32>]) -> Vec<(u32, u32)> {
    let mut classes: Vec<(u32, u32)> = samples.iter().map(|sample| (sample.target, sample.weight)).collect();
    classes.sort_unstable();
    classes.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        kept.1 += if is_same { next.1 } else { 0 };
        is_same
    });
    classes
}

impl Impurity for ClassImpurity {
    type Target = u32;
    type Sums = ClassSums;

    fn target(&self, row: usize) -> u32 {
        self.labels[row]
    }

    fn sums(&self) -> ClassSums {
        let counts = || vec![0; self.classes];
        ClassSums {
            measure: self.measure.clone(),
            classes: self.classes,
            by_bin: vec![0; BINS_MAX * self.classes],
            bins: BinRows::new(),
            whole: Side { counts: counts(), ..Side::default() },
            left: Side { counts: counts(), ..Side::default() },
            right: Side { counts: counts(), ..Side::default() },
        }
    }

    fn impurity(&self, samples: &[Sample<u32>]) -> f64 {
        if is_pure(samples) {
            return 0.0;
        }
        let classes = weights(samples);
        let rows: u64 = classes.iter().map(|class| u64::from(class.1)).sum();
        let sum = classes.iter().map(|class| self.measure.part(u64::from(class.1))).sum();
        match self.measure {
            Measure::Squares => rows as f64 - self.measure.purity(sum, rows),
            Measure::Logarithms { .. } => -self.measure.purity(sum, rows),
        }
    }

    fn leaves(&self) -> Leaves {
        Leaves::Classes { ends: Vec::new(), classes: Vec::new(), rows: Vec::new() }
    }

    fn push_leaf(&self, samples: &[Sample<u32>], leaves: &mut Leaves) {
        let Leaves::Classes { ends, classes, rows } = leaves else { return };
        for (class, weight) in weights(samples) {
            classes.push(class);
            rows.push(weight);
        }
        ends.push(classes.len() as u32);
    }
}

/// Some rows of a node.
#[derive(Debug, Clone, Default)]
struct Side {
    /// Of each class.
    counts: Vec<u32>,
    rows: u64,
    /// Over the classes, what the measure says.
    sum: u64,
}

impl Side {
    /// Takes rows of a class.
    #[inline]
    fn add(&mut self, measure: &Measure, class: usize, rows: u32) {
        let before = self.counts[class];
        self.counts[class] = before + rows;
        self.rows += u64::from(rows);
        self.sum = self.sum - measure.part(u64::from(before)) + measure.part(u64::from(before + rows));
    }

    /// Takes such rows out.
    #[inline]
    fn remove(&mut self, measure: &Measure, class: usize, rows: u32) {
        let before = self.counts[class];
        self.counts[class] = before - rows;
        self.rows -= u64::from(rows);
        self.sum = self.sum - measure.part(u64::from(before)) + measure.part(u64::from(before - rows));
    }
}

/// The rows of each class.
#[derive(Debug)]
pub(in crate::forest) struct ClassSums {
    measure: Measure,
    classes: usize,
    /// Of each bin, those of each class.
    by_bin: Vec<u32>,
    bins: BinRows,
    whole: Side,
    left: Side,
    right: Side,
}

impl ClassSums {
    fn of_bin(&self, bin: u8) -> &[u32] {
        &self.by_bin[usize::from(bin) * self.classes..][..self.classes]
    }

    /// By how much the share of each class in a category is above that in all rows, and the category's rows.
    fn deviations(&self, bin: u8) -> (Vec<f64>, f64) {
        let counts = self.of_bin(bin);
        let rows: f64 = counts.iter().map(|count| f64::from(*count)).sum();
        let shares = counts.iter().zip(&self.whole.counts);
        let all = self.whole.rows as f64;
        (shares.map(|(count, whole)| f64::from(*count) / rows - f64::from(*whole) / all).collect(), rows)
    }

    /// Where each category is on the axis along which shares of classes vary most: the first principal component
    /// (Coppersmith, Hong and Hosking 1999). Of two classes the order along it is that of one's share.
    fn positions(&self, bins: &[u8]) -> Vec<f64> {
        let categories: Vec<(Vec<f64>, f64)> = bins.iter().map(|bin| self.deviations(*bin)).collect();
        let variance = |class: usize| -> f64 {
            categories.iter().map(|(shares, rows)| rows * shares[class] * shares[class]).sum()
        };
        let variances: Vec<f64> = (0..self.classes).map(variance).collect();
        let most = (0..self.classes).reduce(|best, next| if variances[next] > variances[best] { next } else { best });
        let mut axis = vec![0.0; self.classes];
        axis[most.unwrap_or(0)] = 1.0;
        let along = |axis: &[f64], shares: &[f64]| -> f64 { axis.iter().zip(shares).map(|(a, b)| a * b).sum() };
        for _ in 0..TURNS {
            let mut turned = vec![0.0; self.classes];
            for (shares, rows) in &categories {
                let length = rows * along(&axis, shares);
                turned.iter_mut().zip(shares).for_each(|(own, share)| *own += length * share);
            }
            let largest = turned.iter().fold(0.0_f64, |largest, part| largest.max(part.abs()));
            if largest == 0.0 {
                break;
            }
            axis = turned.iter().map(|part| part / largest).collect();
        }
        categories.iter().map(|(shares, _)| along(&axis, shares)).collect()
    }
}

impl Sums<u32> for ClassSums {
    fn begin(&mut self, samples: &[Sample<u32>]) {
        self.whole.counts.fill(0);
        samples.iter().for_each(|sample| self.whole.counts[sample.target as usize] += sample.weight);
        self.whole.rows = self.whole.counts.iter().map(|count| u64::from(*count)).sum();
        self.whole.sum = self.whole.counts.iter().map(|count| self.measure.part(u64::from(*count))).sum();
    }

    fn fill(&mut self, samples: &[Sample<u32>], column: &[u8]) {
        for bin in &self.bins.seen {
            self.bins.counts[usize::from(*bin)] = 0;
            self.by_bin[usize::from(*bin) * self.classes..][..self.classes].fill(0);
        }
        for sample in samples {
            let bin = usize::from(column[sample.row as usize]);
            self.bins.counts[bin] += 1;
            self.by_bin[bin * self.classes + sample.target as usize] += sample.weight;
        }
        self.bins.find();
    }

    fn bins(&self) -> &BinRows {
        &self.bins
    }

    fn start(&mut self) {
        self.left.counts.fill(0);
        (self.left.rows, self.left.sum) = (0, 0);
        self.right.clone_from(&self.whole);
    }

    fn take(&mut self, bin: u8) {
        let counts = &self.by_bin[usize::from(bin) * self.classes..][..self.classes];
        for (class, rows) in counts.iter().enumerate().filter(|(_, rows)| **rows > 0) {
            self.left.add(&self.measure, class, *rows);
            self.right.remove(&self.measure, class, *rows);
        }
    }

    fn gain(&self) -> f64 {
        let purity = |side: &Side| self.measure.purity(side.sum, side.rows);
        // Rounding may leave a trace of what is nothing.
        (purity(&self.left) + purity(&self.right) - purity(&self.whole)).max(0.0)
    }

    fn sort(&self, bins: &mut [u8]) {
        let positions = self.positions(bins);
        let mut order: Vec<(f64, u8)> = positions.into_iter().zip(bins.iter().copied()).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        bins.iter_mut().zip(order).for_each(|(bin, (_, sorted))| *bin = sorted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(classes: &[u32], weights: &[u32]) -> Vec<Sample<u32>> {
        let rows = classes.iter().zip(weights).zip(0..);
        rows.map(|((target, weight), row)| Sample { row, weight: *weight, target: *target }).collect()
    }

    /// The gains of cutting behind each bin, in whatever order they are taken.
    fn gains(criterion: Criterion, order: &[u8]) -> Vec<f64> {
        // Bin 0 has classes 0, 0, 1, bin 3 has 1, and bin 255 has 2, twice.
        let samples = samples(&[0, 1, 1, 2, 0], &[1, 1, 1, 2, 1]);
        let impurity = ClassImpurity::new(vec![0; 6], 3, criterion);
        let mut sums = impurity.sums();
        sums.begin(&samples);
        sums.fill(&samples, &[9; 5]);
        sums.fill(&samples, &[0, 0, 3, 255, 0]);
        assert_eq!((sums.bins().seen.as_slice(), sums.bins().of(0)), (&[0, 3, 255][..], 3));
        sums.start();
        let of = |bin: &u8| {
            sums.take(*bin);
            sums.gain()
        };
        order[..order.len() - 1].iter().map(of).collect()
    }

    #[test]
    fn gini_is_worked_by_hand() {
        // All: (4 + 4 + 4) / 6. Behind bin 0: 5 / 3 and 5 / 3. Behind bin 3: (4 + 4) / 4 and 4 / 2.
        let found = gains(Criterion::Gini, &[0, 3, 255]);
        assert!((found[0] - (10.0 / 3.0 - 2.0)).abs() < 1e-12 && (found[1] - 2.0).abs() < 1e-12, "{found:?}");
        assert_eq!(gains(Criterion::Gini, &[255, 3, 0])[0], found[1]);
    }

    #[test]
    fn entropy_is_worked_by_hand() {
        let entropy = |parts: &[f64]| {
            let all: f64 = parts.iter().sum();
            -parts.iter().map(|part| part * (part / all).log2()).sum::<f64>()
        };
        let found = gains(Criterion::Entropy, &[0, 3, 255]);
        let all = entropy(&[2.0, 2.0, 2.0]);
        let expected = [all - 2.0 * entropy(&[2.0, 1.0]), all - entropy(&[2.0, 2.0])];
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
        // Exactly the same, whichever side is which.
        assert_eq!(gains(Criterion::Entropy, &[255, 3, 0])[0].to_bits(), found[1].to_bits());
    }

    #[test]
    fn logarithms_of_many_rows_are_those_of_the_table() {
        let measure = Measure::new(Criterion::Entropy, 1 << 32);
        let Measure::Logarithms { scale, table } = &measure else { panic!() };
        assert!((table[1000] as f64 / scale - 1000.0 * 1000.0_f64.log2()).abs() < 1e-3);
        assert_eq!(measure.part(1000), logarithms(1000, *scale));
        // All rows of one class, and of two.
        assert!(measure.part(1 << 32) < 1 << 62);
        assert_eq!(measure.part(1 << 32), ((1_u64 << 37) as f64 * scale) as u64);
        assert_eq!(measure.part(0), 0);
    }

    #[test]
    fn impurity_is_that_of_all_rows() {
        let rows = samples(&[1, 0, 1], &[1, 2, 1]);
        let of = |criterion, rows: &[Sample<u32>]| ClassImpurity::new(vec![0; 4], 2, criterion).impurity(rows);
        assert_eq!((of(Criterion::Gini, &rows), of(Criterion::Gini, &rows[1..2])), (2.0, 0.0));
        assert!((of(Criterion::Entropy, &rows) - 4.0).abs() < 1e-12);
        assert_eq!(of(Criterion::Entropy, &rows[1..2]), 0.0);
    }

    #[test]
    fn categories_are_sorted_by_the_share_of_a_class() {
        // Shares of class 1: 0.5, 0, 1, 0.25 in bins 1 to 4.
        let classes = [0, 1, 0, 0, 1, 1, 0, 0, 0, 1];
        let samples = samples(&classes, &[1; 10]);
        for classes in [2, 5] {
            let impurity = ClassImpurity::new(classes_of(&samples), classes, Criterion::Gini);
            let mut sums = impurity.sums();
            sums.begin(&samples);
            sums.fill(&samples, &[1, 1, 2, 2, 3, 3, 4, 4, 4, 4]);
            let mut bins = [1, 2, 3, 4];
            sums.sort(&mut bins);
            assert!([[2, 4, 1, 3], [3, 1, 4, 2]].contains(&bins), "{bins:?}");
        }
    }

    fn classes_of(samples: &[Sample<u32>]) -> Vec<u32> {
        samples.iter().map(|sample| sample.target).collect()
    }
}
