//! scikit-learn's probabilities, categories and missing values by hand, one model whatever the threads, bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Predictions, RejectReason, Result, batch_option_docs,
    create_batch, restore_supervised,
};

fn try_model(options: &[(&str, &str)], features: &RecordBatch, label: &DataType) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch("naive_bayes", &options, &FeatureSchema::from_arrow(&features.schema())?, label)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Result<FitReport> {
    let mut model = try_model(options, features, labels.data_type())?;
    model.add(features, labels)?;
    model.fit()
}

fn fit(options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> FitReport {
    try_fit(options, features, labels).unwrap()
}

fn predicted(report: &FitReport, features: &RecordBatch) -> Predictions {
    restore_supervised(&report.model).unwrap().predictions(features).unwrap()
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn one_column(column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap()
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

/// Compares the probabilities of each `step`th row, and the measures.
#[track_caller]
fn check_golden(case: &str, name: &str, options: &[(&str, &str)], step: usize) {
    let (features, labels) = data_set(name);
    let labels: Int64Array = labels.iter().map(|label| Some(*label as i64)).collect();
    let report = fit(options, &features, &labels);
    let probabilities = predicted(&report, &features).probabilities;
    let some: Vec<f64> = (0..labels.len())
        .step_by(step)
        .flat_map(|row| probabilities.iter().map(move |class| class.value(row)))
        .collect();
    assert_all_close(&some, &expected(case, "probabilities"), 1e-9);
    for (metric, value) in report.metrics.iter().filter(|(name, _)| !name.starts_with("baseline_")) {
        assert_all_close(&[*value], &expected(case, metric), 1e-9);
    }
}

#[test]
fn probabilities_equal_scikit_learn() {
    check_golden("iris_bayes", "iris", &[], 7);
    check_golden("wine_bayes", "wine", &[("distribution", "gaussian")], 7);
}

#[test]
fn probabilities_of_counts_equal_scikit_learn() {
    let multinomial = ("distribution", "multinomial");
    check_golden("wine_multinomial", "wine", &[multinomial, ("alpha", "0.5")], 7);
    check_golden("digits_multinomial", "digits", &[multinomial], 71);
}

#[test]
fn probabilities_of_numbers_above_a_threshold_equal_scikit_learn() {
    let bernoulli = ("distribution", "bernoulli");
    check_golden("digits_bernoulli", "digits", &[bernoulli, ("binarize", "7.5")], 71);
    check_golden("wine_bernoulli", "wine", &[bernoulli, ("alpha", "2.5"), ("binarize", "2.3")], 7);
}

/// Two counts and a text; of the rows, one has a negative count and one lacks a count.
fn counts() -> (RecordBatch, BooleanArray) {
    let columns: [(&str, ArrayRef); 3] = [
        ("tide", Arc::new(Int64Array::from(vec![Some(3), Some(1), Some(0), None, Some(-1)]))),
        ("mill", Arc::new(Int64Array::from(vec![Some(0), Some(0), Some(2), Some(1), Some(0)]))),
        ("from", texts(&[Some("a"), Some("a"), Some("b"), Some("a"), Some("b")])),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    (features, BooleanArray::from(vec![true, true, false, false, true]))
}

#[test]
fn counts_and_categories_by_hand() {
    let (features, labels) = counts();
    let options = [("distribution", "multinomial")];
    let mut model = try_model(&options, &features, &DataType::Boolean).unwrap();
    let rejected = model.add(&features, &labels).unwrap();
    assert_eq!((rejected.len(), rejected[0].row), (1, 4));
    assert_eq!(rejected[0].reason, RejectReason::NegativeCount { column: "tide".to_owned() });
    assert_eq!(rejected[0].reason.to_string(), "column 'tide' is negative, which no count is");
    let predictions = predicted(&model.fit().unwrap(), &features);
    // True: of 4 counts all are of tide, both texts are a. False: of 3, none is; one text of two is a.
    let of_true = |tide: i32, mill: i32| (5.0_f64 / 6.0).powi(tide) * (1.0_f64 / 6.0).powi(mill);
    let of_false = |tide: i32, mill: i32| (1.0_f64 / 5.0).powi(tide) * (4.0_f64 / 5.0).powi(mill);
    let share = |a: f64, b: f64| a / (a + b);
    let by_hand = [
        share(of_true(3, 0) * 3.0 / 4.0, of_false(3, 0) * 2.0 / 4.0),
        share(of_true(1, 0) * 3.0 / 4.0, of_false(1, 0) * 2.0 / 4.0),
        share(of_true(0, 2) * 1.0 / 4.0, of_false(0, 2) * 2.0 / 4.0),
        // Without a count it is none.
        share(of_true(0, 1) * 3.0 / 4.0, of_false(0, 1) * 2.0 / 4.0),
    ];
    assert_all_close(&predictions.probabilities[1].values()[..4], &by_hand, 1e-12);
    // What learning would reject has no prediction.
    assert!(predictions.labels.is_null(4) && predictions.probabilities[0].is_null(4));
}

#[test]
fn a_missing_number_is_on_no_side_of_a_threshold() {
    let values = [Some(-3.0), Some(0.5), None, Some(0.0), Some(7.0)];
    let features = one_column(Arc::new(Float64Array::from(values.to_vec())));
    let labels = BooleanArray::from(vec![true, true, true, false, false]);
    let report = fit(&[("distribution", "bernoulli")], &features, &labels);
    let asked = one_column(Arc::new(Float64Array::from(vec![Some(1.0), Some(-1.0), None])));
    // Of the two known in each class, one is above: the shares alone decide.
    assert_all_close(predicted(&report, &asked).probabilities[1].values(), &[0.6; 3], 1e-12);
    let report = fit(&[("distribution", "bernoulli"), ("binarize", "0.5")], &features, &labels);
    let by_hand = |yes: f64, no: f64| 0.6 * yes / (0.6 * yes + 0.4 * no);
    let by_hand = [by_hand(1.0 / 4.0, 2.0 / 4.0), by_hand(3.0 / 4.0, 2.0 / 4.0), 0.6];
    assert_all_close(predicted(&report, &asked).probabilities[1].values(), &by_hand, 1e-12);
}

#[test]
fn categories_by_hand() {
    // Of three "yes" two are a and one b; of two "no" one is b and one NULL. Three categories, alpha 1.
    let features = one_column(texts(&[Some("a"), Some("a"), Some("b"), Some("b"), None]));
    let labels = StringArray::from(vec!["yes", "yes", "yes", "no", "no"]);
    let report = fit(&[], &features, &labels);
    let asked = one_column(texts(&[Some("a"), Some("b"), None, Some("unseen")]));
    let yes = predicted(&report, &asked).probabilities[1].values().to_vec();
    let share = |yes: f64, no: f64| 0.6 * yes / (0.6 * yes + 0.4 * no);
    let by_hand = [share(3.0 / 6.0, 1.0 / 5.0), share(2.0 / 6.0, 2.0 / 5.0), share(1.0 / 6.0, 2.0 / 5.0), 0.6];
    assert_all_close(&yes, &by_hand, 1e-12);
    assert_eq!(predicted(&report, &asked).labels.as_string::<i32>().value(2), "no");
}

#[test]
fn a_missing_number_says_nothing_and_is_not_counted() {
    let values = [Some(1.0), Some(3.0), None, Some(7.0), Some(9.0)];
    let features = one_column(Arc::new(Float64Array::from(values.to_vec())));
    let labels = BooleanArray::from(vec![false, false, false, true, true]);
    let report = fit(&[], &features, &labels);
    let asked = one_column(Arc::new(Float64Array::from(vec![None, Some(5.0)])));
    let positive = predicted(&report, &asked).probabilities[1].values().to_vec();
    // 5 is as far from 2 as from 8, and both variances are 1: the shares alone decide.
    assert_all_close(&positive, &[0.4, 0.4], 1e-12);
    let model = restore_supervised(&report.model).unwrap();
    assert_eq!((model.model_type(), model.label_type(), model.rows_learnt()), ("naive_bayes", DataType::Boolean, 5));
}

#[test]
fn constant_numbers_and_classes_without_a_value_say_nothing() {
    let columns: [(&str, ArrayRef); 2] = [
        ("constant", Arc::new(Float64Array::from(vec![0.1; 4]))),
        ("absent", Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), None, None]))),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let report = fit(&[], &features, &BooleanArray::from(vec![true, true, false, false]));
    for class in predicted(&report, &features).probabilities {
        assert_all_close(class.values(), &[0.5; 4], 1e-12);
    }
    // Nothing but constants.
    let report = fit(&[], &features.project(&[0]).unwrap(), &BooleanArray::from(vec![true, true, true, false]));
    assert_all_close(predicted(&report, &features).probabilities[1].values(), &[0.75; 4], 1e-12);
    let far = one_column(Arc::new(Float64Array::from(vec![1.0, 2.0, 30.0, 31.0])));
    let report = fit(&[], &far, &BooleanArray::from(vec![true, true, false, false]));
    let farther = one_column(Arc::new(Float64Array::from(vec![1e50, -1e50])));
    assert!(predicted(&report, &farther).probabilities[0].values().iter().all(|p| (0.0..=1.0).contains(p)));
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
        try_fit(&[("l2_reg", "1")], &features, &labels),
        expect![
            "model type 'naive_bayes' has no option 'l2_reg'; valid options are distribution, var_smoothing, alpha, binarize, max_categories"
        ],
    );
    check_error(
        try_fit(&[("alpha", "0")], &features, &labels),
        expect!["option alpha = '0' is not valid; expected a number from 0.000000000001 to 1000000"],
    );
    check_error(
        try_fit(&[("distribution", "poisson")], &features, &labels),
        expect!["option distribution = 'poisson' is not valid; expected gaussian, multinomial or bernoulli"],
    );
    check_error(
        try_fit(&[("binarize", "NaN")], &features, &labels),
        expect![
            "option binarize = 'NaN' is not valid; expected a number from -100000000000000000000000000000000000000000000000000 to 100000000000000000000000000000000000000000000000000"
        ],
    );
    let plain = fit(&[], &features, &labels);
    for doc in batch_option_docs("naive_bayes").unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features, &labels), plain, "{}", doc.name);
    }
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let (features, labels) = reference_rows(0..40_000);
    for (distribution, threads) in [("gaussian", 2), ("gaussian", 4), ("multinomial", 2), ("bernoulli", 4)] {
        let options = [("distribution", distribution)];
        let alone = fit(&options, &features, &labels);
        let mut model = try_model(&options, &features, &DataType::Boolean).unwrap();
        for (start, rows) in [(0, 1), (1, 1030), (1031, 38_969)] {
            model.add(&features.slice(start, rows), &labels.slice(start, rows)).unwrap();
        }
        model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
        assert_eq!(model.fit().unwrap(), alone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        distribution in prop::sample::select(vec!["gaussian", "multinomial", "bernoulli"]),
    ) {
        let (features, labels) = reference_rows(0..100);
        let mut bytes = fit(&[("distribution", distribution)], &features, &labels).model;
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
