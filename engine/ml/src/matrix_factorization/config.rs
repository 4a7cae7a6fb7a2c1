//! What a user can set about a matrix factorisation: BigQuery's options.

use std::collections::BTreeMap;

use super::MatrixFactorization;
use crate::error::Result;
use crate::model::FeatureSchema;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// The settings of a fit. [`Default`] is where the defaults live.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FactorizationConfig {
    /// The columns that say who rated, and what.
    pub(crate) user_col: String,
    pub(crate) item_col: String,
    /// Numbers that stand for each user and for each item.
    pub(crate) num_factors: u64,
    /// Times the squares of those numbers, and of explicit ratings times how many ratings they follow from.
    pub(crate) l2_reg: f64,
    pub(crate) feedback_type: Feedback,
    /// How much more each unit of an implicit rating counts than no rating.
    pub(crate) wals_alpha: f64,
    /// Times that users and items are each solved for.
    pub(crate) max_iterations: u64,
    /// The part of the loss that a step has to take off for the next one.
    pub(crate) tolerance: f64,
    pub(crate) seed: u64,
    /// Users, and items, that are told apart where these are texts; later ones count as one.
    pub(crate) max_categories: u32,
}

/// What a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// A rating, to be predicted; what was not rated says nothing.
    Explicit,
    /// How often or how long somebody wanted it; what they never did says that they probably do not like it.
    Implicit,
}

impl Default for FactorizationConfig {
    fn default() -> Self {
        Self {
            user_col: "user".to_owned(),
            item_col: "item".to_owned(),
            num_factors: 16,
            l2_reg: 0.1,
            feedback_type: Feedback::Explicit,
            wals_alpha: 40.0,
            max_iterations: 20,
            tolerance: 1e-4,
            seed: 0,
            max_categories: 10_000_000,
        }
    }
}

impl FactorizationConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read or is out of range.
    pub(crate) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            config.set(option, value)?;
        }
        in_range("num_factors", config.num_factors as f64, 1.0, 200.0)?;
        in_range("l2_reg", config.l2_reg, 0.0, 1e12)?;
        in_range("wals_alpha", config.wals_alpha, 0.0, 1e9)?;
        in_range("max_iterations", config.max_iterations as f64, 1.0, 1e5)?;
        in_range("tolerance", config.tolerance, 0.0, 1.0)?;
        in_range("max_categories", f64::from(config.max_categories), 1.0, 1e7)?;
        Ok(config)
    }

    /// The options in the order to show them; the defaults are those of [`Default`].
    pub(crate) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("user_col", "column", &config.user_col, "the feature that says who rated"),
            entry("item_col", "column", &config.item_col, "the feature that says what was rated"),
            entry("num_factors", "integer", &config.num_factors, "numbers that stand for each user and each item"),
            entry("l2_reg", "number", &config.l2_reg, "penalty of these numbers' squares"),
            entry(
                "feedback_type",
                "explicit | implicit",
                &"explicit",
                "whether labels are ratings, or how much was used",
            ),
            entry("wals_alpha", "number", &config.wals_alpha, "weight of a unit of implicit feedback"),
            entry("max_iterations", "integer", &config.max_iterations, "times that users and items are solved for"),
            entry("tolerance", "number", &config.tolerance, "part of the loss that a step has to take off"),
            entry("seed", "integer", &config.seed, "what the first numbers of the items follow from"),
            entry("max_categories", "integer", &config.max_categories, "users and items told apart, each"),
        ]
    }

    /// Whether the first of the two features is the user.
    ///
    /// # Errors
    /// `InvalidOption` where the features are not the user and the item.
    pub(super) fn is_user_first(&self, schema: &FeatureSchema) -> Result<bool> {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name.as_str()).collect();
        match names[..] {
            [user, item] if user == self.user_col && item == self.item_col => Ok(true),
            [item, user] if user == self.user_col && item == self.item_col => Ok(false),
            _ => {
                let columns = format!("'{}' and '{}'", self.user_col, self.item_col);
                let expected =
                    format!("with item_col the two feature columns, but with {columns} these are {}", names.join(", "));
                Err(invalid("user_col", &self.user_col, &expected))
            }
        }
    }

    fn set(&mut self, option: &str, value: &str) -> Result<()> {
        const WHOLE: &str = "a whole number";
        const NUMBER: &str = "a number";
        match option {
            "user_col" => value.clone_into(&mut self.user_col),
            "item_col" => value.clone_into(&mut self.item_col),
            "num_factors" => self.num_factors = parse("num_factors", value, WHOLE)?,
            "l2_reg" => self.l2_reg = parse("l2_reg", value, NUMBER)?,
            "feedback_type" => {
                self.feedback_type = match value.trim().to_lowercase().as_str() {
                    "explicit" => Feedback::Explicit,
                    "implicit" => Feedback::Implicit,
                    _ => return Err(invalid("feedback_type", value, "explicit or implicit")),
                };
            }
            "wals_alpha" => self.wals_alpha = parse("wals_alpha", value, NUMBER)?,
            "max_iterations" => self.max_iterations = parse("max_iterations", value, WHOLE)?,
            "tolerance" => self.tolerance = parse("tolerance", value, NUMBER)?,
            "seed" => self.seed = parse("seed", value, WHOLE)?,
            "max_categories" => self.max_categories = parse("max_categories", value, WHOLE)?,
            _ => return Err(unknown(MatrixFactorization::MODEL_TYPE, option, &Self::option_docs())),
        }
        Ok(())
    }
}
