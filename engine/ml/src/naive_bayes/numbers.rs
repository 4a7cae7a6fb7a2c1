//! What is known of the numbers of each class, and how likely a row's numbers are by it.
//!
//! For text, the event models of McCallum and Nigam (1998): a multinomial distribution of how often each word
//! occurs, or a Bernoulli distribution of whether it does.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::dot;
use tidemill_compute::kernel::softmax::ln;

use crate::model::NUMERIC_MAGNITUDE_MAX;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// The largest squared distance from a mean, in variances, that counts: sums of many stay finite.
const DISTANCE_MAX: f64 = 1e100;

/// What is known of the numbers, one class after another.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) enum NumberStatistics {
    Gaussian {
        /// The mean of each number in each class.
        means: Vec<f64>,
        /// Its variance likewise, smoothed; 0 in every class for a number that says nothing.
        variances: Vec<f64>,
    },
    Multinomial {
        /// The sum of each number over the rows of each class.
        sums: Vec<f64>,
    },
    Bernoulli {
        threshold: f64,
        /// For each number the rows of each class that have it, and of these the rows in which it is above the
        /// threshold.
        rows: Vec<[u64; 2]>,
    },
}

impl NumberStatistics {
    /// How likely the numbers of one class are; `width` numbers has each class.
    pub(super) fn likelihood(&self, class: usize, width: usize, alpha: f64) -> NumberLikelihood {
        let own = class * width..(class + 1) * width;
        match self {
            Self::Gaussian { means, variances } => {
                let of_number = |(mean, variance): (&f64, &f64)| {
                    if *variance == 0.0 {
                        return [0.0; 3];
                    }
                    [*mean, 1.0 / variance, -0.5 * (ln(std::f64::consts::TAU) + ln(*variance))]
                };
                let numbers = means[own.clone()].iter().zip(&variances[own]);
                NumberLikelihood::Gaussian(numbers.map(of_number).collect())
            }
            Self::Multinomial { sums } => {
                let sums = &sums[own];
                let total = ln(sums.iter().map(|sum| sum + alpha).sum());
                NumberLikelihood::Multinomial(sums.iter().map(|sum| ln(sum + alpha) - total).collect())
            }
            Self::Bernoulli { threshold, rows } => {
                let of_number = |&[known, above]: &[u64; 2]| {
                    let total = ln(known as f64 + 2.0 * alpha);
                    [known - above, above].map(|rows| ln(rows as f64 + alpha) - total)
                };
                let sides = rows[own].iter().map(of_number).collect();
                NumberLikelihood::Bernoulli { threshold: *threshold, sides }
            }
        }
    }

    /// Whether rows of this many classes, with `width` numbers each, could have led here.
    pub(super) fn is_plausible(&self, classes: usize, width: usize) -> bool {
        let count = classes * width;
        match self {
            Self::Gaussian { means, variances } => {
                let says_nothing = |number: usize| variances.get(number) == Some(&0.0);
                let is_variance =
                    |variance: &f64| *variance == 0.0 || (f64::MIN_POSITIVE..=STATE_MAGNITUDE_MAX).contains(variance);
                means.len() == count
                    && variances.len() == count
                    && means.iter().all(|mean| mean.abs() <= NUMERIC_MAGNITUDE_MAX)
                    && variances.iter().all(is_variance)
                    // A number says nothing of one class only if it does of none.
                    && (0..count).all(|number| says_nothing(number) == says_nothing(number % width))
            }
            Self::Multinomial { sums } => {
                sums.len() == count && sums.iter().all(|sum| (0.0..=STATE_MAGNITUDE_MAX).contains(sum))
            }
            Self::Bernoulli { threshold, rows } => {
                rows.len() == count
                    && threshold.abs() <= NUMERIC_MAGNITUDE_MAX
                    && rows.iter().all(|[known, above]| above <= known)
            }
        }
    }
}

/// How likely a row's numbers are in one class.
#[derive(Debug, Clone)]
pub(super) enum NumberLikelihood {
    /// For each number its mean, one over its variance and the logarithm of its density at the mean; zeros for
    /// one that says nothing.
    Gaussian(Vec<[f64; 3]>),
    /// For each number the logarithm of its share in all that is counted.
    Multinomial(Vec<f64>),
    /// For each number the logarithms of the shares of the rows in which it is not above the threshold, and is.
    Bernoulli { threshold: f64, sides: Vec<[f64; 2]> },
}

impl NumberLikelihood {
    /// Its logarithm; of counts without the multinomial coefficient, which is the same in each class. A number
    /// that is NaN is missing.
    pub(super) fn ln(&self, numbers: &[f64]) -> f64 {
        match self {
            Self::Gaussian(densities) => {
                let known = numbers.iter().zip(densities).filter(|(number, _)| !number.is_nan());
                known.fold(0.0, |sum, (number, density)| sum + normal(*number, density))
            }
            Self::Multinomial(shares) => dot(numbers, shares),
            Self::Bernoulli { threshold, sides } => {
                let known = numbers.iter().zip(sides).filter(|(number, _)| !number.is_nan());
                known.fold(0.0, |sum, (number, sides)| sum + sides[usize::from(number > threshold)])
            }
        }
    }

    /// What one number adds to [`Self::ln`], given its place.
    pub(super) fn ln_of(&self, place: usize, number: f64) -> f64 {
        match self {
            _ if number.is_nan() => 0.0,
            Self::Gaussian(densities) => normal(number, &densities[place]),
            Self::Multinomial(shares) => number * shares[place],
            Self::Bernoulli { threshold, sides } => sides[place][usize::from(number > *threshold)],
        }
    }
}

/// The logarithm of a number's density.
fn normal(number: f64, [mean, per_variance, peak]: &[f64; 3]) -> f64 {
    let distance = (number - mean) * (number - mean) * per_variance;
    peak - 0.5 * distance.min(DISTANCE_MAX)
}
