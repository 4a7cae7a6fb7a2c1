//! The mean loss of a linear model over a training set, as a function of its weights, for a search.
#![expect(clippy::needless_range_loop, reason = "iterators over several slices are calls in the innermost loops")]

use tidemill_compute::kernel::dense::{add_four_scaled_inlined, add_scaled, add_scaled_inlined, dot, dot_inlined};
use tidemill_compute::kernel::lanes::Instructions;

use super::lbfgs::Objective;
use super::preconditioner::Preconditioner;
use crate::batch::{Chunk, FitControl, Row, TrainingSet, map_numbered_shards};
use crate::error::Result;

/// Rows at a time. With 30 numbers they are 15 kB, which stay in the nearest cache.
const BLOCK_ROWS: usize = 64;

/// The sum of the rows' losses and half `l2` times the sum of the squared weights, intercept spared.
///
/// Slot 0 of the weights is the intercept, then come the numbers, then the categories.
pub(crate) struct MeanLoss<'a, F> {
    pub(crate) set: &'a TrainingSet,
    /// The rows that count: those of the set, or a sample of them.
    pub(crate) chunks: &'a [Chunk],
    pub(crate) control: &'a FitControl,
    pub(crate) l2: f64,
    pub(crate) preconditioner: Preconditioner,
    /// The loss of a row and its slope, given its number, what the model says and the label; both divided by the number
    /// of rows, or by their weight.
    pub(crate) row_loss: F,
}

impl<'a, F: Fn(usize, f64, f64) -> (f64, f64) + Sync> MeanLoss<'a, F> {
    /// Over all rows of a set.
    pub(crate) fn over(
        set: &'a TrainingSet,
        control: &'a FitControl,
        l2: f64,
        preconditioner: Preconditioner,
        row_loss: F,
    ) -> Self {
        Self { set, chunks: set.chunks(), control, l2, preconditioner, row_loss }
    }

    /// The part of some rows, from the one with the number `number` on: their loss, and their gradient added to `gradient`.
    #[inline(always)]
    fn add_rows(&self, mut number: usize, chunks: &[Chunk], weights: &[f64], gradient: &mut [f64]) -> f64 {
        let mut loss = 0.0;
        // First the scores of a few rows, of which then follow the losses and the slopes, four rows at a time in vector
        // registers: one row's long chain of operations does not wait for another's.
        let (mut losses, mut slopes) = ([0.0; BLOCK_ROWS], [0.0; BLOCK_ROWS]);
        for chunk in chunks {
            if self.control.is_stopped() {
                break;
            }
            for first in (0..chunk.rows()).step_by(BLOCK_ROWS) {
                let count = BLOCK_ROWS.min(chunk.rows() - first);
                let labels = &chunk.labels()[first..first + count];
                let (losses, slopes) = (&mut losses[..count], &mut slopes[..count]);
                for row in 0..count {
                    slopes[row] = score_inlined(&chunk.row(first + row), weights);
                }
                for row in 0..count {
                    (losses[row], slopes[row]) = (self.row_loss)(number + row, slopes[row], labels[row]);
                }
                number += count;
                for row in 0..count {
                    loss += losses[row];
                }
                add_slopes(chunk, first, slopes, gradient);
            }
        }
        loss
    }
}

/// Adds the features of some rows from `first` on, each times its slope.
#[inline(always)]
fn add_slopes(chunk: &Chunk, first: usize, slopes: &[f64], gradient: &mut [f64]) {
    let mut rows = first;
    let (fours, rest) = slopes.as_chunks::<4>();
    for four in fours {
        let numbers = [0, 1, 2, 3].map(|row| chunk.row(rows + row).numbers);
        add_four_scaled_inlined(&mut gradient[1..=numbers[0].len()], *four, numbers);
        rows += four.len();
    }
    for slope in rest {
        let numbers = chunk.row(rows).numbers;
        add_scaled_inlined(&mut gradient[1..=numbers.len()], *slope, numbers);
        rows += 1;
    }
    for (slope, row) in slopes.iter().zip(first..) {
        gradient[0] += slope;
        for &slot in chunk.row(row).categories {
            gradient[slot as usize] += slope;
        }
    }
}

impl<F: Fn(usize, f64, f64) -> (f64, f64) + Sync> Objective for MeanLoss<'_, F> {
    fn evaluate(&self, point: &[f64], gradient: &mut [f64]) -> Result<f64> {
        let parts = map_numbered_shards(self.chunks, self.control, |first, chunks| {
            let mut gradient = vec![0.0; point.len()];
            let loss = Instructions::fastest().run(|| self.add_rows(first, chunks, point, &mut gradient));
            (loss, gradient)
        })?;
        gradient.fill(0.0);
        let mut loss = 0.0;
        for (part_loss, part) in parts {
            loss += part_loss;
            add_scaled(gradient, 1.0, &part);
        }
        let weights = &point[1..];
        add_scaled(&mut gradient[1..], self.l2, weights);
        Ok(loss + 0.5 * self.l2 * dot(weights, weights))
    }

    fn precondition(&self, gradient: &mut [f64]) {
        self.preconditioner.apply(gradient);
    }
}

/// What a linear model with these weights says of a row: its value, or its log-odds.
pub(crate) fn score(row: &Row<'_>, weights: &[f64]) -> f64 {
    score_inlined(row, weights)
}

/// The same within functions that have instructions of their own.
#[inline(always)]
pub(crate) fn score_inlined(row: &Row<'_>, weights: &[f64]) -> f64 {
    let numbers = dot_inlined(row.numbers, &weights[1..=row.numbers.len()]);
    row.categories.iter().fold(weights[0] + numbers, |sum, &slot| sum + weights[slot as usize])
}
