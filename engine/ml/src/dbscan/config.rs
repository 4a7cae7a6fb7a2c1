//! What a user can set about DBSCAN: scikit-learn's names and defaults, and `standardize_features` as elsewhere.

use std::collections::BTreeMap;

use super::Dbscan;
use crate::error::Result;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The largest distance that rows may be asked to be within: that of the largest numbers that can be learnt.
pub(super) const EPS_MAX: f64 = 1e50;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DbscanConfig {
    /// How far two rows may be apart and be neighbours, in the unit that numbers have once encoded; above 0.
    pub(crate) eps: f64,
    /// Rows within `eps` of a row, itself included, that make it a core.
    pub(crate) min_samples: u32,
    /// Whether numbers are centred and scaled by the mean and deviation of the training set: `eps` is then in
    /// standard deviations.
    pub(crate) standardize: bool,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

impl Default for DbscanConfig {
    fn default() -> Self {
        Self { eps: 0.5, min_samples: 5, standardize: true, max_categories: 100_000 }
    }
}

impl DbscanConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        const WHOLE: &str = "a whole number";
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                "eps" => config.eps = parse_eps(value)?,
                "min_samples" => config.min_samples = parse("min_samples", value, WHOLE)?,
                "standardize_features" => {
                    config.standardize = parse("standardize_features", value, "true or false")?;
                }
                "max_categories" => config.max_categories = parse("max_categories", value, WHOLE)?,
                _ => return Err(unknown(Dbscan::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        in_range("min_samples", f64::from(config.min_samples), 1.0, 1e9)?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("eps", "number", &config.eps, "how far neighbours may be apart; in deviations if standardized"),
            entry("min_samples", "integer", &config.min_samples, "neighbours of a core, itself included"),
            entry("standardize_features", "boolean", &config.standardize, "centre and scale numbers by all rows"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }
}

fn parse_eps(value: &str) -> Result<f64> {
    const EXPECTED: &str = "a number above 0, up to 1e50";
    let eps = parse("eps", value, EXPECTED)?;
    if eps > 0.0 && eps <= EPS_MAX { Ok(eps) } else { Err(invalid("eps", value, EXPECTED)) }
}
