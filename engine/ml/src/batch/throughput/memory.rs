//! The most memory that taking and fitting a million rows needs, to be run by hand in release, each in a process of its own:
//! `cargo test --release -p tidemill-ml memory_of_trees -- --ignored --nocapture`, and `memory_of_logistic_reg`.
//! Rows are made batch by batch, as a source gives them, so all that stays in memory is the model's.

use super::*;

const MANY: usize = 1_000_000;

/// Kibibytes of this process that were in memory at most, as Linux says.
fn peak_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn measure_memory(model_type: &str) {
    let schema = FeatureSchema::from_arrow(&some_numbers(0..1).0.schema()).unwrap();
    let mut model = create_batch(model_type, &BTreeMap::new(), &schema, &arrow::datatypes::DataType::Boolean).unwrap();
    let before = peak_kib();
    for first in (0..MANY).step_by(BATCH_ROWS) {
        let (features, labels) = some_numbers(first..(first + BATCH_ROWS).min(MANY));
        let labels: BooleanArray = labels.iter().map(|label| Some(*label > 0.0)).collect();
        model.add(&features, &labels).unwrap();
    }
    let taken = peak_kib();
    model.fit().unwrap();
    let fitted = peak_kib();
    let data = MANY * COLUMNS * 8 / 1024;
    let times = |kib: usize| (kib - before) as f64 / data as f64;
    eprintln!("{model_type}: rows taken need {:.2} times their bytes, the fit {:.2}", times(taken), times(fitted));
}

#[test]
#[ignore = "a measurement, not a check"]
fn memory_of_trees() {
    measure_memory("boosted_tree_classifier");
}

#[test]
#[ignore = "a measurement, not a check"]
fn memory_of_logistic_reg() {
    measure_memory("logistic_reg");
}
