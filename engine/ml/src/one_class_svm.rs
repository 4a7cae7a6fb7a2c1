//! A one-class support vector machine: the smallest region that has all but a few of the rows (Schölkopf, Platt,
//! Shawe-Taylor, Smola and Williamson 2001).
//!
//! A row is as usual as it is like the support vectors, some rows of the training set, each by its weight: `Σ α k(x, xᵢ)`,
//! where `k` is `e^(-gamma d²)` of rows that are `d` apart, or their product. Where that is less than at the border, by
//! `rho`, the row is an anomaly, and its score is by how much: minus scikit-learn's `decision_function`, above 0 for an
//! anomaly, and larger for more rows. At most `nu` of the training set are outside, and at least so many are support
//! vectors.
//!
//! Numbers are standardised unless `standardize_features` is false, and a missing one is the mean. Categories are one-hot,
//! and one that was never seen is as far from each of them as they are from each other.

pub(crate) mod batch;
pub(crate) mod config;
mod rows;
mod solver;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::dot;

use self::rows::{Kernel, Rows};
use crate::batch::CLIP;
use crate::error::{MlError, Result};
use crate::feature::encoder::{Encoder, EncoderState, Numbers};
use crate::model::{FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::predictor::Predictor;
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// A fitted machine; it only answers.
#[derive(Debug, Clone)]
pub(crate) struct OneClassSvm {
    encoder: Encoder,
    rows: u64,
    border: Border,
    support: Rows,
}

/// What is usual, given the rows that it depends on.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Border {
    kernel: Kernel,
    /// What the support vectors weigh.
    alphas: Vec<f64>,
    /// What they say of a row at the border.
    rho: f64,
    /// How far scores of rows at the border may be off.
    tolerance: f64,
}

impl OneClassSvm {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "one_class_svm";

    pub(crate) const SNAPSHOT_TAG: u8 = 34;

    /// Reads what [`State::seal`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a one-class support vector machine"));
        }
        let State { encoder, rows, border, numbers, categories } = snapshot::decode(payload)?;
        let encoder = encoder.into_encoder(rows)?;
        let (count, numeric, categorical) = (border.alphas.len(), encoder.numeric(), encoder.categories().len());
        if !matches!(encoder.numbers(), Numbers::Standardized { .. } | Numbers::MeanForMissing) {
            return Err(MlError::corrupt("a missing number would be at no distance"));
        }
        if !border.is_plausible() || count as u64 > rows {
            return Err(MlError::corrupt("the border is not that of its rows"));
        }
        let is_number = |number: &f64| number.abs() <= CLIP.max(NUMERIC_MAGNITUDE_MAX);
        if numbers.len() != count * numeric
            || categories.len() != count * categorical
            || !numbers.iter().all(is_number)
            || !categories.iter().all(|slot| (1 + numeric..encoder.slots()).contains(&(*slot as usize)))
        {
            return Err(MlError::corrupt("the support vectors do not fit the features"));
        }
        let mut support = Rows::new(numeric, categorical);
        for row in 0..count {
            let categories = &categories[row * categorical..(row + 1) * categorical];
            support.push(&numbers[row * numeric..(row + 1) * numeric], categories);
        }
        Ok(Self { encoder, rows, border, support })
    }
}

impl Border {
    /// How far beyond the border a row is; below 0 within.
    fn score(&self, support: &Rows, row: (&[f64], &[u32]), alike: &mut [f64]) -> f64 {
        support.kernel(self.kernel, row, 0, alike);
        self.rho - dot(&self.alphas, alike)
    }

    /// Support vectors at the border are there but for rounding and what the search left.
    fn is_anomaly(&self, score: f64) -> bool {
        score > self.tolerance
    }

    fn is_plausible(&self) -> bool {
        let is_kernel = match self.kernel {
            Kernel::Linear => true,
            Kernel::Rbf { gamma } => gamma > 0.0 && gamma.is_finite(),
        };
        is_kernel
            && self.alphas.iter().all(|alpha| (0.0..=1.0).contains(alpha))
            && self.rho.abs() <= STATE_MAGNITUDE_MAX
            && (0.0..=1.0).contains(&self.tolerance)
    }
}

fn output_fields() -> Vec<Field> {
    vec![Field::new("is_anomaly", DataType::Boolean, true), Field::new("anomaly_score", DataType::Float64, true)]
}

impl Predictor for OneClassSvm {
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
        let numeric = self.encoder.numeric();
        let mut scores = vec![0.0; features.num_rows()];
        let mut alike = vec![0.0; self.support.rows()];
        let usable = self.encoder.visit(features, |row, slots, values| {
            scores[row] = self.border.score(&self.support, (&values[1..=numeric], &slots[1 + numeric..]), &mut alike);
        })?;
        let scores = Float64Array::new(scores.into(), usable);
        let is_anomaly: BooleanArray = scores.iter().map(|score| Some(self.border.is_anomaly(score?))).collect();
        Ok(vec![Arc::new(is_anomaly), Arc::new(scores)])
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    /// Rows that it was fitted to.
    rows: u64,
    border: Border,
    /// Of the support vectors, row by row, encoded and without missing ones.
    numbers: Vec<f64>,
    /// Row by row, the slots of categories.
    categories: Vec<u32>,
}

impl State {
    fn seal(&self) -> Result<Vec<u8>> {
        snapshot::seal(OneClassSvm::SNAPSHOT_TAG, self)
    }
}
