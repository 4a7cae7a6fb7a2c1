//! What a user can set about a fit of a logistic regression, or of another linear classifier: BigQuery's names, and
//! what they mean here.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::linear::lbfgs::SearchConfig;
use crate::model::ClassCounts;
use crate::options::{in_range, invalid, parse, unknown};
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
    /// Whether the rows of both classes weigh the same as a whole.
    pub(crate) auto_class_weights: bool,
    /// The weight of a row of some classes, as pairs of a class and its weight; 1 for the others.
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
            auto_class_weights: false,
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
        let mut config = Self::default();
        for (option, value) in options {
            config.set(model_type, option, value)?;
        }
        config.validate(options)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
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
            entry(
                "auto_class_weights",
                "boolean",
                &config.auto_class_weights,
                "the rows of each class weigh the same as a whole",
            ),
            entry("class_weights", "class:weight, ...", &"", "weight of a row of a class; 1 for those left out"),
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
        if self.auto_class_weights {
            let rows = classes.rows() as f64;
            return [classes.negative, classes.positive].map(|class| rows / (2.0 * class as f64));
        }
        ["false", "true"].map(|class| self.class_weights.of(class))
    }

    fn set(&mut self, model_type: &'static str, option: &str, value: &str) -> Result<()> {
        match option {
            "l1_reg" => self.l1_reg = parse("l1_reg", value, "a number")?,
            "l2_reg" => self.l2_reg = parse("l2_reg", value, "a number")?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, "a whole number")?,
            "tolerance" => self.tolerance = parse("tolerance", value, "a number")?,
            "min_rel_progress" => self.min_rel_progress = parse("min_rel_progress", value, "a number")?,
            "standardize_features" => self.standardize = parse("standardize_features", value, "true or false")?,
            "auto_class_weights" => self.auto_class_weights = parse("auto_class_weights", value, "true or false")?,
            "class_weights" => self.class_weights = ClassWeights::parse(value)?,
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Err(unknown(model_type, option, &Self::option_docs())),
        }
        Ok(())
    }

    fn validate(&self, options: &BTreeMap<String, String>) -> Result<()> {
        in_range("l1_reg", self.l1_reg, 0.0, 1e12)?;
        in_range("l2_reg", self.l2_reg, 0.0, 1e12)?;
        in_range("max_iterations", self.max_iterations as f64, 1.0, 1e6)?;
        in_range("tolerance", self.tolerance, 1e-14, 1.0)?;
        in_range("min_rel_progress", self.min_rel_progress, 0.0, 1.0)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e7)?;
        let value = options.get("class_weights").map_or("", String::as_str);
        if self.auto_class_weights && !self.class_weights.is_empty() {
            return Err(invalid("class_weights", value, "auto_class_weights = 'false' beside it"));
        }
        Ok(())
    }
}

/// Weights of classes, by their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ClassWeights {
    weights: Vec<(String, f64)>,
}

impl ClassWeights {
    /// Reads `class:weight, class:weight`; a class's name may have colons in it.
    fn parse(value: &str) -> Result<Self> {
        let expected = "class:weight pairs, such as 'true:10, false:1'";
        let mut weights: Vec<(String, f64)> = Vec::new();
        for pair in value.split(',').filter(|_| !value.trim().is_empty()) {
            let (class, weight) = pair.rsplit_once(':').ok_or_else(|| invalid("class_weights", value, expected))?;
            let weight: f64 = parse("class_weights", weight, expected)?;
            in_range("class_weights", weight, 1e-9, 1e9)?;
            if weights.iter().any(|(known, _)| known == class.trim()) {
                return Err(invalid("class_weights", value, "each class once"));
            }
            weights.push((class.trim().to_owned(), weight));
        }
        Ok(Self { weights })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    pub(crate) fn classes(&self) -> impl Iterator<Item = &str> {
        self.weights.iter().map(|(class, _)| class.as_str())
    }

    /// The weight of a row of this class.
    pub(crate) fn of(&self, class: &str) -> f64 {
        self.weights.iter().find(|(known, _)| known == class).map_or(1.0, |(_, weight)| *weight)
    }
}
