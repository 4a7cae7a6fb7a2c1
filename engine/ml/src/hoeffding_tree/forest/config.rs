//! What a user can set about an adaptive random forest, beside what Hoeffding trees have.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::error::Result;
use crate::forest::config::MaxFeatures;
use crate::hoeffding_tree::config::TreeConfig;
use crate::hoeffding_tree::tree::TreeLimits;
use crate::options::{in_range, parse};
use crate::random::{STEP, mixed};
use crate::registry::OptionDoc;

/// The settings of a forest. The defaults are the paper's and River's.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) struct ForestConfig {
    pub(super) tree: TreeConfig,
    pub(super) trees: u32,
    /// Features that a leaf reads.
    pub(super) features: u32,
    /// `δ` of the windows of errors by which a tree begins in the background, and by which it takes its place.
    pub(super) warning_delta: f64,
    pub(super) drift_delta: f64,
    pub(super) seed: u64,
}

impl ForestConfig {
    /// Without the number of features, which those that there are decide.
    fn plain() -> (Self, MaxFeatures) {
        let mut tree = TreeConfig::default();
        // Many trees that are not quite sure are better than few that are.
        tree.growth.grace_period = 50;
        tree.growth.delta = 0.01;
        let config = Self { tree, trees: 10, features: 0, warning_delta: 0.01, drift_delta: 0.001, seed: 0 };
        (config, MaxFeatures::Sqrt)
    }

    /// Reads options of the model type as SQL gives them, for so many features.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(super) fn from_options(
        model_type: &'static str,
        options: &BTreeMap<String, String>,
        features: usize,
    ) -> Result<Self> {
        const FEATURES: &str = "all, sqrt, log2, a whole number, or a fraction from 0.0 to 1.0";
        let (mut config, mut max_features) = Self::plain();
        let mut of_tree = BTreeMap::new();
        for (option, value) in options {
            match option.as_str() {
                "num_parallel_tree" => config.trees = parse("num_parallel_tree", value, "a whole number")?,
                "max_features" => max_features = parse("max_features", value, FEATURES)?,
                "warning_delta" => config.warning_delta = parse("warning_delta", value, "a number")?,
                "drift_delta" => config.drift_delta = parse("drift_delta", value, "a number")?,
                "seed" => config.seed = parse("seed", value, "a whole number")?,
                _ => drop(of_tree.insert(option.clone(), value.clone())),
            }
        }
        config.tree.read(model_type, &Self::option_docs(), &of_tree)?;
        config.features = u32::try_from(max_features.of(features)).unwrap_or(u32::MAX);
        config.validate()?;
        Ok(config)
    }

    /// The options in the order to show them.
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let (config, max_features) = Self::plain();
        let entry = OptionDoc::new;
        let mut docs = vec![
            entry("num_parallel_tree", "integer", &config.trees, "trees that vote"),
            entry(
                "max_features",
                "all, sqrt, log2, a count or a fraction",
                &max_features,
                "features that a leaf reads",
            ),
            entry(
                "warning_delta",
                "number",
                &config.warning_delta,
                "probability that a tree begins in the background of one though nothing has changed",
            ),
            entry(
                "drift_delta",
                "number",
                &config.drift_delta,
                "probability that it takes the other's place though nothing has changed",
            ),
            entry(
                "seed",
                "integer",
                &config.seed,
                "what is drawn: how often trees learn a row, and features of leaves",
            ),
        ];
        docs.extend(config.tree.option_docs_with_these());
        for doc in docs.iter_mut().filter(|doc| doc.name == "max_size") {
            doc.doc = "MiB of all trees, past which the purest leaves forget their features";
        }
        docs
    }

    /// Checks every number's range.
    ///
    /// # Errors
    /// `InvalidOption` for the first that is outside.
    pub(super) fn validate(&self) -> Result<()> {
        in_range("num_parallel_tree", f64::from(self.trees), 1.0, 1000.0)?;
        in_range("warning_delta", self.warning_delta, 1e-30, 0.5)?;
        in_range("drift_delta", self.drift_delta, 1e-30, 0.5)?;
        self.tree.growth.validate()
    }

    /// The settings of the tree that is planted after so many others.
    pub(super) fn of_tree(&self, planted: u64) -> LeafConfig {
        let seed = mixed(self.seed.wrapping_add(planted.wrapping_mul(STEP)));
        // Of each tree there may be another in the background.
        LeafConfig { tree: self.tree, shares: 2 * self.trees, features: self.features, seed }
    }
}

/// The settings of one tree of a forest.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) struct LeafConfig {
    pub(super) tree: TreeConfig,
    /// Trees that share the memory.
    pub(super) shares: u32,
    /// Features that a leaf reads.
    pub(super) features: u32,
    /// What decides which ones.
    pub(super) seed: u64,
}

impl TreeLimits for LeafConfig {
    fn nodes_max(&self) -> usize {
        self.tree.nodes_max()
    }

    fn bytes_max(&self) -> usize {
        self.tree.bytes_max() / self.shares as usize
    }
}
