//! The loss of rows by their scores: where scores begin, its derivatives, and its mean.

use std::ops::Range;

use tidemill_compute::kernel::logistic::sigmoid;
use tidemill_compute::kernel::softmax::{ln, softmax_in_place};

use super::histogram::{Gradient, Units};
use super::objective::{Objective, PROBABILITY_MIN};
use crate::batch::parallel::{in_parallel, stretches};

/// Rows that a thread takes at a time; sums over so many are added in their order.
const ROWS_A_PART: usize = 1 << 14;

/// The labels of all rows, and what is to be lowered.
pub(super) struct Loss {
    pub(super) objective: Objective,
    /// Of each row; a class is given by its place.
    pub(super) labels: Vec<f64>,
    /// What a row of each class weighs. Rows whose labels are numbers weigh 1.
    pub(super) class_weights: Vec<f64>,
}

/// The derivatives of all rows by one of the scores.
pub(super) struct Derivatives {
    pub(super) gradients: Vec<Gradient>,
    pub(super) units: Units,
}

impl Loss {
    /// The scores that all rows begin with: the best ones without a tree.
    pub(super) fn first(&self) -> Vec<f64> {
        match self.objective {
            Objective::Squares => vec![self.labels.iter().sum::<f64>() / self.labels.len() as f64],
            Objective::Binary => {
                let share = self.shares()[1].clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN);
                vec![ln(share / (1.0 - share))]
            }
            Objective::Classes(_) => self.shares().iter().map(|share| ln(share.max(PROBABILITY_MIN))).collect(),
        }
    }

    /// The share of each class in the weight of all rows.
    fn shares(&self) -> Vec<f64> {
        let mut rows = vec![0_u64; self.class_weights.len()];
        self.labels.iter().for_each(|label| rows[*label as usize] += 1);
        let weights: Vec<f64> =
            self.class_weights.iter().zip(&rows).map(|(weight, rows)| weight * *rows as f64).collect();
        let all: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / all).collect()
    }

    /// The derivatives by each score; `scores` has one after the other for all rows.
    pub(super) fn derivatives(&self, scores: &[Vec<f64>], threads: usize) -> Vec<Derivatives> {
        let units = self.units(scores);
        let parts = self.parts();
        let parts = in_parallel(&stretches(&parts, threads), |parts| {
            let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Vec::new() };
            self.of_rows(first.start..last.end, scores, units)
        });
        let all = |score: usize| parts.iter().flat_map(|part| part.get(score).into_iter().flatten().copied()).collect();
        (0..self.objective.scores()).map(|score| Derivatives { gradients: all(score), units }).collect()
    }

    /// The rows in parts that depend on no thread.
    fn parts(&self) -> Vec<Range<usize>> {
        let rows = self.labels.len();
        (0..rows).step_by(ROWS_A_PART).map(|start| start..(start + ROWS_A_PART).min(rows)).collect()
    }

    fn of_rows(&self, rows: Range<usize>, scores: &[Vec<f64>], units: Units) -> Vec<Vec<Gradient>> {
        let mut gradients = vec![Vec::with_capacity(rows.len()); scores.len()];
        let mut probabilities = vec![0.0; scores.len()];
        for row in rows {
            let label = self.labels[row];
            match self.objective {
                Objective::Squares => gradients[0].push(units.gradient(scores[0][row] - label, 1.0)),
                Objective::Binary => {
                    let (probability, weight) = (sigmoid(scores[0][row]), self.class_weights[label as usize]);
                    let second = probability * (1.0 - probability);
                    gradients[0].push(units.gradient(weight * (probability - label), weight * second));
                }
                Objective::Classes(count) => {
                    probabilities.iter_mut().zip(scores).for_each(|(own, scores)| *own = scores[row]);
                    softmax_in_place(&mut probabilities);
                    let weight = self.class_weights[label as usize];
                    let more = weight * count as f64 / (count as f64 - 1.0);
                    for (class, (probability, gradients)) in probabilities.iter().zip(&mut gradients).enumerate() {
                        let error = probability - f64::from(u8::from(label as usize == class));
                        gradients.push(units.gradient(weight * error, more * probability * (1.0 - probability)));
                    }
                }
            }
        }
        gradients
    }

    fn units(&self, scores: &[Vec<f64>]) -> Units {
        let weight = self.class_weights.iter().copied().fold(0.0, f64::max);
        match self.objective {
            Objective::Squares => {
                let errors = scores[0].iter().zip(&self.labels).map(|(score, label)| (score - label).abs());
                Units::up_to(errors.fold(0.0, f64::max), 1.0)
            }
            Objective::Binary => Units::up_to(weight, 0.25 * weight),
            Objective::Classes(count) => Units::up_to(weight, 0.25 * weight * count as f64 / (count as f64 - 1.0)),
        }
    }

    /// The mean loss of the rows, by what they weigh.
    pub(super) fn mean(&self, scores: &[Vec<f64>], threads: usize) -> f64 {
        let parts = self.parts();
        let sum = |rows: &Range<usize>| {
            let (mut losses, mut weights) = (0.0, 0.0);
            let mut row_scores = vec![0.0; scores.len()];
            for row in rows.clone() {
                row_scores.iter_mut().zip(scores).for_each(|(own, scores)| *own = scores[row]);
                let weight = self.weight(self.labels[row]);
                losses += weight * self.objective.loss(&mut row_scores, self.labels[row]);
                weights += weight;
            }
            (losses, weights)
        };
        let sums = in_parallel(&stretches(&parts, threads), |parts| parts.iter().map(sum).collect::<Vec<_>>());
        let (losses, weights) =
            sums.into_iter().flatten().fold((0.0, 0.0), |(losses, weights), part| (losses + part.0, weights + part.1));
        losses / weights
    }

    fn weight(&self, label: f64) -> f64 {
        match self.objective {
            Objective::Squares => 1.0,
            Objective::Binary | Objective::Classes(_) => self.class_weights[label as usize],
        }
    }
}
