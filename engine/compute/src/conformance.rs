//! Every kernel against a slow oracle that was written another way.
//!
//! Kernels with a twin on a GPU are in [`matrices`] and, if they are sums over rows, in [`sums`], where both meet the same
//! oracle.

mod matrices;
mod sums;

use proptest::prelude::*;

use crate::kernel::dense::{add_four_scaled, add_scaled, dot};
use crate::kernel::logistic::{log1p_exp, loss_and_probability, sigmoid};
use crate::kernel::softmax::{ln, softmax_in_place};
use crate::kernel::sparse::sparse_dot;

/// `e^x` by the Taylor series of `e^(x / 2^k)`, squared `k` times.
///
/// Each squaring doubles the relative error, so for `|x| < 64` it stays below `64 * 2^-53`.
fn exp_oracle(x: f64) -> f64 {
    let mut halvings = 0;
    let mut reduced = x;
    while reduced.abs() > 1.0 {
        reduced /= 2.0;
        halvings += 1;
    }
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..30 {
        term *= reduced / f64::from(k);
        sum += term;
    }
    for _ in 0..halvings {
        sum *= sum;
    }
    sum
}

/// The library's exponential keeps to a unit in the last place; ours must not leave its neighbourhood anywhere.
#[test]
fn exponentials_hold_over_their_whole_range() {
    for step in 0..=70_800 {
        let x = -f64::from(step) / 100.0;
        // Of two scores `x` apart the lesser has the probability `e^x / (1 + e^x)`.
        let mut scores = [0.0, x];
        softmax_in_place(&mut scores);
        assert_close(scores[1], x.exp() / (1.0 + x.exp()), 1e-15);
    }
    let mut scores = [0.0, -708.5, f64::NEG_INFINITY];
    softmax_in_place(&mut scores);
    assert_eq!(scores, [1.0, 0.0, 0.0]);
    let mut scores = [0.0, f64::NAN];
    softmax_in_place(&mut scores);
    assert!(scores.iter().all(|score| score.is_nan()));
}

fn sigmoid_oracle(z: f64) -> f64 {
    exp_oracle(z) / (1.0 + exp_oracle(z))
}

#[track_caller]
fn assert_close(actual: f64, expected: f64, relative: f64) {
    let error = (actual - expected).abs();
    assert!(error <= relative * expected.abs(), "{actual:e} is not within {relative:e} of {expected:e}");
}

#[test]
fn sigmoid_matches_values_from_fifty_digit_arithmetic() {
    // Python's `decimal` at 50 digits, rounded: `1 / (1 + Decimal(-z).exp())`.
    for (z, expected) in [
        (0.0, 0.5),
        (1.0, 0.731_058_578_630_004_9),
        (-1.0, 0.268_941_421_369_995_1),
        (2.5, 0.924_141_819_978_756_4),
        (-20.0, 2.061_153_618_190_203_7e-9),
        (-700.0, 9.859_676_543_759_77e-305),
    ] {
        assert_close(sigmoid(z), expected, 5e-16);
    }
}

#[test]
fn sigmoid_saturates_and_keeps_nan() {
    assert_eq!(sigmoid(f64::INFINITY), 1.0);
    assert_eq!(sigmoid(f64::NEG_INFINITY), 0.0);
    assert_eq!(sigmoid(1e300), 1.0);
    assert_eq!(sigmoid(-709.0), 0.0);
    assert!(sigmoid(f64::NAN).is_nan());
}

#[test]
fn log1p_exp_neither_overflows_nor_cancels() {
    assert_close(log1p_exp(0.0), std::f64::consts::LN_2, 5e-16);
    assert_eq!(log1p_exp(1000.0), 1000.0);
    assert_close(log1p_exp(-40.0), 4.248_354_255_291_589e-18, 5e-16);
    assert_eq!(log1p_exp(f64::NEG_INFINITY), 0.0);
    assert_eq!(log1p_exp(f64::INFINITY), f64::INFINITY);
    assert!(log1p_exp(f64::NAN).is_nan());
}

#[test]
fn sparse_dot_skips_an_index_past_the_end() {
    assert_eq!(sparse_dot(&[2, 0, u32::MAX], &[10.0, 0.5, 7.0], &[4.0, 100.0, 3.0]), 32.0);
    assert_eq!(sparse_dot(&[], &[], &[1.0]), 0.0);
}

#[test]
fn ln_of_the_edges() {
    assert_eq!((ln(1.0), ln(0.0), ln(f64::INFINITY)), (0.0, f64::NEG_INFINITY, f64::INFINITY));
    assert!(ln(-1.0).is_nan() && ln(f64::NAN).is_nan());
    assert_close(ln(5e-324), -744.440_071_921_381_2, 1e-15);
}

#[test]
fn softmax_neither_overflows_nor_divides_by_zero() {
    let mut scores = [1000.0, 1000.0, -1000.0];
    assert_close(softmax_in_place(&mut scores), 1000.0 + std::f64::consts::LN_2, 1e-15);
    assert_eq!(scores, [0.5, 0.5, 0.0]);
    assert_eq!(softmax_in_place(&mut []), f64::NEG_INFINITY);
}

proptest! {
    #[test]
    fn sigmoid_equals_the_oracle(z in -60.0..60.0f64) {
        assert_close(sigmoid(z), sigmoid_oracle(z), 1e-13);
    }

    #[test]
    fn sigmoid_of_both_signs_sums_to_one(z in -700.0..700.0f64) {
        prop_assert!((sigmoid(z) + sigmoid(-z) - 1.0).abs() <= f64::EPSILON);
    }

    #[test]
    fn log1p_exp_equals_the_oracle(z in -30.0..30.0f64) {
        // ln(1 + e^z) is the integral of the logistic function, so its slope is one; Simpson's rule
        // over a short interval compares the two without a logarithm.
        let h = 1e-2;
        let slope = (log1p_exp(z + h) - log1p_exp(z)) / h;
        let simpson = (sigmoid_oracle(z) + 4.0 * sigmoid_oracle(z + h / 2.0) + sigmoid_oracle(z + h)) / 6.0;
        prop_assert!((slope - simpson).abs() <= 1e-11);
    }

    #[test]
    fn sparse_dot_equals_the_dense_product(
        weights in prop::collection::vec(-1e3..1e3f64, 1..40),
        row in prop::collection::vec((0..60u32, -1e3..1e3f64), 0..30),
    ) {
        let mut dense = vec![0.0; 60];
        for &(index, value) in &row {
            dense[index as usize] += value;
        }
        let expected: f64 = weights.iter().zip(&dense).map(|(w, x)| w * x).sum();
        let (indices, values): (Vec<u32>, Vec<f64>) = row.into_iter().unzip();
        prop_assert!((sparse_dot(&indices, &values, &weights) - expected).abs() <= 1e-7);
    }

    #[test]
    fn log1p_exp_equals_the_library_logarithm(z in -700.0..700.0f64) {
        assert_close(log1p_exp(z), z.max(0.0) + (-z.abs()).exp().ln_1p(), 1e-14);
    }

    #[test]
    fn loss_and_probability_are_those_of_the_single_kernels(z in -800.0..800.0f64) {
        let (negative, positive) = (loss_and_probability(z, false), loss_and_probability(z, true));
        prop_assert_eq!(negative, (log1p_exp(z), sigmoid(z)));
        prop_assert_eq!(positive, (log1p_exp(-z), sigmoid(z)));
    }

    #[test]
    fn dense_kernels_equal_plain_sums(
        rows in prop::collection::vec((-1e3..1e3f64, -1e3..1e3f64), 0..50),
        factor in -10.0..10.0f64,
    ) {
        let (a, b): (Vec<f64>, Vec<f64>) = rows.into_iter().unzip();
        let expected: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
        prop_assert!((dot(&a, &b) - expected).abs() <= 1e-7);
        let mut sum = a.clone();
        add_scaled(&mut sum, factor, &b);
        prop_assert!(sum.iter().zip(a.iter().zip(&b)).all(|(sum, (a, b))| *sum == a + factor * b));
    }

    #[test]
    fn ln_equals_the_library_logarithm(power in -300.0..300.0f64) {
        let x = 10f64.powf(power);
        prop_assert!((ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs().max(1.0));
    }

    #[test]
    fn softmax_of_two_is_the_logistic_function(a in -50.0..50.0f64, b in -50.0..50.0f64) {
        let mut scores = [a, b];
        let total = softmax_in_place(&mut scores);
        prop_assert!((scores[1] - sigmoid(b - a)).abs() <= 1e-15);
        prop_assert!((total - a - log1p_exp(b - a)).abs() <= 1e-13);
    }

    #[test]
    fn four_scaled_rows_at_once_are_four_sums(
        rows in prop::collection::vec(prop::array::uniform5(-1e3..1e3f64), 0..20),
        factors in prop::array::uniform4(-10.0..10.0f64),
    ) {
        let column = |index: usize| rows.iter().map(|row| row[index]).collect::<Vec<_>>();
        let four = [0, 1, 2, 3].map(column);
        let (mut at_once, mut one_by_one) = (column(4), column(4));
        add_four_scaled(&mut at_once, factors, four.each_ref().map(Vec::as_slice));
        factors.iter().zip(&four).for_each(|(factor, row)| add_scaled(&mut one_by_one, *factor, row));
        prop_assert!(at_once.iter().zip(&one_by_one).all(|(a, b)| (a - b).abs() <= 1e-9));
    }
}
