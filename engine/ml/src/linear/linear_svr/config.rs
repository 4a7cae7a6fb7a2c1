//! What a user can set about a linear support vector regression: scikit-learn's options, under BigQuery's names where it
//! has one.

use std::collections::BTreeMap;

use super::MODEL_TYPE;
use crate::error::Result;
use crate::linear::lbfgs::SearchConfig;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SvrConfig {
    pub(crate) loss: TubeLoss,
    /// How far a prediction may be from its label without a loss, in the label's unit.
    pub(crate) epsilon: f64,
    /// Times half the sum of the weights' squares, beside the sum of the rows' losses: one over scikit-learn's `C`.
    pub(crate) l2_reg: f64,
    /// Steps of all searches together.
    pub(crate) max_iterations: u64,
    /// The largest entry of the mean loss's gradient at which a search is over, and how far predictions may still move,
    /// both with labels in their deviations.
    pub(crate) tolerance: f64,
    /// Whether numbers are centred and scaled by the mean and deviation of the training set.
    pub(crate) standardize: bool,
    /// Categories of one feature that get a weight of their own; later ones share one weight.
    pub(crate) max_categories: u32,
}

/// What a distance beyond the tube counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TubeLoss {
    /// Itself.
    EpsilonInsensitive,
    /// Its square.
    SquaredEpsilonInsensitive,
}

impl TubeLoss {
    const ALL: [Self; 2] = [Self::EpsilonInsensitive, Self::SquaredEpsilonInsensitive];

    /// scikit-learn's.
    fn name(self) -> &'static str {
        match self {
            Self::EpsilonInsensitive => "epsilon_insensitive",
            Self::SquaredEpsilonInsensitive => "squared_epsilon_insensitive",
        }
    }

    fn parse(value: &str) -> Result<Self> {
        let wanted = value.trim().to_ascii_lowercase();
        let found = Self::ALL.into_iter().find(|loss| loss.name() == wanted);
        found.ok_or_else(|| invalid("loss", value, &Self::ALL.map(Self::name).join(" or ")))
    }
}

impl Default for SvrConfig {
    fn default() -> Self {
        Self {
            loss: TubeLoss::EpsilonInsensitive,
            epsilon: 0.0,
            l2_reg: 1.0,
            max_iterations: 10_000,
            tolerance: 1e-7,
            standardize: true,
            max_categories: 100_000,
        }
    }
}

impl SvrConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            config.set(option, value)?;
        }
        in_range("epsilon", config.epsilon, 0.0, 1e12)?;
        in_range("l2_reg", config.l2_reg, 0.0, 1e12)?;
        in_range("max_iterations", config.max_iterations as f64, 1.0, 1e6)?;
        in_range("tolerance", config.tolerance, 1e-14, 1.0)?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        let losses = "epsilon_insensitive or squared_epsilon_insensitive";
        vec![
            entry("loss", losses, &config.loss.name(), "what a distance beyond epsilon counts: itself or its square"),
            entry("epsilon", "number", &config.epsilon, "distance from the label that counts nothing"),
            entry("l2_reg", "number", &config.l2_reg, "L2 penalty, beside the sum of the rows' losses: 1 / C"),
            entry("max_iterations", "integer", &config.max_iterations, "steps of the search at most"),
            entry(
                "tolerance",
                "number",
                &config.tolerance,
                "slope of the mean loss, and movement, that end the search",
            ),
            entry("standardize_features", "boolean", &config.standardize, "centre and scale numbers by all rows"),
            entry("max_categories", "integer", &config.max_categories, "categories with their own weight, a feature"),
        ]
    }

    /// How a mean loss is searched with as many steps as are left.
    pub(crate) fn search(&self, steps_left: u64) -> SearchConfig {
        let tolerance = self.tolerance;
        SearchConfig { max_iterations: steps_left, tolerance, min_rel_progress: 0.0, l1: 0.0, unpenalized: 1 }
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        match option {
            "loss" => self.loss = TubeLoss::parse(value)?,
            "epsilon" => self.epsilon = parse("epsilon", value, "a number")?,
            "l2_reg" => self.l2_reg = parse("l2_reg", value, "a number")?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, "a whole number")?,
            "tolerance" => self.tolerance = parse("tolerance", value, "a number")?,
            "standardize_features" => self.standardize = parse("standardize_features", value, "true or false")?,
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Err(unknown(MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }
}
