//! Hand-worked numbers, scikit-learn's numbers, and a quadratic oracle.

use proptest::prelude::*;

use super::{StreamingAuc, auc, brier, log_loss};

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
    assert_close(log_loss(&[0.0], &[true]), -(1e-15f64.ln()), 1e-9);
    assert_close(log_loss(&[1.0], &[false]), -(1e-15f64.ln()), 0.1);
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
