//! A model as a function of the columns that it reads, for queries that run as a whole.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use tidemill_ml::Background;

use super::{AnswerError, Question, TrainedModel};
use crate::catalog::ModelWeights;
use crate::model_reference::{ModelReference, WantedVersion};

/// The model as a function: the columns that it reads in, a struct of the columns of its answer out. Behind the columns a
/// [`Question::LocalExplanation`] has a list of structs of the same: the rows that the model was fitted to, the same list in
/// each row.
#[must_use]
pub fn function(model: Arc<TrainedModel>, question: Question) -> ScalarUDF {
    // Of two versions in one query each is a function of its own.
    let ModelWeights { model: name, version, .. } = model.weights();
    let asked = ModelReference { model: name, version: WantedVersion::Number(*version) };
    let name = match question {
        Question::Prediction => format!("ml_predict({asked})"),
        Question::Explanation { top_k_features } => {
            format!("ml_explain_predict({asked}, {top_k_features})")
        }
        Question::Features => format!("ml_transform({asked})"),
        Question::ClassProbabilities => format!("ml_predict({asked}, class_probabilities)"),
        Question::Anomaly { threshold } => {
            let threshold = threshold.map_or_else(String::new, |threshold| format!(", {}", f64::from(threshold)));
            format!("ml_detect_anomalies({asked}{threshold})")
        }
        Question::LocalExplanation { top_k_features, seed } => {
            format!("ml_explain_predict({asked}, lime, {top_k_features}, {seed})")
        }
    };
    let with_background = usize::from(matches!(question, Question::LocalExplanation { .. }));
    // Texts may be views.
    let signature = Signature::new(TypeSignature::Any(model.reads().len() + with_background), Volatility::Stable);
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

    /// Rows of the columns that the model reads.
    fn rows(&self, columns: Vec<ArrayRef>) -> DataFusionResult<RecordBatch> {
        let schema = self.schema(columns.iter().map(|column| column.data_type().clone()));
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// The rows of a list, which is the same wherever it is; none of an empty one.
    fn background(&self, value: ColumnarValue) -> DataFusionResult<RecordBatch> {
        let lists = value.into_array(1)?;
        let list = lists.as_list_opt::<i32>().filter(|lists| !lists.is_empty() && lists.is_valid(0));
        match list.map(|lists| lists.value(0)) {
            Some(rows) => self.rows(rows.as_struct_opt().map(|rows| rows.columns().to_vec()).unwrap_or_default()),
            None => Ok(RecordBatch::new_empty(self.model.inputs())),
        }
    }

    fn answer(&self, rows: &RecordBatch, background: Option<&RecordBatch>) -> Result<RecordBatch, AnswerError> {
        match (self.question, background) {
            (Question::LocalExplanation { top_k_features, seed }, Some(background)) if rows.num_rows() > 0 => {
                let background = Background { rows: background, seed };
                self.model.explain_locally(rows, top_k_features as usize, background)
            }
            (question, _) => self.model.answer(question, rows),
        }
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
        let (count, mut values) = (args.number_rows, args.args);
        let background = match self.question {
            Question::LocalExplanation { .. } => values.pop().map(|value| self.background(value)).transpose()?,
            _ => None,
        };
        let columns = values.into_iter().map(|value| value.into_array(count));
        let columns = columns.collect::<DataFusionResult<Vec<_>>>()?;
        let answer = self.answer(&self.rows(columns)?, background.as_ref()).map_err(|error| self.failed(error))?;
        Ok(ColumnarValue::Array(Arc::new(StructArray::from(answer))))
    }
}
