//! Versions that are asked as functions, and for what is known of their fits.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray, Float64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::Float64Type;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use tidemill_ml::{FeatureSchema, create, create_batch};

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

/// A model over tables that was kept as these bytes.
fn kept(state: Vec<u8>) -> TrainedModel {
    let (model, label) = (String::from("m"), String::from("late"));
    TrainedModel::restore(ModelWeights { model, version: 1, learnt_to: UNTIMED, label, state }).unwrap()
}

#[test]
fn the_steps_of_a_fit_are_a_table_of_its_model() {
    let schema = FeatureSchema::from_arrow(rows().schema_ref()).unwrap();
    let mut model = create_batch("logistic_reg", &BTreeMap::new(), &schema, &DataType::Boolean).unwrap();
    model.add(&rows(), &BooleanArray::from(vec![false, true, true])).unwrap();
    let report = model.fit().unwrap();
    let steps = kept(report.kept().unwrap()).table(ModelTable::TrainingInfo).unwrap();
    assert_eq!((steps.num_rows() as u64, report.iterations > 1), (report.iterations, true));
    let losses = steps.column(2).as_primitive::<Float64Type>();
    assert_eq!(losses.value(steps.num_rows() - 1), report.loss);
    // As it was kept by a release that kept the model alone.
    let before = kept(report.model.clone());
    let asked = |model: &TrainedModel| model.predict(&rows()).unwrap();
    assert_eq!(asked(&before), asked(&kept(report.kept().unwrap())));
    let error = before.table(ModelTable::TrainingInfo).unwrap_err().to_string();
    assert!(error.contains("from a release that kept none") && error.contains("CREATE OR REPLACE"), "{error}");
    let error = trained().table(ModelTable::TrainingInfo).unwrap_err().to_string();
    assert!(error.contains("learns from a stream, row by row; SHOW MODELS"), "{error}");
}

#[test]
fn probabilities_of_all_classes_are_a_question_of_their_own() {
    let (model, function) = (trained(), function(trained(), Question::ClassProbabilities));
    let said = returned(&function);
    assert_eq!(said.fields(), &model.answered(Question::ClassProbabilities).unwrap());
    let names = "predicted_late predicted_late_prob predicted_late_probs model_version model_event_time";
    assert_eq!(said.column_names(), names.split(' ').collect::<Vec<_>>());
    let first = said.column(2).as_list::<i32>().value(0);
    let values = first.as_struct().column(1).as_primitive::<Float64Type>().clone();
    assert_eq!(values.value(1), said.column(1).as_primitive::<Float64Type>().value(0));
    assert!((values.value(0) + values.value(1) - 1.0).abs() < 1e-12);
}

#[test]
fn what_moves_a_prediction_nearby_is_told_by_rows_in_a_list() {
    let question = Question::LocalExplanation { top_k_features: 1, seed: 3 };
    let (model, function) = (trained(), function(trained(), question));
    let background: ArrayRef = Arc::new(Float64Array::from_iter_values((0..40).map(|row| f64::from(row % 8) - 3.0)));
    let background = RecordBatch::try_from_iter_with_nullable([("x", background, true)]).unwrap();
    let item = Arc::new(Field::new("item", DataType::Struct(background.schema().fields().clone()), true));
    let structs: ArrayRef = Arc::new(StructArray::from(background.clone()));
    let lists: ArrayRef = Arc::new(ListArray::try_new(item, OffsetBuffer::from_lengths([40]), structs, None).unwrap());
    let returned = function.inner().return_type(&[DataType::Float64, lists.data_type().clone()]).unwrap();
    let told = |list: ColumnarValue| {
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::clone(rows().column(0))), list],
            arg_fields: [(); 2].map(|()| Arc::new(Field::new("any", DataType::Null, true))).to_vec(),
            number_rows: 3,
            return_field: Arc::new(Field::new("said", returned.clone(), true)),
            config_options: Arc::default(),
        };
        function.invoke_with_args(args).map(|said| said.into_array(3).unwrap().as_struct().clone())
    };
    let said = told(ColumnarValue::Scalar(ScalarValue::try_from_array(&lists, 0).unwrap())).unwrap();
    assert_eq!(said.data_type(), &returned);
    assert_eq!(said.fields(), &model.answered(Question::Explanation { top_k_features: 1 }).unwrap());
    let wanted = model.explain_locally(&rows(), 1, Background { rows: &background, seed: 3 }).unwrap();
    assert_eq!(said, StructArray::from(wanted));
    let other = model.explain_locally(&rows(), 1, Background { rows: &background, seed: 4 }).unwrap();
    assert_ne!(said, StructArray::from(other), "neighbours are drawn by the seed");
    // Of no rows array_agg makes NULL.
    let none = told(ColumnarValue::Scalar(ScalarValue::try_from(lists.data_type()).unwrap())).unwrap_err().to_string();
    assert!(none.contains("model 'm'") && none.contains("the background has no rows"), "{none}");
    let error = model.answer(question, &rows()).unwrap_err().to_string();
    assert!(error.contains("LIME need the rows of its training set"), "{error}");
}
