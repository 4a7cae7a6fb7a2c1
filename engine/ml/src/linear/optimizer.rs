//! How one row moves the weights it touches: AdaGrad, FTRL-Proximal, Adam, or plain gradient descent.
//!
//! All of them work coordinate by coordinate, so a row costs its non-zero entries and not the size of
//! the model. Penalties act likewise, on the coordinates that a row touches; the intercept, slot 0,
//! is never penalised.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use crate::feature::dictionary::NO_SLOT;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// The numbers that Adam remembers of a coordinate's gradients, beside their squares: the running mean `m`, which starts
/// from 0; then `1 - β₁ᵗ` and `1 - β₂ᵗ` after `t` steps, the shares of gradients in the two running means, the rest being
/// the zeros that they started from.
const ADAM_MEMORY: usize = 3;

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
    /// Adam (Kingma and Ba 2015): each coordinate's step follows running means of its gradients and of
    /// their squares. They move, and are corrected for their start, on the rows that touch the coordinate.
    Adam,
}

impl Optimizer {
    /// Every optimizer, in the order to show them.
    pub const ALL: [Self; 4] = [Self::Adagrad, Self::Ftrl, Self::Sgd, Self::Adam];

    /// The name as SQL options spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Adagrad => "adagrad",
            Self::Ftrl => "ftrl",
            Self::Sgd => "sgd",
            Self::Adam => "adam",
        }
    }

    /// How many numbers it remembers of a coordinate, beside the squares of its gradients.
    fn memory(self) -> usize {
        match self {
            Self::Adagrad | Self::Sgd => 0,
            Self::Ftrl => 1,
            Self::Adam => ADAM_MEMORY,
        }
    }
}

/// The numbers that an update rule takes; which of them it reads depends on the rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerConfig {
    /// The update rule.
    pub optimizer: Optimizer,
    /// The step size: `η` of AdaGrad and gradient descent, `α` of FTRL and Adam.
    pub learning_rate: f64,
    /// The L1 penalty a row, `λ₁`.
    pub l1: f64,
    /// The L2 penalty a row, `λ₂`.
    pub l2: f64,
    /// AdaGrad: the sum of squared gradients that each coordinate starts from.
    pub initial_accumulator: f64,
    /// AdaGrad and Adam: added to the root of the squared gradients, against division by zero.
    pub eps: f64,
    /// FTRL: `β`, which dampens a coordinate's first steps.
    pub beta: f64,
    /// Adam: `β₁`, what the running mean of gradients keeps of itself in a step.
    pub beta1: f64,
    /// Adam: `β₂`, the same of their squares.
    pub beta2: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            optimizer: Optimizer::Adagrad,
            learning_rate: 0.1,
            l1: 0.0,
            l2: 0.0,
            initial_accumulator: 0.1,
            eps: 1e-10,
            beta: 1.0,
            beta1: 0.9,
            beta2: 0.999,
        }
    }
}

// By hand, because savepoints hold what was written before there was Adam: its numbers come last, and with Adam only.
impl Encode for OptimizerConfig {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Self { optimizer, learning_rate, l1, l2, initial_accumulator, eps, beta, beta1, beta2 } = *self;
        (optimizer, learning_rate, l1, l2, initial_accumulator, eps, beta).encode(encoder)?;
        if optimizer == Optimizer::Adam { (beta1, beta2).encode(encoder) } else { Ok(()) }
    }
}

impl<Context> Decode<Context> for OptimizerConfig {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (optimizer, learning_rate, l1, l2, initial_accumulator, eps, beta) = Decode::decode(decoder)?;
        let config = Self { optimizer, learning_rate, l1, l2, initial_accumulator, eps, beta, ..Self::default() };
        if optimizer != Optimizer::Adam {
            return Ok(config);
        }
        let (beta1, beta2) = Decode::decode(decoder)?;
        Ok(Self { beta1, beta2, ..config })
    }
}

bincode::impl_borrow_decode!(OptimizerConfig);

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
    /// The sum of squared gradients; `G` of AdaGrad, `n` of FTRL. Their running mean `v` of Adam, which starts
    /// from 0. Empty for gradient descent.
    squares: Vec<f64>,
    /// [`Optimizer::memory`] numbers a slot: `z` of FTRL, the dual from which its weight follows, and those of
    /// [`ADAM_MEMORY`]. Empty for the others.
    memory: Vec<f64>,
}

impl Parameters {
    /// `slots` coordinates of weight 0.
    pub(crate) fn new(config: &OptimizerConfig, slots: usize) -> Self {
        let mut parameters = Self { weights: Vec::new(), squares: Vec::new(), memory: Vec::new() };
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
        Self { weights, squares, memory: Vec::new() }
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
        self.memory.resize(self.weights.len() * config.optimizer.memory(), 0.0);
        slot
    }

    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Learns one row: `error` is the derivative of its loss by its score, so that the gradient along entry `k`
    /// is `error * values[k]`. Of the logistic loss it is the predicted probability minus the label as 0 or 1, of
    /// half the squared loss the predicted number minus the label.
    pub(crate) fn step(&mut self, config: &OptimizerConfig, indices: &[u32], values: &[f64], error: f64) {
        match config.optimizer {
            Optimizer::Adagrad => self.step_adagrad(config, indices, values, error),
            Optimizer::Ftrl => self.step_ftrl(config, indices, values, error),
            Optimizer::Sgd => self.step_sgd(config, indices, values, error),
            Optimizer::Adam => self.step_adam(config, indices, values, error),
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
            self.memory[place] += gradient - sigma * self.weights[place];
            let (l1, l2) = config.penalties(slot);
            let curvature = (config.beta + root) * per_rate + l2;
            self.weights[place] = -shrink(self.memory[place], l1) / curvature;
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

    /// Algorithm 1 of Kingma and Ba (2015): `m = β₁ m + (1 - β₁) g`, `v = β₂ v + (1 - β₂) g²`, each divided by its
    /// share of gradients, and `w = shrink(w - η' m̂, η' λ₁)` with `η' = α / (√v̂ + ε)`.
    fn step_adam(&mut self, config: &OptimizerConfig, indices: &[u32], values: &[f64], error: f64) {
        let (beta1, beta2) = (config.beta1, config.beta2);
        let (memory, _) = self.memory.as_chunks_mut::<ADAM_MEMORY>();
        for (slot, value) in touched(indices, values) {
            let (l1, l2) = config.penalties(slot);
            let place = slot as usize;
            let (weight, square) = (&mut self.weights[place], &mut self.squares[place]);
            let [mean, mean_share, square_share] = &mut memory[place];
            let gradient = error * value + l2 * *weight;
            *mean = beta1 * *mean + (1.0 - beta1) * gradient;
            *square = beta2 * *square + (1.0 - beta2) * gradient * gradient;
            *mean_share = beta1 * *mean_share + (1.0 - beta1);
            *square_share = beta2 * *square_share + (1.0 - beta2);
            let rate = config.learning_rate / ((*square / *square_share).sqrt() + config.eps);
            *weight = shrink(*weight - rate * (*mean / *mean_share), rate * l1);
        }
    }

    /// The coordinates of these slots, in this order.
    pub(crate) fn gather(&self, config: &OptimizerConfig, slots: &[u32]) -> Self {
        let pick = |from: &[f64], width: usize| {
            let of_slot = |slot: &u32| from.get(*slot as usize * width..(*slot as usize + 1) * width);
            slots.iter().filter_map(of_slot).flatten().copied().collect()
        };
        Self {
            weights: pick(&self.weights, 1),
            squares: pick(&self.squares, 1),
            memory: pick(&self.memory, config.optimizer.memory()),
        }
    }

    /// Whether this could have come from `slots` coordinates under `config`.
    pub(crate) fn is_plausible(&self, config: &OptimizerConfig, slots: usize) -> bool {
        let squares = if config.optimizer == Optimizer::Sgd { 0 } else { slots };
        let are_shares = |[_, of_mean, of_square]: &[f64; ADAM_MEMORY]| {
            [of_mean, of_square].into_iter().all(|share| (0.0..=1.0).contains(share))
        };
        self.weights.len() == slots
            && self.squares.len() == squares
            && self.memory.len() == slots * config.optimizer.memory()
            && self.weights.iter().chain(&self.memory).all(|number| number.abs() <= STATE_MAGNITUDE_MAX)
            && self.squares.iter().all(|square| (config.initial_square()..=STATE_MAGNITUDE_MAX).contains(square))
            && (config.optimizer != Optimizer::Adam || self.memory.as_chunks().0.iter().all(are_shares))
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
/// as if one model had met them all, but for Adam's, which are a mean already.
pub(crate) struct WeightedAverage<'a> {
    config: &'a OptimizerConfig,
    /// For each slot, the rows behind `weights` and `memory`.
    rows: Vec<f64>,
    /// For each slot, the sum of rows times weight.
    weights: Vec<f64>,
    /// For each slot, the sum of rows times what is remembered.
    memory: Vec<f64>,
    /// For each slot, the sum of squared gradients, without where it starts from; of Adam that of rows times
    /// their mean.
    squares: Vec<f64>,
}

impl<'a> WeightedAverage<'a> {
    /// An average of nothing over `slots` coordinates.
    pub(crate) fn new(config: &'a OptimizerConfig, slots: usize) -> Self {
        let zeros = |numbers: usize| vec![0.0; numbers];
        let memory = zeros(slots * config.optimizer.memory());
        Self { config, rows: zeros(slots), weights: zeros(slots), memory, squares: zeros(slots) }
    }

    /// Adds the coordinates of a model that has learnt `rows` rows. Each pair is a slot here and
    /// the slot that it has in `parameters`.
    pub(crate) fn add(&mut self, rows: u64, parameters: &Parameters, slots: impl IntoIterator<Item = (u32, u32)>) {
        let rows = rows as f64;
        let width = self.config.optimizer.memory();
        for (to, from) in slots {
            let (to, from) = (to as usize, from as usize);
            self.rows[to] += rows;
            self.weights[to] += rows * parameters.weights[from];
            for place in 0..width {
                self.memory[to * width + place] += rows * parameters.memory[from * width + place];
            }
            if let Some(square) = parameters.squares.get(from) {
                let is_mean = self.config.optimizer == Optimizer::Adam;
                self.squares[to] += if is_mean { rows * square } else { square - self.config.initial_square() };
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
            match self.config.optimizer {
                Optimizer::Sgd => {}
                Optimizer::Adagrad => merged.squares[slot] += self.squares[slot],
                Optimizer::Ftrl => {
                    merged.squares[slot] += self.squares[slot];
                    merged.memory[slot] =
                        self.dual(slot, merged.weights[slot], merged.squares[slot], self.memory[slot] / rows);
                }
                Optimizer::Adam => {
                    merged.squares[slot] = self.squares[slot] / rows;
                    self.average_gradient(slot, rows, &mut merged.memory[slot * ADAM_MEMORY..]);
                }
            }
        }
        merged
    }

    fn average_gradient(&self, slot: usize, rows: f64, memory: &mut [f64]) {
        let sums = &self.memory[slot * ADAM_MEMORY..][..ADAM_MEMORY];
        for (place, (average, sum)) in memory.iter_mut().zip(sums).enumerate() {
            *average = sum / rows;
            if place > 0 {
                // Rounding must not lead past 1, which no share is.
                *average = average.min(1.0);
            }
        }
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
