//! The search for centroids: several starts, each improved, of which the best counts.

use super::config::{Algorithm, DistanceType, KMeansConfig, NUM_CLUSTERS};
use super::evaluation::Evaluation;
use super::lloyd::{self, Found};
use super::mini_batch;
use super::seeding::choose;
use super::space::Space;
use crate::batch::{FitControl, Iteration, TrainingSet};
use crate::error::{MlError, Result};
use crate::options::invalid;
use crate::random::Random;

/// Values of all centroids at most: 32 MB, of which each of up to 16 stretches of rows has a sum.
const VALUES_MAX: usize = 1 << 22;

/// Where one start led.
pub(super) struct Fit {
    pub(super) found: Found,
    pub(super) evaluation: Evaluation,
    pub(super) loss: f64,
    /// What is minimised, after each pass: by now, or of mini-batches of their rows.
    pub(super) history: Vec<Iteration>,
}

/// The centroids of prepared and centred rows for another model to start from; each has its numbers, then a share for
/// each category.
///
/// # Errors
/// As [`best_of`].
pub(crate) fn first_centroids(set: &TrainingSet, control: &FitControl, config: &KMeansConfig) -> Result<Vec<f64>> {
    let space = Space::new(set, control, config.distance);
    Ok(best_of(&space, config)?.found.values)
}

/// The best of the searches; of equals, the first.
///
/// # Errors
/// `NoRows`, `Stopped`, or `InvalidOption` for more clusters than there are different rows or room.
pub(super) fn best_of(space: &Space<'_>, config: &KMeansConfig) -> Result<Fit> {
    let clusters = clusters(space.set, config)?;
    let enough = config.tolerance * mean_variance(space)?;
    let mut random = Random::from_counter(config.seed);
    let mut best: Option<Fit> = None;
    for _ in 0..config.num_init {
        let start = start(space, config, clusters, &mut random)?;
        let mut found = match config.algorithm {
            Algorithm::Lloyd => lloyd::search(space, start, enough, config.max_iterations)?,
            Algorithm::MiniBatch => {
                // Of a whole point, not of one of its values.
                let enough = enough * space.width() as f64;
                mini_batch::search(space, start, enough, config, &mut random)?
            }
        };
        let evaluation = Evaluation::of(space, &found.values)?;
        let loss = evaluation.loss(space.distance);
        if best.as_ref().is_none_or(|best| loss < best.loss) {
            let mut history = std::mem::take(&mut found.history);
            if config.algorithm == Algorithm::Lloyd {
                history.push(loss);
            }
            best = Some(Fit { found, evaluation, loss, history: history.ending_with(loss) });
        }
    }
    best.ok_or(MlError::NoRows)
}

/// The clusters to look for.
///
/// # Errors
/// `NoRows`, or `InvalidOption` for more than there are rows or room.
pub(super) fn clusters(set: &TrainingSet, config: &KMeansConfig) -> Result<usize> {
    let clusters = config.clusters(set.rows())?;
    let width = set.slots() - 1;
    if clusters.saturating_mul(width) <= VALUES_MAX {
        return Ok(clusters);
    }
    let expected = format!("at most {}, for {width} numbers and categories", VALUES_MAX / width);
    Err(invalid(NUM_CLUSTERS, &clusters.to_string(), &expected))
}

/// The first centroids. There are fewer than `clusters` of rows that are fewer different points, if the user left the
/// number open.
///
/// # Errors
/// `InvalidOption` if the user did not, or where no row has a direction.
fn start(space: &Space<'_>, config: &KMeansConfig, clusters: usize, random: &mut Random) -> Result<Vec<f64>> {
    let start = match config.algorithm {
        Algorithm::MiniBatch => start_among_few(space, config, clusters, random)?,
        Algorithm::Lloyd => None,
    };
    let start = start.map_or_else(|| choose(space, config.init, clusters, random), Ok)?;
    let different = start.len() / space.width();
    if different == 0 {
        return Err(invalid("distance_type", "cosine", "euclidean, since no row differs from zero"));
    }
    if different < clusters && config.num_clusters.is_some() {
        let expected = format!("at most {different}, since the rows have no more different values");
        return Err(invalid(NUM_CLUSTERS, &clusters.to_string(), &expected));
    }
    Ok(start)
}

/// The first centroids among some rows drawn by chance, if those are fewer than all rows and different enough: to
/// choose among all would take longer than to move centroids by some of them.
fn start_among_few(
    space: &Space<'_>,
    config: &KMeansConfig,
    clusters: usize,
    random: &mut Random,
) -> Result<Option<Vec<f64>>> {
    let rows = (mini_batch::START_BATCHES * config.batch_size).max(mini_batch::START_BATCHES * clusters as u64);
    if rows >= space.set.rows() {
        return Ok(None);
    }
    let few = space.sample(rows, random);
    let start = choose(&space.with_rows(&few), config.init, clusters, random)?;
    Ok((start.len() == clusters * space.width()).then_some(start))
}

/// The mean, over the values of a point, of their variance; of directions, of their squares.
fn mean_variance(space: &Space<'_>) -> Result<f64> {
    let width = space.width() as f64;
    if space.distance == DistanceType::Cosine {
        return Ok(1.0 / width);
    }
    let squares = space.set.mean_squares(space.control)?;
    let (numbers, shares) = squares[1..].split_at(space.set.numeric());
    // Numbers are centred, and a category is 1 or 0.
    let variances = numbers.iter().copied().chain(shares.iter().map(|share| share * (1.0 - share)));
    Ok(variances.sum::<f64>() / width)
}
