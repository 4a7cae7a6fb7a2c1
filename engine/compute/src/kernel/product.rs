//! The product of two dense matrices.
//!
//! Every entry is a sum from the first place to the last in one accumulator, without fused operations: neither the
//! blocks of this file, nor threads between which somebody cuts the rows, nor the machine change a bit. That is why
//! this is no call of a library (matrixmultiply, gemm and faer choose fused instructions where the processor has them).
//! On a processor with as many units for additions as for multiplications it costs nothing.

use std::num::NonZeroUsize;

use super::lanes::{COLUMNS, Instructions, LANES, Lane};
use super::nearest::Interleaved;
use super::stretches::map_stretches;
use crate::error::{ComputeError, Result};
use crate::matrix::Matrix;

/// Places that are summed over at once: four rows of as many are 8 KiB, eight columns 16, in the nearest cache
/// together.
const DEPTH: usize = 256;
/// Panels of eight columns that are multiplied by all rows before the next are: 128 KiB, in the second cache.
const PANELS: usize = 8;

/// The product of two matrices, row by row: of `left`'s rows and `right`'s columns.
///
/// # Errors
/// `Shapes` if `left` has not as many columns as `right` has rows, or if the result has more places than a machine.
pub fn product(left: Matrix<'_>, right: Matrix<'_>) -> Result<Vec<f64>> {
    product_by(Instructions::fastest(), left, right)
}

/// The same on several threads, between which rows of `left` are cut.
///
/// # Errors
/// As [`product`].
pub(crate) fn product_on(left: Matrix<'_>, right: Matrix<'_>, threads: NonZeroUsize) -> Result<Vec<f64>> {
    check_shapes(left.shape(), right.shape())?;
    if threads == NonZeroUsize::MIN {
        return product(left, right);
    }
    let numbers = left.values().len().saturating_mul(right.columns());
    let parts = map_stretches(left.rows(), numbers, threads, |rows| product(left.some_rows(rows), right));
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

pub(crate) fn check_shapes(left: (usize, usize), right: (usize, usize)) -> Result<()> {
    if left.1 != right.0 || left.0.checked_mul(right.1).is_none() {
        return Err(ComputeError::Shapes { operation: "product", left, right });
    }
    Ok(())
}

pub(crate) fn product_by(by: Instructions, left: Matrix<'_>, right: Matrix<'_>) -> Result<Vec<f64>> {
    check_shapes(left.shape(), right.shape())?;
    let (rows, columns) = (left.rows(), right.columns());
    let mut result = vec![0.0; rows * columns];
    let left_rows = Interleaved::of(left);
    let mut panels = Vec::new();
    for first_place in (0..right.rows()).step_by(DEPTH) {
        let places = first_place..(first_place + DEPTH).min(right.rows());
        for first_column in (0..columns).step_by(PANELS * COLUMNS) {
            let end_column = (first_column + PANELS * COLUMNS).min(columns);
            pack(right.some_rows(places.clone()), first_column, end_column, &mut panels);
            for (group, result) in result.chunks_mut(LANES * columns).enumerate() {
                let left = &left_rows.group(group)[places.clone()];
                for (panel, right) in panels.chunks(places.len()).enumerate() {
                    add_tile(by, left, right, result, columns, first_column + panel * COLUMNS);
                }
            }
        }
    }
    Ok(result)
}

/// Columns of some rows in panels of eight, of each panel row by row; columns past the last are zeros.
fn pack(rows: Matrix<'_>, first: usize, end: usize, panels: &mut Vec<[f64; COLUMNS]>) {
    panels.clear();
    for column in (first..end).step_by(COLUMNS) {
        let width = COLUMNS.min(end - column);
        panels.extend((0..rows.rows()).map(|row| {
            let mut packed = [0.0; COLUMNS];
            packed[..width].copy_from_slice(&rows.row(row)[column..column + width]);
            packed
        }));
    }
}

/// Adds the products of up to four rows with up to eight columns to where they belong in those rows of the result.
fn add_tile(
    by: Instructions,
    left: &[Lane<f64>],
    right: &[[f64; COLUMNS]],
    result: &mut [f64],
    columns: usize,
    first: usize,
) {
    let width = COLUMNS.min(columns - first);
    let mut tile = [[0.0; COLUMNS]; LANES];
    for (tile, result) in tile.iter_mut().zip(result.chunks(columns)) {
        tile[..width].copy_from_slice(&result[first..first + width]);
    }
    by.add_products(left, right, &mut tile);
    for (tile, result) in tile.iter().zip(result.chunks_mut(columns)) {
        result[first..first + width].copy_from_slice(&tile[..width]);
    }
}
