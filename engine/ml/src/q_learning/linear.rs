//! A value that is linear in the features of a state, with weights of each action's own: semi-gradient Q-learning (Sutton and
//! Barto 2018, section 11.1).
//!
//! `w += η δ x` for the action that was taken, where `δ = r + γ max x'·w' - x·w`. A step is at most `1 / (x·x)`, by which the
//! row's own value is where it should be: longer ones overshoot. Values learnt from actions that a policy of another kind took
//! may still diverge; a `δ` beyond `1e20` counts as that much, so that they stay numbers.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::{add_scaled, dot};

use super::config::QConfig;
use crate::actions::largest;
use crate::error::{MlError, Result};
use crate::feature::context::{Context, ContextState};
use crate::feature::dictionary::NO_SLOT;
use crate::feature::row_reader::RowReader;
use crate::model::{FeatureSchema, RejectReason};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// The largest error that counts as such; far above those from which anything can be learnt.
const ERROR_MAX: f64 = 1e20;

/// The largest standardised number, in deviations, as in other online linear models.
const CLIP: f64 = 10.0;

/// Weights of each action, and how the features of states are read.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    context: Context,
    standardize: bool,
    /// By the actions' numbers, and then by slot; slots past the end weigh nothing.
    weights: Vec<Vec<f64>>,
}

/// A state's features as they were read: the slots of its categories, and its numbers, NaN where missing.
pub(super) struct ReadState {
    slots: Vec<u32>,
    numbers: Vec<f64>,
}

impl Linear {
    pub(super) fn new(context: Context, standardize: bool) -> Self {
        Self { context, standardize, weights: Vec::new() }
    }

    pub(super) fn schema(&self) -> &FeatureSchema {
        self.context.schema()
    }

    /// A state's features, without learning its categories.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub(super) fn read(&self, reader: &mut RowReader<'_>, row: usize) -> std::result::Result<ReadState, RejectReason> {
        let mut name = String::new();
        let (slots, numbers) = reader.read(row, |feature, category| self.context.slot(&mut name, feature, category))?;
        Ok(ReadState { slots: slots.to_vec(), numbers: numbers.to_vec() })
    }

    /// A state's features; its categories get slots, and its numbers are counted.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub(super) fn read_learnt(
        &mut self,
        reader: &mut RowReader<'_>,
        row: usize,
    ) -> std::result::Result<ReadState, RejectReason> {
        let context = &mut self.context;
        let (slots, numbers) = reader.read(row, |feature, category| context.slot_or_insert(feature, category))?;
        let state = ReadState { slots: slots.to_vec(), numbers: numbers.to_vec() };
        if self.standardize {
            context.count_numbers(&state.numbers, |_, _| {});
        }
        Ok(state)
    }

    /// A state as weights read it.
    pub(super) fn encode(&self, state: &ReadState) -> Vec<f64> {
        let mut values = vec![0.0; self.context.width()];
        values[0] = 1.0;
        for ((value, number), moments) in values[1..].iter_mut().zip(&state.numbers).zip(self.context.moments()) {
            *value = match (self.standardize, number.is_nan()) {
                (true, _) => moments.scale().apply(*number, CLIP),
                (false, true) => 0.0,
                (false, false) => *number,
            };
        }
        state.slots.iter().filter(|slot| **slot != NO_SLOT).for_each(|slot| values[*slot as usize] = 1.0);
        values
    }

    pub(super) fn value(&self, state: &[f64], action: usize) -> f64 {
        self.weights.get(action).map_or(0.0, |weights| dot(weights, state))
    }

    /// The best of so many actions, and its value.
    pub(super) fn best(&self, state: &[f64], actions: usize) -> Option<(usize, f64)> {
        let action = largest((0..actions).map(|action| self.value(state, action)))?;
        Some((action, self.value(state, action)))
    }

    /// Moves the weights of an action so that its value comes nearer to `target`.
    pub(super) fn learn(&mut self, state: &[f64], action: usize, target: f64, rate: f64) {
        let error = (target - self.value(state, action)).clamp(-ERROR_MAX, ERROR_MAX);
        if action >= self.weights.len() {
            self.weights.resize(action + 1, Vec::new());
        }
        let weights = &mut self.weights[action];
        if weights.len() < state.len() {
            weights.resize(state.len(), 0.0);
        }
        add_scaled(weights, rate.min(1.0 / dot(state, state)) * error, state);
    }

    pub(super) fn to_state(&self) -> LinearState {
        LinearState { context: self.context.state(), weights: self.weights.clone() }
    }
}

/// A linear function as a snapshot holds it.
#[derive(Encode, Decode)]
pub(super) struct LinearState {
    context: ContextState,
    weights: Vec<Vec<f64>>,
}

impl LinearState {
    /// The function of a model that has learnt so many rows, of so many actions.
    ///
    /// # Errors
    /// `CorruptState`, or the schema's errors.
    pub(super) fn into_linear(self, config: &QConfig, actions: usize, rows: u64) -> Result<Linear> {
        let context = self.context.into_context(config.max_categories, rows)?;
        let is_weight = |weight: &f64| weight.abs() <= STATE_MAGNITUDE_MAX;
        let fits = |weights: &Vec<f64>| weights.len() <= context.width() && weights.iter().all(is_weight);
        if self.weights.len() > actions || !self.weights.iter().all(fits) {
            return Err(MlError::corrupt("the weights do not fit the actions and features"));
        }
        Ok(Linear { context, standardize: config.standardize, weights: self.weights })
    }
}
