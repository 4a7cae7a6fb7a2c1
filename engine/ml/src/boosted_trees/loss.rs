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
    /// The scores that all rows begin with: the best ones of the rows learnt, without a tree.
    pub(super) fn first(&self, learnt: &[u32]) -> Vec<f64> {
        let labels = learnt.iter().map(|row| self.labels[*row as usize]);
        match self.objective {
            Objective::Squares => vec![labels.sum::<f64>() / learnt.len() as f64],
            Objective::Binary => {
                let share = self.shares(labels)[1].clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN);
                vec![ln(share / (1.0 - share))]
            }
            Objective::Classes(_) => self.shares(labels).iter().map(|share| ln(share.max(PROBABILITY_MIN))).collect(),
        }
    }

    /// The share of each class in the weight of all of these rows.
    fn shares(&self, labels: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut rows = vec![0_u64; self.class_weights.len()];
        labels.for_each(|label| rows[label as usize] += 1);
        let weights: Vec<f64> =
            self.class_weights.iter().zip(&rows).map(|(weight, rows)| weight * *rows as f64).collect();
        let all: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / all).collect()
    }

    /// The derivatives by each score, right for the rows learnt; `scores` has one after the other for all rows.
    pub(super) fn derivatives(&self, scores: &[Vec<f64>], learnt: &[u32], threads: usize) -> Vec<Derivatives> {
        let (units, rows) = (self.units(scores, learnt), self.labels.len());
        let parts: Vec<Range<usize>> =
            (0..rows).step_by(ROWS_A_PART).map(|start| start..(start + ROWS_A_PART).min(rows)).collect();
        let parts = in_parallel(&stretches(&parts, threads), |parts| {
            let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Vec::new() };
            self.of_rows(first.start..last.end, scores, units)
        });
        let all = |score: usize| parts.iter().flat_map(|part| part.get(score).into_iter().flatten().copied()).collect();
        (0..self.objective.scores()).map(|score| Derivatives { gradients: all(score), units }).collect()
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

    fn units(&self, scores: &[Vec<f64>], learnt: &[u32]) -> Units {
        let weight = self.class_weights.iter().copied().fold(0.0, f64::max);
        match self.objective {
            Objective::Squares => {
                let error = |row: &u32| (scores[0][*row as usize] - self.labels[*row as usize]).abs();
                Units::up_to(learnt.iter().map(error).fold(0.0, f64::max), 1.0)
            }
            Objective::Binary => Units::up_to(weight, 0.25 * weight),
            Objective::Classes(count) => Units::up_to(weight, 0.25 * weight * count as f64 / (count as f64 - 1.0)),
        }
    }

    /// The mean loss of some rows, by what they weigh.
    pub(super) fn mean(&self, scores: &[Vec<f64>], rows: &[u32], threads: usize) -> f64 {
        let parts: Vec<&[u32]> = rows.chunks(ROWS_A_PART).collect();
        let sums = in_parallel(&stretches(&parts, threads), |parts| {
            parts.iter().map(|rows| self.sum(scores, rows)).collect::<Vec<_>>()
        });
        let sums = sums.into_iter().flatten();
        let (losses, weights) = sums.fold((0.0, 0.0), |all, part| (all.0 + part.0, all.1 + part.1));
        losses / weights
    }

    /// The losses and the weights of some rows.
    fn sum(&self, scores: &[Vec<f64>], rows: &[u32]) -> (f64, f64) {
        let (mut losses, mut weights) = (0.0, 0.0);
        let mut row_scores = vec![0.0; scores.len()];
        for row in rows {
            row_scores.iter_mut().zip(scores).for_each(|(own, scores)| *own = scores[*row as usize]);
            let label = self.labels[*row as usize];
            let weight = self.weight(label);
            losses += weight * self.objective.loss(&mut row_scores, label);
            weights += weight;
        }
        (losses, weights)
    }

    fn weight(&self, label: f64) -> f64 {
        match self.objective {
            Objective::Squares => 1.0,
            Objective::Binary | Objective::Classes(_) => self.class_weights[label as usize],
        }
    }
}
