//! Numbers are worked by hand; scikit-learn's `DummyClassifier(strategy='prior')` and `DummyRegressor()` have the same.

use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};

use super::*;
use crate::batch::create_batch;

fn labels(kind: Option<LabelKind>, array: impl Array + 'static) -> Labels {
    let mut labels = Labels::new(kind);
    labels.add(&(Arc::new(array) as ArrayRef)).unwrap();
    labels
}

fn assert_measures(found: &[(String, f64)], expected: &[(&str, f64)]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((name, value), (expected_name, expected)) in found.iter().zip(expected) {
        assert_eq!(name, expected_name);
        assert!((value - expected).abs() < 1e-12, "{name}: {value}, {expected}");
    }
}

#[test]
fn classes_are_guessed_by_their_shares() {
    let of = |array: Vec<bool>| labels(Some(LabelKind::Boolean), BooleanArray::from(array));
    let learnt = of(vec![true, true, false, true]);
    let own = learnt.guessing(&learnt);
    let of_own =
        [("baseline_log_loss", 0.562_335_144_618_808_3), ("baseline_accuracy", 0.75), ("baseline_brier_score", 0.1875)];
    assert_measures(&own, &of_own);
    let of_others =
        [("baseline_log_loss", 0.836_988_216_785_835_8), ("baseline_accuracy", 0.5), ("baseline_brier_score", 0.3125)];
    assert_measures(&learnt.guessing(&of(vec![false, true])), &of_others);
    assert_eq!(learnt.guessing(&of(vec![])), []);
}

#[test]
fn a_class_that_was_not_learnt_was_not_expected_and_three_have_no_brier_score() {
    let kind = Some(LabelKind::Text);
    let learnt = labels(kind, StringArray::from(vec!["a", "b", "c", "c"]));
    let found = learnt.guessing(&labels(kind, StringArray::from(vec!["c", "d"])));
    let unexpected = -(0.5_f64.ln() + f64::EPSILON.ln()) / 2.0;
    assert_measures(&found, &[("baseline_log_loss", unexpected), ("baseline_accuracy", 0.5)]);
}

#[test]
fn numbers_are_guessed_by_their_mean() {
    let learnt = labels(None, Int64Array::from(vec![1, 3]));
    let others = labels(None, Float64Array::from(vec![Some(2.0), None, Some(6.0)]));
    assert_measures(&learnt.guessing(&others), &[("baseline_mse", 8.0), ("baseline_rmse", 8.0_f64.sqrt())]);
}

#[test]
fn a_fit_says_what_a_guess_by_its_rows_would_have() {
    let x = Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), Some(9.0), Some(4.0), Some(8.0), Some(f64::NAN)]));
    let features = RecordBatch::try_from_iter([("x", x as ArrayRef)]).unwrap();
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let fitted = |model_type: &str, labels: &dyn Array| {
        let mut model = create_batch(model_type, &BTreeMap::new(), &schema, labels.data_type()).unwrap();
        assert_eq!(model.add(&features, labels).unwrap().len(), 1);
        model.fit().unwrap()
    };
    // The last row has no part in it.
    let report = fitted("logistic_reg", &BooleanArray::from(vec![true, true, false, true, false, false]));
    let guess: Vec<_> = report.metrics.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    assert_eq!(guess.len(), 3, "{guess:?}");
    assert!((guess[1].1 - 0.6).abs() < 1e-12, "{guess:?}");
    assert!(!report.is_no_better_than_a_guess());
    let report = fitted("linear_reg", &Float64Array::from(vec![1.0, 2.0, 3.0, 6.0, 8.0, 1e6]));
    let mse = report.metrics.iter().find(|(name, _)| name == "baseline_mse").unwrap().1;
    assert!((mse - 6.8).abs() < 1e-12, "{mse}");
}

#[test]
fn a_model_is_no_better_if_its_loss_is_not_less() {
    let measures = |own: f64| [("log_loss".to_owned(), own), ("baseline_log_loss".to_owned(), 0.5)];
    let is_no_better = |own: f64| BesideGuess::of(&measures(own)).map(|beside| beside.is_no_better());
    assert_eq!([0.6, 0.5, 0.4].map(is_no_better), [Some(true), Some(true), Some(false)]);
    assert_eq!(BesideGuess::of(&[("roc_auc".to_owned(), 0.5)]), None);
}
