//! What a user can set about principal components: BigQuery's options, with scikit-learn's meaning of the rest.

use std::collections::BTreeMap;

use super::Kind;
use crate::error::Result;
use crate::model::FeatureSchema;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PcaConfig {
    pub(crate) kept: Kept,
    /// Whether numbers are divided by their standard deviations. Categories are not: each is 0 or 1.
    pub(crate) scale_features: bool,
    pub(crate) pca_solver: Solver,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

/// Which components are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kept {
    /// One for each column, or as many as there are where rows are fewer.
    Columns,
    /// So many.
    Number(u64),
    /// As many as explain this part of the variance.
    Ratio(f64),
}

/// How components are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Solver {
    /// `Full` where that takes seconds, `Randomized` for many features.
    Auto,
    /// All components of the covariance matrix.
    Full,
    /// The first components, without that matrix.
    Randomized,
}

impl Default for PcaConfig {
    fn default() -> Self {
        Self { kept: Kept::Columns, scale_features: true, pca_solver: Solver::Auto, max_categories: 100_000 }
    }
}

impl PcaConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range or contradicts another.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            config.set(option, value)?;
        }
        if matches!((config.kept, config.pca_solver), (Kept::Ratio(_), Solver::Randomized)) {
            let expected = "'full' beside pca_explained_variance_ratio, which asks for all components";
            return Err(invalid("pca_solver", "randomized", expected));
        }
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("num_principal_components", "integer", &"auto", "components kept; auto for one for each column"),
            entry(
                "pca_explained_variance_ratio",
                "number",
                &"none",
                "the part of the variance that is to be explained",
            ),
            entry("scale_features", "boolean", &config.scale_features, "divide numbers by their standard deviations"),
            entry("pca_solver", "full | randomized | auto", &"auto", "how components are searched"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]
    }

    /// The columns that a model adds to rows, known before there is any: where the rows decide how many components are
    /// kept, as many as there can be, and the others are NULL.
    pub(super) fn columns(&self, schema: &FeatureSchema) -> usize {
        match self.kept {
            Kept::Number(number) => number as usize,
            Kept::Columns | Kept::Ratio(_) => schema.fields().len(),
        }
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        match option {
            "num_principal_components" if value.trim() == "auto" => {}
            "num_principal_components" => {
                let number: u64 = parse("num_principal_components", value, "a whole number, or auto")?;
                in_range("num_principal_components", number as f64, 1.0, 1e4)?;
                self.kept = Kept::Number(number);
            }
            "pca_explained_variance_ratio" if value.trim() == "none" => {}
            "pca_explained_variance_ratio" => {
                let ratio: f64 = parse("pca_explained_variance_ratio", value, "a number, or none")?;
                in_range("pca_explained_variance_ratio", ratio, 1e-6, 1.0)?;
                // Options come by their names, so the other one was read before.
                if matches!(self.kept, Kept::Number(_)) {
                    return Err(invalid("pca_explained_variance_ratio", value, "none beside num_principal_components"));
                }
                self.kept = Kept::Ratio(ratio);
            }
            "scale_features" => self.scale_features = parse("scale_features", value, "true or false")?,
            "pca_solver" => {
                self.pca_solver = match value.trim() {
                    "auto" => Solver::Auto,
                    "full" => Solver::Full,
                    "randomized" => Solver::Randomized,
                    _ => return Err(invalid("pca_solver", value, "full, randomized or auto")),
                };
            }
            "max_categories" => self.max_categories = parse("max_categories", value, "a whole number")?,
            _ => return Err(unknown(Kind::Principal.name(), option, &Self::option_docs())),
        }
        Ok(())
    }
}
