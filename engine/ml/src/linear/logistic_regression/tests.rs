//! Hand-worked steps, reference numbers, replay, snapshots, merging, and bad input.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float32Array, Float64Array, LargeStringArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::LogisticRegression;
use crate::goldens::{data_set, expected, reference_rows};
use crate::model::testing::{check_batch_boundaries, check_goes_on_restored, try_online};
use crate::registry::testing::restore_learning;
use crate::{
    ClassCounts, FeatureSchema, MlError, OnlineSupervised, RejectReason, RejectedRow, Result, create, learns_label,
    metrics, option_docs, valid_model_types,
};

pub(super) fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, Arc::clone(array), true)))
        .unwrap()
}

pub(super) fn numbers(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

pub(super) fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn OnlineSupervised>> {
    try_online("logistic_reg", options, features, &DataType::Boolean)
}

fn model(options: &[(&str, &str)], features: &RecordBatch) -> Box<dyn OnlineSupervised> {
    try_model(options, features).unwrap()
}

fn predicted(model: &dyn OnlineSupervised, features: &RecordBatch) -> Vec<Option<f64>> {
    model.predict(features).unwrap().iter().collect()
}

#[track_caller]
fn assert_close(actual: &[Option<f64>], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        let close = actual.is_some_and(|actual| (actual - expected).abs() <= tolerance);
        assert!(close, "{actual:?} is not within {tolerance:e} of {expected}");
    }
}

#[track_caller]
pub(super) fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

/// Learns the 200 reference rows in one batch and compares five predictions and the sum of all.
#[track_caller]
fn check_reference(options: &[(&str, &str)], five: [f64; 5], sum: f64) {
    let (features, labels) = reference_rows(0..200);
    let mut model = model(options, &features);
    let report = model.learn(&features, &labels).unwrap();
    assert_eq!((report.rows, model.class_rows()), (200, vec![100, 100]));

    let predictions = predicted(&*model, &features);
    assert_close(&[0, 3, 5, 17, 199].map(|row| predictions[row]), &five, 1e-12);
    assert_close(&[predictions.iter().flatten().copied().reduce(|a, b| a + b)], &[sum], 1e-10);
}

#[test]
fn two_steps_of_gradient_descent_by_hand() {
    // Row 1: logit 0, p 0.5, positive: intercept, x = 2 and "a" each move by 0.5 * (1, 2, 1).
    // Row 2: logit 0.5 + 1 * 1 = 1.5 with "b" at 0: p = 0.8175744762, negative.
    let features = batch(&[("x", numbers(&[Some(2.0), Some(1.0)])), ("c", texts(&[Some("a"), Some("b")]))]);
    let mut model = model(&[("optimizer", "sgd"), ("learning_rate", "1"), ("standardize", "false")], &features);
    let report = model.learn(&features, &BooleanArray::from(vec![true, false])).unwrap();
    assert_close(&report.said.scores().iter().collect::<Vec<_>>(), &[0.5, 0.5], 0.0);
    // Now the intercept is -0.3175744762, x 0.1824255238, "a" 0.5 and "b" -0.8175744762.
    let p = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    let expected =
        [p(-0.317_574_476_2 + 0.364_851_047_6 + 0.5), p(-0.317_574_476_2 + 0.182_425_523_8 - 0.817_574_476_2)];
    assert_close(&predicted(&*model, &features), &expected, 1e-9);
}

#[test]
fn rows_of_a_class_step_as_far_as_they_weigh() {
    // At a rate of 1 a positive row of weight 3 moves the intercept by 3 * 0.5, a negative one of weight 1 by 0.5.
    let features = batch(&[("x", numbers(&[None, None, None]))]);
    let log_odds = |options: &[(&str, &str)], labels: Vec<bool>| {
        let mut model = model(&[&[("optimizer", "sgd"), ("learning_rate", "1")], options].concat(), &features);
        model.learn(&features.slice(0, labels.len()), &BooleanArray::from(labels)).unwrap();
        let p = predicted(&*model, &features)[0].unwrap();
        (p / (1.0 - p)).ln()
    };
    let weights = [("class_weights", "true:3")];
    assert!((log_odds(&weights, vec![true]) - 1.5).abs() < 1e-12);
    assert!((log_odds(&weights, vec![false]) + 0.5).abs() < 1e-12);
    // A first row is all rows, of which its class should have half: weight 0.5. The second of two is 0.5 of one of them,
    // and the third the only one of three: weight 1.5.
    let balanced = [("auto_class_weights", "true")];
    let p = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    let first = 0.5 * 0.5;
    let second = first + 0.5 * (1.0 - p(first));
    assert!((log_odds(&balanced, vec![true, true]) - second).abs() < 1e-12);
    assert!((log_odds(&balanced, vec![true, true, false]) - (second - 1.5 * p(second))).abs() < 1e-12);
}

#[test]
fn balanced_weights_even_out_rare_classes() {
    let (features, labels) = reference_rows(0..6000);
    let rare: BooleanArray = labels.iter().enumerate().map(|(row, label)| Some(label? && row % 10 == 0)).collect();
    let share = |options: &[(&str, &str)]| {
        let mut model = model(options, &features);
        model.learn(&features, &rare).unwrap();
        let said = model.predictions(&features).unwrap();
        f64::from(said.labels.as_boolean().true_count() as u32) / 6000.0
    };
    // A twentieth of the rows is positive, which features tell from the negative half but not from the rest.
    assert!(share(&[]) < 0.02, "{}", share(&[]));
    assert!(share(&[("auto_class_weights", "true")]) > 0.3);
    check_error(
        try_model(&[("class_weights", "yes:2")], &features),
        expect!["option class_weights = 'yes' is not valid; expected classes of the label: false, true"],
    );
}

#[test]
fn one_step_of_adagrad_and_of_ftrl_by_hand() {
    // AdaGrad from G = 0: g = -0.5 for both coordinates, so each moves by the full 0.1.
    // FTRL: z = -0.5, n = 0.25, w = 0.5 / ((1 + 0.5) / 0.1) = 1 / 30 for both.
    let features = batch(&[("c", texts(&[Some("a")]))]);
    let p = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    for (options, weight) in [
        (&[("initial_accumulator", "0"), ("learning_rate", "0.1")][..], 0.1),
        (&[("optimizer", "ftrl"), ("learning_rate", "0.1")][..], 1.0 / 30.0),
    ] {
        let mut model = model(options, &features);
        model.learn(&features, &BooleanArray::from(vec![true])).unwrap();
        assert_close(&predicted(&*model, &features), &[p(2.0 * weight)], 1e-10);
    }
}

// The AdaGrad and FTRL numbers come from an independent Python script: dictionaries of weights, and
// numpy's mean and std over the whole history in place of running moments.

#[test]
fn adagrad_equals_the_reference() {
    check_reference(
        &[("learning_rate", "0.1"), ("initial_accumulator", "0.1"), ("clip", "1.5")],
        [
            0.065_170_362_829_028_63,
            0.131_036_402_070_506_2,
            0.885_766_763_792_783_6,
            0.243_859_630_659_501_2,
            0.927_759_636_117_729_4,
        ],
        99.158_262_439_543_12,
    );
}

#[test]
fn adagrad_with_penalties_equals_the_reference() {
    check_reference(
        &[("learning_rate", "0.3"), ("initial_accumulator", "0.1"), ("l1", "0.02"), ("l2", "0.01"), ("clip", "1.5")],
        [
            0.027_366_111_380_843_137,
            0.090_644_431_827_969_16,
            0.938_732_635_095_902_2,
            0.186_961_260_361_702_66,
            0.977_461_549_652_616_4,
        ],
        99.819_625_081_448_24,
    );
}

#[test]
fn ftrl_equals_the_reference() {
    check_reference(
        &[("optimizer", "ftrl"), ("learning_rate", "0.5"), ("l1", "1.5"), ("l2", "0.1"), ("clip", "1.5")],
        [
            0.010_532_419_426_828_334,
            0.041_909_941_781_282_344,
            0.965_905_230_650_495_6,
            0.128_060_883_267_260_64,
            0.991_986_155_684_901_6,
        ],
        100.239_708_633_141_65,
    );
}

#[test]
fn gradient_descent_equals_scikit_learn() {
    // scikit-learn 1.9.1: SGDClassifier(loss='log_loss', penalty='l2', alpha=0.01, eta0=0.05,
    // learning_rate='constant', shuffle=False, max_iter=1, tol=None), predict_proba.
    // No value is 0 here: unlike scikit-learn, the penalty spares a coordinate whose value is 0.
    let (_, labels) = reference_rows(0..200);
    let a = (0..200).map(|i| Some(f64::from(i * 37 % 101) / 10.0 - 5.0 + 0.05)).collect::<Vec<_>>();
    let b = (0..200).map(|i| Some(f64::from((i * 53 + 7) % 97) / 50.0 - 0.97)).collect::<Vec<_>>();
    let features = batch(&[("a", numbers(&a)), ("b", numbers(&b))]);
    let options = [("optimizer", "sgd"), ("learning_rate", "0.05"), ("l2", "0.01"), ("standardize", "false")];
    let mut model = model(&options, &features);
    model.learn(&features, &labels).unwrap();
    let predictions = predicted(&*model, &features);
    let expected = [
        0.002_897_922_992_711_953_3,
        0.009_232_876_667_170_238,
        0.981_877_150_846_019_9,
        0.041_118_016_246_801_295,
        0.991_936_613_862_371,
    ];
    assert_close(&[0, 3, 5, 17, 199].map(|row| predictions[row]), &expected, 1e-12);
}

#[test]
fn accuracy_along_a_stream_is_that_of_river() {
    let (phishing, labels) = data_set("phishing");
    let phishing = (phishing, labels.into_iter().map(|label| Some(label == 1.0)).collect::<BooleanArray>());
    for (name, (features, labels)) in [("phishing", phishing), ("mixed", reference_rows(0..5000))] {
        for optimizer in ["adagrad", "adam", "sgd"] {
            let mut model = model(&[("optimizer", optimizer)], &features);
            let mut right = 0;
            for row in 0..labels.len() {
                let report = model.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
                right += u32::from(report.said.labels.as_boolean().value(0) == labels.value(row));
            }
            let (ours, theirs) =
                (f64::from(right) / labels.len() as f64, expected(&format!("{name}_{optimizer}"), "accuracy")[0]);
            assert!(ours > theirs - 0.005, "{name}, {optimizer}: {ours}, and River {theirs}");
        }
    }
}

#[test]
fn it_learns_what_the_labels_depend_on() {
    let (features, labels) = reference_rows(0..2000);
    let mut model = model(&[], &features);
    model.learn(&features.slice(0, 1000), &labels.slice(0, 1000)).unwrap();
    let scores = model.learn(&features.slice(1000, 1000), &labels.slice(1000, 1000)).unwrap().said.scores();
    let labels: Vec<bool> = labels.slice(1000, 1000).iter().flatten().collect();
    assert!(metrics::auc(scores.values(), &labels).unwrap() > 0.95);
}

#[test]
fn batch_boundaries_do_not_change_a_bit() {
    let (features, labels) = reference_rows(0..700);
    let model = model(&[("optimizer", "ftrl"), ("max_categories", "4")], &features);
    check_batch_boundaries(&*model, &features, &labels);
}

#[test]
fn the_order_of_rows_matters() {
    let (features, labels) = reference_rows(0..2);
    let (mut forward, mut backward) = (model(&[], &features), model(&[], &features));
    for row in [0, 1] {
        forward.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
        backward.learn(&features.slice(1 - row, 1), &labels.slice(1 - row, 1)).unwrap();
    }
    assert_ne!(forward.snapshot().unwrap(), backward.snapshot().unwrap());
}

#[test]
fn scores_are_what_predict_said_before() {
    let (features, labels) = reference_rows(0..600);
    let mut model = model(&[("max_categories", "5")], &features);
    for start in [0, 300] {
        let (features, labels) = (features.slice(start, 300), labels.slice(start, 300));
        let before = model.predictions(&features).unwrap();
        assert_eq!(model.learn(&features, &labels).unwrap().said, before);
    }
}

#[test]
fn a_restored_model_goes_on_as_the_original() {
    let (features, labels) = reference_rows(0..400);
    for options in [
        [("optimizer", "adagrad"), ("max_categories", "4")],
        [("optimizer", "ftrl"), ("class_weights", "true:3,false:0.5")],
        [("optimizer", "sgd"), ("auto_class_weights", "true")],
        [("optimizer", "adam"), ("beta2", "0.99")],
    ] {
        check_goes_on_restored(model(&options, &features), &features, &labels, 100);
    }
}

#[test]
fn bad_rows_are_reported_and_leave_no_trace() {
    let features = batch(&[
        ("x", numbers(&[Some(1.0), Some(f64::NAN), Some(-1.0), Some(3.0), None, Some(1e51)])),
        ("y", numbers(&[Some(1.0), Some(1.0), Some(f64::NEG_INFINITY), Some(2.0), Some(5.0), Some(f64::NAN)])),
        ("c", texts(&[Some("a"), Some("bad"), Some("bad"), Some("bad"), None, Some("bad")])),
    ]);
    let labels = BooleanArray::from(vec![Some(true), Some(true), Some(true), None, Some(false), Some(false)]);
    let mut with_bad = model(&[], &features);
    let report = with_bad.learn(&features, &labels).unwrap();
    let rejected = |row, reason| RejectedRow { row, reason };
    assert_eq!(report.rows, 2);
    assert_eq!(
        report.rejected,
        [
            rejected(1, RejectReason::NotANumber { column: "x".into() }),
            rejected(2, RejectReason::TooLarge { column: "y".into() }),
            rejected(3, RejectReason::NullLabel),
            rejected(5, RejectReason::TooLarge { column: "x".into() }),
        ]
    );
    assert_eq!(report.rejected[0].reason.to_string(), "column 'x' is NaN");
    assert_eq!(report.rejected[1].reason.to_string(), "column 'y' is infinite or exceeds 1e50");

    let mut without = model(&[], &features);
    for row in [0, 4] {
        without.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
    }
    assert_eq!(with_bad.snapshot().unwrap(), without.snapshot().unwrap());

    // A NULL label says nothing about the features, so only three rows have no prediction.
    let is_null = |array: &Float64Array| (0..6).map(|row| array.is_null(row)).collect::<Vec<_>>();
    assert_eq!(is_null(&with_bad.predict(&features).unwrap()), [false, true, true, false, false, true]);
    assert_eq!(is_null(&report.said.scores()), [false, true, true, true, false, true]);
}

#[test]
fn an_unseen_category_and_a_missing_number_contribute_nothing() {
    let (features, labels) = reference_rows(0..200);
    let mut model = model(&[], &features);
    assert_eq!(predicted(&*model, &features.slice(0, 2)), [Some(0.5), Some(0.5)]);
    model.learn(&features, &labels).unwrap();

    // Text where a boolean was is still a category, and none of these was ever learnt.
    let row = |city: Option<&str>, a: Option<f64>| {
        let unseen = texts(&[Some("never seen")]);
        batch(&[("a", numbers(&[a])), ("b", numbers(&[None])), ("city", texts(&[city])), ("flag", unseen)])
    };
    let logit = |features: &RecordBatch| {
        let p = predicted(&*model, features)[0].unwrap();
        (p / (1.0 - p)).ln()
    };
    let intercept = logit(&row(Some("never seen"), None));
    let (city, a) = (logit(&row(Some("c2"), None)), logit(&row(Some("never seen"), Some(4.0))));
    assert!(city > intercept && a > intercept);
    assert!((logit(&row(Some("c2"), Some(4.0))) - (city + a - intercept)).abs() < 1e-12);
    // NULL was learnt as a city and has a weight of its own.
    assert_ne!(logit(&row(None, None)), intercept);
}

#[test]
fn every_text_type_and_column_order_reads_the_same() {
    let values = [Some("a"), None, Some("a category too long for an inlined view"), Some("a")];
    let labels = BooleanArray::from(vec![true, false, true, false]);
    let mut snapshots = Vec::new();
    for array in [
        Arc::new(StringArray::from(values.to_vec())) as ArrayRef,
        Arc::new(LargeStringArray::from(values.to_vec())),
        Arc::new(StringViewArray::from(values.to_vec())),
    ] {
        let x = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 5.0]));
        let declared = batch(&[("c", texts(&values)), ("x", numbers(&[None; 4]))]);
        let mut model = model(&[], &declared);
        let given = batch(&[("extra", Arc::new(Date32Array::from(vec![1; 4]))), ("x", x), ("c", array)]);
        model.learn(&given, &labels).unwrap();
        snapshots.push(model.snapshot().unwrap());
    }
    assert!(snapshots.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn an_empty_batch_changes_nothing() {
    let (features, labels) = reference_rows(0..10);
    let mut model = model(&[], &features);
    let before = model.snapshot().unwrap();
    let report = model.learn(&features.slice(0, 0), &labels.slice(0, 0)).unwrap();
    assert_eq!((report.rows, report.rejected.len(), report.said.labels.len()), (0, 0, 0));
    assert_eq!(model.predict(&features.slice(0, 0)).unwrap().len(), 0);
    assert_eq!(model.snapshot().unwrap(), before);
}

#[test]
fn a_merge_weighs_models_by_their_rows() {
    // Gradient descent from 0 with step 1 on x = 1: one positive row gives the logit 0.5 + 0.5.
    let row = |category: &str| batch(&[("c", texts(&[Some(category)]))]);
    let options = [("optimizer", "sgd"), ("learning_rate", "1")];
    let trained = |category: &str, labels: &[bool]| {
        let mut model = model(&options, &row("a"));
        for &label in labels {
            model.learn(&row(category), &BooleanArray::from(vec![label])).unwrap();
        }
        model
    };
    let logit = |model: &dyn OnlineSupervised, category: &str| {
        let p = predicted(model, &row(category))[0].unwrap();
        (p / (1.0 - p)).ln()
    };
    let (mut one, three) = (trained("a", &[true]), trained("b", &[false, false, false]));
    let (intercept_of_three, b) = (logit(&*three, "none"), logit(&*three, "b") - logit(&*three, "none"));
    one.merge(&[&three.snapshot().unwrap()]).unwrap();

    assert_eq!(one.class_rows(), [3, 1]);
    let intercept = (0.5 + 3.0 * intercept_of_three) / 4.0;
    assert!((logit(&*one, "none") - intercept).abs() < 1e-12);
    // Each category was seen by one model only, and the other abstains.
    assert!((logit(&*one, "a") - intercept - 0.5).abs() < 1e-12);
    assert!((logit(&*one, "b") - intercept - b).abs() < 1e-12);
}

#[test]
fn a_merged_model_predicts_well_and_goes_on_learning() {
    for optimizer in ["adagrad", "ftrl", "sgd", "adam"] {
        let (features, labels) = reference_rows(0..3000);
        let mut parts: Vec<_> = (0..3).map(|_| model(&[("optimizer", optimizer)], &features)).collect();
        for (part, start) in parts.iter_mut().zip([0, 1000, 2000]) {
            part.learn(&features.slice(start, 1000), &labels.slice(start, 1000)).unwrap();
        }
        let snapshots: Vec<_> = parts[1..].iter().map(|part| part.snapshot().unwrap()).collect();
        let snapshots: Vec<_> = snapshots.iter().map(Vec::as_slice).collect();
        let mut merged = parts.swap_remove(0);
        merged.merge(&snapshots).unwrap();
        assert_eq!(merged.rows_learnt(), 3000);

        let mut merged = restore_learning(&merged.snapshot().unwrap()).unwrap();
        merged.learn(&features, &labels).unwrap();
        let labels: Vec<bool> = labels.iter().flatten().collect();
        assert!(metrics::auc(merged.predict(&features).unwrap().values(), &labels).unwrap() > 0.95);
    }
}

#[test]
fn merging_a_model_with_its_copy_keeps_its_predictions() {
    let (features, labels) = reference_rows(0..200);
    let mut model = model(&[("optimizer", "ftrl"), ("l1", "1")], &features);
    model.learn(&features, &labels).unwrap();
    let before: Vec<f64> = model.predict(&features).unwrap().values().to_vec();
    model.merge(&[&model.snapshot().unwrap()]).unwrap();
    assert_close(&predicted(&*model, &features), &before, 1e-12);
}

#[test]
fn merge_refuses_other_models_and_then_is_unchanged() {
    let (features, labels) = reference_rows(0..50);
    let mut own = model(&[], &features);
    own.learn(&features, &labels).unwrap();
    let before = own.snapshot().unwrap();
    let good = model(&[], &features).snapshot().unwrap();
    let other_options = model(&[("l2", "0.5")], &features).snapshot().unwrap();
    let other_features = model(&[], &features.project(&[0, 2]).unwrap()).snapshot().unwrap();
    check_error(
        own.merge(&[&good, &other_options]),
        expect!["cannot merge models that differ in options; merge only copies of one model"],
    );
    check_error(
        own.merge(&[&other_features]),
        expect!["cannot merge models that differ in features; merge only copies of one model"],
    );
    check_error(own.merge(&[&good[..9]]), expect!["model state is corrupt: it does not decode"]);
    assert_eq!(own.snapshot().unwrap(), before);
    own.merge(&[]).unwrap();
    own.merge(&[&good]).unwrap();
    assert_eq!(own.rows_learnt(), 50);
}

#[test]
fn options_say_what_would_work() {
    let features = batch(&[("c", texts(&[]))]);
    let error = |options: &[(&str, &str)]| try_model(options, &features);
    check_error(
        create(
            "random_forest",
            &BTreeMap::new(),
            &FeatureSchema::from_arrow(&features.schema()).unwrap(),
            &DataType::Boolean,
        ),
        expect![
            "unknown model type 'random_forest'; valid types are logistic_reg, linear_reg, hoeffding_tree_classifier, hoeffding_adaptive_tree_classifier, adaptive_random_forest_classifier, hoeffding_tree_regressor, half_space_trees, kmeans, contextual_bandit, q_learning"
        ],
    );
    check_error(
        error(&[("rate", "1")]),
        expect![
            "model type 'logistic_reg' has no option 'rate'; valid options are optimizer, learning_rate, l1, l2, initial_accumulator, eps, beta, beta1, beta2, standardize, clip, max_categories, auto_class_weights, class_weights"
        ],
    );
    check_error(
        error(&[("optimizer", "newton")]),
        expect!["option optimizer = 'newton' is not valid; expected adagrad, ftrl, sgd, adam"],
    );
    check_error(
        error(&[("learning_rate", "fast")]),
        expect!["option learning_rate = 'fast' is not valid; expected a number"],
    );
    check_error(
        error(&[("learning_rate", "NaN")]),
        expect!["option learning_rate = 'NaN' is not valid; expected a number from 0.000000001 to 1000"],
    );
    check_error(
        error(&[("beta", "1")]),
        expect!["option beta = '1' is not valid; expected optimizer = 'ftrl' beside it"],
    );
    check_error(
        error(&[("optimizer", "sgd"), ("l2", "20")]),
        expect!["option l2 = '20' is not valid; expected at most 1 / learning_rate with optimizer 'sgd'"],
    );
    let many: Vec<String> = (0..500).map(|feature| format!("c{feature}")).collect();
    let wide = batch(&many.iter().map(|name| (name.as_str(), texts(&[]))).collect::<Vec<_>>());
    check_error(
        try_model(&[("max_categories", "10000000")], &wide),
        expect![
            "option max_categories = '10000000' is not valid; expected less than 8589934 for 500 categorical features"
        ],
    );
}

#[test]
fn documented_defaults_are_valid_options_and_change_nothing() {
    let (features, _) = reference_rows(0..1);
    for model_type in valid_model_types() {
        // Two numbers, as some models read no categories, or of a table's states two categories.
        let columns = if model_type == "q_learning" { [2, 3] } else { [0, 1] };
        let schema = FeatureSchema::from_arrow(&features.schema().project(&columns).unwrap()).unwrap();
        let label = match model_type {
            "linear_reg" | "hoeffding_tree_regressor" | "contextual_bandit" | "q_learning" => DataType::Float64,
            _ if learns_label(model_type).unwrap() => DataType::Boolean,
            _ => DataType::Null,
        };
        let plain = create(model_type, &BTreeMap::new(), &schema, &label).unwrap();
        for doc in option_docs(model_type).unwrap() {
            let options = BTreeMap::from([(doc.name.to_owned(), doc.default)]);
            match create(model_type, &options, &schema, &label) {
                Ok(explicit) => assert_eq!(explicit.snapshot().unwrap(), plain.snapshot().unwrap(), "{}", doc.name),
                // It is another optimizer's, or another loss's.
                Err(error) => assert!(error.to_string().ends_with("beside it"), "{error}"),
            }
        }
    }
    check_error(
        option_docs("none"),
        expect![
            "unknown model type 'none'; valid types are logistic_reg, linear_reg, hoeffding_tree_classifier, hoeffding_adaptive_tree_classifier, adaptive_random_forest_classifier, hoeffding_tree_regressor, half_space_trees, kmeans, contextual_bandit, q_learning"
        ],
    );
}

#[test]
fn a_batch_of_the_wrong_shape_is_an_error_and_changes_nothing() {
    let (features, labels) = reference_rows(0..10);
    let mut model = model(&[], &features);
    let before = model.snapshot().unwrap();
    check_error(
        model.learn(&features.project(&[0, 1]).unwrap(), &labels),
        expect!["feature column 'city' is missing; the batch has a, b"],
    );
    let changed = batch(&[("a", Arc::clone(features.column(2)))]);
    check_error(
        model.predict(&changed),
        expect!["feature column 'a' was numeric when the model was made but has type Utf8 now"],
    );
    check_error(model.learn(&features, &labels.slice(0, 9)), expect!["the batch has 10 rows but 9 labels"]);
    assert_eq!(model.snapshot().unwrap(), before);
}

#[test]
fn schemas_that_cannot_be_learnt_are_refused() {
    let dates = batch(&[("day", Arc::new(Date32Array::from(vec![1])))]);
    check_error(
        FeatureSchema::from_arrow(&dates.schema()),
        expect!["feature column 'day' has the unsupported type Date32; cast it to DOUBLE PRECISION or VARCHAR"],
    );
    check_error(FeatureSchema::new(Vec::new()), expect!["a model needs at least one feature column"]);
    let twice = batch(&[("x", numbers(&[])), ("x", numbers(&[]))]);
    check_error(
        FeatureSchema::from_arrow(&twice.schema()),
        expect!["feature column 'x' appears twice; give each feature its own alias"],
    );
    check_error(
        crate::boolean_labels("late", dates.column(0)),
        expect![
            "label column 'late' has the unsupported type Date32; write a condition that is true for positive rows, such as label = 'yes' or label <> 0"
        ],
    );
    let labels = BooleanArray::from(vec![true]);
    assert_eq!(crate::boolean_labels("late", &labels).unwrap(), &labels);
}

#[test]
fn labels_of_another_type_are_refused_and_change_nothing() {
    let (features, _) = reference_rows(0..10);
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let hint = "write a condition that is true for positive rows, such as label = 'yes' or label <> 0";
    let check = |result: Result<()>| {
        let message = format!("label column 'label' has the unsupported type Utf8; {hint}");
        assert_eq!(result.unwrap_err().to_string(), message);
    };
    check(create("logistic_reg", &BTreeMap::new(), &schema, &DataType::Utf8).map(drop));
    let mut model = model(&[], &features);
    check(model.learn(&features, &texts(&[Some("yes"); 10])).map(drop));
    assert_eq!(model.rows_learnt(), 0);
}

#[test]
fn one_class_is_an_error_only_when_asked() {
    let both = ClassCounts { negative: 2, positive: 1 };
    assert!(both.require_both().is_ok() && ClassCounts::default().require_both().is_ok());
    let (features, _) = reference_rows(0..7);
    let mut model = model(&[], &features);
    model.learn(&features, &BooleanArray::from(vec![false; 7])).unwrap();
    check_error(
        model.require_classes(),
        expect!["all 7 rows learnt have the label false; a classifier needs rows of both classes"],
    );
}

fn some_snapshot(optimizer: &str) -> Vec<u8> {
    let (features, labels) = reference_rows(0..60);
    let weights = if optimizer == "sgd" { "true:2" } else { "true:1" };
    let options = [("optimizer", optimizer), ("max_categories", "4"), ("class_weights", weights)];
    let mut model = model(&options, &features);
    model.learn(&features, &labels).unwrap();
    model.snapshot().unwrap()
}

#[test]
fn a_snapshot_must_be_whole_and_of_this_version() {
    let mut bytes = some_snapshot("adagrad");
    assert!((0..bytes.len()).all(|end| restore_learning(&bytes[..end]).is_err()));
    bytes.push(0);
    check_error(restore_learning(&bytes), expect!["model state is corrupt: bytes are left over at its end"]);
    bytes[1] = 99;
    check_error(restore_learning(&bytes), expect!["model state is corrupt: its model tag is unknown"]);
    check_error(
        LogisticRegression::restore(&bytes),
        expect!["model state is corrupt: its model tag is not that of a logistic regression"],
    );
    bytes[0] = 2;
    check_error(restore_learning(&bytes), expect!["model state has version 2, but this build reads version 1"]);
    check_error(restore_learning(&[]), expect!["model state is corrupt: it ends within its header"]);
    let oversize = vec![0; (256 << 20) + 1];
    assert!(matches!(restore_learning(&oversize), Err(MlError::StateTooLarge { .. })));
}

/// Whatever restores must also work: predict, learn, merge and snapshot without a panic or a NaN.
fn exercise(mut model: Box<dyn OnlineSupervised>) {
    let (features, labels) = reference_rows(0..20);
    if let Ok(predictions) = model.predict(&features) {
        assert!(predictions.iter().flatten().all(|p| (0.0..=1.0).contains(&p)));
        model.learn(&features, &labels).unwrap();
    }
    let snapshot = model.snapshot().unwrap();
    model.merge(&[&snapshot]).unwrap();
}

proptest! {
    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        optimizer in prop::sample::select(vec!["adagrad", "ftrl", "sgd", "adam"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = some_snapshot(optimizer);
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(model) = restore_learning(&bytes) {
            exercise(model);
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = restore_learning(&bytes);
        if let [version, tag, ..] = bytes.as_mut_slice() {
            (*version, *tag) = (1, 1);
        }
        let _ = restore_learning(&bytes);
    }
}
