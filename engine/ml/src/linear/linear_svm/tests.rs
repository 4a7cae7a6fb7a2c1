//! scikit-learn's hyperplanes and calibration, labels that follow the decision, one model whatever the threads, bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::LinearSvm;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Predictions, Result, batch_option_docs, create_batch,
    restore_supervised,
};

/// The search to its end.
const EXACT: (&str, &str) = ("tolerance", "1e-10");

fn try_model(options: &[(&str, &str)], features: &RecordBatch, label: &DataType) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch("linear_svm", &options, &FeatureSchema::from_arrow(&features.schema())?, label)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Result<FitReport> {
    let mut model = try_model(options, features, labels.data_type())?;
    model.add(features, labels)?;
    model.fit()
}

fn fit(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> FitReport {
    try_fit(options, features, labels).unwrap()
}

/// All intercepts, then the weights of one hyperplane after another, as scikit-learn has them.
fn weights(report: &FitReport) -> Vec<f64> {
    let planes = LinearSvm::restore(&report.model).unwrap().planes;
    let each = planes.weights.chunks_exact(planes.weights.len() / planes.calibrations.len());
    let intercepts = each.clone().map(|plane| plane[0]);
    intercepts.chain(each.flat_map(|plane| plane[1..].iter().copied())).collect()
}

fn calibrations(report: &FitReport) -> Vec<f64> {
    let planes = LinearSvm::restore(&report.model).unwrap().planes;
    planes.calibrations.iter().flat_map(|calibration| [calibration.slope, calibration.intercept]).collect()
}

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(known, _)| known == name).unwrap().1
}

fn predicted(report: &FitReport, features: &RecordBatch) -> Predictions {
    restore_supervised(&report.model).unwrap().predictions(features).unwrap()
}

fn integers(labels: &[f64]) -> Int64Array {
    labels.iter().map(|label| Some(*label as i64)).collect()
}

#[track_caller]
fn check_golden(case: &str, options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) {
    let options = [options, &[EXACT]].concat();
    let report = fit(&options, features, labels);
    assert!(report.converged, "{case} did not converge in {} steps", report.iterations);
    assert_all_close(&weights(&report), &expected(case, "coefficients"), 1e-4);
    assert_all_close(&calibrations(&report), &expected(case, "calibrations"), 1e-3);
    let probabilities = predicted(&report, features).probabilities;
    let some = (0..labels.len()).step_by(23).flat_map(|row| probabilities.iter().map(move |class| class.value(row)));
    assert_all_close(&some.collect::<Vec<_>>(), &expected(case, "probabilities"), 1e-4);
    assert_eq!(metric(&report, "accuracy"), expected(case, "accuracy")[0]);
    assert_all_close(&[metric(&report, "log_loss")], &expected(case, "log_loss"), 1e-5);
    if probabilities.len() == 2 {
        assert_all_close(&[metric(&report, "roc_auc")], &expected(case, "roc_auc"), 1e-9);
    }
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn two_classes_equal_scikit_learn() {
    let (features, labels) = data_set("breast_cancer");
    let labels: BooleanArray = labels.iter().map(|label| Some(*label == 1.0)).collect();
    check_golden("cancer_svm", &[], &features, &labels);
    check_golden("cancer_svm_weak", &[("l2_reg", "0.05")], &features, &labels);
    check_golden("cancer_svm_weighted", &[("class_weights", "false:5")], &features, &labels);
    check_golden("cancer_svm_l1", &[("l2_reg", "0"), ("l1_reg", "5"), ("max_iterations", "1000")], &features, &labels);
    let (features, labels) = reference_rows(0..400);
    check_golden("mixed_svm", &[], &features, &labels);
}

#[test]
fn several_classes_equal_scikit_learn() {
    let (features, labels) = data_set("iris");
    check_golden("iris_svm", &[], &features, &integers(&labels));
    let raw = [("l2_reg", "10"), ("standardize_features", "false")];
    check_golden("iris_svm_raw", &raw, &features, &integers(&labels));
    let (features, labels) = data_set("wine");
    check_golden("wine_svm", &[], &features, &integers(&labels));
    let balanced = [("l2_reg", "10"), ("auto_class_weights", "true")];
    check_golden("wine_svm_balanced", &balanced, &features, &integers(&labels));
}

#[test]
fn the_default_tolerance_is_close_enough() {
    let (features, labels) = data_set("breast_cancer");
    let report = fit(&[], &features, &integers(&labels));
    assert!(report.converged && report.iterations < 20, "{}", report.iterations);
    assert_all_close(&weights(&report), &expected("cancer_svm", "coefficients"), 1e-4);
}

#[test]
fn the_label_is_the_sign_of_the_decision() {
    let (features, labels) = reference_rows(0..400);
    // Weighed like this, many rows are predicted to be true of which few are.
    let report = fit(&[("class_weights", "true:50"), EXACT], &features, &labels);
    let predictions = predicted(&report, &features);
    let [slope, intercept] = calibrations(&report)[..] else { panic!("one hyperplane has one calibration") };
    let mut differ = 0;
    for (row, label) in predictions.labels.as_boolean().iter().enumerate() {
        let probability = predictions.probabilities[1].value(row);
        // The decision, from the probability that was made of it.
        let decision = ((probability / (1.0 - probability)).ln() - intercept) / slope;
        assert_eq!(label, Some(decision > 0.0), "row {row}: {decision}");
        differ += usize::from(label != Some(probability > 0.5));
    }
    assert!(differ > 0);
    let accuracy = predictions.labels.as_boolean().iter().zip(&labels).filter(|(a, b)| a == b).count() as f64 / 400.0;
    assert_eq!(metric(&report, "accuracy"), accuracy);
}

#[test]
fn the_probability_is_that_of_the_label() {
    let (features, labels) = reference_rows(0..400);
    let texts: StringArray =
        labels.iter().map(|label| label.map(|label| if label { "late" } else { "early" })).collect();
    // Weighed like this, many rows are predicted to be late of which few are.
    let report = fit(&[("class_weights", "late:50"), EXACT], &features, &texts);
    let said = predicted(&report, &features);
    let mut less_likely = 0;
    for (row, label) in said.labels.as_string::<i32>().iter().enumerate() {
        let [early, late] = [0, 1].map(|class: usize| said.probabilities[class].value(row));
        let (own, other) = if label == Some("late") { (late, early) } else { (early, late) };
        assert_eq!(said.probability().unwrap().value(row), own, "row {row}");
        less_likely += usize::from(own < other);
    }
    assert!(less_likely > 0);
}

#[test]
fn a_margin_by_hand() {
    // Rows at -1 and 1 with a penalty of 4: (1 - w)² twice and 2 w² are least at w = 1/2.
    let column: ArrayRef = Arc::new(Float64Array::from(vec![-1.0, 1.0]));
    let features = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let options = [("standardize_features", "false"), ("l2_reg", "4"), EXACT];
    let report = fit(&options, &features, &StringArray::from(vec!["low", "high"]));
    // By name, low is the second class.
    assert_all_close(&weights(&report), &[0.0, -0.5], 1e-9);
    assert_all_close(&[report.loss], &[0.5], 1e-9);
    let predictions = predicted(&report, &features);
    assert_eq!(predictions.labels.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["low", "high"]);
    let model = restore_supervised(&report.model).unwrap();
    assert_eq!((model.model_type(), model.label_type(), model.rows_learnt()), ("linear_svm", DataType::Utf8, 2));
    assert_eq!(model.class_names(), ["high", "low"]);
}

#[test]
fn a_separable_set_without_penalty_has_no_loss() {
    let (features, labels) = data_set("iris");
    let setosa: BooleanArray = labels.iter().map(|label| Some(*label == 0.0)).collect();
    let report = fit(&[("l2_reg", "0"), ("max_iterations", "1000")], &features, &setosa);
    assert!(report.loss < 1e-6 && report.converged, "{} in {} steps", report.loss, report.iterations);
    assert_eq!(metric(&report, "accuracy"), 1.0);
    // Calibrated, it is not certain all the same.
    let probabilities = predicted(&report, &features).probabilities;
    assert!(probabilities[1].values().iter().all(|probability| (0.0 < *probability) && *probability < 1.0));
}

#[test]
fn features_that_say_nothing_and_more_of_them_than_rows_are_fitted() {
    let constant: ArrayRef = Arc::new(Float64Array::from(vec![0.1; 6]));
    let null: ArrayRef = Arc::new(Float64Array::from(vec![None; 6]));
    let empty: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 6]));
    let mut columns = vec![("constant".to_owned(), constant), ("null".to_owned(), null), ("empty".to_owned(), empty)];
    let labels = Int64Array::from(vec![0, 1, 2, 0, 1, 2]);
    let schema = |columns: &[(String, ArrayRef)]| {
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (name, Arc::clone(array), true)))
    };
    let report = fit(&[], &schema(&columns).unwrap(), &labels);
    for class in predicted(&report, &schema(&columns).unwrap()).probabilities {
        assert_all_close(class.values(), &[1.0 / 3.0; 6], 1e-9);
    }
    for column in 0..40 {
        let values = (0..6).map(|row| f64::from((row * 7 + column * 13 + row * row * column) % 11));
        columns.push((format!("x{column}"), Arc::new(Float64Array::from_iter_values(values))));
    }
    let report = fit(&[], &schema(&columns).unwrap(), &labels);
    assert!(report.converged);
    let predictions = predicted(&report, &schema(&columns).unwrap());
    assert_eq!(predictions.labels.as_primitive::<Int64Type>(), &labels);
}

#[test]
fn an_unseen_category_and_a_bad_row_are_handled() {
    let (features, labels) = reference_rows(0..300);
    let report = fit(&[], &features, &labels);
    let columns: [(&str, ArrayRef); 4] = [
        ("a", Arc::new(Float64Array::from(vec![Some(4.0), None, Some(f64::NAN), Some(1e60)]))),
        ("b", Arc::new(Float64Array::from(vec![None, Some(2.0), Some(2.0), Some(2.0)]))),
        ("city", Arc::new(StringArray::from(vec!["unseen"; 4]))),
        ("flag", Arc::new(BooleanArray::from(vec![None, Some(true), None, None]))),
    ];
    let asked = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let predictions = predicted(&report, &asked);
    assert_eq!(predictions.labels.as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false), None, None]);
    assert!(predictions.probabilities.iter().all(|class| class.is_null(2) && class.is_null(3) && class.is_valid(0)));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, labels) = reference_rows(0..20);
    check_error(
        try_fit(&[], &features.slice(0, 0), &labels.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(&[], &features, &BooleanArray::from(vec![true; 20])),
        expect!["all 20 rows have the label 'true'; a classifier needs rows of at least two classes"],
    );
    check_error(
        try_fit(&[("alpha", "1")], &features, &labels),
        expect![
            "model type 'linear_svm' has no option 'alpha'; valid options are l1_reg, l2_reg, max_iterations, tolerance, min_rel_progress, standardize_features, auto_class_weights, class_weights, max_categories"
        ],
    );
    check_error(
        try_fit(&[("class_weights", "yes:2")], &features, &labels),
        expect!["option class_weights = 'yes' is not valid; expected classes of the label: false, true"],
    );
    check_error(
        try_fit(&[], &features, &Float64Array::from(vec![1.0; 20])),
        expect![
            "label column 'label' has the unsupported type Float64; a class is a BOOLEAN, a VARCHAR or a whole number; cast it to one of these"
        ],
    );
    let plain = fit(&[], &features, &labels);
    for doc in batch_option_docs("linear_svm").unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features, &labels), plain, "{}", doc.name);
    }
    let mut model = try_model(&[], &features, &DataType::Boolean).unwrap();
    model.add(&features, &labels).unwrap();
    model.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    check_error(model.fit(), expect!["the fit was stopped"]);
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let (features, _) = reference_rows(0..40_000);
    let labels: Int64Array = (0..40_000).map(|row| Some(row * row % 7)).collect();
    let options = [("max_iterations", "5")];
    let alone = fit(&options, &features, &labels);
    for threads in [2, 4] {
        let mut model = try_model(&options, &features, &DataType::Int64).unwrap();
        for (start, rows) in [(0, 1), (1, 1030), (1031, 38_969)] {
            model.add(&features.slice(start, rows), &labels.slice(start, rows)).unwrap();
        }
        model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
        assert_eq!(model.fit().unwrap(), alone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        classes in 2..4i64,
    ) {
        let (features, _) = reference_rows(0..100);
        let labels: Int64Array = (0..100).map(|row| Some(row % classes)).collect();
        let mut bytes = fit(&[("max_iterations", "5")], &features, &labels).model;
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        match restore_supervised(&bytes) {
            Ok(model) => {
                let _ = model.predictions(&features);
            }
            Err(error) => prop_assert!(!matches!(error, MlError::Stopped)),
        }
    }
}
