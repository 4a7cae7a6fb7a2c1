//! What a user can set about an isolation forest; the defaults are the paper's and scikit-learn's.

use std::collections::BTreeMap;

use super::IsolationForest;
use crate::error::Result;
use crate::options::{in_range, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IsolationForestConfig {
    pub(crate) num_trees: u64,
    /// Rows that each tree is grown from, or all where there are fewer.
    pub(crate) subsample_rows: u64,
    pub(crate) contamination: Contamination,
    /// The part of the features that each tree looks at; at least one.
    pub(crate) max_features: f64,
    pub(crate) seed: u64,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

/// From which score on a row is an anomaly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Contamination {
    /// From 0.5 on, which rows have that are isolated as soon as rows are on average.
    Auto,
    /// From the score on that this part of the training set has.
    Share(f64),
}

impl Default for IsolationForestConfig {
    fn default() -> Self {
        Self {
            num_trees: 100,
            subsample_rows: 256,
            contamination: Contamination::Auto,
            max_features: 1.0,
            seed: 0,
            max_categories: 100_000,
        }
    }
}

impl IsolationForestConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        const WHOLE: &str = "a whole number";
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                "num_trees" => config.num_trees = parse("num_trees", value, WHOLE)?,
                "subsample_rows" => config.subsample_rows = parse("subsample_rows", value, WHOLE)?,
                "contamination" if value.trim() == "auto" => config.contamination = Contamination::Auto,
                "contamination" => {
                    let share = parse("contamination", value, "a number, or auto")?;
                    in_range("contamination", share, 0.0, 0.5)?;
                    config.contamination = Contamination::Share(share);
                }
                "max_features" => config.max_features = parse("max_features", value, "a number")?,
                "seed" => config.seed = parse("seed", value, WHOLE)?,
                "max_categories" => config.max_categories = parse("max_categories", value, WHOLE)?,
                _ => return Err(unknown(IsolationForest::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        in_range("num_trees", config.num_trees as f64, 1.0, 1e4)?;
        in_range("subsample_rows", config.subsample_rows as f64, 2.0, 1e6)?;
        in_range("max_features", config.max_features, 1e-6, 1.0)?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("num_trees", "integer", &config.num_trees, "trees"),
            entry("subsample_rows", "integer", &config.subsample_rows, "rows that each tree is grown from"),
            entry(
                "contamination",
                "number | auto",
                &"auto",
                "part of the rows that are anomalies; auto for a score of 0.5",
            ),
            entry("max_features", "number", &config.max_features, "part of the features that each tree looks at"),
            entry("seed", "integer", &config.seed, "what random choices follow from"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }
}
