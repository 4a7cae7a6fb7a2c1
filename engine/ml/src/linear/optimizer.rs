//! How one row moves the weights it touches: AdaGrad, FTRL-Proximal, or plain gradient descent.
//!
//! All three work coordinate by coordinate, so a row costs its non-zero entries and not the size of
//! the model. Penalties act likewise, on the coordinates that a row touches; the intercept, slot 0,
//! is never penalised.

use bincode::{Decode, Encode};

use crate::feature::dictionary::NO_SLOT;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Optimizer {
    /// AdaGrad (Duchi, Hazan and Singer 2011): each coordinate's step shrinks with the root of its
    /// own squared gradients, so a rare category still moves fast when it comes.
    Adagrad,
    /// FTRL-Proximal (McMahan et al. 2013): like AdaGrad, with an L1 penalty that makes exact zeros.
    Ftrl,
    /// Gradient descent with a constant step.
    Sgd,
}

impl Optimizer {
    /// Every optimizer, in the order to show them.
    pub const ALL: [Self; 3] = [Self::Adagrad, Self::Ftrl, Self::Sgd];

    /// The name as SQL options spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Adagrad => "adagrad",
            Self::Ftrl => "ftrl",
            Self::Sgd => "sgd",
        }
    }
}

/// The numbers that an update rule takes; which of them it reads depends on the rule.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub struct OptimizerConfig {
    /// The update rule.
    pub optimizer: Optimizer,
    /// The step size: `η` of AdaGrad and gradient descent, `α` of FTRL.
    pub learning_rate: f64,
    /// The L1 penalty a row, `λ₁`.
    pub l1: f64,
    /// The L2 penalty a row, `λ₂`.
    pub l2: f64,
    /// AdaGrad: the sum of squared gradients that each coordinate starts from.
    pub initial_accumulator: f64,
    /// AdaGrad: added to the root of that sum, against division by zero.
    pub eps: f64,
    /// FTRL: `β`, which dampens a coordinate's first steps.
    pub beta: f64,
}

impl OptimizerConfig {
    /// What a coordinate's sum of squared gradients starts from.
    fn initial_square(&self) -> f64 {
        if self.optimizer == Optimizer::Adagrad { self.initial_accumulator } else { 0.0 }
    }

    /// `(λ₁, λ₂)` of a coordinate.
    fn penalties(&self, slot: u32) -> (f64, f64) {
        if slot == 0 { (0.0, 0.0) } else { (self.l1, self.l2) }
    }
}

/// The weights and what the optimizer remembers of each, by slot.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Parameters {
    weights: Vec<f64>,
    /// The sum of squared gradients; `G` of AdaGrad, `n` of FTRL. Empty for gradient descent.
    squares: Vec<f64>,
    /// `z` of FTRL, the dual from which its weight follows. Empty for the others.
    duals: Vec<f64>,
}

impl Parameters {
    /// `slots` coordinates of weight 0.
    pub(crate) fn new(config: &OptimizerConfig, slots: usize) -> Self {
        let mut parameters = Self { weights: Vec::new(), squares: Vec::new(), duals: Vec::new() };
        for _ in 0..slots {
            parameters.add_slot(config);
        }
        parameters
    }

    /// Weights that were not learnt row by row, for AdaGrad to go on with as if they had been; each has the
    /// sum of its squared gradients so far.
    pub(crate) fn fitted(config: &OptimizerConfig, weights: Vec<f64>, squares: Vec<f64>) -> Self {
        debug_assert!(config.optimizer == Optimizer::Adagrad && weights.len() == squares.len());
        let squares = squares.into_iter().map(|square| config.initial_square() + square).collect();
        Self { weights, squares, duals: Vec::new() }
    }

    /// Adds a coordinate of weight 0 and returns its slot.
    pub(crate) fn add_slot(&mut self, config: &OptimizerConfig) -> u32 {
        let slot = self.weights.len() as u32;
        // The model's constructor bounds features times categories; see `check_slots`.
        debug_assert!(slot < NO_SLOT);
        self.weights.push(0.0);
        if config.optimizer != Optimizer::Sgd {
            self.squares.push(config.initial_square());
        }
        if config.optimizer == Optimizer::Ftrl {
            self.duals.push(0.0);
        }
        slot
    }

    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Learns one row: `error` is its predicted probability minus its label as 0 or 1, so that the
    /// gradient of the logistic loss along entry `k` is `error * values[k]`.
    pub(crate) fn step(&mut self, config: &OptimizerConfig, indices: &[u32], values: &[f64], error: f64) {
        match config.optimizer {
            Optimizer::Adagrad => self.step_adagrad(config, indices, values, error),
            Optimizer::Ftrl => self.step_ftrl(config, indices, values, error),
            Optimizer::Sgd => self.step_sgd(config, indices, values, error),
        }
    }

    /// `G += g²`, `η' = η / (√G + ε)`, `w = shrink(w - η' g, η' λ₁)`: the composite mirror descent
    /// form of Duchi et al. (2011), section 5.1, with the L2 penalty as part of `g`.
    fn step_adagrad(&mut self, config: &OptimizerConfig, indices: &[u32], values: &[f64], error: f64) {
        for (slot, value) in touched(indices, values) {
            let (l1, l2) = config.penalties(slot);
            let (weight, square) = (&mut self.weights[slot as usize], &mut self.squares[slot as usize]);
            let gradient = error * value + l2 * *weight;
            *square += gradient * gradient;
            let rate = config.learning_rate / (square.sqrt() + config.eps);
            *weight = shrink(*weight - rate * gradient, rate * l1);
        }
    }

    /// Algorithm 1 of McMahan et al. (2013): `σ = (√(n + g²) - √n) / α`, `z += g - σ w`, `n += g²`,
    /// then `w` from `z` and `n`. The weight is kept rather than recomputed when next read, because
    /// it cannot change in between and predictions read it far more often.
    fn step_ftrl(&mut self, config: &OptimizerConfig, indices: &[u32], values: &[f64], error: f64) {
        let per_rate = 1.0 / config.learning_rate;
        for (slot, value) in touched(indices, values) {
            let place = slot as usize;
            let gradient = error * value;
            let root_before = self.squares[place].sqrt();
            self.squares[place] += gradient * gradient;
            let root = self.squares[place].sqrt();
            let sigma = (root - root_before) * per_rate;
            self.duals[place] += gradient - sigma * self.weights[place];
            let (l1, l2) = config.penalties(slot);
            let curvature = (config.beta + root) * per_rate + l2;
            self.weights[place] = -shrink(self.duals[place], l1) / curvature;
        }
    }

    /// `w = shrink(w - η g, η λ₁)`.
    fn step_sgd(&mut self, config: &OptimizerConfig, indices: &[u32], values: &[f64], error: f64) {
        let rate = config.learning_rate;
        for (slot, value) in touched(indices, values) {
            let (l1, l2) = config.penalties(slot);
            let weight = &mut self.weights[slot as usize];
            *weight = shrink(*weight - rate * (error * value + l2 * *weight), rate * l1);
        }
    }

    /// The coordinates of these slots, in this order.
    pub(crate) fn gather(&self, slots: &[u32]) -> Self {
        let pick = |from: &[f64]| slots.iter().filter_map(|&slot| from.get(slot as usize).copied()).collect();
        Self { weights: pick(&self.weights), squares: pick(&self.squares), duals: pick(&self.duals) }
    }

    /// Whether this could have come from `slots` coordinates under `config`.
    pub(crate) fn is_plausible(&self, config: &OptimizerConfig, slots: usize) -> bool {
        let squares = if config.optimizer == Optimizer::Sgd { 0 } else { slots };
        let duals = if config.optimizer == Optimizer::Ftrl { slots } else { 0 };
        self.weights.len() == slots
            && self.squares.len() == squares
            && self.duals.len() == duals
            && self.weights.iter().chain(&self.duals).all(|number| number.abs() <= STATE_MAGNITUDE_MAX)
            && self.squares.iter().all(|square| (config.initial_square()..=STATE_MAGNITUDE_MAX).contains(square))
    }
}

/// The entries of a row that can move a weight.
///
/// A missing number has the value 0 and thus no gradient; skipping it also spares it the penalties.
fn touched<'a>(indices: &'a [u32], values: &'a [f64]) -> impl Iterator<Item = (u32, f64)> + 'a {
    indices.iter().copied().zip(values.iter().copied()).filter(|(_, value)| *value != 0.0)
}

/// Moves `value` towards 0 by `amount`, and stops there: the proximal step of an L1 penalty.
fn shrink(value: f64, amount: f64) -> f64 {
    if value.abs() <= amount { 0.0 } else { value - amount.copysign(value) }
}

/// The weighted average of several models' parameters, coordinate by coordinate.
///
/// A model that never saw a coordinate abstains from it: were it counted as 0, splitting a stream by
/// category would shrink every category's weight by the number of parts. Squared gradients add up,
/// as if one model had met them all.
pub(crate) struct WeightedAverage<'a> {
    config: &'a OptimizerConfig,
    /// For each slot, the rows behind `weights` and `duals`.
    rows: Vec<f64>,
    /// For each slot, the sum of rows times weight.
    weights: Vec<f64>,
    /// For each slot, the sum of rows times dual; unused but by FTRL.
    duals: Vec<f64>,
    /// For each slot, the sum of squared gradients, without where it starts from.
    squares: Vec<f64>,
}

impl<'a> WeightedAverage<'a> {
    /// An average of nothing over `slots` coordinates.
    pub(crate) fn new(config: &'a OptimizerConfig, slots: usize) -> Self {
        let zeros = || vec![0.0; slots];
        Self { config, rows: zeros(), weights: zeros(), duals: zeros(), squares: zeros() }
    }

    /// Adds the coordinates of a model that has learnt `rows` rows. Each pair is a slot here and
    /// the slot that it has in `parameters`.
    pub(crate) fn add(&mut self, rows: u64, parameters: &Parameters, slots: impl IntoIterator<Item = (u32, u32)>) {
        let rows = rows as f64;
        for (to, from) in slots {
            let (to, from) = (to as usize, from as usize);
            self.rows[to] += rows;
            self.weights[to] += rows * parameters.weights[from];
            if let Some(dual) = parameters.duals.get(from) {
                self.duals[to] += rows * dual;
            }
            if let Some(square) = parameters.squares.get(from) {
                self.squares[to] += square - self.config.initial_square();
            }
        }
    }

    /// The average as parameters; a coordinate behind which there are no rows has weight 0.
    pub(crate) fn finish(self) -> Parameters {
        let mut merged = Parameters::new(self.config, self.rows.len());
        for (slot, &rows) in self.rows.iter().enumerate() {
            if rows == 0.0 {
                continue;
            }
            merged.weights[slot] = self.weights[slot] / rows;
            if let Some(square) = merged.squares.get_mut(slot) {
                *square += self.squares[slot];
            }
            if self.config.optimizer == Optimizer::Ftrl {
                merged.duals[slot] =
                    self.dual(slot, merged.weights[slot], merged.squares[slot], self.duals[slot] / rows);
            }
        }
        merged
    }

    /// The FTRL dual that stands for `weight`: the weight's formula solved for `z`. At weight 0 any
    /// `z` within the L1 penalty does, and the one nearest to the average is taken.
    fn dual(&self, slot: usize, weight: f64, square: f64, average: f64) -> f64 {
        let (l1, l2) = self.config.penalties(slot as u32);
        if weight == 0.0 {
            return average.clamp(-l1, l1);
        }
        let curvature = (self.config.beta + square.sqrt()) / self.config.learning_rate + l2;
        -(weight * curvature + l1.copysign(weight))
    }
}
