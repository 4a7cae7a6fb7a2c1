//! Looks for the split of a leaf of numbers.
//!
//! The gain of a split is what it takes off the sum of squared differences from the mean (Ikonomovska, Gama and Džeroski
//! 2011). A number is tried between each two of its bins; a category against all others, and, unless splits are to be
//! binary, all categories against each other.

use super::leaf::Observers;
use crate::feature::moments::Moments;
use crate::hoeffding_tree::config::GrowthConfig;
use crate::hoeffding_tree::split::{Split, Test, hoeffding_bound};

/// Rows that every branch of a split must have.
const BRANCH_ROWS_MIN: u64 = 5;

/// The best split of a feature, and its gain.
type Candidate = (f64, Split<Moments>);

/// The split that a leaf of so many rows should have by now, if they are enough to say so.
///
/// The gains of two splits have no range, but their ratio is from 0 to 1. Where it is below one by more than the bound, more
/// rows would not have changed the choice; and where the bound is below `τ`, both are about as good.
pub(super) fn best_split(observers: &Observers, rows: u64, config: &GrowthConfig) -> Option<Split<Moments>> {
    let (mut best, mut second) = ((0.0, None), 0.0_f64);
    for (gain, split) in candidates(observers, config.binary_split) {
        if gain > best.0 {
            second = best.0;
            best = (gain, Some(split));
        } else {
            second = second.max(gain);
        }
    }
    let bound = hoeffding_bound(1.0, config.delta, rows as f64);
    let (gain, split) = best;
    split.filter(|_| second < (1.0 - bound) * gain || bound < config.tau)
}

/// The best split of each feature that has one.
fn candidates(observers: &Observers, is_binary: bool) -> impl Iterator<Item = Candidate> {
    let numbers = observers.numbers().iter().enumerate().filter_map(|(feature, bins)| {
        let mut best = None;
        bins.offer(feature, &mut best);
        best
    });
    let categories = observers.categories().iter().enumerate();
    numbers.chain(categories.filter_map(move |(feature, labels)| best_categories(feature, labels, is_binary)))
}

/// The best split by the categories of a feature, given the labels of each.
fn best_categories(feature: usize, labels: &[Moments], is_binary: bool) -> Option<Candidate> {
    let of = |category: u32| labels[category as usize];
    let seen: Vec<u32> = (0..labels.len() as u32).filter(|category| of(*category).count() > 0).collect();
    let mut best = None;
    if !is_binary && seen.len() > 1 {
        let branches: Vec<_> = seen.iter().map(|category| of(*category)).collect();
        keep_better(&mut best, feature, &branches, || Test::Each(seen.clone()));
    }
    // What came before each category, and what comes after it.
    let mut after = vec![Moments::default(); seen.len()];
    for place in (1..seen.len()).rev() {
        let mut sum = after[place];
        sum.merge(&of(seen[place]));
        after[place - 1] = sum;
    }
    let mut before = Moments::default();
    for (category, after) in seen.into_iter().zip(after) {
        let mut others = before;
        others.merge(&after);
        keep_better(&mut best, feature, &[of(category), others], || Test::Is(category));
        before.merge(&of(category));
    }
    best
}

/// Replaces the best split by one that gains more, if all of its branches have enough rows.
pub(super) fn keep_better(
    best: &mut Option<Candidate>,
    feature: usize,
    branches: &[Moments],
    test: impl FnOnce() -> Test,
) {
    if branches.iter().any(|branch| branch.count() < BRANCH_ROWS_MIN) {
        return;
    }
    let mut all = Moments::default();
    branches.iter().for_each(|branch| all.merge(branch));
    let gain = all.squares() - branches.iter().map(Moments::squares).sum::<f64>();
    if best.as_ref().is_none_or(|(best, _)| gain > *best) {
        *best = Some((gain, Split { feature: feature as u32, test: test(), branches: branches.to_vec() }));
    }
}

#[cfg(test)]
mod tests {
    use super::{best_categories, keep_better};
    use crate::feature::moments::Moments;
    use crate::hoeffding_tree::split::Test;

    fn moments(labels: &[f64]) -> Moments {
        let mut moments = Moments::default();
        labels.iter().for_each(|label| moments.add(*label));
        moments
    }

    #[test]
    fn gains_by_hand() {
        let (low, high) = (moments(&[1.0, 2.0, 3.0, 2.0, 2.0]), moments(&[7.0, 8.0, 9.0, 8.0, 8.0]));
        let mut best = None;
        keep_better(&mut best, 0, &[low, high], || Test::AtMost(0.5));
        // Means 2 and 8 of ten rows around 5: squares of 94 in all, and 2 in each branch.
        assert!((best.unwrap().0 - 90.0).abs() < 1e-12);
        let mut best = None;
        keep_better(&mut best, 0, &[low, moments(&[8.0; 4])], || Test::AtMost(0.5));
        assert!(best.is_none());
    }

    #[test]
    fn categories_are_tried_together_and_one_against_all() {
        let labels = [moments(&[1.0; 6]), Moments::default(), moments(&[5.0; 6]), moments(&[1.0; 6])];
        let (gain, split) = best_categories(2, &labels, false).unwrap();
        // Sums of 6 · 1 · 2 squares; both leave nothing, and the first of them is taken.
        assert_eq!((gain.round(), split.feature, split.test), (64.0, 2, Test::Each(vec![0, 2, 3])));
        let (gain, split) = best_categories(2, &labels, true).unwrap();
        assert_eq!((gain.round(), split.test), (64.0, Test::Is(2)));
        assert_eq!(split.branches.iter().map(Moments::count).collect::<Vec<_>>(), [6, 12]);
        assert!(best_categories(0, &labels[..2], false).is_none());
    }
}
