//! Rows a second that are answered, to be run by hand in release:
//! `cargo test --release -p tidemill-ml neighbours_throughput -- --ignored --nocapture`.
//! `goldens/throughput_neighbors.py` does the same with scikit-learn on the same rows.
#![expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::DataType;

use crate::batch::throughput::noise;
use crate::{FeatureSchema, create_batch, restore_supervised};

const STORED: usize = 10_000;
const ASKED: usize = 2_000;
const COLUMNS: usize = 30;

fn rows(rows: std::ops::Range<usize>) -> RecordBatch {
    let columns = (0..COLUMNS).map(|column| {
        let values = rows.clone().map(|row| noise(row, column));
        (format!("x{column}"), Arc::new(Float64Array::from_iter_values(values)) as ArrayRef)
    });
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
#[ignore = "a measurement, not a check"]
fn neighbours_throughput() {
    let (stored, asked) = (rows(0..STORED), rows(STORED..STORED + ASKED));
    let labels: BooleanArray = (0..STORED).map(|row| Some(noise(row, 0) + noise(row, 1) > 0.0)).collect();
    let schema = FeatureSchema::from_arrow(&stored.schema()).unwrap();
    for distance in ["euclidean", "manhattan", "cosine"] {
        let options = [("distance", distance), ("standardize_features", "false")];
        let options: BTreeMap<_, _> = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut model = create_batch("knn_classifier", &options, &schema, &DataType::Boolean).unwrap();
        model.add(&stored, &labels).unwrap();
        let model = restore_supervised(&model.fit().unwrap().model).unwrap();
        let mut best = f64::INFINITY;
        let mut sum = 0.0;
        for _ in 0..7 {
            let start = Instant::now();
            sum = model.predictions(&asked).unwrap().probabilities[1].values().iter().sum();
            best = best.min(start.elapsed().as_secs_f64());
        }
        eprintln!("{distance}: {ASKED} rows of {STORED} in {:.1} ms, sum of probabilities {sum:.1}", best * 1e3);
    }
}
