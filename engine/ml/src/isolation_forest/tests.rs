//! scikit-learn's areas under the curve (`goldens/anomalies.py`), categories, the same bits whatever the threads, bad
//! input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, NullArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::batch::unlabelled;
use crate::goldens::{data_set, expected, reference_rows, scattered};
use crate::metrics::auc;
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Result, batch_option_docs, fitted_outputs,
    restore_predictor,
};

const TYPE: &str = "isolation_forest";

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    unlabelled::try_model(TYPE, options, features)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    unlabelled::try_fit(TYPE, options, features)
}

fn fit(options: &[(&str, &str)], features: &RecordBatch) -> FitReport {
    try_fit(options, features).unwrap()
}

fn answers(report: &FitReport, features: &RecordBatch) -> (BooleanArray, Float64Array) {
    let columns = restore_predictor(&report.model).unwrap().answers(features).unwrap();
    (columns[0].as_boolean().clone(), columns[1].as_primitive::<Float64Type>().clone())
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// The means over seeds are about those of scikit-learn, which are over more seeds.
#[track_caller]
fn check(case: &str, seeds: u64, options: &[(&str, &str)], features: &RecordBatch, is_anomaly: &[bool]) {
    let (mut aucs, mut rates) = (Vec::new(), Vec::new());
    let mut means = [Vec::new(), Vec::new()];
    for seed in 0..seeds {
        let seed = seed.to_string();
        let report = fit(&[options, &[("seed", &seed)]].concat(), features);
        let (anomalies, scores) = answers(&report, features);
        aucs.push(auc(scores.values(), is_anomaly).unwrap());
        assert_eq!(report.metrics, [("anomaly_rate".to_owned(), anomalies.true_count() as f64 / scores.len() as f64)]);
        rates.push(report.metrics[0].1);
        for (means, wanted) in means.iter_mut().zip([true, false]) {
            let own = scores.values().iter().zip(is_anomaly).filter(|(_, is_anomaly)| **is_anomaly == wanted);
            means.push(mean(own.map(|(score, _)| *score)));
        }
    }
    let found = mean(aucs.iter().copied());
    assert!((found - expected(case, "roc_auc")[0]).abs() < 0.01, "{case}: AUC {found}");
    let rate = mean(rates);
    assert!((rate - expected(case, "anomaly_rate")[0]).abs() < 0.02, "{case}: anomaly rate {rate}");
    let means = means.map(mean);
    for (found, expected) in means.iter().zip(expected(case, "mean_scores")) {
        assert!((found - expected).abs() < 0.01, "{case}: mean scores {means:?}");
    }
}

#[test]
fn anomalies_are_found_as_by_scikit_learn() {
    let (features, is_anomaly) = scattered(3000);
    check("scattered_forest", 10, &[], &features, &is_anomaly);
    let options = [("num_trees", "40"), ("subsample_rows", "64"), ("max_features", "0.7"), ("contamination", "0.05")];
    check("scattered_forest_small", 10, &options, &features, &is_anomaly);
    let (features, labels) = data_set("breast_cancer");
    let is_malignant: Vec<bool> = labels.iter().map(|label| *label == 0.0).collect();
    check("cancer_forest", 60, &[], &features, &is_malignant);
    check("cancer_forest_tenth", 60, &[("contamination", "0.1")], &features, &is_malignant);
}

#[test]
fn contamination_is_the_part_of_the_rows() {
    let (features, _) = scattered(2000);
    for (contamination, count) in [("0.1", 200), ("0.25", 500), ("0", 0)] {
        let report = fit(&[("contamination", contamination)], &features);
        assert_eq!(answers(&report, &features).0.true_count(), count, "{contamination}");
    }
}

#[test]
fn rare_and_unseen_categories_are_anomalies() {
    let names = (0..1000).map(|i| if i % 250 == 3 { "rare" } else { ["often", "also"][i % 2] });
    let text: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let number: ArrayRef = Arc::new(Float64Array::from_iter_values((0..1000).map(|i| f64::from(i * 37 % 101))));
    let features = RecordBatch::try_from_iter([("name", text), ("x", number)]).unwrap();
    let report = fit(&[("subsample_rows", "500")], &features);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["often", "also", "rare", "unseen"]));
    let asked =
        RecordBatch::try_from_iter([("name", text), ("x", Arc::new(Float64Array::from(vec![50.0; 4])) as ArrayRef)]);
    let (is_anomaly, scores) = answers(&report, &asked.unwrap());
    assert_eq!(is_anomaly.iter().flatten().collect::<Vec<_>>(), [false, false, true, true], "{scores:?}");
    assert!(scores.value(2) > scores.value(0) + 0.1 && scores.value(3) >= scores.value(2), "{scores:?}");
}

#[test]
fn missing_numbers_have_a_score() {
    let (features, _) = scattered(500);
    let nulls: Vec<(&str, ArrayRef, bool)> =
        ["x", "y", "z"].map(|name| (name, Arc::new(Float64Array::new_null(3)) as ArrayRef, true)).to_vec();
    let nulls = RecordBatch::try_from_iter_with_nullable(nulls).unwrap();
    let (_, scores) = answers(&fit(&[], &features), &nulls);
    assert!(scores.iter().all(|score| (0.0..1.0).contains(&score.unwrap())));
    // Three rows without any number among 500 are alone soon, if rows without it are in the sample.
    let both = concat_batches(&nulls.schema(), [&features, &nulls]).unwrap();
    let (is_anomaly, scores) = answers(&fit(&[("subsample_rows", "503")], &both), &nulls);
    assert!(is_anomaly.value(0), "{scores:?}");
}

#[test]
fn rows_that_are_all_the_same_are_no_anomalies() {
    let constant: ArrayRef = Arc::new(Float64Array::from(vec![7.0; 60]));
    let nothing: ArrayRef = Arc::new(Float64Array::new_null(60));
    let columns = [("constant", constant, true), ("nothing", nothing, true)];
    let features = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    for rows in [60, 2, 1] {
        let (is_anomaly, scores) = answers(&fit(&[], &features.slice(0, rows)), &features);
        assert_eq!(is_anomaly.true_count(), 0);
        assert!(scores.iter().all(|score| (score.unwrap() - 0.5).abs() < 1e-15), "{scores:?}");
    }
}

#[test]
fn bad_rows_have_no_answer_and_are_not_learnt() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, f64::INFINITY, 3.0, 1e50, -1e50]));
    let features = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let mut model = try_model(&[], &features).unwrap();
    let rejected = model.add(&features, &NullArray::new(6)).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1, 2]);
    let report = model.fit().unwrap();
    let (is_anomaly, scores) = answers(&report, &features);
    assert_eq!((report.rows, is_anomaly.null_count(), scores.null_count()), (4, 2, 2));
    assert!(scores.iter().flatten().all(|score| score > 0.0 && score < 1.0));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let check_error = |options: &[(&str, &str)], rows: usize, expected: Expect| {
        let result = try_fit(options, &scattered(10).0.slice(0, rows));
        expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
    };
    check_error(
        &[],
        0,
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        &[("contamination", "0.6")],
        9,
        expect!["option contamination = '0.6' is not valid; expected a number from 0 to 0.5"],
    );
    check_error(
        &[("num_trees", "0")],
        9,
        expect!["option num_trees = '0' is not valid; expected a number from 1 to 10000"],
    );
    check_error(&[("seed", "-1")], 9, expect!["option seed = '-1' is not valid; expected a whole number"]);
    check_error(
        &[("trees", "3")],
        9,
        expect![
            "model type 'isolation_forest' has no option 'trees'; valid options are num_trees, subsample_rows, contamination, max_features, seed, max_categories"
        ],
    );
    let (features, _) = scattered(300);
    let mut stopped = try_model(&[], &features).unwrap();
    stopped.add(&features, &NullArray::new(300)).unwrap();
    stopped.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(stopped.fit(), Err(MlError::Stopped)));
    let plain = fit(&[], &features);
    for doc in batch_option_docs(TYPE).unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features), plain, "{}", doc.name);
    }
    assert_ne!(fit(&[("seed", "1")], &features).model, plain.model);
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let features = reference_rows(0..40_000).0;
    let options = [("contamination", "0.01"), ("num_trees", "20")];
    let alone = fit(&options, &features);
    for threads in [2, 4] {
        let mut model = try_model(&options, &features).unwrap();
        for (start, rows) in [(0, 1), (1, 1030), (1031, 38_969)] {
            model.add(&features.slice(start, rows), &NullArray::new(rows)).unwrap();
        }
        model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
        assert_eq!(model.fit().unwrap(), alone);
        assert_eq!(model.fit().unwrap(), alone);
    }
    let restored = restore_predictor(&alone.model).unwrap();
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let outputs = fitted_outputs(TYPE, &Default::default(), &schema, ("", &DataType::Null)).unwrap();
    assert_eq!((restored.model_type(), restored.rows_learnt(), restored.outputs("")), (TYPE, 40_000, outputs));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let features = reference_rows(0..100).0;
        let mut bytes = fit(&[("num_trees", "3")], &features).model;
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(model) = restore_predictor(&bytes) {
            let _ = model.answers(&features);
        }
    }
}
