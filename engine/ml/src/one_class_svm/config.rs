//! What a user can set about a one-class support vector machine; the names and defaults are scikit-learn's.

use std::collections::BTreeMap;

use super::OneClassSvm;
use crate::error::Result;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OneClassConfig {
    pub(crate) nu: f64,
    pub(crate) kernel: KernelKind,
    pub(crate) gamma: Gamma,
    /// How far apart the slopes of two rows may be at the end.
    pub(crate) tolerance: f64,
    pub(crate) max_iterations: u64,
    /// Whether numbers are centred and scaled by the mean and deviation of the training set.
    pub(crate) standardize: bool,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

/// How alike rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelKind {
    Rbf,
    Linear,
}

/// What squared distances are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Gamma {
    /// One over the encoded features times the variance of all their values together.
    Scale,
    /// One over the encoded features.
    Auto,
    Of(f64),
}

impl Default for OneClassConfig {
    fn default() -> Self {
        Self {
            nu: 0.5,
            kernel: KernelKind::Rbf,
            gamma: Gamma::Scale,
            tolerance: 1e-3,
            max_iterations: 10_000_000,
            standardize: true,
            max_categories: 100_000,
        }
    }
}

impl OneClassConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or would have no effect
    /// because of another option.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            config.set(option, value)?;
        }
        in_range("nu", config.nu, 1e-6, 1.0)?;
        if let Gamma::Of(gamma) = config.gamma {
            in_range("gamma", gamma, 1e-12, 1e12)?;
        }
        in_range("tolerance", config.tolerance, 1e-12, 1.0)?;
        in_range("max_iterations", config.max_iterations as f64, 1.0, 1e9)?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        match options.get("gamma") {
            Some(gamma) if config.kernel == KernelKind::Linear => {
                Err(invalid("gamma", gamma, "kernel = 'rbf' beside it"))
            }
            _ => Ok(config),
        }
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry(
                "nu",
                "number",
                &config.nu,
                "part of the rows that are outside at most, and support vectors at least",
            ),
            entry("kernel", "rbf or linear", &"rbf", "how alike rows are: e^(-gamma d²), d apart, or their product"),
            entry(
                "gamma",
                "number | scale | auto",
                &"scale",
                "rbf: scale is 1 / (features · variance), auto 1 / features",
            ),
            entry("tolerance", "number", &config.tolerance, "difference of slopes at which the search ends"),
            entry("max_iterations", "integer", &config.max_iterations, "steps of the search at most"),
            entry("standardize_features", "boolean", &config.standardize, "centre and scale numbers by all rows"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        match option {
            "nu" => self.nu = parse("nu", value, "a number")?,
            "kernel" => {
                self.kernel = match value.trim() {
                    "rbf" => KernelKind::Rbf,
                    "linear" => KernelKind::Linear,
                    _ => return Err(invalid("kernel", value, "rbf or linear")),
                };
            }
            "gamma" => {
                self.gamma = match value.trim() {
                    "scale" => Gamma::Scale,
                    "auto" => Gamma::Auto,
                    _ => Gamma::Of(parse("gamma", value, "a number, scale or auto")?),
                };
            }
            "tolerance" => self.tolerance = parse("tolerance", value, "a number")?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, "a whole number")?,
            "standardize_features" => self.standardize = parse("standardize_features", value, "true or false")?,
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Err(unknown(OneClassSvm::MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }
}
