//! What a user can set about a Hoeffding adaptive tree, beside what a Hoeffding tree has.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::error::Result;
use crate::hoeffding_tree::config::TreeConfig;
use crate::options::{in_range, parse};
use crate::registry::OptionDoc;

/// When parts of a tree are replaced. The defaults are River's and MOA's.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) struct DriftConfig {
    /// `δ` of the windows of errors: see [`Adwin`](crate::drift::adwin::Adwin).
    pub(super) drift_delta: f64,
    /// Rows whose errors are compared at least, of a part and of what may replace it.
    pub(super) drift_window: u32,
    /// The probability that one of two equally good parts counts as the better one.
    pub(super) switch_significance: f64,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self { drift_delta: 0.002, drift_window: 300, switch_significance: 0.05 }
    }
}

impl DriftConfig {
    /// Reads its own options, and those of the tree of the model type.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(super) fn from_options(
        model_type: &'static str,
        options: &BTreeMap<String, String>,
    ) -> Result<(Self, TreeConfig)> {
        let mut config = Self::default();
        let mut of_tree = BTreeMap::new();
        for (option, value) in options {
            match option.as_str() {
                "drift_delta" => config.drift_delta = parse("drift_delta", value, "a number")?,
                "drift_window" => config.drift_window = parse("drift_window", value, "a whole number")?,
                "switch_significance" => {
                    config.switch_significance = parse("switch_significance", value, "a number")?;
                }
                _ => drop(of_tree.insert(option.clone(), value.clone())),
            }
        }
        config.validate()?;
        Ok((config, TreeConfig::from_options(model_type, &Self::option_docs(), &of_tree)?))
    }

    /// The options in the order to show them, those of the tree first.
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        let mut docs = TreeConfig::option_docs();
        docs.extend([
            entry(
                "drift_delta",
                "number",
                &config.drift_delta,
                "probability that errors count as changed though nothing has",
            ),
            entry(
                "drift_window",
                "integer",
                &config.drift_window,
                "rows after which a part of the tree and what may replace it are compared",
            ),
            entry(
                "switch_significance",
                "number",
                &config.switch_significance,
                "probability that one of two equally good parts counts as better",
            ),
        ]);
        docs
    }

    /// Checks every number's range.
    ///
    /// # Errors
    /// `InvalidOption` for the first that is outside.
    pub(super) fn validate(&self) -> Result<()> {
        in_range("drift_delta", self.drift_delta, 1e-30, 0.5)?;
        in_range("drift_window", f64::from(self.drift_window), 1.0, 1e9)?;
        in_range("switch_significance", self.switch_significance, 1e-30, 0.5)
    }
}
