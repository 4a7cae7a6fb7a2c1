//! scikit-learn's directions (`goldens/pca.py`), the randomized solver, the same bits whatever the threads, and bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, NullArray, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;
use expect_test::{Expect, expect};

use crate::batch::unlabelled;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::pca::Pca;
use crate::{FitControl, FitReport, ModelTable, Predictor, Result, restore_predictor, table_of};

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    unlabelled::try_fit("truncated_svd", options, features)
}

fn transformed(model: &dyn Predictor, features: &RecordBatch, step: usize) -> Vec<f64> {
    let columns = model.answers(features).unwrap();
    let value = |row: usize| columns.iter().map(move |column| column.as_primitive::<Float64Type>().value(row));
    (0..features.num_rows()).step_by(step).flat_map(value).collect()
}

#[track_caller]
fn check(case: &str, count: usize, features: &RecordBatch, step: usize) {
    let report = try_fit(&[("num_components", &count.to_string())], features).unwrap();
    let model = Pca::restore(&report.model).unwrap();
    let components = model.principal_components();
    let directions = components.iter().flat_map(|component| component.loadings.iter().map(|loading| loading.value));
    assert_all_close(&directions.collect::<Vec<_>>(), &expected(case, "components"), 1e-9);
    let of_components = |value: fn(&super::super::PrincipalComponent) -> f64| components.iter().map(value).collect();
    let (variances, ratios): (Vec<f64>, Vec<f64>) =
        (of_components(|one| one.eigenvalue), of_components(|one| one.explained_variance_ratio));
    for (variance, wanted) in variances.iter().zip(expected(case, "variances")) {
        assert!((variance - wanted).abs() < 1e-9 * wanted.max(1.0), "{variance}, not {wanted}");
    }
    assert_all_close(&ratios, &expected(case, "ratios"), 1e-9);
    let said = transformed(&model, features, step);
    let wanted = expected(case, "transformed");
    let largest = wanted.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    assert_all_close(&said, &wanted, 1e-9 * largest);
    assert_eq!(report.metrics, [("total_explained_variance_ratio".to_owned(), ratios.iter().sum())]);
    // What the directions leave of the rows, by the rows themselves.
    let square = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
    let encoded: f64 = squares(features) - square(&transformed(&model, features, 1)) / features.num_rows() as f64;
    assert!((report.loss - encoded).abs() < 1e-9 * encoded.max(1.0), "{}, not {encoded}", report.loss);
}

/// The mean square of rows whose missing numbers are 0, and each of whose categories adds one.
fn squares(features: &RecordBatch) -> f64 {
    let of_column = |column: &ArrayRef| -> f64 {
        let number = arrow::compute::cast(column, &arrow::datatypes::DataType::Float64);
        match column.data_type() {
            kind if kind.is_numeric() => {
                let numbers = number.unwrap();
                numbers.as_primitive::<Float64Type>().iter().flatten().map(|value| value * value).sum()
            }
            _ => column.len() as f64,
        }
    };
    features.columns().iter().map(of_column).sum::<f64>() / features.num_rows() as f64
}

#[test]
fn directions_are_those_of_scikit_learn() {
    check("iris_svd", 3, &data_set("iris").0, 7);
    check("wine_svd", 2, &data_set("wine").0, 7);
    check("digits_svd", 10, &data_set("digits").0, 71);
    check("mixed_svd", 5, &reference_rows(0..400).0, 7);
}

/// A text of many categories, and two numbers.
fn wide(rows: usize) -> RecordBatch {
    let text = |row: usize| format!("t{}", row * row % 1543 + row % 7);
    let columns: [(&str, ArrayRef); 3] = [
        ("text", Arc::new(StringArray::from_iter_values((0..rows).map(text)))),
        ("a", Arc::new(Float64Array::from_iter_values((0..rows).map(|row| (row * 37 % 101) as f64 / 50.0)))),
        ("b", Arc::new(Float64Array::from_iter_values((0..rows).map(|row| (row * 53 % 97) as f64 / 40.0 - 1.0)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn many_categories_are_searched_without_their_products() {
    let features = wide(6000);
    let report = try_fit(&[], &features).unwrap();
    assert!(report.converged && report.iterations > 1, "{}", report.iterations);
    let model = restore_predictor(&report.model).unwrap();
    let along = model.answers(&features).unwrap();
    // The longest direction is one of the eigenvectors of the sums of squares: it is the sum of the rows, each by how far it
    // is along. `a` and the number of rows of each text tell.
    let first = along[0].as_primitive::<Float64Type>();
    let length: f64 = first.values().iter().map(|value| value * value).sum();
    let a = features["a"].as_primitive::<Float64Type>();
    let of_a = first.values().iter().zip(a.values()).map(|(along, a)| along * a).sum::<f64>() / length;
    let pca = Pca::restore(&report.model).unwrap();
    let loading = pca.principal_components()[0].loadings.iter().find(|loading| loading.feature == "a").unwrap().value;
    assert!((of_a - loading).abs() < 1e-7, "{of_a}, not {loading}");
}

#[test]
fn a_model_is_the_same_whatever_the_threads_and_batches() {
    for features in [wide(6000), data_set("digits").0] {
        let report = try_fit(&[("num_components", "5")], &features).unwrap();
        let mut model = unlabelled::try_model("truncated_svd", &[("num_components", "5")], &features).unwrap();
        model.set_control(FitControl { threads: NonZeroUsize::new(3).unwrap(), ..FitControl::default() });
        for first in (0..features.num_rows()).step_by(101) {
            let batch = features.slice(first, 101.min(features.num_rows() - first));
            model.add(&batch, &NullArray::new(batch.num_rows())).unwrap();
        }
        assert_eq!(model.fit().unwrap(), report);
    }
}

#[test]
fn what_is_missing_or_was_never_seen_is_nothing() {
    let features = reference_rows(0..300).0;
    let model = restore_predictor(&try_fit(&[], &features).unwrap().model).unwrap();
    let row = |a: Option<f64>| {
        let columns: [(&str, ArrayRef); 4] = [
            ("a", Arc::new(Float64Array::from(vec![a]))),
            ("b", Arc::new(Float64Array::from(vec![None::<f64>]))),
            ("city", Arc::new(StringArray::from(vec!["nowhere"]))),
            ("flag", Arc::new(arrow::array::BooleanArray::from(vec![None::<bool>]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    };
    assert_eq!(transformed(model.as_ref(), &row(None), 1), [0.0, 0.0]);
    let [one, two] = [1.0, 2.0].map(|a| transformed(model.as_ref(), &row(Some(a)), 1));
    assert_eq!(one.iter().map(|value| 2.0 * value).collect::<Vec<_>>(), two);
    assert_eq!(model.model_type(), "truncated_svd");
    let table = table_of(model.as_ref(), ModelTable::PrincipalComponentInfo).unwrap();
    assert_eq!(table.num_rows(), 2);
}

#[track_caller]
fn check_error(options: &[(&str, &str)], features: &RecordBatch, message: Expect) {
    message.assert_eq(&try_fit(options, features).unwrap_err().to_string());
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let iris = data_set("iris").0;
    check_error(
        &[("num_components", "5")],
        &iris,
        expect!["option num_components = '5' is not valid; expected at most 4, for 4 encoded features and 150 rows"],
    );
    check_error(
        &[("num_components", "0")],
        &iris,
        expect!["option num_components = '0' is not valid; expected a number from 1 to 10000"],
    );
    check_error(
        &[("scale_features", "true")],
        &iris,
        expect![
            "model type 'truncated_svd' has no option 'scale_features'; valid options are num_components, max_categories"
        ],
    );
    check_error(
        &[],
        &iris.slice(0, 0),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        &[],
        &iris.slice(0, 1),
        expect!["a model of type 'truncated_svd' needs at least 2 rows, but there are 1"],
    );
}
