//! scikit-learn's coefficients, one model whatever the batches and threads, going on online, and bad input.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{BooleanArray, Float64Array, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::DataType;
use expect_test::expect;
use proptest::prelude::*;

use super::super::LogisticRegression;
use super::super::tests::{batch, check_error, numbers, texts};
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::registry::testing::restore_learning;
use crate::{
    BatchModel, ClassCounts, FeatureSchema, FitControl, FitReport, MlError, RejectReason, RejectedRow, Result,
    batch_option_docs, create_batch, metrics,
};

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch("logistic_reg", &options, &FeatureSchema::from_arrow(&features.schema())?, &DataType::Boolean)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch, labels: &BooleanArray) -> Result<FitReport> {
    let mut model = try_model(options, features)?;
    model.add(features, labels)?;
    model.fit()
}

fn fit(options: &[(&str, &str)], features: &RecordBatch, labels: &BooleanArray) -> FitReport {
    try_fit(options, features, labels).unwrap()
}

/// The intercept, then the numbers' weights, then the categories'.
fn weights(report: &FitReport) -> Vec<f64> {
    LogisticRegression::restore(&report.model).unwrap().log_odds.weights().to_vec()
}

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(known, _)| known == name).unwrap().1
}

fn cancer() -> (RecordBatch, BooleanArray) {
    let (features, labels) = data_set("breast_cancer");
    (features, labels.iter().map(|label| Some(*label == 1.0)).collect())
}

/// Fits and compares the weights and metrics with scikit-learn's.
#[track_caller]
fn check_golden(case: &str, options: &[(&str, &str)], (features, labels): &(RecordBatch, BooleanArray)) {
    let report = fit(options, features, labels);
    assert!(report.converged, "{case} did not converge in {} steps", report.iterations);
    assert_all_close(&weights(&report), &expected(case, "coefficients"), 1e-4);
    for name in ["roc_auc", "log_loss", "accuracy"] {
        assert_all_close(&[metric(&report, name)], &expected(case, name), 1e-6);
    }
}

#[test]
fn coefficients_equal_scikit_learn() {
    check_golden("cancer", &[], &cancer());
    check_golden("cancer_weak", &[("l2_reg", "0.01"), ("tolerance", "1e-9"), ("max_iterations", "3000")], &cancer());
    check_golden("cancer_balanced", &[("auto_class_weights", "true")], &cancer());
    check_golden("cancer_weighted", &[("class_weights", "false:5")], &cancer());
}

#[test]
fn coefficients_under_an_l1_penalty_equal_scikit_learn() {
    check_golden("cancer_l1", &[("l1_reg", "5"), ("l2_reg", "0")], &cancer());
    check_golden("cancer_elastic", &[("l1_reg", "1.2"), ("l2_reg", "0.8")], &cancer());
    let zeros = weights(&fit(&[("l1_reg", "5"), ("l2_reg", "0")], &cancer().0, &cancer().1));
    assert_eq!(
        zeros.iter().filter(|weight| **weight == 0.0).count(),
        expected("cancer_l1", "coefficients").iter().filter(|weight| **weight == 0.0).count()
    );
}

#[test]
fn coefficients_of_raw_numbers_equal_scikit_learn() {
    let (features, labels) = data_set("iris");
    let labels: BooleanArray = labels.iter().map(|label| Some(*label == 1.0)).collect();
    check_golden("iris_versicolor_raw", &[("standardize_features", "false")], &(features, labels));
}

#[test]
fn categories_equal_scikit_learns_one_hot() {
    check_golden("mixed", &[], &reference_rows(0..400));
}

#[test]
fn a_model_predicts_rows_that_it_was_not_fitted_to() {
    let (features, labels) = cancer();
    let fold = |test: bool| {
        let rows = UInt64Array::from_iter_values((0..569).filter(|row| (row % 5 == 0) == test));
        let labels: BooleanArray = rows.values().iter().map(|row| Some(labels.value(*row as usize))).collect();
        (take_record_batch(&features, &rows).unwrap(), labels)
    };
    let ((train, train_labels), (test, test_labels)) = (fold(false), fold(true));
    let report = fit(&[], &train, &train_labels);
    let weights = weights(&report);
    let norm = weights[1..].iter().map(|weight| weight * weight).sum::<f64>().sqrt();
    assert_all_close(&[norm, weights[0]], &[3.739_143, 0.242_896], 1e-4);
    let scores = restore_learning(&report.model).unwrap().predict(&test).unwrap();
    let labels: Vec<bool> = test_labels.iter().flatten().collect();
    for (name, value) in
        [("roc_auc", metrics::auc(scores.values(), &labels)), ("log_loss", metrics::log_loss(scores.values(), &labels))]
    {
        assert_all_close(&[value.unwrap()], &expected("cancer_fold", name), 1e-6);
    }
}

#[test]
fn rare_categories_and_dependent_numbers_take_few_steps() {
    // A thousand rows of one category and three of each of a hundred others; two numbers that are nearly the same.
    let rows = 1300;
    let category = |row: i32| if row < 1000 { "common".to_owned() } else { format!("rare {}", row % 100) };
    let number = |row: i32| f64::from(row * 37 % 101) / 10.0;
    let names: Vec<String> = (0..rows).map(category).collect();
    let features = batch(&[
        ("a", numbers(&(0..rows).map(|row| Some(number(row))).collect::<Vec<_>>())),
        ("b", numbers(&(0..rows).map(|row| Some(number(row) + f64::from(row % 2) * 1e-3)).collect::<Vec<_>>())),
        ("c", texts(&names.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>())),
    ]);
    let labels: BooleanArray = (0..rows).map(|row| Some(number(row) + f64::from(row * 29 % 17) / 3.0 > 8.0)).collect();
    let report = fit(&[("l2_reg", "0.01")], &features, &labels);
    assert!(report.converged && report.iterations < 40, "{} steps", report.iterations);
}

#[test]
fn a_search_that_knows_less_of_its_loss_finds_the_same() {
    // Of 140 features it knows how curved the loss is along each alone, of the first 120 all of it.
    let noise = |row: usize, column: usize| ((row * 131 + column * 17) as f64 * 0.618_033_988_749).fract() - 0.5;
    let columns: Vec<(String, arrow::array::ArrayRef)> = (0..140)
        .map(|column| {
            let number = |row: usize| Some(if column < 120 { noise(row * row, column * column + 1) } else { 7.0 });
            (format!("x{column}"), numbers(&(0..400).map(number).collect::<Vec<_>>()))
        })
        .collect();
    let all = RecordBatch::try_from_iter(columns.clone()).unwrap();
    let first = RecordBatch::try_from_iter(columns.into_iter().take(120)).unwrap();
    let labels: BooleanArray = (0..400).map(|row| Some(noise(row * row, 5) + noise(row, 3) > 0.0)).collect();
    let (some, known) = (fit(&[], &all, &labels), fit(&[], &first, &labels));
    assert!(some.converged && known.converged);
    assert_all_close(&weights(&some)[..121], &weights(&known), 1e-4);
    assert_eq!(&weights(&some)[121..], [0.0; 20]);
}

#[test]
fn the_loss_is_the_mean_with_its_penalty() {
    let (features, labels) = cancer();
    let report = fit(&[("l1_reg", "2"), ("l2_reg", "3")], &features, &labels);
    let (penalized, rows) = (&weights(&report)[1..], 569.0);
    let l1: f64 = penalized.iter().map(|weight| weight.abs()).sum();
    let l2: f64 = penalized.iter().map(|weight| weight * weight).sum();
    let by_hand = metric(&report, "log_loss") + (2.0 * l1 + 1.5 * l2) / rows;
    assert_all_close(&[report.loss], &[by_hand], 1e-12);
    assert_eq!(report.rows, 569);
}

#[test]
fn metrics_are_those_of_the_restored_model() {
    let (features, labels) = reference_rows(0..300);
    let report = fit(&[], &features, &labels);
    let scores = restore_learning(&report.model).unwrap().predict(&features).unwrap();
    let labels: Vec<bool> = labels.iter().flatten().collect();
    assert_all_close(&[metric(&report, "roc_auc")], &[metrics::auc(scores.values(), &labels).unwrap()], 1e-12);
    assert_all_close(&[metric(&report, "log_loss")], &[metrics::log_loss(scores.values(), &labels).unwrap()], 1e-12);
}

#[test]
fn a_fitted_model_goes_on_learning_online() {
    let (features, labels) = reference_rows(0..2000);
    let report = fit(&[], &features.slice(0, 1500), &labels.slice(0, 1500));
    let mut model = restore_learning(&report.model).unwrap();
    assert_eq!((model.model_type(), model.rows_learnt()), ("logistic_reg", 1500));
    let before = weights(&report);
    model.learn(&features.slice(1500, 500), &labels.slice(1500, 500)).unwrap();
    let after = LogisticRegression::restore(&model.snapshot().unwrap()).unwrap().log_odds.weights().to_vec();
    let moved = before.iter().zip(&after).map(|(before, after)| (before - after).abs()).fold(0.0, f64::max);
    assert!(moved > 0.0 && moved < 0.5, "{moved}");
}

#[test]
fn balanced_weights_are_those_of_equal_classes() {
    let (features, labels) = reference_rows(0..300);
    let classes = labels.iter().flatten().fold(ClassCounts::default(), |mut classes, label| {
        classes.count(label);
        classes
    });
    let [negative, positive] = [classes.negative, classes.positive].map(|rows| 150.0 / rows as f64);
    let by_hand = format!("true:{positive}, false:{negative}");
    let (by_hand, auto) = (
        fit(&[("class_weights", &by_hand)], &features, &labels),
        fit(&[("auto_class_weights", "true")], &features, &labels),
    );
    assert_all_close(&weights(&by_hand), &weights(&auto), 1e-9);
}

#[test]
fn separable_rows_without_a_penalty_end() {
    let features = batch(&[("x", numbers(&[Some(1.0), Some(2.0), Some(3.0), Some(4.0)]))]);
    let labels = BooleanArray::from(vec![false, false, true, true]);
    let report = fit(&[("l2_reg", "0")], &features, &labels);
    assert!(metric(&report, "log_loss") < 1e-4 && report.iterations <= 300);
    assert_eq!(metric(&report, "accuracy"), 1.0);
}

#[test]
fn more_features_than_rows_and_constant_ones_are_fine() {
    let columns: Vec<_> = (0..20)
        .map(|column| {
            let values: Vec<_> = (0..5).map(|row| Some(f64::from((column * 7 + row * row * 3) % 11))).collect();
            (format!("x{column}"), numbers(&values))
        })
        .collect();
    let mut columns: Vec<_> = columns.iter().map(|(name, values)| (name.as_str(), Arc::clone(values))).collect();
    columns.push(("constant", numbers(&[Some(0.1); 5])));
    columns.push(("missing", numbers(&[None; 5])));
    let features = batch(&columns);
    let report = fit(&[], &features, &BooleanArray::from(vec![true, false, false, true, true]));
    assert!(report.converged && report.loss.is_finite());
    // Neither the constant nor the missing number says anything.
    assert_eq!(&weights(&report)[21..], [0.0, 0.0]);
}

#[test]
fn bad_rows_are_reported_and_left_out() {
    let features = batch(&[
        ("x", numbers(&[Some(1.0), Some(f64::NAN), Some(-1.0), Some(f64::INFINITY), None, Some(2.0)])),
        ("c", texts(&[Some("a"), Some("bad"), Some("b"), Some("bad"), None, Some("bad")])),
    ]);
    let labels = BooleanArray::from(vec![Some(true), Some(true), Some(false), Some(false), Some(true), None]);
    let mut with_bad = try_model(&[], &features).unwrap();
    let rejected = |row, reason| RejectedRow { row, reason };
    assert_eq!(
        with_bad.add(&features, &labels).unwrap(),
        [
            rejected(1, RejectReason::NotANumber { column: "x".into() }),
            rejected(3, RejectReason::TooLarge { column: "x".into() }),
            rejected(5, RejectReason::NullLabel),
        ]
    );
    assert_eq!(with_bad.rows(), 3);
    let mut without = try_model(&[], &features).unwrap();
    for row in [0, 2, 4] {
        without.add(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
    }
    assert_eq!(with_bad.fit().unwrap(), without.fit().unwrap());
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, labels) = reference_rows(0..30);
    let positive = BooleanArray::from(vec![true; 30]);
    check_error(
        try_fit(&[], &features.slice(0, 0), &labels.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(&[], &features, &positive),
        expect!["all 30 rows learnt have the label true; a classifier needs rows of both classes"],
    );
    check_error(try_fit(&[], &features, &labels.slice(0, 3)), expect!["the batch has 30 rows but 3 labels"]);
    check_error(
        try_fit(&[("class_weights", "late:3")], &features, &labels),
        expect!["option class_weights = 'late' is not valid; expected classes of the label: false, true"],
    );
    check_error(
        try_fit(&[("class_weights", "true=3")], &features, &labels),
        expect![
            "option class_weights = 'true=3' is not valid; expected class:weight pairs, such as 'true:10, false:1'"
        ],
    );
    check_error(
        try_fit(&[("class_weights", "true:3"), ("auto_class_weights", "true")], &features, &labels),
        expect!["option class_weights = 'true:3' is not valid; expected auto_class_weights = 'false' beside it"],
    );
    check_error(
        try_fit(&[("l2_reg", "-1")], &features, &labels),
        expect!["option l2_reg = '-1' is not valid; expected a number from 0 to 1000000000000"],
    );
    check_error(
        try_fit(&[("optimizer", "sgd")], &features, &labels),
        expect![
            "model type 'logistic_reg' has no option 'optimizer'; valid options are l1_reg, l2_reg, max_iterations, tolerance, min_rel_progress, standardize_features, auto_class_weights, class_weights, max_categories"
        ],
    );
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    check_error(
        create_batch("boosted_tree", &BTreeMap::new(), &schema, &DataType::Boolean),
        expect![
            "unknown model type 'boosted_tree'; valid types are logistic_reg, linear_reg, linear_svm, linear_svr, naive_bayes, boosted_tree_classifier, boosted_tree_regressor, boosted_tree_ranker, knn_classifier, knn_regressor, pca, truncated_svd, isolation_forest, one_class_svm, robust_zscore, matrix_factorization, kmeans, gaussian_mixture, dbscan, decision_tree_classifier, decision_tree_regressor, random_forest_classifier, random_forest_regressor, arima, exponential_smoothing, auto_classifier, auto_regressor, rules"
        ],
    );
    check_error(
        create_batch("logistic_reg", &BTreeMap::new(), &schema, &DataType::Date32),
        expect![
            "label column 'label' has the unsupported type Date32; a class is a BOOLEAN, a VARCHAR or a whole number; cast it to one of these"
        ],
    );

    let mut model = try_model(&[], &features).unwrap();
    check_error(
        model.add(&features, &Float64Array::from(vec![1.0; 30])),
        expect![
            "label column 'label' has the unsupported type Float64; write a condition that is true for positive rows, such as label = 'yes' or label <> 0"
        ],
    );
    model.add(&features, &labels).unwrap();
    let first = model.fit().unwrap();
    check_error(model.add(&features, &labels), expect!["the model is fitted already; make a new one for more rows"]);
    assert_eq!(model.fit().unwrap(), first);
}

#[test]
fn a_fit_can_be_stopped() {
    let (features, labels) = reference_rows(0..30);
    let mut model = try_model(&[], &features).unwrap();
    model.add(&features, &labels).unwrap();
    let control = |stopped| FitControl { stop: Arc::new(AtomicBool::new(stopped)), ..FitControl::default() };
    model.set_control(control(true));
    assert!(matches!(model.fit(), Err(MlError::Stopped)));
    model.set_control(control(false));
    assert_eq!(model.fit().unwrap(), fit(&[], &features, &labels));
}

#[test]
fn documented_defaults_are_valid_options_and_change_nothing() {
    let (features, labels) = reference_rows(0..50);
    let plain = fit(&[], &features, &labels);
    for doc in batch_option_docs("logistic_reg").unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features, &labels), plain, "{}", doc.name);
    }
}

#[test]
fn memory_is_said_and_grows_with_the_rows() {
    let (features, labels) = reference_rows(0..2000);
    let mut model = try_model(&[], &features).unwrap();
    assert_eq!(model.bytes(), 0);
    model.add(&features, &labels).unwrap();
    let bytes = model.bytes();
    // Two numbers, two categories and a label.
    assert!((2000 * 32..3 * 2000 * 32).contains(&bytes), "{bytes}");
    model.add(&features, &labels).unwrap();
    assert!(model.bytes() > bytes);
}

fn fit_in_parts(rows: usize, cuts: &[usize], threads: usize, options: &[(&str, &str)]) -> FitReport {
    let (features, labels) = reference_rows(0..rows);
    let mut model = try_model(options, &features).unwrap();
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % rows).chain([0, rows]).collect();
    cuts.sort_unstable();
    for part in cuts.windows(2) {
        let length = part[1] - part[0];
        model.add(&features.slice(part[0], length), &labels.slice(part[0], length)).unwrap();
    }
    model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
    model.fit().unwrap()
}

#[test]
fn threads_do_not_change_a_bit() {
    // Enough rows for threads to be used at all.
    let alone = fit_in_parts(40_000, &[], 1, &[("max_categories", "5")]);
    for threads in [2, 4, 100] {
        assert_eq!(fit_in_parts(40_000, &[17, 20_000], threads, &[("max_categories", "5")]), alone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn batches_do_not_change_a_bit(cuts in prop::collection::vec(any::<usize>(), 0..8), l1 in 0..2usize) {
        let options = [("l1_reg", ["0", "1.5"][l1])];
        prop_assert_eq!(fit_in_parts(3000, &cuts, 1, &options), fit_in_parts(3000, &[], 1, &options));
    }

    #[test]
    fn the_order_of_rows_changes_nothing_but_rounding(seed in 1..1000u64) {
        let (features, labels) = reference_rows(0..500);
        let mut order: Vec<u64> = (0..500).collect();
        order.sort_by_key(|row| (row + 1).wrapping_mul(seed * 2 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20);
        let shuffled: BooleanArray = order.iter().map(|row| Some(labels.value(*row as usize))).collect();
        let rows = take_record_batch(&features, &UInt64Array::from(order)).unwrap();
        let (plain, other) = (fit(&[], &features, &labels), fit(&[], &rows, &shuffled));
        prop_assert!((plain.loss - other.loss).abs() < 1e-9);
        let predicted = |report: &FitReport| restore_learning(&report.model).unwrap().predict(&features).unwrap();
        assert_all_close(predicted(&other).values(), predicted(&plain).values(), 1e-4);
    }

    #[test]
    fn units_do_not_matter_where_numbers_are_standardised(factor in -1e6..1e6f64, offset in -1e3..1e3f64) {
        prop_assume!(factor.abs() > 1e-3);
        let (features, labels) = reference_rows(0..300);
        let a: Vec<_> = (0..300).map(|i| Some((f64::from(i * 37 % 101) / 10.0 - 5.0) * factor + offset)).collect();
        let mut columns = features.columns().to_vec();
        columns[0] = numbers(&a);
        let other_units = RecordBatch::try_new(features.schema(), columns).unwrap();
        let (plain, other) = (fit(&[], &features, &labels), fit(&[], &other_units, &labels));
        let mut weights = weights(&other);
        weights[1] *= factor.signum();
        assert_all_close(&weights, &self::weights(&plain), 1e-5);
    }
}
