//! A version of a model that answers rows at once: clients with it, and queries that run as a whole, to which it is a
//! function of its features.

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
use tidemill_ml::{MlError, Predictor, table_of};

use crate::catalog::{ModelWeights, UNTIMED};
use crate::node::predicted_fields;

/// A version of a model that can be asked.
pub struct TrainedModel {
    weights: ModelWeights,
    predictor: Box<dyn Predictor>,
}

impl TrainedModel {
    /// The model that weights are those of.
    ///
    /// # Errors
    /// If they are not a model's, or another release's.
    pub fn restore(weights: ModelWeights) -> Result<Self, MlError> {
        let predictor = tidemill_ml::restore_predictor(&weights.state)?;
        Ok(Self { weights, predictor })
    }

    /// What it was restored from.
    #[must_use]
    pub fn weights(&self) -> &ModelWeights {
        &self.weights
    }

    /// The columns that ML.PREDICT adds.
    #[must_use]
    pub fn added(&self) -> Vec<Field> {
        predicted_fields(self.predictor.outputs(&self.weights.label))
    }

    /// Those columns for some rows, which have the features among their columns.
    ///
    /// # Errors
    /// If a feature is missing, or of another type.
    pub fn predict(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, MlError> {
        let mut columns = self.predictor.answers(rows)?;
        let count = rows.num_rows();
        let learnt_to = Some(self.weights.learnt_to).filter(|time| *time != UNTIMED);
        let known: [ArrayRef; 2] = [
            Arc::new(Int64Array::from_value(self.weights.version, count)),
            Arc::new(TimestampMicrosecondArray::from_iter(std::iter::repeat_n(learnt_to, count))),
        ];
        columns.extend(known);
        Ok(columns)
    }

    /// What it knows, as a table.
    ///
    /// # Errors
    /// If models of its type do not have that table.
    pub fn table(&self, which: ModelTable) -> Result<RecordBatch, MlError> {
        table_of(self.predictor.as_ref(), which)
    }

    /// The classes that it tells apart, as text; none of other models than classifiers.
    #[must_use]
    pub fn class_names(&self) -> Vec<String> {
        self.predictor.class_names()
    }

    /// The names of its features, in the order of [`function`]'s arguments.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        self.predictor.schema().fields().iter().map(|feature| feature.name.clone()).collect()
    }
}

impl fmt::Debug for TrainedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelWeights { model, version, .. } = &self.weights;
        f.debug_struct("TrainedModel").field("model", model).field("version", version).finish_non_exhaustive()
    }
}

/// Those that there are, for whoever plans queries.
pub trait TrainedModels: fmt::Debug + Send + Sync {
    /// The version that has learnt most of a model; or what to tell whoever asks for it.
    ///
    /// # Errors
    /// If none is there.
    fn newest(&self, model: &str) -> Result<Arc<TrainedModel>, String>;
}

/// The model as a function: its features in, a struct of the columns that ML.PREDICT adds out.
#[must_use]
pub fn function(model: Arc<TrainedModel>) -> ScalarUDF {
    let name = format!("ml_predict({})", model.weights.model);
    // Texts may be views.
    let signature = Signature::new(TypeSignature::Any(model.features().len()), Volatility::Stable);
    ScalarUDF::from(Prediction { name, model, signature })
}

/// The model behind such a function.
#[must_use]
pub fn model_of(function: &ScalarUDF) -> Option<&TrainedModel> {
    let prediction: Option<&Prediction> = function.inner().downcast_ref::<Prediction>();
    prediction.map(|prediction| prediction.model.as_ref())
}

#[derive(Debug)]
struct Prediction {
    name: String,
    model: Arc<TrainedModel>,
    signature: Signature,
}

impl PartialEq for Prediction {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model) || self.model.weights == other.model.weights
    }
}

impl Eq for Prediction {}

impl Hash for Prediction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.model.weights.model, self.model.weights.version).hash(state);
    }
}

impl Prediction {
    /// The schema of arguments of these types.
    fn schema(&self, types: impl Iterator<Item = DataType>) -> SchemaRef {
        let fields = self.model.features().into_iter().zip(types).map(|(name, of)| Field::new(name, of, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn failed(&self, error: &MlError) -> DataFusionError {
        DataFusionError::Execution(format!("model '{}': {}", self.model.weights.model, crate::error::chain(error)))
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
        self.model.predict(&none).map_err(|error| self.failed(&error))?;
        Ok(DataType::Struct(Fields::from(self.model.added())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let count = args.number_rows;
        let columns = args.args.into_iter().map(|value| value.into_array(count));
        let columns = columns.collect::<DataFusionResult<Vec<_>>>()?;
        let schema = self.schema(columns.iter().map(|column| column.data_type().clone()));
        let rows = RecordBatch::try_new(schema, columns)?;
        let said = self.model.predict(&rows).map_err(|error| self.failed(&error))?;
        let said = StructArray::try_new(Fields::from(self.model.added()), said, None)?;
        Ok(ColumnarValue::Array(Arc::new(said)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{BooleanArray, Float64Array};
    use tidemill_ml::{FeatureSchema, create};

    use super::*;

    fn rows() -> RecordBatch {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(-1.0), Some(1.0), None]));
        RecordBatch::try_from_iter_with_nullable([("x", values, true)]).unwrap()
    }

    fn trained() -> Arc<TrainedModel> {
        let schema = FeatureSchema::from_arrow(rows().schema_ref()).unwrap();
        let mut model = create("logistic_reg", &BTreeMap::new(), &schema).unwrap();
        for _ in 0..100 {
            model.learn(&rows(), &BooleanArray::from(vec![false, true, true])).unwrap();
        }
        let (state, label) = (model.snapshot().unwrap(), String::from("late"));
        let weights = ModelWeights { model: String::from("m"), version: 3, learnt_to: 30, label, state };
        Arc::new(TrainedModel::restore(weights).unwrap())
    }

    #[test]
    fn a_model_is_a_function_of_its_features() {
        let (model, function) = (trained(), function(trained()));
        let returned = function.inner().return_type(&[DataType::Float64]).unwrap();
        assert_eq!(returned, DataType::Struct(Fields::from(model.added())));
        let args = |column: &ArrayRef| ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::clone(column))],
            arg_fields: vec![Arc::new(Field::new("x", column.data_type().clone(), true))],
            number_rows: column.len(),
            return_field: Arc::new(Field::new("said", returned.clone(), true)),
            config_options: Arc::default(),
        };
        let said = function.invoke_with_args(args(rows().column(0))).unwrap().into_array(3).unwrap();
        let wanted = StructArray::try_new(Fields::from(model.added()), model.predict(&rows()).unwrap(), None).unwrap();
        assert_eq!(said.as_ref(), &wanted as &dyn arrow::array::Array);
        assert_eq!(model_of(&function).unwrap().weights(), model.weights());
    }

    #[test]
    fn what_a_model_was_not_trained_with_is_refused() {
        let error = function(trained()).inner().return_type(&[DataType::Utf8]).unwrap_err().to_string();
        assert!(error.contains("model 'm'") && error.contains('x'), "{error}");
    }
}
