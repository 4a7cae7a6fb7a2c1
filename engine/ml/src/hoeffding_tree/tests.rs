//! The accuracy of River along streams, growth, limits of memory, snapshots, and bad input.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::HoeffdingTree;
use crate::batch::throughput::noise;
use crate::goldens::{data_set, expected, reference_rows};
use crate::model::testing::{check_batch_boundaries, check_damaged, check_goes_on_restored, is_probability};
use crate::predictor::Supervised;
use crate::{FeatureSchema, OnlineSupervised, RejectReason, Result, create, restore, restore_predictor};

fn try_tree(options: &[(&str, &str)], features: &RecordBatch, label: &DataType) -> Result<HoeffdingTree> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    HoeffdingTree::new(&options, FeatureSchema::from_arrow(&features.schema())?, label)
}

fn tree(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> HoeffdingTree {
    try_tree(options, features, labels.data_type()).unwrap()
}

/// Four numbers, the first sometimes missing, and two categories, which decide what the numbers mean; a tenth of the
/// labels says nothing. `waves` in `goldens/online.py` makes the same.
pub(super) fn waves(rows: Range<usize>) -> (RecordBatch, StringArray) {
    let known = |row: usize, column: usize| column > 0 || row % 17 != 5;
    let category = |row: usize, column: usize, count: f64| ((noise(row, 4 + column) + 1.0) / 2.0 * count) as u32;
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for column in 0..4 {
        let values = rows.clone().map(|row| known(row, column).then(|| noise(row, column)));
        columns.push((format!("x{column}"), Arc::new(values.collect::<Float64Array>())));
    }
    for (column, count) in [5.0, 12.0].into_iter().enumerate() {
        let names = rows.clone().map(|row| format!("v{}", category(row, column, count)));
        columns.push((format!("c{column}"), Arc::new(StringArray::from_iter_values(names))));
    }
    let label = |row: usize| {
        if noise(row, 6) > 0.8 {
            return ["a", "b", "c"][row % 3];
        }
        match category(row, 0, 5.0) {
            0 | 1 => ["b", "a"][usize::from(noise(row, 0) > 0.2)],
            2 => ["a", "c"][usize::from(noise(row, 1) > -0.3)],
            _ => ["c", "b"][usize::from(noise(row, 2) + noise(row, 3) > 0.0)],
        }
    };
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    (batch.unwrap(), StringArray::from_iter_values(rows.map(label)))
}

/// The share of rows of which the tree says the class before it learns them, one by one.
fn prequential_accuracy(tree: &mut HoeffdingTree, features: &RecordBatch, labels: &dyn Array) -> f64 {
    let mut right = 0;
    for row in 0..labels.len() {
        let label = labels.slice(row, 1);
        let report = tree.learn(&features.slice(row, 1), label.as_ref()).unwrap();
        right += u32::from(report.said.labels.as_ref() == label.as_ref());
    }
    f64::from(right) / labels.len() as f64
}

fn learnt(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> HoeffdingTree {
    let mut tree = tree(options, features, labels);
    tree.learn(features, labels).unwrap();
    tree
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

fn check_river(name: &str, features: &RecordBatch, labels: &dyn Array) {
    for (leaves, mode) in [("mc", "majority_class"), ("nb", "naive_bayes"), ("nba", "adaptive")] {
        let mut tree = tree(&[("leaf_prediction", mode)], features, labels);
        let ours = prequential_accuracy(&mut tree, features, labels);
        let theirs = expected(&format!("{name}_tree_{leaves}"), "accuracy")[0];
        assert!(ours > theirs - 0.005, "{name}, {mode}: {ours}, and River {theirs}; {:?}", tree.learner.counts());
    }
}

#[test]
fn accuracy_along_a_stream_is_that_of_river() {
    for name in ["bananas", "phishing"] {
        let (features, labels) = data_set(name);
        let labels: BooleanArray = labels.into_iter().map(|label| Some(label == 1.0)).collect();
        check_river(name, &features, &labels);
    }
    let (features, labels) = data_set("image_segments");
    check_river("segments", &features, &labels.into_iter().map(|label| Some(label as i64)).collect::<Int64Array>());
    let (features, labels) = waves(0..20_000);
    check_river("waves", &features, &labels);
}

#[test]
fn a_tree_finds_what_the_labels_depend_on() {
    let (features, labels) = waves(0..30_000);
    let tree = learnt(&[], &features, &labels);
    let (splits, leaves) = tree.learner.counts();
    assert!(splits > 3 && leaves > 6, "{splits} splits, {leaves} leaves");
    let (features, labels) = waves(30_000..40_000);
    let said = tree.predictions(&features).unwrap();
    let right = said.labels.as_string::<i32>().iter().zip(&labels).filter(|(said, label)| said == label).count();
    // A fifteenth of the labels is wrong, whoever says them.
    assert!(right > 8500, "{right} of 10000");
    for row in 0..100 {
        let sum: f64 = said.probabilities.iter().map(|class| class.value(row)).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}

#[test]
fn a_split_comes_when_the_bound_allows_and_not_before() {
    // Of two classes that a number parts, the gain is 1 bit and the bound √(ln(1/δ) / 2n): below 1 from n = 9 on for
    // δ = 1e-7, so the first look decides. A tie, two equal numbers, waits until the bound is below τ: n > 3223.
    let labels: BooleanArray = (0..4000).map(|row| Some(row % 2 == 0)).collect();
    let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..4000).map(|row| f64::from(row % 2))));
    let one = RecordBatch::try_from_iter([("x", Arc::clone(&x))]).unwrap();
    let two = RecordBatch::try_from_iter([("x", Arc::clone(&x)), ("y", x)]).unwrap();
    let splits = |features: &RecordBatch, rows: usize| {
        let mut tree = tree(&[], features, &labels);
        tree.learn(&features.slice(0, rows), &labels.slice(0, rows)).unwrap();
        tree.learner.counts()
    };
    assert_eq!([199, 200].map(|rows| splits(&one, rows)), [(0, 1), (1, 2)]);
    assert_eq!([3399, 3400].map(|rows| splits(&two, rows)), [(0, 1), (1, 2)]);
}

#[test]
fn nothing_is_split_where_nothing_is_gained() {
    let rows = 0..5000;
    let constant: ArrayRef = Arc::new(Float64Array::from(vec![1.5; 5000]));
    let missing: ArrayRef = Arc::new(Float64Array::from(vec![None; 5000]));
    let name: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 5000]));
    let columns = [("constant", constant), ("missing", missing), ("name", name)];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let labels: BooleanArray = rows.clone().map(|row| Some(row % 4 == 0)).collect();
    let tree = learnt(&[], &features, &labels);
    assert_eq!(tree.learner.counts(), (0, 1));
    let said = tree.predict(&features.slice(0, 1)).unwrap();
    assert!((said.value(0) - 0.25).abs() < 1e-3, "{said:?}");
    tree.require_classes().unwrap();
    // One class only.
    let (features, _) = reference_rows(rows);
    let mut tree = learnt(&[], &features, &BooleanArray::from(vec![true; 5000]));
    assert_eq!((tree.learner.counts(), tree.class_rows()), ((0, 1), vec![0, 5000]));
    assert_eq!(tree.predict(&features.slice(0, 2)).unwrap().values(), &[1.0, 1.0]);
    check_error(
        tree.require_classes(),
        expect!["all 5000 rows have the label 'true'; a classifier needs rows of at least two classes"],
    );
    check_error(
        tree.merge(&[&[]]),
        expect!["models of type 'hoeffding_tree_classifier' cannot be merged: one task has to learn all rows"],
    );
    tree.merge(&[]).unwrap();
}

#[test]
fn memory_keeps_within_its_limits() {
    let (features, labels) = waves(0..30_000);
    let free = learnt(&[("grace_period", "50")], &features, &labels);
    let few = learnt(&[("grace_period", "50"), ("max_nodes", "12")], &features, &labels);
    let (splits, leaves) = few.learner.counts();
    assert!(splits > 0 && splits + leaves <= 12);
    assert!(free.learner.bytes() > 22 << 10, "{}", free.learner.bytes());
    for kib in [11, 20] {
        let size = (f64::from(kib) / 1024.0).to_string();
        let mut small = tree(&[("grace_period", "50"), ("max_size", &size)], &features, &labels);
        for start in (0..30_000).step_by(100) {
            small.learn(&features.slice(start, 100), &labels.slice(start, 100)).unwrap();
            // A split can exceed the limit until the next row comes.
            assert!(small.learner.bytes() < (kib as usize + 4) << 10, "{}", small.learner.bytes());
        }
        let restored = HoeffdingTree::restore(&small.snapshot().unwrap()).unwrap();
        assert_eq!(restored.learner.bytes(), small.learner.bytes());
    }
}

#[test]
fn batch_boundaries_do_not_change_a_bit() {
    let (features, labels) = waves(0..7000);
    for mode in ["majority_class", "adaptive"] {
        let options = [("leaf_prediction", mode), ("max_categories", "4"), ("grace_period", "60")];
        check_batch_boundaries(&tree(&options, &features, &labels), &features, &labels);
    }
}

#[test]
fn a_restored_tree_goes_on_as_the_original() {
    let (features, labels) = waves(0..9000);
    for options in [[("grace_period", "50"), ("max_categories", "3")], [("binary_split", "true"), ("max_size", "0.02")]]
    {
        check_goes_on_restored(Box::new(tree(&options, &features, &labels)), &features, &labels, 3000);
    }
}

#[test]
fn classes_come_along_with_the_stream() {
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0]));
    let features = RecordBatch::try_from_iter([("x", x)]).unwrap();
    let mut tree = try_tree(&[], &features, &DataType::Int32).unwrap();
    let empty = restore_predictor(&tree.snapshot().unwrap()).unwrap().answers(&features).unwrap();
    assert_eq!(empty.iter().map(|column| (column.len(), column.null_count())).collect::<Vec<_>>(), [(4, 4), (4, 4)]);
    let report = tree.learn(&features, &Int32Array::from(vec![Some(7), Some(-3), None, Some(7)])).unwrap();
    assert_eq!((report.rows, report.said.labels.null_count(), report.said.probabilities.len()), (3, 4, 0));
    assert_eq!((tree.class_names(), tree.class_rows()), (vec!["7".to_owned(), "-3".to_owned()], vec![2, 1]));
    assert_eq!(tree.label_type(), DataType::Int64);
    let said = tree.predictions(&features).unwrap();
    assert_eq!((said.labels.data_type(), said.labels.null_count()), (&DataType::Int64, 0));
    // Past the most classes, rows are rejected.
    let many: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1200));
    let features = RecordBatch::try_from_iter([("x", Arc::clone(&many))]).unwrap();
    let mut tree = learnt(&[], &features, &many);
    let report = tree.learn(&features, &many).unwrap();
    assert_eq!((report.rows, tree.class_names().len()), (1000, 1000));
    assert_eq!(report.rejected[0].reason, RejectReason::TooManyClasses { classes_max: 1000 });
    assert_eq!(report.rejected[0].reason.to_string(), "the label is a new class after the first 1000");
}

#[test]
fn bad_rows_are_reported_and_leave_no_trace() {
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, f64::INFINITY, 2.0, 3.0]));
    let c: ArrayRef = Arc::new(StringArray::from(vec!["a", "bad", "bad", "bad", "b"]));
    let features = RecordBatch::try_from_iter([("x", x), ("c", c)]).unwrap();
    let labels = StringArray::from(vec![Some("y"), Some("bad"), Some("bad"), None, Some("n")]);
    let mut with_bad = tree(&[], &features, &labels);
    let report = with_bad.learn(&features, &labels).unwrap();
    assert_eq!(report.rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1, 2, 3]);
    let mut without = tree(&[], &features, &labels);
    for row in [0, 4] {
        without.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
    }
    assert_eq!(with_bad.snapshot().unwrap(), without.snapshot().unwrap());
    let said = with_bad.predict(&features).unwrap();
    assert_eq!((0..5).map(|row| said.is_null(row)).collect::<Vec<_>>(), [false, true, true, false, false]);
}

#[test]
fn no_numbers_make_it_fail() {
    let value = |row: usize| match row % 7 {
        0 => Some(1e50),
        1 => Some(-1e50),
        2 => Some(1e-300),
        3 => None,
        _ => Some(noise(row, 0) * 1e-120),
    };
    let x: ArrayRef = Arc::new((0..3000).map(value).collect::<Float64Array>());
    let features = RecordBatch::try_from_iter_with_nullable([("x", x, true)]).unwrap();
    let labels: BooleanArray = (0..3000).map(|row| Some(row % 7 < 2 || row % 11 == 0)).collect();
    let tree = learnt(&[("grace_period", "30")], &features, &labels);
    let said = tree.predict(&features).unwrap();
    assert!(said.iter().all(|probability| probability.is_some_and(|probability| (0.0..=1.0).contains(&probability))));
    restore(&tree.snapshot().unwrap()).unwrap();
}

#[test]
fn what_cannot_be_made_or_learnt_is_an_error() {
    let (features, labels) = reference_rows(0..10);
    check_error(
        try_tree(&[("delta", "0")], &features, &DataType::Boolean),
        expect!["option delta = '0' is not valid; expected a number from 0.000000000000000000000000000001 to 0.5"],
    );
    check_error(
        try_tree(&[("leaf_prediction", "mc")], &features, &DataType::Boolean),
        expect!["option leaf_prediction = 'mc' is not valid; expected adaptive, naive_bayes, majority_class"],
    );
    check_error(
        try_tree(&[("max_depth", "3")], &features, &DataType::Boolean),
        expect![
            "model type 'hoeffding_tree_classifier' has no option 'max_depth'; valid options are grace_period, delta, tau, leaf_prediction, binary_split, max_nodes, max_size, max_categories"
        ],
    );
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    check_error(
        create("hoeffding_tree_classifier", &BTreeMap::new(), &schema, &DataType::Float64),
        expect![
            "label column 'label' has the unsupported type Float64; a class is a BOOLEAN, a VARCHAR or a whole number; cast it to one of these"
        ],
    );
    let mut tree = tree(&[], &features, &labels);
    let before = tree.snapshot().unwrap();
    check_error(tree.learn(&features, &labels.slice(0, 9)), expect!["the batch has 10 rows but 9 labels"]);
    check_error(
        tree.learn(&features, &StringArray::from(vec!["true"; 10])),
        expect!["label column 'label' has the unsupported type Utf8; give labels of one type to all of a model's rows"],
    );
    check_error(
        tree.learn(&features.project(&[0]).unwrap(), &labels),
        expect!["feature column 'b' is missing; the batch has a"],
    );
    let report = tree.learn(&features.slice(0, 0), &labels.slice(0, 0)).unwrap();
    assert_eq!((report.rows, report.said.labels.len()), (0, 0));
    assert_eq!(tree.predict(&features).unwrap().values(), &[0.5; 10]);
    assert_eq!(tree.snapshot().unwrap(), before);
    assert!((0..before.len()).all(|end| HoeffdingTree::restore(&before[..end]).is_err()));
}

fn some_snapshot() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let (features, labels) = waves(0..1500);
        let tree = learnt(&[("grace_period", "50"), ("tau", "0.3")], &features, &labels);
        assert!(tree.learner.counts().0 > 1);
        tree.snapshot().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, labels) = waves(1500..1600);
        check_damaged(some_snapshot(), changes, HoeffdingTree::restore, (&features, &labels), is_probability);
    }
}
