//! What a user can set about a Hoeffding tree of numbers, beside what all Hoeffding trees have.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::HoeffdingTreeRegressor;
use crate::error::Result;
use crate::hoeffding_tree::config::GrowthConfig;
use crate::hoeffding_tree::tree::TreeLimits;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// What a leaf says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum LeafPrediction {
    /// The mean of its labels.
    Mean,
    /// What its linear model makes of the row's numbers.
    Linear,
    /// Whichever of both has had the smaller errors lately.
    Adaptive,
}

impl LeafPrediction {
    const ALL: [Self; 3] = [Self::Adaptive, Self::Linear, Self::Mean];

    fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Linear => "linear",
            Self::Adaptive => "adaptive",
        }
    }

    fn parse(value: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|prediction| prediction.name() == value.trim());
        found.ok_or_else(|| invalid("leaf_prediction", value, &Self::ALL.map(Self::name).join(", ")))
    }
}

/// The settings of a tree of numbers. The defaults are River's.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) struct RegressorConfig {
    pub(super) growth: GrowthConfig,
    pub(super) leaf_prediction: LeafPrediction,
    /// What earlier errors count, row by row, for the choice between the mean and the linear model.
    pub(super) error_decay: f64,
}

impl Default for RegressorConfig {
    fn default() -> Self {
        Self { growth: GrowthConfig::default(), leaf_prediction: LeafPrediction::Adaptive, error_decay: 0.95 }
    }
}

impl RegressorConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or would have no effect
    /// because of another option.
    pub(super) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                "leaf_prediction" => config.leaf_prediction = LeafPrediction::parse(value)?,
                "error_decay" => config.error_decay = parse("error_decay", value, "a number")?,
                _ if config.growth.set(option, value)? => {}
                _ => return Err(unknown(HoeffdingTreeRegressor::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        config.validate()?;
        match options.get("error_decay") {
            Some(value) if config.leaf_prediction != LeafPrediction::Adaptive => {
                Err(invalid("error_decay", value, "leaf_prediction = 'adaptive' beside it"))
            }
            _ => Ok(config),
        }
    }

    /// The options in the order to show them.
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let mut docs = GrowthConfig::option_docs(&config.growth);
        let own = [
            OptionDoc::new(
                "leaf_prediction",
                "adaptive, linear or mean",
                &config.leaf_prediction.name(),
                "what a leaf says: adaptive is whichever of the others has had the smaller errors lately",
            ),
            OptionDoc::new(
                "error_decay",
                "number",
                &config.error_decay,
                "adaptive: what an earlier error counts beside the one a row later",
            ),
        ];
        // Beside those that decide when a leaf becomes a split.
        docs.splice(3..3, own);
        for doc in docs.iter_mut().filter(|doc| doc.name == "max_size") {
            doc.doc = "MiB past which the leaves whose labels differ least forget their features";
        }
        docs
    }

    /// Checks every number's range.
    ///
    /// # Errors
    /// `InvalidOption` for the first that is outside.
    pub(super) fn validate(&self) -> Result<()> {
        in_range("error_decay", self.error_decay, 0.0, 0.999_999)?;
        self.growth.validate()
    }
}

impl TreeLimits for RegressorConfig {
    fn nodes_max(&self) -> usize {
        self.growth.nodes_max()
    }

    fn bytes_max(&self) -> usize {
        self.growth.bytes_max()
    }
}
