//! A leaf: how many rows of each class it has, and what it knows of their features.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::{ln, softmax_in_place};

use super::config::{LeafPrediction, TreeConfig};
use super::observers::Observers;
use super::split::{ClassRows, Split, best_split};
use super::tree::{Row, TreeLeaf};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// A leaf of a tree.
#[derive(Debug, Clone, Default, Encode, Decode)]
pub(crate) struct Leaf {
    /// Rows of each class; those that the split which made it had were estimated. A class past the end has none.
    weights: Vec<f64>,
    /// Rows at the last look for a split.
    looked_at: f64,
    /// Of the rows since the leaf was made, those whose class had most rows before them, and those that naive Bayes
    /// got right.
    majority_right: u64,
    bayes_right: u64,
    /// What is known of features since the leaf was made; `None` in a leaf that has forgotten.
    observers: Option<Observers>,
}

impl Leaf {
    /// A leaf that has these rows from the split that made it.
    pub(super) fn new(weights: Vec<f64>) -> Self {
        let looked_at = weights.iter().sum();
        Self { weights, looked_at, observers: Some(Observers::default()), ..Self::default() }
    }

    /// Rows of each class.
    pub(super) fn weights(&self) -> &[f64] {
        &self.weights
    }

    pub(super) fn observers(&self) -> Option<&Observers> {
        self.observers.as_ref()
    }

    /// Rows of all classes.
    pub(super) fn weight(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// How many rows the largest class gets wrong.
    pub(super) fn wrong(&self) -> f64 {
        self.weight() - self.weights.iter().copied().fold(0.0, f64::max)
    }

    /// Whether it has taken so many rows since it last looked for a split, which it then does now.
    fn is_due(&mut self, grace_period: u32) -> bool {
        let weight = self.weight();
        let is_due = self.observers.is_some() && weight - self.looked_at >= f64::from(grace_period);
        if is_due {
            self.looked_at = weight;
        }
        is_due
    }

    /// Writes the probability of each class: of the first ones, as many as there is room for.
    pub(super) fn predict(&self, row: Row<'_>, mode: LeafPrediction, probabilities: &mut [f64]) {
        let weight = self.weight();
        if weight == 0.0 {
            let share = 1.0 / probabilities.len().max(1) as f64;
            return probabilities.fill(share);
        }
        let is_bayes = match mode {
            LeafPrediction::MajorityClass => false,
            LeafPrediction::NaiveBayes => true,
            LeafPrediction::Adaptive => self.bayes_right >= self.majority_right,
        };
        if is_bayes && self.observers.is_some() {
            self.bayes_scores(row, probabilities);
            softmax_in_place(probabilities);
            return;
        }
        probabilities.fill(0.0);
        for (probability, class) in probabilities.iter_mut().zip(&self.weights) {
            *probability = class / weight;
        }
    }

    /// The class that it says of a row; none before its first one. `scores` is room for work.
    pub(super) fn class(&self, row: Row<'_>, mode: LeafPrediction, scores: &mut Vec<f64>) -> Option<usize> {
        scores.resize(self.weights.len(), 0.0);
        self.predict(row, mode, scores);
        largest(scores)
    }

    /// Writes the logarithm of each class's share times the likelihood of the row's features in it.
    fn bayes_scores(&self, row: Row<'_>, scores: &mut [f64]) {
        let weight = self.weight();
        scores.fill(f64::NEG_INFINITY);
        for (class, (score, own)) in scores.iter_mut().zip(&self.weights).enumerate() {
            if *own > 0.0 {
                let likelihood = self.observers.as_ref().map_or(0.0, |observers| observers.ln_likelihood(row, class));
                *score = ln(own / weight) + likelihood;
            }
        }
    }

    /// Whether rows of so many classes, in trees of this shape, could have led here.
    pub(super) fn is_plausible(&self, classes: usize, features: (usize, &[usize]), rows: u64) -> bool {
        self.weights.len() <= classes
            && self.weights.iter().chain([&self.looked_at]).all(|weight| (0.0..=STATE_MAGNITUDE_MAX).contains(weight))
            && self.majority_right <= rows
            && self.bayes_right <= rows
            && self
                .observers
                .as_ref()
                .is_none_or(|observers| observers.is_plausible(self.weights.len(), features, rows))
    }
}

impl TreeLeaf for Leaf {
    type Label = u32;
    type Branch = ClassRows;
    type Config = TreeConfig;
    /// Scores of classes.
    type Room = Vec<f64>;

    fn first(_: &TreeConfig, _: (usize, usize), _: usize) -> Self {
        Self::new(Vec::new())
    }

    fn learn(&mut self, row: Row<'_>, class: u32, config: &TreeConfig, scores: &mut Vec<f64>) -> usize {
        let class = class as usize;
        let mut grown = 0;
        if self.observers.is_some() && config.leaf_prediction == LeafPrediction::Adaptive {
            self.majority_right += u64::from(largest(&self.weights).is_none_or(|largest| largest == class));
            scores.clear();
            scores.resize(self.weights.len(), 0.0);
            self.bayes_scores(row, scores);
            self.bayes_right += u64::from(largest(scores) == Some(class));
        }
        if class >= self.weights.len() {
            grown += (class + 1 - self.weights.len()) * size_of::<f64>();
            self.weights.resize(class + 1, 0.0);
        }
        self.weights[class] += 1.0;
        if let Some(observers) = &mut self.observers {
            grown += observers.observe(row, class);
        }
        grown
    }

    fn split(&mut self, features: (usize, usize), config: &TreeConfig) -> Option<Split<ClassRows>> {
        if self.is_due(config.growth.grace_period) { best_split(self, features, config) } else { None }
    }

    fn of_branch(&self, branch: ClassRows, _: &TreeConfig, _: (usize, usize), _: usize) -> Self {
        Self::new(branch)
    }

    fn rows_of(branch: &ClassRows) -> f64 {
        branch.iter().sum()
    }

    fn promise(&self) -> f64 {
        self.wrong()
    }

    fn knows_features(&self) -> bool {
        self.observers.as_ref().is_some_and(|observers| observers.bytes() > 0)
    }

    /// It says how frequent classes are from now on.
    fn forget(&mut self) {
        self.observers = None;
    }

    fn bytes(&self) -> usize {
        let observers = self.observers.as_ref().map_or(0, Observers::bytes);
        size_of::<Self>() + self.weights.len() * size_of::<f64>() + observers
    }
}

/// The first of the largest numbers that there is one for, and not minus infinity or 0 of all.
fn largest(numbers: &[f64]) -> Option<usize> {
    let mut best = None;
    for (place, number) in numbers.iter().enumerate() {
        if best.is_none_or(|best: usize| *number > numbers[best]) {
            best = Some(place);
        }
    }
    best.filter(|best| numbers[*best] != f64::NEG_INFINITY)
}
