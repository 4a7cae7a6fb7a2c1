//! The density of one cluster: a normal distribution, by the inverse of its covariance's Cholesky factor.
//!
//! With a covariance `L Lᵀ` and a difference `d` from the mean, the squared distance is `‖L⁻¹ d‖²`, and the logarithm
//! of the density is half of minus that, less `ln det L` and `n/2 ln 2π`.

use tidemill_compute::kernel::dense::dot;
use tidemill_compute::kernel::softmax::ln;

use super::config::CovarianceType;

/// The largest squared distance that counts: sums of many stay finite.
const DISTANCE_MAX: f64 = 1e100;

/// One cluster's share times its density.
#[derive(Debug, Clone)]
pub(super) struct Density {
    covariance: CovarianceType,
    /// The inverse factor: of any covariance the rows of a lower triangle, one after another, the diagonal included.
    inverse: Vec<f64>,
    /// The logarithm at the mean.
    peak: f64,
}

impl Density {
    /// The density of a cluster with this share; none where the covariance, laid out as `inverse`, is singular.
    pub(super) fn new(covariance: CovarianceType, share: f64, values: &[f64], width: usize) -> Option<Self> {
        let inverse = match covariance {
            CovarianceType::Full => inverted(factored(values, width)?, width),
            CovarianceType::Diagonal => values.iter().map(|variance| inverse_root(*variance)).collect::<Option<_>>()?,
        };
        let diagonal = (0..width).map(|place| inverse[diagonal_place(covariance, place)]);
        let peak = ln(share) + diagonal.map(ln).sum::<f64>() - 0.5 * ln(std::f64::consts::TAU) * width as f64;
        peak.is_finite().then_some(Self { covariance, inverse, peak })
    }

    /// The logarithm of the share times the density, at a difference from the mean.
    pub(super) fn ln_at(&self, difference: &[f64]) -> f64 {
        let mut squares = 0.0;
        match self.covariance {
            CovarianceType::Full => {
                let mut rest = self.inverse.as_slice();
                for place in 1..=difference.len() {
                    let (row, after) = rest.split_at(place);
                    let value = dot(row, &difference[..place]);
                    squares += value * value;
                    rest = after;
                }
            }
            CovarianceType::Diagonal => {
                for (difference, inverse) in difference.iter().zip(&self.inverse) {
                    squares += (difference * inverse) * (difference * inverse);
                }
            }
        }
        // Of a number that is none, `min` takes the other one.
        self.peak - 0.5 * squares.min(DISTANCE_MAX)
    }
}

/// Numbers that a covariance of so many features has.
pub(super) fn covariance_len(covariance: CovarianceType, width: usize) -> usize {
    match covariance {
        CovarianceType::Full => width * (width + 1) / 2,
        CovarianceType::Diagonal => width,
    }
}

/// Where the variance of a feature lies in a covariance.
pub(super) fn diagonal_place(covariance: CovarianceType, feature: usize) -> usize {
    match covariance {
        CovarianceType::Full => triangle(feature) + feature,
        CovarianceType::Diagonal => feature,
    }
}

/// Where a row of a lower triangle begins.
fn triangle(row: usize) -> usize {
    row * (row + 1) / 2
}

fn inverse_root(variance: f64) -> Option<f64> {
    (variance > 0.0).then(|| 1.0 / variance.sqrt())
}

/// The Cholesky factor of a covariance; none of a singular one.
fn factored(covariance: &[f64], width: usize) -> Option<Vec<f64>> {
    let mut factor = covariance.to_vec();
    for row in 0..width {
        let (above, own) = factor.split_at_mut(triangle(row));
        for column in 0..row {
            let other = &above[triangle(column)..=triangle(column) + column];
            own[column] = (own[column] - dot(&own[..column], &other[..column])) / other[column];
        }
        let left = own[row] - dot(&own[..row], &own[..row]);
        own[row] = (left > 0.0).then(|| left.sqrt())?;
    }
    Some(factor)
}

/// The inverse of a lower triangle: `X[i][j] = -Σ L[i][k] X[k][j] / L[i][i]` below the diagonal.
fn inverted(mut factor: Vec<f64>, width: usize) -> Vec<f64> {
    for row in 0..width {
        let (above, own) = factor.split_at_mut(triangle(row));
        let inverse = 1.0 / own[row];
        let factors = own[..row].to_vec();
        for (column, value) in own[..row].iter_mut().enumerate() {
            let sum: f64 = (column..row).map(|k| factors[k] * above[triangle(k) + column]).sum();
            *value = -inverse * sum;
        }
        own[row] = inverse;
    }
    factor
}

#[cfg(test)]
mod tests {
    use super::{CovarianceType, Density, factored, inverted};

    #[test]
    fn a_factor_and_its_inverse_by_hand() {
        // [4 2; 2 5] is [2 0; 1 2] times its transpose, whose inverse is [½ 0; -¼ ½].
        assert_eq!(factored(&[4.0, 2.0, 5.0], 2).unwrap(), [2.0, 1.0, 2.0]);
        assert_eq!(inverted(vec![2.0, 1.0, 2.0], 2), [0.5, -0.25, 0.5]);
        assert_eq!(factored(&[1.0, 1.0, 1.0], 2), None);
    }

    #[test]
    fn densities_by_hand() {
        let full = Density::new(CovarianceType::Full, 0.5, &[4.0, 2.0, 5.0], 2).unwrap();
        // The squared distance of (2, 3) is 1² + (-½ + 3/2)², and the determinant's root is 4.
        let expected = f64::ln(0.5) - 0.5 * 2.0 - f64::ln(4.0) - f64::ln(std::f64::consts::TAU);
        assert!((full.ln_at(&[2.0, 3.0]) - expected).abs() < 1e-14);
        let diagonal = Density::new(CovarianceType::Diagonal, 1.0, &[4.0, 9.0], 2).unwrap();
        let expected = -0.5 * (1.0 + 4.0) - f64::ln(6.0) - f64::ln(std::f64::consts::TAU);
        assert!((diagonal.ln_at(&[2.0, 6.0]) - expected).abs() < 1e-14);
        assert!(full.ln_at(&[1e200, -1e200]).is_finite());
        assert!(Density::new(CovarianceType::Diagonal, 1.0, &[4.0, 0.0], 2).is_none());
    }
}
