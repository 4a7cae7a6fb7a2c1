//! k-means fitted to a training set.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;

use super::config::{DistanceType, KMeansConfig, NUM_CLUSTERS};
use super::evaluation::Evaluation;
use super::lloyd::{self, Found};
use super::seeding::choose;
use super::space::Space;
use super::{Clusters, KMeans};
use crate::batch::{BatchModel, CLIP, FitControl, FitReport, TrainingSet};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::invalid;
use crate::random::Random;

/// Values of all centroids at most: 32 MB, of which each of up to 16 stretches of rows has a sum.
const VALUES_MAX: usize = 1 << 22;

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchKMeans {
    config: KMeansConfig,
    set: TrainingSet,
    control: FitControl,
}

/// Where one start led.
struct Fit {
    found: Found,
    evaluation: Evaluation,
    loss: f64,
}

impl BatchKMeans {
    /// A model that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn new(config: KMeansConfig, schema: FeatureSchema) -> Result<Self> {
        config.check_slots(&schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, set, control: FitControl::default() })
    }

    /// What becomes of numbers. Points that are centred cancel fewer digits, but directions are seen from zero.
    fn numbers(&self) -> Numbers {
        match self.config.distance {
            _ if self.config.standardize => Numbers::Standardized { clip: CLIP },
            DistanceType::Euclidean => Numbers::Centred,
            DistanceType::Cosine => Numbers::MeanForMissing,
        }
    }

    /// The clusters to look for.
    ///
    /// # Errors
    /// `NoRows`, or `InvalidOption` for more than there are rows or room.
    fn clusters(&self) -> Result<usize> {
        let clusters = self.config.clusters(self.set.rows())?;
        let width = self.set.slots() - 1;
        if clusters.saturating_mul(width) <= VALUES_MAX {
            return Ok(clusters);
        }
        let expected = format!("at most {}, for {width} numbers and categories", VALUES_MAX / width);
        Err(invalid(NUM_CLUSTERS, &clusters.to_string(), &expected))
    }

    /// The best of the searches; of equals, the first.
    fn search(&self, space: &Space<'_>, clusters: usize) -> Result<Fit> {
        let enough = self.config.tolerance * mean_variance(space)?;
        let mut random = Random::from_counter(self.config.seed);
        let mut best: Option<Fit> = None;
        for _ in 0..self.config.num_init {
            let start = self.start(space, clusters, &mut random)?;
            let found = lloyd::search(space, start, enough, self.config.max_iterations)?;
            let evaluation = Evaluation::of(space, &found.values)?;
            let loss = evaluation.loss(space.distance);
            if best.as_ref().is_none_or(|best| loss < best.loss) {
                best = Some(Fit { found, evaluation, loss });
            }
        }
        best.ok_or(MlError::NoRows)
    }

    /// The first centroids. There are fewer than `clusters` of rows that are fewer different points, if the user
    /// left the number open.
    ///
    /// # Errors
    /// `InvalidOption` if the user did not, or where no row has a direction.
    fn start(&self, space: &Space<'_>, clusters: usize, random: &mut Random) -> Result<Vec<f64>> {
        let start = choose(space, self.config.init, clusters, random)?;
        let different = start.len() / space.width();
        if different == 0 {
            return Err(invalid("distance_type", "cosine", "euclidean, since no row differs from zero"));
        }
        if different < clusters && self.config.num_clusters.is_some() {
            let expected = format!("at most {different}, since the rows have no more different values");
            return Err(invalid(NUM_CLUSTERS, &clusters.to_string(), &expected));
        }
        Ok(start)
    }

    fn report(&self, space: &Space<'_>, fit: &Fit) -> Result<FitReport> {
        let (width, rows) = (space.width(), self.set.rows());
        let order = fit.evaluation.order(&fit.found.values, width);
        let centroid = |place: &usize| &fit.found.values[place * width..(place + 1) * width];
        let clusters = Clusters {
            distance: space.distance,
            rows,
            count: order.len() as u32,
            values: order.iter().flat_map(centroid).copied().collect(),
            means: (space.distance == DistanceType::Cosine).then(|| fit.evaluation.means(&order)),
        };
        if !fit.loss.is_finite() {
            return Err(MlError::Diverged { hint: "scale the features down" });
        }
        Ok(FitReport {
            model: KMeans::new(self.set.encoder(self.numbers()), clusters).snapshot()?,
            rows,
            iterations: fit.found.iterations,
            converged: fit.found.converged,
            loss: fit.loss,
            metrics: fit.evaluation.metrics(space, &fit.found.values),
        })
    }
}

impl BatchModel for BatchKMeans {
    fn model_type(&self) -> &'static str {
        KMeans::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn outputs(&self) -> Vec<Field> {
        KMeans::fields()
    }

    fn add(&mut self, features: &RecordBatch, _labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        self.set.add_unlabelled(features)
    }

    fn rows(&self) -> u64 {
        self.set.rows()
    }

    fn bytes(&self) -> usize {
        self.set.bytes()
    }

    fn set_control(&mut self, control: FitControl) {
        self.control = control;
    }

    fn fit(&mut self) -> Result<FitReport> {
        let clusters = self.clusters()?;
        self.set.prepare(self.numbers(), &self.control)?;
        let space = Space { set: &self.set, control: &self.control, distance: self.config.distance };
        let fit = self.search(&space, clusters)?;
        self.report(&space, &fit)
    }
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
