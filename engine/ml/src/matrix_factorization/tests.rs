//! The same answers as numpy's (`goldens/matrix_factorization.py`), what was not seen, the same bits whatever the
//! threads, and bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::goldens::{assert_all_close, expected};
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Result, batch_option_docs, create_batch,
    predicted_label_type, restore_supervised,
};

const TYPE: &str = "matrix_factorization";

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch(TYPE, &options, &FeatureSchema::from_arrow(&features.schema())?, &DataType::Float64)
}

fn try_fit(options: &[(&str, &str)], (features, labels): &(RecordBatch, Float64Array)) -> Result<FitReport> {
    let mut model = try_model(options, features)?;
    model.add(features, labels)?;
    model.fit()
}

fn said(report: &FitReport, features: &RecordBatch) -> Vec<f64> {
    let labels = restore_supervised(&report.model).unwrap().predictions(features).unwrap().labels;
    labels.as_primitive::<Float64Type>().iter().map(|said| said.unwrap_or(f64::NAN)).collect()
}

/// Ratings of 40 films by 80 people, as in `goldens/matrix_factorization.py`.
fn rating(i: usize) -> (usize, usize, f64) {
    let (user, item) = (i * i % 6007 % 80, (i * 37 + i / 80) % 40);
    let part = |number: usize, of: usize, centre: f64| (number % of) as f64 - centre;
    let taste = [part(user, 3, 1.0), part(user, 5, 2.0), part(user, 7, 3.0) / 2.0];
    let film = [part(item, 5, 2.0), part(item, 3, 1.0) / 2.0, part(item, 4, 1.5) / 2.0];
    let noise = (i * 7919 % 1009) as f64 / 1009.0 - 0.5;
    let value = 3.0
        + taste[0] * film[0] / 2.0
        + taste[1] * film[1] / 2.0
        + taste[2] * film[2] / 2.0
        + part(user, 4, 1.5) / 4.0
        + noise;
    (user, item, ((value * 2.0).round_ties_even() / 2.0).clamp(0.5, 5.0))
}

/// Users as numbers, and items as texts.
fn ratings(rows: impl Iterator<Item = usize>) -> (RecordBatch, Float64Array) {
    let rows: Vec<_> = rows.map(rating).collect();
    let users = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(user, ..)| *user as i64))) as ArrayRef;
    let items = rows.iter().map(|(_, item, _)| format!("film {item}"));
    let items = Arc::new(StringArray::from_iter_values(items)) as ArrayRef;
    let features = RecordBatch::try_from_iter([("user", users), ("item", items)]).unwrap();
    (features, rows.iter().map(|(.., value)| Some(*value)).collect())
}

fn learnt() -> (RecordBatch, Float64Array) {
    ratings((0..4000).filter(|i| i % 7 != 0))
}

fn held() -> (RecordBatch, Float64Array) {
    ratings((0..4000).step_by(7))
}

fn rmse(said: &[f64], labels: &Float64Array) -> f64 {
    let squares = said.iter().zip(labels.values()).map(|(said, label)| (said - label).powi(2));
    (squares.sum::<f64>() / said.len() as f64).sqrt()
}

#[test]
fn explicit_ratings_come_out_as_in_numpy() {
    let cases = [("ratings", "3", "0.02"), ("ratings_strict", "8", "0.3")];
    for (case, factors, l2) in cases {
        let options = [("num_factors", factors), ("l2_reg", l2), ("max_iterations", "15"), ("tolerance", "0")];
        let report = try_fit(&options, &learnt()).unwrap();
        let (features, labels) = held();
        let said = said(&report, &features);
        let some: Vec<f64> = said.iter().step_by(20).copied().collect();
        assert_all_close(&some, &expected(case, "predicted"), 1e-6);
        assert_all_close(&[rmse(&said, &labels)], &expected(case, "held_out_rmse"), 1e-6);
        let own = report.metrics.iter().find(|(name, _)| name == "rmse").unwrap().1;
        assert_all_close(&[own], &expected(case, "rmse"), 1e-6);
        assert_eq!((report.iterations, report.rows), (15, 3428));
    }
}

#[test]
fn implicit_feedback_comes_out_as_in_numpy() {
    let watched = (0..4000).filter(|i| i % 7 != 0 && rating(*i).2 > 3.5);
    let options = [
        ("feedback_type", "implicit"),
        ("num_factors", "5"),
        ("wals_alpha", "10"),
        ("max_iterations", "10"),
        ("tolerance", "0"),
    ];
    let report = try_fit(&options, &ratings(watched)).unwrap();
    assert_all_close(&[report.loss], &expected("watched", "loss"), 1e-6);
    let some: Vec<f64> = said(&report, &held().0).into_iter().step_by(20).collect();
    assert_all_close(&some, &expected("watched", "predicted"), 1e-6);
    assert_eq!(
        report.metrics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["mse", "mae", "baseline_mse"]
    );
}

#[test]
fn which_column_comes_first_does_not_matter() {
    let (features, labels) = learnt();
    let turned = features.project(&[1, 0]).unwrap();
    let report = try_fit(&[], &(features.clone(), labels.clone())).unwrap();
    let other = try_fit(&[], &(turned.clone(), labels)).unwrap();
    assert_all_close(&said(&report, &features), &said(&other, &turned), 1e-9);
    assert_eq!(report.iterations, other.iterations);
    assert!(report.converged && report.iterations < 20, "{report:?}");
}

#[test]
fn who_is_not_known_gets_what_is() {
    // One user gives 1 and 5 to two films, another one 2 and 4; without factors, since all is regular, it is a table.
    let columns = |users: &[Option<&str>], items: &[Option<bool>]| {
        let users = Arc::new(StringArray::from(users.to_vec())) as ArrayRef;
        let items = Arc::new(BooleanArray::from(items.to_vec())) as ArrayRef;
        RecordBatch::try_from_iter_with_nullable([("who", users, true), ("liked", items, true)]).unwrap()
    };
    let (a, b) = (Some("a"), Some("b"));
    let features = columns(&[a, a, b, b], &[Some(false), Some(true), Some(false), Some(true)]);
    let labels = Float64Array::from(vec![1.0, 5.0, 2.0, 4.0]);
    let options =
        [("user_col", "who"), ("item_col", "liked"), ("l2_reg", "1e-6"), ("max_iterations", "200"), ("tolerance", "0")];
    let report = try_fit(&options, &(features.clone(), labels)).unwrap();
    assert_all_close(&said(&report, &features), &[1.0, 5.0, 2.0, 4.0], 1e-3);
    let asked = columns(&[Some("new"), None, a], &[None, None, None]);
    let strangers = said(&report, &asked);
    // Neither is known: the mean.
    assert_all_close(&strangers[..2], &[3.0, 3.0], 1e-12);
    assert!((strangers[2] - 3.0).abs() < 1.0);
    // NULL is a user of its own once it was there.
    let features = columns(&[None, None, b, b], &[Some(false), Some(true), Some(false), Some(true)]);
    let report = try_fit(&options, &(features.clone(), Float64Array::from(vec![1.0, 1.0, 5.0, 5.0]))).unwrap();
    assert_all_close(&said(&report, &columns(&[None], &[Some(true)])), &[1.0], 1e-2);
}

#[test]
fn bad_rows_have_no_answer_and_are_not_learnt() {
    let users: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(2.0), Some(-0.0)]));
    let items: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.0, 1.0, f64::INFINITY, 1.0]));
    let features = RecordBatch::try_from_iter_with_nullable([("user", users, true), ("item", items, true)]).unwrap();
    let mut model = try_model(&[], &features).unwrap();
    let labels = Float64Array::from(vec![Some(1.0), Some(1.0), Some(2.0), Some(1.0), None]);
    let rejected = model.add(&features, &labels).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1, 3, 4]);
    let report = model.fit().unwrap();
    assert_eq!(report.rows, 2);
    let nulls: Vec<bool> = said(&report, &features).iter().map(|said| said.is_nan()).collect();
    assert_eq!(nulls, [false, true, false, true, false]);
}

#[test]
fn more_factors_than_ratings_are_possible() {
    let few = ratings(1..4);
    for l2 in ["0", "0.1"] {
        let report = try_fit(&[("num_factors", "20"), ("l2_reg", l2)], &few).unwrap();
        assert!(said(&report, &few.0).iter().all(|said| said.is_finite()), "{report:?}");
    }
    let constant = (few.0.clone(), Float64Array::from(vec![2.0; 3]));
    let report = try_fit(&[], &constant).unwrap();
    assert_all_close(&said(&report, &few.0), &[2.0; 3], 1e-9);
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let check_error = |options: &[(&str, &str)], rows: usize, expected: Expect| {
        let result = try_fit(options, &ratings(0..rows));
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
        &[("user_col", "person")],
        9,
        expect![
            "option user_col = 'person' is not valid; expected with item_col the two feature columns, but with 'person' and 'item' these are user, item"
        ],
    );
    check_error(
        &[("feedback_type", "loud")],
        9,
        expect!["option feedback_type = 'loud' is not valid; expected explicit or implicit"],
    );
    check_error(
        &[("num_factors", "0")],
        9,
        expect!["option num_factors = '0' is not valid; expected a number from 1 to 200"],
    );
    check_error(
        &[("rank", "3")],
        9,
        expect![
            "model type 'matrix_factorization' has no option 'rank'; valid options are user_col, item_col, num_factors, l2_reg, feedback_type, wals_alpha, max_iterations, tolerance, seed, max_categories"
        ],
    );
    assert!(matches!(predicted_label_type(TYPE, "label", &DataType::Utf8), Err(MlError::UnsupportedLabel { .. })));
    let (features, labels) = ratings(0..300);
    let mut stopped = try_model(&[], &features).unwrap();
    stopped.add(&features, &labels).unwrap();
    stopped.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(stopped.fit(), Err(MlError::Stopped)));
    let huge = try_fit(&[], &(features.clone(), Float64Array::from(vec![1e50; 300]))).unwrap();
    assert!(huge.loss.is_finite());
    let plain = try_fit(&[], &(features.clone(), labels.clone())).unwrap();
    for doc in batch_option_docs(TYPE).unwrap() {
        let report = try_fit(&[(doc.name, &doc.default)], &(features.clone(), labels.clone())).unwrap();
        assert_eq!(report, plain, "{}", doc.name);
    }
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let all = ratings(0..20_000);
    for feedback in ["explicit", "implicit"] {
        let options = [("feedback_type", feedback), ("max_iterations", "3"), ("num_factors", "4")];
        let alone = try_fit(&options, &all).unwrap();
        for threads in [2, 4] {
            let mut model = try_model(&options, &all.0).unwrap();
            for (start, rows) in [(0, 1), (1, 1030), (1031, 18_969)] {
                model.add(&all.0.slice(start, rows), &all.1.slice(start, rows)).unwrap();
            }
            model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
            assert_eq!(model.fit().unwrap(), alone);
            assert_eq!(model.fit().unwrap(), alone);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let few = ratings(0..50);
        let mut bytes = try_fit(&[("num_factors", "2"), ("max_iterations", "2")], &few).unwrap().model;
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(model) = restore_supervised(&bytes) {
            let _ = model.predictions(&few.0);
        }
    }
}
