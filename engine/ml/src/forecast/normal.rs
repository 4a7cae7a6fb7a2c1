//! Quantiles of the standard normal distribution.

use tidemill_compute::kernel::softmax::ln;

/// How many standard deviations both ways a normal number keeps to with this probability, which is below 1.
pub(super) fn half_width(probability: f64) -> f64 {
    // From the tail, which has all digits however near to 1 the probability is.
    -quantile((1.0 - probability) / 2.0)
}

/// The number below which a normal number lies with this probability, which is between 0 and 1.
///
/// Newton's method on the distribution function, which is the continued fraction of its tail (Abramowitz and Stegun
/// 1964, 26.2.14) or its series (26.2.11), from their approximation 26.2.23, which is right to `4.5e-4`. Good to about
/// `1e-14` of the result.
fn quantile(probability: f64) -> f64 {
    if probability > 0.5 {
        return -quantile(1.0 - probability);
    }
    let t = (-2.0 * ln(probability)).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let mut x = t - numerator / denominator;
    // Each step squares the error, up to its distance from the middle.
    for _ in 0..4 {
        x += (tail(x) - probability) / density(x);
    }
    -x
}

/// The probability that a normal number is so many standard deviations from its mean, or fewer.
pub(super) fn within(deviations: f64) -> f64 {
    1.0 - 2.0 * tail(deviations)
}

/// The density of the standard normal distribution.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The probability of more than `x`, which is not negative but for rounding.
fn tail(x: f64) -> f64 {
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for odd in (3..200).step_by(2) {
            term *= x * x / f64::from(odd);
            sum += term;
        }
        return 0.5 - density(x) * sum;
    }
    let fraction = (1..200).rev().fold(x, |below, place| x + f64::from(place) / below);
    density(x) / fraction
}

#[cfg(test)]
mod tests {
    use super::{half_width, quantile, within};

    #[test]
    fn quantiles_equal_scipy() {
        let known = [
            (0.5, 0.0),
            (0.6, 0.253_347_103_135_799_83),
            (0.9, 1.281_551_565_544_600_4),
            (0.95, 1.644_853_626_951_472_2),
            (0.975, 1.959_963_984_540_054),
            (0.995, 2.575_829_303_548_900_4),
            (1e-9, -5.997_807_015_007_687),
        ];
        for (probability, expected) in known {
            let found = quantile(probability);
            assert!((found - expected).abs() < 1e-13 * expected.abs().max(1.0), "{probability}: {found}");
        }
        for (deviations, expected) in
            [(0.0, 0.0), (1.0, 0.682_689_492_137_085_9), (2.6, 0.990_677_623_952_562_5), (40.0, 1.0)]
        {
            assert!((within(deviations) - expected).abs() < 1e-14, "{deviations}: {}", within(deviations));
        }
        assert!(half_width(0.0).abs() < 1e-15);
        assert!((half_width(0.95) - 1.959_963_984_540_054).abs() < 1e-13);
        // scipy.stats.norm.isf(2**-54)
        assert!((half_width(1.0 - f64::EPSILON / 2.0) - 8.292_361_075_813_596).abs() < 1e-12);
    }
}
