//! A version of a model that answers rows at once: clients with it, and queries that run as a whole, to which it is a
//! function of the columns that it reads.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
pub use tidemill_ml::ModelTable;
use tidemill_ml::{FeatureKind, MlError, anomalies_of, explain, forecast_of, table_of, trial_table};

use crate::catalog::{ModelWeights, UNTIMED};
use crate::model_reference::ModelReference;
use crate::node::predicted_fields;
use crate::transform::{FittedModel, RestoreError};

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
        let mut columns = self.model.predictor().answers(&self.model.features(rows)?)?;
        columns.extend(self.version_of(rows.num_rows()));
        Ok(columns)
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
    /// If models of its type do not have that table.
    pub fn table(&self, which: ModelTable) -> Result<RecordBatch, MlError> {
        match (which, self.model.trials()) {
            (ModelTable::TrialInfo, trials @ [_, ..]) => trial_table(trials),
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
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Array, AsArray, BooleanArray, Float64Array};
    use arrow::datatypes::Float64Type;
    use tidemill_ml::{FeatureSchema, create};

    use super::*;

    fn rows() -> RecordBatch {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(-1.0), Some(1.0), None]));
        RecordBatch::try_from_iter_with_nullable([("x", values, true)]).unwrap()
    }

    fn trained() -> Arc<TrainedModel> {
        let schema = FeatureSchema::from_arrow(rows().schema_ref()).unwrap();
        let mut model = create("logistic_reg", &BTreeMap::new(), &schema, &DataType::Boolean).unwrap();
        for _ in 0..100 {
            model.learn(&rows(), &BooleanArray::from(vec![false, true, true])).unwrap();
        }
        let (state, label) = (model.snapshot().unwrap(), String::from("late"));
        let weights = ModelWeights { model: String::from("m"), version: 3, learnt_to: 30, label, state };
        Arc::new(TrainedModel::restore(weights).unwrap())
    }

    /// What a function returns for the rows.
    fn returned(function: &ScalarUDF) -> StructArray {
        let returned = function.inner().return_type(&[DataType::Float64]).unwrap();
        let args = |column: &ArrayRef| ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::clone(column))],
            arg_fields: vec![Arc::new(Field::new("x", column.data_type().clone(), true))],
            number_rows: column.len(),
            return_field: Arc::new(Field::new("said", returned.clone(), true)),
            config_options: Arc::default(),
        };
        let said = function.invoke_with_args(args(rows().column(0))).unwrap().into_array(3).unwrap();
        assert_eq!(said.data_type(), &returned);
        said.as_struct().clone()
    }

    #[test]
    fn a_model_is_a_function_of_its_features() {
        let (model, function) = (trained(), function(trained(), Question::Prediction));
        let wanted = StructArray::try_new(Fields::from(model.added()), model.predict(&rows()).unwrap(), None).unwrap();
        assert_eq!(returned(&function), wanted);
        let (asked, question) = asked_by(&function).unwrap();
        assert_eq!((asked.weights(), question), (model.weights(), Question::Prediction));
    }

    #[test]
    fn explanations_are_a_function_too() {
        let question = Question::Explanation { top_k_features: 2 };
        let (model, explained) = (trained(), function(trained(), question));
        assert_ne!(explained, function(trained(), Question::Prediction));
        assert_ne!(explained, function(trained(), Question::Explanation { top_k_features: 3 }));
        let said = returned(&explained);
        assert_eq!(said.fields(), &model.answered(question).unwrap());
        let names = "predicted_late predicted_late_prob probability top_feature_attributions baseline_prediction_value \
                     prediction_value approximation_error model_version model_event_time";
        assert_eq!(said.column_names(), names.split(' ').collect::<Vec<_>>());
        let first = said.column(3).as_list::<i32>().value(0);
        let attribution = first.as_struct().column(1).as_primitive::<Float64Type>().value(0);
        let of_row = |column: usize| said.column(column).as_primitive::<Float64Type>().value(0);
        assert!((of_row(4) + attribution - of_row(5)).abs() < 1e-12 && attribution > 0.0);
    }

    #[test]
    fn what_a_model_was_not_trained_with_is_refused() {
        let error =
            function(trained(), Question::Prediction).inner().return_type(&[DataType::Utf8]).unwrap_err().to_string();
        assert!(error.contains("model 'm'") && error.contains('x'), "{error}");
    }
}
