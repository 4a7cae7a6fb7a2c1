//! What trees are to lower: the squared error of numbers, the log loss of two classes or of many.

use tidemill_compute::kernel::logistic::{log1p_exp, sigmoid};
use tidemill_compute::kernel::softmax::{ln, softmax_in_place};

/// The least probability that a model begins with, or that a loss is taken of.
pub(super) const PROBABILITY_MIN: f64 = 1e-15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objective {
    /// Half the squared error.
    Squares,
    /// Labels are 0 and 1, the score is the logarithm of the odds.
    Binary,
    /// Labels are the places of classes, of so many; each has a score, and probabilities are their softmax.
    Classes(usize),
}

impl Objective {
    /// Scores that a row has.
    pub(super) fn scores(self) -> usize {
        match self {
            Self::Squares | Self::Binary => 1,
            Self::Classes(count) => count,
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

    /// The loss of a row with this label; its scores are changed.
    pub(super) fn loss(self, scores: &mut [f64], label: f64) -> f64 {
        match self {
            Self::Squares => (label - scores[0]) * (label - scores[0]) / 2.0,
            Self::Binary => log1p_exp(if label > 0.5 { -scores[0] } else { scores[0] }),
            Self::Classes(_) => {
                self.probabilities(scores);
                -ln(scores[label as usize].clamp(PROBABILITY_MIN, 1.0))
            }
        }
    }
}
