//! scikit-learn's coefficients for three classes, labels of each type, two classes as one BOOLEAN, and bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, LargeStringArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow::datatypes::{DataType, Int64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::MultinomialRegression;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::registry::testing::restore_learning;
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Predictions, RejectReason, Result, create_batch,
    predicted_label_type, restore_supervised,
};

fn try_model(options: &[(&str, &str)], features: &RecordBatch, label: &DataType) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch("logistic_reg", &options, &FeatureSchema::from_arrow(&features.schema())?, label)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Result<FitReport> {
    let mut model = try_model(options, features, labels.data_type())?;
    model.add(features, labels)?;
    model.fit()
}

fn fit(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> FitReport {
    try_fit(options, features, labels).unwrap()
}

/// All intercepts, then the weights of one class after another, as scikit-learn has them.
fn weights(report: &FitReport) -> Vec<f64> {
    let model = MultinomialRegression::restore(&report.model).unwrap();
    let classes = model.weights.chunks_exact(model.weights.len() / model.classes.names().len());
    let intercepts = classes.clone().map(|class| class[0]);
    intercepts.chain(classes.flat_map(|class| class[1..].iter().copied())).collect()
}

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(known, _)| known == name).unwrap().1
}

fn predicted(report: &FitReport, features: &RecordBatch) -> Predictions {
    restore_supervised(&report.model).unwrap().predictions(features).unwrap()
}

/// A data set with the names of its classes.
fn named(name: &str) -> (RecordBatch, StringArray) {
    let (features, labels) = data_set(name);
    (features, labels.iter().map(|label| Some(format!("class {label}"))).collect())
}

#[track_caller]
fn check_golden(case: &str, options: &[(&str, &str)], (features, labels): &(RecordBatch, StringArray)) {
    let report = fit(options, features, labels);
    assert!(report.converged, "{case} did not converge in {} steps", report.iterations);
    assert_all_close(&weights(&report), &expected(case, "coefficients"), 1e-4);
    for name in ["log_loss", "accuracy"] {
        assert_all_close(&[metric(&report, name)], &expected(case, name), 1e-6);
    }
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn coefficients_equal_scikit_learn() {
    for name in ["iris", "wine"] {
        let rows = named(name);
        check_golden(&format!("{name}_classes"), &[], &rows);
        let balanced = [("auto_class_weights", "true"), ("l2_reg", "10")];
        check_golden(&format!("{name}_classes_balanced"), &balanced, &rows);
        check_golden(&format!("{name}_classes_elastic"), &[("l1_reg", "0.8"), ("l2_reg", "1.2")], &rows);
    }
}

#[test]
fn a_text_of_two_classes_is_the_model_of_a_boolean() {
    let (features, booleans) = reference_rows(0..300);
    let texts: StringArray = booleans.iter().map(|label| label.map(|label| if label { "yes" } else { "no" })).collect();
    let options = [("class_weights", "yes:3"), ("l1_reg", "0.5")];
    let of_boolean = fit(&[("class_weights", "true:3"), ("l1_reg", "0.5")], &features, &booleans);
    let of_text = fit(&options, &features, &texts);
    // They start from other intercepts.
    assert_all_close(&[of_text.loss], &[of_boolean.loss], 1e-9);
    let (boolean, text) = (predicted(&of_boolean, &features), predicted(&of_text, &features));
    for class in 0..2 {
        assert_all_close(text.probabilities[class].values(), boolean.probabilities[class].values(), 1e-5);
    }
    let names: BooleanArray = text.labels.as_string::<i32>().iter().map(|label| Some(label? == "yes")).collect();
    assert_eq!(&names, boolean.labels.as_boolean());
    let model = restore_supervised(&of_text.model).unwrap();
    assert_eq!((model.class_names(), model.label_type()), (vec!["no".to_owned(), "yes".to_owned()], DataType::Utf8));
    assert_eq!((model.model_type(), model.rows_learnt()), ("logistic_reg", 300));
    check_error(
        restore_learning(&of_text.model),
        expect!["this model of type 'logistic_reg' only predicts; it cannot go on learning"],
    );
}

#[test]
fn a_boolean_model_predicts_like_any_other() {
    let (features, labels) = reference_rows(0..300);
    let report = fit(&[], &features, &labels);
    let (model, online) = (restore_supervised(&report.model).unwrap(), restore_learning(&report.model).unwrap());
    assert_eq!((model.class_names(), model.label_type()), (vec!["false".into(), "true".into()], DataType::Boolean));
    let predictions = model.predictions(&features).unwrap();
    assert_eq!(predictions.probabilities[1], online.predict(&features).unwrap());
    assert_eq!(predictions.labels.as_boolean(), &crate::predicted_labels(&predictions.probabilities[1]));
}

#[test]
fn integers_are_classes_by_size() {
    let (features, labels) = data_set("iris");
    let numbers: Int32Array = labels.iter().map(|label| Some([9, 10, -1][*label as usize])).collect();
    let report = fit(&[], &features, &numbers);
    let model = restore_supervised(&report.model).unwrap();
    assert_eq!((model.class_names().join(" "), model.label_type()), ("-1 9 10".to_owned(), DataType::Int64));
    let predictions = predicted(&report, &features);
    let labels = predictions.labels.as_primitive::<Int64Type>();
    let right = labels.values().iter().zip(numbers.values()).filter(|(a, b)| **a == i64::from(**b)).count();
    assert_all_close(&[right as f64 / 150.0], &[metric(&report, "accuracy")], 1e-12);
    assert_eq!(metric(&report, "accuracy"), expected("iris_classes", "accuracy")[0]);
    let sums = (0..150).map(|row| predictions.probabilities.iter().map(|class| class.value(row)).sum::<f64>());
    assert_all_close(&sums.collect::<Vec<_>>(), &[1.0; 150], 1e-12);
}

#[test]
fn every_text_type_reads_the_same() {
    let (features, labels) = named("iris");
    let plain = fit(&[], &features, &labels);
    let large: ArrayRef = Arc::new(labels.iter().collect::<LargeStringArray>());
    let view: ArrayRef = Arc::new(labels.iter().collect::<StringViewArray>());
    for array in [large, view] {
        assert_eq!(fit(&[], &features, &array), plain);
        assert_eq!(predicted_label_type("logistic_reg", "y", array.data_type()).unwrap(), DataType::Utf8);
    }
}

#[test]
fn rows_without_a_class_or_features_are_left_out() {
    let (features, labels) = named("iris");
    let mut texts: Vec<_> = labels.iter().collect();
    texts[4] = None;
    let mut model = try_model(&[], &features, &DataType::Utf8).unwrap();
    let rejected = model.add(&features, &StringArray::from(texts)).unwrap();
    assert_eq!((rejected.len(), rejected[0].row, &rejected[0].reason), (1, 4, &RejectReason::NullLabel));
    // A class of which no row is taken is none.
    let column: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN]));
    let nan = RecordBatch::try_new(features.schema(), vec![column; 4]).unwrap();
    assert_eq!(model.add(&nan, &StringArray::from(vec!["never"])).unwrap().len(), 1);
    let report = model.fit().unwrap();
    assert_eq!(restore_supervised(&report.model).unwrap().class_names().len(), 3);
    let predictions = predicted(&report, &nan);
    assert!(predictions.labels.is_null(0) && predictions.probabilities.iter().all(|class| class.is_null(0)));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, labels) = named("iris");
    check_error(
        try_fit(&[], &features.slice(0, 0), &labels.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(&[], &features.slice(0, 9), &labels.slice(0, 9)),
        expect!["all 9 rows have the label 'class 0'; a classifier needs rows of at least two classes"],
    );
    check_error(
        try_fit(&[("class_weights", "setosa:2")], &features, &labels),
        expect![
            "option class_weights = 'setosa' is not valid; expected classes of the label: class 0, class 1, class 2"
        ],
    );
    check_error(
        try_fit(&[], &features, &Float64Array::from(vec![1.0; 150])),
        expect![
            "label column 'label' has the unsupported type Float64; a class is a BOOLEAN, a VARCHAR or a whole number; cast it to one of these"
        ],
    );
    let many = Int64Array::from_iter_values(0..1001);
    let rows = RecordBatch::try_from_iter([("x", Arc::new(many.clone()) as ArrayRef)]).unwrap();
    check_error(
        try_fit(&[], &rows, &many),
        expect!["the label has more than 1000 classes; for a quantity, use the model type linear_reg"],
    );
    let mut model = try_model(&[], &features, &DataType::Utf8).unwrap();
    check_error(
        model.add(&features, &Int64Array::from(vec![1; 150])),
        expect![
            "label column 'label' has the unsupported type Int64; give labels of one type to all of a model's rows"
        ],
    );
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let (features, _) = reference_rows(0..40_000);
    let labels: Int64Array = (0..40_000).map(|row| Some(row * row % 7)).collect();
    let alone = fit(&[("max_iterations", "10")], &features, &labels);
    for threads in [2, 4] {
        let mut model = try_model(&[("max_iterations", "10")], &features, &DataType::Int64).unwrap();
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
    ) {
        let (features, _) = reference_rows(0..100);
        let labels: Int64Array = (0..100).map(|row| Some(row % 3)).collect();
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

    #[test]
    fn the_order_of_rows_changes_nothing_but_rounding(offset in 1..150usize) {
        let (features, labels) = named("iris");
        let rows: arrow::array::UInt64Array = (0..150).map(|row| Some((row * 7 + offset as u64) % 150)).collect();
        let shuffled = arrow::compute::take_record_batch(&features, &rows).unwrap();
        let names = arrow::compute::take(&labels, &rows, None).unwrap();
        let (plain, other) = (fit(&[], &features, &labels), fit(&[], &shuffled, &names));
        assert_all_close(&weights(&other), &weights(&plain), 1e-4);
    }
}
