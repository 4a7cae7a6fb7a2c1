//! What is searched of a model type where no option says so.

use crate::boosted_trees;
use crate::forest::ForestType;
use crate::gaussian_mixture::GaussianMixture;
use crate::kmeans::KMeans;
use crate::linear::linear_regression::LinearRegression;
use crate::linear::linear_svm::LinearSvm;
use crate::linear::logistic_regression::LogisticRegression;
use crate::naive_bayes::NaiveBayes;
use crate::nearest_neighbors;

/// Options and their values, as SQL would write them.
type Searched = &'static [(&'static str, &'static str)];

const PENALTY: Searched = &[("l2_reg", "HPARAM_RANGE(0.001, 1000)")];

const BOOSTED: Searched = &[
    ("learn_rate", "HPARAM_RANGE(0.02, 0.3)"),
    ("num_leaves", "HPARAM_RANGE(4, 64)"),
    ("min_rows_in_leaf", "HPARAM_RANGE(2, 50)"),
    ("l2_reg", "HPARAM_CANDIDATES([0, 1, 10])"),
    ("subsample", "HPARAM_RANGE(0.6, 1)"),
];

const FOREST: Searched = &[
    ("max_features", "HPARAM_CANDIDATES([sqrt, log2, 0.5, all])"),
    ("min_rows_in_leaf", "HPARAM_RANGE(1, 20)"),
    ("max_tree_depth", "HPARAM_CANDIDATES([0, 6, 12])"),
];

const TREE: Searched = &[("max_tree_depth", "HPARAM_RANGE(1, 20)"), ("min_rows_in_leaf", "HPARAM_RANGE(1, 50)")];

const NEIGHBORS: Searched = &[
    ("num_neighbors", "HPARAM_RANGE(1, 30)"),
    ("weights", "HPARAM_CANDIDATES([uniform, distance])"),
    ("distance", "HPARAM_CANDIDATES([euclidean, manhattan])"),
];

const BAYES: Searched = &[("var_smoothing", "HPARAM_RANGE(1e-9, 1)")];

const CLUSTERS: Searched = &[("num_clusters", "HPARAM_RANGE(2, 10)")];

/// The options of a model type that are searched by default; none of one that has no such options.
pub(super) fn searched(model_type: &str) -> Searched {
    let all = [
        (LogisticRegression::MODEL_TYPE, PENALTY),
        (LinearRegression::MODEL_TYPE, PENALTY),
        (LinearSvm::MODEL_TYPE, PENALTY),
        (NaiveBayes::MODEL_TYPE, BAYES),
        (boosted_trees::CLASSIFIER, BOOSTED),
        (boosted_trees::REGRESSOR, BOOSTED),
        (ForestType::ForestClassifier.name(), FOREST),
        (ForestType::ForestRegressor.name(), FOREST),
        (ForestType::TreeClassifier.name(), TREE),
        (ForestType::TreeRegressor.name(), TREE),
        (nearest_neighbors::CLASSIFIER, NEIGHBORS),
        (nearest_neighbors::REGRESSOR, NEIGHBORS),
        (KMeans::MODEL_TYPE, CLUSTERS),
        (GaussianMixture::MODEL_TYPE, CLUSTERS),
    ];
    all.iter().find(|(name, _)| *name == model_type).map_or(&[][..], |(_, searched)| searched)
}
