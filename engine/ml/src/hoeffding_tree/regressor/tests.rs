//! The errors of River along streams, growth, limits of memory, snapshots, and bad input.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::HoeffdingTreeRegressor;
use crate::batch::throughput::noise;
use crate::goldens::{data_set, expected, reference_rows};
use crate::model::testing::{check_batch_boundaries, check_damaged, check_goes_on_restored, try_online};
use crate::{FeatureSchema, OnlineSupervised, RejectReason, Result, restore, restore_predictor};

fn tree(options: &[(&str, &str)], features: &RecordBatch) -> HoeffdingTreeRegressor {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    HoeffdingTreeRegressor::new(&options, FeatureSchema::from_arrow(&features.schema()).unwrap()).unwrap()
}

fn learnt(options: &[(&str, &str)], features: &RecordBatch, labels: &Float64Array) -> HoeffdingTreeRegressor {
    let mut tree = tree(options, features);
    tree.learn(features, labels).unwrap();
    tree
}

/// Three numbers, the first sometimes missing, and a category that decides which plane the label lies on. `surfaces` in
/// `goldens/online_trees.py` makes the same.
pub(crate) fn surfaces(rows: Range<usize>) -> (RecordBatch, Float64Array) {
    let known = |row: usize, column: usize| column > 0 || row % 17 != 5;
    let category = |row: usize| ((noise(row, 3) + 1.0) / 2.0 * 4.0) as u32;
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for column in 0..3 {
        let values = rows.clone().map(|row| known(row, column).then(|| noise(row, column)));
        columns.push((format!("x{column}"), Arc::new(values.collect::<Float64Array>())));
    }
    let names = rows.clone().map(|row| format!("v{}", category(row)));
    columns.push(("c".to_owned(), Arc::new(StringArray::from_iter_values(names))));
    let label = |row: usize| {
        let x = |column: usize| noise(row, column);
        let plane = match category(row) {
            0 | 1 if x(2) > 0.1 => 3.0 * x(0) + x(1),
            0 | 1 => -2.0 * x(1),
            2 => 5.0 + 2.0 * x(2),
            _ if x(1) > -0.2 => -4.0,
            _ => 4.0 + x(0),
        };
        10.0 + plane + 0.5 * noise(row, 4)
    };
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    (batch.unwrap(), Float64Array::from_iter_values(rows.map(label)))
}

/// The root of the mean squared error of what is said of each row before it is learnt, one by one.
fn prequential_rmse(tree: &mut dyn OnlineSupervised, features: &RecordBatch, labels: &Float64Array) -> f64 {
    let mut squares = 0.0;
    for row in 0..labels.len() {
        let report = tree.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
        squares += (report.said.scores().value(0) - labels.value(row)).powi(2);
    }
    (squares / labels.len() as f64).sqrt()
}

fn rmse(tree: &dyn OnlineSupervised, features: &RecordBatch, labels: &Float64Array) -> f64 {
    let said = tree.predict(features).unwrap();
    let squares = said.values().iter().zip(labels.values()).map(|(said, label)| (said - label).powi(2));
    (squares.sum::<f64>() / labels.len() as f64).sqrt()
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[track_caller]
fn check_river(name: &str, mode: (&str, &str), features: &RecordBatch, labels: &Float64Array) {
    let ours = prequential_rmse(&mut tree(&[("leaf_prediction", mode.0)], features), features, labels);
    let theirs = expected(&format!("{name}_tree_{}", mode.1), "rmse")[0];
    assert!(ours < theirs * 1.005, "{name}, {}: {ours}, and River {theirs}", mode.0);
}

#[test]
fn errors_along_a_stream_are_not_above_those_of_river() {
    let (features, labels) = surfaces(0..12_000);
    check_river("surfaces", ("mean", "mean"), &features, &labels);
    let numbers = features.project(&[0, 1, 2]).unwrap();
    let (polls, averages) = data_set("trump_approval");
    let averages = Float64Array::from(averages);
    for mode in [("mean", "mean"), ("linear", "model"), ("adaptive", "adaptive")] {
        check_river("surface_numbers", mode, &numbers, &labels);
        check_river("approval", mode, &polls, &averages);
    }
}

#[test]
fn a_tree_finds_what_the_labels_depend_on() {
    let (features, labels) = surfaces(0..30_000);
    let mut errors = Vec::new();
    for mode in ["mean", "linear", "adaptive"] {
        let tree = learnt(&[("leaf_prediction", mode)], &features, &labels);
        let (splits, leaves) = tree.tree.counts();
        assert!(splits > 3 && leaves > 6, "{splits} splits, {leaves} leaves");
        let (features, labels) = surfaces(30_000..32_000);
        errors.push(rmse(&tree, &features, &labels));
    }
    // Noise alone has 0.29, what is missing adds to it, and the labels' deviation is 4.
    assert!(errors[0] < 0.65 && errors[1] < 0.55 && errors[2] < 0.55, "{errors:?}");
}

#[test]
fn a_split_comes_when_the_bound_allows_and_not_before() {
    // A number alone has no rival, so the first look decides. Two that are equal wait until the bound
    // √(ln(1/δ) / 2n) is below τ: n > 3223.
    let labels = Float64Array::from_iter_values((0..4000).map(|row| f64::from(row % 2)));
    let x: ArrayRef = Arc::new(labels.clone());
    let one = RecordBatch::try_from_iter([("x", Arc::clone(&x))]).unwrap();
    let two = RecordBatch::try_from_iter([("x", Arc::clone(&x)), ("y", x)]).unwrap();
    let splits = |features: &RecordBatch, rows: usize| {
        learnt(&[], &features.slice(0, rows), &labels.slice(0, rows)).tree.counts()
    };
    assert_eq!([199, 200].map(|rows| splits(&one, rows)), [(0, 1), (1, 2)]);
    assert_eq!([3399, 3400].map(|rows| splits(&two, rows)), [(0, 1), (1, 2)]);
}

#[test]
fn nothing_is_split_where_nothing_is_gained() {
    let constant: ArrayRef = Arc::new(Float64Array::from(vec![1.5; 5000]));
    let missing: ArrayRef = Arc::new(Float64Array::from(vec![None; 5000]));
    let name: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 5000]));
    let columns = [("constant", Arc::clone(&constant)), ("missing", missing), ("name", name)];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let labels = Float64Array::from_iter_values((0..5000).map(|row| f64::from(row % 4)));
    let tree = learnt(&[("leaf_prediction", "mean")], &features, &labels);
    assert_eq!(tree.tree.counts(), (0, 1));
    assert!((tree.predict(&features.slice(0, 1)).unwrap().value(0) - 1.5).abs() < 1e-9);
    // Labels that are all the same.
    let (features, _) = surfaces(0..5000);
    let mut tree = learnt(&[], &features, &Float64Array::from(vec![7.0; 5000]));
    assert_eq!((tree.tree.counts(), tree.class_rows()), ((0, 1), vec![]));
    assert_eq!(tree.predict(&features.slice(0, 2)).unwrap().values(), &[7.0, 7.0]);
    check_error(
        tree.merge(&[&[]]),
        expect!["models of type 'hoeffding_tree_regressor' cannot be merged: one task has to learn all rows"],
    );
    tree.merge(&[]).unwrap();
}

#[test]
fn memory_keeps_within_its_limits() {
    let (features, labels) = surfaces(0..20_000);
    let free = learnt(&[("grace_period", "50")], &features, &labels);
    let few = learnt(&[("grace_period", "50"), ("max_nodes", "12")], &features, &labels);
    let (splits, leaves) = few.tree.counts();
    assert!(splits > 0 && splits + leaves <= 12);
    assert!(free.tree.bytes() > 80 << 10, "{}", free.tree.bytes());
    for kib in [40, 80] {
        let size = (f64::from(kib) / 1024.0).to_string();
        let mut small = tree(&[("grace_period", "50"), ("max_size", &size)], &features);
        for start in (0..20_000).step_by(100) {
            small.learn(&features.slice(start, 100), &labels.slice(start, 100)).unwrap();
            // A split can exceed the limit until the next row comes.
            assert!(small.tree.bytes() < (kib as usize + 4) << 10, "{}", small.tree.bytes());
        }
        let restored = HoeffdingTreeRegressor::restore(&small.snapshot().unwrap()).unwrap();
        assert_eq!(restored.tree.bytes(), small.tree.bytes());
    }
}

#[test]
fn batch_boundaries_do_not_change_a_bit() {
    let (features, labels) = surfaces(0..5000);
    for mode in ["mean", "adaptive"] {
        let options = [("leaf_prediction", mode), ("max_categories", "2"), ("grace_period", "60")];
        check_batch_boundaries(&tree(&options, &features), &features, &labels);
    }
}

#[test]
fn a_restored_tree_goes_on_as_the_original() {
    let (features, labels) = surfaces(0..6000);
    for options in [[("grace_period", "50"), ("max_categories", "2")], [("binary_split", "true"), ("max_size", "0.05")]]
    {
        check_goes_on_restored(Box::new(tree(&options, &features)), &features, &labels, 2000);
    }
}

#[test]
fn numbers_are_predicted_from_the_first_row_on() {
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0]));
    let features = RecordBatch::try_from_iter([("x", x)]).unwrap();
    let mut tree = try_online("hoeffding_tree_regressor", &[], &features, &DataType::Int32).unwrap();
    let empty = restore_predictor(&tree.snapshot().unwrap()).unwrap().answers(&features).unwrap();
    assert_eq!(empty.iter().map(|column| (column.len(), column.null_count())).collect::<Vec<_>>(), [(4, 0)]);
    assert_eq!(tree.predict(&features).unwrap().values(), &[0.0; 4]);
    tree.learn(&features.slice(0, 1), &Int64Array::from(vec![5])).unwrap();
    assert_eq!(tree.predict(&features).unwrap().values(), &[5.0; 4]);
    assert_eq!((tree.label_type(), tree.rows_learnt()), (DataType::Float64, 1));
}

#[test]
fn rows_that_cannot_be_used_are_reported_and_leave_no_trace() {
    let x: ArrayRef =
        Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), None, Some(f64::NAN), Some(5.0), Some(6.0)]));
    let features = RecordBatch::try_from_iter_with_nullable([("x", x, true)]).unwrap();
    let labels = Float64Array::from(vec![Some(1.0), None, Some(2.0), Some(2.0), Some(f64::INFINITY), Some(-1e51)]);
    let mut with_bad = tree(&[], &features);
    let report = with_bad.learn(&features, &labels).unwrap();
    let rejected: Vec<_> = report.rejected.into_iter().map(|rejected| (rejected.row, rejected.reason)).collect();
    assert_eq!(
        rejected,
        [
            (1, RejectReason::NullLabel),
            (3, RejectReason::NotANumber { column: "x".into() }),
            (4, RejectReason::BadLabel),
            (5, RejectReason::BadLabel),
        ]
    );
    assert_eq!((report.rows, report.said.labels.null_count()), (2, 4));
    let mut without = tree(&[], &features);
    for row in [0, 2] {
        without.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
    }
    assert_eq!(with_bad.snapshot().unwrap(), without.snapshot().unwrap());
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
    let labels: Float64Array = (0..3000).map(|row| value(row + row / 50).or(Some(0.0))).collect();
    for mode in ["linear", "adaptive"] {
        let tree = learnt(&[("grace_period", "30"), ("leaf_prediction", mode)], &features, &labels);
        assert!(tree.predict(&features).unwrap().iter().all(|said| said.is_some_and(f64::is_finite)));
        restore(&tree.snapshot().unwrap()).unwrap();
    }
}

#[test]
fn what_cannot_be_made_or_learnt_is_an_error() {
    let (features, _) = reference_rows(0..10);
    let labels = Float64Array::from(vec![1.0; 10]);
    let try_tree =
        |options: &[(&str, &str)], label: DataType| try_online("hoeffding_tree_regressor", options, &features, &label);
    check_error(
        try_tree(&[("leaf_prediction", "model")], DataType::Float64),
        expect!["option leaf_prediction = 'model' is not valid; expected adaptive, linear, mean"],
    );
    check_error(
        try_tree(&[("error_decay", "1")], DataType::Float64),
        expect!["option error_decay = '1' is not valid; expected a number from 0 to 0.999999"],
    );
    check_error(
        try_tree(&[("error_decay", "0.5"), ("leaf_prediction", "mean")], DataType::Float64),
        expect!["option error_decay = '0.5' is not valid; expected leaf_prediction = 'adaptive' beside it"],
    );
    check_error(
        try_tree(&[("max_depth", "3")], DataType::Float64),
        expect![
            "model type 'hoeffding_tree_regressor' has no option 'max_depth'; valid options are grace_period, delta, tau, leaf_prediction, error_decay, binary_split, max_nodes, max_size, max_categories"
        ],
    );
    check_error(
        try_tree(&[], DataType::Utf8),
        expect!["label column 'label' has the unsupported type Utf8; cast it to DOUBLE PRECISION"],
    );
    let mut tree = tree(&[], &features);
    let before = tree.snapshot().unwrap();
    check_error(tree.learn(&features, &labels.slice(0, 9)), expect!["the batch has 10 rows but 9 labels"]);
    check_error(
        tree.learn(&features.project(&[0]).unwrap(), &labels),
        expect!["feature column 'b' is missing; the batch has a"],
    );
    let report = tree.learn(&features.slice(0, 0), &labels.slice(0, 0)).unwrap();
    assert_eq!((report.rows, report.said.labels.len()), (0, 0));
    assert_eq!(tree.snapshot().unwrap(), before);
    assert!((0..before.len()).all(|end| HoeffdingTreeRegressor::restore(&before[..end]).is_err()));
}

fn some_snapshot() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let (features, labels) = surfaces(0..1500);
        let tree = learnt(&[("grace_period", "50"), ("tau", "0.3")], &features, &labels);
        assert!(tree.tree.counts().0 > 1);
        tree.snapshot().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, labels) = surfaces(1500..1600);
        check_damaged(some_snapshot(), changes, HoeffdingTreeRegressor::restore, (&features, &labels), f64::is_finite);
    }
}
