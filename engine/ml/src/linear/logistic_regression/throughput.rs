//! Rows a second and microseconds a snapshot, to be run by hand in release:
//! `cargo test --release -p tidemill-ml throughput -- --ignored --nocapture`.
#![expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;

use crate::FeatureSchema;
use crate::registry::testing::{create_supervised, restore_learning};

const BATCH_ROWS: u64 = 8192;

/// A multiplicative hash; only there to look random.
fn noise(row: u64, column: u64) -> u64 {
    (row * 31 + column).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33
}

/// Six categories, about 400 in all, and twelve numbers.
fn rows(first: u64) -> (RecordBatch, BooleanArray) {
    let rows = first..first + BATCH_ROWS;
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (column, categories) in [4, 12, 24, 60, 100, 200].into_iter().enumerate() {
        let names = rows.clone().map(|row| format!("category {}", noise(row, column as u64) % categories));
        columns.push((format!("c{column}"), Arc::new(StringArray::from_iter_values(names))));
    }
    for column in 6..18 {
        let values = rows.clone().map(|row| noise(row, column) as f64 / 1e6);
        columns.push((format!("x{column}"), Arc::new(Float64Array::from_iter_values(values))));
    }
    let labels = BooleanArray::from_iter(rows.map(|row| Some(noise(row, 17).is_multiple_of(3))));
    (RecordBatch::try_from_iter(columns).unwrap(), labels)
}

fn best_of<T>(rounds: usize, mut action: impl FnMut() -> T) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let start = Instant::now();
        std::hint::black_box(action());
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

#[test]
#[ignore = "a measurement, not a check"]
fn throughput() {
    let batches: Vec<_> = (0..32).map(|batch| rows(batch * BATCH_ROWS)).collect();
    let total = (BATCH_ROWS * 32) as f64 / 1e6;
    let schema = FeatureSchema::from_arrow(&batches[0].0.schema()).unwrap();
    for optimizer in ["adagrad", "ftrl", "sgd", "adam"] {
        let options = BTreeMap::from([("optimizer".to_owned(), optimizer.to_owned())]);
        let mut model = create_supervised("logistic_reg", &options, &schema, &DataType::Boolean).unwrap();
        let learn = best_of(5, || batches.iter().for_each(|(x, y)| drop(model.learn(x, y).unwrap())));
        let predict = best_of(5, || batches.iter().for_each(|(x, _)| drop(model.predict(x).unwrap())));
        let bytes = model.snapshot().unwrap();
        let snapshot = best_of(1000, || model.snapshot().unwrap());
        let restored = best_of(1000, || restore_learning(&bytes).unwrap());
        eprintln!(
            "{optimizer}: learn {:.2} and predict {:.2} Mrows/s; snapshot {:.1} us, restore {:.1} us, {} bytes",
            total / learn,
            total / predict,
            snapshot * 1e6,
            restored * 1e6,
            bytes.len()
        );
    }
}
