//! What a user can set about a contextual bandit, and how options become it.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::ContextualBandit;
use crate::actions::{ACTIONS_MAX, column_name};
use crate::error::Result;
use crate::model::{FeatureKind, FeatureSchema};
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;
use crate::snapshot::BYTES_MAX;

/// How an action is chosen; see the module `policy`.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) enum Policy {
    /// By upper confidence bounds.
    LinUcb {
        /// Deviations from an expected reward to its bound.
        alpha: f64,
    },
    /// By draws from what is known of the rewards.
    Thompson {
        /// Deviation of a reward about its mean: what those of the weights are multiplied with.
        alpha: f64,
    },
    /// By the expected rewards, or by chance alone.
    EpsilonGreedy {
        /// Probability of the latter.
        epsilon: f64,
    },
}

/// The settings of a [`ContextualBandit`].
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct BanditConfig {
    pub(super) policy: Policy,
    /// λ of the regressions, above 0.
    pub(super) l2_reg: f64,
    /// Whether numbers are centred and scaled by the rows so far.
    pub(super) standardize: bool,
    pub(super) seed: u64,
    /// The column of the actions that were taken; no feature.
    pub(super) action_column: String,
    /// The column by which rows draw apart, if there is one; no feature.
    pub(super) unit_column: Option<String>,
    pub(super) max_actions: u32,
    /// Categories with a weight of their own, of all features together.
    pub(super) max_categories: u32,
}

impl Default for BanditConfig {
    fn default() -> Self {
        Self {
            policy: Policy::LinUcb { alpha: ALPHA },
            l2_reg: 1.0,
            standardize: true,
            seed: 0,
            action_column: String::from("action"),
            unit_column: None,
            max_actions: 100,
            max_categories: 200,
        }
    }
}

const ALPHA: f64 = 1.0;
const EPSILON: f64 = 0.1;

/// The policies as options spell them.
const POLICIES: [&str; 3] = ["linucb", "thompson", "epsilon_greedy"];

impl BanditConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or would have no effect
    /// because of another option.
    pub(super) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        let (mut policy, mut alpha, mut epsilon) = (POLICIES[0], ALPHA, EPSILON);
        for (option, value) in options {
            match option.as_str() {
                "policy" => policy = parse_policy(value)?,
                "alpha" => alpha = parse("alpha", value, "a number")?,
                "epsilon" => epsilon = parse("epsilon", value, "a number")?,
                "l2_reg" => config.l2_reg = parse("l2_reg", value, "a number")?,
                "standardize" => config.standardize = parse("standardize", value, "true or false")?,
                "seed" => config.seed = parse("seed", value, "a whole number")?,
                "action_column" => value.trim().clone_into(&mut config.action_column),
                "unit_column" => config.unit_column = column_name(value),
                "max_actions" => config.max_actions = parse("max_actions", value, "a whole number")?,
                "max_categories" => config.max_categories = parse("max_categories", value, "a whole number")?,
                _ => return Err(unknown(ContextualBandit::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        config.policy = match policy {
            "thompson" => Policy::Thompson { alpha },
            "epsilon_greedy" => Policy::EpsilonGreedy { epsilon },
            _ => Policy::LinUcb { alpha },
        };
        config.validate()?;
        options.iter().try_for_each(|(option, value)| config.check_has_effect(option, value))?;
        Ok(config)
    }

    /// The options in the order to show them.
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry("policy", "linucb, thompson or epsilon_greedy", &POLICIES[0], "how an action is chosen"),
            entry(
                "alpha",
                "number",
                &ALPHA,
                "linucb: deviations from an expected reward to its bound; thompson: deviation of rewards about their mean, in \
                 their unit",
            ),
            entry("epsilon", "number", &EPSILON, "epsilon_greedy: probability of an action by chance alone"),
            entry("l2_reg", "number", &config.l2_reg, "L2 penalty of each action's regression, above 0"),
            entry("standardize", "boolean", &config.standardize, "centre and scale numbers by the rows so far"),
            entry("seed", "integer", &config.seed, "of what is drawn by chance"),
            entry("action_column", "column", &config.action_column, "the action that was taken; no feature"),
            entry(
                "unit_column",
                "column",
                &"",
                "thompson and epsilon_greedy: rows that differ in it draw apart, as rows with other features do; no feature",
            ),
            entry(
                "max_actions",
                "integer",
                &config.max_actions,
                "actions that are told apart; rows with others are rejected",
            ),
            entry(
                "max_categories",
                "integer",
                &config.max_categories,
                "categories with a weight of their own, of all features together; others count for nothing",
            ),
        ]
    }

    /// # Errors
    /// `InvalidOption` for the first number that is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        match self.policy {
            Policy::LinUcb { alpha } | Policy::Thompson { alpha } => in_range("alpha", alpha, 0.0, 1e9)?,
            Policy::EpsilonGreedy { epsilon } => in_range("epsilon", epsilon, 0.0, 1.0)?,
        }
        in_range("l2_reg", self.l2_reg, 1e-9, 1e9)?;
        in_range("max_actions", f64::from(self.max_actions), 1.0, f64::from(ACTIONS_MAX))?;
        in_range("max_categories", f64::from(self.max_categories), 0.0, 1e4)?;
        let unit = self.unit_column.as_deref();
        match self.action_column.as_str() {
            "" => Err(invalid("action_column", "", "the column of the actions that were taken")),
            action if unit == Some(action) => Err(invalid("unit_column", action, "another column than action_column")),
            _ => Ok(()),
        }
    }

    /// Checks that the sums of all actions fit into a snapshot.
    ///
    /// # Errors
    /// `InvalidOption` for `max_actions`, which says how many there may be.
    pub(super) fn check_size(&self, schema: &FeatureSchema) -> Result<()> {
        let categories = if schema.count(FeatureKind::Categorical) > 0 { self.max_categories as usize } else { 0 };
        let width = 1 + schema.count(FeatureKind::Numeric) + categories;
        // Half a square, two lists, and a few numbers.
        let bytes = (width * (width + 1) / 2 + 2 * width + 8) * size_of::<f64>();
        // A half is for the names.
        let most = BYTES_MAX / 2 / bytes;
        if self.max_actions as usize <= most {
            return Ok(());
        }
        let expected = format!("at most {most} for {width} weights an action; max_categories makes them fewer");
        Err(invalid("max_actions", &self.max_actions.to_string(), &expected))
    }

    /// An option that the policy does not read is a mistake worth hearing of.
    fn check_has_effect(&self, option: &str, value: &str) -> Result<()> {
        let needed = |option, policy: &str| Err(invalid(option, value, &format!("policy = {policy} beside it")));
        let is_epsilon = matches!(self.policy, Policy::EpsilonGreedy { .. });
        let draws = !matches!(self.policy, Policy::LinUcb { .. });
        match option {
            "alpha" if is_epsilon => needed("alpha", "'linucb' or 'thompson'"),
            "epsilon" if !is_epsilon => needed("epsilon", "'epsilon_greedy'"),
            "seed" if !draws => needed("seed", "'thompson' or 'epsilon_greedy'"),
            "unit_column" if !draws => needed("unit_column", "'thompson' or 'epsilon_greedy'"),
            _ => Ok(()),
        }
    }
}

fn parse_policy(value: &str) -> Result<&'static str> {
    let wanted = value.trim();
    let found = POLICIES.into_iter().find(|policy| *policy == wanted);
    found.ok_or_else(|| invalid("policy", value, "linucb, thompson or epsilon_greedy"))
}
