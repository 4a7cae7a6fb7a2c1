//! The probabilities of all classes of a row: BigQuery's `predicted_<label>_probs`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Fields, Schema};

use crate::error::{MlError, Result};
use crate::predictor::{Predictor, Supervised, label_outputs};

/// What a classifier says of rows, in the columns of [`Predictor::answers`] and behind them `predicted_<label>_probs`: a list
/// of a struct for each class, of its `label` and its `prob`, in the model's order of its classes (BigQuery's documentation
/// names none). NULL for a row that the model says nothing of, and before a class is known.
///
/// # Errors
/// `NotKnown` of a model that tells no classes apart; those of [`Predictor::answers`]; `BuildTable`.
pub fn class_probabilities_of(model: &dyn Predictor, label: &str, features: &RecordBatch) -> Result<RecordBatch> {
    let said = model.class_probabilities(label, features)?;
    said.ok_or_else(|| MlError::NotKnown {
        model_type: model.model_type(),
        what: "probabilities of classes",
        reason: "it tells none apart; ask ML.PREDICT without class_probabilities",
    })
}

/// That of a model with a label; none of a model of numbers.
pub(crate) fn said_of_classes<M: Supervised + ?Sized>(
    model: &M,
    label: &str,
    features: &RecordBatch,
) -> Result<Option<RecordBatch>> {
    let data_type = model.label_type();
    if data_type.is_floating() {
        return Ok(None);
    }
    let failed = |source| MlError::BuildTable { source };
    let said = model.predictions(features)?;
    let names = StringArray::from(model.class_names());
    let classes = cast(&names, &data_type).map_err(failed)?;
    let lists = lists(&classes, &said.probabilities, features.num_rows()).map_err(failed)?;
    let fields = class_probability_outputs(label, &data_type);
    let mut columns = said.columns();
    columns.push(lists);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map(Some).map_err(failed)
}

/// The columns of [`class_probabilities_of`], of classes of this type.
#[must_use]
pub fn class_probability_outputs(label: &str, data_type: &DataType) -> Vec<Field> {
    let mut fields = label_outputs(label, data_type);
    let item = Field::new_list_field(DataType::Struct(class_fields(data_type)), true);
    fields.push(Field::new(format!("predicted_{label}_probs"), DataType::List(Arc::new(item)), true));
    fields
}

fn class_fields(data_type: &DataType) -> Fields {
    let label = Field::new("label", data_type.clone(), true);
    Fields::from(vec![label, Field::new("prob", DataType::Float64, true)])
}

/// For each row a struct of each class.
fn lists(
    classes: &ArrayRef,
    probabilities: &[Float64Array],
    rows: usize,
) -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
    let (mut places, mut values) = (Vec::new(), Vec::new());
    let mut is_valid = Vec::with_capacity(rows);
    for row in 0..rows {
        is_valid.push(!probabilities.is_empty() && probabilities.iter().all(|of| of.is_valid(row)));
        if is_valid[row] {
            places.extend(0..probabilities.len() as u32);
            values.extend(probabilities.iter().map(|of| of.value(row)));
        }
    }
    let fields = class_fields(classes.data_type());
    let labels = take(classes, &arrow::array::UInt32Array::from(places), None)?;
    let structs = StructArray::try_new(fields, vec![labels, Arc::new(Float64Array::from(values))], None)?;
    let length = |is_valid: &bool| if *is_valid { probabilities.len() } else { 0 };
    let offsets = OffsetBuffer::from_lengths(is_valid.iter().map(length));
    let item = Arc::new(Field::new_list_field(structs.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(structs), Some(NullBuffer::from(is_valid)))?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{AsArray, BooleanArray, Int64Array, NullArray};
    use arrow::datatypes::{Float64Type, Int64Type};

    use super::*;
    use crate::batch::create_batch;
    use crate::goldens::data_set;
    use crate::model::FeatureSchema;
    use crate::registry::{create, restore_predictor};

    fn fitted(model_type: &str, features: &RecordBatch, labels: &dyn Array) -> Box<dyn Predictor> {
        let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
        let mut model = create_batch(model_type, &BTreeMap::new(), &schema, labels.data_type()).unwrap();
        model.add(features, labels).unwrap();
        restore_predictor(&model.fit().unwrap().model).unwrap()
    }

    fn numbers(values: &[Option<f64>]) -> RecordBatch {
        let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap()
    }

    #[test]
    fn each_class_has_its_probability_and_they_sum_up_to_one() {
        let (features, labels) = data_set("iris");
        let integers = Int64Array::from_iter_values(labels.iter().map(|label| *label as i64 * 10));
        let said_by = |model: &dyn Predictor| class_probabilities_of(model, "y", &features).unwrap();
        for model_type in
            ["logistic_reg", "linear_svm", "naive_bayes", "random_forest_classifier", "boosted_tree_classifier"]
        {
            let model = fitted(model_type, &features, &integers);
            let said = said_by(model.as_ref());
            assert_eq!(said.columns()[..2], model.answers(&features).unwrap()[..]);
            let predicted = said.column(0).as_primitive::<Int64Type>();
            let probability = said.column(1).as_primitive::<Float64Type>();
            let lists = said.column(2).as_list::<i32>();
            assert_eq!((said.schema().field(2).name().as_str(), lists.null_count()), ("predicted_y_probs", 0));
            for row in 0..said.num_rows() {
                let structs = lists.value(row);
                let structs = structs.as_struct();
                let classes = structs.column(0).as_primitive::<Int64Type>();
                let values = structs.column(1).as_primitive::<Float64Type>();
                assert_eq!(classes.values()[..], [0, 10, 20]);
                assert!((values.values().iter().sum::<f64>() - 1.0).abs() < 1e-12, "{model_type}");
                let place = (predicted.value(row) / 10) as usize;
                assert_eq!(values.value(place), probability.value(row), "{model_type} {row}");
            }
        }
    }

    #[test]
    fn classes_are_of_the_labels_type_and_rows_without_an_answer_have_none() {
        let features = numbers(&[Some(1.0), Some(2.0), Some(3.0), Some(4.0), Some(5.0)]);
        let texts = StringArray::from(vec!["b", "a", "b", "a", "b"]);
        // All five rows are the neighbours of any.
        let model = fitted("knn_classifier", &features, &texts);
        let asked = numbers(&[Some(1.0), Some(f64::NAN)]);
        let said = class_probabilities_of(model.as_ref(), "y", &asked).unwrap();
        let lists = said.column(2).as_list::<i32>();
        assert!(said.columns().iter().all(|column| column.is_null(1)));
        let structs = lists.value(0);
        let of = |class: &str| {
            let classes = structs.as_struct().column(0).as_string::<i32>();
            let place = classes.iter().position(|name| name == Some(class)).unwrap();
            structs.as_struct().column(1).as_primitive::<Float64Type>().value(place)
        };
        assert_eq!((structs.len(), of("a"), of("b")), (2, 0.4, 0.6));

        let booleans = BooleanArray::from(vec![true, false, true, false, true]);
        let model = fitted("naive_bayes", &features, &booleans);
        let said = class_probabilities_of(model.as_ref(), "y", &asked.slice(0, 1)).unwrap();
        let structs = said.column(2).as_list::<i32>().value(0);
        assert_eq!(structs.as_struct().column(0).as_boolean(), &BooleanArray::from(vec![false, true]));
        let of_true = structs.as_struct().column(1).as_primitive::<Float64Type>().value(1);
        assert_eq!(of_true, said.column(1).as_primitive::<Float64Type>().value(0));
    }

    #[test]
    fn before_a_class_is_known_there_is_no_list() {
        let features = numbers(&[Some(1.0)]);
        let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
        let model = create("hoeffding_tree_classifier", &BTreeMap::new(), &schema, &DataType::Utf8).unwrap();
        let model = restore_predictor(&model.snapshot().unwrap()).unwrap();
        let said = class_probabilities_of(model.as_ref(), "y", &features).unwrap();
        assert!(said.columns().iter().all(|column| column.is_null(0)));
    }

    #[test]
    fn models_of_numbers_and_without_a_label_have_no_classes() {
        let features = numbers(&[Some(1.0), Some(2.0), Some(9.0)]);
        let labels = Float64Array::from(vec![1.0, 2.0, 9.0]);
        for model in [fitted("linear_reg", &features, &labels), fitted("robust_zscore", &features, &NullArray::new(3))]
        {
            let error = class_probabilities_of(model.as_ref(), "y", &features).unwrap_err().to_string();
            let expected =
                format!("a model of type '{}' has no probabilities of classes: it tells none", model.model_type());
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
