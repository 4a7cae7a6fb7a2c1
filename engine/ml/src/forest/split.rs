//! The best way to cut a node's rows in two by one of some features.
//!
//! Numbers are cut between two bins that have rows of the node, with missing ones on either side, or off from all
//! others. Categories are cut into a set and the rest. A node that is not pure is cut even where nothing is gained, as
//! scikit-learn does: what looks at two features at once, as XOR does, gains from the second split only.

use super::bins::{BinnedColumns, FeatureBins};
use super::config::ForestConfig;
use super::impurity::{Sample, Sums};
use crate::boosted_trees::bins::{BINS_MAX, OTHERS};

/// Bins by bit.
pub(super) type BinSet = [u64; BINS_MAX / 64];

pub(super) fn contains(set: &BinSet, bin: u8) -> bool {
    set[usize::from(bin / 64)] >> (bin % 64) & 1 == 1
}

fn set_of(bins: &[u8]) -> BinSet {
    let mut set = BinSet::default();
    bins.iter().for_each(|bin| set[usize::from(bin / 64)] |= 1 << (bin % 64));
    set
}

/// Which rows go to the left.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cut {
    /// Those up to the first of two bins that the node's rows have one after the other, or all numbers where both are
    /// the same; and missing ones, if so.
    Number { bins: [u8; 2], missing: u8, missing_left: bool },
    /// Those of these bins, of which [`OTHERS`] is none: categories that were not seen go to the right.
    Categories(BinSet),
}

impl Cut {
    pub(super) fn goes_left(&self, bin: u8) -> bool {
        match self {
            Self::Number { missing, missing_left, .. } if bin == *missing => *missing_left,
            Self::Number { bins, .. } => bin <= bins[0],
            Self::Categories(set) => contains(set, bin),
        }
    }
}

/// A cut, and how much it lowers the impurity of the rows times their weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Split {
    pub(super) feature: usize,
    pub(super) cut: Cut,
    pub(super) gain: f64,
}

/// The better of two splits; of equals the first.
pub(super) fn better(best: Split, next: Split) -> Split {
    if next.gain > best.gain { next } else { best }
}

/// What splits are looked for with.
pub(super) struct Search<'a> {
    pub(super) config: &'a ForestConfig,
    pub(super) binned: &'a BinnedColumns,
}

impl Search<'_> {
    /// The best split of a node's rows by this feature, if there is one; `sums` has been given the node.
    pub(super) fn best<T, S: Sums<T>>(&self, feature: usize, samples: &[Sample<T>], sums: &mut S) -> Option<Split> {
        sums.fill(samples, &self.binned.columns[feature]);
        if sums.bins().seen.len() < 2 {
            return None;
        }
        let mut scan = Scan { sums, rows: samples.len() as u32, min_rows: self.config.min_rows_in_leaf };
        let (cut, gain) = match &self.binned.features[feature] {
            FeatureBins::Numeric { lows, .. } => scan.number(lows.len() as u8)?,
            FeatureBins::Categorical { .. } => scan.categories()?,
        };
        Some(Split { feature, cut, gain })
    }
}

/// A node's rows by the bins of a feature.
struct Scan<'a, S> {
    sums: &'a mut S,
    rows: u32,
    /// Of a side.
    min_rows: u64,
}

impl<S> Scan<'_, S> {
    fn number<T>(&mut self, missing: u8) -> Option<(Cut, f64)>
    where
        S: Sums<T>,
    {
        let mut seen = self.sums.bins().seen.clone();
        let lacking = self.sums.bins().of(missing);
        if lacking == 0 {
            let (place, gain) = self.best_prefix(&seen, seen.len() - 1, None)?;
            let left: u32 = seen[..=place].iter().map(|bin| self.sums.bins().of(*bin)).sum();
            // Rows that will lack the number go with most of those that have it.
            let missing_left = left >= self.rows - left;
            return Some((Cut::Number { bins: [seen[place], seen[place + 1]], missing, missing_left }, gain));
        }
        // Missing values have the last bin of all.
        seen.pop();
        let on_the_right = self.best_prefix(&seen, seen.len(), None).map(|best| (best, false));
        let on_the_left = self.best_prefix(&seen, seen.len() - 1, Some(missing)).map(|best| (best, true));
        let better =
            |best: ((usize, f64), bool), next: ((usize, f64), bool)| if next.0.1 > best.0.1 { next } else { best };
        let ((place, gain), missing_left) = [on_the_right, on_the_left].into_iter().flatten().reduce(better)?;
        let next = seen.get(place + 1).copied().unwrap_or(seen[place]);
        Some((Cut::Number { bins: [seen[place], next], missing, missing_left }, gain))
    }

    fn categories<T>(&mut self) -> Option<(Cut, f64)>
    where
        S: Sums<T>,
    {
        let mut order = self.sums.bins().seen.clone();
        self.sums.sort(&mut order);
        let (place, gain) = self.best_prefix(&order, order.len() - 1, None)?;
        let (first, rest) = order.split_at(place + 1);
        let rows: u32 = first.iter().map(|bin| self.sums.bins().of(*bin)).sum();
        // What was not seen goes to the right: with the categories that have no bin, or else with most rows.
        let first_is_right = if order.contains(&OTHERS) { first.contains(&OTHERS) } else { rows > self.rows - rows };
        Some((Cut::Categories(set_of(if first_is_right { rest } else { first })), gain))
    }

    /// Of the cuts behind each of the first so many bins, with the rows of another bin on the left anyway, the place of
    /// the best, and what it gains.
    fn best_prefix<T>(&mut self, order: &[u8], cuts: usize, first: Option<u8>) -> Option<(usize, f64)>
    where
        S: Sums<T>,
    {
        self.sums.start();
        let mut left = 0;
        if let Some(bin) = first {
            left += self.sums.bins().of(bin);
            self.sums.take(bin);
        }
        let mut best: Option<(usize, f64)> = None;
        for (place, bin) in order[..cuts].iter().enumerate() {
            self.sums.take(*bin);
            left += self.sums.bins().of(*bin);
            if u64::from(self.rows - left) < self.min_rows {
                break;
            }
            if u64::from(left) < self.min_rows {
                continue;
            }
            let gain = self.sums.gain();
            if best.is_none_or(|best| gain > best.1) {
                best = Some((place, gain));
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::super::ForestType;
    use super::super::config::Criterion;
    use super::super::impurity::{ClassImpurity, Impurity, NumberImpurity};
    use super::super::sample::random_of;
    use super::*;

    const MISSING: u8 = 4;

    fn split(bins: FeatureBins, column: &[u8], classes: &[u32], min_rows_in_leaf: u64) -> Option<Split> {
        let config = ForestConfig { min_rows_in_leaf, ..ForestConfig::new(ForestType::TreeClassifier) };
        let binned = BinnedColumns { features: vec![bins], columns: vec![column.to_vec()] };
        let impurity = ClassImpurity::new(classes.to_vec(), 3, Criterion::Gini);
        let rows = classes.iter().zip(0..);
        let samples: Vec<_> = rows.map(|(target, row)| Sample { row, weight: 1, target: *target }).collect();
        let mut sums = impurity.sums();
        sums.begin(&samples);
        Search { config: &config, binned: &binned }.best(0, &samples, &mut sums)
    }

    fn number(column: &[u8], classes: &[u32], min_rows: u64) -> Option<([u8; 2], bool)> {
        let values: Vec<f64> = (0..MISSING).map(f64::from).collect();
        let bins = FeatureBins::Numeric { lows: values.clone(), highs: values };
        match split(bins, column, classes, min_rows)?.cut {
            Cut::Number { bins, missing, missing_left } => {
                assert_eq!(missing, MISSING);
                Some((bins, missing_left))
            }
            Cut::Categories(_) => panic!(),
        }
    }

    fn categories(column: &[u8], classes: &[u32]) -> Vec<u8> {
        let bins = FeatureBins::Categorical { categories: (0..200).collect() };
        match split(bins, column, classes, 1).unwrap().cut {
            Cut::Categories(set) => (0..=u8::MAX).filter(|bin| contains(&set, *bin)).collect(),
            Cut::Number { .. } => panic!(),
        }
    }

    #[test]
    fn numbers_are_cut_between_the_bins_of_the_node() {
        assert_eq!(number(&[0, 0, 3, 3], &[0, 0, 1, 1], 1), Some(([0, 3], true)));
        assert_eq!(number(&[0, 2, 2, 3], &[0, 1, 1, 1], 1), Some(([0, 2], false)));
        // Two rows for each side leave but one cut.
        assert_eq!(number(&[0, 1, 2, 3], &[0, 1, 1, 1], 2), Some(([1, 2], true)));
        assert_eq!(number(&[0, 1, 2, 3], &[0, 1, 1, 1], 3), None);
        assert_eq!(number(&[2, 2, 2], &[0, 1, 1], 1), None);
        // Nothing is gained, yet both halves can be told apart by another feature.
        assert_eq!(number(&[0, 0, 1, 1], &[0, 1, 0, 1], 1), Some(([0, 1], true)));
    }

    #[test]
    fn missing_numbers_go_to_the_better_side() {
        assert_eq!(number(&[0, 1, 2, MISSING], &[0, 1, 1, 0], 1), Some(([0, 1], true)));
        assert_eq!(number(&[0, 1, 2, MISSING], &[0, 0, 1, 1], 1), Some(([1, 2], false)));
        // Off from all numbers.
        assert_eq!(number(&[0, 1, 2, MISSING], &[0, 0, 0, 1], 1), Some(([2, 2], false)));
        assert_eq!(number(&[MISSING; 3], &[0, 0, 1], 1), None);
        assert_eq!(number(&[1, 1, MISSING], &[0, 0, 1], 1), Some(([1, 1], false)));
    }

    #[test]
    fn sets_of_categories_leave_what_was_not_seen_with_most_rows() {
        assert_eq!(categories(&[1, 2, 1, 9, 200], &[0, 1, 0, 1, 0]), [2, 9]);
        assert_eq!(categories(&[1, 2, 1, 9, 2], &[0, 1, 0, 1, 1]), [1]);
        // With the categories that have no bin, if there are any.
        assert_eq!(categories(&[OTHERS, 2, OTHERS, 9, 2], &[0, 1, 0, 1, 1]), [2, 9]);
        assert_eq!(categories(&[OTHERS, 2, 7, 9, 2], &[0, 1, 0, 1, 1]), [2, 9]);
        // Three classes: one of them against the others, which vary less.
        assert_eq!(categories(&[1, 1, 1, 2, 2, 2, 3, 3], &[0, 0, 0, 1, 1, 1, 2, 1]), [1]);
    }

    /// What the best set gains that the search finds, and the best of all sets that there are.
    fn best_sets<I: Impurity>(impurity: &I, column: &[u8]) -> [f64; 2] {
        let config = ForestConfig::new(ForestType::TreeClassifier);
        let bins = FeatureBins::Categorical { categories: (0..6).collect() };
        let binned = BinnedColumns { features: vec![bins], columns: vec![column.to_vec()] };
        let sample = |row: u32| Sample { row, weight: 1 + row % 3, target: impurity.target(row as usize) };
        let samples: Vec<_> = (0..column.len() as u32).map(sample).collect();
        let mut sums = impurity.sums();
        sums.begin(&samples);
        let found = Search { config: &config, binned: &binned }.best(0, &samples, &mut sums).unwrap().gain;
        let seen = sums.bins().seen.clone();
        let gain = |set: u32| {
            sums.start();
            seen.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1).for_each(|(_, bin)| sums.take(*bin));
            sums.gain()
        };
        // The last category is always on the right: all other sets are the complements of these.
        [found, (1..1 << (seen.len() - 1)).map(gain).fold(0.0, f64::max)]
    }

    #[test]
    fn no_set_of_categories_gains_more() {
        for tree in 0..200 {
            let mut random = random_of(3, tree);
            let column: Vec<u8> = (0..40).map(|_| random.below(7) as u8).collect();
            let classes: Vec<u32> = (0..40).map(|_| random.below(3) as u32).collect();
            let two = classes.iter().map(|class| class % 2).collect();
            let numbers: Vec<f64> = (0..40).map(|_| random.below(1000) as f64).collect();
            for [found, best] in [
                best_sets(&NumberImpurity::new(&numbers), &column),
                best_sets(&ClassImpurity::new(two, 2, Criterion::Gini), &column),
            ] {
                assert!((found - best).abs() <= 1e-9 * best, "{tree}: {found} of {best}");
            }
            // Of more classes no order is sure to have the best set.
            let [found, best] = best_sets(&ClassImpurity::new(classes, 3, Criterion::Gini), &column);
            assert!(found <= best + 1e-9 && found >= 0.7 * best, "{tree}: {found} of {best}");
        }
    }
}
