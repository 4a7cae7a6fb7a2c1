//! What a user can set about naive Bayes; the names are scikit-learn's, since BigQuery has no such model.

use std::collections::BTreeMap;

use super::NaiveBayes;
use crate::error::Result;
use crate::model::NUMERIC_MAGNITUDE_MAX;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// How the numbers of a class's rows are distributed. Categories always have shares of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distribution {
    /// Each number is normal.
    Gaussian,
    /// All numbers of a row are counts, such as of words, of one multinomial distribution.
    Multinomial,
    /// Each number is above a threshold or not.
    Bernoulli,
}

impl Distribution {
    const ALL: [Self; 3] = [Self::Gaussian, Self::Multinomial, Self::Bernoulli];

    fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Multinomial => "multinomial",
            Self::Bernoulli => "bernoulli",
        }
    }

    fn parse(value: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|distribution| distribution.name() == value.trim());
        known.ok_or_else(|| invalid("distribution", value, "gaussian, multinomial or bernoulli"))
    }
}

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NaiveBayesConfig {
    pub(crate) distribution: Distribution,
    /// The part of the largest variance of all numbers that is added to each variance, if they are normal.
    pub(crate) var_smoothing: f64,
    /// How much more often than it was seen each category counts, each count of a multinomial distribution, and
    /// each side of a threshold.
    pub(crate) alpha: f64,
    /// What a number is above of or not in a Bernoulli distribution.
    pub(crate) binarize: f64,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

impl Default for NaiveBayesConfig {
    fn default() -> Self {
        Self {
            distribution: Distribution::Gaussian,
            var_smoothing: 1e-9,
            alpha: 1.0,
            binarize: 0.0,
            max_categories: 100_000,
        }
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
                "distribution" => config.distribution = Distribution::parse(value)?,
                "var_smoothing" => config.var_smoothing = parse("var_smoothing", value, "a number")?,
                "alpha" => config.alpha = parse("alpha", value, "a number")?,
                "binarize" => config.binarize = parse("binarize", value, "a number")?,
                "max_categories" => config.max_categories = parse("max_categories", value, "a whole number")?,
                _ => return Err(unknown(NaiveBayes::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        in_range("var_smoothing", config.var_smoothing, 1e-15, 1.0)?;
        in_range("alpha", config.alpha, 1e-12, 1e6)?;
        in_range("binarize", config.binarize, -NUMERIC_MAGNITUDE_MAX, NUMERIC_MAGNITUDE_MAX)?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry(
                "distribution",
                "gaussian, multinomial or bernoulli",
                &config.distribution.name(),
                "what numbers are: normal, counts of one whole, or above a threshold or not",
            ),
            entry(
                "var_smoothing",
                "number",
                &config.var_smoothing,
                "gaussian: part of the largest variance added to each",
            ),
            entry("alpha", "number", &config.alpha, "how much more often than seen each category and count counts"),
            entry("binarize", "number", &config.binarize, "bernoulli: the threshold"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }
}
