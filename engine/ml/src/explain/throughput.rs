//! Rows a second that are explained, to be run by hand in release:
//! `cargo test --release -p tidemill-ml explain_throughput -- --ignored --nocapture --test-threads 1`.
#![expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};

use crate::batch::throughput::noise;
use crate::{FeatureSchema, create_batch, restore_supervised};

/// Thirty numbers, and their noisy sum.
fn numbers(rows: usize) -> (RecordBatch, Float64Array) {
    let columns = (0..30).map(|column| {
        let values = (0..rows).map(|row| noise(row, column));
        (format!("x{column}"), Arc::new(Float64Array::from_iter_values(values)) as ArrayRef)
    });
    let sum = |row: usize| (0..30).map(|column| noise(row, column) * (column % 5) as f64 * 0.3).sum::<f64>();
    let labels = Float64Array::from_iter_values((0..rows).map(|row| sum(row) + noise(row, 97) * 2.0));
    (RecordBatch::try_from_iter(columns).unwrap(), labels)
}

/// Rows as those of UCI's Adult are: six numbers, and eight categories of as many kinds; the label follows from some.
fn adults(rows: usize) -> (RecordBatch, BooleanArray) {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for column in 0..6 {
        let values = (0..rows).map(|row| (noise(row, column) * 40.0).round());
        columns.push((format!("x{column}"), Arc::new(Float64Array::from_iter_values(values))));
    }
    let kind = |row: usize, column: usize, count: f64| ((noise(row, column) + 1.0) / 2.0 * count) as u64;
    for (column, count) in (6..).zip([9.0, 16.0, 7.0, 15.0, 6.0, 5.0, 2.0, 42.0]) {
        let names = (0..rows).map(|row| format!("kind {}", kind(row, column, count)));
        columns.push((format!("c{column}"), Arc::new(StringArray::from_iter_values(names))));
    }
    let label = |row: usize| {
        let (number, other) = (noise(row, 0), noise(row, 1));
        let of_kinds = kind(row, 7, 16.0) % 5 + kind(row, 9, 15.0) % 3 + kind(row, 12, 2.0);
        number * other + number + of_kinds as f64 * 0.3 + noise(row, 97) > 1.3
    };
    (RecordBatch::try_from_iter(columns).unwrap(), (0..rows).map(|row| Some(label(row))).collect())
}

/// Rows a second that a model of these options explains of `count` rows.
fn measure(name: &str, model_type: &str, options: &[(&str, &str)], rows: (&RecordBatch, &dyn Array), count: usize) {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let (features, labels) = rows;
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let mut model = create_batch(model_type, &options, &schema, labels.data_type()).unwrap();
    model.add(features, labels).unwrap();
    let model = restore_supervised(&model.fit().unwrap().model).unwrap();
    let rows = features.slice(0, count);
    let (mut predicted, mut explained) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        let began = Instant::now();
        let said = model.predictions(&rows).unwrap();
        predicted = predicted.min(began.elapsed().as_secs_f64());
        let began = Instant::now();
        model.explanations(&rows, &said).unwrap().unwrap();
        explained = explained.min(began.elapsed().as_secs_f64());
    }
    let per_second = |seconds: f64| count as f64 / seconds;
    eprintln!("{name}: {:.0} rows/s predicted, {:.0} rows/s explained", per_second(predicted), per_second(explained));
}

/// `goldens/throughput_others.py` does the same with LightGBM and the package shap.
#[test]
#[ignore = "a measurement, not a check"]
fn explain_throughput() {
    let (features, labels) = adults(32_561);
    let trees = [("max_tree_depth", "0"), ("num_leaves", "31")];
    measure("100 trees of 31 leaves", "boosted_tree_classifier", &trees, (&features, &labels), 5_000);
    let (features, labels) = numbers(20_000);
    let rows: (&RecordBatch, &dyn Array) = (&features, &labels);
    measure("linear", "linear_reg", &[], rows, 20_000);
    measure("trees of numbers", "boosted_tree_regressor", &[], rows, 5_000);
    measure("forest of depth 8", "random_forest_regressor", &[("max_tree_depth", "8")], rows, 2_000);
    let deep = [("min_rows_in_leaf", "5"), ("max_tree_depth", "0")];
    measure("forest", "random_forest_regressor", &deep, rows, 200);
    let (features, labels) = numbers(1_000);
    measure("neighbours, asked", "knn_regressor", &[], (&features, &labels), 20);
}
