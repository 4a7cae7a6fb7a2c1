//! Rows of a matrix by their numbers, such as the embeddings of some words.

use crate::matrix::Matrix;

/// The rows of these numbers, one after another. A row that there is not is one of zeros, so `u32::MAX` can stand for
/// something that the model has never seen.
#[must_use]
pub fn gather(matrix: Matrix<'_>, rows: &[u32]) -> Vec<f64> {
    let columns = matrix.columns();
    let mut gathered = vec![0.0; rows.len() * columns];
    if columns > 0 {
        for (gathered, row) in gathered.chunks_mut(columns).zip(rows) {
            let row = matrix.row(*row as usize);
            gathered[..row.len()].copy_from_slice(row);
        }
    }
    gathered
}
