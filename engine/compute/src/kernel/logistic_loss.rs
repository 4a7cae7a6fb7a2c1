//! The logistic loss of a linear model over all rows, with its first and second derivatives by the weights.
//!
//! With `p = 1 / (1 + e^(-x·w))` the gradient is `Σ (p - y) x`, and the Hessian `Σ p (1 - p) x xᵀ` (Hastie, Tibshirani and
//! Friedman, The Elements of Statistical Learning, 4.4.1). A model's intercept is the weight of a column of ones.

use std::num::NonZeroUsize;

use super::dense::add_four_scaled_inlined;
use super::gram::{AT_ONCE, add_products, at_once, mirrored, total};
use super::lanes::Instructions;
use super::logistic::loss_and_probability;
use super::matvec::dots;
use super::stretches::map_stretches;
use crate::error::{ComputeError, Result};
use crate::matrix::Matrix;

/// Rows whose scores are there before their derivatives are added: they stay in a cache meanwhile.
const BLOCK: usize = 128;

/// How much of the second derivatives is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hessian {
    /// Nothing.
    None,
    /// The diagonal: a number for each weight.
    Diagonal,
    /// All of it: row by row.
    Whole,
}

/// Sums over rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticSums {
    /// The sum of the losses.
    pub loss: f64,
    /// Its derivative by each weight.
    pub gradient: Vec<f64>,
    /// The second derivatives that were asked for.
    pub hessian: Vec<f64>,
}

impl Hessian {
    /// How many numbers it is, for so many weights.
    pub(crate) fn numbers(self, weights: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Diagonal => weights,
            Self::Whole => weights * weights,
        }
    }
}

/// The loss of rows of which some are positive, and its derivatives by the weights.
///
/// # Errors
/// `Shapes` if there is not a weight for each column and a label for each row.
pub fn logistic_sums(
    rows: Matrix<'_>,
    positive: &[bool],
    weights: &[f64],
    hessian: Hessian,
    threads: NonZeroUsize,
) -> Result<LogisticSums> {
    logistic_sums_by(Instructions::fastest(), rows, positive, weights, hessian, threads)
}

pub(crate) fn check_shapes(rows: (usize, usize), labels: usize, weights: usize) -> Result<()> {
    if rows != (labels, weights) || weights.checked_mul(weights).is_none() {
        let right = (labels, weights);
        return Err(ComputeError::Shapes { operation: "logistic loss by labels and weights", left: rows, right });
    }
    Ok(())
}

pub(crate) fn logistic_sums_by(
    by: Instructions,
    rows: Matrix<'_>,
    positive: &[bool],
    weights: &[f64],
    hessian: Hessian,
    threads: NonZeroUsize,
) -> Result<LogisticSums> {
    check_shapes(rows.shape(), positive.len(), weights.len())?;
    let (columns, length) = (rows.columns(), hessian.numbers(rows.columns()));
    let a_number = if hessian == Hessian::Whole { columns } else { 4 };
    let parts = map_stretches(rows.rows(), rows.values().len().saturating_mul(a_number), threads, |stretch| {
        let mut sums = LogisticSums { loss: 0.0, gradient: vec![0.0; columns], hessian: vec![0.0; length] };
        let positive = &positive[stretch.clone()];
        by.run(|| sums.add(rows.some_rows(stretch), positive, weights, hessian));
        sums
    });
    let loss = parts.iter().map(|part| part.loss).sum();
    let (gradients, hessians): (Vec<_>, Vec<_>) = parts.into_iter().map(|part| (part.gradient, part.hessian)).unzip();
    let gradient = total(gradients, columns);
    let second = total(hessians, length);
    let second = if hessian == Hessian::Whole { mirrored(second, columns) } else { second };
    Ok(LogisticSums { loss, gradient, hessian: second })
}

impl LogisticSums {
    #[inline(always)]
    fn add(&mut self, rows: Matrix<'_>, positive: &[bool], weights: &[f64], hessian: Hessian) {
        let zeros = vec![0.0; rows.columns()];
        let (mut residuals, mut curvatures) = ([0.0; BLOCK], [0.0; BLOCK]);
        for first in (0..rows.rows()).step_by(BLOCK) {
            let block = rows.some_rows(first..first + BLOCK);
            let positive = &positive[first..first + block.rows()];
            dots(block, weights, &mut residuals[..positive.len()]);
            for (row, positive) in positive.iter().enumerate() {
                let (loss, probability) = loss_and_probability(residuals[row], *positive);
                self.loss += loss;
                residuals[row] = probability - f64::from(u8::from(*positive));
                curvatures[row] = probability * (1.0 - probability);
            }
            for first in (0..block.rows()).step_by(AT_ONCE) {
                let (four, factors) = at_once(block, first, &zeros, |row| residuals[row]);
                add_four_scaled_inlined(&mut self.gradient, factors, four);
            }
            match hessian {
                Hessian::None => {}
                Hessian::Diagonal => self.add_diagonal(block, &curvatures),
                Hessian::Whole => add_products(block, Some(&curvatures), &mut self.hessian),
            }
        }
    }

    #[inline(always)]
    fn add_diagonal(&mut self, rows: Matrix<'_>, curvatures: &[f64]) {
        for (row, curvature) in curvatures.iter().enumerate().take(rows.rows()) {
            for (sum, value) in self.hessian.iter_mut().zip(rows.row(row)) {
                *sum += curvature * (value * value);
            }
        }
    }
}
