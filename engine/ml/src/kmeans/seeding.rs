//! The centroids that a search starts with: rows that differ, chosen by chance.
//!
//! k-means++ (Arthur and Vassilvitskii 2007) chooses each next row with a probability proportional to its squared
//! distance from those chosen before, so that they spread over the rows. As in scikit-learn it is greedy: of
//! `2 + ⌊ln k⌋` such rows it takes the one that leaves the smallest sum of squared distances.

use tidemill_compute::kernel::lanes::Instructions;
use tidemill_compute::kernel::softmax::ln;

use super::centroids::{Centroids, Point, ROWS};
use super::config::InitMethod;
use super::space::Space;
use crate::error::Result;
use crate::random::Random;

/// The values of `clusters` different rows, or of fewer where the rows are no more different points.
///
/// Rows without a direction are never chosen where only directions count.
///
/// # Errors
/// `Stopped`.
pub(super) fn choose(space: &Space<'_>, init: InitMethod, clusters: usize, random: &mut Random) -> Result<Vec<f64>> {
    let trials = match init {
        InitMethod::PlusPlus => 2 + ln(clusters as f64) as usize,
        InitMethod::Random => 1,
    };
    let mut left = has_direction(space)?;
    let mut chosen = Vec::new();
    for centroid in 0..clusters {
        // All rows are as likely before there is a distance.
        let weighs = centroid > 0 && init == InitMethod::PlusPlus;
        let trials = if weighs { trials } else { 1 };
        let candidates = candidates(&left, weighs, trials, random);
        let Some(row) = best(space, &left, candidates)? else { break };
        let values = space.values(row);
        left = squares_left(space, &left, &values)?;
        chosen.extend(values);
    }
    Ok(chosen)
}

/// 0 for a row that cannot be a centroid, and infinity for all others: there is no centroid yet.
fn has_direction(space: &Space<'_>) -> Result<Vec<f64>> {
    let parts = space.fold(Vec::new, |rows, four| {
        let points = four.rows[..four.count].iter().map(|row| space.point(*row));
        rows.extend(points.map(|point| if point.is_nowhere() { 0.0 } else { f64::INFINITY }));
    })?;
    Ok(parts.concat())
}

/// Rows chosen by chance, given the squared distance of each from the nearest centroid; none where all are 0.
pub(super) fn candidates(left: &[f64], weighs: bool, trials: usize, random: &mut Random) -> Vec<usize> {
    let mut total = 0.0;
    let sums: Vec<f64> = left
        .iter()
        .map(|square| {
            let weight = if weighs { *square } else { f64::from(u8::from(*square > 0.0)) };
            total += weight;
            total
        })
        .collect();
    let Some(last) = left.iter().rposition(|square| *square > 0.0) else { return Vec::new() };
    // The first row whose sum is larger: one whose weight is 0 adds nothing, and so is never the first.
    let row_at = |target: f64| sums.partition_point(|sum| *sum <= target).min(last);
    (0..trials).map(|_| row_at(random.fraction() * total)).collect()
}

/// The candidate that leaves the smallest sum of squared distances; of equals, the first.
fn best(space: &Space<'_>, left: &[f64], candidates: Vec<usize>) -> Result<Option<usize>> {
    if candidates.len() < 2 {
        return Ok(candidates.first().copied());
    }
    let values: Vec<f64> = candidates.iter().flat_map(|row| space.values(*row)).collect();
    let centroids = space.centroids(&values);
    let parts = space.fold(
        || (vec![0.0; candidates.len()], Vec::new()),
        |(sums, squares), four| {
            centroids.squared_distances_of_four(&four.points(space), squares);
            let left = &left[four.first..four.first + four.count];
            for candidate in 0..sums.len() {
                for row in 0..left.len() {
                    sums[candidate] += left[row].min(squares[candidate][row]);
                }
            }
        },
    )?;
    let sum = |candidate: usize| parts.iter().map(|(sums, _)| sums[candidate]).sum::<f64>();
    let sums: Vec<f64> = (0..candidates.len()).map(sum).collect();
    let best = (0..sums.len()).reduce(|best, next| if sums[next] < sums[best] { next } else { best });
    Ok(best.map(|best| candidates[best]))
}

/// The squared distances of points from one centroid.
#[inline(always)]
fn squares_to(points: &[Point<'_>; ROWS], values: &[f64], category_squares: f64) -> [f64; ROWS] {
    let [a, b, c, d] = points;
    [
        a.squared_distance(values, category_squares),
        b.squared_distance(values, category_squares),
        c.squared_distance(values, category_squares),
        d.squared_distance(values, category_squares),
    ]
}

/// The squared distance of each row from the nearest centroid, once there is one more.
fn squares_left(space: &Space<'_>, left: &[f64], values: &[f64]) -> Result<Vec<f64>> {
    let category_squares: f64 = values[space.set.numeric()..].iter().map(|value| value * value).sum();
    let instructions = Instructions::fastest();
    let parts = space.fold(Vec::new, |squares, four| {
        let points = four.points(space);
        let of_four = instructions.run(|| squares_to(&points, values, category_squares));
        for row in 0..four.count {
            squares.push(left[four.first + row].min(Centroids::without_noise(space.distance, of_four[row])));
        }
    })?;
    Ok(parts.concat())
}
