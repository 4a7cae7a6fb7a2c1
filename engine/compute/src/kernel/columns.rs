//! Sums over the rows of a matrix: of each column the sum, that of squares, the smallest and the largest number.

use std::num::NonZeroUsize;

use super::lanes::Instructions;
use super::stretches::map_stretches;
use crate::matrix::Matrix;

/// Sums side by side, at least: each waits for its last addition, which goes by way of memory.
const SUMS_MIN: usize = 64;

/// What the columns of a matrix come to.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSums {
    /// Of each column the sum of its numbers.
    pub sums: Vec<f64>,
    /// The sum of their squares.
    pub squares: Vec<f64>,
    /// The smallest; infinite of no rows, and NaN is none.
    pub smallest: Vec<f64>,
    /// The largest likewise.
    pub largest: Vec<f64>,
}

impl ColumnSums {
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            sums: vec![0.0; columns],
            squares: vec![0.0; columns],
            smallest: vec![f64::INFINITY; columns],
            largest: vec![f64::NEG_INFINITY; columns],
        }
    }

    /// Adds those of other rows, as many columns or more of which the first count.
    pub(crate) fn merge(&mut self, sums: &[f64], squares: &[f64], smallest: &[f64], largest: &[f64]) {
        self.sums.iter_mut().zip(sums).for_each(|(own, other)| *own += other);
        self.squares.iter_mut().zip(squares).for_each(|(own, other)| *own += other);
        self.smallest.iter_mut().zip(smallest).for_each(|(own, other)| *own = own.min(*other));
        self.largest.iter_mut().zip(largest).for_each(|(own, other)| *own = own.max(*other));
    }
}

/// What the columns come to: of some rows side by side first, where there are few columns, and of stretches of rows.
#[must_use]
pub fn column_sums(matrix: Matrix<'_>, threads: NonZeroUsize) -> ColumnSums {
    column_sums_by(Instructions::fastest(), matrix, threads)
}

pub(crate) fn column_sums_by(by: Instructions, matrix: Matrix<'_>, threads: NonZeroUsize) -> ColumnSums {
    let columns = matrix.columns();
    let mut total = ColumnSums::new(columns);
    if columns == 0 {
        return total;
    }
    let width = SUMS_MIN.div_ceil(columns) * columns;
    let parts = map_stretches(matrix.rows(), matrix.values().len(), threads, |rows| {
        let mut sums = ColumnSums::new(width);
        by.run(|| add_values(matrix.some_rows(rows).values(), &mut sums));
        sums
    });
    for part in &parts {
        for place in (0..width).step_by(columns) {
            total.merge(&part.sums[place..], &part.squares[place..], &part.smallest[place..], &part.largest[place..]);
        }
    }
    total
}

/// Adds numbers as rows that are as long as there are sums.
#[inline(always)]
fn add_values(values: &[f64], sums: &mut ColumnSums) {
    for row in values.chunks(sums.sums.len()) {
        let count = row.len();
        let (added, squares) = (&mut sums.sums[..count], &mut sums.squares[..count]);
        let (smallest, largest) = (&mut sums.smallest[..count], &mut sums.largest[..count]);
        for place in 0..count {
            let value = row[place];
            added[place] += value;
            squares[place] += value * value;
            smallest[place] = if value < smallest[place] { value } else { smallest[place] };
            largest[place] = if value > largest[place] { value } else { largest[place] };
        }
    }
}
