//! Lloyd's algorithm (1982): each row goes to its nearest centroid, each centroid to the mean of its rows, and so on.
//!
//! Of directions the mean is taken as a direction again (Dhillon and Modha 2001). All distances are computed in each
//! pass, of four rows and eight centroids at once; bounds on them (Elkan 2003, Hamerly 2010) would save most where there
//! are many centroids.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::lanes::Instructions;

use super::centroids::{Centroids, ROWS};
use super::config::DistanceType;
use super::on_device::RowsOnDevice;
use super::space::Space;
use crate::batch::Row;
use crate::batch::history::History;
use crate::error::Result;

/// Where a search came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// The centroids' values, one centroid after another.
    pub(super) values: Vec<f64>,
    pub(super) iterations: u64,
    /// Whether the centroids stood still in the end.
    pub(super) converged: bool,
    /// What is minimised, after each pass.
    pub(super) history: History,
}

/// Moves centroids until the sum of their squared movements is `enough` or less, or `iterations_max` times.
///
/// # Errors
/// `Stopped`.
pub(super) fn search(space: &Space<'_>, start: Vec<f64>, enough: f64, iterations_max: u64) -> Result<Found> {
    let on_device = RowsOnDevice::of(space, start.len() / space.width().max(1), iterations_max);
    let (mut values, mut history) = (start, History::default());
    for iterations in 1..=iterations_max {
        let centroids = space.centroids(&values);
        let nearest = on_device.as_ref().and_then(|rows| rows.nearest(&values));
        let sums = Sums::of(space, (&centroids, &values), nearest.as_deref().unwrap_or_default())?;
        // How far rows are from their centroids is known when they are next compared with them.
        if iterations > 1 {
            history.push(sums.loss);
        }
        let mut next = sums.means(space.distance, &values);
        relocate(space, &centroids, &sums.counts, &mut next)?;
        let moved = squared_movement(&values, &next);
        values = next;
        // Rows that go where they went before have the same means, bit by bit.
        if moved <= enough {
            return Ok(Found { values, iterations, converged: true, history });
        }
    }
    Ok(Found { values, iterations: iterations_max, converged: false, history })
}

/// The sum of the squared distances from old centroids to new ones.
pub(super) fn squared_movement(old: &[f64], new: &[f64]) -> f64 {
    old.iter().zip(new).map(|(old, new)| (new - old) * (new - old)).sum()
}

/// The sums of the rows of each centroid.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Sums {
    width: usize,
    /// For each centroid the sum of its points.
    points: Vec<f64>,
    /// The rows of each centroid.
    pub(super) counts: Vec<u64>,
    /// What is minimised: the sum of their squared distances, or of directions that of their distances.
    pub(super) loss: f64,
}

impl Sums {
    /// Those of no rows, for so many centroids of `width` values.
    pub(super) fn new(width: usize, count: usize) -> Self {
        Self { width, points: vec![0.0; width * count], counts: vec![0; count], loss: 0.0 }
    }

    /// Those of each row's nearest centroid, of centroids and their values; some may be `known`, by the rows' numbers.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn of(
        space: &Space<'_>,
        (centroids, values): (&Centroids, &[f64]),
        known: &[Option<u32>],
    ) -> Result<Self> {
        let empty = || Self::new(space.width(), centroids.count());
        let instructions = Instructions::fastest();
        let parts = space.fold(empty, |sums, four| {
            let known = known.get(four.first..four.first + four.count).and_then(four_of);
            let nearest = known.unwrap_or_else(|| centroids.nearest(&four.rows));
            instructions.run(|| sums.add(space, &four.rows, &nearest[..four.count], centroids, values));
        })?;
        let mut total = empty();
        parts.iter().for_each(|part| total.merge(part));
        Ok(total)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.points.iter_mut().zip(&other.points).for_each(|(own, others)| *own += others);
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, others)| *own += others);
        self.loss += other.loss;
    }

    #[inline(always)]
    fn add(
        &mut self,
        space: &Space<'_>,
        rows: &[Row<'_>; ROWS],
        nearest: &[usize],
        centroids: &Centroids,
        values: &[f64],
    ) {
        for place in 0..nearest.len() {
            let (point, centroid) = (space.point(rows[place]), nearest[place]);
            if !point.is_nowhere() {
                self.counts[centroid] += 1;
                let own = centroid * self.width..(centroid + 1) * self.width;
                self.loss += centroids.loss(space.distance, &point, centroid, &values[own.clone()]);
                point.add_to(&mut self.points[own]);
            }
        }
    }

    /// The mean of each centroid's rows; a centroid without rows, or whose rows' directions cancel each other, stays.
    pub(super) fn means(&self, distance: DistanceType, old: &[f64]) -> Vec<f64> {
        let mut means = old.to_vec();
        let sums = self.points.chunks_exact(self.width).zip(&self.counts);
        for (mean, (sum, count)) in means.chunks_exact_mut(self.width).zip(sums) {
            let length = match distance {
                DistanceType::Euclidean => *count as f64,
                DistanceType::Cosine => sum.iter().map(|value| value * value).sum::<f64>().sqrt(),
            };
            if length > 0.0 {
                mean.iter_mut().zip(sum).for_each(|(mean, sum)| *mean = sum / length);
            }
        }
        means
    }
}

/// The centroids of some rows, if all are known.
fn four_of(known: &[Option<u32>]) -> Option<[usize; ROWS]> {
    let mut four = [0; ROWS];
    for (centroid, known) in four.iter_mut().zip(known) {
        *centroid = (*known)? as usize;
    }
    Some(four)
}

/// Moves each centroid without rows to a row that is far from its own centroid: the farthest one first.
fn relocate(space: &Space<'_>, centroids: &Centroids, counts: &[u64], next: &mut [f64]) -> Result<()> {
    let empty: Vec<usize> = (0..counts.len()).filter(|centroid| counts[*centroid] == 0).collect();
    if empty.is_empty() {
        return Ok(());
    }
    for (centroid, row) in empty.iter().zip(farthest(space, centroids, empty.len())?) {
        next[centroid * space.width()..(centroid + 1) * space.width()].copy_from_slice(&space.values(row));
    }
    Ok(())
}

/// The rows that are farthest from their nearest centroid, `count` at most; of equals, the first.
fn farthest(space: &Space<'_>, centroids: &Centroids, count: usize) -> Result<Vec<usize>> {
    let parts = space.fold(
        || (Vec::new(), Vec::new()),
        |(rows, out), four| {
            let points = four.points(space);
            centroids.squared_distances_of_four(&points, out);
            for (place, point) in points.iter().enumerate().take(four.count) {
                let square = out.iter().map(|squares| squares[place]).fold(f64::INFINITY, f64::min);
                if !point.is_nowhere() && square > 0.0 {
                    rows.push((square, four.first + place));
                }
            }
        },
    )?;
    let mut rows: Vec<(f64, usize)> = parts.into_iter().flat_map(|(rows, _)| rows).collect();
    rows.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    Ok(rows.into_iter().take(count).map(|(_, row)| row).collect())
}
