//! The parameters and first states of exponential smoothing that make a series most likely.

use tidemill_compute::kernel::softmax::ln;

use super::recursion::{Parameters, Pass, States, pass};
use super::start::start;
use super::{Error, Form, Season, Smoothing, Trend};
use crate::batch::FitControl;
use crate::error::Result;
use crate::forecast::batch::{Fit, Fitted};
use crate::forecast::search::search;
use crate::forecast::{NoForecast, SeriesModel};

/// How far `α` and the others stay away from where they would stop to mean anything, as in statsmodels.
const MARGIN: f64 = 1e-4;

/// What is left of a damped trend a point later, at least and at most: beyond, it is none, or not damped.
const DAMPING: [f64; 2] = [0.8, 0.98];

/// Seasons of more points begin as they are guessed: a search for each is not worth its time, nor are there the values.
const SEARCHED_SEASON_MAX: u16 = 24;

/// What a search starts with: a level that moves with errors, a trend and a season that hardly do.
const FIRST: [f64; 4] = [0.3, 0.1, 0.1, 0.9];

/// A part of the size of values that is a perfect fit.
const ERROR_MIN: f64 = 1e-12;

/// What free numbers stand for.
struct Search<'a> {
    form: Form,
    values: &'a [f64],
    count: usize,
    /// States as they are guessed.
    guess: States,
    /// What a free number of 1 adds to the guess of the level, the trend and the season: about an error.
    units: [f64; 3],
    /// The smallest mean square that counts.
    squares_min: f64,
}

impl<'a> Search<'a> {
    fn new(form: Form, values: &'a [f64], count: usize) -> Self {
        let guess = start(&form, values);
        let largest =
            values.iter().filter(|value| !value.is_nan()).fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let error_min = ERROR_MIN * if largest > 0.0 { largest } else { 1.0 };
        let squares_min = if form.error == Error::Additive { error_min * error_min } else { ERROR_MIN * ERROR_MIN };
        let mut search = Self { form, values, count, guess, units: [1.0; 3], squares_min };
        let pass = search.pass(&search.first());
        let there = values.iter().filter(|value| !value.is_nan());
        let squares: f64 = there.zip(&pass.fitted).map(|(value, said)| (value - said) * (value - said)).sum();
        let error = (squares / count.max(1) as f64).sqrt();
        let error = if error.is_finite() { error.max(error_min) } else { largest.max(error_min) };
        let level = search.guess.level.abs();
        let of_season = if form.season == Season::Multiplicative && level > 0.0 { error / level } else { error };
        // A trend is a small part of an error, as it adds up.
        search.units = [error, 0.1 * error, of_season];
        search
    }

    /// Free numbers of [`FIRST`] and the guess.
    fn first(&self) -> Vec<f64> {
        let [level, trend, season, damping] = FIRST;
        let mut free = vec![inverse_part((level - MARGIN) / (1.0 - 2.0 * MARGIN))];
        if self.form.trend != Trend::None {
            free.push(inverse_part(trend / level));
        }
        if self.form.season != Season::None {
            free.push(inverse_part(season / (1.0 - level)));
        }
        if self.form.trend == Trend::Damped {
            free.push(inverse_part((damping - DAMPING[0]) / (DAMPING[1] - DAMPING[0])));
        }
        free.push(0.0);
        if self.form.trend != Trend::None {
            free.push(0.0);
        }
        if self.is_season_searched() {
            free.resize(free.len() + usize::from(self.form.period) - 1, 0.0);
        }
        free
    }

    fn is_season_searched(&self) -> bool {
        self.form.season != Season::None && self.form.period <= SEARCHED_SEASON_MAX
    }

    /// The usual region: the trend moves by less than the level, and the season by less than what the level leaves.
    fn decoded(&self, free: &[f64]) -> (Parameters, States) {
        let mut rest = free.iter().copied();
        let mut next = || rest.next().unwrap_or(0.0);
        let level = MARGIN + (1.0 - 2.0 * MARGIN) * part(next());
        let has_trend = self.form.trend != Trend::None;
        let trend = if has_trend { level * part(next()) } else { 0.0 };
        let season = if self.form.season == Season::None { 0.0 } else { (1.0 - level) * part(next()) };
        let is_damped = self.form.trend == Trend::Damped;
        let damping = if is_damped { DAMPING[0] + (DAMPING[1] - DAMPING[0]) * part(next()) } else { 1.0 };
        let mut states = self.guess.clone();
        states.level += self.units[0] * next();
        states.trend += if has_trend { self.units[1] * next() } else { 0.0 };
        if self.is_season_searched()
            && let Some((last, others)) = states.season.split_last_mut()
        {
            for season in others {
                let change = self.units[2] * next();
                *season += change;
                *last -= change;
            }
        }
        (Parameters { level, trend, season, damping }, states)
    }

    fn pass(&self, free: &[f64]) -> Pass {
        let (parameters, states) = self.decoded(free);
        pass(&self.form, &parameters, states, self.values)
    }

    fn log_likelihood(&self, pass: &Pass) -> f64 {
        let count = self.count as f64;
        let square = (pass.squares / count).max(self.squares_min);
        -0.5 * count * (ln(2.0 * std::f64::consts::PI * square) + 1.0) - pass.log_scales
    }
}

/// Any number as a part from 0 to 1. It reaches both, at -1 and at 1, where a search can stay since it is flat there:
/// many series are most likely with a season or a trend that never moves.
fn part(x: f64) -> f64 {
    (1.0 + x) * (1.0 + x) / (2.0 * (1.0 + x * x))
}

fn inverse_part(part: f64) -> f64 {
    let twice = 2.0 * part - 1.0;
    if twice == 0.0 { 0.0 } else { (1.0 - (1.0 - twice * twice).max(0.0).sqrt()) / twice }
}

/// Fits a model of this form.
///
/// # Errors
/// `Stopped`.
pub(super) fn fit(form: Form, values: &[f64], max_iterations: u64, control: &FitControl) -> Result<Fitted<Smoothing>> {
    let there = || values.iter().filter(|value| !value.is_nan());
    let count = there().count();
    let seasons = if form.season == Season::None { 0 } else { 2 * usize::from(form.period) };
    if count < form.parameters().max(seasons) + 1 {
        return Ok(Err(NoForecast::TooShort { values: count as u32 }));
    }
    if form.is_multiplicative() && there().any(|value| *value <= 0.0) {
        return Ok(Err(NoForecast::NotPositive));
    }
    let series = Search::new(form, values, count);
    let loss = |free: &[f64]| -series.log_likelihood(&series.pass(free)) / count as f64;
    let found = search(loss, series.first(), max_iterations, control)?;
    let pass = series.pass(&found.point);
    let (parameters, _) = series.decoded(&found.point);
    let square = pass.squares / count as f64;
    let model = Smoothing {
        form,
        parameters,
        log_likelihood: series.log_likelihood(&pass),
        end: pass.end,
        variance: if square > series.squares_min { square } else { 0.0 },
        values: count as u32,
    };
    if !model.is_plausible() {
        return Ok(Err(NoForecast::Diverged));
    }
    Ok(Ok(Fit { model, iterations: found.iterations, converged: found.converged, fitted: pass.fitted }))
}
