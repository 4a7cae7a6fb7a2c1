//! What splits lower: the impurity of classes or of numbers, over the rows of a node summed up by bins.
//!
//! All sums are whole numbers, so they have no rounding, and two splits that cut a node's rows in the same way gain the
//! same.

mod classes;
mod numbers;

use super::tree::Leaves;
use crate::boosted_trees::bins::BINS_MAX;

pub(super) use self::classes::ClassImpurity;
pub(super) use self::numbers::NumberImpurity;

/// A row of a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample<T> {
    pub(super) row: u32,
    /// How often it was drawn.
    pub(super) weight: u32,
    /// The place of its class, or its number in units.
    pub(super) target: T,
}

/// Whether all rows have the same class or number.
pub(super) fn is_pure<T: PartialEq>(samples: &[Sample<T>]) -> bool {
    samples.windows(2).all(|pair| pair[0].target == pair[1].target)
}

/// How mixed the rows of a node are.
pub(super) trait Impurity: Sync {
    type Target: Copy + PartialEq + Send + Sync;
    type Sums: Sums<Self::Target> + Send;

    fn target(&self, row: usize) -> Self::Target;

    /// Sums of no rows.
    fn sums(&self) -> Self::Sums;

    /// The impurity of a drawn row of these times how many they are; 0 where all are the same. Numbers have the square
    /// of their unit.
    fn impurity(&self, samples: &[Sample<Self::Target>]) -> f64;

    /// Leaves of a tree that has none.
    fn leaves(&self) -> Leaves;

    fn push_leaf(&self, samples: &[Sample<Self::Target>], leaves: &mut Leaves);
}

/// The rows of a node by the bins of a feature, and cut in two. One thread has them, for one node after another.
pub(super) trait Sums<T> {
    /// Takes a node's rows as a whole.
    fn begin(&mut self, samples: &[Sample<T>]);

    /// Takes the bins of these rows, given those of all rows; what was there before is gone.
    fn fill(&mut self, samples: &[Sample<T>], column: &[u8]);

    /// The rows of each bin.
    fn bins(&self) -> &BinRows;

    /// Puts all rows to the right.
    fn start(&mut self);

    /// Puts the rows of a bin to the left.
    fn take(&mut self, bin: u8);

    /// How much less the impurity of both sides is than that of all rows, times their weight; some rows are on each.
    fn gain(&self) -> f64;

    /// Sorts categories so that the best set of them is, or is near, one of the first so many.
    fn sort(&self, bins: &mut [u8]);
}

/// How many rows each bin has.
#[derive(Debug, Clone)]
pub(super) struct BinRows {
    counts: Box<[u32; BINS_MAX]>,
    /// The bins that have some, in ascending order.
    pub(super) seen: Vec<u8>,
}

impl BinRows {
    fn new() -> Self {
        Self { counts: Box::new([0; BINS_MAX]), seen: Vec::with_capacity(BINS_MAX) }
    }

    pub(super) fn of(&self, bin: u8) -> u32 {
        self.counts[usize::from(bin)]
    }

    /// Notes which bins have rows.
    fn find(&mut self) {
        self.seen.clear();
        self.seen.extend((0..=u8::MAX).filter(|bin| self.counts[usize::from(*bin)] > 0));
    }
}
