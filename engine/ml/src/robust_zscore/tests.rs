//! numpy's medians (`goldens/anomalies.py`), scores by hand, the same bits whatever the threads, bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{ArrayRef, AsArray, Float64Array, NullArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Result, batch_option_docs, create_batch, fitted_outputs,
    restore_predictor,
};

const TYPE: &str = "robust_zscore";

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch(TYPE, &options, &FeatureSchema::from_arrow(&features.schema())?, &DataType::Null)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    let mut model = try_model(options, features)?;
    model.add(features, &NullArray::new(features.num_rows()))?;
    model.fit()
}

fn numbers(columns: &[(&str, &[Option<f64>])]) -> RecordBatch {
    let column = |values: &[Option<f64>]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, values)| (*name, column(values), true)))
        .unwrap()
}

/// Whether each row is an anomaly, its score, and its feature.
fn answers(report: &FitReport, features: &RecordBatch) -> Vec<(Option<bool>, Option<f64>, Option<String>)> {
    let columns = restore_predictor(&report.model).unwrap().answers(features).unwrap();
    let scores = columns[1].as_primitive::<Float64Type>();
    let names = columns[2].as_string::<i32>();
    let answer = |((is_anomaly, score), name): ((_, _), Option<&str>)| (is_anomaly, score, name.map(str::to_owned));
    columns[0].as_boolean().iter().zip(scores).zip(names).map(answer).collect()
}

#[test]
fn scores_equal_numpy() {
    for (name, case) in [("breast_cancer", "cancer_robust"), ("wine", "wine_robust")] {
        let features = data_set(name).0;
        let report = try_fit(&[], &features).unwrap();
        let answers = answers(&report, &features);
        let scores: Vec<f64> = answers.iter().map(|(_, score, _)| score.unwrap()).collect();
        assert_all_close(&scores, &expected(case, "scores"), 1e-10);
        let names: Vec<_> = answers.iter().map(|(_, _, name)| name.clone().unwrap()).collect();
        let wanted: Vec<_> = expected(case, "features").iter().map(|feature| format!("x{feature}")).collect();
        assert_eq!(names, wanted);
        assert_eq!(report.metrics[0].0, "anomaly_rate");
        assert_all_close(&[report.metrics[0].1], &expected(case, "anomaly_rate"), 1e-12);
        let anomalies = answers.iter().filter(|(is_anomaly, ..)| *is_anomaly == Some(true)).count();
        assert_all_close(&[anomalies as f64 / answers.len() as f64], &expected(case, "anomaly_rate"), 1e-12);
    }
}

#[test]
fn scores_by_hand() {
    // The median of x is 3 and the distances 2 1 0 1 97 have the median 1; y is 4 twice, and missing or far once.
    let x = [1.0, 2.0, 3.0, 4.0, 100.0].map(Some);
    let y = [Some(4.0), Some(4.0), Some(4.0), None, Some(5.0)];
    let features = numbers(&[("x", &x), ("y", &y)]);
    let report = try_fit(&[("threshold", "2")], &features).unwrap();
    let found = answers(
        &report,
        &numbers(&[("x", &[Some(3.0), Some(9.0), None, None]), ("y", &[Some(4.0), None, Some(5.0), None])]),
    );
    // The MAD of y is 0, and its mean distance 1 / 4.
    let scores: Vec<f64> = found.iter().map(|(_, score, _)| score.unwrap()).collect();
    assert_all_close(&scores, &[0.0, 0.6745 * 6.0, 4.0 / 1.253_314, 0.0], 1e-12);
    let others: Vec<_> = found.into_iter().map(|(is_anomaly, _, name)| (is_anomaly.unwrap(), name)).collect();
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(others, [(false, name("x")), (true, name("x")), (true, name("y")), (false, None)]);
    // An even number of rows has its median between two: 2.5, with the distances 1.5 0.5 0.5 1.5.
    let report = try_fit(&[], &features.slice(0, 4)).unwrap();
    let found = answers(&report, &numbers(&[("x", &[Some(4.5)]), ("y", &[None])]));
    assert_all_close(&[found[0].1.unwrap()], &[0.6745 * 2.0 / 1.0], 1e-12);
}

#[test]
fn what_does_not_vary_says_nothing() {
    let features = numbers(&[("constant", &[Some(7.0); 5]), ("absent", &[None; 5])]);
    let report = try_fit(&[], &features).unwrap();
    let found = answers(&report, &numbers(&[("constant", &[Some(8.0), None]), ("absent", &[Some(1e50), None])]));
    assert_eq!(found, vec![(Some(false), Some(0.0), None); 2]);
}

#[test]
fn bad_rows_have_no_answer_and_categories_none_at_all() {
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, f64::INFINITY, 3.0, 1e50, 1.0 + 1e-15]));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..6).map(|i| i.to_string())));
    let features = RecordBatch::try_from_iter([("name", names), ("x", numbers)]).unwrap();
    let mut model = try_model(&[], &features).unwrap();
    let rejected = model.add(&features, &NullArray::new(6)).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1, 2]);
    let report = model.fit().unwrap();
    let found = answers(&report, &features);
    assert_eq!(report.rows, 4);
    assert_eq!((found[1].clone(), found[2].clone()), ((None, None, None), (None, None, None)));
    assert_eq!(found[4].2.as_deref(), Some("x"));
    assert!(found.iter().flat_map(|(_, score, _)| score).all(|score| score.is_finite()));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let check_error = |options: &[(&str, &str)], features: &RecordBatch, expected: Expect| {
        expected.assert_eq(&try_fit(options, features).err().map_or("no error".to_owned(), |error| error.to_string()));
    };
    let features = data_set("iris").0;
    check_error(
        &[],
        &features.slice(0, 0),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    check_error(
        &[],
        &RecordBatch::try_from_iter([("name", names)]).unwrap(),
        expect!["a model of type 'robust_zscore' needs at least one numeric feature column"],
    );
    check_error(
        &[("threshold", "-1")],
        &features,
        expect!["option threshold = '-1' is not valid; expected a number from 0 to 1000000"],
    );
    check_error(
        &[("limit", "3")],
        &features,
        expect!["model type 'robust_zscore' has no option 'limit'; valid options are threshold"],
    );
    let mut stopped = try_model(&[], &features).unwrap();
    stopped.add(&features, &NullArray::new(150)).unwrap();
    stopped.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(stopped.fit(), Err(MlError::Stopped)));
    let plain = try_fit(&[], &features).unwrap();
    for doc in batch_option_docs(TYPE).unwrap() {
        assert_eq!(try_fit(&[(doc.name, &doc.default)], &features).unwrap(), plain, "{}", doc.name);
    }
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let features = reference_rows(0..40_000).0;
    let alone = try_fit(&[], &features).unwrap();
    for threads in [2, 4] {
        let mut model = try_model(&[], &features).unwrap();
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
        let mut bytes = try_fit(&[], &features).unwrap().model;
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(model) = restore_predictor(&bytes) {
            let _ = model.answers(&features);
        }
    }
}
