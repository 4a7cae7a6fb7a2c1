//! What a user can set about Q-learning, and how options become it.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::QLearning;
use crate::actions::{ACTIONS_MAX, column_name};
use crate::error::Result;
use crate::options::{in_range, invalid, parse, unknown};
use crate::registry::OptionDoc;

/// What the value of an action in a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) enum QFunction {
    /// A number for each action of each state; states are told apart by all their categories.
    Tabular,
    /// Linear in the features, with weights of each action's own.
    Linear,
}

/// How far a row moves a value to what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) enum LearnRate {
    /// That share of the way.
    Constant(f64),
    /// One over how often the action was taken in the state: values are means.
    Visits,
}

/// The settings of a [`QLearning`].
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct QConfig {
    pub(super) function: QFunction,
    pub(super) learn_rate: LearnRate,
    /// What a reward one step later is worth.
    pub(super) discount: f64,
    /// The column of the actions that were taken; no feature.
    pub(super) action_column: String,
    /// What the columns of the next state are called: this, and the feature's name.
    pub(super) next_prefix: String,
    /// The column that says whether the next state is the end, if there is one; no feature.
    pub(super) terminal_column: Option<String>,
    pub(super) max_actions: u32,
    /// Of a table.
    pub(super) max_states: u32,
    /// Of a linear function: whether numbers are centred and scaled by the rows so far.
    pub(super) standardize: bool,
    /// Of a linear function: categories with a weight of their own, of all features together.
    pub(super) max_categories: u32,
}

impl Default for QConfig {
    fn default() -> Self {
        Self {
            function: QFunction::Tabular,
            learn_rate: LearnRate::Constant(0.1),
            discount: 0.99,
            action_column: String::from("action"),
            next_prefix: String::from("next_"),
            terminal_column: None,
            max_actions: 100,
            max_states: 100_000,
            standardize: true,
            max_categories: 10_000,
        }
    }
}

/// The most weights of categories that a linear function may have: 80 MB.
const WEIGHTS_MAX: u64 = 10_000_000;

/// How option `learn_rate` spells the rates that fall with the visits.
const BY_VISITS: &str = "visits";

impl QConfig {
    /// Reads options as SQL gives them; those left out keep their defaults.
    ///
    /// # Errors
    /// `UnknownOption`, or `InvalidOption` for a value that cannot be read, is out of range, or would have no effect
    /// because of another option.
    pub(super) fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (option, value) in options {
            match option.as_str() {
                "q_function" => config.function = parse_function(value)?,
                "learn_rate" => config.learn_rate = parse_rate(value)?,
                "discount" => config.discount = parse("discount", value, "a number")?,
                "action_column" => value.trim().clone_into(&mut config.action_column),
                "next_prefix" => value.trim().clone_into(&mut config.next_prefix),
                "terminal_column" => config.terminal_column = column_name(value),
                "max_actions" => config.max_actions = parse("max_actions", value, "a whole number")?,
                "max_states" => config.max_states = parse("max_states", value, "a whole number")?,
                "standardize" => config.standardize = parse("standardize", value, "true or false")?,
                "max_categories" => config.max_categories = parse("max_categories", value, "a whole number")?,
                _ => return Err(unknown(QLearning::MODEL_TYPE, option, &Self::option_docs())),
            }
        }
        config.validate()?;
        options.iter().try_for_each(|(option, value)| config.check_has_effect(option, value))?;
        Ok(config)
    }

    /// The options in the order to show them.
    pub(super) fn option_docs() -> Vec<OptionDoc> {
        let config = Self::default();
        let entry = OptionDoc::new;
        vec![
            entry(
                "q_function",
                "tabular or linear",
                &"tabular",
                "a value for each action of each state, which are told apart by their categories, or one that is linear in the \
                 features",
            ),
            entry(
                "learn_rate",
                "number or visits",
                &0.1,
                "the share of the way that a row moves a value; visits, of a table: one over the rows of the action in the state",
            ),
            entry("discount", "number", &config.discount, "what a reward one step later is worth, from 0 to 1"),
            entry("action_column", "column", &config.action_column, "the action that was taken; no feature"),
            entry(
                "next_prefix",
                "text",
                &config.next_prefix,
                "what the columns of the next state are called before their features' names; no features",
            ),
            entry(
                "terminal_column",
                "column",
                &"",
                "a BOOLEAN, true where nothing comes after the row, whose next state is not read then; no feature",
            ),
            entry(
                "max_actions",
                "integer",
                &config.max_actions,
                "actions that are told apart; rows with others are rejected",
            ),
            entry(
                "max_states",
                "integer",
                &config.max_states,
                "tabular: states that are held; rows of others are rejected",
            ),
            entry("standardize", "boolean", &config.standardize, "linear: centre and scale numbers by the rows so far"),
            entry(
                "max_categories",
                "integer",
                &config.max_categories,
                "linear: categories with a weight of their own, of all features together; others count for nothing",
            ),
        ]
    }

    /// # Errors
    /// `InvalidOption` for the first value that is out of range, or contradicts another.
    pub(super) fn validate(&self) -> Result<()> {
        match self.learn_rate {
            LearnRate::Constant(rate) => in_range("learn_rate", rate, 1e-9, 1.0)?,
            LearnRate::Visits if self.function == QFunction::Tabular => {}
            LearnRate::Visits => return Err(invalid("learn_rate", BY_VISITS, "a number with q_function = 'linear'")),
        }
        in_range("discount", self.discount, 0.0, 1.0)?;
        in_range("max_actions", f64::from(self.max_actions), 1.0, f64::from(ACTIONS_MAX))?;
        in_range("max_states", f64::from(self.max_states), 1.0, 1e7)?;
        in_range("max_categories", f64::from(self.max_categories), 0.0, 1e5)?;
        if u64::from(self.max_actions) * u64::from(self.max_categories) > WEIGHTS_MAX {
            let expected =
                format!("at most {} for {} actions", WEIGHTS_MAX / u64::from(self.max_actions), self.max_actions);
            return Err(invalid("max_categories", &self.max_categories.to_string(), &expected));
        }
        if self.next_prefix.is_empty() {
            return Err(invalid("next_prefix", "", "what tells the columns of the next state from those of this one"));
        }
        match self.action_column.as_str() {
            "" => Err(invalid("action_column", "", "the column of the actions that were taken")),
            action if self.terminal_column.as_deref() == Some(action) => {
                Err(invalid("terminal_column", action, "another column than action_column"))
            }
            _ => Ok(()),
        }
    }

    /// An option that the function does not read is a mistake worth hearing of.
    fn check_has_effect(&self, option: &str, value: &str) -> Result<()> {
        let needed = |option, function| Err(invalid(option, value, &format!("q_function = '{function}' beside it")));
        match (option, self.function) {
            ("max_states", QFunction::Linear) => needed("max_states", "tabular"),
            ("standardize", QFunction::Tabular) => needed("standardize", "linear"),
            ("max_categories", QFunction::Tabular) => needed("max_categories", "linear"),
            _ => Ok(()),
        }
    }

    /// Those of the columns that only learning reads.
    pub(super) fn learning_columns(&self, columns: &[&str]) -> Vec<String> {
        let own = [Some(&self.action_column), self.terminal_column.as_ref()];
        let is_own = |column: &str| own.iter().flatten().any(|own| *own == column);
        let is_next = |column: &str| {
            column.strip_prefix(&self.next_prefix).is_some_and(|feature| columns.contains(&feature) && !is_own(feature))
        };
        let wanted = columns.iter().filter(|column| is_own(column) || is_next(column));
        wanted.map(|column| (*column).to_owned()).collect()
    }
}

fn parse_function(value: &str) -> Result<QFunction> {
    match value.trim() {
        "tabular" => Ok(QFunction::Tabular),
        "linear" => Ok(QFunction::Linear),
        _ => Err(invalid("q_function", value, "tabular or linear")),
    }
}

fn parse_rate(value: &str) -> Result<LearnRate> {
    if value.trim() == BY_VISITS {
        return Ok(LearnRate::Visits);
    }
    Ok(LearnRate::Constant(parse("learn_rate", value, "a number or visits")?))
}
