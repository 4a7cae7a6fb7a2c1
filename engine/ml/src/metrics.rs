//! How well scores match labels: exact metrics over slices, and a streaming estimate of the AUC.
//!
//! The exact ones are for a finished run and for tests. [`StreamingAuc`] is for the progress line,
//! where sorting everything seen so far once a second would cost more than the learning.
//!
//! `scores` are probabilities of the positive class ([`auc`] takes any finite numbers) and `labels`
//! say whether the row was positive. A metric is `None` where it has no value: no rows, slices of
//! different lengths, a score that is NaN or infinite, and for the AUC rows of one class only.

mod calibration;
mod confusion;
mod off_policy;
mod ranking;
mod regression;
mod streaming_auc;
#[cfg(test)]
mod tests;

pub use calibration::expected_calibration_error;
pub use confusion::Confusion;
pub use off_policy::{Mean, OffPolicyRow, OffPolicySums};
pub use ranking::{average_precision, ndcg};
pub use regression::RegressionSums;
pub use streaming_auc::{StreamingAuc, StreamingAucState};

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::ln;

use crate::model::THRESHOLD;

/// Keeps `log_loss` finite when a model is certain and wrong.
///
/// As scikit-learn does since 1.3.
const PROBABILITY_EPS: f64 = f64::EPSILON;

/// The area under the ROC curve: the share of (positive, negative) pairs that are ordered rightly,
/// where a tie counts one half. In `[0, 1]`; 0.5 is a guess.
///
/// Computed from mid-ranks, as the Mann-Whitney statistic (Hanley and McNeil 1982), in
/// `O(n log n)` time and `O(n)` space.
#[must_use]
pub fn auc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    if !is_defined(scores, labels) {
        return None;
    }
    // The bits of scores that are not negative, as probabilities are, lie in their order, and leave room for the label:
    // half the memory, and sorted in half the time.
    if scores.iter().all(|score| score.is_sign_positive()) {
        let keys = scores.iter().zip(labels).map(|(score, label)| score.to_bits() << 1 | u64::from(*label));
        let mut keys: Vec<u64> = keys.collect();
        keys.sort_unstable();
        return auc_of(&keys, |a, b| a >> 1 == b >> 1, |key| key & 1 == 1);
    }
    let mut rows: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // `==` and not `total_cmp` joins the ties: -0.0 and 0.0 are one score.
    auc_of(&rows, |a, b| a.0 == b.0, |row| row.1)
}

/// The area of rows by ascending score, given which have the same and which are positive.
fn auc_of<T>(rows: &[T], is_tied: impl Fn(&T, &T) -> bool, is_positive: impl Fn(&T) -> bool) -> Option<f64> {
    let mut counts = PairCounts::default();
    for tied in rows.chunk_by(is_tied) {
        let positive = tied.iter().filter(|row| is_positive(row)).count() as u64;
        counts.add_tied(tied.len() as u64 - positive, positive);
    }
    counts.auc()
}

/// The mean negative log-likelihood of the labels, in nats a row; 0 is perfect.
///
/// Scores are clipped to `[ε, 1 - ε]`, where ε is the distance from 1 to the next double, `2.2e-16`.
#[must_use]
pub fn log_loss(scores: &[f64], labels: &[bool]) -> Option<f64> {
    mean_over_rows(scores, labels, |score, label| {
        let clipped = score.clamp(PROBABILITY_EPS, 1.0 - PROBABILITY_EPS);
        if label { -clipped.ln() } else { -(-clipped).ln_1p() }
    })
}

/// The mean squared difference between the score and the label as 0 or 1, in `[0, 1]`; 0 is
/// perfect (Brier 1950).
#[must_use]
pub fn brier(scores: &[f64], labels: &[bool]) -> Option<f64> {
    mean_over_rows(scores, labels, |score, label| {
        let difference = score - f64::from(u8::from(label));
        difference * difference
    })
}

/// The share of rows whose label is the one that is predicted of the score, in `[0, 1]`.
#[must_use]
pub fn accuracy(scores: &[f64], labels: &[bool]) -> Option<f64> {
    mean_over_rows(scores, labels, |score, label| f64::from(u8::from((score >= THRESHOLD) == label)))
}

/// Counts pairs of one negative and one positive row, taking the rows by ascending score.
#[derive(Default)]
struct PairCounts {
    /// Negative rows taken so far.
    negative: u64,
    /// Positive rows taken so far.
    positive: u64,
    /// Twice the pairs ordered rightly, so that a tie is the integer 1 and nothing is rounded.
    right_twice: u128,
}

impl PairCounts {
    /// Takes the rows that share the next higher score.
    fn add_tied(&mut self, negative: u64, positive: u64) {
        let below = 2 * u128::from(self.negative) + u128::from(negative);
        self.right_twice += u128::from(positive) * below;
        self.negative += negative;
        self.positive += positive;
    }

    fn auc(&self) -> Option<f64> {
        let pairs = u128::from(self.negative) * u128::from(self.positive);
        (pairs > 0).then(|| self.right_twice as f64 / (2.0 * pairs as f64))
    }
}

/// How often the right one of several classes was named, and how surely.
#[derive(Debug, Clone, Copy, Default, Encode, Decode)]
pub(crate) struct ClassHits {
    rows: u64,
    right: u64,
    /// The sum of the negative log-likelihoods, in nats.
    loss: f64,
}

impl ClassHits {
    /// Counts a row of the class at `place`, given the probability of each class.
    pub(crate) fn add(&mut self, probabilities: &[f64], place: usize) {
        let own = probabilities[place];
        // Of classes as likely, the first is predicted.
        let is_right = probabilities[..place].iter().all(|other| *other < own)
            && probabilities[place..].iter().all(|other| *other <= own);
        self.count(own, is_right);
    }

    /// Counts a row, given the probability of its own class and whether that class is predicted.
    pub(crate) fn count(&mut self, probability: f64, is_right: bool) {
        self.count_rows(1, probability, is_right);
    }

    /// Counts so many rows of which the same is said.
    pub(crate) fn count_rows(&mut self, rows: u64, probability: f64, is_right: bool) {
        self.rows += rows;
        self.right += rows * u64::from(is_right);
        self.loss -= rows as f64 * ln(probability.clamp(PROBABILITY_EPS, 1.0));
    }

    /// The counts of all parts, in their order.
    pub(crate) fn sum(parts: &[Self]) -> Self {
        let add = |sum: Self, part: &Self| Self {
            rows: sum.rows + part.rows,
            right: sum.right + part.right,
            loss: sum.loss + part.loss,
        };
        parts.iter().fold(Self::default(), add)
    }

    /// As SQL's functions are called; none of no rows.
    pub(crate) fn metrics(&self) -> Vec<(String, f64)> {
        let rows = self.rows as f64;
        let named = [("log_loss", self.loss / rows), ("accuracy", self.right as f64 / rows)];
        named.into_iter().filter(|_| self.rows > 0).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn is_defined(scores: &[f64], labels: &[bool]) -> bool {
    !scores.is_empty() && scores.len() == labels.len() && scores.iter().all(|score| score.is_finite())
}

fn mean_over_rows(scores: &[f64], labels: &[bool], loss: impl Fn(f64, bool) -> f64) -> Option<f64> {
    if !is_defined(scores, labels) {
        return None;
    }
    let sum: f64 = scores.iter().zip(labels).map(|(&score, &label)| loss(score, label)).sum();
    Some(sum / scores.len() as f64)
}
