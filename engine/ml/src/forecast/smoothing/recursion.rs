//! How the states of exponential smoothing go from point to point.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::ln;

use super::{Error, Form, Season, Trend};

/// How much of an error each state takes, and what is left of a trend a point later.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(super) struct Parameters {
    /// `α`.
    pub(super) level: f64,
    /// `β`; 0 without a trend.
    pub(super) trend: f64,
    /// `γ`; 0 without a season.
    pub(super) season: f64,
    /// `φ`; 1 of a trend that is not damped.
    pub(super) damping: f64,
}

/// What is known of a series at a point.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct States {
    pub(super) level: f64,
    /// 0 without one.
    pub(super) trend: f64,
    /// The season of the next point, of the one after it, and so on; empty without one.
    pub(super) season: Vec<f64>,
}

/// What a pass over values finds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pass {
    /// What was expected of each value that is there.
    pub(super) fitted: Vec<f64>,
    /// The sum of the errors' squares.
    pub(super) squares: f64,
    /// The sum of the logarithms of what errors are parts of; 0 of additive errors.
    pub(super) log_scales: f64,
    pub(super) end: States,
}

impl States {
    /// The level with the trend of the next point.
    fn next_level(&self, parameters: &Parameters) -> f64 {
        self.level + parameters.damping * self.trend
    }
}

/// Passes over values, NaN where one is missing. Of multiplicative errors the squares are infinite where something is
/// expected that is not positive.
pub(super) fn pass(form: &Form, parameters: &Parameters, start: States, values: &[f64]) -> Pass {
    let mut states = start;
    let mut fitted = Vec::with_capacity(values.len());
    let (mut squares, mut log_scales) = (0.0, 0.0);
    let period = states.season.len();
    for (point, value) in values.iter().enumerate() {
        let place = if period > 0 { point % period } else { 0 };
        let season = states.season.get(place).copied();
        let level = states.next_level(parameters);
        let expected = combined(form, level, season);
        let mut error = 0.0;
        if !value.is_nan() {
            error = value - expected;
            fitted.push(expected);
            if form.error == Error::Multiplicative {
                if expected <= 0.0 {
                    squares = f64::INFINITY;
                }
                log_scales += ln(expected);
                squares += (error / expected) * (error / expected);
            } else {
                squares += error * error;
            }
        }
        // What is multiplied with a season gets the error in units of the level.
        let (of_level, of_season) = match (form.season, season) {
            (Season::Multiplicative, Some(season)) => (error / season, error / level),
            _ => (error, error),
        };
        states.level = level + parameters.level * of_level;
        if form.trend != Trend::None {
            states.trend = parameters.damping * states.trend + parameters.trend * of_level;
        }
        if let Some(season) = states.season.get_mut(place) {
            *season += parameters.season * of_season;
        }
    }
    if period > 0 {
        states.season.rotate_left(values.len() % period);
    }
    Pass { fitted, squares, log_scales, end: states }
}

/// A level and a season as a value.
fn combined(form: &Form, level: f64, season: Option<f64>) -> f64 {
    match (form.season, season) {
        (Season::Additive, Some(season)) => level + season,
        (Season::Multiplicative, Some(season)) => level * season,
        _ => level,
    }
}

/// What is expected of so many points.
pub(super) fn expected(form: &Form, parameters: &Parameters, end: &States, horizon: usize) -> Vec<f64> {
    let seasons = end.season.iter().copied().cycle();
    let levels = levels(parameters, end, horizon);
    if form.season == Season::None {
        return levels;
    }
    levels.into_iter().zip(seasons).map(|(level, season)| combined(form, level, Some(season))).collect()
}

/// What is expected of the level with the trend, without a season.
pub(super) fn levels(parameters: &Parameters, end: &States, horizon: usize) -> Vec<f64> {
    let (mut level, mut trend) = (end.level, end.trend);
    let next = |_| {
        trend *= parameters.damping;
        level += trend;
        level
    };
    (0..horizon).map(next).collect()
}
