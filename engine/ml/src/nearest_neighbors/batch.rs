//! Nearest neighbours fitted to a training set: its rows, encoded, are the model.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;

use super::config::NeighborsConfig;
use super::{CLASSIFIER, REGRESSOR, Settings, State, Target};
use crate::batch::{BatchModel, CLIP, Chunk, FitControl, FitReport, Iteration, TrainingSet};
use crate::classes::{ClassReader, LabelKind};
use crate::error::{MlError, Result};
use crate::feature::encoder::Numbers;
use crate::linear::linear_regression::batch::numeric_labels;
use crate::model::{FeatureSchema, RejectedRow};
use crate::options::{check_slots, invalid};
use crate::snapshot::{self, BYTES_MAX};

/// The rows of a training set, and what will be made of them.
#[derive(Debug)]
pub(crate) struct BatchNearestNeighbors {
    config: NeighborsConfig,
    labels: Labels,
    set: TrainingSet,
    control: FitControl,
}

#[derive(Debug)]
enum Labels {
    Classes(ClassReader),
    Numbers,
}

impl BatchNearestNeighbors {
    /// A classifier that has no rows, for labels of this type.
    ///
    /// # Errors
    /// `UnsupportedLabel`, or `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn classifier(config: NeighborsConfig, schema: FeatureSchema, label: &DataType) -> Result<Self> {
        Self::new(config, schema, Labels::Classes(ClassReader::new(LabelKind::of("label", label)?)))
    }

    /// A model of numbers that has no rows.
    ///
    /// # Errors
    /// `InvalidOption` where `max_categories` allows more than there are slots.
    pub(crate) fn regressor(config: NeighborsConfig, schema: FeatureSchema) -> Result<Self> {
        Self::new(config, schema, Labels::Numbers)
    }

    fn new(config: NeighborsConfig, schema: FeatureSchema, labels: Labels) -> Result<Self> {
        check_slots(config.max_categories, &schema)?;
        let set = TrainingSet::new(schema, config.max_categories);
        Ok(Self { config, labels, set, control: FitControl::default() })
    }

    /// What becomes of numbers.
    fn numbers(&self) -> Numbers {
        if self.config.standardize { Numbers::Standardized { clip: CLIP } } else { Numbers::MeanForMissing }
    }

    fn target(&self) -> Result<Target> {
        let labels = self.set.chunks().iter().flat_map(Chunk::labels);
        match &self.labels {
            Labels::Numbers if self.set.rows() == 0 => Err(MlError::NoRows),
            Labels::Numbers => Ok(Target::Numbers { labels: labels.copied().collect() }),
            Labels::Classes(reader) => {
                let (classes, places) = reader.classes(labels.clone())?;
                Ok(Target::Classes { classes, labels: labels.map(|label| places[*label as usize] as u32).collect() })
            }
        }
    }

    /// # Errors
    /// `InvalidOption` where there are fewer rows than neighbours.
    fn check_neighbors(&self) -> Result<()> {
        if u64::from(self.config.num_neighbors) <= self.set.rows() {
            return Ok(());
        }
        let expected = format!("at most {}, the rows of the training set", self.set.rows());
        Err(invalid("num_neighbors", &self.config.num_neighbors.to_string(), &expected))
    }

    /// Bytes that a row takes in a snapshot at most: eight for each number, five for each category's slot, which is
    /// written with as many bytes as it needs, and eight for the label.
    fn row_bytes(&self) -> usize {
        let features = self.set.schema().fields().len();
        8 * self.set.numeric() + 5 * (features - self.set.numeric()) + 8
    }
}

impl BatchModel for BatchNearestNeighbors {
    fn model_type(&self) -> &'static str {
        match self.labels {
            Labels::Classes(_) => CLASSIFIER,
            Labels::Numbers => REGRESSOR,
        }
    }

    fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    fn add(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<Vec<RejectedRow>> {
        let labels = match &mut self.labels {
            Labels::Classes(reader) => reader.read(labels)?,
            Labels::Numbers => numeric_labels(labels)?,
        };
        self.set.add(features, &labels)
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

    /// Copies the rows. Nothing is minimised, so the loss is 0; and no measure is given, since each row is its own
    /// nearest neighbour: rows that were held out say how good the model is.
    fn fit(&mut self) -> Result<FitReport> {
        let target = self.target()?;
        self.check_neighbors()?;
        self.set.prepare(self.numbers(), &self.control)?;
        let encoder = self.set.encoder(self.numbers()).state();
        // Names of categories take more room to read than written, but less than twice as much.
        let other_bytes = 2 * snapshot::seal(super::SNAPSHOT_TAG, &encoder)?.len() + 1024;
        snapshot::check_rows(self.set.rows(), self.row_bytes(), other_bytes, BYTES_MAX)?;
        let (mut numbers, mut categories) = (Vec::new(), Vec::new());
        for chunk in self.set.chunks() {
            self.control.check()?;
            for row in chunk.iter() {
                numbers.extend_from_slice(row.numbers);
                categories.extend_from_slice(row.categories);
            }
        }
        let NeighborsConfig { num_neighbors, distance, weights, .. } = self.config;
        let settings = Settings { num_neighbors, distance, weights };
        Ok(FitReport {
            model: State { encoder, target, settings, numbers, categories }.seal()?,
            rows: self.set.rows(),
            iterations: 1,
            converged: true,
            loss: 0.0,
            metrics: Vec::new(),
            trials: Vec::new(),
            history: Iteration::only(0.0),
        })
    }
}
