//! What a user can set about robust z-scores.

use std::collections::BTreeMap;

use super::RobustZscore;
use crate::error::Result;
use crate::options::{in_range, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RobustZscoreConfig {
    /// Rows with a larger score are anomalies.
    pub(crate) threshold: f64,
}

impl Default for RobustZscoreConfig {
    fn default() -> Self {
        // What Iglewicz and Hoaglin recommend.
        Self { threshold: 3.5 }
    }
}

impl RobustZscoreConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                "threshold" => config.threshold = parse("threshold", value, "a number")?,
                _ => return Err(unknown(RobustZscore::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        in_range("threshold", config.threshold, 0.0, 1e6)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        vec![OptionDoc::new("threshold", "number", &config.threshold, "the score beyond which a row is an anomaly")]
    }
}
