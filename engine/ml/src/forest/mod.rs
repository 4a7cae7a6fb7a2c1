//! Decision trees and random forests: trees that are grown on their own, whose answers are averaged.
//!
//! Breiman et al. (1984) for trees (CART), Breiman (2001) for forests of them. With the same settings the answers are
//! about scikit-learn's, and the same where each value has a bin of its own and no two splits are equally good. Missing
//! numbers go to the side that gains more; categories are split by sets. Splits are compared by whole numbers, and each
//! tree draws from a random sequence of its own: so the same rows give the same bits, whatever the number of threads.
//!
//! Reading order: `bins` and `sample` are what a tree is made of, `impurity` and `split` how it is cut, `grow` and
//! `tree` what comes out, `model` the answers, `batch` the fit, and `evaluation` how well its rows are told.

pub(crate) mod batch;
mod bins;
pub(crate) mod config;
mod evaluation;
mod explain;
mod grow;
mod importance;
mod impurity;
mod model;
mod onnx;
mod sample;
mod split;
#[cfg(test)]
mod tests;
mod tree;

use bincode::{Decode, Encode};

pub(crate) use self::model::{Forest, SNAPSHOT_TAG};

/// The model types of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum ForestType {
    TreeClassifier,
    TreeRegressor,
    ForestClassifier,
    ForestRegressor,
}

impl ForestType {
    /// The name in `CREATE MODEL`; that of forests is BigQuery's.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TreeClassifier => "decision_tree_classifier",
            Self::TreeRegressor => "decision_tree_regressor",
            Self::ForestClassifier => "random_forest_classifier",
            Self::ForestRegressor => "random_forest_regressor",
        }
    }

    pub(crate) fn is_forest(self) -> bool {
        matches!(self, Self::ForestClassifier | Self::ForestRegressor)
    }

    pub(crate) fn is_classifier(self) -> bool {
        matches!(self, Self::TreeClassifier | Self::ForestClassifier)
    }
}
