//! Models that are asked again and again: Shapley values by their definition, of what the model itself predicts of rows in
//! which numbers are NULL and texts are unseen.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Float64Type};

use super::{explained, fit, reference_rows, shapley};
use crate::explain::explain;
use crate::goldens::assert_all_close;
use crate::model::FeatureSchema;
use crate::predictor::Supervised;
use crate::{create, restore_predictor, restore_supervised};

/// Two numbers and a text: a boolean cannot be unseen.
fn rows(count: usize) -> RecordBatch {
    reference_rows(0..count).0.project(&[0, 1, 2]).unwrap()
}

/// The rows with the features that are not among the bits of `known` missing.
fn with_known(rows: &RecordBatch, known: u32) -> RecordBatch {
    let of_column = |(place, column): (usize, &ArrayRef)| -> ArrayRef {
        match column.data_type() {
            _ if known >> place & 1 == 1 => Arc::clone(column),
            DataType::Utf8 => Arc::new(StringArray::from(vec!["nowhere"; rows.num_rows()])),
            number => new_null_array(number, rows.num_rows()),
        }
    };
    RecordBatch::try_new(rows.schema(), rows.columns().iter().enumerate().map(of_column).collect()).unwrap()
}

/// What a model says of each row: its number, or the probability of this class.
fn says(model: &dyn Supervised, rows: &RecordBatch, classes: &[usize]) -> Vec<f64> {
    let said = model.predictions(rows).unwrap();
    match said.probabilities.as_slice() {
        [] => said.labels.as_primitive::<Float64Type>().values().to_vec(),
        probabilities => classes.iter().enumerate().map(|(row, class)| probabilities[*class].value(row)).collect(),
    }
}

/// Compares the attributions of some rows with the definition; `as_explained` makes of what is predicted what is explained.
#[track_caller]
fn check(model: &[u8], rows: &RecordBatch, as_explained: impl Fn(f64) -> f64) {
    let (said, explanations) = explained(model, rows);
    let model = restore_supervised(model).unwrap();
    let classes: Vec<_> = (0..rows.num_rows()).map(|row| said.place(row)).collect();
    let features = rows.num_columns();
    let of_coalitions: Vec<_> =
        (0..1 << features).map(|known| says(model.as_ref(), &with_known(rows, known), &classes)).collect();
    let value = |row: usize, known: u32| as_explained(of_coalitions[known as usize][row]);
    let mut moved = 0;
    for row in 0..rows.num_rows() {
        let wanted = shapley(features, |known| value(row, known));
        assert_all_close(explanations.attributions(row), &wanted, 1e-9);
        let ends = [explanations.baselines().value(row), explanations.values().value(row)];
        assert_all_close(&ends, &[value(row, 0), value(row, (1 << features) - 1)], 1e-9);
        moved += usize::from(wanted.iter().filter(|value| value.abs() > 1e-6).count() > 1);
    }
    assert!(moved > 10, "{}: {moved} rows are moved by several features", model.model_type());
    assert!(explanations.errors().values().iter().all(|error| *error == 0.0));
}

fn learnt(model_type: &str, rows: &RecordBatch, labels: &dyn Array) -> Vec<u8> {
    let schema = FeatureSchema::from_arrow(rows.schema_ref()).unwrap();
    let options = BTreeMap::from([("grace_period".to_string(), "50".to_string())]);
    let mut model = create(model_type, &options, &schema, labels.data_type()).unwrap();
    model.learn(rows, labels).unwrap();
    model.snapshot().unwrap()
}

#[test]
fn neighbours_are_explained_by_the_definition() {
    let rows = rows(400);
    let positive = reference_rows(0..400).1;
    let numbers = Float64Array::from_iter_values((0..400).map(|row| f64::from(row * 37 % 101)));
    for distance in ["euclidean", "manhattan", "cosine"] {
        let options =
            [("distance", distance), ("standardize_features", if distance == "cosine" { "true" } else { "false" })];
        check(&fit("knn_regressor", &options, &rows, &numbers), &rows.slice(0, 40), |number| number);
        check(&fit("knn_classifier", &options, &rows, &positive), &rows.slice(0, 40), |probability| probability);
    }
}

#[test]
fn naive_bayes_is_explained_by_the_definition() {
    let positive = reference_rows(0..400).1;
    let log_odds = |probability: f64| (probability / (1.0 - probability)).ln();
    for distribution in ["gaussian", "bernoulli"] {
        let model = fit("naive_bayes", &[("distribution", distribution)], &rows(400), &positive);
        check(&model, &rows(400).slice(0, 60), log_odds);
    }
    let columns = rows(400);
    // Small counts: of probabilities near 1 the odds have few digits.
    let other: ArrayRef = Arc::new(Float64Array::from_iter_values((0..400).map(|row| f64::from(row * 37 % 5))));
    let columns = [("a", other), ("b", Arc::clone(&columns["b"])), ("city", Arc::clone(&columns["city"]))];
    let counts = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let model = fit("naive_bayes", &[("distribution", "multinomial")], &counts, &positive);
    check(&model, &counts.slice(0, 60), log_odds);
}

#[test]
fn trees_of_streams_are_explained_by_the_definition() {
    let count = 3000;
    let (rows, positive) = (rows(count), reference_rows(0..count).1);
    let asked = rows.slice(1000, 40);
    for model in
        ["hoeffding_tree_classifier", "hoeffding_adaptive_tree_classifier", "adaptive_random_forest_classifier"]
    {
        check(&learnt(model, &rows, &positive), &asked, |probability| probability);
    }
    let squares = |row: usize| rows["a"].as_primitive::<Float64Type>().value(row).powi(2);
    let of_city = |row: usize| if row * row % 7 == 2 { 20.0 } else { 0.0 };
    let numbers = Float64Array::from_iter_values((0..count).map(|row| squares(row) + of_city(row)));
    check(&learnt("hoeffding_tree_regressor", &rows, &numbers), &asked, |number| number);
}

#[test]
fn ratings_are_explained_by_the_definition() {
    let ids = |every: usize| StringArray::from_iter_values((0..300).map(|row| format!("{}", row * every % 23)));
    let [users, items] = [5, 14].map(|every| Arc::new(ids(every)) as ArrayRef);
    let rows = RecordBatch::try_from_iter([("user", users), ("item", items)]).unwrap();
    let ratings = Float64Array::from_iter_values((0..300).map(|row| f64::from(row * 7 % 5) + f64::from(row % 4)));
    check(&fit("matrix_factorization", &[("num_factors", "3")], &rows, &ratings), &rows.slice(0, 30), |number| number);
}

#[test]
fn before_a_class_is_known_nothing_is_explained() {
    let rows = rows(4);
    let none = rows.slice(0, 0);
    let model = learnt("hoeffding_tree_classifier", &none, &StringArray::from(Vec::<&str>::new()));
    let table = explain(restore_predictor(&model).unwrap().as_ref(), "late", &rows, 2).unwrap();
    assert!(table.num_rows() == 4 && table.columns().iter().all(|column| column.null_count() == 4));
}
