//! Mini-batch k-means (Sculley 2010): each step moves centroids by a few rows that are drawn by chance.
//!
//! Of the rows drawn that have gone to a centroid, the n-th moves it by 1/n of the way to itself. So it is their mean,
//! wherever the centroids were when they came, and moves less and less; of directions it is the direction of their sum.
//! A pass over the rows is as many steps as draw as many rows: it costs what one of Lloyd's does, and moves centroids
//! all along.
//!
//! Chance moves each centroid in each pass, the less rows it has the more, so the sum of all movements says little of
//! what there is to gain. What is looked at is how far a row's centroid moves: the sum of squared distances falls by
//! about that, times the rows. Only the order of draws decides what comes out, since a step's sums run over fixed
//! stretches of rows.

#[cfg(test)]
mod tests;

use super::config::KMeansConfig;
use super::lloyd::{Found, Sums, squared_movement};
use super::space::Space;
use crate::batch::history::History;
use crate::error::Result;
use crate::random::Random;

/// Batches whose rows are enough to start from.
pub(super) const START_BATCHES: u64 = 3;

/// Moves centroids until a pass moves that of a row by `enough` or less, in squares and on average, or so often as the
/// options allow.
///
/// # Errors
/// `Stopped`.
pub(super) fn search(
    space: &Space<'_>,
    start: Vec<f64>,
    enough: f64,
    config: &KMeansConfig,
    random: &mut Random,
) -> Result<Found> {
    let (rows, width) = (space.set.rows(), space.width());
    let batch_rows = config.batch_size.clamp(1, rows.max(1));
    let mut drawn = Sums::new(width, start.len() / width);
    let (mut values, mut history) = (start, History::default());
    for iterations in 1..=config.max_iterations {
        let (values_before, counts_before) = (values.clone(), drawn.counts.clone());
        let steps = rows.div_ceil(batch_rows);
        drawn.loss = 0.0;
        for _ in 0..steps {
            let batch = space.sample(batch_rows, random);
            drawn.merge(&Sums::of(&space.with_rows(&batch), (&space.centroids(&values), &values), &[])?);
            values = drawn.means(space.distance, &values);
        }
        // Of the rows drawn, when they were; of all rows, as many times as much.
        history.push(drawn.loss * rows as f64 / (steps * batch_rows) as f64);
        let came: Vec<u64> = drawn.counts.iter().zip(&counts_before).map(|(count, before)| count - before).collect();
        if mean_movement(&values_before, &values, &came) <= enough {
            return Ok(Found { values, iterations, converged: true, history });
        }
    }
    Ok(Found { values, iterations: config.max_iterations, converged: false, history })
}

/// The mean of the squared movements of the centroids that these many rows each have come to; 0 of no rows.
fn mean_movement(old: &[f64], new: &[f64], rows: &[u64]) -> f64 {
    let width = old.len() / rows.len().max(1);
    let centroids = old.chunks_exact(width.max(1)).zip(new.chunks_exact(width.max(1))).zip(rows);
    let sum: f64 = centroids.map(|((old, new), rows)| *rows as f64 * squared_movement(old, new)).sum();
    sum / rows.iter().sum::<u64>().max(1) as f64
}
