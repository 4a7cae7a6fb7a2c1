//! Hoeffding trees: decision trees that grow along a stream, each row seen once (Domingos and Hulten 2000, "Mining
//! High-Speed Data Streams").
//!
//! A leaf keeps no rows but what splits are judged by: of each number and each category, what is known of the labels
//! beside it. Every `grace_period` rows it looks whether the best split is ahead of the second best by so much that more
//! rows would not change the choice, and then becomes that split.
//!
//! [`HoeffdingTree`] tells classes apart, by a normal distribution of each number and the counts of each category, for
//! each class; see `split`. What a leaf says is naive Bayes over the same statistics, or the shares of its classes. As
//! River's `HoeffdingTreeClassifier` and MOA's, but for leaves of one class, which go on learning. [`regressor`] predicts
//! numbers, [`adaptive`] follows changes, and
//! [`forest`] has many trees that do.
//!
//! Rows without the number that a split asks for go where most rows went, as do categories that have no branch. Two
//! trees have no average, so one task learns all rows: see [`OnlineSupervised::merge`](crate::OnlineSupervised::merge).
//!
//! Memory is bounded by `max_nodes` and `max_size`; beside these it holds the names of categories.

pub(crate) mod adaptive;
mod classes;
mod classifier;
mod config;
mod explain;
pub(crate) mod forest;
mod leaf;
pub(crate) mod normal;
mod observers;
pub(crate) mod regressor;
mod split;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod throughput;
mod tree;

use std::collections::BTreeMap;

use self::classifier::{ClassLearner, StreamClassifier};
use self::config::TreeConfig;
use self::leaf::Leaf;
use self::tree::{Row, Tree, TreeState};
use crate::error::Result;
use crate::registry::OptionDoc;

/// A classifier that learns row by row; see the [module](self).
pub(crate) type HoeffdingTree = StreamClassifier<Tree<Leaf>>;

impl ClassLearner for Tree<Leaf> {
    const MODEL_TYPE: &'static str = "hoeffding_tree_classifier";
    const SNAPSHOT_TAG: u8 = 61;
    type State = TreeState<Leaf, TreeConfig>;

    fn from_options(options: &BTreeMap<String, String>, features: (usize, usize)) -> Result<Self> {
        Ok(Self::new(TreeConfig::from_options(Self::MODEL_TYPE, &TreeConfig::option_docs(), options)?, features))
    }

    fn option_docs() -> Vec<OptionDoc> {
        TreeConfig::option_docs()
    }

    fn max_categories(&self) -> u32 {
        self.config().growth.max_categories
    }

    fn predict(&self, row: Row<'_>, probabilities: &mut [f64]) {
        self.leaf(row).predict(row, self.config().leaf_prediction, probabilities);
    }

    fn learn<'a>(&mut self, rows: impl Iterator<Item = (Row<'a>, u32)>) {
        rows.for_each(|(row, class)| self.learn_row(row, class));
    }

    fn state(&self) -> Self::State {
        self.to_state()
    }

    fn max_categories_of(state: &Self::State) -> Result<u32> {
        state.config().growth.validate()?;
        Ok(state.config().growth.max_categories)
    }

    fn restore(state: Self::State, features: (usize, &[usize]), classes: usize, rows: u64) -> Result<Self> {
        state.into_tree(features, |leaf| leaf.is_plausible(classes, features, rows))
    }
}
