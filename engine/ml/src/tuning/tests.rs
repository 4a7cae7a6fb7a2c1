//! scikit-learn's grid searches (`goldens/tuning.py`), the same bits whatever the threads, what splits promise, and bad
//! input.

mod auto;
mod errors;
mod sampling;
mod splits;
mod trials;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch};

use super::{Trial, TrialStatus};
use crate::batch::{BatchModel, FitControl, FitReport, create_batch};
use crate::error::Result;
use crate::goldens::{assert_all_close, data_set, expected};
use crate::model::FeatureSchema;

fn model(
    name: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
    labels: &dyn Array,
) -> Result<Box<dyn BatchModel>> {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch(name, &options, &FeatureSchema::from_arrow(features.schema_ref())?, labels.data_type())
}

fn fit_with(
    name: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
    labels: &dyn Array,
    threads: usize,
) -> Result<FitReport> {
    let mut model = model(name, options, features, labels)?;
    assert_eq!(model.add(features, labels)?, []);
    model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
    model.fit()
}

fn fit(name: &str, options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Result<FitReport> {
    fit_with(name, options, features, labels, 1)
}

fn booleans(labels: &[f64]) -> BooleanArray {
    labels.iter().map(|label| Some(*label > 0.5)).collect()
}

fn integers(labels: &[f64]) -> Int64Array {
    labels.iter().map(|label| Some(*label as i64)).collect()
}

/// The same rows with one more column.
fn with_column(features: &RecordBatch, name: &str, values: ArrayRef) -> RecordBatch {
    let columns =
        features.schema_ref().fields().iter().map(|field| field.name().clone()).zip(features.columns().to_vec());
    RecordBatch::try_from_iter_with_nullable(
        columns.chain([(name.to_owned(), values)]).map(|(name, values)| (name, values, true)),
    )
    .unwrap()
}

/// With the column `fold`: the row's number modulo 5.
fn with_folds(features: &RecordBatch) -> RecordBatch {
    let folds = Int64Array::from_iter_values((0..features.num_rows() as i64).map(|row| row % 5));
    with_column(features, "fold", Arc::new(folds))
}

const BY_FOLD: [(&str, &str); 4] =
    [("data_split_method", "grouped"), ("data_split_col", "fold"), ("cv_folds", "5"), ("num_trials", "20")];

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(known, _)| known == name).unwrap().1
}

fn values(trials: &[Trial]) -> Vec<f64> {
    trials.iter().map(|trial| trial.value.unwrap()).collect()
}

/// Every trial's measure, and that the best one's is what scikit-learn finds.
fn check_grid(
    name: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
    labels: &dyn Array,
    case: &str,
    (measure, golden): (&str, &str),
    within: f64,
) {
    let options = [&BY_FOLD, options, &[("hparam_tuning_algorithm", "GRID_SEARCH")]].concat();
    let options = [&options[..], &[("hparam_tuning_objectives", measure)]].concat();
    let report = fit(name, &options, &with_folds(features), labels).unwrap();
    let expected = expected(case, golden);
    assert_all_close(&values(&report.trials), &expected, within);
    let is_smaller_better = ["log_loss", "mse"].contains(&measure);
    let best = expected.iter().copied().reduce(if is_smaller_better { f64::min } else { f64::max }).unwrap();
    let optimal = report.trials.iter().find(|trial| trial.is_optimal).unwrap();
    assert!((optimal.value.unwrap() - best).abs() <= within);
    assert_eq!(Some(metric(&report, measure)), optimal.value);
}

#[test]
fn a_grid_of_logistic_regressions_equals_scikit_learn() {
    let (features, labels) = data_set("breast_cancer");
    let penalties = [("l2_reg", "HPARAM_CANDIDATES([0.01, 0.1, 1, 10, 100])"), ("tolerance", "0.000000001")];
    for (measure, within) in [("log_loss", 1e-6), ("roc_auc", 1e-9), ("f1", 1e-9)] {
        let measures = (measure, measure);
        check_grid("logistic_reg", &penalties, &features, &booleans(&labels), "tuning_breast_cancer", measures, within);
    }
}

#[test]
fn a_grid_of_neighbors_equals_scikit_learn() {
    let (features, labels) = data_set("wine");
    let searched = [
        ("num_neighbors", "HPARAM_CANDIDATES([1, 3, 7, 15])"),
        ("weights", "hparam_candidates(['uniform', 'distance'])"),
    ];
    for measures in [("accuracy", "accuracy"), ("f1", "f1_macro"), ("precision", "precision_macro")] {
        check_grid("knn_classifier", &searched, &features, &integers(&labels), "tuning_wine", measures, 1e-9);
    }
}

#[test]
fn a_grid_of_ridge_regressions_equals_scikit_learn() {
    let (features, labels) = data_set("diabetes");
    let penalties = [("l2_reg", "HPARAM_CANDIDATES([0.01, 0.1, 1, 10, 100])")];
    let labels = Float64Array::from(labels);
    for (measure, within) in [("r2", 1e-7), ("mse", 1e-3)] {
        check_grid("linear_reg", &penalties, &features, &labels, "tuning_diabetes", (measure, measure), within);
    }
}

#[test]
fn an_estimator_finds_at_least_the_best_of_the_grid() {
    let (features, labels) = data_set("breast_cancer");
    let searched = [("l2_reg", "HPARAM_RANGE(0.01, 100)"), ("hparam_tuning_objectives", "['log_loss']")];
    let options = [&BY_FOLD[..], &searched].concat();
    let report = fit("logistic_reg", &options, &with_folds(&features), &booleans(&labels)).unwrap();
    let best = expected("tuning_breast_cancer", "log_loss").into_iter().reduce(f64::min).unwrap();
    assert!(metric(&report, "log_loss") <= best, "{report:?} {best}");
    assert_eq!((report.trials.len(), report.rows), (20, 569));

    let (features, labels) = data_set("wine");
    let searched = [("num_neighbors", "HPARAM_RANGE(1, 30)"), ("weights", "HPARAM_CANDIDATES([uniform, distance])")];
    let options = [&BY_FOLD[..], &searched, &[("hparam_tuning_objectives", "accuracy")]].concat();
    let report = fit("knn_classifier", &options, &with_folds(&features), &integers(&labels)).unwrap();
    let best = expected("tuning_wine", "accuracy").into_iter().reduce(f64::max).unwrap();
    assert!(metric(&report, "accuracy") >= best - 1e-12, "{} {best}", metric(&report, "accuracy"));
    assert!(report.trials.iter().all(|trial| trial.status == TrialStatus::Succeeded));
}
