//! Robust z-scores: a number far from the median of its column is an anomaly (Iglewicz and Hoaglin 1993).
//!
//! A number's score is `|0.6745 (x - median) / MAD|`, where the MAD is the median distance from the median; for normal
//! numbers that is about how many standard deviations they are off, and anomalies move neither. A row's score is the
//! largest of its numbers'. Where more than half of a column is one value, the MAD is 0, and the mean distance stands
//! in for it, as `|x - median| / (1.253314 mean distance)`. A constant column and a missing number say nothing, and
//! categories are not looked at.

pub(crate) mod batch;
pub(crate) mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use bincode::{Decode, Encode};

use crate::error::{MlError, Result};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::model::{FeatureKind, FeatureSchema, NUMERIC_MAGNITUDE_MAX};
use crate::predictor::Predictor;
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// Scores are cut off here, so that they stay finite where nearly all numbers are nearly the same.
const SCORE_MAX: f64 = 1e100;

/// What is known of the columns.
#[derive(Debug, Clone)]
pub(crate) struct RobustZscore {
    encoder: Encoder,
    columns: Vec<Column>,
    threshold: f64,
    rows: u64,
}

/// What is known of one numeric column.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
struct Column {
    median: f64,
    /// The distance from the median that has the score 1; 0 of a column that says nothing.
    scale: f64,
}

impl RobustZscore {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "robust_zscore";

    pub(crate) const SNAPSHOT_TAG: u8 = 32;

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of robust z-scores"));
        }
        let State { encoder, columns, threshold, rows } = snapshot::decode(payload)?;
        let encoder = encoder.into_encoder(rows)?;
        let is_column = |column: &Column| {
            column.median.abs() <= NUMERIC_MAGNITUDE_MAX && (0.0..=STATE_MAGNITUDE_MAX).contains(&column.scale)
        };
        if columns.len() != encoder.numeric() || !columns.iter().all(is_column) || threshold.is_nan() {
            return Err(MlError::corrupt("the medians do not fit the numeric features"));
        }
        Ok(Self { encoder, columns, threshold, rows })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let (columns, threshold) = (self.columns.clone(), self.threshold);
        let state = State { encoder: self.encoder.state(), columns, threshold, rows: self.rows };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }
}

/// The largest score of a row's numbers, and the place of the first number that has it; none where nothing is said.
fn largest_score(columns: &[Column], numbers: &[f64]) -> Option<(f64, usize)> {
    let scores = columns.iter().zip(numbers).map(|(column, number)| column.score(*number));
    let known = scores.zip(0..).filter_map(|(score, place)| Some((score?, place)));
    known.reduce(|best, next| if next.0 > best.0 { next } else { best })
}

impl Column {
    fn score(self, number: f64) -> Option<f64> {
        let says_something = self.scale > 0.0 && !number.is_nan();
        says_something.then(|| ((number - self.median).abs() / self.scale).min(SCORE_MAX))
    }
}

fn output_fields() -> Vec<Field> {
    vec![
        Field::new("is_anomaly", DataType::Boolean, true),
        Field::new("anomaly_score", DataType::Float64, true),
        Field::new("anomalous_feature", DataType::Utf8, true),
    ]
}

impl Predictor for RobustZscore {
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

    /// A row of which nothing is known has the score 0 and no feature. The feature of any other row is the one with
    /// the largest score, be it an anomaly or not.
    fn answers(&self, features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let fields = self.schema().fields().iter().filter(|field| field.kind == FeatureKind::Numeric);
        let names: Vec<&str> = fields.map(|field| field.name.as_str()).collect();
        let mut scores = vec![0.0; features.num_rows()];
        let mut farthest = vec![None; features.num_rows()];
        let usable = self.encoder.visit(features, |row, _, values| {
            if let Some((score, place)) = largest_score(&self.columns, &values[1..=names.len()]) {
                scores[row] = score;
                farthest[row] = Some(names[place]);
            }
        })?;
        let scores = Float64Array::new(scores.into(), usable);
        let is_anomaly: BooleanArray = scores.iter().map(|score| Some(score? > self.threshold)).collect();
        Ok(vec![Arc::new(is_anomaly), Arc::new(scores), Arc::new(StringArray::from(farthest))])
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    columns: Vec<Column>,
    threshold: f64,
    rows: u64,
}
