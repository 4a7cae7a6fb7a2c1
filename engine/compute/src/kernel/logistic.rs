//! The logistic function and its log, for any finite or infinite input.
//!
//! `f64::exp` is the C library's, which picks an implementation by the processor it runs on, so its
//! last bit may differ between two machines. [`sigmoid`] feeds every weight update of a model and
//! therefore brings its own exponential, made of operations that IEEE 754 rounds the same anywhere;
//! so does the loss its logarithm, since a search for the minimum decides by it.

/// Past this magnitude `e^-z` leaves the normal range of `f64`, so the result is the limit.
const EXPONENT_MAX: f64 = 708.0;

/// `1 / k!` for `k` from 13 down to 0: the Taylor series of `e^r`, in the order Horner's rule uses.
///
/// With `|r| <= ln(2) / 2` the first term left out is below `5e-18`, a fiftieth of a unit in the
/// last place.
const INVERSE_FACTORIALS: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// The logistic function `1 / (1 + e^-z)`: a log-odds `z` to a probability in `[0, 1]`.
///
/// Exact to about two units in the last place, also where the result is tiny. Past `|z| = 708` it
/// is exactly 0 or 1, and NaN stays NaN. Returns the same bits on every machine.
#[inline]
#[must_use]
pub fn sigmoid(z: f64) -> f64 {
    // The exponential of a negative number cannot overflow, and for a negative `z` the form
    // `t / (1 + t)` keeps the digits that `1 - 1 / (1 + t)` would cancel.
    let t = exp_of_negative(-z.abs());
    let over = if z >= 0.0 { 1.0 } else { t };
    over / (1.0 + t)
}

/// `ln(1 + e^z)`, the logistic loss of a negative row with log-odds `z`, without overflow.
///
/// For a positive row the loss is `log1p_exp(-z)`. Returns the same bits on every machine.
#[must_use]
pub fn log1p_exp(z: f64) -> f64 {
    if z.is_nan() {
        return z;
    }
    z.max(0.0) + ln_1p_of_fraction(exp_of_negative(-z.abs()))
}

/// The logistic loss of one row with log-odds `z`, and its probability: `log1p_exp` and [`sigmoid`]
/// for one exponential.
///
/// Without a branch, as [`exp_of_negative`]; NaN stays NaN.
#[inline]
#[must_use]
pub fn loss_and_probability(z: f64, positive: bool) -> (f64, f64) {
    let t = exp_of_negative(-z.abs());
    let over = if z >= 0.0 { 1.0 } else { t };
    // What a row on the wrong side of 0 is charged; nothing on the right side, so no digit cancels.
    let wrong = if positive { -z } else { z };
    let wrong = if wrong > 0.0 { wrong } else { 0.0 };
    (wrong + ln_1p_of_fraction(t), over / (1.0 + t))
}

/// `ln(1 + t)` for `t` in `[0, 1]`, as `2 artanh(t / (2 + t))` by its series.
///
/// The argument of the series is at most 1/3, so the first term left out is below `1e-18` of the first.
#[inline]
pub(super) fn ln_1p_of_fraction(t: f64) -> f64 {
    let s = t / (2.0 + t);
    let square = s * s;
    let mut series = 0.0;
    for odd in ODD_RECIPROCALS {
        series = series * square + odd;
    }
    2.0 * s * series
}

/// `1 / (2k + 1)` for `k` from 17 down to 0: the series of the area tangent, for Horner's rule.
const ODD_RECIPROCALS: [f64; 18] = [
    1.0 / 35.0,
    1.0 / 33.0,
    1.0 / 31.0,
    1.0 / 29.0,
    1.0 / 27.0,
    1.0 / 25.0,
    1.0 / 23.0,
    1.0 / 21.0,
    1.0 / 19.0,
    1.0 / 17.0,
    1.0 / 15.0,
    1.0 / 13.0,
    1.0 / 11.0,
    1.0 / 9.0,
    1.0 / 7.0,
    1.0 / 5.0,
    1.0 / 3.0,
    1.0,
];

/// `e^x` for `x <= 0`, by `x = k ln 2 + r` and the Taylor series of `e^r` (Cody and Waite 1980); the same bits on every
/// machine.
///
/// Without a branch or a conversion, so that a loop over many runs in vector registers.
#[inline]
#[must_use]
pub fn exp_of_negative(x: f64) -> f64 {
    // ln 2 in two parts. The first has 21 trailing zero bits, so that `k` times it is exact.
    const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Adding and subtracting 1.5 * 2^52 rounds to the nearest integer without a call.
    const ROUND: f64 = 6_755_399_441_055_744.0;

    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let mut series = 0.0;
    for coefficient in INVERSE_FACTORIALS {
        series = series * r + coefficient;
    }
    // The lowest bits of `shifted` are `k` in two's complement. It lies in [-1022, 0], so `1023 + k` is the exponent
    // field of the normal number 2^k; the shift drops what is above.
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    let result = series * power;
    if x < -EXPONENT_MAX { 0.0 } else { result }
}
