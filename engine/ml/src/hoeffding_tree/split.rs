//! Splits; and looks for that of a leaf of classes, and says whether its rows are enough to tell it from the second best.
//!
//! The gain of a split is the entropy of its feature's rows less that of its branches (Quinlan 1986), in bits. A number
//! is tried at ten thresholds between its smallest and largest value, its rows on either side estimated from the normal
//! distribution of each class (Pfahringer, Holmes and Kirkby 2008); a category against all others, and, unless splits
//! are to be binary, all categories against each other.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::ln;

use super::config::TreeConfig;
use super::leaf::Leaf;
use super::observers::{NumberSummary, Observers};

/// Thresholds of a number that are tried.
const THRESHOLDS: u32 = 10;

/// A leaf of which more than this share has one class is not split: there is next to nothing to gain.
const LARGEST_SHARE: f64 = 0.99;

/// A split must have two branches with more of the rows than this.
const BRANCH_SHARE: f64 = 0.01;

/// How a split sends rows to its branches.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) enum Test {
    /// Numbers that are at most this to the first branch, others to the second.
    AtMost(f64),
    /// This category to the first branch, others to the second.
    Is(u32),
    /// Each of these categories, in ascending order, to the branch at its place.
    Each(Vec<u32>),
}

/// A split that a leaf could have.
#[derive(Debug)]
pub(crate) struct Split<Branch> {
    /// Its number among the numeric features, or among the categorical ones.
    pub(super) feature: u32,
    pub(super) test: Test,
    /// What is known of the rows of each branch.
    pub(super) branches: Vec<Branch>,
}

/// Rows of each class.
pub(crate) type ClassRows = Vec<f64>;

/// The best split of a feature, and its gain.
type Candidate = (f64, Split<ClassRows>);

/// With probability `1 - δ` the mean of `n` numbers that span `range` is within this of the true one (Hoeffding 1963).
pub(super) fn hoeffding_bound(range: f64, delta: f64, n: f64) -> f64 {
    (range * range * -ln(delta) / (2.0 * n)).sqrt()
}

/// The split that a leaf should have by now, if its rows are enough to say so.
///
/// Where the best gain exceeds the second best by more than the [`hoeffding_bound`], more rows would not have changed
/// the choice; and where that is below `τ`, both are about as good (Domingos and Hulten 2000). No split at all, whose gain
/// is 0, is one of the choices.
pub(super) fn best_split(leaf: &Leaf, features: (usize, usize), config: &TreeConfig) -> Option<Split<ClassRows>> {
    let (weight, wrong) = (leaf.weight(), leaf.wrong());
    let classes = leaf.weights().iter().filter(|weight| **weight > 0.0).count();
    if classes < 2 || weight - wrong > LARGEST_SHARE * weight {
        return None;
    }
    let observers = leaf.observers()?;
    let (numbers, categories) = features;
    let candidates = (0..numbers).map(|feature| best_threshold(observers, feature, numbers)).chain(
        (0..categories).map(|feature| best_categories(observers, feature, categories, config.growth.binary_split)),
    );
    let (mut best, mut second) = ((0.0, None), f64::NEG_INFINITY);
    for (gain, split) in candidates.flatten() {
        if gain > best.0 {
            second = best.0;
            best = (gain, Some(split));
        } else {
            second = second.max(gain);
        }
    }
    let bound = hoeffding_bound(log2(classes as f64), config.growth.delta, weight);
    let (gain, split) = best;
    split.filter(|_| gain - second > bound || bound < config.growth.tau)
}

fn best_threshold(observers: &Observers, feature: usize, width: usize) -> Option<Candidate> {
    let classes: Vec<&NumberSummary> = observers.number(feature, width).collect();
    let ranges = || classes.iter().filter(|summary| summary.count() > 0).map(|summary| summary.range());
    let min = ranges().map(|(min, _)| min).fold(f64::INFINITY, f64::min);
    let max = ranges().map(|(_, max)| max).fold(f64::NEG_INFINITY, f64::max);
    let rows: Vec<f64> = classes.iter().map(|summary| summary.count() as f64).collect();
    let step = (max - min) / f64::from(THRESHOLDS + 1);
    let mut best: Option<Candidate> = None;
    for place in 1..=THRESHOLDS {
        let threshold = min + step * f64::from(place);
        // Not of no rows, nor of rows with one value.
        if !(min < threshold && threshold < max) {
            continue;
        }
        let below: Vec<f64> = classes.iter().map(|summary| summary.rows_below(threshold)).collect();
        let above = rows.iter().zip(&below).map(|(rows, below)| rows - below).collect();
        let split = Split { feature: feature as u32, test: Test::AtMost(threshold), branches: vec![below, above] };
        keep_better(&mut best, &rows, split);
    }
    best
}

fn best_categories(observers: &Observers, feature: usize, width: usize, is_binary: bool) -> Option<Candidate> {
    let classes: Vec<&[u64]> = observers.category(feature, width).collect();
    let known = classes.iter().map(|counts| counts.len()).max()?;
    let rows_of = |category: usize| -> Vec<f64> {
        classes.iter().map(|counts| counts.get(category).copied().unwrap_or(0) as f64).collect()
    };
    let mut rows = vec![0.0; classes.len()];
    let mut branches = Vec::new();
    for category in 0..known {
        let own = rows_of(category);
        if own.iter().any(|rows| *rows > 0.0) {
            rows.iter_mut().zip(&own).for_each(|(rows, own)| *rows += own);
            branches.push((category as u32, own));
        }
    }
    let mut best: Option<Candidate> = None;
    if !is_binary {
        let (categories, branches) = branches.iter().cloned().unzip();
        keep_better(&mut best, &rows, Split { feature: feature as u32, test: Test::Each(categories), branches });
    }
    for (category, own) in branches {
        let others = rows.iter().zip(&own).map(|(rows, own)| rows - own).collect();
        let split = Split { feature: feature as u32, test: Test::Is(category), branches: vec![own, others] };
        keep_better(&mut best, &rows, split);
    }
    best
}

/// Replaces the best split by one that gains more.
fn keep_better(best: &mut Option<Candidate>, rows: &[f64], split: Split<ClassRows>) {
    if let Some(gain) = gain(rows, &split.branches)
        && best.as_ref().is_none_or(|(best, _)| gain > *best)
    {
        *best = Some((gain, split));
    }
}

/// What a split of rows, given by class, gains in bits a row; `None` where only one branch is of any size.
fn gain(rows: &[f64], branches: &[Vec<f64>]) -> Option<f64> {
    let total: f64 = rows.iter().sum();
    let is_large = |branch: &&Vec<f64>| branch.iter().sum::<f64>() > BRANCH_SHARE * total;
    if branches.iter().filter(is_large).count() < 2 {
        return None;
    }
    let after: f64 = branches.iter().map(|branch| entropy(branch)).sum();
    Some((entropy(rows) - after) / total)
}

/// The entropy of rows given by class, times their number, in bits: `n log n - Σ nᵢ log nᵢ`.
fn entropy(rows: &[f64]) -> f64 {
    let times_log = |rows: f64| if rows > 0.0 { rows * log2(rows) } else { 0.0 };
    times_log(rows.iter().sum()) - rows.iter().map(|rows| times_log(*rows)).sum::<f64>()
}

fn log2(number: f64) -> f64 {
    ln(number) / std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::{entropy, gain};

    #[test]
    fn gains_by_hand() {
        // Quinlan's: 9 and 5 rows have an entropy of 0.940 bits; a split into 6 2 and 3 3 leaves 0.892 of it.
        assert!((entropy(&[9.0, 5.0]) / 14.0 - 0.940_285_958_670_631).abs() < 1e-12);
        let split = gain(&[9.0, 5.0], &[vec![6.0, 2.0], vec![3.0, 3.0]]).unwrap();
        assert!((split - 0.048_127_030_408_269_49).abs() < 1e-12, "{split}");
        assert!((gain(&[4.0, 4.0], &[vec![4.0, 0.0], vec![0.0, 4.0]]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(gain(&[500.0, 500.0], &[vec![500.0, 495.0], vec![0.0, 5.0]]), None);
        assert_eq!(gain(&[], &[]), None);
    }
}
