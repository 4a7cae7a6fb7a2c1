//! A model as a function of the columns that it reads, for queries that run as a whole.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::{AnswerError, Question, TrainedModel};

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

    use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
    use arrow::datatypes::{Fields, Float64Type};
    use tidemill_ml::{FeatureSchema, create};

    use super::*;
    use crate::catalog::ModelWeights;

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
