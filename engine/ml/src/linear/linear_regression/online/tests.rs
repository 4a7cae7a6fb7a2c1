//! Hand-worked steps, the numbers of scikit-learn and River, units, snapshots, merging, and bad input.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::model::testing::{check_batch_boundaries, check_goes_on_restored, try_online};
use crate::registry::testing::restore_learning;
use crate::{FeatureSchema, ModelTable, OnlineSupervised, RejectReason, Result, create, restore_predictor, table_of};

const OPTIMIZERS: [&str; 4] = ["adagrad", "ftrl", "sgd", "adam"];

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn OnlineSupervised>> {
    try_online("linear_reg", options, features, &DataType::Float64)
}

fn model(options: &[(&str, &str)], features: &RecordBatch) -> Box<dyn OnlineSupervised> {
    try_model(options, features).unwrap()
}

fn one_column(values: &[Option<f64>]) -> RecordBatch {
    let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("x", values, true)]).unwrap()
}

/// The reference rows, and numbers that depend on them; with noise that nothing explains.
fn rows(range: std::ops::Range<usize>) -> (RecordBatch, Float64Array) {
    let (features, labels) = reference_rows(range.clone());
    let a = features.column(0).as_primitive::<Float64Type>();
    let noise = |row: usize| (row * 29 % 17) as f64 / 8.0;
    let label = |place: usize| 1000.0 + 20.0 * a.value(place) + 50.0 * f64::from(u8::from(labels.value(place)));
    let labels = range.enumerate().map(|(place, row)| Some(label(place) + noise(row))).collect();
    (features, labels)
}

fn weights(model: &dyn OnlineSupervised) -> Vec<f64> {
    let predictor = restore_predictor(&model.snapshot().unwrap()).unwrap();
    let table = table_of(predictor.as_ref(), ModelTable::Weights).unwrap();
    table["weight"].as_primitive::<Float64Type>().values().to_vec()
}

/// A rate by which thousands of rows are enough.
fn rate(optimizer: &str) -> &'static str {
    if matches!(optimizer, "sgd" | "adam") { "0.01" } else { "0.1" }
}

/// Mean absolute error of what is said of each row before it is learnt.
fn prequential_error(model: &mut dyn OnlineSupervised, features: &RecordBatch, labels: &Float64Array) -> f64 {
    let mut error = 0.0;
    for row in 0..labels.len() {
        let report = model.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
        error += (report.said.scores().value(0) - labels.value(row)).abs();
    }
    error / labels.len() as f64
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn two_steps_of_gradient_descent_by_hand() {
    // Row 1: score 0, error -4; at a rate of 0.1 the intercept moves to 0.4 and x = 2 to 0.8.
    // Row 2: score 0.4 + 0.8 = 1.2, error 0.2: the intercept to 0.38, x = 1 to 0.78.
    let features = one_column(&[Some(2.0), Some(1.0)]);
    let options = [("optimizer", "sgd"), ("learning_rate", "0.1"), ("standardize", "false")];
    let mut model = model(&options, &features);
    let report = model.learn(&features, &Float64Array::from(vec![4.0, 1.0])).unwrap();
    assert_eq!(report.said.scores(), Float64Array::from(vec![0.0, 0.0]));
    assert_all_close(&weights(&*model), &[0.78, 0.38], 1e-12);
    assert_all_close(model.predict(&features).unwrap().values(), &[1.94, 1.16], 1e-12);
}

#[test]
fn a_label_is_learnt_in_its_own_deviations() {
    // The first label is its own mean, so it moves nothing but that. The second, 14, is one deviation, 2, above the
    // mean of both, 12: error -1, and the intercept moves by 0.1.
    let features = one_column(&[None, None]);
    let mut model = model(&[("optimizer", "sgd"), ("learning_rate", "0.1")], &features);
    model.learn(&features.slice(0, 1), &Int64Array::from(vec![10])).unwrap();
    assert_eq!(model.predict(&features).unwrap().values(), &[10.0, 10.0]);
    model.learn(&features.slice(1, 1), &Int64Array::from(vec![14])).unwrap();
    assert_all_close(model.predict(&features).unwrap().values(), &[12.2, 12.2], 1e-12);
    assert_all_close(&weights(&*model), &[0.0, 12.2], 1e-12);
}

#[test]
fn gradient_descent_equals_scikit_learn_and_adam_its_paper() {
    let (features, labels) = data_set("diabetes");
    let scaled = features.columns().iter().map(|column| {
        let values = column.as_primitive::<Float64Type>().values().iter().map(|value| value / 1000.0);
        Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
    });
    let features = RecordBatch::try_new(features.schema(), scaled.collect()).unwrap();
    let labels = Float64Array::from(labels);
    let sgd = [("optimizer", "sgd"), ("learning_rate", "0.05"), ("l2", "0.01"), ("standardize", "false")];
    let adam = [("optimizer", "adam"), ("learning_rate", "0.5"), ("beta1", "0.8"), ("beta2", "0.99"), ("eps", "1e-8")];
    let huber = [&sgd[..], &[("loss", "huber"), ("huber_delta", "20")]].concat();
    let adam = [&adam[..], &[("standardize", "false")]].concat();
    for (case, options) in
        [("diabetes_sgd_squared_error", &sgd[..]), ("diabetes_sgd_huber", &huber), ("diabetes_adam", &adam)]
    {
        let mut model = model(options, &features);
        model.learn(&features, &labels).unwrap();
        let mut weights = weights(&*model);
        if case.ends_with("adam") {
            // By name there, so the intercept comes first.
            weights.rotate_right(1);
        }
        assert_all_close(&weights, &expected(case, "weights"), 1e-9);
    }
}

#[test]
fn errors_along_a_stream_are_not_above_those_of_river() {
    let (features, labels) = data_set("trump_approval");
    let labels = Float64Array::from(labels);
    for optimizer in ["adagrad", "adam", "sgd"] {
        let rate = if optimizer == "sgd" { "0.01" } else { "0.1" };
        let mut model = model(&[("optimizer", optimizer), ("learning_rate", rate)], &features);
        let error = prequential_error(&mut *model, &features, &labels);
        let theirs = expected(&format!("approval_{optimizer}"), "mean_absolute_error")[0];
        assert!(error <= theirs * 1.005, "{optimizer}: {error}, and River {theirs}");
    }
}

#[test]
fn it_learns_what_the_labels_depend_on() {
    let (features, labels) = rows(0..4000);
    for (optimizer, loss) in OPTIMIZERS.into_iter().flat_map(|rule| [(rule, "squared"), (rule, "huber")]) {
        let options = [("optimizer", optimizer), ("loss", loss), ("learning_rate", rate(optimizer))];
        let mut model = model(&options, &features);
        model.learn(&features.slice(0, 3000), &labels.slice(0, 3000)).unwrap();
        let said = model.predict(&features.slice(3000, 1000)).unwrap();
        let errors = said.values().iter().zip(&labels.values()[3000..]);
        let mean = errors.map(|(said, label)| (said - label).abs()).sum::<f64>() / 1000.0;
        // The labels' mean absolute deviation is 70, and part of them is a step that no line follows.
        assert!(mean < 20.0, "{optimizer}, {loss}: {mean}");
    }
}

#[test]
fn labels_far_from_all_others_move_hubers_loss_less() {
    let (features, labels) = rows(0..2000);
    let spoilt: Float64Array =
        labels.iter().enumerate().map(|(row, label)| if row % 50 == 7 { Some(1e5) } else { label }).collect();
    let error = |loss: &str| {
        let mut model = model(&[("loss", loss)], &features);
        model.learn(&features, &spoilt).unwrap();
        let said = model.predict(&features).unwrap();
        said.values().iter().zip(labels.values()).map(|(said, label)| (said - label).abs()).sum::<f64>() / 2000.0
    };
    assert!(error("huber") < 0.7 * error("squared"), "{} and {}", error("huber"), error("squared"));
}

#[test]
fn batch_boundaries_do_not_change_a_bit() {
    let (features, labels) = rows(0..700);
    for optimizer in OPTIMIZERS {
        let model = model(&[("optimizer", optimizer), ("max_categories", "4")], &features);
        check_batch_boundaries(&*model, &features, &labels);
    }
}

#[test]
fn a_restored_model_goes_on_as_the_original() {
    let (features, labels) = rows(0..400);
    for options in [[("loss", "huber"), ("huber_delta", "0.5")], [("optimizer", "adam"), ("beta1", "0.5")]] {
        let model = model(&options, &features);
        assert!(model.class_rows().is_empty());
        model.require_classes().unwrap();
        check_goes_on_restored(model, &features, &labels, 100);
    }
}

#[test]
fn a_merged_model_predicts_well_and_goes_on_learning() {
    let (features, labels) = rows(0..3000);
    for optimizer in OPTIMIZERS {
        let mut parts: Vec<_> =
            (0..3).map(|_| model(&[("optimizer", optimizer), ("learning_rate", rate(optimizer))], &features)).collect();
        for (part, start) in parts.iter_mut().zip([0, 1000, 2000]) {
            part.learn(&features.slice(start, 1000), &labels.slice(start, 1000)).unwrap();
        }
        let snapshots: Vec<_> = parts[1..].iter().map(|part| part.snapshot().unwrap()).collect();
        let mut merged = parts.swap_remove(0);
        merged.merge(&snapshots.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        assert_eq!(merged.rows_learnt(), 3000);
        let said = merged.predict(&features).unwrap();
        let errors = said.values().iter().zip(labels.values()).map(|(said, label)| (said - label).abs());
        assert!(errors.sum::<f64>() / 3000.0 < 25.0, "{optimizer}");
        merged.learn(&features, &labels).unwrap();
    }
    let (mut own, other) = (model(&[], &features), model(&[("loss", "huber")], &features));
    check_error(
        own.merge(&[&other.snapshot().unwrap()]),
        expect!["cannot merge models that differ in options; merge only copies of one model"],
    );
}

#[test]
fn rows_without_a_usable_label_are_reported_and_leave_no_trace() {
    let features = one_column(&[Some(1.0), Some(2.0), Some(3.0), Some(4.0), Some(f64::NAN), Some(5.0)]);
    let labels = Float64Array::from(vec![Some(1.0), None, Some(f64::NAN), Some(-1e51), Some(2.0), Some(3.0)]);
    let mut with_bad = model(&[], &features);
    let report = with_bad.learn(&features, &labels).unwrap();
    let rejected: Vec<_> = report.rejected.into_iter().map(|rejected| (rejected.row, rejected.reason)).collect();
    assert_eq!(
        rejected,
        [
            (1, RejectReason::NullLabel),
            (2, RejectReason::BadLabel),
            (3, RejectReason::BadLabel),
            (4, RejectReason::NotANumber { column: "x".into() }),
        ]
    );
    assert_eq!((report.rows, report.said.labels.null_count()), (2, 4));
    let mut without = model(&[], &features);
    for row in [0, 5] {
        without.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap();
    }
    assert_eq!(with_bad.snapshot().unwrap(), without.snapshot().unwrap());
}

#[test]
fn no_numbers_make_it_explode() {
    let signs = |magnitude: f64| (0..400).map(move |row| Some(if row % 3 == 0 { -magnitude } else { magnitude }));
    for (optimizer, standardize) in OPTIMIZERS.into_iter().flat_map(|rule| [(rule, "true"), (rule, "false")]) {
        for (number, label) in [(1e50, 1e50), (1e-30, 1e50), (1e50, 1e-30), (0.0, 0.0)] {
            let features = one_column(&signs(number).collect::<Vec<_>>());
            let options = [("optimizer", optimizer), ("standardize", standardize), ("learning_rate", "1000")];
            let mut model = model(&options, &features);
            model.learn(&features, &signs(label).rev().collect::<Float64Array>()).unwrap();
            assert!(model.predict(&features).unwrap().values().iter().all(|said| said.is_finite()));
            restore_learning(&model.snapshot().unwrap()).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_made_or_learnt_is_an_error() {
    let (features, labels) = rows(0..10);
    check_error(
        try_model(&[("loss", "cubic")], &features),
        expect!["option loss = 'cubic' is not valid; expected squared or huber"],
    );
    check_error(
        try_model(&[("huber_delta", "2")], &features),
        expect!["option huber_delta = '2' is not valid; expected loss = 'huber' beside it"],
    );
    check_error(
        try_model(&[("loss", "huber"), ("huber_delta", "0")], &features),
        expect!["option huber_delta = '0' is not valid; expected a number from 0.000000001 to 1000000000000000"],
    );
    check_error(
        try_model(&[("l1_reg", "2")], &features),
        expect![
            "model type 'linear_reg' has no option 'l1_reg'; valid options are loss, huber_delta, optimizer, learning_rate, l1, l2, initial_accumulator, eps, beta, beta1, beta2, standardize, clip, max_categories"
        ],
    );
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    check_error(
        create("linear_reg", &BTreeMap::new(), &schema, &DataType::Boolean),
        expect!["label column 'label' has the unsupported type Boolean; cast it to DOUBLE PRECISION"],
    );
    let mut model = model(&[], &features);
    check_error(model.learn(&features, &labels.slice(0, 9)), expect!["the batch has 10 rows but 9 labels"]);
    check_error(
        model.learn(&features, &StringArray::from(vec!["1"; 10])),
        expect!["label column 'label' has the unsupported type Utf8; cast it to DOUBLE PRECISION"],
    );
    check_error(
        model.learn(&features.project(&[0]).unwrap(), &labels),
        expect!["feature column 'b' is missing; the batch has a"],
    );
    assert!(model.learn(&features, &BooleanArray::from(vec![true; 10])).is_err());
    assert_eq!(model.rows_learnt(), 0);
    let report = model.learn(&features.slice(0, 0), &labels.slice(0, 0)).unwrap();
    assert_eq!((report.rows, report.said.labels.len()), (0, 0));
}

proptest! {
    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        optimizer in prop::sample::select(OPTIMIZERS.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, labels) = rows(0..60);
        let mut model = model(&[("optimizer", optimizer), ("loss", "huber")], &features);
        model.learn(&features, &labels).unwrap();
        let mut bytes = model.snapshot().unwrap();
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(mut model) = restore_learning(&bytes) {
            if model.predictions(&features).is_ok() {
                model.learn(&features, &labels).unwrap();
            }
            let snapshot = model.snapshot().unwrap();
            model.merge(&[&snapshot]).unwrap();
        }
    }
}
