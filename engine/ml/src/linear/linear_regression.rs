//! Linear regression: a number is an intercept, plus a weight times each number, plus the weight of each
//! feature's category. A support vector regression is the same model, fitted by another loss.

pub(crate) mod batch;
pub(crate) mod online;
mod onnx;

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};
use tidemill_compute::kernel::sparse::sparse_dot;

use crate::error::{MlError, Result};
use crate::explain::{Explainer, Explanations, Means, check_category_rows};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::inspect::ModelTable;
use crate::linear::linear_svr;
use crate::linear::weights::weights_table;
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Supervised};
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// A fitted linear regression; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct LinearRegression {
    pub(super) model_type: &'static str,
    pub(super) encoder: Encoder,
    /// Slot 0 is the intercept, then the numeric features, then categories.
    pub(super) weights: Vec<f64>,
    /// Rows that it was fitted to, and those with each category, slot by slot.
    pub(super) rows: u64,
    pub(super) category_rows: Vec<u64>,
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
        let model_type = match tag {
            Self::SNAPSHOT_TAG => Self::MODEL_TYPE,
            linear_svr::SNAPSHOT_TAG => linear_svr::MODEL_TYPE,
            _ => return Err(MlError::corrupt("its model tag is not that of a linear regression")),
        };
        let state: State = snapshot::decode(payload)?;
        let encoder = state.encoder.into_encoder(state.rows)?;
        let is_plausible = |weight: &f64| weight.abs() <= STATE_MAGNITUDE_MAX;
        if state.weights.len() != encoder.slots() || !state.weights.iter().all(is_plausible) {
            return Err(MlError::corrupt("the weights do not fit the features and their categories"));
        }
        check_category_rows(&state.category_rows, encoder.slots() - 1 - encoder.numeric(), state.rows)?;
        Ok(Self { model_type, encoder, weights: state.weights, rows: state.rows, category_rows: state.category_rows })
    }

    /// With the tag of its model type.
    pub(super) fn snapshot(&self, tag: u8) -> Result<Vec<u8>> {
        let (weights, category_rows) = (self.weights.clone(), self.category_rows.clone());
        let state = State { encoder: self.encoder.state(), weights, rows: self.rows, category_rows };
        snapshot::seal(tag, &state)
    }
}

impl Supervised for LinearRegression {
    fn model_type(&self) -> &'static str {
        self.model_type
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
        Ok(Predictions::without_classes(Arc::new(Float64Array::new(values.into(), usable))))
    }

    fn explanations(&self, features: &RecordBatch, _said: &Predictions) -> Result<Option<Explanations>> {
        let means = Means::new(&self.encoder.inputs(), self.rows, &self.category_rows);
        let explainer = Explainer::new(&means, &self.weights);
        let mut explanations = Explanations::new(self.schema(), features.num_rows());
        let usable = self.encoder.visit(features, |row, slots, values| {
            explainer.explain((row, slots, values), (0, true), &mut explanations);
        })?;
        Ok(Some(explanations.of_usable(usable)))
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
    category_rows: Vec<u64>,
}
