//! The loss after each step of a fit, as ML.TRAINING_INFO shows it.
//!
//! A fit may take millions of steps, so only so many are kept: each, then each second, each fourth, and so on, and always
//! the last.

#[cfg(test)]
mod tests;

use bincode::{Decode, Encode};

/// Steps kept at most, the last one included.
const STEPS_MAX: usize = 10_000;

/// Rows over which the loss is taken after each step; of twice as many it is after each second, and so on.
const ROWS_A_STEP: usize = 1 << 16;

/// A step of a fit: a round of trees, a step of a search, a pass over rows.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Iteration {
    /// Its number, from 0.
    pub number: u64,
    /// What is minimised, after this step, of the rows that are learnt.
    pub loss: f64,
    /// The same of the rows held out, where the fit looks at them.
    pub evaluation_loss: Option<f64>,
    /// What the step was shortened by, if that is set for all steps.
    pub learning_rate: Option<f64>,
}

impl Iteration {
    /// The only one of a fit without steps, as a list.
    pub(crate) fn only(loss: f64) -> Vec<Self> {
        vec![Self::new(0, loss)]
    }

    fn new(number: u64, loss: f64) -> Self {
        Self { number, loss, evaluation_loss: None, learning_rate: None }
    }
}

/// The steps of a fit so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct History {
    steps: u64,
    /// Those whose number it divides are kept; a power of two.
    stride: u64,
    kept: Vec<Iteration>,
    /// Kept or not.
    last: Option<Iteration>,
}

impl Default for History {
    fn default() -> Self {
        Self { steps: 0, stride: 1, kept: Vec::new(), last: None }
    }
}

impl History {
    /// Of steps whose loss costs a pass over so many rows: of many rows it is not taken after each.
    pub(crate) fn of_rows(rows: usize) -> Self {
        let stride = (rows / ROWS_A_STEP).max(1).next_power_of_two();
        Self { stride: stride as u64, ..Self::default() }
    }

    /// Whether the loss after the next step is kept.
    pub(crate) fn is_due(&self) -> bool {
        self.steps.is_multiple_of(self.stride)
    }

    /// Notes a step after which it was not taken.
    pub(crate) fn pass(&mut self) {
        self.steps += 1;
    }

    /// Whether it was not taken after the last step.
    pub(crate) fn lacks_last(&self) -> bool {
        self.steps > self.last.as_ref().map_or(0, |last| last.number + 1)
    }

    /// Notes it after the last step, which has been counted.
    pub(crate) fn push_last(&mut self, loss: f64, evaluation_loss: Option<f64>, learning_rate: f64) {
        let number = self.steps.saturating_sub(1);
        self.last = Some(Iteration { number, loss, evaluation_loss, learning_rate: Some(learning_rate) });
    }

    /// Notes the loss after a step.
    pub(crate) fn push(&mut self, loss: f64) {
        self.push_iteration(Iteration::new(self.steps, loss));
    }

    /// Notes a step that was shortened, and what it is worth on rows held out, if there are.
    pub(crate) fn push_round(&mut self, loss: f64, evaluation_loss: Option<f64>, learning_rate: f64) {
        let learning_rate = Some(learning_rate);
        self.push_iteration(Iteration { number: self.steps, loss, evaluation_loss, learning_rate });
    }

    fn push_iteration(&mut self, iteration: Iteration) {
        if self.steps.is_multiple_of(self.stride) {
            self.kept.push(iteration.clone());
        }
        self.last = Some(iteration);
        self.steps += 1;
        if self.kept.len() == STEPS_MAX {
            self.stride *= 2;
            self.kept.retain(|iteration| iteration.number.is_multiple_of(self.stride));
        }
    }

    /// The same in another unit.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        self.mapped(|loss| loss * factor)
    }

    /// The same with other losses.
    pub(crate) fn mapped(mut self, of: impl Fn(f64) -> f64) -> Self {
        self.kept.iter_mut().chain(&mut self.last).for_each(|iteration| iteration.loss = of(iteration.loss));
        self
    }

    /// The sums of the losses of several searches, as if they had gone on side by side: one that is over stays at its
    /// end, which is given with it.
    pub(crate) fn sum(searches: &[(Self, f64)]) -> Self {
        let steps = searches.iter().map(|(search, _)| search.steps).max().unwrap_or(0);
        let stride = searches.iter().map(|(search, _)| search.stride).max().unwrap_or(1);
        let sum = |number: u64| searches.iter().map(|(search, end)| search.loss_at(number).unwrap_or(*end)).sum();
        let iteration = |number: u64| Iteration::new(number, sum(number));
        let kept = (0..steps).step_by(stride as usize).map(iteration).collect();
        Self { steps, stride, kept, last: steps.checked_sub(1).map(iteration) }
    }

    /// After a step that is kept, if there is one.
    fn loss_at(&self, number: u64) -> Option<f64> {
        let place = number.is_multiple_of(self.stride).then_some(number / self.stride)?;
        self.kept.get(place as usize).map(|iteration| iteration.loss)
    }

    /// The steps that are kept, the last of which has come to the loss of the fit.
    pub(crate) fn ending_with(mut self, loss: f64) -> Vec<Iteration> {
        if let Some(last) = &mut self.last {
            last.loss = loss;
        }
        self.into_iterations(loss)
    }

    /// The steps that are kept; where there are none, one with the loss of the fit.
    pub(crate) fn into_iterations(mut self, loss: f64) -> Vec<Iteration> {
        let Some(last) = self.last else { return Iteration::only(loss) };
        if last.number.is_multiple_of(self.stride) {
            self.kept.pop();
        }
        self.kept.push(last);
        self.kept
    }
}
