//! k-means fitted to a training set.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;

use super::config::{DistanceType, KMeansConfig};
use super::search::{Fit, best_of, clusters};
use super::space::Space;
use super::{Clusters, KMeans};
use crate::batch::{BatchModel, CLIP, FitControl, FitReport, TrainingSet};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::model::{FeatureSchema, RejectedRow};

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchKMeans {
    config: KMeansConfig,
    set: TrainingSet,
    control: FitControl,
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
            trials: Vec::new(),
            history: fit.history.clone(),
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
        // Before the rows are prepared, so that more can be added where they are too few.
        clusters(&self.set, &self.config)?;
        self.set.prepare(self.numbers(), &self.control)?;
        let space = Space::new(&self.set, &self.control, self.config.distance);
        let fit = best_of(&space, &self.config)?;
        self.report(&space, &fit)
    }
}
