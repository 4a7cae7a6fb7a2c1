//! Snapshots that lie in savepoints and stored models: whatever becomes of the code, they are read, answer as they
//! did, and go on learning to the same bits.
//!
//! `goldens/logistic_reg_snapshots.txt` was written by the first version that had savepoints. Its lines are a case, what
//! they hold, and that in hexadecimal digits. It is never written anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::datatypes::DataType;

use crate::goldens::reference_rows;
use crate::registry::testing::{create_supervised, restore_learning};
use crate::{FeatureSchema, OnlineSupervised, create_batch};

/// The cases: how a model came to be, and its options.
const CASES: [(&str, &[(&str, &str)]); 4] = [
    ("adagrad", &[("optimizer", "adagrad"), ("max_categories", "4"), ("l2", "0.01")]),
    ("ftrl", &[("optimizer", "ftrl"), ("l1", "0.1"), ("clip", "2")]),
    ("sgd", &[("optimizer", "sgd"), ("standardize", "false"), ("learning_rate", "0.001")]),
    ("fitted", &[]),
];

/// The rows behind a snapshot; the same number is predicted and learnt then.
const ROWS: usize = 120;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/logistic_reg_snapshots.txt")
}

fn later_rows() -> (RecordBatch, BooleanArray) {
    reference_rows(ROWS..2 * ROWS)
}

fn snapshot_of(case: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let (features, labels) = reference_rows(0..ROWS);
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    if case == "fitted" {
        let mut model = create_batch("logistic_reg", &options, &schema, &DataType::Boolean).unwrap();
        model.add(&features, &labels).unwrap();
        return model.fit().unwrap().model;
    }
    let mut model = create_supervised("logistic_reg", &options, &schema, &DataType::Boolean).unwrap();
    model.learn(&features, &labels).unwrap();
    model.snapshot().unwrap()
}

/// The bits of what it says of later rows.
fn said(model: &dyn OnlineSupervised) -> Vec<u8> {
    let said = model.predict(&later_rows().0).unwrap();
    assert_eq!(said.null_count(), 0);
    said.values().iter().flat_map(|probability| probability.to_le_bytes()).collect()
}

/// What a case has in the file.
fn kept(case: &str, what: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path()).unwrap();
    let digits = text.lines().find_map(|line| line.strip_prefix(&format!("{case} {what} "))).unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn kept_snapshots_are_read_and_go_on_learning() {
    let (features, labels) = later_rows();
    for (case, _) in CASES {
        let mut model = restore_learning(&kept(case, "snapshot")).unwrap();
        assert!(model.snapshot().unwrap() == kept(case, "snapshot"), "{case}: the same model has other bytes");
        assert!(said(model.as_ref()) == kept(case, "said"), "{case}: it says something else");
        model.learn(&features, &labels).unwrap();
        assert!(model.snapshot().unwrap() == kept(case, "later"), "{case}: it goes on in another way");
    }
}

#[test]
#[ignore = "writes the file, which is never written anew; cargo test -p tidemill-ml kept -- --ignored"]
fn writes_the_kept_snapshots() {
    assert!(!path().exists(), "{} is never written anew", path().display());
    let (features, labels) = later_rows();
    let mut text = String::new();
    for (case, options) in CASES {
        let snapshot = snapshot_of(case, options);
        let mut model = restore_learning(&snapshot).unwrap();
        let said = said(model.as_ref());
        model.learn(&features, &labels).unwrap();
        for (what, bytes) in [("snapshot", snapshot), ("said", said), ("later", model.snapshot().unwrap())] {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("{case} {what} {digits}\n");
        }
    }
    std::fs::write(path(), text).unwrap();
}
