//! The first components without the covariance matrix: subspace iteration from random directions, of some more than
//! are asked for (Halko, Martinsson and Tropp 2011).
//!
//! Each step multiplies the directions with the covariance matrix by one pass over the rows. The step that moves no
//! eigenvalue any more is the last one. A row costs its entries times the directions, so many categories cost little.

use tidemill_compute::kernel::dense::{add_scaled, dot};

use super::batch::Spectrum;
use super::eigen::Eigen;
use crate::batch::{FitControl, Row, TrainingSet, map_shards};
use crate::error::Result;
use crate::random::Random;

/// Directions beyond those asked for: their variances are between those kept and those ignored.
const SPARE: usize = 10;

/// The part of the largest eigenvalue that a step may still move one for the search to be over. What directions are off
/// by is about the root of it over the distance of the eigenvalues.
const TOLERANCE: f64 = 1e-13;

/// Where eigenvalues are so near to each other that this is not enough, it hardly matters which directions are kept.
const STEPS_MAX: u64 = 50;

/// Rows whose features have these means.
pub(super) struct CentredRows<'a> {
    pub(super) set: &'a TrainingSet,
    pub(super) control: &'a FitControl,
    /// Of each encoded feature.
    pub(super) means: Vec<f64>,
}

impl CentredRows<'_> {
    /// The first `count` components, of all that `total` is the variance of.
    ///
    /// # Errors
    /// `Stopped`, or `Diverged` for numbers beyond what can be squared.
    pub(super) fn components(&self, count: usize, total: f64) -> Result<Spectrum> {
        let width = self.means.len();
        let mut random = Random::new(0, 0);
        let draw = |_| (0..width).map(|_| random.fraction() - 0.5).collect::<Vec<_>>();
        let mut directions: Vec<Vec<f64>> = (0..width.min(count + SPARE)).map(draw).collect();
        orthonormalize(&mut directions);
        let mut values: Vec<f64> = Vec::new();
        let mut step = 0;
        loop {
            step += 1;
            let mut images = self.covariance_times(&directions)?;
            let eigen = Eigen::of(products(&directions, &images), self.control)?;
            let enough = TOLERANCE * eigen.values.first().copied().unwrap_or(0.0);
            let mut pairs = values.iter().zip(&eigen.values).take(count);
            let is_still = !values.is_empty() && pairs.all(|(before, now)| (before - now).abs() <= enough);
            // With as many directions as features there is nothing beyond them.
            if is_still || directions.len() == width || step == STEPS_MAX {
                let vectors = eigen.vectors[..count].iter().map(|vector| combined(vector, &directions)).collect();
                let converged = is_still || directions.len() == width;
                return Ok(Spectrum { values: eigen.values, vectors, total, iterations: step, converged });
            }
            orthonormalize(&mut images);
            (directions, values) = (images, eigen.values);
        }
    }

    /// The covariance matrix times each direction.
    fn covariance_times(&self, directions: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let (width, count) = (self.means.len(), directions.len());
        // Feature by feature, so that a row touches the parts of its own entries only.
        let by_feature: Vec<f64> =
            (0..width).flat_map(|feature| directions.iter().map(move |direction| direction[feature])).collect();
        let offset: Vec<f64> = directions.iter().map(|direction| -dot(direction, &self.means)).collect();
        let parts = map_shards(self.set.chunks(), self.control, |chunks| {
            let (mut sums, mut along) = (vec![0.0; width * count], vec![0.0; count]);
            for chunk in chunks.iter().take_while(|_| !self.control.is_stopped()) {
                for row in chunk.iter() {
                    along.copy_from_slice(&offset);
                    entries(&row, |feature, value| add_scaled(&mut along, value, &by_feature[feature * count..]));
                    entries(&row, |feature, value| add_scaled(&mut sums[feature * count..], value, &along));
                }
                // No mean is taken off here: what rows are along a direction adds up to 0 already.
            }
            sums
        })?;
        let mut sums = vec![0.0; width * count];
        parts.iter().for_each(|part| add_scaled(&mut sums, 1.0 / (self.set.rows() - 1) as f64, part));
        Ok((0..count).map(|place| sums.iter().skip(place).step_by(count).copied().collect()).collect())
    }
}

/// Calls `visit` with each encoded feature that is not 0, and its value.
fn entries(row: &Row<'_>, mut visit: impl FnMut(usize, f64)) {
    row.numbers.iter().enumerate().for_each(|(feature, number)| visit(feature, *number));
    row.categories.iter().for_each(|slot| visit(*slot as usize - 1, 1.0));
}

/// What the directions and their images are along each other, the same in both orders.
fn products(directions: &[Vec<f64>], images: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let product = |one: usize, other: usize| {
        (dot(&directions[one], &images[other]) + dot(&directions[other], &images[one])) / 2.0
    };
    (0..images.len()).map(|one| (0..images.len()).map(|other| product(one, other)).collect()).collect()
}

fn combined(shares: &[f64], directions: &[Vec<f64>]) -> Vec<f64> {
    let mut sum = vec![0.0; directions.first().map_or(0, Vec::len)];
    shares.iter().zip(directions).for_each(|(share, direction)| add_scaled(&mut sum, *share, direction));
    sum
}

/// Makes the directions orthogonal to each other and of length 1, by Gram and Schmidt's method.
///
/// One that is a combination of those before it, as where rows have fewer directions, is replaced by another one.
fn orthonormalize(directions: &mut [Vec<f64>]) {
    let mut axes = 0..directions.first().map_or(0, Vec::len);
    for place in 0..directions.len() {
        let (before, rest) = directions.split_at_mut(place);
        let direction = &mut rest[0];
        while !is_made_orthogonal(direction, before) {
            let Some(axis) = axes.next() else { break };
            direction.fill(0.0);
            direction[axis] = 1.0;
        }
    }
}

/// False for a direction of which nothing but rounding is left.
fn is_made_orthogonal(direction: &mut [f64], before: &[Vec<f64>]) -> bool {
    let length = |direction: &[f64]| dot(direction, direction).sqrt();
    let whole = length(direction);
    // The second time takes off what rounding left the first time.
    for _ in 0..2 {
        for other in before {
            let share = dot(direction, other);
            add_scaled(direction, -share, other);
        }
    }
    let left = length(direction);
    if left.is_nan() || left <= 1e-10 * whole {
        return false;
    }
    direction.iter_mut().for_each(|entry| *entry /= left);
    true
}
