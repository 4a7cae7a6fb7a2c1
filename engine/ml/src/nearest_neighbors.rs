//! k-nearest neighbours: a row is what the stored rows nearest to it are (Cover and Hart 1967).
//!
//! Of a class the probability is its share of the neighbours, of a number it is their mean; each counts the same, or by
//! one over its distance. The answer is exact: all rows are looked at, and of rows at the same distance the earlier
//! ones are the neighbours. As scikit-learn's `KNeighborsClassifier` and `KNeighborsRegressor` with `algorithm='brute'`.
//!
//! Numbers are standardised unless `standardize_features` is false, and a missing one is the mean. Categories are
//! one-hot: two different ones are the root of 2 apart, or 2 for the Manhattan distance, whatever the scale of
//! numbers; one that was never seen is 1 apart from any. The model holds all rows as `f64`, since 32 bits would make
//! rows equally far that are not.

pub(crate) mod batch;
pub(crate) mod config;
mod explain;
mod on_device;
mod rows;
mod search;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod throughput;

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};

use self::config::{Distance, NEIGHBORS_MAX, Weights};
use self::on_device::{ROWS_A_DEVICE_BLOCK, RowsOnDevice};
use self::rows::Rows;
use self::search::{Neighbor, nearest};
use crate::batch::CLIP;
use crate::classes::Classes;
use crate::error::{MlError, Result};
use crate::explain::Explanations;
use crate::feature::encoder::{Encoder, EncoderState, Numbers};
use crate::model::{FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::predictor::{Predictions, Supervised};
use crate::snapshot;

/// The name of a classifier in `CREATE MODEL`.
pub(crate) const CLASSIFIER: &str = "knn_classifier";

/// That of a model of numbers.
pub(crate) const REGRESSOR: &str = "knn_regressor";

pub(crate) const SNAPSHOT_TAG: u8 = 21;

/// Rows that are asked for together: so often is each stored row used once it is in the cache.
const ROWS_A_BLOCK: usize = 64;

/// A model that holds its rows; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct NearestNeighbors {
    encoder: Encoder,
    target: Target,
    settings: Settings,
    rows: Rows,
    /// The rows where they may be found sooner.
    on_device: RowsOnDevice,
}

/// What is predicted, and each row's label.
#[derive(Debug, Clone, Encode, Decode)]
enum Target {
    /// Labels are the places of classes.
    Classes {
        classes: Classes,
        labels: Vec<u32>,
    },
    Numbers {
        labels: Vec<f64>,
    },
}

/// How neighbours are found, and how they answer.
#[derive(Debug, Clone, Copy, Encode, Decode)]
struct Settings {
    num_neighbors: u32,
    distance: Distance,
    weights: Weights,
}

impl Target {
    fn rows(&self) -> usize {
        match self {
            Self::Classes { labels, .. } => labels.len(),
            Self::Numbers { labels } => labels.len(),
        }
    }

    /// How many values the answer to a row has: a probability of each class, or one number.
    fn width(&self) -> usize {
        match self {
            Self::Classes { classes, .. } => classes.names().len(),
            Self::Numbers { .. } => 1,
        }
    }

    fn check(&self) -> Result<()> {
        let is_plausible = match self {
            Self::Classes { classes, labels } => {
                classes.check()?;
                classes.total_rows() == labels.len() as u64
                    && labels.iter().all(|label| (*label as usize) < classes.names().len())
            }
            Self::Numbers { labels } => labels.iter().all(|label| label.abs() <= NUMERIC_MAGNITUDE_MAX),
        };
        if is_plausible { Ok(()) } else { Err(MlError::corrupt("the labels are not those of its rows")) }
    }

    /// What neighbours say, given how much each counts.
    fn answer(&self, neighbors: &[Neighbor], weights: &[f64], answer: &mut [f64]) {
        answer.fill(0.0);
        for (neighbor, weight) in neighbors.iter().zip(weights) {
            match self {
                Self::Classes { labels, .. } => answer[labels[neighbor.row as usize] as usize] += weight,
                Self::Numbers { labels } => answer[0] += weight * labels[neighbor.row as usize],
            }
        }
        let total: f64 = weights.iter().sum();
        answer.iter_mut().for_each(|value| *value /= total);
    }
}

impl NearestNeighbors {
    /// Reads what [`State::seal`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of nearest neighbours"));
        }
        let State { encoder, target, settings, numbers, categories } = snapshot::decode(payload)?;
        target.check()?;
        let count = target.rows();
        let encoder = encoder.into_encoder(count as u64)?;
        let (numeric, categorical) = (encoder.numeric(), encoder.categories().len());
        if !(1..=NEIGHBORS_MAX).contains(&settings.num_neighbors) || settings.num_neighbors as usize > count {
            return Err(MlError::corrupt("the number of neighbours does not fit the rows"));
        }
        if !matches!(encoder.numbers(), Numbers::Standardized { .. } | Numbers::MeanForMissing) {
            return Err(MlError::corrupt("a missing number would be at no distance"));
        }
        let is_plausible = |number: &f64| number.abs() <= CLIP.max(NUMERIC_MAGNITUDE_MAX);
        if numbers.len() != count * numeric
            || categories.len() != count * categorical
            || !numbers.iter().all(is_plausible)
            || !categories.iter().all(|slot| (1 + numeric..encoder.slots()).contains(&(*slot as usize)))
        {
            return Err(MlError::corrupt("the rows do not fit the labels and the features"));
        }
        let mut rows = Rows::new(settings.distance, numeric, categorical);
        rows.reserve(count);
        for row in 0..count {
            rows.push(
                &numbers[row * numeric..(row + 1) * numeric],
                &categories[row * categorical..(row + 1) * categorical],
            );
        }
        Ok(Self { encoder, target, settings, rows, on_device: RowsOnDevice::default() })
    }

    /// Answers the rows of a block.
    fn answer(&self, block: &mut Block, said: &mut [Vec<f64>]) {
        let mut answer = vec![0.0; said.len()];
        let mut weights = Vec::new();
        let count = self.settings.num_neighbors as usize;
        let found = self.on_device.nearest(&self.rows, &block.asked, count);
        let neighbors = found.unwrap_or_else(|| nearest(&self.rows, &block.asked, count));
        for (row, neighbors) in block.rows.iter().zip(&neighbors) {
            self.settings.weights.of(neighbors, &mut weights);
            self.target.answer(neighbors, &weights, &mut answer);
            said.iter_mut().zip(&answer).for_each(|(said, value)| said[*row] = *value);
        }
        block.rows.clear();
        block.asked.clear();
    }
}

impl Weights {
    /// How much each of a row's neighbours counts, by its distance.
    fn of(self, neighbors: &[Neighbor], weights: &mut Vec<f64>) {
        let nearest = neighbors.first().map_or(0.0, |neighbor| neighbor.distance);
        weights.clear();
        weights.extend(neighbors.iter().map(|neighbor| match self {
            // Times the distance of the nearest, so that no weight is infinite. Neighbours at no distance answer alone.
            Self::Distance if neighbor.distance > 0.0 => nearest / neighbor.distance,
            Self::Distance | Self::Uniform => 1.0,
        }));
    }
}

/// Some rows that are answered together.
struct Block {
    /// Their places in the batch.
    rows: Vec<usize>,
    asked: Rows,
}

impl Supervised for NearestNeighbors {
    fn model_type(&self) -> &'static str {
        match self.target {
            Target::Classes { .. } => CLASSIFIER,
            Target::Numbers { .. } => REGRESSOR,
        }
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn label_type(&self) -> DataType {
        match &self.target {
            Target::Classes { classes, .. } => classes.kind().data_type(),
            Target::Numbers { .. } => DataType::Float64,
        }
    }

    fn class_names(&self) -> Vec<String> {
        match &self.target {
            Target::Classes { classes, .. } => classes.names().to_vec(),
            Target::Numbers { .. } => Vec::new(),
        }
    }

    fn rows_learnt(&self) -> u64 {
        self.target.rows() as u64
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let (numeric, categorical) = (self.encoder.numeric(), self.encoder.categories().len());
        let mut said = vec![vec![0.0; features.num_rows()]; self.target.width()];
        let asked = Rows::new(self.settings.distance, numeric, categorical);
        let is_worth = self.on_device.is_worth(&self.rows, features.num_rows(), self.settings.num_neighbors as usize);
        let block_rows = if is_worth { ROWS_A_DEVICE_BLOCK } else { ROWS_A_BLOCK };
        let mut block = Block { rows: Vec::with_capacity(block_rows.min(features.num_rows())), asked };
        let usable = self.encoder.visit(features, |row, slots, values| {
            block.rows.push(row);
            block.asked.push(&values[1..=numeric], &slots[1 + numeric..]);
            if block.rows.len() == block_rows {
                self.answer(&mut block, &mut said);
            }
        })?;
        self.answer(&mut block, &mut said);
        match &self.target {
            Target::Numbers { .. } => {
                let numbers = said.pop().unwrap_or_default();
                Ok(Predictions::without_classes(Arc::new(Float64Array::new(numbers.into(), usable))))
            }
            Target::Classes { classes, .. } => Ok(classes.predictions(said, usable)),
        }
    }

    fn explanations(&self, features: &RecordBatch, said: &Predictions) -> Result<Option<Explanations>> {
        self.explained(features, said).map(Some)
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    target: Target,
    settings: Settings,
    /// Row by row, encoded and without missing ones.
    numbers: Vec<f64>,
    /// Row by row, the slots of categories.
    categories: Vec<u32>,
}

impl State {
    fn seal(&self) -> Result<Vec<u8>> {
        snapshot::seal(SNAPSHOT_TAG, self)
    }
}
