//! Gauss and Legendre's points: a sum over `n` of them is the integral of any polynomial below degree `2 n`.

use std::f64::consts::PI;

/// Steps of Newton's method, each of which doubles the digits; the first guess has three.
const STEPS_MAX: usize = 10;

/// Points in [0, 1] and what they weigh.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quadrature {
    pub(super) points: Vec<f64>,
    pub(super) weights: Vec<f64>,
}

impl Quadrature {
    pub(super) fn new(count: usize) -> Self {
        let (mut points, mut weights) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for place in 0..count {
            let mut root = (PI * (place as f64 + 0.75) / (count as f64 + 0.5)).cos();
            for _ in 0..STEPS_MAX {
                let (value, slope) = legendre(count, root);
                root -= value / slope;
                if (value / slope).abs() < 1e-15 {
                    break;
                }
            }
            let (_, slope) = legendre(count, root);
            points.push((1.0 + root) / 2.0);
            weights.push(1.0 / ((1.0 - root * root) * slope * slope));
        }
        Self { points, weights }
    }
}

/// The Legendre polynomial of a degree above 0 within (-1, 1), and its slope, by Bonnet's recursion.
fn legendre(degree: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    for k in 1..degree {
        let k = k as f64;
        (before, value) = (value, ((2.0 * k + 1.0) * x * value - k * before) / (k + 1.0));
    }
    (value, degree as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::Quadrature;

    #[test]
    fn two_points_are_known() {
        let Quadrature { points, weights } = Quadrature::new(2);
        let distance = 0.5 / 3.0_f64.sqrt();
        assert!((points[0] - 0.5 - distance).abs() < 1e-15 && (points[1] - 0.5 + distance).abs() < 1e-15, "{points:?}");
        assert!(weights.iter().all(|weight| (weight - 0.5).abs() < 1e-15), "{weights:?}");
    }

    #[test]
    fn polynomials_are_integrated_exactly() {
        for count in [1, 2, 3, 5, 8, 20, 100, 400] {
            let Quadrature { points, weights } = Quadrature::new(count);
            for power in [0, 1, count, 2 * count - 1] {
                let terms = points.iter().zip(&weights).map(|(point, weight)| weight * point.powi(power as i32));
                let (sum, wanted) = (terms.sum::<f64>(), 1.0 / (power as f64 + 1.0));
                assert!((sum - wanted).abs() < 1e-13, "{count} points, power {power}: {sum}, not {wanted}");
            }
        }
    }
}
