//! The rows and features that trees are grown from, drawn anew for each: stochastic gradient boosting (Friedman 2002).

use std::borrow::Cow;

use super::config::TreeConfig;
use crate::batch::data_split::Parts;
use crate::batch::draws::Draws;

/// Draws rows for each round, and features for each tree.
pub(super) struct Samples<'a> {
    config: &'a TreeConfig,
    parts: &'a Parts,
    /// How many features there are, and how many of them a tree has.
    features: usize,
    features_a_tree: usize,
}

impl<'a> Samples<'a> {
    /// Of the rows of these parts that are learnt, and of so many features.
    pub(super) fn new(config: &'a TreeConfig, parts: &'a Parts, features: usize) -> Self {
        let features_a_tree = (features as f64 * config.colsample_bytree).round() as usize;
        Self { config, parts, features, features_a_tree: features_a_tree.max(1) }
    }

    /// Whether one round differs from another.
    pub(super) fn is_drawn(&self) -> bool {
        self.config.subsample < 1.0 || self.features_a_tree < self.features
    }

    /// The rows that a round's trees are grown from, and all others.
    pub(super) fn rows(&self, round: u64) -> Cow<'a, Parts> {
        if self.config.subsample == 1.0 {
            return Cow::Borrowed(self.parts);
        }
        let draws = Draws::new(self.config.seed, b"tree row", round);
        let is_drawn = |row: &u32| draws.is_in(self.config.subsample, u64::from(*row));
        let (learnt, mut held_out): (Vec<_>, Vec<_>) = self.parts.learnt.iter().partition(|row| is_drawn(row));
        held_out.extend(&self.parts.held_out);
        // The others are two ascending runs.
        held_out.sort();
        Cow::Owned(Parts { learnt, held_out })
    }

    /// The features that a tree may split by, given its number among all trees; in ascending order.
    pub(super) fn features(&self, tree: u64) -> Vec<usize> {
        let mut features: Vec<usize> = (0..self.features).collect();
        if self.features_a_tree < self.features {
            let draws = Draws::new(self.config.seed, b"features", tree);
            features.sort_by_key(|feature| draws.bits(*feature as u64));
            features.truncate(self.features_a_tree);
            features.sort_unstable();
        }
        features
    }
}
