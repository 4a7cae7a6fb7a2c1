//! A value for each action of each state: Watkins's Q-learning (1989; Watkins and Dayan 1992).
//!
//! A state is all its categories together, of which NULL is one. An action that was never taken in a state has the value 0,
//! and so has every action of a state that was never learnt.

use std::fmt::Write;

use bincode::{Decode, Encode};

use super::config::LearnRate;
use crate::actions::largest;
use crate::error::{MlError, Result};
use crate::feature::dictionary::{CategoryDictionary, DictionaryState, NO_SLOT};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// States and the values of their actions.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// States by their names; their slots are their places in `values`.
    states: CategoryDictionary,
    /// By state, and then by the actions' numbers, as far as they were taken.
    values: Vec<Vec<Value>>,
}

/// What an action is worth in a state, and how often it was taken there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub(super) struct Value {
    value: f64,
    rows: u64,
}

impl Table {
    pub(super) fn new(max_states: u32) -> Self {
        Self { states: CategoryDictionary::new(max_states as usize), values: Vec::new() }
    }

    /// The state of this name, if it has been learnt.
    pub(super) fn state(&self, name: &str) -> Option<usize> {
        Some(self.states.slot(Some(name))).filter(|slot| *slot != NO_SLOT).map(|slot| slot as usize)
    }

    /// The state of this name, which is learnt from now on; none past the most that there may be.
    pub(super) fn state_or_insert(&mut self, name: &str) -> Option<usize> {
        if let Some(state) = self.state(name) {
            return Some(state);
        }
        if !self.states.has_room(name) {
            return None;
        }
        let state = self.values.len();
        self.values.push(Vec::new());
        Some(self.states.slot_or_insert(Some(name), || state as u32) as usize)
    }

    /// Of one of so many actions in a state that may not be known.
    pub(super) fn value(&self, state: Option<usize>, action: usize) -> f64 {
        let known = state.and_then(|state| self.values.get(state)?.get(action));
        known.map_or(0.0, |known| known.value)
    }

    /// The best of so many actions, and its value.
    pub(super) fn best(&self, state: Option<usize>, actions: usize) -> Option<(usize, f64)> {
        let action = largest((0..actions).map(|action| self.value(state, action)))?;
        Some((action, self.value(state, action)))
    }

    /// Moves the value of an action towards `target`.
    pub(super) fn learn(&mut self, state: usize, action: usize, target: f64, rate: LearnRate) {
        let values = &mut self.values[state];
        if action >= values.len() {
            values.resize(action + 1, Value::default());
        }
        let known = &mut values[action];
        known.rows = known.rows.saturating_add(1);
        let share = match rate {
            LearnRate::Constant(share) => share,
            LearnRate::Visits => 1.0 / known.rows as f64,
        };
        known.value += share * (target - known.value);
    }

    pub(super) fn to_state(&self) -> TableState {
        TableState { states: self.states.state(), values: self.values.clone() }
    }
}

/// Adds a category to the name of a state, so that no two states have one name.
pub(super) fn add_to_name(name: &mut String, category: Option<&str>) {
    // Writing to a text cannot fail.
    let _ = match category {
        Some(category) => write!(name, "{}:{category}", category.len()),
        None => write!(name, "-"),
    };
}

/// A table as a snapshot holds it.
#[derive(Encode, Decode)]
pub(super) struct TableState {
    states: DictionaryState,
    values: Vec<Vec<Value>>,
}

impl TableState {
    /// The table of a model that has learnt so many rows, of so many actions.
    ///
    /// # Errors
    /// `CorruptState`.
    pub(super) fn into_table(self, max_states: u32, actions: usize, rows: u64) -> Result<Table> {
        let states = CategoryDictionary::restore(&self.states, max_states as usize, &mut 0)?;
        if states.slots().count() != states.names() || states.names() != self.values.len() {
            return Err(MlError::corrupt("the values do not fit the states"));
        }
        let all = || self.values.iter().flatten();
        let counted = all().try_fold(0_u64, |sum, value| sum.checked_add(value.rows));
        let is_value =
            |value: &Value| value.value.abs() <= STATE_MAGNITUDE_MAX && (value.rows > 0 || value.value == 0.0);
        if counted != Some(rows) || !all().all(is_value) || self.values.iter().any(|values| values.len() > actions) {
            return Err(MlError::corrupt("the values do not fit the rows and actions"));
        }
        Ok(Table { states, values: self.values })
    }
}
