//! scikit-learn's coefficients, both ways to find them, one model whatever the batches and threads, and bad
//! input.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{BatchLinearConfig, BatchLinearRegression, LinearRegression};
use crate::batch::linear_numbers;
use crate::feature::moments::Moments;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, RejectReason, RejectedRow, Result, batch_option_docs,
    create_batch, restore, restore_supervised,
};

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch("linear_reg", &options, &FeatureSchema::from_arrow(&features.schema())?, &DataType::Float64)
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

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(known, _)| known == name).unwrap().1
}

fn predicted(report: &FitReport, features: &RecordBatch) -> Float64Array {
    let predictions = restore_supervised(&report.model).unwrap().predictions(features).unwrap();
    predictions.labels.as_primitive::<Float64Type>().clone()
}

fn diabetes() -> (RecordBatch, Float64Array) {
    let (features, labels) = data_set("diabetes");
    (features, labels.into())
}

/// Two numbers, a text and a boolean, with NULLs; see `mixed` in `goldens/make.py`.
fn mixed() -> (RecordBatch, Float64Array) {
    (reference_rows(0..400).0, expected("mixed_linear", "labels").into())
}

#[track_caller]
fn check_golden(case: &str, options: &[(&str, &str)], (features, labels): &(RecordBatch, Float64Array)) {
    let report = fit(options, features, labels);
    assert!(report.converged, "{case} did not converge in {} steps", report.iterations);
    assert_all_close(&weights(&report), &expected(case, "coefficients"), 1e-6);
    for (name, theirs) in [("r2", "r2_score"), ("mse", "mean_squared_error"), ("mae", "mean_absolute_error")] {
        assert_all_close(&[metric(&report, name)], &expected(case, theirs), 1e-6);
    }
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn least_squares_equals_scikit_learn() {
    check_golden("diabetes", &[], &diabetes());
    check_golden("diabetes_raw", &[("standardize_features", "false")], &diabetes());
    assert_all_close(&[metric(&fit(&[], &diabetes().0, &diabetes().1), "r2")], &[0.517_748_422], 1e-9);
}

#[test]
fn penalties_equal_scikit_learns() {
    check_golden("diabetes_ridge", &[("l2_reg", "20")], &diabetes());
    // alpha times the 442 rows, and the two shares of that.
    check_golden("diabetes_lasso", &[("l1_reg", "884")], &diabetes());
    check_golden("diabetes_elastic", &[("l1_reg", "309.4"), ("l2_reg", "132.6")], &diabetes());
    assert_eq!(weights(&fit(&[("l1_reg", "884")], &diabetes().0, &diabetes().1))[1], 0.0);
}

#[test]
fn categories_depend_on_each_other_and_get_the_shortest_weights() {
    check_golden("mixed_linear", &[], &mixed());
    check_golden("mixed_linear_ridge", &[("l2_reg", "5")], &mixed());
}

/// The weights by the search that models of many weights take.
fn searched(options: &[(&str, &str)], (features, labels): &(RecordBatch, Float64Array)) -> Vec<f64> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let mut model = BatchLinearRegression::new(BatchLinearConfig::from_options(&options).unwrap(), schema).unwrap();
    model.add(features, labels).unwrap();
    model.set.prepare(linear_numbers(true), &FitControl::default()).unwrap();
    let mut moments = Moments::default();
    labels.values().iter().for_each(|label| moments.add(*label));
    let solution = model.search(&moments).unwrap();
    assert!(solution.converged, "{} steps", solution.iterations);
    solution.weights
}

#[test]
fn the_search_for_many_weights_finds_the_same() {
    for (case, options) in [
        ("diabetes_ridge", &[("l2_reg", "20")][..]),
        ("diabetes_lasso", &[("l1_reg", "884")]),
        ("diabetes_elastic", &[("l1_reg", "309.4"), ("l2_reg", "132.6")]),
    ] {
        assert_all_close(&searched(options, &diabetes()), &expected(case, "coefficients"), 1e-4);
    }
    let ridge = searched(&[("l2_reg", "5")], &mixed());
    assert_all_close(&ridge, &expected("mixed_linear_ridge", "coefficients"), 1e-4);
}

#[test]
fn a_model_of_many_categories_is_searched() {
    let names: Vec<_> = (0..3000).map(|row| format!("c{}", row % 1500)).collect();
    let features = RecordBatch::try_from_iter([("c", Arc::new(StringArray::from(names)) as ArrayRef)]).unwrap();
    let labels: Float64Array = (0..3000).map(|row| Some(f64::from(row % 1500 % 10))).collect();
    let report = fit(&[("l2_reg", "1e-3")], &features, &labels);
    assert!(report.converged && metric(&report, "r2") > 0.999, "{:?}", report.metrics);
    assert_eq!(weights(&report).len(), 1501);
}

#[test]
fn predictions_are_those_of_the_fit() {
    let (features, labels) = mixed();
    let report = fit(&[], &features, &labels);
    let predictions = predicted(&report, &features);
    let squares: f64 = predictions.values().iter().zip(labels.values()).map(|(p, y)| (p - y) * (p - y)).sum();
    assert_all_close(&[squares / 400.0], &[metric(&report, "mse")], 1e-10);
    assert_all_close(&[report.loss], &[squares / 800.0], 1e-10);
    let model = restore_supervised(&report.model).unwrap();
    assert_eq!((model.model_type(), model.label_type(), model.rows_learnt()), ("linear_reg", DataType::Float64, 400));
    assert!(model.class_names().is_empty());
    check_error(
        restore(&report.model),
        expect!["this model of type 'linear_reg' only predicts; it cannot go on learning"],
    );
}

#[test]
fn any_number_can_be_the_label() {
    let (features, _) = data_set("iris");
    let integers = Int64Array::from_iter_values(0..150);
    let floats = Float64Array::from_iter_values((0..150).map(f64::from));
    let decimals = Decimal128Array::from_iter_values((0..150).map(|row| row * 100)).with_precision_and_scale(10, 2);
    let wanted = fit(&[], &features, &floats);
    assert_eq!(fit(&[], &features, &integers), wanted);
    assert_eq!(fit(&[], &features, &decimals.unwrap()), wanted);
}

#[test]
fn labels_that_are_no_numbers_are_left_out() {
    let (features, labels) = diabetes();
    let mut values: Vec<Option<f64>> = labels.iter().collect();
    (values[3], values[5], values[7]) = (None, Some(f64::NAN), Some(f64::NEG_INFINITY));
    let mut model = try_model(&[], &features).unwrap();
    let rejected = |row, reason| RejectedRow { row, reason };
    assert_eq!(
        model.add(&features, &Float64Array::from(values)).unwrap(),
        [
            rejected(3, RejectReason::NullLabel),
            rejected(5, RejectReason::BadLabel),
            rejected(7, RejectReason::BadLabel),
        ]
    );
    assert_eq!((model.rows(), model.fit().unwrap().rows), (439, 439));
}

#[test]
fn rows_that_say_little_are_fine() {
    let (features, labels) = diabetes();
    // Fewer rows than features: every label is met. One row: the intercept alone.
    let report = fit(&[], &features.slice(0, 8), &labels.slice(0, 8));
    assert!(metric(&report, "r2") > 1.0 - 1e-9, "{:?}", report.metrics);
    let report = fit(&[("l1_reg", "1")], &features.slice(0, 1), &labels.slice(0, 1));
    assert_eq!(weights(&report)[0], labels.value(0));
    assert_eq!(
        report.metrics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["mse", "mae", "baseline_mse"]
    );
    let constant = fit(&[], &features, &Float64Array::from(vec![7.5; 442]));
    assert_all_close(predicted(&constant, &features).values(), &[7.5; 442], 1e-12);
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, labels) = diabetes();
    check_error(
        try_fit(&[], &features.slice(0, 0), &labels.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(&[], &features, &StringArray::from(vec!["a"; 442])),
        expect!["label column 'label' has the unsupported type Utf8; cast it to DOUBLE PRECISION"],
    );
    check_error(
        try_fit(&[("class_weights", "a:1")], &features, &labels),
        expect![
            "model type 'linear_reg' has no option 'class_weights'; valid options are l1_reg, l2_reg, max_iterations, tolerance, standardize_features, max_categories"
        ],
    );
    check_error(
        try_fit(&[("l1_reg", "much")], &features, &labels),
        expect!["option l1_reg = 'much' is not valid; expected a number"],
    );
    let huge = Float64Array::from_iter_values((0..442).map(|row| if row % 2 == 0 { 1e50 } else { -1e50 }));
    assert!(fit(&[], &features, &huge).loss.is_finite());
}

#[test]
fn documented_defaults_are_valid_options_and_change_nothing() {
    let (features, labels) = mixed();
    let plain = fit(&[], &features, &labels);
    for doc in batch_option_docs("linear_reg").unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features, &labels), plain, "{}", doc.name);
    }
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let (features, _) = reference_rows(0..40_000);
    let labels = Float64Array::from_iter_values((0..40_000).map(|row| f64::from(row * 7 % 31) + 1e6));
    for options in [&[][..], &[("l1_reg", "100")]] {
        let alone = fit(options, &features, &labels);
        for threads in [2, 4] {
            let mut model = try_model(options, &features).unwrap();
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
        let (features, labels) = mixed();
        let mut bytes = fit(&[("max_categories", "3")], &features, &labels).model;
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

    #[test]
    fn a_linear_label_is_met_exactly(seed in prop::collection::vec(-100.0..100.0f64, 10), offset in -1e6..1e6f64) {
        let (features, _) = diabetes();
        let column = |index: usize| features.column(index).as_primitive::<Float64Type>();
        let labels: Float64Array = (0..442)
            .map(|row| Some(offset + (0..10).map(|index| seed[index] * column(index).value(row)).sum::<f64>()))
            .collect();
        let report = fit(&[], &features, &labels);
        let size = labels.values().iter().fold(1.0, |size: f64, label| size.max(label.abs()));
        assert_all_close(predicted(&report, &features).values(), labels.values(), 1e-9 * size);
    }

    #[test]
    fn units_do_not_matter_where_numbers_are_standardised(factor in -1e6..1e6f64, offset in -1e3..1e3f64) {
        prop_assume!(factor.abs() > 1e-3);
        let (features, labels) = diabetes();
        let mut columns = features.columns().to_vec();
        let scaled = columns[2].as_primitive::<Float64Type>().unary::<_, Float64Type>(|value| value * factor + offset);
        columns[2] = Arc::new(scaled);
        let other_units = RecordBatch::try_new(features.schema(), columns).unwrap();
        for options in [&[][..], &[("l2_reg", "7")], &[("l1_reg", "500")]] {
            let mut weights = weights(&fit(options, &other_units, &labels));
            weights[3] *= factor.signum();
            assert_all_close(&weights, &self::weights(&fit(options, &features, &labels)), 1e-6);
        }
    }
}

#[test]
fn the_model_type_is_known() {
    let schema = FeatureSchema::from_arrow(&diabetes().0.schema()).unwrap();
    let model = create_batch("linear_reg", &BTreeMap::new(), &schema, &DataType::Int32).unwrap();
    assert_eq!((model.model_type(), model.schema()), ("linear_reg", &schema));
    check_error(
        create_batch("linear_reg", &BTreeMap::new(), &schema, &DataType::Utf8),
        expect!["label column 'label' has the unsupported type Utf8; cast it to DOUBLE PRECISION"],
    );
}
