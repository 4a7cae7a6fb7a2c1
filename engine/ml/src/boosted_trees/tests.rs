//! LightGBM's numbers (`goldens/boosted_trees.py`), the same bits whatever the threads, and bad input.

mod class_weights;
mod early_stop;
mod explain;
mod monotone;
mod ranker;
mod samples;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Float64Type};

use super::{BoostedTrees, CLASSIFIER, RANKER, REGRESSOR};
use crate::batch::{FitControl, FitReport, create_batch};
use crate::error::{MlError, Result};
use crate::goldens::data_set;
use crate::metrics::{RegressionSums, auc, log_loss};
use crate::model::FeatureSchema;
use crate::predictor::Predictions;
use crate::registry::restore_supervised;
use crate::snapshot;

fn fit_with(
    model_type: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
    labels: &dyn Array,
    control: FitControl,
) -> Result<FitReport> {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(features.schema_ref())?;
    let mut model = create_batch(model_type, &options, &schema, labels.data_type())?;
    assert_eq!(model.add(features, labels)?, []);
    model.set_control(control);
    model.fit()
}

fn fit(model_type: &str, options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Result<FitReport> {
    fit_with(model_type, options, features, labels, FitControl::default())
}

fn said(report: &FitReport, features: &RecordBatch) -> Predictions {
    restore_supervised(&report.model).unwrap().predictions(features).unwrap()
}

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(known, _)| known == name).unwrap().1
}

/// The rows that are learnt, and every fifth, which is not, each with their labels.
fn halves(features: &RecordBatch, labels: &[f64]) -> [(RecordBatch, Vec<f64>); 2] {
    [false, true].map(|held| {
        let rows: Vec<i64> = (0..labels.len() as i64).filter(|row| (row % 5 == 0) == held).collect();
        let own = rows.iter().map(|row| labels[*row as usize]).collect();
        (take_record_batch(features, &Int64Array::from(rows)).unwrap(), own)
    })
}

fn booleans(labels: &[f64]) -> BooleanArray {
    labels.iter().map(|label| Some(*label > 0.5)).collect()
}

fn integers(labels: &[f64]) -> Int64Array {
    labels.iter().map(|label| Some(*label as i64)).collect()
}

/// The training loss, and of the rows held out the AUC and the loss.
fn check_two_classes(
    features: &RecordBatch,
    labels: &[f64],
    options: &[(&str, &str)],
    expected: [f64; 3],
    within: [f64; 3],
) {
    let [(features, labels), (others, wanted)] = halves(features, labels);
    let report = fit(CLASSIFIER, options, &features, &booleans(&labels)).unwrap();
    let scores = said(&report, &others).probability().unwrap();
    let wanted: Vec<bool> = wanted.iter().map(|label| *label > 0.5).collect();
    let found = [
        metric(&report, "log_loss"),
        auc(scores.values(), &wanted).unwrap(),
        log_loss(scores.values(), &wanted).unwrap(),
    ];
    for (place, found_one) in found.iter().enumerate() {
        assert!((found_one - expected[place]).abs() <= within[place], "{found:?}, LightGBM has {expected:?}");
    }
}

#[test]
fn two_classes_are_told_apart_as_by_lightgbm() {
    let (features, labels) = data_set("breast_cancer");
    check_two_classes(&features, &labels, &[], [0.000_342, 0.990_88, 0.179_6], [0.000_1, 0.003, 0.05]);
    let options = [
        ("l2_reg", "5"),
        ("l1_reg", "0.5"),
        ("num_leaves", "7"),
        ("max_tree_depth", "3"),
        ("learn_rate", "0.3"),
        ("max_iterations", "20"),
    ];
    check_two_classes(&features, &labels, &options, [0.046_373, 0.986_49, 0.139_88], [0.005, 0.003, 0.02]);
}

#[test]
fn numbers_are_predicted_as_by_lightgbm() {
    let (features, labels) = data_set("diabetes");
    let [(features, labels), (others, wanted)] = halves(&features, &labels);
    let report = fit(REGRESSOR, &[], &features, &Float64Array::from(labels)).unwrap();
    assert!((metric(&report, "rmse") - 22.12).abs() < 0.7, "{:?}", report.metrics);
    let mut sums = RegressionSums::default();
    let numbers = said(&report, &others).labels;
    let numbers = numbers.as_primitive::<Float64Type>();
    wanted.iter().zip(numbers.values()).for_each(|(label, number)| sums.add(*label, *number));
    assert!((sums.rmse().unwrap() - 58.57).abs() < 1.5, "{sums:?}");
    assert_eq!((report.iterations, report.rows, report.converged), (100, 353, true));
}

#[test]
fn many_classes_are_told_apart_as_by_lightgbm() {
    for (name, losses, accuracy) in [("wine", [0.000_112, 0.012_3], 1.0), ("iris", [0.001_24, 0.209], 0.966)] {
        let (features, labels) = data_set(name);
        let [(features, labels), (others, wanted)] = halves(&features, &labels);
        let report = fit(CLASSIFIER, &[], &features, &integers(&labels)).unwrap();
        assert!((metric(&report, "log_loss") - losses[0]).abs() < losses[0], "{name}: {:?}", report.metrics);
        let said = said(&report, &others);
        let right = said.labels.as_primitive::<arrow::datatypes::Int64Type>().values().iter().zip(&wanted);
        let right = right.filter(|(said, wanted)| **said == **wanted as i64).count();
        assert!(right as f64 / wanted.len() as f64 >= accuracy - 0.035, "{name}: {right} of {}", wanted.len());
        let loss = |row: usize| -said.probabilities[wanted[row] as usize].value(row).max(1e-15).ln();
        let loss = (0..wanted.len()).map(loss).sum::<f64>() / wanted.len() as f64;
        assert!(loss <= losses[1] + 0.05, "{name}: {loss}");
    }
}

/// Two numbers, one sometimes missing, and 40 categories, made by integers: Python makes the same ones.
fn mixed(rows: usize) -> (RecordBatch, Vec<f64>) {
    let x = |i: usize| (i * 37 % 101) as f64 / 10.0 - 5.0;
    let y = |i: usize| (i % 11 != 3).then_some((i * 53 + 7) % 97);
    let category = |i: usize| i * i % 1009 % 40;
    let label = |i: usize| {
        let effect = [2.0, -1.0, 0.0][category(i) % 3];
        let of_y = y(i).map_or(1.5, |y| if y > 50 { -1.0 } else { 0.0 });
        x(i) * 0.8 + effect + of_y + (i * 29 % 17) as f64 / 8.0 > 1.5
    };
    let columns: [(&str, ArrayRef); 3] = [
        ("x", Arc::new(Float64Array::from_iter_values((0..rows).map(x)))),
        ("category", Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("c{}", category(i)))))),
        ("y", Arc::new((0..rows).map(|i| y(i).map(|y| y as i64)).collect::<Int64Array>())),
    ];
    let labels = (0..rows).map(|i| f64::from(u8::from(label(i)))).collect();
    (RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap(), labels)
}

/// Four numbers and a label that few rows have, noisily, made by integers: Python makes the same ones.
fn rare(rows: usize) -> (RecordBatch, Vec<f64>) {
    let x = |i: usize| {
        [
            (i * 37 % 101) as f64 / 50.0 - 1.0,
            (i * 53 % 97) as f64 / 48.0 - 1.0,
            (i * 29 % 89) as f64 / 44.0 - 1.0,
            (i * i % 1009) as f64 / 504.0 - 1.0,
        ]
    };
    let noise = |i: usize| (i * i * 7 % 2003) as f64 / 1001.0 - 1.0;
    let label = |i: usize| x(i)[0] * 2.0 + x(i)[1] * x(i)[2] * 2.0 + noise(i) * 1.5 > 2.6;
    let column =
        |column: usize| -> ArrayRef { Arc::new(Float64Array::from_iter_values((0..rows).map(|i| x(i)[column]))) };
    let columns = (0..4).map(|place| (format!("x{place}"), column(place)));
    let labels = (0..rows).map(|i| f64::from(u8::from(label(i)))).collect();
    (RecordBatch::try_from_iter(columns).unwrap(), labels)
}

#[test]
fn missing_numbers_and_categories_are_split_as_by_lightgbm() {
    let (features, labels) = mixed(6000);
    check_two_classes(&features, &labels, &[], [0.058_5, 0.986_3, 0.152_7], [0.01, 0.003, 0.02]);
}

#[test]
fn threads_and_batches_change_no_bit() {
    check_bits(&[]);
    check_bits(&[("data_split_method", "random"), ("auto_class_weights", "true")]);
    check_bits(&[("subsample", "0.6"), ("colsample_bytree", "0.7"), ("seed", "5")]);
}

/// The same reports for any number of threads, and any cutting into batches.
fn check_bits(options: &[(&str, &str)]) {
    let (features, labels) = mixed(60_000);
    let labels = booleans(&labels);
    let options = [options, &[("max_iterations", "3")]].concat();
    let with = |threads| FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() };
    let one = fit_with(CLASSIFIER, &options, &features, &labels, with(1)).unwrap();
    let four = fit_with(CLASSIFIER, &options, &features, &labels, with(4)).unwrap();
    assert_eq!(one, four);

    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let mut parted = create_batch(CLASSIFIER, &options, &schema, &DataType::Boolean).unwrap();
    for start in (0..60_000).step_by(777) {
        let length = 777.min(60_000 - start);
        parted.add(&features.slice(start, length), &labels.slice(start, length)).unwrap();
    }
    assert_eq!(parted.fit().unwrap(), one);
    // A second fit ends where the first one did.
    assert_eq!(parted.fit().unwrap(), one);
}

#[test]
fn what_was_not_seen_has_an_answer() {
    let (features, labels) = mixed(2000);
    let report = fit(CLASSIFIER, &[], &features, &booleans(&labels)).unwrap();
    let columns: [(&str, ArrayRef); 3] = [
        ("category", Arc::new(StringArray::from(vec![Some("never"), None]))),
        ("y", Arc::new(Int64Array::from(vec![None, Some(1 << 40)]))),
        ("x", Arc::new(Float64Array::from(vec![None, Some(-1e9)]))),
    ];
    let others = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let said = said(&report, &others);
    let probabilities = said.probability().unwrap();
    assert_eq!(probabilities.null_count(), 0);
    assert!(probabilities.values().iter().all(|probability| (0.0..=1.0).contains(probability)));
}

#[test]
fn what_says_nothing_is_the_mean() {
    let constant: ArrayRef = Arc::new(Float64Array::from(vec![7.0; 60]));
    let nothing: ArrayRef = Arc::new(Float64Array::new_null(60));
    let features =
        RecordBatch::try_from_iter_with_nullable([("constant", constant, true), ("nothing", nothing, true)]).unwrap();
    let labels: Float64Array = (0..60).map(|row| Some(f64::from(row % 3))).collect();
    let report = fit(REGRESSOR, &[], &features, &labels).unwrap();
    assert_eq!(report.iterations, 0);
    let said = said(&report, &features).labels;
    assert!(said.as_primitive::<Float64Type>().values().iter().all(|number| *number == 1.0));
    // Three rows are too few for two leaves.
    let (few, _) = mixed(3);
    let report = fit(REGRESSOR, &[], &few, &Float64Array::from(vec![1.0, 2.0, 3.0])).unwrap();
    assert_eq!(report.iterations, 0);
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, labels) = mixed(100);
    let one = BooleanArray::from(vec![true; 100]);
    assert!(matches!(fit(CLASSIFIER, &[], &features, &one), Err(MlError::SameClass { rows: 100, .. })));
    let none = features.slice(0, 0);
    assert!(matches!(fit(REGRESSOR, &[], &none, &Float64Array::from(Vec::<f64>::new())), Err(MlError::NoRows)));
    let numbers = Float64Array::from(labels.clone());
    assert!(matches!(fit(CLASSIFIER, &[], &features, &numbers), Err(MlError::UnsupportedLabel { .. })));
    for (option, value) in [("num_leaves", "1"), ("max_bins", "256"), ("learn_rate", "0"), ("max_iterations", "many")] {
        let error = fit(REGRESSOR, &[(option, value)], &features, &numbers).unwrap_err();
        assert!(error.to_string().contains(option), "{error}");
    }
    assert!(matches!(fit(REGRESSOR, &[("depth", "3")], &features, &numbers), Err(MlError::UnknownOption { .. })));
    let stopped = FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() };
    assert!(matches!(fit_with(REGRESSOR, &[], &features, &numbers, stopped), Err(MlError::Stopped)));
}

#[test]
fn damaged_snapshots_are_refused() {
    let (features, labels) = mixed(300);
    let report = fit(CLASSIFIER, &[("max_iterations", "3")], &features, &booleans(&labels)).unwrap();
    assert_eq!(restore_supervised(&report.model).unwrap().model_type(), CLASSIFIER);
    for place in 0..report.model.len() {
        for bit in [1, 16, 128] {
            let mut damaged = report.model.clone();
            damaged[place] ^= bit;
            // It is refused, or answers; it neither panics nor runs for ever.
            if let Ok(model) = restore_supervised(&damaged) {
                let _ = model.predictions(&features.slice(0, 3));
            }
        }
    }
    let mut model = BoostedTrees::restore(&report.model).unwrap();
    let node = &mut model.trees[0][0].nodes[0];
    node.left = super::tree::Child::Node(0);
    let looping = model.snapshot().unwrap();
    assert!(matches!(BoostedTrees::restore(&looping), Err(MlError::CorruptState { .. })));
    assert!(snapshot::open(&looping).is_ok());
}
