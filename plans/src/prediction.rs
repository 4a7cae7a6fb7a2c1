//! A version of a model that answers rows at once: clients with it, and queries that run as a whole, to which it is a
//! function of the columns that it reads.

mod function;
mod question;

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
pub use tidemill_ml::ModelTable;
use tidemill_ml::{
    FeatureKind, MlError, Origin, anomalies_of, class_probabilities_of, explain, forecast_of, table_of, training_table,
    trial_table,
};

pub use self::function::{asked_by, function};
pub use self::question::{AnswerError, Probability, Question};
use crate::catalog::{ModelWeights, UNTIMED};
use crate::model_reference::ModelReference;
use crate::node::predicted_fields;
use crate::transform::{FittedModel, RestoreError};

/// Why nothing is known of the fit of a model over tables.
const NOT_KEPT: &str = "it comes from a file of another library, or from a release that kept none; CREATE OR REPLACE MODEL \
                        over its tables fits it again";

/// And why not of one along a stream.
const ROW_BY_ROW: &str = "it learns from a stream, row by row; SHOW MODELS says how well its newest version tells rows \
                          before it learns them";

/// What a model is asked about rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub enum Question {
    /// What it predicts: ML.PREDICT.
    Prediction,
    /// And why: ML.EXPLAIN_PREDICT.
    Explanation {
        /// The most features that a row's explanation names.
        top_k_features: u32,
    },
    /// Which features its TRANSFORM makes of them: ML.TRANSFORM.
    Features,
    /// Whether it is an anomaly: ML.DETECT_ANOMALIES.
    Anomaly {
        /// The probability above which one is, if that is said.
        threshold: Option<Probability>,
    },
    /// What it predicts, with the probabilities of all classes beside that of the predicted one.
    ClassProbabilities,
}

/// A probability in a question: the bits of a number, so that questions can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub struct Probability(u64);

impl From<f64> for Probability {
    fn from(number: f64) -> Self {
        Self(number.to_bits())
    }
}

impl From<Probability> for f64 {
    fn from(Probability(bits): Probability) -> Self {
        Self::from_bits(bits)
    }
}

/// Why a model has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Its features cannot be made of the rows.
    #[error(transparent)]
    Transform(#[from] DataFusionError),
    /// The model refuses them.
    #[error(transparent)]
    Model(#[from] MlError),
    /// It has no TRANSFORM that were to say what its features are.
    #[error("it has no TRANSFORM: its features are columns of its query")]
    NoTransform,
}

/// A version of a model that can be asked.
pub struct TrainedModel {
    weights: ModelWeights,
    model: FittedModel,
}

impl TrainedModel {
    /// The model that weights are those of.
    ///
    /// # Errors
    /// If they are not a model's, or another release's.
    pub fn restore(weights: ModelWeights) -> Result<Self, RestoreError> {
        let model = FittedModel::restore(&weights.state)?;
        Ok(Self { weights, model })
    }

    /// What it was restored from.
    #[must_use]
    pub fn weights(&self) -> &ModelWeights {
        &self.weights
    }

    /// The columns that ML.PREDICT adds.
    #[must_use]
    pub fn added(&self) -> Vec<Field> {
        predicted_fields(self.model.predictor().outputs(&self.weights.label))
    }

    /// Those columns for some rows, which have what it reads among their columns.
    ///
    /// # Errors
    /// If a column is missing, or of another type; or if a feature cannot be made of a row.
    pub fn predict(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, AnswerError> {
        Ok(self.answer(Question::Prediction, rows)?.columns().to_vec())
    }

    /// What it answers about some rows, which have what it reads among their columns.
    ///
    /// # Errors
    /// As of [`predict`](Self::predict); or if it cannot answer such a question.
    pub fn answer(&self, question: Question, rows: &RecordBatch) -> Result<RecordBatch, AnswerError> {
        let (fields, columns) = match question {
            Question::Prediction => (self.added(), self.predict(rows)?),
            Question::Explanation { top_k_features } => {
                let (features, top_k) = (self.model.features(rows)?, top_k_features as usize);
                self.with_version(&explain(self.model.predictor(), &self.weights.label, &features, top_k)?)
            }
            Question::ClassProbabilities => {
                let features = self.model.features(rows)?;
                self.with_version(&class_probabilities_of(self.model.predictor(), &self.weights.label, &features)?)
            }
            Question::Anomaly { threshold } => {
                let features = self.model.features(rows)?;
                self.with_version(&anomalies_of(self.model.predictor(), &features, threshold.map(f64::from))?)
            }
            Question::Features => {
                let transform = self.model.transform().ok_or(AnswerError::NoTransform)?;
                return Ok(transform.features(rows)?);
            }
        };
        let answer = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        answer.map_err(|source| MlError::BuildTable { source }.into())
    }

    /// The columns of an answer.
    ///
    /// # Errors
    /// If it cannot answer such a question.
    pub fn answered(&self, question: Question) -> Result<Fields, AnswerError> {
        let none = RecordBatch::new_empty(self.inputs());
        Ok(self.answer(question, &none)?.schema().fields().clone())
    }

    /// The columns that it reads, of types that it does.
    #[must_use]
    pub fn inputs(&self) -> SchemaRef {
        let of_kind = |kind| match kind {
            FeatureKind::Numeric => DataType::Float64,
            FeatureKind::Categorical => DataType::Utf8,
            FeatureKind::Time => DataType::Date32,
        };
        if let Some(transform) = self.model.transform() {
            return Arc::clone(transform.inputs());
        }
        let features = self.model.predictor().schema().fields().iter();
        let fields = features.map(|feature| Field::new(&feature.name, of_kind(feature.kind), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// What was said of rows, and which version says it.
    fn with_version(&self, said: &RecordBatch) -> (Vec<Field>, Vec<ArrayRef>) {
        let fields = said.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        let columns = said.columns().iter().cloned().chain(self.version_of(said.num_rows()));
        (predicted_fields(fields), columns.collect())
    }

    /// The version that answers, for so many rows.
    fn version_of(&self, count: usize) -> [ArrayRef; 2] {
        let learnt_to = Some(self.weights.learnt_to).filter(|time| *time != UNTIMED);
        [
            Arc::new(Int64Array::from_value(self.weights.version, count)),
            Arc::new(TimestampMicrosecondArray::from_iter(std::iter::repeat_n(learnt_to, count))),
        ]
    }

    /// What it knows, as a table.
    ///
    /// # Errors
    /// If models of its type do not have that table, or nothing is known of its fit.
    pub fn table(&self, which: ModelTable) -> Result<RecordBatch, MlError> {
        let Origin { trials, history } = self.model.origin();
        match which {
            ModelTable::TrialInfo if !trials.is_empty() => trial_table(trials),
            ModelTable::TrainingInfo if !history.is_empty() => training_table(history),
            ModelTable::TrainingInfo => {
                let reason = if self.weights.learnt_to == UNTIMED { NOT_KEPT } else { ROW_BY_ROW };
                Err(MlError::NotKnown { model_type: self.model_type(), what: "iterations", reason })
            }
            _ => table_of(self.model.predictor(), which),
        }
    }

    /// What comes after the series that it was fitted to: so many rows for each.
    ///
    /// # Errors
    /// If it is no model of series, or for a number of rows or a confidence level out of range.
    pub fn forecast(&self, horizon: usize, confidence_level: f64) -> Result<RecordBatch, MlError> {
        forecast_of(self.model.predictor(), horizon, confidence_level)
    }

    /// Its algorithm.
    #[must_use]
    pub fn model_type(&self) -> &'static str {
        self.model.predictor().model_type()
    }

    /// The classes that it tells apart, as text; none of other models than classifiers.
    #[must_use]
    pub fn class_names(&self) -> Vec<String> {
        self.model.predictor().class_names()
    }

    /// The names of the columns that it reads, in the order of [`function`]'s arguments.
    #[must_use]
    pub fn reads(&self) -> Vec<String> {
        self.model.inputs()
    }
}

impl fmt::Debug for TrainedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelWeights { model, version, .. } = &self.weights;
        f.debug_struct("TrainedModel").field("model", model).field("version", version).finish_non_exhaustive()
    }
}

/// A version of a model that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVersion {
    /// Its number.
    pub version: i64,
    /// Where it stands in event time, in microseconds; [`UNTIMED`] of a model over tables.
    pub learnt_to: i64,
    /// The aliases that it has.
    pub aliases: Vec<String>,
    /// Whether it answers for the plain name.
    pub is_newest: bool,
}

/// Those that there are, for whoever plans queries.
pub trait TrainedModels: fmt::Debug + Send + Sync {
    /// The version of a model that is meant; or what to tell whoever asks for it.
    ///
    /// # Errors
    /// If it is not there.
    fn find(&self, model: &ModelReference<'_>) -> Result<Arc<TrainedModel>, String>;

    /// The versions of a model that can be asked, by number.
    fn versions(&self, model: &str) -> Vec<KnownVersion>;
}

/// The model as a function: the columns that it reads in, a struct of the columns of its answer out.
#[must_use]
pub fn function(model: Arc<TrainedModel>, question: Question) -> ScalarUDF {
    let name = match question {
        Question::Prediction => format!("ml_predict({})", model.weights.model),
        Question::Explanation { top_k_features } => {
            format!("ml_explain_predict({}, {top_k_features})", model.weights.model)
        }
        Question::Features => format!("ml_transform({})", model.weights.model),
        Question::ClassProbabilities => format!("ml_predict({}, class_probabilities)", model.weights.model),
        Question::Anomaly { threshold } => {
            let threshold = threshold.map_or_else(String::new, |threshold| format!(", {}", f64::from(threshold)));
            format!("ml_detect_anomalies({}{threshold})", model.weights.model)
        }
    };
    // Texts may be views.
    let signature = Signature::new(TypeSignature::Any(model.reads().len()), Volatility::Stable);
    ScalarUDF::from(Prediction { name, model, question, signature })
}

/// The model behind such a function, and what it is asked.
#[must_use]
pub fn asked_by(function: &ScalarUDF) -> Option<(&TrainedModel, Question)> {
    let prediction: Option<&Prediction> = function.inner().downcast_ref::<Prediction>();
    prediction.map(|prediction| (prediction.model.as_ref(), prediction.question))
}

#[derive(Debug)]
struct Prediction {
    name: String,
    model: Arc<TrainedModel>,
    question: Question,
    signature: Signature,
}

impl PartialEq for Prediction {
    fn eq(&self, other: &Self) -> bool {
        self.question == other.question
            && (Arc::ptr_eq(&self.model, &other.model) || self.model.weights == other.model.weights)
    }
}

impl Eq for Prediction {}

impl Hash for Prediction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.model.weights.model, self.model.weights.version, self.question).hash(state);
    }
}

impl Prediction {
    /// The schema of arguments of these types.
    fn schema(&self, types: impl Iterator<Item = DataType>) -> SchemaRef {
        let fields = self.model.reads().into_iter().zip(types).map(|(name, of)| Field::new(name, of, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// What is wrong with a row's expressions stays that: such rows are left out.
    fn failed(&self, error: AnswerError) -> DataFusionError {
        let model = format!("model '{}'", self.model.weights.model);
        match error {
            AnswerError::Transform(error) => error.context(model),
            error => DataFusionError::Execution(format!("{model}: {}", crate::error::chain(&error))),
        }
    }
}

impl ScalarUDFImpl for Prediction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Refuses what the model was not trained with, before there are rows.
    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        let none = RecordBatch::new_empty(self.schema(types.iter().cloned()));
        let answer = self.model.answer(self.question, &none).map_err(|error| self.failed(error))?;
        Ok(DataType::Struct(answer.schema().fields().clone()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let count = args.number_rows;
        let columns = args.args.into_iter().map(|value| value.into_array(count));
        let columns = columns.collect::<DataFusionResult<Vec<_>>>()?;
        let schema = self.schema(columns.iter().map(|column| column.data_type().clone()));
        let rows = RecordBatch::try_new(schema, columns)?;
        let answer = self.model.answer(self.question, &rows).map_err(|error| self.failed(error))?;
        Ok(ColumnarValue::Array(Arc::new(StructArray::from(answer))))
    }
}

#[cfg(test)]
mod tests;
