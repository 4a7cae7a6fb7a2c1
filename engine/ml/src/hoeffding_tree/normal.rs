//! The normal distribution function.

use tidemill_compute::kernel::logistic::sigmoid;

/// Deviations past which the result is 0 or 1 to all digits that a count of rows has.
const FAR: f64 = 8.0;

/// The share of a standard normal distribution that is at most `z`, to about `1e-15`.
///
/// `½ + φ(z) (z + z³/3 + z⁵/(3·5) + …)`, the series of Marsaglia (2004). Returns the same bits on every machine.
pub(crate) fn distribution(z: f64) -> f64 {
    if z.is_nan() || z.abs() > FAR {
        return if z > 0.0 { 1.0 } else { 0.0 };
    }
    let square = z * z;
    let (mut sum, mut term, mut odd) = (z, z, 1.0);
    loop {
        odd += 2.0;
        term *= square / odd;
        let next = sum + term;
        if next == sum {
            break;
        }
        sum = next;
    }
    // The exponential by way of the logistic function, which is the kernels' own: `e^-x = s(-x) / s(x)`.
    let exponential = sigmoid(-0.5 * square) / sigmoid(0.5 * square);
    let density = exponential / std::f64::consts::TAU.sqrt();
    (0.5 + sum * density).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::distribution;

    #[test]
    fn shares_are_those_of_scipy() {
        // scipy.stats.norm.cdf
        for (z, share) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.0, 0.158_655_253_931_457_05),
            (-2.5, 0.006_209_665_325_776_132),
            (0.1, 0.539_827_837_277_029),
            (5.0, 0.999_999_713_348_428_1),
            (7.9, 0.999_999_999_999_998_6),
            (-8.1, 0.0),
            (f64::INFINITY, 1.0),
            (f64::NEG_INFINITY, 0.0),
        ] {
            assert!((distribution(z) - share).abs() < 4e-15, "{z}: {}", distribution(z));
        }
    }
}
