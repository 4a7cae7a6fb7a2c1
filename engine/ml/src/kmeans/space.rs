//! The rows of a training set as points among centroids, gone through on several threads.

use bincode::{Decode, Encode};
use tidemill_compute::device::{Compute, chosen};

use super::centroids::{Centroids, Point, ROWS};
use super::config::DistanceType;
use crate::batch::{Chunk, FitControl, Row, TrainingSet, map_numbered_shards, row_of};
use crate::error::Result;
use crate::random::Random;

/// Prepared rows, and how far they are from each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space<'a> {
    pub(super) set: &'a TrainingSet,
    /// The rows: those of the set, or some of them.
    pub(super) chunks: &'a [Chunk],
    pub(super) control: &'a FitControl,
    pub(super) distance: DistanceType,
    /// What may help to find the nearest centroids.
    pub(super) compute: &'a Compute,
}

/// Some rows that are next to each other, as many as centroids are compared with at once.
pub(super) struct Four<'a> {
    /// The first row's number; of the others it is one more each.
    pub(super) first: usize,
    /// How many of them there are; the last of these fills up the rest.
    pub(super) count: usize,
    pub(super) rows: [Row<'a>; ROWS],
}

impl<'a> Space<'a> {
    /// All rows of a set.
    pub(super) fn new(set: &'a TrainingSet, control: &'a FitControl, distance: DistanceType) -> Self {
        Self { set, chunks: set.chunks(), control, distance, compute: chosen() }
    }

    /// The same with other rows.
    pub(super) fn with_rows<'b>(&self, chunks: &'b [Chunk]) -> Space<'b>
    where
        'a: 'b,
    {
        Space { chunks, ..*self }
    }

    /// Copies of so many of the set's rows, each of them any, by chance.
    pub(super) fn sample(&self, count: u64, random: &mut Random) -> Vec<Chunk> {
        let rows = self.set.rows();
        self.set.copies((0..count).map(|_| random.below(rows)))
    }

    /// Values of a point: the numbers, then one for each category.
    pub(super) fn width(&self) -> usize {
        self.set.slots() - 1
    }

    /// Centroids given by their values.
    pub(super) fn centroids(&self, values: &[f64]) -> Centroids {
        Centroids::new(self.distance, values, self.set.numeric(), self.width())
    }

    #[inline]
    pub(super) fn point<'b>(&self, row: Row<'b>) -> Point<'b> {
        Point::of_row(self.distance, row)
    }

    /// The values of the point that a row is.
    pub(super) fn values(&self, row: usize) -> Vec<f64> {
        let mut values = vec![0.0; self.width()];
        if let Some(row) = row_of(self.chunks, row) {
            self.point(row).add_to(&mut values);
        }
        values
    }

    /// What comes of each stretch of rows: of `start()`, given to `work` with all of them, four by four.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn fold<T: Send + Encode + Decode<()>>(
        &self,
        start: impl Fn() -> T + Sync,
        work: impl Fn(&mut T, &Four<'_>) + Sync,
    ) -> Result<Vec<T>> {
        map_numbered_shards(self.chunks, self.control, |mut first, chunks| {
            let mut state = start();
            for chunk in chunks.iter().take_while(|_| !self.control.is_stopped()) {
                for place in (0..chunk.rows()).step_by(ROWS) {
                    work(&mut state, &Four::of(chunk, first, place));
                }
                first += chunk.rows();
            }
            state
        })
    }
}

impl<'a> Four<'a> {
    #[inline]
    fn of(chunk: &'a Chunk, first: usize, place: usize) -> Self {
        let last = chunk.rows() - 1;
        let row = |row: usize| chunk.row((place + row).min(last));
        let rows = [row(0), row(1), row(2), row(3)];
        Self { first: first + place, count: ROWS.min(chunk.rows() - place), rows }
    }

    /// The rows as points.
    #[inline]
    pub(super) fn points(&self, space: &Space<'_>) -> [Point<'a>; ROWS] {
        let [a, b, c, d] = self.rows;
        [space.point(a), space.point(b), space.point(c), space.point(d)]
    }
}
