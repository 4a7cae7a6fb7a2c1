//! The nearest stored rows of some rows, found by looking at all of them.
//!
//! A distance is a sum over the numbers from the first to the last, of squared differences and not of products of the
//! rows with themselves and each other (`|a|² + |b|² - 2ab`): that would take one operation less of three, and cancel
//! the digits by which near rows differ. Every asked row is answered for itself, so whoever cuts them over threads
//! changes no bit.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::ops::Range;

use super::lanes::{Instructions, LANES, Lane};
use super::stretches::map_stretches;
use crate::error::{ComputeError, Result};
use crate::matrix::Matrix;

/// Bytes of stored rows that are compared with all asked rows before the next are: half a nearest cache.
const STRETCH_BYTES: usize = 16 << 10;

/// A stored row, and how far it is from the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// In what the search measures; [`nearest`] measures squared differences.
    pub distance: f64,
    /// Which of the stored rows, from 0.
    pub row: u32,
}

/// The `count` nearest stored rows of each asked row by squared Euclidean distance, the nearest first; of rows at the
/// same distance, the earlier one. A row whose distance is no finite number is nobody's neighbour, so there may be
/// fewer.
///
/// # Errors
/// `Shapes` if the rows of one are longer than those of the other, or if there are too many stored rows for 32 bits.
pub fn nearest(stored: Matrix<'_>, asked: Matrix<'_>, count: usize) -> Result<Vec<Vec<Neighbor>>> {
    nearest_by(Instructions::fastest(), stored, asked, count, NonZeroUsize::MIN)
}

/// The nearest stored row of each asked row, such as the centroid that a point belongs to: [`nearest`] of one. `None`
/// where no distance is a finite number.
///
/// # Errors
/// As [`nearest`].
pub fn assign(points: Matrix<'_>, centroids: Matrix<'_>) -> Result<Vec<Option<Neighbor>>> {
    assign_on(points, centroids, NonZeroUsize::MIN)
}

/// The same on several threads.
///
/// # Errors
/// As [`nearest`].
pub(crate) fn assign_on(
    points: Matrix<'_>,
    centroids: Matrix<'_>,
    threads: NonZeroUsize,
) -> Result<Vec<Option<Neighbor>>> {
    let nearest = nearest_by(Instructions::fastest(), centroids, points, 1, threads)?;
    Ok(nearest.into_iter().map(|found| found.first().copied()).collect())
}

pub(crate) fn check_shapes(stored: (usize, usize), asked: (usize, usize)) -> Result<()> {
    if stored.1 != asked.1 || u32::try_from(stored.0).is_err() {
        return Err(ComputeError::Shapes { operation: "distances", left: stored, right: asked });
    }
    Ok(())
}

pub(crate) fn nearest_by(
    by: Instructions,
    stored: Matrix<'_>,
    asked: Matrix<'_>,
    count: usize,
    threads: NonZeroUsize,
) -> Result<Vec<Vec<Neighbor>>> {
    check_shapes(stored.shape(), asked.shape())?;
    let stored_rows = Interleaved::of(stored);
    let numbers = stored.values().len().saturating_mul(asked.rows());
    let parts = map_stretches(asked.rows(), numbers, threads, |rows| {
        nearest_of_some(by, &stored_rows, asked.some_rows(rows), count)
    });
    Ok(parts.into_iter().flatten().collect())
}

fn nearest_of_some(by: Instructions, stored: &Interleaved, asked: Matrix<'_>, count: usize) -> Vec<Vec<Neighbor>> {
    let asked_rows = Interleaved::of(asked);
    let groups = stored.rows.div_ceil(LANES);
    let stretch = (STRETCH_BYTES / (stored.columns.max(1) * size_of::<Lane<f64>>())).max(1);
    let mut nearest: Vec<Nearest> = (0..asked.rows()).map(|_| Nearest::new(count)).collect();
    for first in (0..groups).step_by(stretch) {
        let groups = first..(first + stretch).min(groups);
        for (group, nearest) in nearest.chunks_mut(LANES).enumerate() {
            offer_all(by, stored, groups.clone(), asked_rows.group(group), nearest);
        }
    }
    nearest.into_iter().map(Nearest::into_sorted).collect()
}

/// Offers the stored rows of some groups to the asked rows of one.
fn offer_all(
    by: Instructions,
    stored: &Interleaved,
    groups: Range<usize>,
    asked: &[Lane<f64>],
    nearest: &mut [Nearest],
) {
    let mut distances = [[0.0; LANES]; LANES];
    for group in groups {
        by.sums(stored.group(group), asked, |a, b| (a - b) * (a - b), &mut distances);
        for (nearest, distances) in nearest.iter_mut().zip(&distances) {
            nearest.offer(group * LANES, distances, stored.rows);
        }
    }
}

/// Rows in groups of [`LANES`]: of each group first every row's first number, then every row's second. The last group
/// is filled up with rows of zeros.
pub(super) struct Interleaved {
    rows: usize,
    columns: usize,
    numbers: Vec<Lane<f64>>,
}

impl Interleaved {
    pub(super) fn of(matrix: Matrix<'_>) -> Self {
        let (rows, columns) = matrix.shape();
        let mut numbers = vec![[0.0; LANES]; rows.div_ceil(LANES) * columns];
        for row in 0..rows {
            let group = row / LANES * columns;
            for (lanes, number) in numbers[group..].iter_mut().zip(matrix.row(row)) {
                lanes[row % LANES] = *number;
            }
        }
        Self { rows, columns, numbers }
    }

    #[inline]
    pub(super) fn group(&self, group: usize) -> &[Lane<f64>] {
        &self.numbers[group * self.columns..(group + 1) * self.columns]
    }
}

/// The nearest rows of one asked row by now.
#[derive(Debug, Clone)]
pub struct Nearest {
    count: usize,
    /// The farthest on top.
    heap: BinaryHeap<Neighbor>,
    /// What a row must be nearer than to be one of them.
    farthest: f64,
}

impl Nearest {
    /// None by now, of `count` that are looked for.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let farthest = if count > 0 { f64::INFINITY } else { f64::NEG_INFINITY };
        Self { count, heap: BinaryHeap::new(), farthest }
    }

    /// Takes those rows that are near enough, of some whose first is the stored row `first`, but none from the row
    /// `end` on. Rows come in their order, so that a later one at the distance of the farthest is not.
    #[inline]
    pub fn offer(&mut self, first: usize, distances: &Lane<f64>, end: usize) {
        // Few groups hold a near row: all at once are told apart from those that do.
        if distances.iter().fold(false, |any, distance| any | (*distance < self.farthest)) {
            self.take(first, distances, end);
        }
    }

    #[cold]
    fn take(&mut self, first: usize, distances: &Lane<f64>, end: usize) {
        for (row, distance) in (first..end).zip(distances) {
            if *distance < self.farthest {
                self.heap.push(Neighbor { distance: *distance, row: row as u32 });
                if self.heap.len() > self.count {
                    self.heap.pop();
                }
                if let Some(farthest) = self.heap.peek().filter(|_| self.heap.len() == self.count) {
                    self.farthest = farthest.distance;
                }
            }
        }
    }

    /// The nearest first.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Neighbor> {
        self.heap.into_sorted_vec()
    }
}

impl Eq for Neighbor {}

impl PartialOrd for Neighbor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By distance, then by row.
impl Ord for Neighbor {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}
