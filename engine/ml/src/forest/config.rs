//! What a user can set about trees and forests: BigQuery's names where it has one, else those of boosted trees, else
//! scikit-learn's; and scikit-learn's defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::ForestType;
use crate::boosted_trees::bins::BINS_MAX;
use crate::error::Result;
use crate::options::{in_range, parse, unknown};
use crate::registry::OptionDoc;

/// What splits lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Criterion {
    /// The chance that two rows drawn from a node differ in class.
    Gini,
    /// The entropy of the classes, in bits.
    Entropy,
}

/// How many features are looked at for a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum MaxFeatures {
    All,
    Sqrt,
    Log2,
    Count(u64),
    /// A part of all.
    Share(f64),
}

impl MaxFeatures {
    /// Of so many features; more than there are count as all.
    pub(crate) fn of(self, features: usize) -> usize {
        let wanted = match self {
            Self::All => features,
            Self::Sqrt => features.isqrt(),
            Self::Log2 => features.checked_ilog2().unwrap_or(0) as usize,
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Share(share) => (share * features as f64) as usize,
        };
        wanted.max(1).min(features)
    }
}

impl FromStr for MaxFeatures {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "all" => Ok(Self::All),
            "sqrt" => Ok(Self::Sqrt),
            "log2" => Ok(Self::Log2),
            text => match (text.parse(), text.parse()) {
                (Ok(count @ 1..), _) => Ok(Self::Count(count)),
                (Err(_), Ok(share)) if share > 0.0 && share <= 1.0 => Ok(Self::Share(share)),
                _ => Err(()),
            },
        }
    }
}

impl fmt::Display for MaxFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(f, "all"),
            Self::Sqrt => write!(f, "sqrt"),
            Self::Log2 => write!(f, "log2"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(share) => write!(f, "{share}"),
        }
    }
}

impl FromStr for Criterion {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "gini" => Ok(Self::Gini),
            "entropy" => Ok(Self::Entropy),
            _ => Err(()),
        }
    }
}

/// The settings of a fit. [`ForestConfig::new`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForestConfig {
    /// Trees.
    pub(crate) num_parallel_tree: u64,
    /// Splits between the root and a leaf at most; 0 for any number.
    pub(crate) max_tree_depth: u64,
    /// Rows of a leaf at least; one that was drawn twice counts once.
    pub(crate) min_rows_in_leaf: u64,
    /// What a split has to lower the impurity of a drawn row by, in the mean over all that the tree has.
    pub(crate) min_impurity_decrease: f64,
    pub(crate) max_features: MaxFeatures,
    pub(crate) criterion: Criterion,
    /// Whether the rows of a tree are drawn with replacement.
    pub(crate) bootstrap: bool,
    /// How many rows are drawn for a tree, as a part of all.
    pub(crate) subsample: f64,
    pub(crate) seed: u64,
    /// Bins of a number at most, beside that of missing values.
    pub(crate) max_bins: u64,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
}

impl ForestConfig {
    /// The defaults of a model type.
    pub(crate) fn new(model: ForestType) -> Self {
        Self {
            num_parallel_tree: if model.is_forest() { 100 } else { 1 },
            max_tree_depth: 0,
            min_rows_in_leaf: 1,
            min_impurity_decrease: 0.0,
            max_features: if model == ForestType::ForestClassifier { MaxFeatures::Sqrt } else { MaxFeatures::All },
            criterion: Criterion::Gini,
            bootstrap: model.is_forest(),
            subsample: 1.0,
            seed: 0,
            max_bins: 255,
            max_categories: 100_000,
        }
    }

    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(model: ForestType, options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::new(model);
        let docs = Self::option_docs(model);
        for (option, value) in options {
            match docs.iter().find(|doc| doc.name == option) {
                Some(doc) => config.set(doc.name, value)?,
                None => return Err(unknown(model.name(), option, &docs)),
            }
        }
        config.validate()?;
        Ok(config)
    }

    /// The options of a model type in the order to show them; the defaults are those of [`Self::new`].
    pub(crate) fn option_docs(model: ForestType) -> Vec<OptionDoc> {
        let config = Self::new(model);
        let entry = OptionDoc::new;
        let mut docs = Vec::new();
        if model.is_forest() {
            docs.push(entry("num_parallel_tree", "integer", &config.num_parallel_tree, "trees of the forest"));
        }
        docs.extend([
            entry("max_tree_depth", "integer", &config.max_tree_depth, "splits above a leaf at most; 0 for any number"),
            entry("min_rows_in_leaf", "integer", &config.min_rows_in_leaf, "rows of a leaf at least"),
            entry("min_impurity_decrease", "number", &config.min_impurity_decrease, "what a split has to gain"),
            entry(
                "max_features",
                "all, sqrt, log2, integer or fraction",
                &config.max_features,
                "features looked at for a split",
            ),
        ]);
        if model.is_classifier() {
            docs.push(entry("criterion", "gini or entropy", &"gini", "what splits lower"));
        }
        if model.is_forest() {
            docs.extend([
                entry("bootstrap", "boolean", &config.bootstrap, "whether a tree's rows are drawn with replacement"),
                entry("subsample", "number", &config.subsample, "rows drawn for a tree, as a part of all"),
            ]);
        }
        docs.extend([
            entry("seed", "integer", &config.seed, "where random numbers begin"),
            entry("max_bins", "integer", &config.max_bins, "bins of a number at most"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
        ]);
        docs
    }

    /// Whether some rows may be left out of a tree.
    pub(crate) fn leaves_rows_out(&self) -> bool {
        self.bootstrap || self.subsample < 1.0
    }

    fn set(&mut self, option: &'static str, value: &str) -> Result<()> {
        const WHOLE: &str = "a whole number";
        const NUMBER: &str = "a number";
        const FEATURES: &str = "all, sqrt, log2, a whole number, or a fraction from 0.0 to 1.0";
        match option {
            "num_parallel_tree" => self.num_parallel_tree = parse(option, value, WHOLE)?,
            "max_tree_depth" => self.max_tree_depth = parse(option, value, WHOLE)?,
            "min_rows_in_leaf" => self.min_rows_in_leaf = parse(option, value, WHOLE)?,
            "min_impurity_decrease" => self.min_impurity_decrease = parse(option, value, NUMBER)?,
            "max_features" => self.max_features = parse(option, value, FEATURES)?,
            "criterion" => self.criterion = parse(option, value, "gini or entropy")?,
            "bootstrap" => self.bootstrap = parse(option, value, "true or false")?,
            "subsample" => self.subsample = parse(option, value, NUMBER)?,
            "seed" => self.seed = parse(option, value, WHOLE)?,
            "max_bins" => self.max_bins = parse(option, value, WHOLE)?,
            _ => self.max_categories = parse(option, value, WHOLE)?,
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        in_range("num_parallel_tree", self.num_parallel_tree as f64, 1.0, 1e5)?;
        in_range("max_tree_depth", self.max_tree_depth as f64, 0.0, 1e9)?;
        in_range("min_rows_in_leaf", self.min_rows_in_leaf as f64, 1.0, 1e9)?;
        in_range("min_impurity_decrease", self.min_impurity_decrease, 0.0, 1e100)?;
        in_range("subsample", self.subsample, 1e-9, 1.0)?;
        in_range("max_bins", self.max_bins as f64, 2.0, (BINS_MAX - 1) as f64)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e7)
    }
}
