//! The parameters of an ARIMA model of a given order that make a series most likely.
//!
//! The mean or drift and the variance are found at once for each process that is tried (generalised least squares by the
//! filter's innovations), so the search is over the coefficients alone, as free numbers.

use tidemill_compute::kernel::softmax::ln;

use super::filter::{Filter, Pass};
use super::process::{self, Process};
use super::start::start;
use super::{Arima, End, Order};
use crate::batch::FitControl;
use crate::error::Result;
use crate::forecast::batch::{Fit, Fitted};
use crate::forecast::search::search;
use crate::forecast::{NoForecast, SeriesModel};
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// A variance below this, of values whose own is about 1, is a perfect fit.
const VARIANCE_MIN: f64 = 1e-24;

/// A series as it is searched: moved and scaled, so that its numbers are of the size of 1.
pub(super) struct Scaled {
    values: Vec<f64>,
    /// What was taken off.
    origin: f64,
    /// What was divided by.
    scale: f64,
    /// Values that are there.
    pub(super) count: usize,
}

/// How likely a series is, and what follows from it.
struct Likelihood {
    pass: Pass,
    constant: f64,
    variance: f64,
    /// Of the values that do not set levels.
    count: usize,
    log_likelihood: f64,
}

impl Scaled {
    pub(super) fn new(values: &[f64]) -> Self {
        let there: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        let count = there.len();
        let mean = there.iter().sum::<f64>() / count.max(1) as f64;
        let squares: f64 = there.iter().map(|value| (value - mean) * (value - mean)).sum();
        let deviation = (squares / count.max(1) as f64).sqrt();
        // Of a constant the deviation is 0 or what rounding leaves.
        let scale = if deviation > 1e-14 * mean.abs() { deviation } else { 1.0 };
        let values = values.iter().map(|value| (value - mean) / scale).collect();
        Self { values, origin: mean, scale, count }
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// What is taken off the values before the search. Of a mean that is to be 0 nothing is: levels and constants
    /// take up whatever it is.
    fn shift(&self, order: &Order) -> f64 {
        if order.levels() == 0 && !order.constant { self.origin / self.scale } else { 0.0 }
    }

    fn likelihood(&self, order: &Order, process: &Process) -> Likelihood {
        let shift = self.shift(order);
        let moved: Vec<f64> =
            if shift == 0.0 { Vec::new() } else { self.values.iter().map(|value| value + shift).collect() };
        let values = if shift == 0.0 { &self.values } else { &moved };
        let is_drift = order.levels() > 0;
        let regressor = |point: usize| match (order.constant, is_drift) {
            (false, _) => 0.0,
            (true, false) => 1.0,
            (true, true) => point as f64,
        };
        let pass = Filter::new(process).pass(values, regressor);
        let counted = || pass.innovations.iter().filter(|of| of.variance > 0.0);
        let sum = |of: fn([f64; 2]) -> f64| counted().map(|one| of(one.errors) / one.variance).sum::<f64>();
        let squares = sum(|[_, of_regressor]| of_regressor * of_regressor);
        let constant =
            if squares > 0.0 { sum(|[of_value, of_regressor]| of_value * of_regressor) / squares } else { 0.0 };
        let count = counted().count();
        let left: f64 = counted().map(|one| (one.errors[0] - constant * one.errors[1]).powi(2) / one.variance).sum();
        let variance = left / count.max(1) as f64;
        let scaled = variance.max(VARIANCE_MIN) * self.scale * self.scale;
        let normal = ln(2.0 * std::f64::consts::PI) + 1.0 + ln(scaled);
        let log_likelihood = -0.5 * (count as f64 * normal + pass.log_variances);
        Likelihood { pass, constant, variance, count, log_likelihood }
    }
}

/// Fits a model of this order.
///
/// # Errors
/// `Stopped`.
pub(super) fn fit(series: &Scaled, order: Order, max_iterations: u64, control: &FitControl) -> Result<Fitted<Arima>> {
    // One more value than there are parameters, since a series that is fitted perfectly says nothing of its errors.
    if series.count < order.levels() + order.parameters() + 1 {
        return Ok(Err(NoForecast::TooShort { values: series.count as u32 }));
    }
    let loss = |free: &[f64]| {
        let process = Process::new(&order, &process::coefficients(&order, free));
        -series.likelihood(&order, &process).log_likelihood / series.count as f64
    };
    let mut best = vec![0.0; order.coefficients()];
    if !best.is_empty() {
        let guessed = start(&order, series.values());
        if loss(&guessed) < loss(&best) {
            best = guessed;
        }
    }
    let found = search(loss, best, max_iterations, control)?;
    let coefficients = process::coefficients(&order, &found.point);
    let process = Process::new(&order, &coefficients);
    let likelihood = series.likelihood(&order, &process);
    if likelihood.pass.unknown > 0 {
        return Ok(Err(NoForecast::TooShort { values: series.count as u32 }));
    }
    let fitted = fitted(series, &order, &likelihood);
    let model = model(series, order, coefficients, &process, &likelihood);
    if !model.is_plausible() {
        return Ok(Err(NoForecast::Diverged));
    }
    Ok(Ok(Fit { model, iterations: found.iterations, converged: found.converged, fitted }))
}

/// The model in the series' own unit.
fn model(series: &Scaled, order: Order, coefficients: Vec<f64>, process: &Process, likelihood: &Likelihood) -> Arima {
    let Likelihood { pass, constant, variance, count, log_likelihood } = likelihood;
    let [values, regressor] = &pass.states;
    let filter = Filter::new(process);
    let mut state: Vec<f64> =
        values.iter().zip(regressor).map(|(value, of)| (value - constant * of) * series.scale).collect();
    let (is_mean, is_level) = (order.constant && order.levels() == 0, order.levels() > 0);
    // What was taken off comes back as a part of the mean, or of each value that differences start from.
    if is_level {
        state.iter_mut().skip(process.short()).for_each(|level| *level += series.origin);
    }
    let origin = if is_mean { series.origin } else { 0.0 };
    Arima {
        order,
        coefficients,
        constant: constant * series.scale + origin,
        variance: if *variance > VARIANCE_MIN { variance * series.scale * series.scale } else { 0.0 },
        log_likelihood: *log_likelihood,
        values: *count as u32,
        points: series.values.len() as u32,
        end: End { state, covariance: filter.triangle(&pass.covariance) },
    }
}

/// What was expected of each value that is there; NaN of those that set levels.
fn fitted(series: &Scaled, order: &Order, likelihood: &Likelihood) -> Vec<f64> {
    let shift = series.shift(order);
    let values = series.values.iter().filter(|value| !value.is_nan());
    let expected = values.zip(&likelihood.pass.innovations).map(|(value, innovation)| {
        let error = innovation.errors[0] - likelihood.constant * innovation.errors[1];
        let said = value + shift - error;
        // The origin is in the shift already where there is one.
        let origin = if shift == 0.0 { series.origin } else { 0.0 };
        if innovation.variance > 0.0 { said * series.scale + origin } else { f64::NAN }
    });
    expected.collect()
}

/// Whether a fit is worth comparing with others: its likelihood is a number.
pub(super) fn is_comparable(model: &Arima) -> bool {
    model.log_likelihood.abs() <= STATE_MAGNITUDE_MAX
}
