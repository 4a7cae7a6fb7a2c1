//! The best way to cut a leaf's rows in two, given their histogram.
//!
//! The gain of a split is how much it lowers the second-order approximation of the loss (Chen and Guestrin 2016). Numbers are cut
//! at a bin, with missing values on the better side. Of categories the best set is among the prefixes of their order by
//! mean gradient (Fisher 1958), with LightGBM's smoothing and limits; of few categories it is one of them.

use super::bins::{BINS_MAX, BinnedRows, FeatureBins};
use super::config::TreeConfig;
use super::histogram::{Siblings, SomeFeatures, Sum, Units};
use super::monotone::{Bounds, Direction};
use crate::batch::parallel::{owned_in_parallel, worthwhile};

/// Beside the sum of second derivatives, which may be 0.
const TINY: f64 = 1e-15;

/// Up to so many categories one is split off; of more, sets are.
const ONE_OF_CATEGORIES_MAX: usize = 4;
/// A category with fewer rows is in no set, and each has so many rows more of no gradient in the order.
const CATEGORY_SMOOTHING: f64 = 10.0;
/// More L2 penalty for sets of categories.
const CATEGORY_L2: f64 = 10.0;
/// Categories in a set at most.
const SET_MAX: usize = 32;
/// Rows by which sets differ at least.
const SET_ROWS_MIN: f64 = 100.0;

/// What it takes to add up a bin, or to look whether to cut behind it.
const NANOSECONDS_A_BIN: usize = 4;

/// Which rows go to the left.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cut {
    /// Those of bins up to this one, and maybe those of the bin of missing values, if there are any.
    Number { bin: u8, missing: u8, missing_left: Option<bool> },
    /// Those of these bins, by bit.
    Categories([u64; BINS_MAX / 64]),
}

impl Cut {
    /// Whether rows of a bin go to the left.
    pub(super) fn goes_left(&self, bin: u8) -> bool {
        match self {
            Self::Number { missing, missing_left, .. } if bin == *missing => *missing_left == Some(true),
            Self::Number { bin: last, .. } => bin <= *last,
            Self::Categories(bins) => bins[usize::from(bin / 64)] >> (bin % 64) & 1 == 1,
        }
    }
}

/// A cut of a leaf.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Split {
    pub(super) feature: usize,
    pub(super) cut: Cut,
    pub(super) gain: f64,
    pub(super) left: Sum,
    /// The L2 penalty of the children's values.
    pub(super) l2: f64,
}

/// What splits of a leaf are looked for with.
pub(super) struct Search<'a> {
    pub(super) config: &'a TreeConfig,
    pub(super) units: Units,
    pub(super) binned: &'a BinnedRows,
    /// The features that may be split by, in ascending order.
    pub(super) features: &'a [usize],
    /// How predictions may change with each feature; empty where all are free.
    pub(super) directions: &'a [Direction],
}

/// A leaf whose rows may be cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) sum: Sum,
    pub(super) rows: usize,
    /// Of its value, and of those below it.
    pub(super) bounds: Bounds,
}

impl Search<'_> {
    /// The splits of the most gain of two siblings, of the first feature of equals: none where none gains anything, or none
    /// is wanted. Their histograms are complete afterwards.
    pub(super) fn best(
        &self,
        siblings: Siblings<'_>,
        wholes: [Option<Whole>; 2],
        threads: usize,
    ) -> [Option<Split>; 2] {
        let leaves = wholes.map(|whole| whole.map(|whole| Leaf::new(self, whole)));
        let passes = leaves.iter().flatten().count() + siblings.stretches.len();
        let threads = worthwhile(threads, self.features.len() * BINS_MAX * passes * NANOSECONDS_A_BIN);
        let found = owned_in_parallel(siblings.cut(threads), |some| self.best_of_some(some, &leaves));
        found.into_iter().fold([None, None], merge)
    }

    fn best_of_some(&self, mut some: SomeFeatures<'_>, leaves: &[Option<Leaf<'_>>; 2]) -> [Option<Split>; 2] {
        let end = (some.first + some.small.len()).min(self.binned.features.len());
        let mut best = [None, None];
        for feature in some.first..end {
            let (place, count) = (feature - some.first, self.binned.features[feature].count());
            some.settle(feature, count);
            if self.features.binary_search(&feature).is_ok() {
                let sums = [Some(&some.small[place]), some.large.as_ref().map(|large| &large[place])];
                let split = |which: usize| leaves[which].as_ref()?.best(feature, &sums[which]?[..count]);
                best = merge(best, [split(0), split(1)]);
            }
        }
        best
    }

    /// What a leaf of these rows says.
    pub(super) fn value(&self, sum: Sum, l2: f64, bounds: Bounds) -> f64 {
        let (first, second) = (sum.first as f64 * self.units.first, sum.second as f64 * self.units.second);
        bounds.nearest(-self.config.shrunk(first) / (second + TINY + l2))
    }

    /// How predictions may change with a feature.
    pub(super) fn direction(&self, feature: usize) -> Direction {
        self.directions.get(feature).copied().unwrap_or(Direction::Free)
    }
}

/// A leaf and what its splits are compared by.
struct Leaf<'a> {
    search: &'a Search<'a>,
    whole: Whole,
    /// The approximate loss of the leaf as it is, and what a split has to gain.
    worth: f64,
    /// Rows for each unit of the second derivative: bins do not count theirs.
    rows_a_unit: f64,
    /// Second derivatives that are enough for a leaf, and that so many rows have.
    second_min: i64,
}

impl<'a> Leaf<'a> {
    fn new(search: &'a Search<'a>, whole: Whole) -> Self {
        let rows_a_unit = whole.rows as f64 / (whole.sum.second as f64).max(1.0);
        // Half a row less is rounded to as many.
        let of_rows = (search.config.min_rows_in_leaf as f64 - 0.5) / rows_a_unit;
        let second_min = of_rows.max(search.config.min_tree_child_weight / search.units.second).ceil() as i64;
        let mut leaf = Self { search, whole, worth: 0.0, rows_a_unit, second_min };
        let l2 = search.config.l2_reg;
        leaf.worth = match search.directions {
            [] => leaf.worth_of(whole.sum, l2),
            _ => leaf.worth_at(whole.sum, l2, search.value(whole.sum, l2, whole.bounds)),
        };
        leaf
    }

    /// The best split by one feature.
    fn best(&self, feature: usize, sums: &[Sum]) -> Option<Split> {
        match &self.search.binned.features[feature] {
            FeatureBins::Numeric { has_missing, .. } => self.number(feature, sums, *has_missing),
            FeatureBins::Categorical { .. } => self.categories(feature, sums),
        }
    }

    /// Twice what a leaf of these rows lowers the approximate loss by.
    fn worth_of(&self, sum: Sum, l2: f64) -> f64 {
        let Units { first, second } = self.search.units;
        let first = self.search.config.shrunk(sum.first as f64 * first);
        first * first / (sum.second as f64 * second + TINY + l2)
    }

    fn rows(&self, sum: Sum) -> f64 {
        (sum.second as f64 * self.rows_a_unit).round()
    }

    fn right(&self, left: Sum) -> Sum {
        let mut right = self.whole.sum;
        right -= left;
        right
    }

    /// Whether rows are enough for a leaf.
    fn is_enough(&self, sum: Sum) -> bool {
        sum.second >= self.second_min
    }

    /// What a split gains, if it gains anything.
    fn gain(&self, feature: usize, left: Sum, l2: f64) -> Option<f64> {
        let right = self.right(left);
        let worth = if self.search.directions.is_empty() {
            self.worth_of(left, l2) + self.worth_of(right, l2)
        } else {
            self.bounded_worth(self.search.direction(feature), [left, right], l2)?
        };
        let gain = worth - self.worth;
        Some(gain).filter(|gain| *gain > self.search.config.min_split_loss.max(TINY))
    }

    /// As [`Self::worth_of`], of a leaf with this value, which may not be the best one.
    fn worth_at(&self, sum: Sum, l2: f64, value: f64) -> f64 {
        let Units { first, second } = self.search.units;
        let first = self.search.config.shrunk(sum.first as f64 * first);
        -(2.0 * first + (sum.second as f64 * second + TINY + l2) * value) * value
    }

    /// What both sides are worth with values within the bounds; nothing if they are in the wrong order.
    fn bounded_worth(&self, direction: Direction, sides: [Sum; 2], l2: f64) -> Option<f64> {
        let values = sides.map(|sum| self.search.value(sum, l2, self.whole.bounds));
        let worth = |side: usize| self.worth_at(sides[side], l2, values[side]);
        direction.allows(values).then(|| worth(0) + worth(1))
    }

    fn split(&self, feature: usize, cut: Cut, gain: f64, left: Sum, l2: f64) -> Split {
        Split { feature, cut, gain, left, l2 }
    }

    fn number(&self, feature: usize, sums: &[Sum], has_missing: bool) -> Option<Split> {
        let (values, missing) = if has_missing { sums.split_at(sums.len() - 1) } else { (sums, &[][..]) };
        let missing = missing.first().copied().unwrap_or_default();
        if missing == Sum::default() {
            return self.scan(feature, values, missing, None);
        }
        let on_the_right = self.scan(feature, values, Sum::default(), Some(false));
        let on_the_left = self.scan(feature, values, missing, Some(true));
        better(on_the_right, on_the_left)
    }

    /// Cuts behind each bin, with these rows on the left anyway. All values may be cut off from missing ones on the right.
    fn scan(&self, feature: usize, values: &[Sum], first: Sum, missing_left: Option<bool>) -> Option<Split> {
        let l2 = self.search.config.l2_reg;
        let (mut left, mut best): (Sum, Option<(f64, usize, Sum)>) = (first, None);
        let cuts = values.len() - usize::from(missing_left != Some(false));
        for (bin, sum) in values[..cuts].iter().enumerate() {
            left += *sum;
            if *sum == Sum::default() || !self.is_enough(left) {
                continue;
            }
            if !self.is_enough(self.right(left)) {
                break;
            }
            if let Some(gain) = self.gain(feature, left, l2).filter(|gain| best.is_none_or(|best| *gain > best.0)) {
                best = Some((gain, bin, left));
            }
        }
        let (gain, bin, left) = best?;
        let cut = Cut::Number { bin: bin as u8, missing: values.len() as u8, missing_left };
        Some(self.split(feature, cut, gain, left, l2))
    }

    fn categories(&self, feature: usize, sums: &[Sum]) -> Option<Split> {
        let seen: Vec<u8> = (1..sums.len()).filter(|bin| sums[*bin] != Sum::default()).map(|bin| bin as u8).collect();
        if seen.len() <= ONE_OF_CATEGORIES_MAX {
            self.one_of(feature, sums, &seen)
        } else {
            self.set_of(feature, sums, seen)
        }
    }

    fn one_of(&self, feature: usize, sums: &[Sum], seen: &[u8]) -> Option<Split> {
        let l2 = self.search.config.l2_reg;
        let splits = seen.iter().filter_map(|bin| {
            let left = sums[usize::from(*bin)];
            let is_enough = self.is_enough(left) && self.is_enough(self.right(left));
            let gain = if is_enough { self.gain(feature, left, l2)? } else { return None };
            Some(self.split(feature, Cut::Categories(bits(&[*bin])), gain, left, l2))
        });
        splits.reduce(|best, next| if next.gain > best.gain { next } else { best })
    }

    fn set_of(&self, feature: usize, sums: &[Sum], mut seen: Vec<u8>) -> Option<Split> {
        let Units { first, second } = self.search.units;
        seen.retain(|bin| self.rows(sums[usize::from(*bin)]) >= CATEGORY_SMOOTHING);
        let mean = |bin: u8| {
            let sum = sums[usize::from(bin)];
            sum.first as f64 * first / (sum.second as f64 * second + CATEGORY_SMOOTHING)
        };
        seen.sort_by(|a, b| mean(*a).total_cmp(&mean(*b)).then(a.cmp(b)));
        let upwards = self.prefix(feature, sums, &seen);
        seen.reverse();
        let downwards = self.prefix(feature, sums, &seen);
        better(upwards, downwards)
    }

    /// The best of the first so many categories.
    fn prefix(&self, feature: usize, sums: &[Sum], order: &[u8]) -> Option<Split> {
        let l2 = self.search.config.l2_reg + CATEGORY_L2;
        let (mut left, mut rows, mut best): (Sum, f64, Option<(f64, usize, Sum)>) = (Sum::default(), 0.0, None);
        for (place, bin) in order.iter().enumerate().take(SET_MAX.min(order.len().div_ceil(2))) {
            left += sums[usize::from(*bin)];
            rows += self.rows(sums[usize::from(*bin)]);
            if !self.is_enough(left) {
                continue;
            }
            let right = self.right(left);
            if !self.is_enough(right) || self.rows(right) < SET_ROWS_MIN {
                break;
            }
            if rows < SET_ROWS_MIN {
                continue;
            }
            rows = 0.0;
            if let Some(gain) = self.gain(feature, left, l2).filter(|gain| best.is_none_or(|best| *gain > best.0)) {
                best = Some((gain, place, left));
            }
        }
        let (gain, last, left) = best?;
        Some(self.split(feature, Cut::Categories(bits(&order[..=last])), gain, left, l2))
    }
}

/// Of both leaves the better split, of equals the first.
fn merge([small, large]: [Option<Split>; 2], [next_small, next_large]: [Option<Split>; 2]) -> [Option<Split>; 2] {
    [better(small, next_small), better(large, next_large)]
}

fn better(first: Option<Split>, second: Option<Split>) -> Option<Split> {
    [first, second].into_iter().flatten().reduce(|best, next| if next.gain > best.gain { next } else { best })
}

fn bits(bins: &[u8]) -> [u64; BINS_MAX / 64] {
    let mut bits = [0; BINS_MAX / 64];
    bins.iter().for_each(|bin| bits[usize::from(bin / 64)] |= 1 << (bin % 64));
    bits
}
