//! River's areas under the curve and mean scores (`goldens/online_unlabelled.py`), anomalies by a share or by a score,
//! the same bits however rows come, bad input.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Float64Type;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::goldens::{data_set, expected, scattered};
use crate::metrics::auc;
use crate::model::testing::{check_damaged_unlabelled, check_unlabelled, learnt, try_unlabelled};
use crate::{MlError, OnlineModel, RejectReason, Result, anomalies_of, restore, restore_supervised};

const TYPE: &str = "half_space_trees";

fn model(options: &[(&str, &str)], features: &RecordBatch) -> Box<dyn OnlineModel> {
    try_unlabelled(TYPE, options, features).unwrap()
}

/// What is said of each row before it is learnt; 0 before there are scores, as in River.
fn prequential(options: &[(&str, &str)], features: &RecordBatch) -> Vec<f64> {
    let mut model = model(options, features);
    let said = (0..features.num_rows()).map(|row| learnt(model.as_mut(), &features.slice(row, 1)).said);
    said.map(|said| said[1].as_primitive::<Float64Type>().iter().next().flatten().unwrap_or(0.0)).collect()
}

/// The means over seeds are about River's: areas within half a point, scores within what chance makes of so many seeds.
#[track_caller]
fn check(case: &str, seeds: u64, options: &[(&str, &str)], features: &RecordBatch, is_anomaly: &[bool]) {
    let (mut area, mut means) = (0.0, [0.0; 2]);
    for seed in 0..seeds {
        let scores = prequential(&[options, &[("seed", &seed.to_string())]].concat(), features);
        area += auc(&scores, is_anomaly).unwrap() / seeds as f64;
        for (mean, wanted) in means.iter_mut().zip([true, false]) {
            let own = || scores.iter().zip(is_anomaly).filter(|(_, is_anomaly)| **is_anomaly == wanted);
            *mean += own().map(|(score, _)| score).sum::<f64>() / own().count() as f64 / seeds as f64;
        }
    }
    let (areas, scores) = (expected(case, "roc_auc"), expected(case, "mean_scores"));
    assert!((area - areas[0]).abs() < 0.005, "{case}: {area}, and of River {areas:?}");
    let of_chance = (1.0 / seeds as f64 + 1.0 / expected(case, "seeds")[0]).sqrt();
    for (place, mean) in means.into_iter().enumerate() {
        let (of_river, deviation) = (scores[place], scores[2 + place]);
        assert!((mean - of_river).abs() < 4.0 * deviation * of_chance, "{case}: {means:?}, and of River {scores:?}");
    }
}

/// Rows some of which miss some numbers, as in `goldens/online_unlabelled.py`.
fn with_missing(features: &RecordBatch) -> RecordBatch {
    let column = |place: usize| features.column(place).as_primitive::<Float64Type>().iter().enumerate();
    let x = column(0).map(|(row, value)| value.filter(|_| row % 11 != 3));
    let z = column(2).map(|(row, value)| value.filter(|_| row % 13 != 5));
    let columns: [ArrayRef; 3] =
        [Arc::new(x.collect::<Float64Array>()), Arc::clone(features.column(1)), Arc::new(z.collect::<Float64Array>())];
    RecordBatch::try_from_iter_with_nullable(
        ["x", "y", "z"].into_iter().zip(columns).map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

/// Tumours of which every sixth malignant one is left, as in `goldens/online_unlabelled.py`.
fn mostly_benign() -> (RecordBatch, Vec<bool>) {
    let (features, classes) = data_set("breast_cancer");
    let mut malignant = 0;
    let mut is_kept = |class: &f64| {
        malignant += usize::from(*class == 0.0);
        *class != 0.0 || malignant % 6 == 3
    };
    let kept: Vec<bool> = classes.iter().map(&mut is_kept).collect();
    let left = classes.iter().zip(&kept).filter(|(_, kept)| **kept);
    let is_malignant = left.map(|(class, _)| *class == 0.0).collect();
    (filter_record_batch(&features, &kept.into()).unwrap(), is_malignant)
}

#[test]
fn scores_are_rivers() {
    let (features, is_anomaly) = scattered(5000);
    check("scattered_trees", 40, &[], &features, &is_anomaly);
    let small = [("num_trees", "25"), ("tree_depth", "5"), ("window_rows", "100")];
    check("scattered_small_trees", 40, &small, &features, &is_anomaly);
    let limits = [("feature_limits", "x:-12:15, y:-12:15,z:-12:15")];
    check("scattered_limited_trees", 40, &limits, &features, &is_anomaly);
    check("missing_trees", 40, &[], &with_missing(&features), &is_anomaly);
    let (cancer, is_malignant) = mostly_benign();
    check("cancer_trees", 100, &[("num_trees", "25"), ("window_rows", "50")], &cancer, &is_malignant);
}

#[test]
fn scores_come_with_the_second_window_and_anomalies_with_the_third() {
    let (features, _) = scattered(5000);
    let mut model = model(&[("contamination", "0.05")], &features);
    learnt(model.as_mut(), &features.slice(0, 249));
    let asked = features.slice(0, 100);
    let nulls = |model: &dyn OnlineModel| {
        model.answers(&asked).unwrap().iter().map(|column| column.null_count()).collect::<Vec<_>>()
    };
    assert_eq!(nulls(model.as_ref()), [100, 100]);
    learnt(model.as_mut(), &features.slice(249, 1));
    assert_eq!(nulls(model.as_ref()), [100, 0]);
    learnt(model.as_mut(), &features.slice(250, 250));
    assert_eq!(nulls(model.as_ref()), [0, 0]);
    let found: usize = (2..20)
        .map(|window| learnt(model.as_mut(), &features.slice(window * 250, 250)).said[0].as_boolean().true_count())
        .sum();
    // Of 4500 rows as many as there were in windows before.
    assert!((135..315).contains(&found), "{found}");
}

#[test]
fn a_fixed_score_decides_what_an_anomaly_is() {
    let (features, _) = scattered(1000);
    let mut fixed = model(&[("score_threshold", "0.9")], &features);
    learnt(fixed.as_mut(), &features);
    let said = anomalies_of(fixed.as_ref(), &features, None).unwrap();
    let scores = said["anomaly_score"].as_primitive::<Float64Type>();
    let count = scores.values().iter().filter(|score| **score > 0.9).count();
    assert!(0 < count && count < 1000, "{count}");
    assert_eq!(said["is_anomaly"].as_boolean().true_count(), count);
    assert!(matches!(anomalies_of(fixed.as_ref(), &features, Some(0.5)), Err(MlError::InvalidOption { .. })));
}

#[test]
fn what_becomes_usual_is_no_anomaly_any_more() {
    let level = |rows: std::ops::Range<usize>, level: f64| {
        let column = Float64Array::from_iter_values(rows.map(|row| level + (row * 37 % 100) as f64 / 1000.0));
        RecordBatch::try_from_iter([("x", Arc::new(column) as ArrayRef)]).unwrap()
    };
    let mut model = model(&[("feature_limits", "x:0:1"), ("window_rows", "100")], &level(0..1, 0.0));
    let mean = |said: &[ArrayRef]| {
        let scores = said[1].as_primitive::<Float64Type>();
        scores.values().iter().sum::<f64>() / scores.len() as f64
    };
    learnt(model.as_mut(), &level(0..100, 0.2));
    let usual = mean(&learnt(model.as_mut(), &level(100..200, 0.2)).said);
    let new = mean(&learnt(model.as_mut(), &level(200..300, 0.7)).said);
    let by_then = mean(&model.answers(&level(300..400, 0.7)).unwrap());
    assert!(new > usual + 0.1 && (by_then - usual).abs() < 0.1, "{usual} {new} {by_then}");
}

#[test]
fn bits_follow_from_the_rows_and_the_seed() {
    let features = with_missing(&scattered(1500).0);
    check_unlabelled(model(&[], &features).as_ref(), &features);
    check_unlabelled(
        model(&[("window_rows", "1"), ("score_threshold", "0.9"), ("num_trees", "2")], &features).as_ref(),
        &features,
    );
    let snapshot = |seed: &str| {
        let mut model = model(&[("seed", seed), ("num_trees", "3")], &features);
        learnt(model.as_mut(), &features);
        model.snapshot().unwrap()
    };
    assert_eq!(snapshot("1"), snapshot("1"));
    assert_ne!(snapshot("1"), snapshot("2"));
    assert!(matches!(restore_supervised(&snapshot("1")), Err(MlError::CorruptState { .. })));
}

#[test]
fn rows_that_cannot_be_used_are_said_and_skipped() {
    let column = Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(f64::INFINITY), Some(1e51), Some(2.0)]);
    let features = RecordBatch::try_from_iter([("x", Arc::new(column) as ArrayRef)]).unwrap();
    let mut model = model(&[("window_rows", "1"), ("score_threshold", "0.5")], &features);
    let report = learnt(model.as_mut(), &features);
    assert_eq!((report.rows, report.rejected.iter().map(|row| row.row).collect::<Vec<_>>()), (3, vec![1, 3, 4]));
    assert_eq!(report.rejected[0].reason, RejectReason::NotANumber { column: "x".to_owned() });
    let answers = model.answers(&features).unwrap();
    for column in &answers {
        assert_eq!((0..6).map(|row| column.is_null(row)).collect::<Vec<_>>(), [false, true, false, true, true, false]);
    }
    assert_eq!(model.rows_learnt(), 3);
    let before = model.snapshot().unwrap();
    let other = features.project(&[]).unwrap();
    assert!(matches!(model.learn(&other, &Float64Array::new_null(6)), Err(MlError::MissingColumn { .. })));
    assert_eq!(model.snapshot().unwrap(), before);
    assert_eq!(learnt(model.as_mut(), &features.slice(0, 0)).rows, 0);
}

#[track_caller]
fn check_error<T>(result: Result<T>, expected: Expect) {
    expected.assert_eq(&result.err().unwrap().to_string());
}

#[test]
fn options_that_cannot_be_are_refused() {
    let (features, _) = scattered(1);
    let refused = |option: &str, value: &str| try_unlabelled(TYPE, &[(option, value)], &features);
    check_error(
        refused("n_trees", "3"),
        expect![
            "model type 'half_space_trees' has no option 'n_trees'; valid options are num_trees, tree_depth, window_rows, feature_limits, contamination, score_threshold, seed"
        ],
    );
    check_error(
        refused("contamination", "0.6"),
        expect!["option contamination = '0.6' is not valid; expected a number from 0 to 0.5"],
    );
    check_error(
        refused("window_rows", "0"),
        expect!["option window_rows = '0' is not valid; expected a number from 1 to 1000000"],
    );
    check_error(
        refused("feature_limits", "w:0:1"),
        expect!["option feature_limits = 'w' is not valid; expected some of the features x, y, z"],
    );
    check_error(
        refused("feature_limits", "x:0"),
        expect![
            "option feature_limits = 'x:0' is not valid; expected features with their smallest and largest numbers, such as 'price:0:100, age:18:99'"
        ],
    );
    check_error(
        refused("feature_limits", "x:1:0"),
        expect![
            "option feature_limits = 'x:1:0' is not valid; expected a smaller number before a larger one for each feature"
        ],
    );
    check_error(
        refused("feature_limits", "x:0:1, x:0:2"),
        expect!["option feature_limits = 'x:0:1, x:0:2' is not valid; expected each feature once"],
    );
    let both = [("contamination", "0.1"), ("score_threshold", "0.9")];
    check_error(
        try_unlabelled(TYPE, &both, &features),
        expect!["option score_threshold = '0.9' is not valid; expected no contamination beside it"],
    );
    let large = [("num_trees", "100"), ("tree_depth", "16")];
    check_error(
        try_unlabelled(TYPE, &large, &features),
        expect!["option num_trees = '100' is not valid; expected a number up to 32 for trees of the depth 16"],
    );
    let texts = RecordBatch::try_from_iter([("c", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]).unwrap();
    check_error(
        try_unlabelled(TYPE, &[], &texts),
        expect![
            "feature column 'c' is a category, but a model of type 'half_space_trees' takes numbers only; leave it out or turn it into numbers"
        ],
    );
}

/// A small model in its third window, which keeps scores.
fn some_snapshot() -> &'static [u8] {
    static SNAPSHOT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let features = scattered(50).0;
        let mut model = model(&[("num_trees", "2"), ("tree_depth", "3"), ("window_rows", "20")], &features);
        learnt(model.as_mut(), &features);
        model.snapshot().unwrap()
    });
    &SNAPSHOT
}

#[test]
fn a_snapshot_that_is_cut_short_is_an_error() {
    let bytes = some_snapshot();
    restore(bytes).unwrap();
    assert!((0..bytes.len()).all(|end| restore(&bytes[..end]).is_err()));
}

proptest! {
    #[test]
    fn damaged_snapshots_are_errors_or_models_that_work(changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4)) {
        check_damaged_unlabelled(some_snapshot(), changes, &scattered(60).0);
    }
}
