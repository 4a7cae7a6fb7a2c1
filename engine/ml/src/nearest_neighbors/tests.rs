//! scikit-learn's answers, distances and ties by hand, every row by its definition, one model whatever the batches, bad input.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::config::Distance;
use super::rows::Rows;
use super::search::nearest;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Predictions, Result, batch_option_docs, create_batch,
    restore_supervised,
};

const CLASSIFIER: &str = "knn_classifier";
const REGRESSOR: &str = "knn_regressor";

type Options<'a> = &'a [(&'a str, &'a str)];

fn try_model(
    model_type: &str,
    options: Options<'_>,
    features: &RecordBatch,
    label: &DataType,
) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch(model_type, &options, &FeatureSchema::from_arrow(&features.schema())?, label)
}

fn try_fit(model_type: &str, options: Options<'_>, features: &RecordBatch, labels: &dyn Array) -> Result<FitReport> {
    let mut model = try_model(model_type, options, features, labels.data_type())?;
    model.add(features, labels)?;
    model.fit()
}

fn fit(model_type: &str, options: Options<'_>, features: &RecordBatch, labels: &dyn Array) -> FitReport {
    try_fit(model_type, options, features, labels).unwrap()
}

fn predicted(report: &FitReport, features: &RecordBatch) -> Predictions {
    restore_supervised(&report.model).unwrap().predictions(features).unwrap()
}

fn integers(labels: &[f64]) -> Int64Array {
    labels.iter().map(|label| Some(*label as i64)).collect()
}

fn one_column(values: &[f64]) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(values.to_vec())) as ArrayRef)]).unwrap()
}

fn numbers(predictions: &Predictions) -> Vec<f64> {
    predictions.labels.as_primitive::<Float64Type>().values().to_vec()
}

/// The rows to fit to, and every fifth, held out.
fn halves(features: &RecordBatch, labels: &dyn Array) -> (RecordBatch, ArrayRef, RecordBatch) {
    let rows =
        |is_held: bool| UInt64Array::from_iter_values((0..labels.len() as u64).filter(|row| (row % 5 == 0) == is_held));
    let of = |rows: &UInt64Array| take_record_batch(features, rows).unwrap();
    (of(&rows(false)), take(labels, &rows(false), None).unwrap(), of(&rows(true)))
}

/// Fits to rows, and compares what is said of others.
#[track_caller]
fn check_golden(case: &str, options: Options<'_>, fitted: &RecordBatch, labels: &dyn Array, asked: &RecordBatch) {
    let is_number = labels.data_type() == &DataType::Float64;
    let predictions = predicted(&fit(if is_number { REGRESSOR } else { CLASSIFIER }, options, fitted, labels), asked);
    let said: Vec<f64> = match predictions.labels.data_type() {
        DataType::Float64 => numbers(&predictions),
        DataType::Boolean => {
            predictions.labels.as_boolean().iter().map(|label| f64::from(u8::from(label.unwrap()))).collect()
        }
        _ => predictions.labels.as_primitive::<Int64Type>().values().iter().map(|label| *label as f64).collect(),
    };
    assert_all_close(&said, &expected(case, "labels"), 1e-9);
    if !is_number {
        let of_row = |row: usize| predictions.probabilities.iter().map(move |class| class.value(row));
        let some: Vec<f64> = (0..asked.num_rows()).step_by(7).flat_map(of_row).collect();
        assert_all_close(&some, &expected(case, "probabilities"), 1e-6);
    }
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn classes_equal_scikit_learn() {
    let raw = ("standardize_features", "false");
    for name in ["iris", "wine", "digits", "breast_cancer"] {
        let (features, labels) = data_set(name);
        let (fitted, labels, asked) = halves(&features, &integers(&labels));
        let check = |case: &str, options: Options<'_>| {
            check_golden(&format!("{name}_knn{case}"), options, &fitted, &labels, &asked);
        };
        check("", &[raw]);
        check("_scaled", &[]);
        check("_weighted", &[("k", "7"), ("weights", "distance")]);
        check("_manhattan", &[("num_neighbors", "3"), ("distance", "manhattan")]);
        check("_cosine", &[raw, ("distance", "cosine"), ("weights", "distance")]);
    }
}

#[test]
fn numbers_equal_scikit_learn() {
    let (features, labels) = data_set("diabetes");
    let (fitted, labels, asked) = halves(&features, &Float64Array::from(labels));
    check_golden("diabetes_knn", &[("standardize_features", "false")], &fitted, &labels, &asked);
    check_golden("diabetes_knn_scaled", &[("k", "10"), ("weights", "distance")], &fitted, &labels, &asked);
    check_golden("diabetes_knn_manhattan", &[("k", "4"), ("distance", "manhattan")], &fitted, &labels, &asked);
    check_golden("diabetes_knn_cosine", &[("distance", "cosine")], &fitted, &labels, &asked);
}

#[test]
fn categories_are_one_hot() {
    let (fitted, labels) = reference_rows(0..200);
    let (asked, _) = reference_rows(200..400);
    for distance in ["euclidean", "manhattan", "cosine"] {
        let case = if distance == "euclidean" { "mixed_knn".to_owned() } else { format!("mixed_knn_{distance}") };
        check_golden(&case, &[("distance", distance), ("weights", "distance")], &fitted, &labels, &asked);
    }
}

#[test]
fn distances_by_hand() {
    let rows: [(&[f64], &[u32]); 3] = [(&[0.0, 0.0], &[7, 9]), (&[3.0, 4.0], &[7, 8]), (&[-1.0, 1.0], &[6, 8])];
    let distances = |distance, numbers: &[f64], categories: &[u32]| {
        let (mut stored, mut asked) = (Rows::new(distance, 2, 2), Rows::new(distance, 2, 2));
        rows.iter().for_each(|(numbers, categories)| stored.push(numbers, categories));
        asked.push(numbers, categories);
        let mut found = nearest(&stored, &asked, 3).remove(0);
        found.sort_by_key(|neighbor| neighbor.row);
        found.iter().map(|neighbor| neighbor.distance).collect::<Vec<_>>()
    };
    assert_eq!(distances(Distance::Euclidean, &[0.0, 0.0], &[7, 9]), [0.0, 27_f64.sqrt(), 6_f64.sqrt()]);
    assert_eq!(distances(Distance::Manhattan, &[0.0, 0.0], &[7, 9]), [0.0, 9.0, 6.0]);
    // A category that was never seen is in no place: 1 from any, and nothing of the length.
    assert_eq!(distances(Distance::Manhattan, &[0.0, 0.0], &[u32::MAX, 9]), [1.0, 10.0, 5.0]);
    let cosines = [0.0, 1.0 - 1.0 / (2_f64 * 27.0).sqrt(), 1.0];
    assert_all_close(&distances(Distance::Cosine, &[0.0, 0.0], &[7, 9]), &cosines, 1e-15);
    assert_eq!(distances(Distance::Cosine, &[0.0, 0.0], &[u32::MAX; 2]), [1.0; 3]);
}

#[test]
fn of_rows_as_far_the_earlier_answer() {
    let fitted = one_column(&[2.0, 0.0, 2.0, 0.0, 2.0, 1.0, 0.0, 9.0]);
    let labels = Float64Array::from(vec![1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7]);
    let of = |k: &str, at: f64| {
        let options = [("k", k), ("standardize_features", "false")];
        let k: f64 = k.parse().unwrap();
        numbers(&predicted(&fit(REGRESSOR, &options, &fitted, &labels), &one_column(&[at])))[0] * k
    };
    assert_eq!((of("1", 2.0), of("2", 2.0), of("1", 0.0)), (1.0, 101.0, 10.0));
    assert_eq!((of("1", 1.0), of("2", 1.0), of("4", 1.0)), (1e5, 100_001.0, 100_111.0));
    // Of classes with as many neighbours, the first.
    let classes = StringArray::from(vec!["b", "a", "b", "a", "b", "c", "a", "d"]);
    let report = fit(CLASSIFIER, &[("k", "3")], &fitted, &classes);
    let predictions = predicted(&report, &one_column(&[1.0]));
    assert_eq!(predictions.labels.as_string::<i32>().value(0), "a");
    let probabilities: Vec<f64> = predictions.probabilities.iter().map(|class| class.value(0)).collect();
    assert_eq!(probabilities, [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]);
}

#[test]
fn neighbours_at_no_distance_answer_alone() {
    let fitted = one_column(&[0.0, 1.0, 1.0, 3.0]);
    let labels = Float64Array::from(vec![8.0, 1.0, 3.0, 5.0]);
    let options = [("k", "4"), ("weights", "distance"), ("standardize_features", "false")];
    let report = fit(REGRESSOR, &options, &fitted, &labels);
    // At 2 the weights are 1/2, 1, 1 and 1.
    assert_all_close(&numbers(&predicted(&report, &one_column(&[1.0, 2.0]))), &[2.0, 13.0 / 3.5], 1e-12);
    let tiny = fit(REGRESSOR, &options, &one_column(&[5e-324, 1.0, 2.0, 3.0]), &labels);
    assert_eq!(numbers(&predicted(&tiny, &one_column(&[0.0]))), [8.0]);
}

#[test]
fn missing_numbers_are_the_mean_and_bad_ones_have_no_answer() {
    let columns = |numbers: Vec<Option<f64>>, texts: Vec<Option<&str>>| {
        let columns: [(&str, ArrayRef); 2] =
            [("x", Arc::new(Float64Array::from(numbers))), ("c", Arc::new(StringArray::from(texts)))];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
    };
    let fitted = columns(vec![Some(10.0), Some(20.0), Some(30.0), None], vec![Some("a"), Some("a"), Some("b"), None]);
    let labels = Float64Array::from(vec![1.0, 2.0, 3.0, 4.0]);
    let asked = columns(
        vec![None, None, Some(f64::NAN), Some(1e60), Some(30.0)],
        vec![Some("a"), None, Some("a"), Some("a"), Some("unseen")],
    );
    for standardize in ["true", "false"] {
        let report = fit(REGRESSOR, &[("k", "1"), ("standardize_features", standardize)], &fitted, &labels);
        let said: Vec<_> = predicted(&report, &asked).labels.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(said, [Some(2.0), Some(4.0), None, None, Some(3.0)]);
        let model = restore_supervised(&report.model).unwrap();
        assert_eq!((model.model_type(), model.label_type(), model.rows_learnt()), (REGRESSOR, DataType::Float64, 4));
        assert!(model.class_names().is_empty());
    }
}

#[test]
fn rows_of_constants_are_all_as_near() {
    let columns: [(&str, ArrayRef); 2] = [
        ("constant", Arc::new(Float64Array::from(vec![0.1; 6]))),
        ("null", Arc::new(Float64Array::from(vec![None; 6]))),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let labels = BooleanArray::from(vec![true, false, true, true, false, false]);
    for distance in ["euclidean", "manhattan", "cosine"] {
        let report = fit(CLASSIFIER, &[("k", "3"), ("distance", distance)], &features, &labels);
        let predictions = predicted(&report, &features);
        assert_all_close(predictions.probabilities[1].values(), &[2.0 / 3.0; 6], 1e-12);
    }
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, labels) = reference_rows(0..20);
    check_error(
        try_fit(CLASSIFIER, &[("k", "21")], &features, &labels),
        expect!["option num_neighbors = '21' is not valid; expected at most 20, the rows of the training set"],
    );
    check_error(
        try_fit(CLASSIFIER, &[], &features.slice(0, 0), &labels.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(REGRESSOR, &[], &features.slice(0, 0), &Float64Array::from(Vec::<f64>::new())),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(CLASSIFIER, &[], &features, &BooleanArray::from(vec![true; 20])),
        expect!["all 20 rows have the label 'true'; a classifier needs rows of at least two classes"],
    );
    check_error(
        try_fit(REGRESSOR, &[], &features, &labels),
        expect!["label column 'label' has the unsupported type Boolean; cast it to DOUBLE PRECISION"],
    );
    check_error(
        try_fit(CLASSIFIER, &[("radius", "1")], &features, &labels),
        expect![
            "model type 'knn_classifier' has no option 'radius'; valid options are num_neighbors, distance, weights, standardize_features, max_categories"
        ],
    );
    check_error(
        try_fit(CLASSIFIER, &[("k", "3"), ("num_neighbors", "3")], &features, &labels),
        expect!["option k = '3' is not valid; expected num_neighbors without k, which is short for it"],
    );
    check_error(
        try_fit(CLASSIFIER, &[("k", "0")], &features, &labels),
        expect!["option num_neighbors = '0' is not valid; expected a number from 1 to 10000"],
    );
    check_error(
        try_fit(CLASSIFIER, &[("distance", "hamming")], &features, &labels),
        expect!["option distance = 'hamming' is not valid; expected one of euclidean, manhattan, cosine"],
    );
    let plain = fit(CLASSIFIER, &[], &features, &labels);
    for doc in batch_option_docs(CLASSIFIER).unwrap() {
        assert_eq!(fit(CLASSIFIER, &[(doc.name, &doc.default)], &features, &labels), plain, "{}", doc.name);
    }
    let mut model = try_model(CLASSIFIER, &[], &features, &DataType::Boolean).unwrap();
    model.add(&features, &labels).unwrap();
    model.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    check_error(model.fit(), expect!["the fit was stopped"]);
}

#[test]
fn batches_do_not_change_a_bit() {
    let (features, labels) = reference_rows(0..3000);
    let alone = fit(CLASSIFIER, &[], &features, &labels);
    let mut model = try_model(CLASSIFIER, &[], &features, &DataType::Boolean).unwrap();
    for (start, rows) in [(0, 1), (1, 1030), (1031, 1969)] {
        model.add(&features.slice(start, rows), &labels.slice(start, rows)).unwrap();
    }
    assert_eq!(model.fit().unwrap(), alone);
    // Nor do the rows that are asked for beside a row.
    let together = predicted(&alone, &features.slice(0, 131)).probabilities[1].clone();
    for row in 0..131 {
        assert_eq!(predicted(&alone, &features.slice(row, 1)).probabilities[1].value(0), together.value(row));
    }
}

/// The distance by its definition, feature by feature.
fn by_definition(distance: Distance, a: &[f64], b: &[f64]) -> f64 {
    let sum = |term: fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| term(*a, *b)).sum::<f64>();
    let length = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    match distance {
        Distance::Euclidean => sum(|a, b| (a - b).powi(2)).sqrt(),
        Distance::Manhattan => sum(|a, b| (a - b).abs()),
        Distance::Cosine if length(a) * length(b) == 0.0 => 1.0,
        Distance::Cosine => 1.0 - sum(|a, b| a * b) / (length(a) * length(b)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_nearest_are_those_of_all_rows_sorted(
        stored in prop::collection::vec(prop::collection::vec(-3..4i32, 3), 1..80),
        asked in prop::collection::vec(prop::collection::vec(-3..4i32, 3), 1..70),
        count in 1..9usize,
        distance in prop::sample::select(vec![Distance::Euclidean, Distance::Manhattan]),
    ) {
        let floats = |rows: &[Vec<i32>]| -> Vec<Vec<f64>> {
            rows.iter().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
        };
        let (stored, asked) = (floats(&stored), floats(&asked));
        let side_by_side = |rows: &[Vec<f64>]| {
            let mut lanes = Rows::new(distance, 3, 0);
            rows.iter().for_each(|row| lanes.push(row, &[]));
            lanes
        };
        let count = count.min(stored.len());
        let found = nearest(&side_by_side(&stored), &side_by_side(&asked), count);
        prop_assert_eq!(found.len(), asked.len());
        for (found, asked) in found.iter().zip(&asked) {
            let mut all: Vec<(f64, u32)> =
                stored.iter().zip(0..).map(|(stored, row)| (by_definition(distance, asked, stored), row)).collect();
            // Whole numbers are exact, so rows as far are told apart by their order alone.
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let found: Vec<_> = found.iter().map(|neighbor| (neighbor.distance, neighbor.row)).collect();
            prop_assert_eq!(&found[..], &all[..count]);
        }
    }

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        is_classifier in any::<bool>(),
    ) {
        let (features, labels) = reference_rows(0..40);
        let mut bytes = if is_classifier {
            fit(CLASSIFIER, &[], &features, &labels).model
        } else {
            fit(REGRESSOR, &[], &features, features.column(1)).model
        };
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        match restore_supervised(&bytes) {
            Ok(model) => {
                let _ = model.predictions(&features);
            }
            Err(error) => prop_assert!(!matches!(error, MlError::Stopped)),
        }
    }
}
