//! The product of a dense matrix and a vector.

use std::num::NonZeroUsize;

use super::dense::dot_inlined;
use super::lanes::Instructions;
use super::stretches::map_stretches;
use crate::error::{ComputeError, Result};
use crate::matrix::Matrix;

/// The product of each row with the vector, as [`dot`](super::dense::dot) adds it up.
///
/// # Errors
/// `Shapes` if the vector has not as many numbers as a row.
pub fn times_vector(matrix: Matrix<'_>, vector: &[f64], threads: NonZeroUsize) -> Result<Vec<f64>> {
    times_vector_by(Instructions::fastest(), matrix, vector, threads)
}

pub(crate) fn check_shapes(matrix: (usize, usize), vector: usize) -> Result<()> {
    if matrix.1 != vector {
        return Err(ComputeError::Shapes { operation: "product with a vector", left: matrix, right: (vector, 1) });
    }
    Ok(())
}

pub(crate) fn times_vector_by(
    by: Instructions,
    matrix: Matrix<'_>,
    vector: &[f64],
    threads: NonZeroUsize,
) -> Result<Vec<f64>> {
    check_shapes(matrix.shape(), vector.len())?;
    let parts = map_stretches(matrix.rows(), matrix.values().len(), threads, |rows| {
        let mut products = vec![0.0; rows.len()];
        by.run(|| dots(matrix.some_rows(rows), vector, &mut products));
        products
    });
    Ok(parts.concat())
}

#[inline(always)]
pub(super) fn dots(rows: Matrix<'_>, vector: &[f64], products: &mut [f64]) {
    for (row, product) in products.iter_mut().enumerate() {
        *product = dot_inlined(rows.row(row), vector);
    }
}
