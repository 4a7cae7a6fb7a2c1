//! What a user can set about a fit of a logistic regression, or of another linear classifier: BigQuery's names, and
//! what they mean here.

use std::collections::BTreeMap;

use crate::class_weights::ClassWeights;
use crate::error::Result;
use crate::linear::lbfgs::SearchConfig;
use crate::model::ClassCounts;
use crate::options::{in_range, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchLogisticConfig {
    /// Times the sum of the weights' magnitudes; beside the sum of the rows' losses.
    pub(crate) l1_reg: f64,
    /// Times half the sum of the weights' squares: one over scikit-learn's `C`.
    pub(crate) l2_reg: f64,
    pub(crate) max_iterations: u64,
    /// The largest entry of the mean loss's gradient at which the search is over.
    pub(crate) tolerance: f64,
    /// The part of the loss that a step must take off, or the search is over; 0 for any.
    pub(crate) min_rel_progress: f64,
    /// Whether numbers are centred and scaled by the mean and deviation of the training set.
    pub(crate) standardize: bool,
    /// What a row of each class weighs.
    pub(crate) class_weights: ClassWeights,
    /// Categories of one feature that get a weight of their own; later ones share one weight.
    pub(crate) max_categories: u32,
}

impl Default for BatchLogisticConfig {
    fn default() -> Self {
        Self {
            l1_reg: 0.0,
            l2_reg: 1.0,
            max_iterations: 300,
            tolerance: 1e-7,
            min_rel_progress: 0.0,
            standardize: true,
            class_weights: ClassWeights::default(),
            max_categories: 100_000,
        }
    }
}

impl BatchLogisticConfig {
    /// Reads options as SQL gives them to a model of this type; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or
    /// contradicts another option.
    pub(crate) fn from_options(model_type: &'static str, options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self { class_weights: ClassWeights::from_options(options)?, ..Self::default() };
        for (option, value) in options {
            config.set(model_type, option, value)?;
        }
        config.validate()?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        let [auto_class_weights, class_weights] = ClassWeights::option_docs();
        vec![
            entry("l1_reg", "number", &config.l1_reg, "L1 penalty, beside the sum of the rows' losses"),
            entry("l2_reg", "number", &config.l2_reg, "L2 penalty likewise: 1 / C of scikit-learn"),
            entry("max_iterations", "integer", &config.max_iterations, "steps of the search at most"),
            entry("tolerance", "number", &config.tolerance, "largest slope of the mean loss at which the search ends"),
            entry(
                "min_rel_progress",
                "number",
                &config.min_rel_progress,
                "part of the loss that a step must take off, or the search ends",
            ),
            entry("standardize_features", "boolean", &config.standardize, "centre and scale numbers by all rows"),
            auto_class_weights,
            class_weights,
            entry("max_categories", "integer", &config.max_categories, "categories with their own weight, a feature"),
        ]
    }

    /// How the mean loss of rows that weigh `total` is searched.
    pub(crate) fn search(&self, total: f64) -> SearchConfig {
        SearchConfig {
            max_iterations: self.max_iterations,
            tolerance: self.tolerance,
            min_rel_progress: self.min_rel_progress,
            l1: self.l1_reg / total,
            unpenalized: 1,
        }
    }

    /// The weight of a row of each class, negative first.
    pub(crate) fn weights_of(&self, classes: ClassCounts) -> [f64; 2] {
        let weights = self.class_weights.of_rows(&["false", "true"], &[classes.negative, classes.positive]);
        [weights[0], weights[1]]
    }

    fn set(&mut self, model_type: &'static str, option: &str, value: &str) -> Result<()> {
        match option {
            "l1_reg" => self.l1_reg = parse("l1_reg", value, "a number")?,
            "l2_reg" => self.l2_reg = parse("l2_reg", value, "a number")?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, "a whole number")?,
            "tolerance" => self.tolerance = parse("tolerance", value, "a number")?,
            "min_rel_progress" => self.min_rel_progress = parse("min_rel_progress", value, "a number")?,
            "standardize_features" => self.standardize = parse("standardize_features", value, "true or false")?,
            // Read together, by themselves.
            "auto_class_weights" | "class_weights" => {}
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Err(unknown(model_type, option, &Self::option_docs())),
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        in_range("l1_reg", self.l1_reg, 0.0, 1e12)?;
        in_range("l2_reg", self.l2_reg, 0.0, 1e12)?;
        in_range("max_iterations", self.max_iterations as f64, 1.0, 1e6)?;
        in_range("tolerance", self.tolerance, 1e-14, 1.0)?;
        in_range("min_rel_progress", self.min_rel_progress, 0.0, 1.0)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e7)
    }
}
