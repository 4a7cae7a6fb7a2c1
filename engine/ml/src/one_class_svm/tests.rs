//! scikit-learn's scores (`goldens/one_class_svm.py`), what nu says, categories, the same bits whatever the threads, bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, NullArray, RecordBatch, StringArray, UInt64Array,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Float64Type, Int64Type};
use expect_test::{Expect, expect};

use crate::batch::unlabelled;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::{FitControl, FitReport, MlError, Result, restore_predictor};

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    unlabelled::try_fit("one_class_svm", options, features)
}

fn fit(options: &[(&str, &str)], features: &RecordBatch) -> FitReport {
    try_fit(options, features).unwrap()
}

fn answers(report: &FitReport, features: &RecordBatch) -> (BooleanArray, Float64Array) {
    let columns = restore_predictor(&report.model).unwrap().answers(features).unwrap();
    (columns[0].as_boolean().clone(), columns[1].as_primitive::<Float64Type>().clone())
}

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(metric, _)| metric == name).unwrap().1
}

/// Fits to all rows but every fifth, and compares the scores of these and of every seventh other.
#[track_caller]
fn check_golden(case: &str, options: &[(&str, &str)], features: &RecordBatch) {
    let take = |rows: Vec<u64>| take_record_batch(features, &UInt64Array::from(rows)).unwrap();
    let (held, learnt): (Vec<u64>, Vec<u64>) = (0..features.num_rows() as u64).partition(|row| row % 5 == 0);
    let some = learnt.iter().copied().step_by(7).collect();
    let asked = concat_batches(features.schema_ref(), &[take(held), take(some)]).unwrap();
    let report = fit(&[options, &[("tolerance", "1e-9")]].concat(), &take(learnt));
    assert!(report.converged);
    let (is_anomaly, scores) = answers(&report, &asked);
    assert_all_close(scores.values(), &expected(case, "scores"), 1e-4);
    let is_beyond: BooleanArray = scores.iter().map(|score| score.map(|score| score > 1e-9)).collect();
    assert_eq!(is_anomaly, is_beyond);
    let support = expected(case, "support")[0];
    assert!((metric(&report, "support_vectors") - support).abs() <= 1.0, "{:?}, not {support}", report.metrics);
    assert!((metric(&report, "anomaly_rate") - expected(case, "rate")[0]).abs() < 1e-9, "{:?}", report.metrics);
}

#[test]
fn scores_are_those_of_scikit_learn() {
    let plain = ("standardize_features", "false");
    check_golden("one_class_cancer", &[("nu", "0.1")], &data_set("breast_cancer").0);
    check_golden("one_class_wine", &[], &data_set("wine").0);
    check_golden("one_class_plain", &[plain, ("nu", "0.2")], &data_set("diabetes").0);
    let digits = [plain, ("nu", "0.05"), ("gamma", "0.001")];
    check_golden("one_class_digits", &digits, &data_set("third_of_digits").0);
    check_golden("one_class_linear", &[plain, ("kernel", "linear"), ("nu", "0.13")], &data_set("iris").0);
    check_golden("one_class_mixed", &[("nu", "0.15")], &reference_rows(0..400).0);
}

#[test]
fn nu_is_between_the_rows_outside_and_the_support_vectors() {
    let features = data_set("breast_cancer").0;
    for nu in [0.02, 0.3, 0.8] {
        let report = fit(&[("nu", &nu.to_string())], &features);
        let (outside, support) = (metric(&report, "anomaly_rate"), metric(&report, "support_vectors") / 569.0);
        assert!(outside <= nu && nu <= support && support - outside < 0.15, "{nu}: {outside} and {support}");
    }
}

#[test]
fn what_was_never_seen_is_far_and_what_is_missing_is_the_mean() {
    let (features, _) = reference_rows(0..300);
    let report = fit(&[("nu", "0.1")], &features);
    let score = |a: Option<f64>, b: Option<f64>, city: &str| {
        let columns: [(&str, ArrayRef); 4] = [
            ("a", Arc::new(Float64Array::from(vec![a]))),
            ("b", Arc::new(Float64Array::from(vec![b]))),
            ("city", Arc::new(StringArray::from(vec![city]))),
            ("flag", Arc::new(BooleanArray::from(vec![true]))),
        ];
        let columns = columns.map(|(name, column)| (name, column, true));
        let (_, scores) = answers(&report, &RecordBatch::try_from_iter_with_nullable(columns).unwrap());
        scores.iter().next().unwrap()
    };
    let usual = score(Some(0.0), None, "c2").unwrap();
    assert!(usual < score(Some(0.0), None, "nowhere").unwrap());
    assert!(usual < score(Some(40.0), None, "c2").unwrap());
    assert_eq!(score(Some(f64::NAN), None, "c2"), None);
    let known = features["b"].as_primitive::<Int64Type>();
    let mean = known.iter().flatten().sum::<i64>() as f64 / (known.len() - known.null_count()) as f64;
    assert!((usual - score(Some(0.0), Some(mean), "c2").unwrap()).abs() < 1e-12);
}

#[test]
fn a_model_is_the_same_whatever_the_threads_and_batches() {
    let features = data_set("digits").0;
    let report = fit(&[("nu", "0.2")], &features);
    let mut model = unlabelled::try_model("one_class_svm", &[("nu", "0.2")], &features).unwrap();
    model.set_control(FitControl { threads: NonZeroUsize::new(3).unwrap(), ..FitControl::default() });
    for first in (0..features.num_rows()).step_by(101) {
        let batch = features.slice(first, 101.min(features.num_rows() - first));
        model.add(&batch, &NullArray::new(batch.num_rows())).unwrap();
    }
    assert_eq!(model.fit().unwrap(), report);
    assert_eq!(model.fit().unwrap(), report);
}

#[test]
fn rows_that_are_all_the_same_are_usual() {
    let same = RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![3.0; 20])) as ArrayRef)]).unwrap();
    let report = fit(&[], &same);
    let (is_anomaly, scores) = answers(&report, &same);
    assert!(is_anomaly.true_count() == 0 && scores.iter().all(|score| score.unwrap().abs() < 1e-12));
}

#[track_caller]
fn check_error(options: &[(&str, &str)], features: &RecordBatch, message: Expect) {
    message.assert_eq(&try_fit(options, features).unwrap_err().to_string());
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let wine = data_set("wine").0;
    check_error(&[("nu", "0")], &wine, expect!["option nu = '0' is not valid; expected a number from 0.000001 to 1"]);
    check_error(
        &[("gamma", "big")],
        &wine,
        expect!["option gamma = 'big' is not valid; expected a number, scale or auto"],
    );
    check_error(
        &[("gamma", "1"), ("kernel", "linear")],
        &wine,
        expect!["option gamma = '1' is not valid; expected kernel = 'rbf' beside it"],
    );
    check_error(&[("kernel", "poly")], &wine, expect!["option kernel = 'poly' is not valid; expected rbf or linear"]);
    check_error(
        &[("seed", "1")],
        &wine,
        expect![
            "model type 'one_class_svm' has no option 'seed'; valid options are nu, kernel, gamma, tolerance, max_iterations, standardize_features, max_categories"
        ],
    );
    check_error(
        &[],
        &wine.slice(0, 0),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..50_001).map(f64::from)));
    check_error(
        &[],
        &RecordBatch::try_from_iter([("x", values)]).unwrap(),
        expect![
            "a model of type 'one_class_svm' compares each two of its rows, so it is fitted to at most 50000 of them, not 50001; fit it to a sample of them, or isolation_forest to all"
        ],
    );
}

#[test]
fn a_fit_can_be_stopped() {
    let features = data_set("wine").0;
    let mut model = unlabelled::try_model("one_class_svm", &[], &features).unwrap();
    model.add(&features, &NullArray::new(features.num_rows())).unwrap();
    model.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(model.fit(), Err(MlError::Stopped)));
}

#[test]
fn damaged_models_are_refused() {
    let bytes = fit(&[("nu", "0.1")], &reference_rows(0..60).0).model;
    for cut in 0..bytes.len() {
        assert!(restore_predictor(&bytes[..cut]).is_err());
    }
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x55;
        // Whatever it is, it does not panic.
        if let Ok(model) = restore_predictor(&damaged) {
            let _answers = model.answers(&reference_rows(0..3).0);
        }
    }
}
