//! Linear regression: a number is an intercept, plus a weight times each number, plus the weight of each
//! feature's category.

pub(crate) mod batch;

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};
use tidemill_compute::kernel::sparse::sparse_dot;

use crate::error::{MlError, Result};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::inspect::ModelTable;
use crate::linear::weights::weights_table;
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Supervised};
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// A fitted linear regression; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct LinearRegression {
    encoder: Encoder,
    /// Slot 0 is the intercept, then the numeric features, then categories.
    weights: Vec<f64>,
    /// Rows that it was fitted to.
    rows: u64,
}

impl LinearRegression {
    /// The name in `CREATE MODEL`.
    pub(crate) const MODEL_TYPE: &'static str = "linear_reg";

    pub(crate) const SNAPSHOT_TAG: u8 = 2;

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a linear regression"));
        }
        let state: State = snapshot::decode(payload)?;
        let encoder = state.encoder.into_encoder(state.rows)?;
        let is_plausible = |weight: &f64| weight.abs() <= STATE_MAGNITUDE_MAX;
        if state.weights.len() != encoder.slots() || !state.weights.iter().all(is_plausible) {
            return Err(MlError::corrupt("the weights do not fit the features and their categories"));
        }
        Ok(Self { encoder, weights: state.weights, rows: state.rows })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let state = State { encoder: self.encoder.state(), weights: self.weights.clone(), rows: self.rows };
        snapshot::seal(Self::SNAPSHOT_TAG, &state)
    }
}

impl Supervised for LinearRegression {
    fn model_type(&self) -> &'static str {
        Self::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn label_type(&self) -> DataType {
        DataType::Float64
    }

    fn class_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows_learnt(&self) -> u64 {
        self.rows
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let mut values = vec![0.0; features.num_rows()];
        let usable = self
            .encoder
            .visit(features, |row, slots, entries| values[row] = sparse_dot(slots, entries, &self.weights))?;
        Ok(Predictions { labels: Arc::new(Float64Array::new(values.into(), usable)), probabilities: Vec::new() })
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::Weights => weights_table(&self.encoder.inputs(), &[(None, &self.weights)]).map(Some),
            _ => Ok(None),
        }
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    weights: Vec<f64>,
    rows: u64,
}
