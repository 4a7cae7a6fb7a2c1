//! Rows a second that are explained, to be run by hand in release:
//! `cargo test --release -p tidemill-ml explain_throughput -- --ignored --nocapture --test-threads 1`.
#![expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch};

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

#[test]
#[ignore = "a measurement, not a check"]
fn explain_throughput() {
    let (features, labels) = numbers(20_000);
    let cases = [
        ("linear_reg", &[][..], 20_000),
        ("boosted_tree_regressor", &[], 5_000),
        ("random_forest_regressor", &[("max_tree_depth", "8")], 2_000),
        ("random_forest_regressor", &[("min_rows_in_leaf", "5"), ("max_tree_depth", "0")], 200),
    ];
    for (model_type, options, count) in cases {
        let options: BTreeMap<_, _> =
            options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
        let mut model = create_batch(model_type, &options, &schema, labels.data_type()).unwrap();
        model.add(&features, &labels).unwrap();
        let model = restore_supervised(&model.fit().unwrap().model).unwrap();
        let rows = features.slice(0, count);
        let began = Instant::now();
        let said = model.predictions(&rows).unwrap();
        let predicted = began.elapsed().as_secs_f64();
        model.explanations(&rows, &said).unwrap().unwrap();
        let explained = began.elapsed().as_secs_f64() - predicted;
        let per_second = |seconds: f64| count as f64 / seconds;
        eprintln!(
            "{model_type:26} {options:?}: {:>9.0} rows/s predicted, {:>9.0} rows/s explained",
            per_second(predicted),
            per_second(explained),
        );
    }
}
