//! What a user can set about boosted trees: BigQuery's names where it has one, and LightGBM's defaults.

use std::collections::BTreeMap;

use super::bins::BINS_MAX;
use super::monotone::MonotoneConstraints;
use super::{CLASSIFIER, RANKER};
use crate::batch::data_split::{DataSplit, Method};
use crate::class_weights::ClassWeights;
use crate::error::Result;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TreeConfig {
    /// Rounds: a tree each, or one for each of several classes.
    pub(crate) max_iterations: u64,
    /// What a tree's values are multiplied with.
    pub(crate) learn_rate: f64,
    /// Leaves of a tree at most.
    pub(crate) num_leaves: u64,
    /// Splits between the root and a leaf at most; 0 for as many as leaves allow.
    pub(crate) max_tree_depth: u64,
    /// Rows of a leaf at least.
    pub(crate) min_rows_in_leaf: u64,
    /// The sum of second derivatives of a leaf at least.
    pub(crate) min_tree_child_weight: f64,
    /// What a split has to gain.
    pub(crate) min_split_loss: f64,
    pub(crate) l1_reg: f64,
    pub(crate) l2_reg: f64,
    /// Bins of a number at most, beside that of missing values.
    pub(crate) max_bins: u64,
    /// Categories of one feature that are told apart; later ones count as one.
    pub(crate) max_categories: u32,
    /// Numbers with which predictions only rise, or only fall.
    pub(crate) monotone_constraints: MonotoneConstraints,
    /// The part of the rows learnt that a round's trees are grown from.
    pub(crate) subsample: f64,
    /// The part of the features that a tree may split by.
    pub(crate) colsample_bytree: f64,
    /// Which rows are held out.
    pub(crate) split: DataSplit,
    /// Whether these say how many rounds there are.
    pub(crate) early_stop: bool,
    /// Rounds without progress after which a fit is over.
    pub(crate) early_stopping_rounds: u64,
    /// The part of the loss of the rows held out that has to go for progress.
    pub(crate) min_rel_progress: f64,
    /// What rows and features are drawn by.
    pub(crate) seed: u64,
    /// What a row of each class weighs; of a classifier only.
    pub(crate) class_weights: ClassWeights,
    /// The column that says which rows a ranker puts in order together; of a ranker only, which has no default.
    pub(crate) group_column: String,
    /// First places of a group that count, of which each pair of rows learnt from has one; of a ranker only.
    pub(crate) truncation_level: u64,
}

impl Default for TreeConfig {
    fn default() -> Self {
        Self {
            max_iterations: 100,
            learn_rate: 0.1,
            num_leaves: 31,
            max_tree_depth: 0,
            min_rows_in_leaf: 20,
            min_tree_child_weight: 1e-3,
            min_split_loss: 0.0,
            l1_reg: 0.0,
            l2_reg: 0.0,
            max_bins: 255,
            max_categories: 100_000,
            monotone_constraints: MonotoneConstraints::default(),
            subsample: 1.0,
            colsample_bytree: 1.0,
            split: DataSplit::default(),
            early_stop: false,
            early_stopping_rounds: 10,
            min_rel_progress: 0.0,
            seed: 0,
            class_weights: ClassWeights::default(),
            group_column: String::new(),
            truncation_level: 30,
        }
    }
}

impl TreeConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(model_type: &'static str, options: &BTreeMap<String, String>) -> Result<Self> {
        let split = DataSplit::from_options(options, Method::NoSplit)?;
        let mut config = Self { early_stop: split.holds_out(), split, ..Self::default() };
        for (option, value) in options {
            config.set(model_type, option, value)?;
        }
        if model_type == CLASSIFIER {
            config.class_weights = ClassWeights::from_options(options)?;
        }
        config.validate()?;
        for (option, value) in options {
            config.check_has_effect(option, value)?;
        }
        Ok(config)
    }

    /// The options of a classifier, in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn classifier_option_docs() -> Vec<OptionDoc> {
        Self::regressor_option_docs().into_iter().chain(ClassWeights::option_docs()).collect()
    }

    /// Those of a ranker.
    pub(crate) fn ranker_option_docs() -> Vec<OptionDoc> {
        let level = Self::default().truncation_level;
        let own = [
            OptionDoc::new("group_column", "column", &"", "says which rows are put in order together; no feature"),
            OptionDoc::new("truncation_level", "integer", &level, "first places of a group that count"),
        ];
        own.into_iter().chain(Self::regressor_option_docs()).collect()
    }

    /// Those of a model of numbers.
    pub(crate) fn regressor_option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        let [method, eval_fraction, ..] = DataSplit::option_docs();
        vec![
            entry("max_iterations", "integer", &config.max_iterations, "rounds: a tree each, or one for each class"),
            entry("learn_rate", "number", &config.learn_rate, "what each tree's values are multiplied with"),
            entry("num_leaves", "integer", &config.num_leaves, "leaves of a tree at most"),
            entry("max_tree_depth", "integer", &config.max_tree_depth, "splits above a leaf at most; 0 for any number"),
            entry("min_rows_in_leaf", "integer", &config.min_rows_in_leaf, "rows of a leaf at least"),
            entry(
                "min_tree_child_weight",
                "number",
                &config.min_tree_child_weight,
                "a leaf's second derivatives at least",
            ),
            entry("min_split_loss", "number", &config.min_split_loss, "what a split has to gain"),
            entry("l1_reg", "number", &config.l1_reg, "L1 penalty of leaves' values"),
            entry("l2_reg", "number", &config.l2_reg, "L2 penalty of leaves' values"),
            entry("max_bins", "integer", &config.max_bins, "bins of a number at most"),
            entry("max_categories", "integer", &config.max_categories, "categories told apart, a feature"),
            entry(
                "monotone_constraints",
                "feature:direction, ...",
                &"",
                "numbers with which predictions only rise (1) or only fall (-1)",
            ),
            entry("subsample", "number", &config.subsample, "part of the rows that a round's trees are grown from"),
            entry("colsample_bytree", "number", &config.colsample_bytree, "part of the features that a tree may use"),
            method,
            eval_fraction,
            entry(
                "early_stop",
                "boolean",
                &"true if rows are held out",
                "end without progress on rows held out, and keep the rounds that were best for them",
            ),
            entry(
                "early_stopping_rounds",
                "integer",
                &config.early_stopping_rounds,
                "rounds without progress that end a fit",
            ),
            entry(
                "min_rel_progress",
                "number",
                &config.min_rel_progress,
                "part of the loss of the rows held out that has to go for progress",
            ),
            entry("seed", "integer", &config.seed, "what rows and features are drawn by"),
        ]
    }

    /// A sum of first derivatives, nearer to 0 by the L1 penalty.
    pub(super) fn shrunk(&self, first: f64) -> f64 {
        if self.l1_reg == 0.0 { first } else { (first.abs() - self.l1_reg).max(0.0).copysign(first) }
    }

    fn set(&mut self, model_type: &'static str, option: &str, value: &str) -> Result<()> {
        const WHOLE: &str = "a whole number";
        const NUMBER: &str = "a number";
        match option {
            "max_iterations" => self.max_iterations = parse("max_iterations", value, WHOLE)?,
            "learn_rate" => self.learn_rate = parse("learn_rate", value, NUMBER)?,
            "num_leaves" => self.num_leaves = parse("num_leaves", value, WHOLE)?,
            "max_tree_depth" => self.max_tree_depth = parse("max_tree_depth", value, WHOLE)?,
            "min_rows_in_leaf" => self.min_rows_in_leaf = parse("min_rows_in_leaf", value, WHOLE)?,
            "min_tree_child_weight" => self.min_tree_child_weight = parse("min_tree_child_weight", value, NUMBER)?,
            "min_split_loss" => self.min_split_loss = parse("min_split_loss", value, NUMBER)?,
            "l1_reg" => self.l1_reg = parse("l1_reg", value, NUMBER)?,
            "l2_reg" => self.l2_reg = parse("l2_reg", value, NUMBER)?,
            "max_bins" => self.max_bins = parse("max_bins", value, WHOLE)?,
            "max_categories" => self.max_categories = parse("max_categories", value, WHOLE)?,
            "monotone_constraints" => self.monotone_constraints = MonotoneConstraints::parse(value)?,
            "subsample" => self.subsample = parse("subsample", value, NUMBER)?,
            "colsample_bytree" => self.colsample_bytree = parse("colsample_bytree", value, NUMBER)?,
            "early_stop" => self.early_stop = parse("early_stop", value, "true or false")?,
            "early_stopping_rounds" => self.early_stopping_rounds = parse("early_stopping_rounds", value, WHOLE)?,
            "min_rel_progress" => self.min_rel_progress = parse("min_rel_progress", value, NUMBER)?,
            "seed" => self.seed = parse("seed", value, WHOLE)?,
            // Read together, by themselves.
            "data_split_method" | "data_split_eval_fraction" => {}
            "auto_class_weights" | "class_weights" if model_type == CLASSIFIER => {}
            "group_column" if model_type == RANKER => value.clone_into(&mut self.group_column),
            "truncation_level" if model_type == RANKER => {
                self.truncation_level = parse("truncation_level", value, WHOLE)?;
            }
            _ => {
                let docs = match model_type {
                    CLASSIFIER => Self::classifier_option_docs(),
                    RANKER => Self::ranker_option_docs(),
                    _ => Self::regressor_option_docs(),
                };
                return Err(unknown(model_type, option, &docs));
            }
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        in_range("max_iterations", self.max_iterations as f64, 1.0, 1e5)?;
        in_range("learn_rate", self.learn_rate, 1e-6, 10.0)?;
        in_range("num_leaves", self.num_leaves as f64, 2.0, 65_536.0)?;
        in_range("max_tree_depth", self.max_tree_depth as f64, 0.0, 1000.0)?;
        in_range("min_rows_in_leaf", self.min_rows_in_leaf as f64, 1.0, 1e9)?;
        in_range("min_tree_child_weight", self.min_tree_child_weight, 0.0, 1e12)?;
        in_range("min_split_loss", self.min_split_loss, 0.0, 1e12)?;
        in_range("l1_reg", self.l1_reg, 0.0, 1e12)?;
        in_range("l2_reg", self.l2_reg, 0.0, 1e12)?;
        in_range("max_bins", self.max_bins as f64, 2.0, (BINS_MAX - 1) as f64)?;
        in_range("subsample", self.subsample, 1e-6, 1.0)?;
        in_range("colsample_bytree", self.colsample_bytree, 1e-6, 1.0)?;
        in_range("early_stopping_rounds", self.early_stopping_rounds as f64, 1.0, 1e5)?;
        in_range("min_rel_progress", self.min_rel_progress, 0.0, 1.0)?;
        in_range("truncation_level", self.truncation_level as f64, 1.0, 1e9)?;
        in_range("max_categories", f64::from(self.max_categories), 1.0, 1e7)
    }

    /// An option that the others switch off is a mistake worth hearing of.
    fn check_has_effect(&self, option: &str, value: &str) -> Result<()> {
        match option {
            "early_stop" if self.early_stop && !self.split.holds_out() => {
                Err(invalid("early_stop", value, "data_split_method = 'random' or 'seq' beside it"))
            }
            "early_stopping_rounds" if !self.early_stop => {
                Err(invalid("early_stopping_rounds", value, "early_stop = 'true' beside it"))
            }
            "min_rel_progress" if !self.early_stop => {
                Err(invalid("min_rel_progress", value, "early_stop = 'true' beside it"))
            }
            _ => Ok(()),
        }
    }
}
