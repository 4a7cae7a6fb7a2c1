//! What trees are to lower: where scores begin, the derivatives of the loss, and its mean.

use tidemill_compute::kernel::logistic::sigmoid;
use tidemill_compute::kernel::softmax::{ln, softmax_in_place};

use super::division::Division;
use super::histogram::{Gradient, Units};
use super::objective::{Objective, PROBABILITY_MIN};
use super::ranking::GroupLoss;
use crate::batch::FitControl;
use crate::batch::parallel::{in_parallel, owned_in_parallel, stretches, stretches_mut, worthwhile};
use crate::error::Result;

/// Rows that a thread takes at a time; sums over so many are added in their order.
const ROWS_A_PART: usize = 1 << 14;

/// What the loss or the derivatives by a score of a row take.
const NANOSECONDS_A_SCORE: usize = 15;

/// What is to be lowered, by the scores of all rows, of which each has one or, for each of several classes, one.
pub(super) enum Loss {
    /// Each row's, by its own scores.
    OfRows(RowLoss),
    /// Each group's, by the order of its rows.
    OfGroups(GroupLoss),
}

impl Loss {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::OfRows(loss) => loss.labels.len(),
            Self::OfGroups(loss) => loss.rows(),
        }
    }

    /// The scores that all rows begin with: the best ones of the rows learnt, without a tree.
    pub(super) fn first(&self, learnt: &[u32]) -> Vec<f64> {
        match self {
            Self::OfRows(loss) => loss.first(learnt),
            // What all have changes no order.
            Self::OfGroups(_) => vec![0.0],
        }
    }

    /// Takes the derivatives by each score, right for the rows learnt that are this process' own; `scores` has one after
    /// the other for all rows.
    ///
    /// # Errors
    /// Those of [`Division::largest`].
    pub(super) fn derive(
        &self,
        scores: &[Vec<f64>],
        learnt: &[u32],
        (control, division): (&FitControl, &Division<'_>),
        all: &mut [Derivatives],
    ) -> Result<()> {
        match self {
            Self::OfRows(loss) => loss.derive(scores, learnt, (control.threads.get(), division), all),
            Self::OfGroups(loss) => {
                for (scores, derivatives) in scores.iter().zip(all) {
                    loss.derive(scores, learnt, control, derivatives);
                }
                Ok(())
            }
        }
    }

    /// Whether the derivatives of a row depend on the scores of others.
    pub(super) fn is_of_groups(&self) -> bool {
        matches!(self, Self::OfGroups(_))
    }

    /// The mean loss of some rows, by what they weigh; of groups, by how much their NDCG is less than 1.
    pub(super) fn mean(&self, scores: &[Vec<f64>], rows: &[u32], threads: usize) -> f64 {
        match self {
            Self::OfRows(loss) => loss.mean(scores, rows, threads),
            Self::OfGroups(loss) => 1.0 - loss.ndcg(&scores[0], rows, threads).unwrap_or(f64::NAN),
        }
    }
}

/// The labels of all rows, and what is to be lowered.
pub(super) struct RowLoss {
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

impl Derivatives {
    /// Of so many rows, none taken yet.
    pub(super) fn of_rows(rows: usize) -> Self {
        Self { gradients: vec![[0; 2]; rows], units: Units::up_to(0.0, 0.0) }
    }
}

impl RowLoss {
    /// Those of [`Loss::first`].
    fn first(&self, learnt: &[u32]) -> Vec<f64> {
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

    /// Takes those of [`Loss::derive`].
    fn derive(
        &self,
        scores: &[Vec<f64>],
        learnt: &[u32],
        (threads, division): (usize, &Division<'_>),
        all: &mut [Derivatives],
    ) -> Result<()> {
        let own = division.rows.clone();
        let threads = worthwhile(threads, own.len() * scores.len() * NANOSECONDS_A_SCORE);
        let units = self.units(scores, learnt, threads, division)?;
        all.iter_mut().for_each(|of_score| of_score.units = units);
        let mut stretches: Vec<_> =
            all.iter_mut().map(|of_score| stretches_mut(&mut of_score.gradients[own.clone()], threads)).collect();
        let mut start = own.start;
        // Of each score the next stretch, as long as there is one.
        let parts = std::iter::from_fn(|| {
            let part: Vec<&mut [Gradient]> = stretches.iter_mut().filter_map(Iterator::next).collect();
            let first = start;
            start += part.first()?.len();
            Some((first, part))
        });
        owned_in_parallel(parts, |(start, mut part)| self.derive_part(start, scores, units, &mut part));
        Ok(())
    }

    /// Those of the rows from `start` on.
    fn derive_part(&self, start: usize, scores: &[Vec<f64>], units: Units, gradients: &mut [&mut [Gradient]]) {
        let labels = &self.labels[start..];
        match self.objective {
            Objective::Squares => {
                for ((gradient, score), label) in gradients[0].iter_mut().zip(&scores[0][start..]).zip(labels) {
                    *gradient = units.gradient(score - label, 1.0);
                }
            }
            Objective::Binary => {
                for ((gradient, score), label) in gradients[0].iter_mut().zip(&scores[0][start..]).zip(labels) {
                    let (probability, weight) = (sigmoid(*score), self.class_weights[*label as usize]);
                    let second = probability * (1.0 - probability);
                    *gradient = units.gradient(weight * (probability - label), weight * second);
                }
            }
            Objective::Classes(count) => {
                let mut probabilities = vec![0.0; count];
                for (place, label) in labels.iter().enumerate().take(gradients[0].len()) {
                    probabilities.iter_mut().zip(scores).for_each(|(own, scores)| *own = scores[start + place]);
                    softmax_in_place(&mut probabilities);
                    let weight = self.class_weights[*label as usize];
                    let more = weight * count as f64 / (count as f64 - 1.0);
                    for (class, (probability, gradients)) in probabilities.iter().zip(&mut *gradients).enumerate() {
                        let error = probability - f64::from(u8::from(*label as usize == class));
                        gradients[place] = units.gradient(weight * error, more * probability * (1.0 - probability));
                    }
                }
            }
        }
    }

    fn units(&self, scores: &[Vec<f64>], learnt: &[u32], threads: usize, division: &Division<'_>) -> Result<Units> {
        let weight = self.class_weights.iter().copied().fold(0.0, f64::max);
        Ok(match self.objective {
            Objective::Squares => {
                let error = |row: &u32| (scores[0][*row as usize] - self.labels[*row as usize]).abs();
                let largest = |rows: &&[u32]| rows.iter().map(error).fold(0.0, f64::max);
                let largest = in_parallel(&stretches(division.own(learnt), threads), largest);
                Units::up_to(division.largest(largest.into_iter().fold(0.0, f64::max))?, 1.0)
            }
            Objective::Binary => Units::up_to(weight, 0.25 * weight),
            Objective::Classes(count) => Units::up_to(weight, 0.25 * weight * count as f64 / (count as f64 - 1.0)),
        })
    }

    /// That of [`Loss::mean`].
    fn mean(&self, scores: &[Vec<f64>], rows: &[u32], threads: usize) -> f64 {
        let threads = worthwhile(threads, rows.len() * scores.len() * NANOSECONDS_A_SCORE);
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
