//! scikit-learn's labels, numbers by hand, one model whatever the threads, bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, NullArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::batch::unlabelled;
use crate::goldens::{data_set, expected, reference_rows};
use crate::inspect::ModelTable;
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Result, batch_option_docs, fitted_outputs, restore,
    restore_predictor, takes_label,
};

const DBSCAN: &str = "dbscan";
const RAW: (&str, &str) = ("standardize_features", "false");

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    unlabelled::try_model(DBSCAN, options, features)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    unlabelled::try_fit(DBSCAN, options, features)
}

fn fit(options: &[(&str, &str)], features: &RecordBatch) -> FitReport {
    try_fit(options, features).unwrap()
}

/// The cluster of each row, 0 for noise; none for a row that cannot be used.
fn answers(report: &FitReport, features: &RecordBatch) -> Vec<Option<i64>> {
    let said = restore_predictor(&report.model).unwrap().answers(features).unwrap();
    let (clusters, is_noise) = (said[0].as_primitive::<Int64Type>(), said[1].as_boolean());
    let answer = |row: usize| {
        let is_noise = is_noise.is_valid(row).then(|| is_noise.value(row))?;
        assert_eq!(is_noise, clusters.is_null(row));
        Some(if is_noise { 0 } else { clusters.value(row) })
    };
    (0..features.num_rows()).map(answer).collect()
}

/// The same of rows that can all be used.
fn clusters(report: &FitReport, features: &RecordBatch) -> Vec<i64> {
    answers(report, features).into_iter().map(Option::unwrap).collect()
}

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(known, _)| known == name).unwrap().1
}

fn numbers(columns: &[&[f64]]) -> RecordBatch {
    let columns = columns.iter().map(|column| Arc::new(Float64Array::from(column.to_vec())) as ArrayRef);
    RecordBatch::try_from_iter(columns.enumerate().map(|(place, column)| (format!("x{place}"), column))).unwrap()
}

fn one_column(column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap()
}

/// Each row and the one after it, in the middle.
fn midpoints(features: &RecordBatch) -> RecordBatch {
    let middle = |column: &ArrayRef| -> Vec<f64> {
        column.as_primitive::<Float64Type>().values().windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect()
    };
    let columns: Vec<Vec<f64>> = features.columns().iter().map(middle).collect();
    numbers(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

/// scikit-learn's labels, but for `of_several` rows near cores of several clusters; and what `goldens/dbscan.py` works
/// out about those and about rows that are not in the set.
#[track_caller]
fn check_labels(case: &str, features: &RecordBatch, asked: &RecordBatch, options: &[(&str, &str)], of_several: usize) {
    let report = fit(options, features);
    let labels = |name| expected(case, name).iter().map(|label| *label as i64 + 1).collect::<Vec<_>>();
    let (found, labels, nearest) = (clusters(&report, features), labels("labels"), labels("nearest"));
    assert_eq!(found, nearest, "{case}");
    assert_eq!(found.iter().zip(&labels).filter(|(one, other)| one != other).count(), of_several, "{case}");
    let asked_labels = expected(case, "asked").iter().map(|label| *label as i64 + 1).collect::<Vec<_>>();
    assert_eq!(clusters(&report, asked), asked_labels, "{case}");
    let noise = labels.iter().filter(|label| **label == 0).count();
    assert_eq!(metric(&report, "num_clusters"), labels.iter().copied().max().unwrap() as f64);
    assert_eq!(metric(&report, "noise_rate"), noise as f64 / labels.len() as f64);
}

#[test]
fn labels_equal_scikit_learn() {
    let ((iris, _), (digits, _), (moons, _)) = (data_set("iris"), data_set("digits"), data_set("moons"));
    let check = |case, set: &RecordBatch, options: &[(&str, &str)], of_several| {
        check_labels(case, set, &midpoints(set), options, of_several);
    };
    check("iris_dbscan", &iris, &[RAW], 0);
    check("iris_dbscan_standardized", &iris, &[("eps", "0.6"), ("min_samples", "4")], 0);
    check("digits_dbscan", &digits, &[RAW, ("eps", "20")], 3);
    check("moons_dbscan", &moons, &[RAW, ("eps", "0.15")], 0);
    check("moons_dbscan_sparse", &moons, &[RAW, ("eps", "0.11"), ("min_samples", "6")], 1);
    let (mixed, _) = reference_rows(0..400);
    check_labels("mixed_dbscan", &mixed, &mixed, &[("eps", "0.35"), ("min_samples", "4")], 0);
}

#[test]
fn clusters_by_hand() {
    // The noise comes first: clusters are numbered by their cores.
    let features = numbers(&[&[6.0, 13.0, 12.0, 11.0, 10.0, 0.0, 1.0, 2.0, 3.0]]);
    let report = fit(&[RAW, ("eps", "1"), ("min_samples", "3")], &features);
    assert_eq!(clusters(&report, &features), [0, 1, 1, 1, 1, 2, 2, 2, 2]);
    // The cores are 11, 12, 1 and 2; what is as far as eps is near.
    let asked = numbers(&[&[3.0, 3.001, 0.0, -0.001, 10.0, 9.999, 1.5, 1e50]]);
    assert_eq!(clusters(&report, &asked), [2, 0, 2, 0, 1, 0, 2, 0]);
    assert_eq!((report.loss, report.iterations, report.converged, report.rows), (0.0, 1, true, 9));
}

#[test]
fn a_row_near_several_clusters_is_of_the_nearest_cores() {
    // 1.9 is no core, 0.9 from one of the first cluster and 0.8 from one of the second.
    let features = numbers(&[&[0.0, 0.3, 0.6, 1.0, 1.9, 2.7, 3.0, 3.3, 3.6]]);
    let report = fit(&[RAW, ("eps", "1"), ("min_samples", "4")], &features);
    assert_eq!(clusters(&report, &features), [1, 1, 1, 1, 2, 2, 2, 2, 2]);
    // As far from both: the earlier core.
    let features = numbers(&[&[3.0, 3.25, 3.5, 3.75, 2.0, 1.0, 0.75, 0.5, 0.25]]);
    let report = fit(&[RAW, ("eps", "1"), ("min_samples", "4")], &features);
    assert_eq!(clusters(&report, &features), [1, 1, 1, 1, 1, 2, 2, 2, 2]);
}

#[test]
fn categories_are_apart_and_missing_numbers_the_mean() {
    let kinds = vec![Some("a"), Some("a"), Some("b"), Some("b"), None, None];
    let columns: [(&str, ArrayRef); 2] = [
        ("kind", Arc::new(StringArray::from(kinds))),
        ("x", Arc::new(Float64Array::from(vec![Some(4.0), None, Some(6.0), Some(5.0), Some(5.0), None]))),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let found = |eps| clusters(&fit(&[RAW, ("eps", eps), ("min_samples", "2")], &features), &features);
    assert_eq!(found("1"), [1, 1, 2, 2, 3, 3]);
    assert_eq!(found("0.5"), [0, 0, 0, 0, 1, 1]);
    // The root of 2 is 1.41421….
    assert_eq!(found("1.4142"), [1, 1, 2, 2, 3, 3]);
    assert_eq!(found("1.4143"), [1; 6]);
    // What was never seen is 1 from any category.
    let unseen: [(&str, ArrayRef); 2] = [
        ("x", Arc::new(Float64Array::from(vec![Some(4.0), Some(4.25), None]))),
        ("kind", Arc::new(StringArray::from(vec!["never", "never", "a"]))),
    ];
    let unseen = RecordBatch::try_from_iter_with_nullable(unseen.map(|(name, array)| (name, array, true))).unwrap();
    assert_eq!(clusters(&fit(&[RAW, ("eps", "1"), ("min_samples", "2")], &features), &unseen), [1, 0, 1]);
}

#[test]
fn categories_past_the_limit_are_one() {
    let texts = StringArray::from(vec!["a", "a", "b", "c", "d"]);
    let features = one_column(Arc::new(texts));
    let report = fit(&[("max_categories", "1"), ("min_samples", "2")], &features);
    assert_eq!(clusters(&report, &features), [1, 1, 2, 2, 2]);
}

#[test]
fn constant_and_missing_columns_say_nothing() {
    let columns: [(&str, ArrayRef); 3] = [
        ("constant", Arc::new(Float64Array::from(vec![7.0; 4]))),
        ("missing", Arc::new(Float64Array::new_null(4))),
        ("x", Arc::new(Float64Array::from(vec![1.0, 2.0, 30.0, 31.0]))),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    for options in [[("eps", "1"), RAW], [("eps", "0.1"), ("standardize_features", "true")]] {
        let report = fit(&[&options[..], &[("min_samples", "2")]].concat(), &features);
        assert_eq!(clusters(&report, &features), [1, 1, 2, 2]);
        // Nothing but constants is one cluster.
        let nothing = features.project(&[0, 1]).unwrap();
        assert_eq!(clusters(&fit(&[("min_samples", "4")], &nothing), &nothing), [1; 4]);
    }
}

#[test]
fn fewer_rows_than_a_core_needs_are_noise() {
    let features = numbers(&[&[1.0, 1.0, 1.0]]);
    let report = fit(&[("min_samples", "4")], &features);
    assert_eq!(clusters(&report, &features), [0; 3]);
    assert_eq!((metric(&report, "num_clusters"), metric(&report, "noise_rate")), (0.0, 1.0));
    let report = fit(&[("min_samples", "3")], &features);
    assert_eq!((clusters(&report, &features), metric(&report, "num_clusters")), (vec![1; 3], 1.0));
    // Where one row is enough, each is a core.
    let features = numbers(&[&[1.0, 5.0, 9.0]]);
    assert_eq!(clusters(&fit(&[RAW, ("min_samples", "1")], &features), &features), [1, 2, 3]);
}

#[test]
fn many_rows_in_few_places_take_no_pairs_of_them() {
    // All pairs would be 10^10 distances.
    let values: Vec<f64> = (0..100_000).map(|row| f64::from(row % 3 * 10)).collect();
    let report = fit(&[RAW], &numbers(&[&values]));
    assert_eq!((metric(&report, "num_clusters"), metric(&report, "noise_rate")), (3.0, 0.0));
    // One cluster that reaches farther than eps, of boxes that are small.
    let values: Vec<f64> = (0..100_000).map(|row| f64::from(row * 7919 % 100_003) / 1000.0).collect();
    let report = fit(&[RAW], &numbers(&[&values]));
    assert_eq!((metric(&report, "num_clusters"), metric(&report, "noise_rate")), (1.0, 0.0));
}

#[test]
fn more_columns_than_rows_can_be_clustered() {
    let columns: Vec<Vec<f64>> = (0..40).map(|column| vec![0.0, f64::from(column), f64::from(column) + 0.1]).collect();
    let features = numbers(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(clusters(&fit(&[RAW, ("min_samples", "2")], &features), &features), [0, 0, 0]);
    // The last two rows are the root of 0.4 apart.
    assert_eq!(clusters(&fit(&[RAW, ("min_samples", "2"), ("eps", "0.7")], &features), &features), [0, 1, 1]);
}

#[test]
fn large_numbers_are_at_finite_distances() {
    let features = numbers(&[&[1e50, -1e50, 9.9e49]]);
    assert_eq!(clusters(&fit(&[RAW, ("min_samples", "2"), ("eps", "1e49")], &features), &features), [1, 0, 1]);
    assert_eq!(clusters(&fit(&[RAW, ("min_samples", "1"), ("eps", "1e-300")], &features), &features), [1, 2, 3]);
}

#[test]
fn rows_that_cannot_be_learnt_get_no_answer() {
    let values = vec![Some(1.0), Some(f64::NAN), Some(1.2), Some(f64::INFINITY), None, Some(90.0)];
    let features = one_column(Arc::new(Float64Array::from(values)));
    let mut model = try_model(&[RAW, ("min_samples", "2")], &features).unwrap();
    let rejected = model.add(&features, &NullArray::new(6)).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1, 3]);
    let report = model.fit().unwrap();
    assert_eq!(report.rows, 4);
    assert!(matches!(model.add(&features, &NullArray::new(6)), Err(MlError::AlreadyFitted)));
    assert_eq!(answers(&report, &features), [Some(1), None, Some(1), None, Some(0), Some(0)]);
    assert_eq!(answers(&report, &features.slice(0, 0)), []);
}

#[test]
fn the_answer_has_the_type_that_was_announced() {
    let (features, _) = data_set("moons");
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let model = restore_predictor(&fit(&[], &features).model).unwrap();
    let outputs = fitted_outputs(DBSCAN, &[].into(), &schema, ("", &DataType::Null)).unwrap();
    assert_eq!(outputs, model.outputs(""));
    let said = model.answers(&features).unwrap();
    assert_eq!(outputs.len(), said.len());
    for (field, array) in outputs.iter().zip(&said) {
        assert_eq!((field.data_type(), array.len()), (array.data_type(), 300));
    }
    assert_eq!((model.model_type(), model.rows_learnt()), (DBSCAN, 300));
    assert!(!takes_label(DBSCAN).unwrap());
    assert!(matches!(restore(&fit(&[], &features).model), Err(MlError::NotOnline { model_type: DBSCAN })));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, _) = data_set("moons");
    check_error(
        try_fit(&[], &features.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(&[("epsilon", "1")], &features),
        expect![
            "model type 'dbscan' has no option 'epsilon'; valid options are eps, min_samples, standardize_features, max_categories"
        ],
    );
    for eps in ["0", "-1", "nan", "inf", "much"] {
        let error = try_fit(&[("eps", eps)], &features).unwrap_err().to_string();
        assert_eq!(error, format!("option eps = '{eps}' is not valid; expected a number above 0, up to 1e50"));
    }
    check_error(
        try_fit(&[("min_samples", "0")], &features),
        expect!["option min_samples = '0' is not valid; expected a number from 1 to 1000000000"],
    );
    let mut model = try_model(&[], &features).unwrap();
    model.add(&features, &NullArray::new(300)).unwrap();
    model.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(model.fit(), Err(MlError::Stopped)));
    let plain = fit(&[], &features);
    for doc in batch_option_docs(DBSCAN).unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features), plain, "{}", doc.name);
    }
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let (features, _) = reference_rows(0..10_000);
    let options = [("eps", "0.1"), ("min_samples", "4")];
    let alone = fit(&options, &features);
    assert!(metric(&alone, "num_clusters") > 10.0 && metric(&alone, "noise_rate") > 0.0);
    for threads in [2, 4] {
        let mut model = try_model(&options, &features).unwrap();
        for (start, rows) in [(0, 1), (1, 1030), (1031, 8969)] {
            model.add(&features.slice(start, rows), &NullArray::new(rows)).unwrap();
        }
        model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
        assert_eq!(model.fit().unwrap(), alone);
        // A second fit ends where the first one did.
        assert_eq!(model.fit().unwrap(), alone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, _) = reference_rows(0..100);
        let mut bytes = fit(&[("eps", "1"), ("min_samples", "2")], &features).model;
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(model) = restore_predictor(&bytes) {
            let _ = model.answers(&features);
            let _ = ModelTable::ALL.map(|table| model.table(table).map(drop));
        }
    }
}
