//! The density of one cluster: a normal distribution, by the inverse of its covariance's Cholesky factor.
//!
//! With a covariance `L Lᵀ` and a difference `d` from the mean, the squared distance is `‖L⁻¹ d‖²`, and the logarithm
//! of the density is half of minus that, less `ln det L` and `n/2 ln 2π`.

use tidemill_compute::kernel::dense::dot;
use tidemill_compute::kernel::lanes::{Instructions, LANES, Lane};
use tidemill_compute::kernel::softmax::ln;

use super::block::ROWS;
use super::config::CovarianceType;

/// The largest squared distance that counts: sums of many stay finite.
const DISTANCE_MAX: f64 = 1e100;

/// One cluster's share times its density.
#[derive(Debug, Clone)]
pub(super) struct Density {
    inverse: Inverse,
    /// The logarithm at the mean.
    peak: f64,
}

/// The inverse of a covariance's factor.
#[derive(Debug, Clone)]
enum Inverse {
    /// Four rows of the lower triangle side by side, column by column up to the last one's diagonal, then the next four.
    Full(Vec<Lane<f64>>),
    Diagonal(Vec<f64>),
}

impl Density {
    /// The density of a cluster with this share; none where the covariance, laid out as its type says, is singular.
    pub(super) fn new(covariance: CovarianceType, share: f64, values: &[f64], width: usize) -> Option<Self> {
        let inverse = match covariance {
            CovarianceType::Full => inverted(factored(values, width)?, width),
            CovarianceType::Diagonal => values.iter().map(|variance| inverse_root(*variance)).collect::<Option<_>>()?,
        };
        let diagonal = (0..width).map(|place| inverse[diagonal_place(covariance, place)]);
        let peak = ln(share) + diagonal.map(ln).sum::<f64>() - 0.5 * ln(std::f64::consts::TAU) * width as f64;
        let inverse = match covariance {
            CovarianceType::Full => Inverse::Full(side_by_side(&inverse, width)),
            CovarianceType::Diagonal => Inverse::Diagonal(inverse),
        };
        peak.is_finite().then_some(Self { inverse, peak })
    }

    /// The logarithms of the share times the density, at the differences of some rows from the mean.
    pub(super) fn ln_at(&self, differences: &[[f64; ROWS]]) -> [f64; ROWS] {
        let mut squares = [0.0; ROWS];
        match &self.inverse {
            Inverse::Full(inverse) => {
                let (instructions, mut rest) = (Instructions::fastest(), inverse.as_slice());
                for first in (0..differences.len()).step_by(LANES) {
                    let columns = differences.len().min(first + LANES);
                    let (four, after) = rest.split_at(columns);
                    let mut values = [[0.0; ROWS]; LANES];
                    instructions.add_products(four, &differences[..columns], &mut values);
                    values.iter().for_each(|values| add_squares(values, &mut squares));
                    rest = after;
                }
            }
            Inverse::Diagonal(inverse) => {
                for (differences, inverse) in differences.iter().zip(inverse) {
                    add_squares(&differences.map(|difference| difference * inverse), &mut squares);
                }
            }
        }
        // Of a number that is none, `min` takes the other one.
        squares.map(|squares| self.peak - 0.5 * squares.min(DISTANCE_MAX))
    }
}

fn add_squares(values: &[f64; ROWS], squares: &mut [f64; ROWS]) {
    for row in 0..ROWS {
        squares[row] += values[row] * values[row];
    }
}

/// The rows of a lower triangle as [`Inverse::Full`] has them, zeros above the diagonal.
fn side_by_side(values: &[f64], width: usize) -> Vec<Lane<f64>> {
    let value = |row: usize, column: usize| if column <= row { values[triangle(row) + column] } else { 0.0 };
    let four = |first: usize| {
        let of = move |row: usize, column: usize| if row < width { value(row, column) } else { 0.0 };
        (0..width.min(first + LANES)).map(move |column| std::array::from_fn(|row| of(first + row, column)))
    };
    (0..width).step_by(LANES).flat_map(four).collect()
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
    use super::{CovarianceType, Density, ROWS, factored, inverted};

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
        let at = |density: &Density, difference: [f64; 2]| {
            let logarithms = density.ln_at(&difference.map(|difference| [difference; ROWS]));
            assert_eq!(logarithms, [logarithms[0]; ROWS]);
            logarithms[0]
        };
        assert!((at(&full, [2.0, 3.0]) - expected).abs() < 1e-14);
        let diagonal = Density::new(CovarianceType::Diagonal, 1.0, &[4.0, 9.0], 2).unwrap();
        let expected = -0.5 * (1.0 + 4.0) - f64::ln(6.0) - f64::ln(std::f64::consts::TAU);
        assert!((at(&diagonal, [2.0, 6.0]) - expected).abs() < 1e-14);
        assert!(at(&full, [1e200, -1e200]).is_finite());
        assert!(Density::new(CovarianceType::Diagonal, 1.0, &[4.0, 0.0], 2).is_none());
    }
}
