//! Rows a second that are learnt one by one, to be run by hand in release:
//! `cargo test --release -p tidemill-ml online_throughput -- --ignored --nocapture --test-threads 1`.
//! `goldens/throughput_online.py` does the same with River on the same rows.
#![expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch};

use crate::FeatureSchema;
use crate::batch::throughput::{BATCH_ROWS, numbers};
use crate::registry::testing::create_supervised;

const ROWS: usize = 200_000;

/// Learns the rows in batches, as a stream brings them; a batch's predictions are part of what learning returns.
pub(crate) fn measure(
    name: &str,
    model_type: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
    labels: &dyn Array,
) {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let rows = features.num_rows();
    let (mut learnt, mut bytes) = (f64::INFINITY, 0);
    for _ in 0..3 {
        let mut model = create_supervised(model_type, &options, &schema, labels.data_type()).unwrap();
        let start = Instant::now();
        for first in (0..rows).step_by(BATCH_ROWS) {
            let length = BATCH_ROWS.min(rows - first);
            model.learn(&features.slice(first, length), &labels.slice(first, length)).unwrap();
        }
        learnt = learnt.min(start.elapsed().as_secs_f64());
        bytes = model.snapshot().unwrap().len();
    }
    eprintln!("{name}: predict and learn {:.3} Mrows/s; {bytes} bytes", rows as f64 / learnt / 1e6);
}

#[test]
#[ignore = "a measurement, not a check"]
fn online_throughput() {
    let (features, labels) = numbers(ROWS);
    let booleans: BooleanArray = labels.iter().map(|label| Some(*label > 0.0)).collect();
    let labels: ArrayRef = Arc::new(Float64Array::from(labels));
    for optimizer in ["adagrad", "ftrl", "sgd", "adam"] {
        let options = [("optimizer", optimizer)];
        measure(&format!("logistic, {optimizer}"), "logistic_reg", &options, &features, &booleans);
        measure(&format!("linear, {optimizer}"), "linear_reg", &options, &features, &labels);
    }
}
