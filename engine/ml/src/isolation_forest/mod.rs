//! An isolation forest: rows that random cuts isolate soon are anomalies (Liu, Ting and Zhou 2008).
//!
//! A row's score is `2^(-path / mean path)`, where the path is how many cuts a tree takes to isolate it, averaged over
//! the trees: near 1 for an anomaly, below 0.5 for a row among many. As scikit-learn's `-score_samples`, up to the
//! random choices. Cuts need an order, so a category counts as the share of the rows that have it: rare ones are
//! anomalies, and one that was never seen is rarer than all. NULL is a category like any other. A row that misses a
//! number goes to either side of a cut.

pub(crate) mod batch;
pub(crate) mod config;
mod paths;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use bincode::{Decode, Encode};
use tidemill_compute::kernel::logistic::sigmoid;

use self::paths::Paths;
use self::tree::{Tree, mean_path};
use crate::error::{MlError, Result};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::model::FeatureSchema;
use crate::predictor::Predictor;
use crate::snapshot;

/// Rows that each tree answers before the next tree does: they and a tree fit into a cache.
const ROWS_A_BLOCK: usize = 128;

/// How far scores may be off by rounding: rows that are all the same have 0.5, and are no anomalies.
const SCORE_ROUNDING: f64 = 1e-12;

/// A fitted forest.
#[derive(Debug, Clone)]
pub(crate) struct IsolationForest {
    encoder: Encoder,
    forest: Forest,
    /// Those of its trees.
    paths: Vec<Paths>,
    rows: u64,
}

/// Trees and what their answers mean.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Forest {
    /// Of the rows that the model was made of, the part that has each category, in the order of the slots.
    shares: Vec<f64>,
    trees: Vec<Tree>,
    /// Rows that each tree was grown from.
    sample_rows: u32,
    /// Rows with a larger score are anomalies.
    threshold: f64,
}

impl IsolationForest {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "isolation_forest";

    pub(crate) const SNAPSHOT_TAG: u8 = 31;

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of an isolation forest"));
        }
        let State { encoder, forest, rows } = snapshot::decode(payload)?;
        let encoder = encoder.into_encoder(rows)?;
        if forest.shares.len() != encoder.slots() - 1 - encoder.numeric()
            || forest.trees.is_empty()
            || !forest.shares.iter().chain([&forest.threshold]).all(|share| (0.0..=1.0).contains(share))
        {
            return Err(MlError::corrupt("the forest does not fit the features"));
        }
        let width = encoder.schema().fields().len();
        forest.trees.iter().try_for_each(|tree| tree.check(width))?;
        Ok(Self::new(encoder, forest, rows))
    }

    fn new(encoder: Encoder, forest: Forest, rows: u64) -> Self {
        let paths = forest.paths();
        Self { encoder, forest, paths, rows }
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State { encoder: self.encoder.state(), forest: self.forest.clone(), rows: self.rows };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }
}

impl Forest {
    /// Adds what trees see of a row: its numbers, and the shares of its categories.
    fn see(&self, numbers: &[f64], slots: &[u32], values: &mut Vec<f64>) {
        values.extend_from_slice(numbers);
        let first = 1 + numbers.len() as u32;
        let share = |slot: &u32| self.shares.get(slot.wrapping_sub(first) as usize).copied().unwrap_or(0.0);
        values.extend(slots.iter().map(share));
    }

    /// The paths of the trees, for [`Self::scores`].
    fn paths(&self) -> Vec<Paths> {
        self.trees.iter().map(Paths::new).collect()
    }

    /// The scores of rows of `width` values, one after another.
    fn scores(&self, paths: &[Paths], values: &[f64], width: usize) -> Vec<f64> {
        let mut sums = vec![0.0; values.len() / width];
        paths.iter().for_each(|paths| paths.add(values, width, &mut sums));
        sums.iter().map(|sum| self.score(sum / self.trees.len() as f64)).collect()
    }

    fn is_anomaly(&self, score: f64) -> bool {
        score > self.threshold + SCORE_ROUNDING
    }

    /// The score of a mean path. Where there is one row only, there is nothing to be unlike.
    fn score(&self, path: f64) -> f64 {
        let mean = mean_path(self.sample_rows as usize);
        let exponent = if mean > 0.0 { std::f64::consts::LN_2 * path / mean } else { std::f64::consts::LN_2 };
        // e^-x by what gives the same bits on every machine.
        sigmoid(-exponent) / sigmoid(exponent)
    }
}

pub(crate) fn output_fields() -> Vec<Field> {
    vec![Field::new("is_anomaly", DataType::Boolean, true), Field::new("anomaly_score", DataType::Float64, true)]
}

impl Predictor for IsolationForest {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn rows_learnt(&self) -> u64 {
        self.rows
    }

    fn outputs(&self, _label: &str) -> Vec<Field> {
        output_fields()
    }

    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let (numeric, width) = (self.encoder.numeric(), self.encoder.schema().fields().len());
        let mut scores = vec![0.0; features.num_rows()];
        let (mut rows, mut values) = (Vec::with_capacity(ROWS_A_BLOCK), Vec::with_capacity(ROWS_A_BLOCK * width));
        let mut answer = |rows: &mut Vec<usize>, values: &mut Vec<f64>| {
            for (row, score) in rows.drain(..).zip(self.forest.scores(&self.paths, values, width)) {
                scores[row] = score;
            }
            values.clear();
        };
        let usable = self.encoder.visit(features, |row, slots, entries| {
            rows.push(row);
            self.forest.see(&entries[1..=numeric], &slots[1 + numeric..], &mut values);
            if rows.len() == ROWS_A_BLOCK {
                answer(&mut rows, &mut values);
            }
        })?;
        answer(&mut rows, &mut values);
        let scores = Float64Array::new(scores.into(), usable);
        let is_anomaly: BooleanArray = scores.iter().map(|score| Some(self.forest.is_anomaly(score?))).collect();
        Ok(vec![Arc::new(is_anomaly), Arc::new(scores)])
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    forest: Forest,
    rows: u64,
}
