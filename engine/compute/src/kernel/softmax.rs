//! Scores of several classes as probabilities, and the logarithm that their loss takes.

use std::num::NonZeroUsize;

use super::logistic::{exp_of_negative, ln_1p_of_fraction};
use super::stretches::map_stretches;
use crate::error::Result;
use crate::matrix::Matrix;

/// Replaces scores by their softmax `e^z / Σ e^z`, and returns `ln Σ e^z`, so that the loss of a row of class
/// `c` is that minus its score. Neither overflows; of no scores the logarithm is -∞.
///
/// Returns the same bits on every machine.
pub fn softmax_in_place(scores: &mut [f64]) -> f64 {
    let (largest, sum) = exponentials_in_place(scores);
    if !largest.is_finite() {
        return largest;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
    largest + ln(sum)
}

/// Replaces scores by `e^(z - m)`, where `m` is the largest of them, and returns that and the sum; leaves them as they are
/// if `m` is infinite.
fn exponentials_in_place(scores: &mut [f64]) -> (f64, f64) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return (largest, 0.0);
    }
    // The sum has a loop of its own: it waits for each addition, which would hold up the exponentials.
    for score in scores.iter_mut() {
        *score = exp_of_negative(*score - largest);
    }
    let mut sum = 0.0;
    for score in scores.iter() {
        sum += *score;
    }
    (largest, sum)
}

/// `ln Σ e^z` of each row of scores, the same bits as [`softmax_rows`] returns, without the probabilities.
#[must_use]
pub fn log_sum_exp_rows(scores: Matrix<'_>, threads: NonZeroUsize) -> Vec<f64> {
    // An exponential is about 25 operations.
    let parts = map_stretches(scores.rows(), scores.values().len().saturating_mul(8), threads, |rows| {
        let mut exponentials = Vec::with_capacity(scores.columns());
        let logarithm = |row: usize| {
            exponentials.clear();
            exponentials.extend_from_slice(scores.row(row));
            let (largest, sum) = exponentials_in_place(&mut exponentials);
            if largest.is_finite() { largest + ln(sum) } else { largest }
        };
        rows.map(logarithm).collect::<Vec<_>>()
    });
    parts.concat()
}

/// [`softmax_in_place`] of each row of a matrix, and the logarithm of each.
///
/// Rows are independent of each other: whoever cuts them over threads changes no bit.
///
/// # Errors
/// `Values` if the scores are not `rows` times `columns`.
pub fn softmax_rows(scores: &mut [f64], rows: usize, columns: usize) -> Result<Vec<f64>> {
    Matrix::new(scores, rows, columns)?;
    if columns == 0 {
        return Ok(vec![f64::NEG_INFINITY; rows]);
    }
    Ok(scores.chunks_mut(columns).map(softmax_in_place).collect())
}

/// The natural logarithm, to about `1e-15` of the larger of the result and one; NaN of what has none.
///
/// Returns the same bits on every machine, which the C library's does not.
#[must_use]
pub fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    const BIAS: i32 = 1023;
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x.is_infinite() {
        return x;
    }
    // Numbers below the normal range have no exponent of their own.
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * (1_u64 << 54) as f64, 54) } else { (x, 0) };
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i32 - BIAS - shift;
    // In [1, 2), from which 1 is taken off without rounding.
    let mantissa = f64::from_bits((bits & MANTISSA) | ((BIAS as u64) << 52));
    f64::from(exponent) * std::f64::consts::LN_2 + ln_1p_of_fraction(mantissa - 1.0)
}
