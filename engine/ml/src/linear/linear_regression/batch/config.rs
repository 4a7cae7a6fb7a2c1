//! What a user can set about a fit of a linear regression: BigQuery's names, and what they mean here.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::linear::lbfgs::SearchConfig;
use crate::linear::linear_regression::LinearRegression;
use crate::model::FeatureSchema;
use crate::options::{check_slots, in_range, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchLinearConfig {
    /// Times the sum of the weights' magnitudes; beside half the sum of the squared errors.
    pub(crate) l1_reg: f64,
    /// Times half the sum of the weights' squares.
    pub(crate) l2_reg: f64,
    /// Sweeps over the features with an L1 penalty, or steps of the search for many weights.
    pub(crate) max_iterations: u64,
    /// How far a sweep may still move a prediction, in the label's deviations, for the fit to be over; of a search,
    /// the largest entry of the gradient.
    pub(crate) tolerance: f64,
    /// Whether numbers are centred and scaled by the mean and deviation of the training set.
    pub(crate) standardize: bool,
    /// Categories of one feature that get a weight of their own; later ones share one weight.
    pub(crate) max_categories: u32,
}

impl Default for BatchLinearConfig {
    fn default() -> Self {
        Self {
            l1_reg: 0.0,
            l2_reg: 0.0,
            max_iterations: 10_000,
            tolerance: 1e-9,
            standardize: true,
            max_categories: 100_000,
        }
    }
}

impl BatchLinearConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            config.set(option, value)?;
        }
        config.validate()?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("l1_reg", "number", &config.l1_reg, "L1 penalty, beside half the sum of the rows' squared errors"),
            entry("l2_reg", "number", &config.l2_reg, "L2 penalty likewise: alpha of scikit-learn's Ridge"),
            entry("max_iterations", "integer", &config.max_iterations, "steps at most, where the answer takes steps"),
            entry("tolerance", "number", &config.tolerance, "movement of predictions at which the steps end"),
            entry("standardize_features", "boolean", &config.standardize, "centre and scale numbers by all rows"),
            entry("max_categories", "integer", &config.max_categories, "categories with their own weight, a feature"),
        ]
    }

    /// How the mean loss of rows that weigh `total` is searched.
    pub(crate) fn search(&self, total: f64) -> SearchConfig {
        SearchConfig {
            max_iterations: self.max_iterations,
            tolerance: self.tolerance,
            min_rel_progress: 0.0,
            l1: self.l1_reg / total,
            unpenalized: 1,
        }
    }

    /// Checks that every weight the schema may need has a slot number.
    ///
    /// # Errors
    /// `InvalidOption` for `max_categories`.
    pub(crate) fn check_slots(&self, schema: &FeatureSchema) -> Result<()> {
        check_slots(self.max_categories, schema)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        match option {
            "l1_reg" => self.l1_reg = parse("l1_reg", value, "a number")?,
            "l2_reg" => self.l2_reg = parse("l2_reg", value, "a number")?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, "a whole number")?,
            "tolerance" => self.tolerance = parse("tolerance", value, "a number")?,
            "standardize_features" => self.standardize = parse("standardize_features", value, "true or false")?,
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Err(unknown(LinearRegression::MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        in_range("l1_reg", self.l1_reg, 0.0, 1e12)?;
        in_range("l2_reg", self.l2_reg, 0.0, 1e12)?;
        in_range("max_iterations", self.max_iterations as f64, 1.0, 1e6)?;
        in_range("tolerance", self.tolerance, 1e-14, 1.0)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e7)
    }
}
