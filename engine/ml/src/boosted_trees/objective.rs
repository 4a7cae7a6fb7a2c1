//! What trees are to lower: the squared error of numbers, the log loss of two classes or of many.

use tidemill_compute::kernel::logistic::sigmoid;
use tidemill_compute::kernel::softmax::{ln, softmax_in_place};

use super::histogram::{Gradient, Units};
use crate::batch::parallel::{in_parallel, stretches};

/// The least probability that a model begins with.
const PROBABILITY_MIN: f64 = 1e-15;

/// Rows that a thread takes at a time.
const ROWS_A_PART: usize = 1 << 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objective {
    /// Half the squared error.
    Squares,
    /// Labels are 0 and 1, the score is the logarithm of the odds.
    Binary,
    /// Labels are the places of classes, of so many; each has a score, and probabilities are their softmax.
    Classes(usize),
}

/// The derivatives of all rows by one of the scores.
pub(super) struct Derivatives {
    pub(super) gradients: Vec<Gradient>,
    pub(super) units: Units,
}

impl Objective {
    /// Scores that a row has.
    pub(super) fn scores(self) -> usize {
        match self {
            Self::Squares | Self::Binary => 1,
            Self::Classes(count) => count,
        }
    }

    /// The scores that all rows begin with: the best ones without a tree.
    pub(super) fn first(self, labels: &[f64]) -> Vec<f64> {
        let rows = labels.len() as f64;
        let mean = labels.iter().sum::<f64>() / rows;
        match self {
            Self::Squares => vec![mean],
            Self::Binary => {
                let share = mean.clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN);
                vec![ln(share / (1.0 - share))]
            }
            Self::Classes(count) => {
                let mut shares = vec![0.0; count];
                labels.iter().for_each(|label| shares[*label as usize] += 1.0 / rows);
                shares.iter().map(|share| ln(share.max(PROBABILITY_MIN))).collect()
            }
        }
    }

    /// The derivatives by each score; `scores` has one after the other for all rows.
    pub(super) fn derivatives(self, scores: &[Vec<f64>], labels: &[f64], threads: usize) -> Vec<Derivatives> {
        let units = self.units(scores, labels);
        let starts: Vec<usize> = (0..labels.len()).step_by(ROWS_A_PART).collect();
        let stretches: Vec<&[usize]> = stretches(&starts, threads);
        let parts = in_parallel(&stretches, |starts| {
            let (Some(first), Some(last)) = (starts.first(), starts.last()) else { return Vec::new() };
            self.of_rows(*first..(last + ROWS_A_PART).min(labels.len()), scores, labels, units)
        });
        let all = |score: usize| parts.iter().flat_map(|part| part.get(score).into_iter().flatten().copied()).collect();
        (0..self.scores()).map(|score| Derivatives { gradients: all(score), units }).collect()
    }

    fn of_rows(
        self,
        rows: std::ops::Range<usize>,
        scores: &[Vec<f64>],
        labels: &[f64],
        units: Units,
    ) -> Vec<Vec<Gradient>> {
        let mut gradients = vec![Vec::with_capacity(rows.len()); self.scores()];
        let mut probabilities = vec![0.0; self.scores()];
        for row in rows {
            match self {
                Self::Squares => gradients[0].push(units.gradient(scores[0][row] - labels[row], 1.0)),
                Self::Binary => {
                    let probability = sigmoid(scores[0][row]);
                    gradients[0].push(units.gradient(probability - labels[row], probability * (1.0 - probability)));
                }
                Self::Classes(count) => {
                    probabilities.iter_mut().zip(scores).for_each(|(own, scores)| *own = scores[row]);
                    softmax_in_place(&mut probabilities);
                    let more = count as f64 / (count as f64 - 1.0);
                    for (class, (probability, gradients)) in probabilities.iter().zip(&mut gradients).enumerate() {
                        let label = f64::from(u8::from(labels[row] as usize == class));
                        gradients.push(units.gradient(probability - label, more * probability * (1.0 - probability)));
                    }
                }
            }
        }
        gradients
    }

    fn units(self, scores: &[Vec<f64>], labels: &[f64]) -> Units {
        match self {
            Self::Squares => {
                let errors = scores[0].iter().zip(labels).map(|(score, label)| (score - label).abs());
                Units::up_to(errors.fold(0.0, f64::max), 1.0)
            }
            Self::Binary => Units::up_to(1.0, 0.25),
            Self::Classes(count) => Units::up_to(1.0, 0.25 * count as f64 / (count as f64 - 1.0)),
        }
    }

    /// The probabilities of a row's scores, in place; numbers are left as they are.
    pub(super) fn probabilities(self, scores: &mut [f64]) {
        match self {
            Self::Squares => {}
            Self::Binary => scores[0] = sigmoid(scores[0]),
            Self::Classes(_) => drop(softmax_in_place(scores)),
        }
    }
}
