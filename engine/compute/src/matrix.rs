//! Rows of numbers that lie one after another.

use std::ops::Range;

use crate::error::{ComputeError, Result};

/// A matrix that belongs to somebody else, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f64],
    rows: usize,
    columns: usize,
}

impl<'a> Matrix<'a> {
    /// `values` as `rows` times `columns`, either of which may be 0.
    ///
    /// # Errors
    /// `Values` if there are more or fewer.
    pub fn new(values: &'a [f64], rows: usize, columns: usize) -> Result<Self> {
        if rows.checked_mul(columns) != Some(values.len()) {
            return Err(ComputeError::Values { values: values.len(), rows, columns });
        }
        Ok(Self { values, rows, columns })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many numbers a row has.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows and columns, for messages.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// All numbers, row by row.
    #[must_use]
    pub fn values(&self) -> &'a [f64] {
        self.values
    }

    /// One row; empty past the last.
    #[inline]
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [f64] {
        let first = row.saturating_mul(self.columns);
        self.values.get(first..first.saturating_add(self.columns)).unwrap_or_default()
    }

    /// Some of the rows, for a thread of its own say; cut to those that there are.
    #[must_use]
    pub fn some_rows(&self, rows: Range<usize>) -> Self {
        let end = rows.end.min(self.rows);
        let start = rows.start.min(end);
        Self { values: &self.values[start * self.columns..end * self.columns], rows: end - start, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::{ComputeError, Matrix};

    #[test]
    fn a_matrix_has_as_many_values_as_places() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let matrix = Matrix::new(&values, 3, 2).unwrap();
        assert_eq!((matrix.row(1), matrix.row(3)), (&[3.0, 4.0][..], &[][..]));
        assert_eq!(matrix.some_rows(1..9).values(), &values[2..]);
        assert_eq!(matrix.some_rows(7..9).shape(), (0, 2));
        let error = Matrix::new(&values, 2, 2).unwrap_err();
        assert_eq!(error, ComputeError::Values { values: 6, rows: 2, columns: 2 });
        assert!(Matrix::new(&[], usize::MAX, 2).is_err());
    }
}
