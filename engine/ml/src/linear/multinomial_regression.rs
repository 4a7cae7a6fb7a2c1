//! Logistic regression between any number of classes: each has an intercept and weights of its own, which make
//! a score, and the softmax of the scores are the probabilities.

pub(crate) mod batch;
mod onnx;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::softmax_in_place;
use tidemill_compute::kernel::sparse::sparse_dot;

use crate::classes::Classes;
use crate::error::{MlError, Result};
use crate::explain::{Explainer, Explanations, Means, check_category_rows};
use crate::feature::encoder::{Encoder, EncoderState};
use crate::inspect::ModelTable;
use crate::linear::logistic_regression::LogisticRegression;
use crate::linear::weights::weights_table;
use crate::model::FeatureSchema;
use crate::predictor::{Predictions, Supervised};
use crate::snapshot::{self, STATE_MAGNITUDE_MAX};

/// A fitted classifier; it only predicts.
#[derive(Debug, Clone)]
pub(crate) struct MultinomialRegression {
    encoder: Encoder,
    classes: Classes,
    /// The weights of one class after another: its intercept, its numbers' weights, its categories'.
    weights: Vec<f64>,
    /// Rows with each category, slot by slot.
    category_rows: Vec<u64>,
}

impl MultinomialRegression {
    pub(crate) const SNAPSHOT_TAG: u8 = 3;

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != Self::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of a regression between classes"));
        }
        let state: State = snapshot::decode(payload)?;
        state.classes.check()?;
        let encoder = state.encoder.into_encoder(state.classes.total_rows())?;
        let is_plausible = |weight: &f64| weight.abs() <= STATE_MAGNITUDE_MAX;
        let slots = state.classes.names().len() * encoder.slots();
        if state.weights.len() != slots || !state.weights.iter().all(is_plausible) {
            return Err(MlError::corrupt("the weights do not fit the classes, the features and their categories"));
        }
        let categories = encoder.slots() - 1 - encoder.numeric();
        check_category_rows(&state.category_rows, categories, state.classes.total_rows())?;
        Ok(Self { encoder, classes: state.classes, weights: state.weights, category_rows: state.category_rows })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let Self { encoder, classes, weights, category_rows } = self.clone();
        snapshot::seal(Self::SNAPSHOT_TAG, &State { encoder: encoder.state(), classes, weights, category_rows })
    }
}

impl Supervised for MultinomialRegression {
    fn model_type(&self) -> &'static str {
        LogisticRegression::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        self.encoder.schema()
    }

    fn label_type(&self) -> DataType {
        self.classes.kind().data_type()
    }

    fn class_names(&self) -> Vec<String> {
        self.classes.names().to_vec()
    }

    fn rows_learnt(&self) -> u64 {
        self.classes.total_rows()
    }

    fn predictions(&self, features: &RecordBatch) -> Result<Predictions> {
        let count = self.classes.names().len();
        let mut probabilities = vec![vec![0.0; features.num_rows()]; count];
        let mut scores = vec![0.0; count];
        let slots_each = self.weights.len() / count;
        let usable = self.encoder.visit(features, |row, slots, values| {
            let weights = self.weights.chunks_exact(slots_each);
            for (score, weights) in scores.iter_mut().zip(weights) {
                *score = sparse_dot(slots, values, weights);
            }
            softmax_in_place(&mut scores);
            for (class, probability) in probabilities.iter_mut().zip(&scores) {
                class[row] = *probability;
            }
        })?;
        Ok(self.classes.predictions(probabilities, usable))
    }

    fn explanations(&self, features: &RecordBatch, said: &Predictions) -> Result<Option<Explanations>> {
        let means = Means::new(&self.encoder.inputs(), self.classes.total_rows(), &self.category_rows);
        let weights = self.weights.chunks_exact(self.encoder.slots());
        let explainers: Vec<_> = weights.map(|weights| Explainer::new(&means, weights)).collect();
        let mut explanations = Explanations::new(self.schema(), features.num_rows());
        let usable = self.encoder.visit(features, |row, slots, values| {
            let class = said.place(row);
            explainers[class].explain((row, slots, values), (class, true), &mut explanations);
        })?;
        Ok(Some(explanations.of_usable(usable)))
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::Weights => {
                let names = self.classes.names().iter().map(|name| Some(name.as_str()));
                let of_classes = self.weights.chunks_exact(self.encoder.slots());
                weights_table(&self.encoder.inputs(), &names.zip(of_classes).collect::<Vec<_>>()).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A model as a snapshot holds it.
#[derive(Encode, Decode)]
struct State {
    encoder: EncoderState,
    classes: Classes,
    weights: Vec<f64>,
    category_rows: Vec<u64>,
}
