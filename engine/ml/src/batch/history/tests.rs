//! The libraries' losses step by step (`goldens/training_info.py`), and fits that are cut off after each step.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, NullArray, RecordBatch, StringArray};

use super::*;
use crate::batch::{FitControl, FitReport, create_batch};
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::model::FeatureSchema;

fn history(losses: impl IntoIterator<Item = f64>) -> History {
    let mut history = History::default();
    losses.into_iter().for_each(|loss| history.push(loss));
    history
}

fn losses(iterations: &[Iteration]) -> Vec<f64> {
    iterations.iter().map(|iteration| iteration.loss).collect()
}

#[test]
fn the_last_step_is_that_of_the_fit() {
    assert_eq!(losses(&history([]).ending_with(5.0)), [5.0]);
    assert_eq!(losses(&history([7.0]).ending_with(5.0)), [5.0]);
    assert_eq!(losses(&history([9.0, 7.0, 6.0]).ending_with(5.0)), [9.0, 7.0, 5.0]);
    assert_eq!(losses(&history([9.0, 7.0]).scaled(2.0).into_iterations(0.0)), [18.0, 14.0]);
}

#[test]
fn many_steps_are_thinned_evenly() {
    for (steps, stride) in [(9_999, 1), (10_000, 2), (19_998, 2), (19_999, 4), (1_000_003, 128)] {
        let kept = history((0..steps).map(|step| step as f64)).into_iterations(0.0);
        let mut expected: Vec<u64> = (0..steps).step_by(stride).collect();
        if expected.last() != Some(&(steps - 1)) {
            expected.push(steps - 1);
        }
        assert_eq!(kept.iter().map(|iteration| iteration.number).collect::<Vec<_>>(), expected);
        assert!(kept.iter().all(|iteration| iteration.loss == iteration.number as f64));
        assert!(kept.len() <= STEPS_MAX);
    }
}

#[test]
fn of_many_rows_some_steps_are_measured() {
    for (rows, numbers) in
        [(131_071, vec![0, 1, 2, 3, 4]), (131_072, vec![0, 2, 4]), (300_000, vec![0, 4]), (1_000_000, vec![0, 4])]
    {
        let mut history = History::of_rows(rows);
        for round in 0..5 {
            match history.is_due() {
                true => history.push_round(f64::from(round), None, 0.1),
                false => history.pass(),
            }
        }
        if history.lacks_last() {
            history.push_last(4.0, None, 0.1);
        }
        let kept = history.into_iterations(0.0);
        assert_eq!(kept.iter().map(|iteration| iteration.number).collect::<Vec<_>>(), numbers, "{rows} rows");
        assert!(kept.iter().all(|iteration| iteration.loss == iteration.number as f64));
    }
}

#[test]
fn searches_side_by_side_stay_at_their_ends() {
    let sum = History::sum(&[(history([4.0, 2.0, 1.0]), 1.0), (history([30.0]), 20.0), (history([]), 100.0)]);
    assert_eq!(losses(&sum.ending_with(121.0)), [134.0, 122.0, 121.0]);
    assert_eq!(losses(&History::sum(&[]).ending_with(3.0)), [3.0]);
    // Of a long one and a short one the steps of the long one.
    let long = history((0..30_001).map(|step| -f64::from(step)));
    let kept = History::sum(&[(history([1.0; 5]), 0.5), (long, -30_000.0)]).ending_with(-29_999.5);
    assert_eq!((kept[1].number, kept[1].loss, kept[2].loss), (4, -3.0, -7.5));
    assert_eq!(kept.last().map(|last| (last.number, last.loss)), Some((30_000, -29_999.5)));
}

type Options<'a> = &'a [(&'a str, &'a str)];

fn fit_with(
    model_type: &str,
    options: Options<'_>,
    features: &RecordBatch,
    labels: &dyn Array,
    threads: usize,
) -> FitReport {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let mut model = create_batch(model_type, &options, &schema, labels.data_type()).unwrap();
    model.add(features, labels).unwrap();
    model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
    model.fit().unwrap()
}

fn fit(model_type: &str, options: Options<'_>, features: &RecordBatch, labels: &dyn Array) -> FitReport {
    fit_with(model_type, options, features, labels, 1)
}

/// Three numbers of few values each, and a noisy sum: Python makes the same ones.
fn few_values(rows: usize) -> (RecordBatch, Vec<f64>) {
    let x = |i: usize| [i * 37 % 23, i * 53 % 19, i * i % 29].map(|value| value as f64);
    let columns = (0..3).map(|column| {
        let values = Float64Array::from_iter_values((0..rows).map(|i| x(i)[column]));
        (format!("x{column}"), Arc::new(values) as ArrayRef)
    });
    let features = RecordBatch::try_from_iter(columns).unwrap();
    let label = |i: usize| {
        let [a, b, c] = x(i);
        a * 0.5 - b * 0.25 + c * a * 0.0625 + (i * i * 7 % 31) as f64 / 4.0
    };
    (features, (0..rows).map(label).collect())
}

/// LightGBM's losses after each round, of the rows learnt and of those held out. Its gradients are of single precision.
#[track_caller]
fn check_rounds(case: &str, model_type: &str, labels: &dyn Array, per_loss: f64) {
    let (features, _) = few_values(2000);
    let options =
        [("max_iterations", "10"), ("num_leaves", "8"), ("data_split_method", "seq"), ("early_stop", "false")];
    let report = fit(model_type, &options, &features, labels);
    let of_history =
        |of: fn(&Iteration) -> f64| report.history.iter().map(|one| per_loss * of(one)).collect::<Vec<_>>();
    let (learnt, held) = (of_history(|one| one.loss), of_history(|one| one.evaluation_loss.unwrap()));
    let within = 1e-6 * expected(case, "learnt")[0];
    assert_all_close(&learnt, &expected(case, "learnt"), within);
    assert_all_close(&held, &expected(case, "held"), within);
    assert!(report.history.iter().all(|one| one.learning_rate == Some(0.1)));
    assert_eq!(report.history.last().unwrap().loss, report.loss);
}

#[test]
fn rounds_of_trees_are_lightgbms() {
    let (_, labels) = few_values(2000);
    // What is lowered is half the squared error.
    check_rounds("boosted_numbers", "boosted_tree_regressor", &Float64Array::from(labels.clone()), 2.0);
    let mut sorted = labels.clone();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[999] + sorted[1000]) / 2.0;
    let two = labels.iter().map(|label| Some(i64::from(*label > median))).collect::<Int64Array>();
    check_rounds("boosted_binary", "boosted_tree_classifier", &two, 1.0);
    let three = labels.iter().map(|label| Some(i64::from(*label >= 5.0) + i64::from(*label >= 10.0)));
    check_rounds("boosted_classes", "boosted_tree_classifier", &three.collect::<Int64Array>(), 1.0);
}

#[test]
fn rounds_after_the_best_are_told_too() {
    let (features, labels) = reference_rows(0..1000);
    let options = [("max_iterations", "500"), ("data_split_method", "random"), ("early_stopping_rounds", "7")];
    let report = fit("boosted_tree_classifier", &options, &features, &labels);
    let held: Vec<f64> = report.history.iter().map(|one| one.evaluation_loss.unwrap()).collect();
    assert_eq!(held.len() as u64, report.iterations + 7);
    let best = (0..held.len()).min_by(|one, other| held[*one].total_cmp(&held[*other])).unwrap();
    assert_eq!(best as u64 + 1, report.iterations);
    assert_eq!(report.history[best].loss, report.loss);
}

/// scikit-learn's losses of fits that are cut off after each sweep over the features.
#[test]
fn sweeps_of_coordinate_descent_are_scikit_learns() {
    let (features, labels) = data_set("diabetes");
    // Its penalties are those of a mean: times 442 rows, of 2, and of a quarter and three quarters of 1.
    for (case, options) in [
        ("lasso_sweeps", [("l1_reg", "884"), ("l2_reg", "0")]),
        ("elastic_net_sweeps", [("l1_reg", "110.5"), ("l2_reg", "331.5")]),
    ] {
        let report = fit("linear_reg", &options, &features, &Float64Array::from(labels.clone()));
        assert_all_close(&losses(&report.history[..10]), &expected(case, "losses"), 1e-8);
    }
}

#[test]
fn steps_of_em_are_scikit_learns() {
    let (features, _) = data_set("iris");
    let labels = NullArray::new(features.num_rows());
    for covariance in ["full", "diag"] {
        let options = [
            ("num_clusters", "3"),
            ("standardize_features", "false"),
            ("tolerance", "0"),
            ("max_iterations", "25"),
            ("covariance_type", covariance),
        ];
        let report = fit("gaussian_mixture", &options, &features, &labels);
        assert_all_close(&losses(&report.history), &expected("mixture_steps", covariance), 1e-7);
    }
}

/// Fits that are cut off after each step have the losses that the whole fit tells of.
#[track_caller]
fn check_cut_off(model_type: &str, options: Options<'_>, features: &RecordBatch, labels: &dyn Array) {
    let whole = fit(model_type, options, features, labels);
    assert!(whole.history.len() > 2 && whole.history.len() as u64 == whole.iterations, "{model_type}: {whole:?}");
    for (steps, iteration) in (1..).zip(whole.history.iter().take(12)) {
        let max_iterations = steps.to_string();
        let cut = fit(model_type, &[options, &[("max_iterations", &max_iterations)]].concat(), features, labels);
        let apart = (cut.loss - iteration.loss).abs();
        assert!(apart <= 1e-12 * iteration.loss.abs(), "{model_type} {steps}: {} is not {}", iteration.loss, cut.loss);
        assert_eq!((cut.history.len() as u64, iteration.number), (steps, steps - 1));
    }
    assert_eq!(whole.history.last().unwrap().loss, whole.loss);
    assert_eq!(fit_with(model_type, options, features, labels, 3).history, whole.history);
}

fn classes(count: i64, labels: &[f64]) -> Int64Array {
    labels.iter().map(|label| Some((*label / 6.0) as i64 % count)).collect()
}

#[test]
fn fits_that_are_cut_off_have_the_losses_told() {
    let (features, labels) = few_values(700);
    let (mixed, booleans) = reference_rows(0..500);
    let numbers = Float64Array::from(labels.clone());
    check_cut_off("logistic_reg", &[], &mixed, &booleans);
    check_cut_off("logistic_reg", &[("l1_reg", "2")], &mixed, &booleans);
    check_cut_off("logistic_reg", &[], &features, &classes(2, &labels));
    check_cut_off("logistic_reg", &[], &features, &classes(3, &labels));
    check_cut_off("linear_svm", &[], &mixed, &booleans);
    check_cut_off("linear_svm", &[("l1_reg", "2"), ("l2_reg", "0")], &mixed, &booleans);
    check_cut_off("linear_svr", &[("loss", "squared_epsilon_insensitive"), ("epsilon", "0.5")], &features, &numbers);
    check_cut_off("linear_reg", &[("l1_reg", "50"), ("tolerance", "1e-12")], &features, &numbers);
    check_cut_off("boosted_tree_regressor", &[("max_iterations", "9")], &features, &numbers);
    check_cut_off("boosted_tree_classifier", &[("max_iterations", "9")], &features, &classes(3, &labels));
    let none = NullArray::new(700);
    let start = [("num_init", "1"), ("tolerance", "0"), ("num_clusters", "5")];
    check_cut_off("kmeans", &start, &features, &none);
    check_cut_off("kmeans", &[&start[..], &[("distance_type", "cosine")]].concat(), &features, &none);
    check_cut_off("gaussian_mixture", &start, &features, &none);
}

#[test]
fn factors_that_are_cut_off_have_the_losses_told() {
    let text = |name: &str, number: usize| format!("{name}{number}");
    let users: ArrayRef = Arc::new(StringArray::from_iter_values((0..400).map(|i| text("u", i * 7 % 23))));
    let items: ArrayRef = Arc::new(StringArray::from_iter_values((0..400).map(|i| text("i", i * i % 31))));
    let features = RecordBatch::try_from_iter([("user", users), ("item", items)]).unwrap();
    let ratings = Float64Array::from_iter_values((0..400).map(|i| (i * i * 7 % 11) as f64 / 2.0));
    let factors = [("num_factors", "3"), ("tolerance", "0"), ("max_iterations", "8")];
    check_cut_off("matrix_factorization", &factors, &features, &ratings);
    let implicit = [&factors[..], &[("feedback_type", "implicit")]].concat();
    check_cut_off("matrix_factorization", &implicit, &features, &ratings);
}

#[test]
fn hyperplanes_are_searched_as_if_side_by_side() {
    let (features, labels) = few_values(700);
    let penalty = [("l1_reg", "2"), ("l2_reg", "0")];
    let report = fit("linear_svm", &penalty, &features, &classes(3, &labels));
    assert!(report.history.len() > 2 && (report.history.len() as u64) < report.iterations, "{report:?}");
    for (steps, iteration) in (1..).zip(&report.history) {
        let max_iterations = steps.to_string();
        let options = [&penalty[..], &[("max_iterations", &max_iterations)]].concat();
        let cut = fit("linear_svm", &options, &features, &classes(3, &labels));
        assert!((cut.loss - iteration.loss).abs() <= 1e-12, "{steps}: {} is not {}", iteration.loss, cut.loss);
    }
}

#[test]
fn a_tube_with_corners_tells_its_own_loss() {
    let (features, labels) = few_values(700);
    let report = fit("linear_svr", &[("epsilon", "0.5")], &features, &Float64Array::from(labels));
    let told = losses(&report.history);
    assert!(told.len() > 2 && (told.len() as u64) < report.iterations, "{report:?}");
    assert!(told.iter().all(|loss| *loss >= report.loss * (1.0 - 1e-9)), "{told:?}");
    // The search before the last has come near, and to another loss if this were not that with corners.
    let before = told[told.len() - 2];
    assert!((before / report.loss - 1.0).abs() < 1e-3, "{before} is not near {}", report.loss);
}

#[test]
fn passes_of_mini_batches_tell_about_the_loss_of_all_rows() {
    let (features, _) = few_values(3000);
    let options = [("kmeans_algorithm", "mini_batch"), ("num_clusters", "6"), ("batch_size", "100"), ("num_init", "1")];
    let report = fit("kmeans", &options, &features, &NullArray::new(3000));
    assert!(report.history.len() as u64 == report.iterations && report.iterations > 1, "{report:?}");
    assert!(report.history.iter().all(|one| (one.loss / report.loss - 1.0).abs() < 0.2), "{report:?}");
    assert_eq!(report.history.last().unwrap().loss, report.loss);
}

#[test]
fn a_fit_without_steps_has_one_with_its_loss() {
    let (features, labels) = few_values(300);
    let numbers = Float64Array::from(labels.clone());
    for (model_type, labels) in [
        ("linear_reg", &numbers as &dyn Array),
        ("naive_bayes", &classes(2, &labels)),
        ("knn_regressor", &numbers),
        ("random_forest_regressor", &numbers),
        ("pca", &NullArray::new(300)),
        ("isolation_forest", &NullArray::new(300)),
    ] {
        let report = fit(model_type, &[], &features, labels);
        assert_eq!(report.history, Iteration::only(report.loss), "{model_type}");
    }
    // Nothing can be split, and nothing tells classes apart that are as many in each row's place.
    let same = Float64Array::from(vec![1.0; 300]);
    let report = fit("boosted_tree_regressor", &[], &features, &same);
    assert_eq!(report.history, Iteration::only(report.loss));
}
