//! scikit-learn's coefficients, medians, both ways of the search, one model whatever the batches and threads, bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::linear::linear_regression::LinearRegression;
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, ModelTable, Result, batch_option_docs, create_batch,
    restore_predictor, restore_supervised, table_of,
};

/// The search to its end.
const EXACT: (&str, &str) = ("tolerance", "1e-10");

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch("linear_svr", &options, &FeatureSchema::from_arrow(&features.schema())?, &DataType::Float64)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Result<FitReport> {
    let mut model = try_model(options, features)?;
    model.add(features, labels)?;
    model.fit()
}

fn fit(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> FitReport {
    try_fit(options, features, labels).unwrap()
}

/// The intercept, then the numbers' weights, then the categories'.
fn weights(report: &FitReport) -> Vec<f64> {
    LinearRegression::restore(&report.model).unwrap().weights
}

fn predicted(report: &FitReport, features: &RecordBatch) -> Float64Array {
    let predictions = restore_supervised(&report.model).unwrap().predictions(features).unwrap();
    predictions.labels.as_primitive::<Float64Type>().clone()
}

fn diabetes() -> (RecordBatch, Float64Array) {
    let (features, labels) = data_set("diabetes");
    (features, labels.into())
}

/// Numbers that follow from the features, and noise.
fn mixed(rows: usize) -> (RecordBatch, Float64Array) {
    let label = |i: usize| {
        let bonus = if i * i % 7 == 2 { 2.0 } else { 0.0 };
        ((i * 37 % 101) as f64 / 10.0 - 5.0) * 0.8 + bonus + (i * 29 % 17) as f64 / 8.0
    };
    (reference_rows(0..rows).0, Float64Array::from_iter_values((0..rows).map(label)))
}

/// A single number.
fn column(values: &[f64]) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(values.to_vec())) as ArrayRef)]).unwrap()
}

#[track_caller]
fn check_golden(case: &str, options: &[(&str, &str)], features: &RecordBatch, labels: &Float64Array) {
    let report = fit(&[options, &[EXACT]].concat(), features, labels);
    assert!(report.converged, "{case} did not converge in {} steps", report.iterations);
    assert_all_close(&weights(&report), &expected(case, "coefficients"), 1e-4);
    assert_all_close(&[report.loss], &expected(case, "loss"), 1e-6);
    let measures: Vec<f64> = report.metrics.iter().map(|(_, value)| *value).collect();
    assert_eq!(
        report.metrics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["r2", "mse", "mae", "baseline_mse"]
    );
    for (found, wanted) in measures.iter().zip(expected(case, "measures")) {
        assert!((found - wanted).abs() <= 1e-5 * wanted.abs(), "{case}: {found} {wanted}");
    }
    assert!(report.iterations < 150, "{case} took {} steps", report.iterations);
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn the_loss_with_corners_equals_scikit_learn() {
    let (features, labels) = diabetes();
    check_golden("diabetes_svr", &[], &features, &labels);
    check_golden("diabetes_svr_tube", &[("l2_reg", "5"), ("epsilon", "20")], &features, &labels);
    check_golden("diabetes_svr_strong", &[("l2_reg", "0.05"), ("epsilon", "5")], &features, &labels);
    let (features, labels) = mixed(400);
    check_golden("mixed_svr", &[("epsilon", "0.1"), ("loss", "Epsilon_Insensitive")], &features, &labels);
}

#[test]
fn the_squared_loss_equals_scikit_learn() {
    let squared = ("loss", "squared_epsilon_insensitive");
    let (features, labels) = diabetes();
    check_golden("diabetes_svr_squared", &[squared], &features, &labels);
    check_golden("diabetes_svr_squared_tube", &[squared, ("l2_reg", "10"), ("epsilon", "30")], &features, &labels);
    let raw = [squared, ("l2_reg", "10"), ("epsilon", "10"), ("standardize_features", "false")];
    check_golden("diabetes_svr_raw", &raw, &features, &labels);
    let (features, labels) = mixed(400);
    check_golden("mixed_svr_squared", &[squared, ("l2_reg", "2"), ("epsilon", "0.5")], &features, &labels);
}

#[test]
fn the_default_tolerance_is_close_enough() {
    let (features, labels) = diabetes();
    let report = fit(&[], &features, &labels);
    assert!(report.converged);
    assert_all_close(&weights(&report), &expected("diabetes_svr", "coefficients"), 1e-3);
}

#[test]
fn more_features_than_a_hessian_has_are_searched_otherwise() {
    // With more than 128 features it is not Newton's method that searches; these say nothing.
    let wide = |features: &RecordBatch| {
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (field, column) in features.schema().fields().iter().zip(features.columns()) {
            columns.push((field.name().clone(), Arc::clone(column)));
        }
        let constant: ArrayRef = Arc::new(Float64Array::from(vec![3.0; features.num_rows()]));
        columns.extend((0..125).map(|place| (format!("constant{place}"), Arc::clone(&constant))));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let (features, labels) = diabetes();
    for (case, options, within) in [
        ("diabetes_svr", &[][..], 0.05),
        ("diabetes_svr_tube", &[("l2_reg", "5"), ("epsilon", "20")][..], 0.05),
        ("diabetes_svr_squared", &[("loss", "squared_epsilon_insensitive")][..], 1e-4),
    ] {
        let report = fit(&[options, &[("max_iterations", "100000")]].concat(), &wide(&features), &labels);
        assert!(report.converged, "{case}: {}", report.iterations);
        let found = weights(&report);
        assert_all_close(&found[..11], &expected(case, "coefficients"), within);
        assert!((report.loss / expected(case, "loss")[0] - 1.0).abs() < 1e-6, "{case}: {}", report.loss);
    }
}

#[test]
fn medians_by_hand() {
    // Without a slope, the least sum of distances is that from the median, whatever the largest number.
    let features = column(&[7.0; 5]);
    let report = fit(&[EXACT], &features, &Float64Array::from(vec![1.0, 2.0, 4.0, 7.0, 1e6]));
    assert_all_close(predicted(&report, &features).values(), &[4.0; 5], 1e-3);
    // A row off the line counts by its distance, and does not turn it.
    let features = column(&[0.0, 1.0, 2.0, 3.0, 4.0]);
    let options = [EXACT, ("l2_reg", "0"), ("standardize_features", "false")];
    let report = fit(&options, &features, &Float64Array::from(vec![1.0, 3.0, 100.0, 7.0, 9.0]));
    assert_all_close(&weights(&report), &[1.0, 2.0], 1e-7);
    assert_all_close(&[report.loss], &[95.0 / 5.0], 1e-7);
    // Two rows are pulled apart by their labels, and together by the penalty.
    let features = column(&[-1.0, 1.0]);
    let options = [EXACT, ("l2_reg", "4"), ("standardize_features", "false"), ("epsilon", "0.5")];
    // |2 - w| - 1/2 twice and 2 w² are least at w = 1/2.
    let report = fit(&options, &features, &Float64Array::from(vec![-2.0, 2.0]));
    assert_all_close(&weights(&report), &[0.0, 0.5], 1e-7);
    assert_all_close(&[report.loss], &[1.25], 1e-7);
    // Squared: (2 - w - 1/2)² twice and 2 w² are least at w = 3/4.
    let squared = [&options[..], &[("loss", "squared_epsilon_insensitive")]].concat();
    let report = fit(&squared, &features, &Float64Array::from(vec![-2.0, 2.0]));
    assert_all_close(&weights(&report), &[0.0, 0.75], 1e-9);
}

#[test]
fn what_is_within_the_tube_or_always_the_same_needs_no_slope() {
    let (features, labels) = diabetes();
    for loss in ["epsilon_insensitive", "squared_epsilon_insensitive"] {
        let report = fit(&[("epsilon", "1000"), ("loss", loss)], &features, &labels);
        assert!(report.converged && report.loss == 0.0, "{report:?}");
        assert!(weights(&report)[1..].iter().all(|weight| *weight == 0.0));
        let same = Float64Array::from(vec![5.0; labels.len()]);
        let report = fit(&[("loss", loss)], &features, &same);
        assert_all_close(&weights(&report), &[&[5.0][..], &[0.0; 10]].concat(), 1e-9);
        assert_eq!(report.metrics.len(), 3);
    }
}

#[test]
fn it_is_a_linear_model_like_others() {
    let (features, labels) = mixed(300);
    let report = fit(&[("epsilon", "0.2")], &features, &labels);
    let model = restore_supervised(&report.model).unwrap();
    assert_eq!((model.model_type(), model.label_type(), model.rows_learnt()), ("linear_svr", DataType::Float64, 300));
    assert!(model.class_names().is_empty());
    let said = model.predictions(&features).unwrap();
    let explanations = model.explanations(&features, &said).unwrap().unwrap();
    for row in 0..300 {
        let sum = explanations.baselines().value(row) + explanations.attributions(row).iter().sum::<f64>();
        assert!((sum - said.labels.as_primitive::<Float64Type>().value(row)).abs() < 1e-9);
    }
    let table = table_of(restore_predictor(&report.model).unwrap().as_ref(), ModelTable::Weights).unwrap();
    assert_eq!(table.num_rows(), 5);
}

#[test]
fn features_that_say_nothing_and_more_of_them_than_rows_are_fitted() {
    let constant: ArrayRef = Arc::new(Float64Array::from(vec![0.1; 6]));
    let null: ArrayRef = Arc::new(Float64Array::from(vec![None; 6]));
    let empty: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 6]));
    let mut columns = vec![("constant".to_owned(), constant), ("null".to_owned(), null), ("empty".to_owned(), empty)];
    for column in 0..40 {
        let values = (0..6).map(|row| f64::from((row * 7 + column * 13 + row * row * column) % 11));
        columns.push((format!("x{column}"), Arc::new(Float64Array::from_iter_values(values))));
    }
    let features =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let (features, labels) = (features.unwrap(), Float64Array::from(vec![3.0, -1.0, 4.0, 1.0, 5.0, 9.0]));
    for loss in ["epsilon_insensitive", "squared_epsilon_insensitive"] {
        let report = fit(&[("l2_reg", "1e-6"), ("loss", loss)], &features, &labels);
        assert!(report.converged);
        assert_all_close(predicted(&report, &features).values(), labels.values(), 1e-3);
    }
}

#[test]
fn unseen_categories_and_bad_rows_are_handled() {
    let (features, labels) = mixed(300);
    let report = fit(&[], &features, &labels);
    let columns: [(&str, ArrayRef); 4] = [
        ("a", Arc::new(Float64Array::from(vec![Some(4.0), None, Some(f64::NAN), Some(1e60)]))),
        ("b", Arc::new(Float64Array::from(vec![None, Some(2.0), Some(2.0), Some(2.0)]))),
        ("city", Arc::new(StringArray::from(vec!["unseen"; 4]))),
        ("flag", Arc::new(BooleanArray::from(vec![None, Some(true), None, None]))),
    ];
    let asked = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let said = predicted(&report, &asked);
    assert!(said.is_valid(0) && said.is_valid(1) && said.is_null(2) && said.is_null(3), "{said:?}");
    let mut model = try_model(&[], &features).unwrap();
    let labels = Float64Array::from(vec![Some(1.0), None, Some(f64::NAN), Some(f64::INFINITY)]);
    let rejected = model.add(&features.slice(0, 4), &labels).unwrap();
    assert_eq!(rejected.iter().map(|bad| bad.row).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, labels) = mixed(20);
    check_error(
        try_fit(&[], &features.slice(0, 0), &labels.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(&[("alpha", "1")], &features, &labels),
        expect![
            "model type 'linear_svr' has no option 'alpha'; valid options are loss, epsilon, l2_reg, max_iterations, tolerance, standardize_features, max_categories"
        ],
    );
    check_error(
        try_fit(&[("loss", "hinge")], &features, &labels),
        expect!["option loss = 'hinge' is not valid; expected epsilon_insensitive or squared_epsilon_insensitive"],
    );
    check_error(
        try_fit(&[("epsilon", "-1")], &features, &labels),
        expect!["option epsilon = '-1' is not valid; expected a number from 0 to 1000000000000"],
    );
    let plain = fit(&[], &features, &labels);
    for doc in batch_option_docs("linear_svr").unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features, &labels), plain, "{}", doc.name);
    }
    assert!(!fit(&[("max_iterations", "2")], &features, &labels).converged);
    let mut model = try_model(&[], &features).unwrap();
    model.add(&features, &labels).unwrap();
    model.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    check_error(model.fit(), expect!["the fit was stopped"]);
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let (features, labels) = mixed(40_000);
    for loss in ["epsilon_insensitive", "squared_epsilon_insensitive"] {
        let options = [("max_iterations", "6"), ("loss", loss)];
        let alone = fit(&options, &features, &labels);
        for threads in [2, 4] {
            let mut model = try_model(&options, &features).unwrap();
            for (start, rows) in [(0, 1), (1, 1030), (1031, 38_969)] {
                model.add(&features.slice(start, rows), &labels.slice(start, rows)).unwrap();
            }
            model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
            assert_eq!(model.fit().unwrap(), alone);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, labels) = mixed(100);
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

    /// Where no other weights near by have a lower loss, these have the lowest.
    #[test]
    fn no_step_away_lowers_the_loss(
        values in prop::collection::vec((-5i8..5, -5i8..5, -9i8..9), 3..30),
        epsilon in prop::sample::select(vec!["0", "0.5", "3"]),
        l2 in prop::sample::select(vec!["0.01", "1", "50"]),
    ) {
        let number = |of: fn(&(i8, i8, i8)) -> i8| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(values.iter().map(|row| f64::from(of(row)))))
        };
        let features = RecordBatch::try_from_iter([("x", number(|row| row.0)), ("y", number(|row| row.1))]).unwrap();
        let labels = number(|row| row.2);
        let options = [("epsilon", epsilon), ("l2_reg", l2), ("standardize_features", "false"), EXACT];
        let report = fit(&options, &features, &labels);
        let loss = |weights: &[f64]| {
            let beyond = values.iter().map(|(x, y, label)| {
                let said = weights[0] + weights[1] * f64::from(*x) + weights[2] * f64::from(*y);
                ((f64::from(*label) - said).abs() - epsilon.parse::<f64>().unwrap()).max(0.0)
            });
            let penalty = 0.5 * l2.parse::<f64>().unwrap() * (weights[1] * weights[1] + weights[2] * weights[2]);
            (beyond.sum::<f64>() + penalty) / values.len() as f64
        };
        let found = weights(&report);
        prop_assert!((loss(&found) - report.loss).abs() < 1e-9);
        for step in 0..27 {
            let away: Vec<f64> =
                found.iter().zip([1, 3, 9]).map(|(own, place)| own + f64::from(step / place % 3 - 1) * 1e-3).collect();
            prop_assert!(loss(&away) >= report.loss - 1e-9, "{found:?} {away:?}: {} {}", report.loss, loss(&away));
        }
    }
}
