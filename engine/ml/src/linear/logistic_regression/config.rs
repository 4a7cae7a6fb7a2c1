//! What a user can set about a logistic regression, and how options become it.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::LogisticRegression;
use crate::error::Result;
use crate::linear::optimizer::{Optimizer, OptimizerConfig};
use crate::model::FeatureSchema;
use crate::options::{check_slots, in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a [`LogisticRegression`]. [`Default`] is where the defaults live.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub struct LogisticRegressionConfig {
    /// The update rule and its numbers.
    pub optimizer: OptimizerConfig,
    /// Whether numbers are centred and scaled by the mean and deviation of the rows so far.
    pub standardize: bool,
    /// The largest standardised magnitude, in standard deviations; farther values are moved to it.
    pub clip: f64,
    /// Categories of one feature that get a weight of their own; later ones share one weight.
    pub max_categories: u32,
}

impl Default for LogisticRegressionConfig {
    fn default() -> Self {
        Self {
            optimizer: OptimizerConfig {
                optimizer: Optimizer::Adagrad,
                learning_rate: 0.1,
                l1: 0.0,
                l2: 0.0,
                initial_accumulator: 0.1,
                eps: 1e-10,
                beta: 1.0,
            },
            standardize: true,
            clip: 10.0,
            max_categories: 100_000,
        }
    }
}

impl LogisticRegressionConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or
    /// would have no effect because of another option.
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            config.set(option, value)?;
        }
        config.validate()?;
        for option in options.keys() {
            config.check_has_effect(option, &options[option])?;
        }
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    #[must_use]
    pub fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let rule = config.optimizer;
        let entry = OptionDoc::new;
        vec![
            entry("optimizer", "adagrad, ftrl or sgd", &rule.optimizer.name(), "how a row moves the weights"),
            entry("learning_rate", "number", &rule.learning_rate, "step size, above 0"),
            entry("l1", "number", &rule.l1, "L1 penalty on each weight that a row touches"),
            entry("l2", "number", &rule.l2, "L2 penalty on each weight that a row touches"),
            entry(
                "initial_accumulator",
                "number",
                &rule.initial_accumulator,
                "adagrad: squared gradients to start from",
            ),
            entry("eps", "number", &rule.eps, "adagrad: keeps the first step finite"),
            entry("beta", "number", &rule.beta, "ftrl: dampens the first steps of a weight"),
            entry("standardize", "boolean", &config.standardize, "centre and scale numbers by the rows so far"),
            entry("clip", "number", &config.clip, "largest standardised number, in standard deviations"),
            entry("max_categories", "integer", &config.max_categories, "categories with their own weight, a feature"),
        ]
    }

    /// Checks every number's range.
    ///
    /// # Errors
    /// `InvalidOption` for the first that is outside.
    pub(super) fn validate(&self) -> Result<()> {
        let rule = &self.optimizer;
        in_range("learning_rate", rule.learning_rate, 1e-9, 1e3)?;
        in_range("l1", rule.l1, 0.0, 1e3)?;
        in_range("l2", rule.l2, 0.0, 1e3)?;
        in_range("initial_accumulator", rule.initial_accumulator, 0.0, 1e9)?;
        in_range("eps", rule.eps, 1e-12, 1.0)?;
        in_range("beta", rule.beta, 1e-9, 1e9)?;
        in_range("clip", self.clip, 1e-3, 1e9)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e7)?;
        // A larger product overshoots zero on every step, and from 2 on the weights explode.
        if rule.optimizer == Optimizer::Sgd && rule.learning_rate * rule.l2 > 1.0 {
            return Err(invalid("l2", &rule.l2.to_string(), "at most 1 / learning_rate with optimizer 'sgd'"));
        }
        Ok(())
    }

    /// Checks that every weight the schema may need has a slot number.
    ///
    /// # Errors
    /// `InvalidOption` for `max_categories`.
    pub(super) fn check_slots(&self, schema: &FeatureSchema) -> Result<()> {
        check_slots(self.max_categories, schema)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        let rule = &mut self.optimizer;
        match option {
            "optimizer" => rule.optimizer = parse_optimizer(value)?,
            "learning_rate" => rule.learning_rate = parse("learning_rate", value, "a number")?,
            "l1" => rule.l1 = parse("l1", value, "a number")?,
            "l2" => rule.l2 = parse("l2", value, "a number")?,
            "initial_accumulator" => rule.initial_accumulator = parse("initial_accumulator", value, "a number")?,
            "eps" => rule.eps = parse("eps", value, "a number")?,
            "beta" => rule.beta = parse("beta", value, "a number")?,
            "standardize" => self.standardize = parse("standardize", value, "true or false")?,
            "clip" => self.clip = parse("clip", value, "a number")?,
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Err(unknown(LogisticRegression::MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }

    /// An option that the others switch off is a mistake worth hearing of.
    fn check_has_effect(&self, option: &str, value: &str) -> Result<()> {
        let optimizer = self.optimizer.optimizer;
        match option {
            "initial_accumulator" if optimizer != Optimizer::Adagrad => {
                Err(invalid("initial_accumulator", value, "optimizer = 'adagrad' beside it"))
            }
            "eps" if optimizer != Optimizer::Adagrad => Err(invalid("eps", value, "optimizer = 'adagrad' beside it")),
            "beta" if optimizer != Optimizer::Ftrl => Err(invalid("beta", value, "optimizer = 'ftrl' beside it")),
            "clip" if !self.standardize => Err(invalid("clip", value, "standardize = 'true' beside it")),
            _ => Ok(()),
        }
    }
}

fn parse_optimizer(value: &str) -> Result<Optimizer> {
    let wanted = value.trim();
    let found = Optimizer::ALL.into_iter().find(|optimizer| optimizer.name() == wanted);
    found.ok_or_else(|| invalid("optimizer", value, &Optimizer::ALL.map(Optimizer::name).join(", ")))
}
