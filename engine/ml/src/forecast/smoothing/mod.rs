//! Exponential smoothing: a level, a trend and a season that each move a part of the way to every new value.
//!
//! The state space form of Hyndman, Koehler, Ord and Snyder (2008): with the level `l`, the trend `b` and the season `s`
//! of the point before, a value is `l + φ b + s` or `(l + φ b) s`, plus an error, or times one plus an error; the error
//! moves the level by `α`, the trend by `β` and the season by `γ` of it. A trend may be damped by `φ`. What is maximised is the
//! likelihood of normal errors, over these and where the states begin. A missing value counts as what was expected.
//! Errors of a multiplicative season are multiplicative, too: others have infinite variances.

pub(crate) mod config;
mod fit;
mod recursion;
mod start;
#[cfg(test)]
mod tests;
mod variance;

use std::fmt;

use bincode::{Decode, Encode};

use self::recursion::{Parameters, States};
use super::{Expected, SeriesModel, Summary, aicc};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// What a model is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Form {
    pub(crate) error: Error,
    pub(crate) trend: Trend,
    pub(crate) season: Season,
    /// Points of a season; 1 without one.
    pub(crate) period: u16,
}

/// How an error and what is expected make a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Error {
    Additive,
    /// The error is a part of what is expected.
    Multiplicative,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Trend {
    None,
    Additive,
    /// It goes on ever more slowly.
    Damped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Season {
    None,
    Additive,
    /// The level is multiplied with it.
    Multiplicative,
}

impl Form {
    /// Numbers that a search is over: how much each state moves, the damping, and where states begin. Seasons have a
    /// mean, so the last begins where the others leave it.
    fn free(&self) -> usize {
        let trend = match self.trend {
            Trend::None => 0,
            Trend::Additive => 2,
            Trend::Damped => 3,
        };
        let season = if self.season == Season::None { 0 } else { usize::from(self.period) };
        2 + trend + season
    }

    /// All parameters, the variance included.
    fn parameters(&self) -> usize {
        self.free() + 1
    }

    /// Whether all values must be positive.
    fn is_multiplicative(&self) -> bool {
        self.error == Error::Multiplicative || self.season == Season::Multiplicative
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = if self.error == Error::Additive { "A" } else { "M" };
        let trend = match self.trend {
            Trend::None => "N",
            Trend::Additive => "A",
            Trend::Damped => "Ad",
        };
        let season = match self.season {
            Season::None => "N",
            Season::Additive => "A",
            Season::Multiplicative => "M",
        };
        write!(f, "ETS({error},{trend},{season})")?;
        if self.season == Season::None { Ok(()) } else { write!(f, "[{}]", self.period) }
    }
}

/// A fitted model of one series.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Smoothing {
    form: Form,
    parameters: Parameters,
    /// The states behind the last point.
    end: States,
    /// Of the errors; of multiplicative ones as parts of what is expected.
    variance: f64,
    log_likelihood: f64,
    /// Values that it was fitted to.
    values: u32,
}

impl SeriesModel for Smoothing {
    const MODEL_TYPE: &'static str = "exponential_smoothing";
    const SNAPSHOT_TAG: u8 = 51;

    fn forecast(&self, horizon: usize) -> Vec<Expected> {
        let variances = variance::variances(self, horizon);
        let values = recursion::expected(&self.form, &self.parameters, &self.end, horizon);
        let expected = |(value, variance): (f64, f64)| Expected { value, standard_error: variance.max(0.0).sqrt() };
        values.into_iter().zip(variances).map(expected).collect()
    }

    fn is_plausible(&self) -> bool {
        let is_number = |number: &f64| number.abs() <= STATE_MAGNITUDE_MAX;
        let Parameters { level, trend, season, damping } = self.parameters;
        let points = if self.form.season == Season::None { 0 } else { usize::from(self.form.period) };
        [level, trend, season, damping].iter().all(|part| (0.0..=1.0).contains(part))
            && (1..=config::PERIOD_MAX).contains(&self.form.period)
            && self.end.season.len() == points
            && self.end.season.iter().chain([&self.end.level, &self.end.trend, &self.log_likelihood]).all(is_number)
            && (0.0..=STATE_MAGNITUDE_MAX).contains(&self.variance)
    }

    fn summary(&self) -> Summary {
        Summary {
            name: self.form.to_string(),
            log_likelihood: self.log_likelihood,
            aicc: aicc(self.log_likelihood, self.form.parameters(), self.values as usize),
            variance: self.variance,
        }
    }
}
