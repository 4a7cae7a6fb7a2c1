//! What a user can set about naive Bayes; the names are scikit-learn's, since BigQuery has no such model.

use std::collections::BTreeMap;

use super::NaiveBayes;
use crate::error::Result;
use crate::options::{in_range, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NaiveBayesConfig {
    /// The part of the largest variance of all numbers that is added to each variance.
    pub(crate) var_smoothing: f64,
    /// How much more often than it was seen each category counts.
    pub(crate) alpha: f64,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

impl Default for NaiveBayesConfig {
    fn default() -> Self {
        Self { var_smoothing: 1e-9, alpha: 1.0, max_categories: 100_000 }
    }
}

impl NaiveBayesConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                "var_smoothing" => config.var_smoothing = parse("var_smoothing", value, "a number")?,
                "alpha" => config.alpha = parse("alpha", value, "a number")?,
                "max_categories" => config.max_categories = parse("max_categories", value, "a whole number")?,
                _ => return Err(unknown(NaiveBayes::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        in_range("var_smoothing", config.var_smoothing, 1e-15, 1.0)?;
        in_range("alpha", config.alpha, 1e-12, 1e6)?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("var_smoothing", "number", &config.var_smoothing, "part of the largest variance added to each"),
            entry("alpha", "number", &config.alpha, "how much more often than seen each category counts"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }
}
