//! The Kalman filter of an ARIMA process: how likely values are, and what comes next.
//!
//! Harvey's state (1989): first `w`, what the values leave once differences are taken, with what earlier points add to
//! later ones; then the values of the points before, from which differences go up again. Nothing is known of those at
//! first: their variance is infinite, and the filter carries the infinite part of the covariance apart until as many
//! values have been seen (exactly: Koopman 1997; Durbin and Koopman 2012, section 5.2). The likelihood does not count
//! the values that set the levels. Errors have the variance 1 here; theirs is found afterwards.

use tidemill_compute::kernel::dense::{add_scaled, dot};
use tidemill_compute::kernel::softmax::ln;

use super::process::Process;

/// A variance that is this small, of one that began as 1, is none.
const NONE: f64 = 1e-9;

/// A covariance of which no number changes by more any more will not change at all.
const SETTLED: f64 = 1e-13;

/// The process in the filter's form.
pub(super) struct Filter<'a> {
    process: &'a Process,
    /// Numbers of the state.
    width: usize,
    /// Those of them about `w`.
    short: usize,
    /// What a value is, times the state.
    seen: Vec<f64>,
    /// What an error adds to the state.
    errors: Vec<f64>,
}

/// What a pass over values finds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pass {
    /// For each value that is there: how far it was from what was expected, the same for each regressor, and the
    /// variance of that; 0 where it set a level.
    pub(super) innovations: Vec<Innovation>,
    /// The sum of the variances' logarithms.
    pub(super) log_variances: f64,
    /// Levels that no value has set.
    pub(super) unknown: usize,
    /// The state expected behind the last point, of the values and of the regressor.
    pub(super) states: [Vec<f64>; 2],
    /// Its covariance, row by row.
    pub(super) covariance: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Innovation {
    pub(super) errors: [f64; 2],
    pub(super) variance: f64,
}

/// A covariance as the filter goes on, and its infinite part while there is one.
struct Covariance {
    finite: Vec<f64>,
    infinite: Vec<f64>,
    /// Levels that are not known.
    unknown: usize,
    /// Whether a step before changed nothing.
    is_settled: bool,
}

impl<'a> Filter<'a> {
    pub(super) fn new(process: &'a Process) -> Self {
        let (short, width) = (process.short(), process.width());
        let mut seen = vec![0.0; width];
        seen[0] = 1.0;
        seen[short..].copy_from_slice(&process.levels);
        let mut errors = vec![0.0; width];
        errors[0] = 1.0;
        errors[1..=process.ma.len()].copy_from_slice(&process.ma);
        Self { process, width, short, seen, errors }
    }

    /// Passes over values, NaN where one is missing, and a regressor beside them.
    pub(super) fn pass(&self, values: &[f64], regressor: impl Fn(usize) -> f64) -> Pass {
        let width = self.width;
        let mut covariance = self.first();
        let mut predicted = vec![0.0; width * width];
        let mut states = [vec![0.0; width], vec![0.0; width]];
        let mut innovations = Vec::with_capacity(values.len());
        let mut log_variances = 0.0;
        let (mut gain, mut scratch) = (vec![0.0; width], vec![0.0; width]);
        let mut variance = 1.0;
        for (point, value) in values.iter().enumerate() {
            let is_missing = value.is_nan();
            if !covariance.is_settled {
                predicted.copy_from_slice(&covariance.finite);
            }
            if is_missing {
                covariance.is_settled = false;
            } else {
                let both = [*value, regressor(point)];
                let errors = [0, 1].map(|of| both[of] - dot(&self.seen, &states[of]));
                // A covariance that has settled leaves the gain as it was.
                if covariance.is_settled {
                    log_variances += ln(variance);
                } else {
                    variance = self.update(&mut covariance, &mut gain, &mut log_variances);
                }
                states.iter_mut().zip(errors).for_each(|(state, error)| add_scaled(state, error, &gain));
                innovations.push(Innovation { errors, variance });
            }
            states.iter_mut().for_each(|state| self.advance(state, &mut scratch));
            if !covariance.is_settled {
                self.advance_covariance(&mut covariance, &mut scratch);
                // Where nothing was seen, or a level set, the next gain is another one.
                let is_usual = !is_missing && variance > 0.0 && covariance.unknown == 0;
                let is_close = |(one, other): (&f64, &f64)| (one - other).abs() <= SETTLED;
                covariance.is_settled = is_usual && predicted.iter().zip(&covariance.finite).all(is_close);
            }
        }
        Pass { innovations, log_variances, unknown: covariance.unknown, states, covariance: covariance.finite }
    }

    /// What is known before the first point.
    fn first(&self) -> Covariance {
        let width = self.width;
        let mut finite = vec![0.0; width * width];
        for (row, covariances) in self.process.stationary().chunks_exact(self.short).enumerate() {
            finite[row * width..][..self.short].copy_from_slice(covariances);
        }
        let unknown = self.process.levels.len();
        let mut infinite = if unknown > 0 { vec![0.0; width * width] } else { Vec::new() };
        if unknown > 0 {
            (self.short..width).for_each(|level| infinite[level * width + level] = 1.0);
        }
        Covariance { finite, infinite, unknown, is_settled: false }
    }

    /// Takes a value into the covariance; returns the variance of its innovation, 0 where it sets a level, and leaves
    /// in `gain` what the state gets of the innovation.
    fn update(&self, covariance: &mut Covariance, gain: &mut [f64], log_variances: &mut f64) -> f64 {
        let width = self.width;
        let times_seen =
            |matrix: &[f64]| -> Vec<f64> { matrix.chunks_exact(width).map(|row| dot(row, &self.seen)).collect() };
        let finite = times_seen(&covariance.finite);
        let variance = dot(&finite, &self.seen);
        if covariance.unknown > 0 {
            let infinite = times_seen(&covariance.infinite);
            let unknown = dot(&infinite, &self.seen);
            if unknown > NONE {
                gain.iter_mut().zip(&infinite).for_each(|(gain, of)| *gain = of / unknown);
                for row in 0..width {
                    let finite_row = &mut covariance.finite[row * width..][..width];
                    add_scaled(finite_row, gain[row] * variance - finite[row], gain);
                    add_scaled(finite_row, -gain[row], &finite);
                    add_scaled(&mut covariance.infinite[row * width..][..width], -infinite[row], gain);
                }
                covariance.unknown -= 1;
                *log_variances += ln(unknown);
                return 0.0;
            }
        }
        gain.iter_mut().zip(&finite).for_each(|(gain, of)| *gain = of / variance);
        let rows = covariance.finite.chunks_exact_mut(width).zip(&finite);
        rows.for_each(|(row, of)| add_scaled(row, -of, gain));
        *log_variances += ln(variance);
        variance
    }

    /// The state a point later.
    fn advance(&self, state: &mut [f64], scratch: &mut [f64]) {
        let value = dot(&self.seen, state);
        let first = state[0];
        let (short, levels) = state.split_at(self.short);
        scratch[..self.short - 1].copy_from_slice(&short[1..]);
        scratch[self.short - 1] = 0.0;
        add_scaled(&mut scratch[..self.process.ar.len()], first, &self.process.ar);
        if let Some((newest, earlier)) = scratch[self.short..].split_first_mut() {
            *newest = value;
            earlier.copy_from_slice(&levels[..levels.len() - 1]);
        }
        state.copy_from_slice(scratch);
    }

    /// `T P Tᵀ + R Rᵀ`: both sides of a symmetric matrix advance as states do.
    fn advance_covariance(&self, covariance: &mut Covariance, scratch: &mut [f64]) {
        let width = self.width;
        let mut next = self.advance_both(&covariance.finite, scratch);
        for row in 0..width {
            add_scaled(&mut next[row * width..][..width], self.errors[row], &self.errors);
        }
        if covariance.unknown > 0 {
            covariance.infinite = self.advance_both(&covariance.infinite, scratch);
        }
        covariance.finite = next;
    }

    fn advance_both(&self, matrix: &[f64], scratch: &mut [f64]) -> Vec<f64> {
        let width = self.width;
        let mut rows = matrix.to_vec();
        rows.chunks_exact_mut(width).for_each(|row| self.advance(row, scratch));
        let mut advanced = vec![0.0; width * width];
        let row = |of: usize| &rows[of * width..][..width];
        let (short, ar) = (self.short, &self.process.ar);
        for place in 0..short {
            let target = &mut advanced[place * width..][..width];
            if place + 1 < short {
                target.copy_from_slice(row(place + 1));
            }
            if let Some(coefficient) = ar.get(place).filter(|coefficient| **coefficient != 0.0) {
                add_scaled(target, *coefficient, row(0));
            }
        }
        for place in short..width {
            let target = &mut advanced[place * width..][..width];
            if place > short {
                target.copy_from_slice(row(place - 1));
                continue;
            }
            for (of, weight) in self.seen.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                add_scaled(target, *weight, row(of));
            }
        }
        advanced
    }

    /// The mean and the variance of so many points, given the state expected at the first and the lower triangle of its
    /// covariance, which is empty where only the first point's error is unknown.
    pub(super) fn forecast(&self, state: &[f64], triangle: &[f64], horizon: usize) -> Vec<(f64, f64)> {
        let (mut state, mut scratch) = (state.to_vec(), vec![0.0; self.width]);
        let mut covariance = Covariance {
            finite: square(triangle, self.width),
            infinite: Vec::new(),
            unknown: 0,
            is_settled: triangle.is_empty(),
        };
        let mut error = self.errors.clone();
        let mut known = 0.0;
        let mut moments = Vec::with_capacity(horizon);
        for _ in 0..horizon {
            let value = dot(&self.seen, &state);
            self.advance(&mut state, &mut scratch);
            if covariance.is_settled {
                let of_error = dot(&self.seen, &error);
                known += of_error * of_error;
                self.advance(&mut error, &mut scratch);
                moments.push((value, known));
            } else {
                let rows = covariance.finite.chunks_exact(self.width).map(|row| dot(row, &self.seen));
                let variance: f64 = rows.zip(&self.seen).map(|(row, seen)| row * seen).sum();
                self.advance_covariance(&mut covariance, &mut scratch);
                moments.push((value, variance.max(0.0)));
            }
        }
        moments
    }

    /// The lower triangle of a covariance; empty where it is what the next error alone leads to.
    pub(super) fn triangle(&self, covariance: &[f64]) -> Vec<f64> {
        let mut triangle = Vec::new();
        let mut apart: f64 = 0.0;
        for (row, covariances) in covariance.chunks_exact(self.width).enumerate() {
            let of_error = self.errors.iter().map(|error| self.errors[row] * error);
            apart = covariances.iter().zip(of_error).map(|(one, other)| (one - other).abs()).fold(apart, f64::max);
            triangle.extend_from_slice(&covariances[..=row]);
        }
        if apart <= NONE { Vec::new() } else { triangle }
    }
}

fn square(triangle: &[f64], width: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; width * width];
    let mut rest = triangle.iter();
    for row in 0..width {
        for column in 0..=row {
            let covariance = rest.next().copied().unwrap_or(0.0);
            matrix[row * width + column] = covariance;
            matrix[column * width + row] = covariance;
        }
    }
    matrix
}
