//! What a user can set about an online linear model, and how options become it.

use bincode::{Decode, Encode};

use crate::error::Result;
use crate::linear::optimizer::{Optimizer, OptimizerConfig};
use crate::model::FeatureSchema;
use crate::options::{check_slots, in_range, invalid, parse};
use crate::registry::OptionDoc;

/// The settings of a linear score. [`Default`] is where the defaults live.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) struct OnlineLinearConfig {
    /// The update rule and its numbers.
    pub(crate) optimizer: OptimizerConfig,
    /// Whether numbers are centred and scaled by the mean and deviation of the rows so far.
    pub(crate) standardize: bool,
    /// The largest standardised magnitude, in standard deviations; farther values are moved to it.
    pub(crate) clip: f64,
    /// Categories of one feature that get a weight of their own; later ones share one weight.
    pub(crate) max_categories: u32,
}

impl Default for OnlineLinearConfig {
    fn default() -> Self {
        Self { optimizer: OptimizerConfig::default(), standardize: true, clip: 10.0, max_categories: 100_000 }
    }
}

/// Whether an option is one that all online linear models share.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SharedOptions {
    /// It is, and it has been set.
    Set,
    /// It is the model's own, or nobody's.
    Unknown,
}

impl OnlineLinearConfig {
    /// Sets one option as SQL gives it.
    ///
    /// # Errors
    /// `InvalidOption` for a value that cannot be read.
    pub(crate) fn set(&mut self, option: &str, value: &str) -> Result<SharedOptions> {
        let rule = &mut self.optimizer;
        match option {
            "optimizer" => rule.optimizer = parse_optimizer(value)?,
            "learning_rate" => rule.learning_rate = parse("learning_rate", value, "a number")?,
            "l1" => rule.l1 = parse("l1", value, "a number")?,
            "l2" => rule.l2 = parse("l2", value, "a number")?,
            "initial_accumulator" => rule.initial_accumulator = parse("initial_accumulator", value, "a number")?,
            "eps" => rule.eps = parse("eps", value, "a number")?,
            "beta" => rule.beta = parse("beta", value, "a number")?,
            "beta1" => rule.beta1 = parse("beta1", value, "a number")?,
            "beta2" => rule.beta2 = parse("beta2", value, "a number")?,
            "standardize" => self.standardize = parse("standardize", value, "true or false")?,
            "clip" => self.clip = parse("clip", value, "a number")?,
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Ok(SharedOptions::Unknown),
        }
        Ok(SharedOptions::Set)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let rule = config.optimizer;
        let entry = OptionDoc::new;
        vec![
            entry("optimizer", "adagrad, ftrl, sgd or adam", &rule.optimizer.name(), "how a row moves the weights"),
            entry("learning_rate", "number", &rule.learning_rate, "step size, above 0"),
            entry("l1", "number", &rule.l1, "L1 penalty on each weight that a row touches"),
            entry("l2", "number", &rule.l2, "L2 penalty on each weight that a row touches"),
            entry(
                "initial_accumulator",
                "number",
                &rule.initial_accumulator,
                "adagrad: squared gradients to start from",
            ),
            entry("eps", "number", &rule.eps, "adagrad and adam: keeps the first step finite"),
            entry("beta", "number", &rule.beta, "ftrl: dampens the first steps of a weight"),
            entry("beta1", "number", &rule.beta1, "adam: what the mean gradient keeps of itself in a step"),
            entry("beta2", "number", &rule.beta2, "adam: what the mean squared gradient keeps of itself in a step"),
            entry("standardize", "boolean", &config.standardize, "centre and scale numbers by the rows so far"),
            entry("clip", "number", &config.clip, "largest standardised number, in standard deviations"),
            entry("max_categories", "integer", &config.max_categories, "categories with their own weight, a feature"),
        ]
    }

    /// Checks every number's range.
    ///
    /// # Errors
    /// `InvalidOption` for the first that is outside.
    pub(crate) fn validate(&self) -> Result<()> {
        let rule = &self.optimizer;
        in_range("learning_rate", rule.learning_rate, 1e-9, 1e3)?;
        in_range("l1", rule.l1, 0.0, 1e3)?;
        in_range("l2", rule.l2, 0.0, 1e3)?;
        in_range("initial_accumulator", rule.initial_accumulator, 0.0, 1e9)?;
        in_range("eps", rule.eps, 1e-12, 1.0)?;
        in_range("beta", rule.beta, 1e-9, 1e9)?;
        in_range("beta1", rule.beta1, 0.0, 0.999_999)?;
        in_range("beta2", rule.beta2, 0.0, 0.999_999)?;
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
    pub(crate) fn check_slots(&self, schema: &FeatureSchema) -> Result<()> {
        check_slots(self.max_categories, schema)
    }

    /// An option that the others switch off is a mistake worth hearing of.
    ///
    /// # Errors
    /// `InvalidOption`.
    pub(crate) fn check_has_effect(&self, option: &str, value: &str) -> Result<()> {
        let needed = |option, beside: &str| Err(invalid(option, value, &format!("{beside} beside it")));
        let optimizer = self.optimizer.optimizer;
        match option {
            "initial_accumulator" if optimizer != Optimizer::Adagrad => {
                needed("initial_accumulator", "optimizer = 'adagrad'")
            }
            "eps" if !matches!(optimizer, Optimizer::Adagrad | Optimizer::Adam) => {
                needed("eps", "optimizer = 'adagrad' or 'adam'")
            }
            "beta" if optimizer != Optimizer::Ftrl => needed("beta", "optimizer = 'ftrl'"),
            "beta1" if optimizer != Optimizer::Adam => needed("beta1", "optimizer = 'adam'"),
            "beta2" if optimizer != Optimizer::Adam => needed("beta2", "optimizer = 'adam'"),
            "clip" if !self.standardize => needed("clip", "standardize = 'true'"),
            _ => Ok(()),
        }
    }
}

fn parse_optimizer(value: &str) -> Result<Optimizer> {
    let wanted = value.trim();
    let found = Optimizer::ALL.into_iter().find(|optimizer| optimizer.name() == wanted);
    found.ok_or_else(|| invalid("optimizer", value, &Optimizer::ALL.map(Optimizer::name).join(", ")))
}
