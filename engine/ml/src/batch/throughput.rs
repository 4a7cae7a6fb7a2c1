//! Rows a second that are taken and fitted, to be run by hand in release:
//! `cargo test --release -p tidemill-ml throughput -- --ignored --nocapture --test-threads 1`.
//! `goldens/throughput.py` does the same with scikit-learn on the same rows.
#![expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]

mod memory;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray};

use super::{FitControl, create_batch};
use crate::random::{STEP, mixed};
use crate::{FeatureSchema, restore_predictor};

const ROWS: usize = 200_000;
const COLUMNS: usize = 30;
pub(crate) const BATCH_ROWS: usize = 8192;

/// SplitMix64 of the row and the column, as a number in [-1, 1).
pub(crate) fn noise(row: usize, column: usize) -> f64 {
    let bits = mixed(((row * 100 + column) as u64).wrapping_mul(STEP));
    (bits >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
}

/// Thirty numbers, of which the label is a noisy sum.
pub(crate) fn numbers(rows: usize) -> (RecordBatch, Vec<f64>) {
    some_numbers(0..rows)
}

/// Those of some of the rows.
fn some_numbers(rows: Range<usize>) -> (RecordBatch, Vec<f64>) {
    let columns = (0..COLUMNS).map(|column| {
        let values = rows.clone().map(|row| noise(row, column));
        (format!("x{column}"), Arc::new(Float64Array::from_iter_values(values)) as ArrayRef)
    });
    let sum = |row: usize| (0..COLUMNS).map(|column| noise(row, column) * (column % 5) as f64 * 0.3).sum::<f64>();
    let labels = rows.clone().map(|row| sum(row) + noise(row, 97) * 2.0).collect();
    (RecordBatch::try_from_iter(columns).unwrap(), labels)
}

/// A million ratings of 2,000 items by 20,000 users.
fn ratings() -> (RecordBatch, ArrayRef) {
    let of = |column: usize, count: usize| -> ArrayRef {
        let place = move |row: usize| ((noise(row, column) + 1.0) / 2.0 * count as f64) as i64;
        Arc::new(Int64Array::from_iter_values((0..1_000_000).map(place)))
    };
    let taste = |row: usize| (noise(row, 2) * 2.0 + 6.5).floor() / 2.0;
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..1_000_000).map(taste)));
    (RecordBatch::try_from_iter([("user", of(0, 20_000)), ("item", of(1, 2_000))]).unwrap(), values)
}

/// Five categories, about 150 in all, and three numbers.
fn categories() -> RecordBatch {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (column, count) in [12, 7, 16, 3, 105].into_iter().enumerate() {
        let names =
            (0..ROWS).map(|row| format!("category {}", ((noise(row, column) + 1.0) / 2.0 * count as f64) as u64));
        columns.push((format!("c{column}"), Arc::new(StringArray::from_iter_values(names))));
    }
    for column in 5..8 {
        let values = (0..ROWS).map(|row| noise(row, column));
        columns.push((format!("x{column}"), Arc::new(Float64Array::from_iter_values(values))));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

fn measure(name: &str, model_type: &str, options: &[(&str, &str)], features: &RecordBatch, labels: &ArrayRef) {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let all = features.num_rows();
    for threads in [1, 2] {
        let (mut added, mut fitted) = (f64::INFINITY, f64::INFINITY);
        let mut report = None;
        // What takes long varies less.
        for _ in 0..(if all > ROWS { 1 } else { 3 }) {
            let mut model = create_batch(model_type, &options, &schema, labels.data_type()).unwrap();
            let start = Instant::now();
            for first in (0..all).step_by(BATCH_ROWS) {
                let rows = BATCH_ROWS.min(all - first);
                model.add(&features.slice(first, rows), &labels.slice(first, rows)).unwrap();
            }
            added = added.min(start.elapsed().as_secs_f64());
            model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
            let start = Instant::now();
            report = Some(model.fit().unwrap());
            fitted = fitted.min(start.elapsed().as_secs_f64());
        }
        let report = report.unwrap();
        let model = restore_predictor(&report.model).unwrap();
        let start = Instant::now();
        model.answers(features).unwrap();
        eprintln!(
            "{name}, {threads} threads: take {:.2} Mrows/s, fit {:.3} s in {} steps, predict {:.2} Mrows/s",
            all as f64 / added / 1e6,
            fitted,
            report.iterations,
            all as f64 / start.elapsed().as_secs_f64() / 1e6,
        );
    }
}

#[test]
#[ignore = "a measurement, not a check"]
fn fit_throughput() {
    let (features, labels) = numbers(ROWS);
    let booleans: ArrayRef = Arc::new(labels.iter().map(|label| Some(*label > 0.0)).collect::<BooleanArray>());
    let classes: ArrayRef = Arc::new(labels.iter().map(|label| Some((label * 1.5) as i64 % 2)).collect::<Int64Array>());
    let floats: ArrayRef = Arc::new(Float64Array::from(labels));
    measure("logistic", "logistic_reg", &[], &features, &booleans);
    measure("logistic to 1e-4", "logistic_reg", &[("tolerance", "1e-4")], &features, &booleans);
    measure("logistic of categories", "logistic_reg", &[], &categories(), &booleans);
    measure("naive Bayes", "naive_bayes", &[], &features, &booleans);
    measure("three classes", "logistic_reg", &[], &features, &classes);
    measure("linear", "linear_reg", &[], &features, &floats);
    measure("lasso", "linear_reg", &[("l1_reg", "20000")], &features, &floats);
}

#[test]
#[ignore = "a measurement, not a check"]
fn tree_throughput() {
    let (features, labels) = numbers(1_000_000);
    let booleans: ArrayRef = Arc::new(labels.iter().map(|label| Some(*label > 0.0)).collect::<BooleanArray>());
    measure("100 trees", "boosted_tree_classifier", &[], &features, &booleans);
    measure(
        "100 trees of numbers",
        "boosted_tree_regressor",
        &[],
        &features,
        &(Arc::new(Float64Array::from(labels)) as ArrayRef),
    );
    let labels = booleans.slice(0, ROWS);
    measure("100 trees of categories", "boosted_tree_classifier", &[], &categories(), &labels);
}

#[test]
#[ignore = "a measurement, not a check"]
fn cluster_throughput() {
    let features = numbers(ROWS).0;
    let none: ArrayRef = Arc::new(NullArray::new(ROWS));
    let options = |clusters| [("num_clusters", clusters), ("max_iterations", "20"), ("tolerance", "0")];
    measure("10 clusters", "kmeans", &options("10"), &features, &none);
    measure("100 clusters", "kmeans", &options("100"), &features, &none);
    measure("10 clusters of categories", "kmeans", &options("10"), &categories(), &none);
    // Lloyd's would make 300 passes over noise by default.
    let options = [("num_clusters", "100"), ("kmeans_algorithm", "mini_batch")];
    measure("100 clusters by mini-batches", "kmeans", &options, &features, &none);
}

#[test]
#[ignore = "a measurement, not a check"]
fn density_throughput() {
    let features = numbers(ROWS).0;
    let none: ArrayRef = Arc::new(NullArray::new(ROWS));
    let three = features.project(&[0, 1, 2]).unwrap();
    for eps in ["0.04", "0.2"] {
        let options = [("eps", eps), ("standardize_features", "false")];
        measure(&format!("DBSCAN of 3 numbers within {eps}"), "dbscan", &options, &three, &none);
    }
    let options = [("num_clusters", "10"), ("max_iterations", "5"), ("tolerance", "0")];
    measure("10 normal distributions", "gaussian_mixture", &options, &features, &none);
}

#[test]
#[ignore = "a measurement, not a check"]
fn forest_throughput() {
    let (features, labels) = numbers(100_000);
    let booleans: ArrayRef = Arc::new(labels.iter().map(|label| Some(*label > 0.0)).collect::<BooleanArray>());
    let labels: ArrayRef = Arc::new(Float64Array::from(labels));
    measure("forest of 20 trees", "random_forest_classifier", &[("num_parallel_tree", "20")], &features, &booleans);
    let options = [("num_parallel_tree", "20"), ("max_features", "sqrt"), ("min_rows_in_leaf", "5")];
    measure("forest of 20 trees of numbers", "random_forest_regressor", &options, &features, &labels);
    measure("tree", "decision_tree_classifier", &[], &features, &booleans);
}

#[test]
#[ignore = "a measurement, not a check"]
fn anomaly_throughput() {
    let features = numbers(ROWS).0;
    let none: ArrayRef = Arc::new(NullArray::new(ROWS));
    measure("isolation forest", "isolation_forest", &[], &features, &none);
    let (some, none) = (features.slice(0, 10_000), none.slice(0, 10_000));
    measure("10,000 rows within a border", "one_class_svm", &[("nu", "0.1")], &some, &none);
}

#[test]
#[ignore = "a measurement, not a check"]
fn vector_machine_throughput() {
    let (features, labels) = numbers(ROWS);
    let booleans: ArrayRef = Arc::new(labels.iter().map(|label| Some(*label > 0.0)).collect::<BooleanArray>());
    let labels: ArrayRef = Arc::new(Float64Array::from(labels));
    measure("linear SVM", "linear_svm", &[("l2_reg", "1")], &features, &booleans);
    let tube = [("l2_reg", "1"), ("epsilon", "0.1")];
    measure("linear SVR", "linear_svr", &tube, &features, &labels);
    let squared = [("loss", "squared_epsilon_insensitive"), ("l2_reg", "1"), ("epsilon", "0.1")];
    measure("linear SVR of squares", "linear_svr", &squared, &features, &labels);
}

#[test]
#[ignore = "a measurement, not a check"]
fn factorization_throughput() {
    let (features, labels) = ratings();
    let options = |feedback| [("feedback_type", feedback), ("max_iterations", "5"), ("tolerance", "0")];
    measure("16 factors", "matrix_factorization", &options("explicit"), &features, &labels);
    measure("16 factors of what was seen", "matrix_factorization", &options("implicit"), &features, &labels);
}
