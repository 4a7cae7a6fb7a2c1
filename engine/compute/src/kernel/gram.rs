//! The products of a matrix's columns with each other, weighted by rows: `Xᵀ W X`.

use std::num::NonZeroUsize;

use super::dense::add_four_scaled_inlined;
use super::lanes::Instructions;
use super::stretches::map_stretches;
use crate::error::{ComputeError, Result};
use crate::matrix::Matrix;

/// Rows that are added at once, which reads and writes the sums a quarter as often.
pub(super) const AT_ONCE: usize = 4;

/// The sums over the rows of `weight * row[i] * row[j]`, a matrix of as many rows and columns as there are columns;
/// without weights each is 1.
///
/// # Errors
/// `Shapes` if there are weights and not one for each row, or if the result has more places than a machine.
pub fn gram(rows: Matrix<'_>, weights: Option<&[f64]>, threads: NonZeroUsize) -> Result<Vec<f64>> {
    gram_by(Instructions::fastest(), rows, weights, threads)
}

pub(crate) fn check_shapes(rows: (usize, usize), weights: Option<&[f64]>) -> Result<()> {
    let weights = weights.map_or(rows.0, <[f64]>::len);
    if weights != rows.0 || rows.1.checked_mul(rows.1).is_none() {
        return Err(ComputeError::Shapes { operation: "products of columns", left: rows, right: (weights, 1) });
    }
    Ok(())
}

pub(crate) fn gram_by(
    by: Instructions,
    rows: Matrix<'_>,
    weights: Option<&[f64]>,
    threads: NonZeroUsize,
) -> Result<Vec<f64>> {
    check_shapes(rows.shape(), weights)?;
    let columns = rows.columns();
    let numbers = rows.values().len().saturating_mul(columns);
    let parts = map_stretches(rows.rows(), numbers, threads, |stretch| {
        let weights = weights.map(|weights| &weights[stretch.clone()]);
        let mut products = vec![0.0; columns * columns];
        by.run(|| add_products(rows.some_rows(stretch), weights, &mut products));
        products
    });
    Ok(mirrored(total(parts, columns * columns), columns))
}

/// The sum of sums, in their order; zeros of none.
pub(super) fn total(parts: Vec<Vec<f64>>, length: usize) -> Vec<f64> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; length]);
    parts.for_each(|part| total.iter_mut().zip(part).for_each(|(own, other)| *own += other));
    total
}

/// Copies what is below the diagonal to above it.
pub(crate) fn mirrored(mut products: Vec<f64>, columns: usize) -> Vec<f64> {
    for row in 0..columns {
        for column in 0..row {
            products[column * columns + row] = products[row * columns + column];
        }
    }
    products
}

/// Adds the products up to the diagonal.
#[inline(always)]
pub(super) fn add_products(rows: Matrix<'_>, weights: Option<&[f64]>, products: &mut [f64]) {
    let columns = rows.columns();
    let zeros = vec![0.0; columns];
    for first in (0..rows.rows()).step_by(AT_ONCE) {
        let (four, weights) = at_once(rows, first, &zeros, |row| weights.map_or(1.0, |weights| weights[row]));
        for column in 0..columns {
            let factors = std::array::from_fn(|row| weights[row] * four[row][column]);
            add_four_scaled_inlined(&mut products[column * columns..][..=column], factors, four);
        }
    }
}

/// Some rows from `first` on, and a factor of each; those past the last are zeros.
#[inline(always)]
pub(super) fn at_once<'a>(
    rows: Matrix<'a>,
    first: usize,
    zeros: &'a [f64],
    factor: impl Fn(usize) -> f64,
) -> ([&'a [f64]; AT_ONCE], [f64; AT_ONCE]) {
    let is_there = |row: usize| first + row < rows.rows();
    let four = std::array::from_fn(|row| if is_there(row) { rows.row(first + row) } else { zeros });
    (four, std::array::from_fn(|row| if is_there(row) { factor(first + row) } else { 0.0 }))
}
