//! Hand-worked numbers, scikit-learn's numbers, and a quadratic oracle.

mod off_policy;

use proptest::prelude::*;

use super::{
    Confusion, RegressionSums, StreamingAuc, auc, average_precision, brier, expected_calibration_error, log_loss, ndcg,
};

/// Every (positive, negative) pair, one by one.
fn auc_oracle(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let (mut right, mut pairs) = (0.0, 0.0);
    for (positive, _) in scores.iter().zip(labels).filter(|row| *row.1) {
        for (negative, _) in scores.iter().zip(labels).filter(|row| !*row.1) {
            pairs += 1.0;
            right += if positive > negative {
                1.0
            } else if positive == negative {
                0.5
            } else {
                0.0
            };
        }
    }
    (pairs > 0.0).then_some(right / pairs)
}

fn streamed(scores: &[f64], labels: &[bool]) -> StreamingAuc {
    let mut streaming = StreamingAuc::new();
    for (&score, &label) in scores.iter().zip(labels) {
        streaming.push(score, label);
    }
    streaming
}

#[track_caller]
fn assert_close(actual: Option<f64>, expected: f64, tolerance: f64) {
    let close = actual.is_some_and(|actual| (actual - expected).abs() <= tolerance);
    assert!(close, "{actual:?} is not within {tolerance:e} of {expected}");
}

#[test]
fn auc_counts_pairs_and_half_of_a_tie() {
    // Positives 0.8 and 0.4, negatives 0.4 and 0.1: right, right, tied, right.
    let scores = [0.4, 0.8, 0.1, 0.4];
    let labels = [false, true, false, true];
    assert_eq!(auc(&scores, &labels), Some(3.5 / 4.0));
    assert_eq!(streamed(&scores, &labels).auc(), Some(3.5 / 4.0));
    assert_eq!(auc(&[0.0, -0.0], &[true, false]), Some(0.5));
}

#[test]
fn losses_of_two_rows_by_hand() {
    let (scores, labels) = ([0.8, 0.3], [true, false]);
    assert_close(log_loss(&scores, &labels), -(0.8f64.ln() + 0.7f64.ln()) / 2.0, 1e-15);
    assert_close(brier(&scores, &labels), (0.04 + 0.09) / 2.0, 1e-15);
}

#[test]
fn a_certain_mistake_has_a_finite_loss() {
    assert_close(log_loss(&[0.0], &[true]), -(f64::EPSILON.ln()), 1e-9);
    assert_close(log_loss(&[1.0], &[false]), -(f64::EPSILON.ln()), 1e-9);
    assert_close(log_loss(&[1.0], &[true]), 0.0, 2e-15);
}

#[test]
fn metrics_equal_scikit_learn() {
    // scikit-learn 1.9.1: roc_auc_score(y, p), log_loss(y, p), brier_score_loss(y, p).
    let scores = [0.1, 0.9, 0.4, 0.35, 0.8, 0.35, 0.05, 0.6, 0.4, 0.7];
    let labels = [false, true, false, true, true, false, false, true, true, false];
    assert_close(auc(&scores, &labels), 0.8, 1e-15);
    assert_close(log_loss(&scores, &labels), 0.510_767_770_134_061_7, 1e-15);
    assert_close(brier(&scores, &labels), 0.177_75, 1e-15);
}

#[test]
fn metrics_without_a_value_are_none() {
    assert_eq!(auc(&[], &[]), None);
    assert_eq!(auc(&[0.1, 0.2], &[true, true]), None);
    assert_eq!(auc(&[0.1], &[true, false]), None);
    assert_eq!(auc(&[f64::NAN, 0.2], &[true, false]), None);
    assert_eq!(log_loss(&[], &[]), None);
    assert_eq!(brier(&[f64::INFINITY], &[true]), None);
    assert_eq!(StreamingAuc::new().auc(), None);
}

#[test]
fn a_window_forgets_the_rows_before_it() {
    let mut streaming = StreamingAuc::with_window(2);
    for _ in 0..10 {
        streaming.push(0.9, false);
        streaming.push(0.1, true);
    }
    assert_eq!(streaming.auc(), Some(0.0));
    for _ in 0..2 {
        streaming.push(0.1, false);
        streaming.push(0.9, true);
    }
    assert_eq!(streaming.auc(), Some(1.0));
    assert_eq!(streaming.rows(), 4);
    streaming.reset();
    assert_eq!((streaming.auc(), streaming.rows()), (None, 0));
}

#[test]
fn a_score_outside_the_unit_interval_counts_at_its_end() {
    let mut streaming = streamed(&[7.0, f64::NEG_INFINITY], &[true, false]);
    streaming.push(f64::NAN, true);
    assert_eq!((streaming.auc(), streaming.rows()), (Some(1.0), 2));
}

proptest! {
    #[test]
    fn auc_equals_the_quadratic_oracle(rows in prop::collection::vec((0..20u8, any::<bool>()), 0..60)) {
        // Few distinct scores, so that ties are common.
        let (scores, labels): (Vec<f64>, Vec<bool>) =
            rows.into_iter().map(|(score, label)| (f64::from(score) / 20.0, label)).unzip();
        match (auc(&scores, &labels), auc_oracle(&scores, &labels)) {
            (Some(actual), Some(expected)) => prop_assert!((actual - expected).abs() < 1e-12),
            (actual, expected) => prop_assert_eq!(actual, expected),
        }
        // 1/20ths never share one of 1024 bins, so the estimate is exact here.
        // The same order of other numbers, below and above 0.
        let moved: Vec<f64> = scores.iter().map(|score| score * 8.0 - 3.0).collect();
        prop_assert_eq!(auc(&moved, &labels), auc(&scores, &labels));
        prop_assert_eq!(streamed(&scores, &labels).auc(), auc(&scores, &labels));
    }

    #[test]
    fn the_streaming_estimate_is_near(rows in prop::collection::vec((0.0..1.0f64, any::<bool>()), 200..400)) {
        let (scores, labels): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
        if let (Some(exact), Some(estimate)) = (auc(&scores, &labels), streamed(&scores, &labels).auc()) {
            prop_assert!((exact - estimate).abs() < 5e-3);
        }
    }
}

#[test]
fn a_streaming_auc_goes_on_from_its_state() {
    let score = |row: u64| (row * 37 % 101) as f64 / 101.0;
    let mut whole = StreamingAuc::with_window(20);
    let mut parted = StreamingAuc::with_window(20);
    for row in 0..75 {
        whole.push(score(row), row % 3 == 0);
        parted.push(score(row), row % 3 == 0);
        parted = StreamingAuc::from_state(20, parted.state()).unwrap();
        assert_eq!((parted.auc(), parted.rows()), (whole.auc(), whole.rows()));
    }
}

/// Scores, some of them tied, and labels, made by integers: Python makes the same ones.
fn reference() -> (Vec<f64>, Vec<bool>) {
    let score = |i: usize| if i.is_multiple_of(7) { 0.3 } else { (i * 37 % 101) as f64 / 101.0 };
    ((0..60).map(score).collect(), (0..60).map(|i| i * i % 5 + i % 3 > 2).collect())
}

#[test]
fn ranking_and_calibration_equal_scikit_learn() {
    // scikit-learn 1.9.1: average_precision_score(y, p), ndcg_score([relevance], [p], k); NumPy's histogram of ten bins.
    let (scores, labels) = reference();
    assert_close(average_precision(&scores, &labels), 0.511_210_187_588_033_4, 1e-12);
    assert_close(expected_calibration_error(&scores, &labels), 0.316_881_188_118_811_94, 1e-12);
    let relevances: Vec<f64> = (0..60).map(|i| f64::from(i * i % 4)).collect();
    assert_close(ndcg(&relevances, &scores, None), 0.747_326_569_310_211, 1e-12);
    assert_close(ndcg(&relevances, &scores, Some(10)), 0.368_658_053_948_239_86, 1e-12);
    assert_close(ndcg(&relevances, &scores, Some(5)), 0.345_191_342_246_869_26, 1e-12);
    assert_eq!(ndcg(&[0.0; 2], &[0.5, 0.1], None), Some(0.0));
    assert_eq!(average_precision(&[0.5], &[false]), None);
    assert_eq!(ndcg(&[-1.0], &[0.5], None), None);
    assert_eq!(expected_calibration_error(&[1.5], &[true]), None);
    assert_eq!(expected_calibration_error(&[1.0, 0.0], &[true, false]), Some(0.0));
}

#[test]
fn errors_of_numbers_equal_scikit_learn() {
    // scikit-learn 1.9.1: mean_squared_error, root_mean_squared_error, mean_absolute_error, r2_score.
    let pair = |i: u32| {
        let label = f64::from(i * 29 % 97) / 7.0 + 100.0;
        (label, label + (f64::from(i * 13 % 11) - 5.0) / 4.0)
    };
    let of = |rows: std::ops::Range<u32>| {
        let mut sums = RegressionSums::default();
        rows.map(pair).for_each(|(label, predicted)| sums.add(label, predicted));
        sums
    };
    let mut merged = of(0..17);
    merged.merge(&of(17..60));
    merged.merge(&RegressionSums::default());
    for sums in [of(0..60), merged] {
        assert_close(sums.mse(), 0.619_791_666_666_666_6, 1e-12);
        assert_close(sums.rmse(), 0.787_268_484_487_126_2, 1e-12);
        assert_close(sums.mae(), 0.679_166_666_666_666_7, 1e-12);
        assert_close(sums.r2(), 0.961_417_370_489_584_1, 1e-12);
    }
    let mut same = RegressionSums::default();
    assert_eq!((same.mse(), same.mae(), same.r2()), (None, None, None));
    same.add(2.0, 2.0);
    assert_eq!((same.rmse(), same.r2()), (Some(0.0), None));
    same.add(2.0, 2.0);
    assert_eq!(same.r2(), Some(1.0));
    same.add(2.0, 3.0);
    assert_eq!(same.r2(), Some(0.0));
}

#[test]
fn classes_equal_scikit_learn() {
    // scikit-learn 1.9.1: accuracy_score, and precision_score, recall_score, f1_score of a positive class and with average='macro'.
    let mut many = Confusion::default();
    (0..60_usize).for_each(|i| many.add(&(i * i % 4).to_string(), &((i * 7 + i / 5) % 5).to_string(), 1));
    assert_close(many.accuracy(), 0.216_666_666_666_666_67, 1e-12);
    assert_close(many.precision(None), 0.216_666_666_666_666_7, 1e-12);
    assert_close(many.recall(None), 0.086_666_666_666_666_67, 1e-12);
    assert_close(many.f1(None), 0.123_809_523_809_523_81, 1e-12);

    let (scores, labels) = reference();
    let mut two = Confusion::default();
    let rows = || scores.iter().zip(&labels).map(|(score, label)| (label.to_string(), (*score >= 0.5).to_string()));
    rows().for_each(|(label, predicted)| two.add(&label, &predicted, 1));
    assert_close(two.accuracy(), 0.533_333_333_333_333_3, 1e-12);
    assert_close(two.precision(Some("true")), 0.583_333_333_333_333_4, 1e-12);
    assert_close(two.recall(Some("true")), 0.4375, 1e-12);
    assert_close(two.f1(Some("true")), 0.5, 1e-12);
    assert_eq!(two.precision(Some("never")), Some(0.0));

    rows().for_each(|(label, predicted)| two.take_back(&label, &predicted, 1));
    assert_eq!(two, Confusion::default());
    assert_eq!((two.accuracy(), two.f1(None), two.recall(Some("true"))), (None, None, None));
}

proptest! {
    #[test]
    fn the_order_of_rows_changes_no_ranking(rows in prop::collection::vec((0..6u8, 0..4u8), 1..40)) {
        let split = |rows: &[(u8, u8)]| -> (Vec<f64>, Vec<f64>, Vec<bool>) {
            let scores = rows.iter().map(|row| f64::from(row.0) / 6.0).collect();
            (scores, rows.iter().map(|row| f64::from(row.1)).collect(), rows.iter().map(|row| row.1 > 1).collect())
        };
        let mut other = rows.clone();
        other.reverse();
        let ((scores, relevances, labels), (other_scores, others, other_labels)) = (split(&rows), split(&other));
        prop_assert_eq!(ndcg(&relevances, &scores, Some(3)), ndcg(&others, &other_scores, Some(3)));
        prop_assert_eq!(average_precision(&scores, &labels), average_precision(&other_scores, &other_labels));
        if let Some(precision) = average_precision(&scores, &labels) {
            prop_assert!((0.0..=1.0).contains(&precision));
        }
        prop_assert!(ndcg(&relevances, &scores, None).is_some_and(|gain| (0.0..=1.0 + 1e-12).contains(&gain)));
    }
}
