//! scikit-learn's components (`goldens/pca.py`), both solvers, the same bits whatever the threads, and bad input.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, NullArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::Pca;
use crate::feature::dictionary::Category;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, ModelTable, Predictor, Result, batch_option_docs,
    create_batch, fitted_outputs, restore, restore_predictor, restore_supervised, takes_label,
};

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    create_batch("pca", &texts(options), &FeatureSchema::from_arrow(&features.schema())?, &DataType::Null)
}

fn texts(options: &[(&str, &str)]) -> BTreeMap<String, String> {
    options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    let mut model = try_model(options, features)?;
    model.add(features, &NullArray::new(features.num_rows()))?;
    model.fit()
}

fn fit(options: &[(&str, &str)], features: &RecordBatch) -> (FitReport, Box<Pca>) {
    let report = try_fit(options, features).unwrap();
    let model = Box::new(Pca::restore(&report.model).unwrap());
    (report, model)
}

/// The answers of every so manieth row, one row after another.
fn transformed(model: &dyn Predictor, features: &RecordBatch, step: usize) -> Vec<f64> {
    let columns = model.answers(features).unwrap();
    let value = |row: usize| columns.iter().map(move |column| column.as_primitive::<Float64Type>().value(row));
    (0..features.num_rows()).step_by(step).flat_map(value).collect()
}

fn directions(model: &Pca) -> Vec<f64> {
    let components = model.principal_components();
    components.iter().flat_map(|component| component.loadings.iter().map(|loading| loading.value)).collect()
}

#[track_caller]
fn check(case: &str, options: &[(&str, &str)], features: &RecordBatch, step: usize, within: f64) {
    let (report, model) = fit(options, features);
    assert_all_close(&directions(model.as_ref()), &expected(case, "components"), within);
    let components = model.principal_components();
    let variances: Vec<f64> = components.iter().map(|component| component.eigenvalue).collect();
    assert_all_close(&variances, &expected(case, "variances"), within);
    let ratios: Vec<f64> = components.iter().map(|component| component.explained_variance_ratio).collect();
    assert_all_close(&ratios, &expected(case, "ratios"), within);
    assert_all_close(&transformed(model.as_ref(), features, step), &expected(case, "transformed"), within);
    let [(name, total)] = &report.metrics[..] else { panic!("{:?}", report.metrics) };
    assert_eq!(name, "total_explained_variance_ratio");
    assert_all_close(&[*total], &[ratios.iter().sum()], 1e-12);
    assert_all_close(&[components.last().unwrap().cumulative_explained_variance_ratio], &[*total], 1e-12);
    assert!(report.converged);
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn components_equal_scikit_learn() {
    let iris = data_set("iris").0;
    check("iris_pca", &[("scale_features", "false")], &iris, 7, 1e-10);
    check("iris_pca_two", &[("scale_features", "false"), ("num_principal_components", "2")], &iris, 7, 1e-10);
    check("wine_pca_scaled", &[], &data_set("wine").0, 7, 1e-10);
    let digits = data_set("digits").0;
    let ten = [("scale_features", "false"), ("num_principal_components", "10")];
    check("digits_pca", &ten, &digits, 71, 1e-10);
    let total = fit(&ten, &digits).0.metrics[0].1;
    assert!((total - 0.738_227).abs() < 1e-6, "{total}");
}

#[test]
fn the_randomized_solver_finds_the_same() {
    let options = [("scale_features", "false"), ("num_principal_components", "10"), ("pca_solver", "randomized")];
    check("digits_pca", &options, &data_set("digits").0, 71, 1e-6);
    let options = [("num_principal_components", "4"), ("pca_solver", "randomized")];
    check("mixed_pca_scaled", &options, &reference_rows(0..400).0, 7, 1e-9);
    // Every component that there is, constant features included.
    let (report, model) =
        fit(&[("num_principal_components", "64"), ("pca_solver", "randomized")], &data_set("digits").0);
    assert_all_close(&[report.metrics[0].1], &[1.0], 1e-12);
    for component in model.principal_components() {
        let length: f64 = component.loadings.iter().map(|loading| loading.value * loading.value).sum();
        assert_all_close(&[length], &[1.0], 1e-12);
    }
}

#[test]
fn categories_are_features_and_missing_numbers_the_mean() {
    let features = reference_rows(0..400).0;
    check("mixed_pca_scaled", &[("num_principal_components", "4")], &features, 7, 1e-10);
    check("mixed_pca", &[("scale_features", "false"), ("num_principal_components", "4")], &features, 7, 1e-8);
    let (_, model) = fit(&[], &features);
    let components = model.principal_components();
    assert_eq!(components.iter().map(|component| component.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let loadings: Vec<_> =
        components[0].loadings.iter().map(|loading| (loading.feature.as_str(), loading.category.clone())).collect();
    let named = |name: &str| Some(Category::Named(name.to_owned()));
    let by_hand = [
        ("a", None),
        ("b", None),
        ("city", Some(Category::Null)),
        ("city", named("c0")),
        ("city", named("c1")),
        ("city", named("c4")),
        ("city", named("c2")),
        ("flag", named("true")),
        ("flag", named("false")),
    ];
    assert_eq!(loadings, by_hand);
}

#[test]
fn a_line_by_hand() {
    // Along (3, 4) / 5 in steps of 5: the variance of -5, 0, 5 is 25, and nothing is beside the line.
    let column = |values: [Option<f64>; 4]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
    let x = column([Some(7.0), Some(10.0), Some(13.0), None]);
    let y = column([Some(-4.0), Some(0.0), Some(4.0), None]);
    let features = RecordBatch::try_from_iter_with_nullable([("x", x, true), ("y", y, true)]).unwrap();
    let (report, model) = fit(&[("scale_features", "false")], &features.slice(0, 3));
    assert_all_close(&directions(model.as_ref()), &[0.6, 0.8, 0.8, -0.6], 1e-12);
    // The missing numbers are the means, which is where nothing is far from.
    let both = transformed(model.as_ref(), &features, 1);
    assert_all_close(&both, &[-5.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0], 1e-12);
    let variances: Vec<f64> = model.principal_components().iter().map(|component| component.eigenvalue).collect();
    assert_all_close(&variances, &[25.0, 0.0], 1e-12);
    assert_all_close(&[report.loss], &[0.0], 1e-12);
    assert_eq!((model.model_type(), model.rows_learnt()), ("pca", 3));
}

#[test]
fn a_ratio_keeps_as_many_as_it_takes() {
    let features = data_set("wine").0;
    // 0.362, 0.192, 0.111, 0.0707 …
    let (report, model) = fit(&[("pca_explained_variance_ratio", "0.6")], &features);
    let components = model.principal_components();
    assert_eq!(components.len(), 3);
    assert_all_close(&[report.metrics[0].1], &[0.665_299_689], 1e-8);
    // Columns do not depend on the rows; those that are not needed are NULL.
    let columns = model.answers(&features).unwrap();
    assert_eq!((columns.len(), columns[2].null_count(), columns[3].null_count()), (13, 0, 178));
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let outputs = |options| fitted_outputs("pca", &texts(options), &schema, ("", &DataType::Null)).unwrap();
    assert_eq!(outputs(&[("pca_explained_variance_ratio", "0.6")]), model.outputs(""));
    assert_eq!(outputs(&[("num_principal_components", "2")])[1].name(), "principal_component_2");
    assert_eq!(fit(&[("pca_explained_variance_ratio", "1")], &features).1.principal_components().len(), 13);
    // Two texts of nine categories have more components than columns.
    let names = |step: usize| Arc::new(StringArray::from_iter_values((0..90).map(|i| format!("{}", i * i / step % 9))));
    let columns: [(&str, ArrayRef); 2] = [("a", names(1)), ("b", names(3))];
    let features = RecordBatch::try_from_iter(columns).unwrap();
    check_error(
        try_fit(&[("pca_explained_variance_ratio", "0.99")], &features),
        expect![
            "option pca_explained_variance_ratio = '0.99' is not valid; expected less: 2 columns have 2 components, unless num_principal_components asks for more"
        ],
    );
}

#[test]
fn what_does_not_vary_explains_nothing() {
    let constant: ArrayRef = Arc::new(Float64Array::from(vec![7.0; 60]));
    let nothing: ArrayRef = Arc::new(Float64Array::new_null(60));
    let columns = [("constant", constant, true), ("nothing", nothing, true)];
    let features = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    for options in [&[][..], &[("scale_features", "false")], &[("pca_solver", "randomized")]] {
        let (report, model) = fit(options, &features);
        assert_eq!((report.metrics[0].1, report.loss), (0.0, 0.0));
        assert!(transformed(model.as_ref(), &features, 1).iter().all(|value| *value == 0.0));
    }
    // Two rows have two components, of which the second one is nothing, and the third column is NULL.
    let rows = data_set("wine").0.slice(0, 2);
    let (_, model) = fit(&[], &rows);
    let columns = model.answers(&rows).unwrap();
    assert_eq!((columns[1].null_count(), columns[2].null_count()), (0, 2));
}

#[test]
fn bad_rows_have_no_answer_and_are_not_learnt() {
    let values = vec![Some(1.0), Some(f64::NAN), Some(f64::INFINITY), Some(3.0), None];
    let column: ArrayRef = Arc::new(Float64Array::from(values));
    let features = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
    let mut model = try_model(&[], &features).unwrap();
    let rejected = model.add(&features, &NullArray::new(5)).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1, 2]);
    let report = model.fit().unwrap();
    assert_eq!(report.rows, 3);
    let answers = restore_predictor(&report.model).unwrap().answers(&features).unwrap();
    let nulls: Vec<bool> = (0..5).map(|row| answers[0].is_null(row)).collect();
    assert_eq!(nulls, [false, true, true, false, false]);
    // Far away is no number that is not one.
    let far: ArrayRef = Arc::new(Float64Array::from(vec![1e50, -1e50]));
    let far = RecordBatch::try_from_iter([("x", far)]).unwrap();
    let (report, model) = fit(&[("scale_features", "false")], &far);
    assert!(report.loss.is_finite() && transformed(model.as_ref(), &far, 1).iter().all(|value| value.is_finite()));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let features = data_set("iris").0;
    check_error(
        try_fit(&[], &features.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(&[], &features.slice(0, 1)),
        expect!["a model of type 'pca' needs at least 2 rows, but there are 1"],
    );
    check_error(
        try_fit(&[("num_principal_components", "5")], &features),
        expect![
            "option num_principal_components = '5' is not valid; expected at most 4, for 4 encoded features and 150 rows"
        ],
    );
    check_error(
        try_fit(&[("num_principal_components", "4")], &features.slice(0, 3)),
        expect![
            "option num_principal_components = '4' is not valid; expected at most 3, for 4 encoded features and 3 rows"
        ],
    );
    check_error(
        try_fit(&[("num_principal_components", "2"), ("pca_explained_variance_ratio", "0.9")], &features),
        expect![
            "option pca_explained_variance_ratio = '0.9' is not valid; expected none beside num_principal_components"
        ],
    );
    check_error(
        try_fit(&[("pca_solver", "randomized"), ("pca_explained_variance_ratio", "0.9")], &features),
        expect![
            "option pca_solver = 'randomized' is not valid; expected 'full' beside pca_explained_variance_ratio, which asks for all components"
        ],
    );
    check_error(
        try_fit(&[("pca_explained_variance_ratio", "1.5")], &features),
        expect!["option pca_explained_variance_ratio = '1.5' is not valid; expected a number from 0.000001 to 1"],
    );
    check_error(
        try_fit(&[("components", "2")], &features),
        expect![
            "model type 'pca' has no option 'components'; valid options are num_principal_components, pca_explained_variance_ratio, scale_features, pca_solver, max_categories"
        ],
    );
    let mut stopped = try_model(&[], &features).unwrap();
    stopped.add(&features, &NullArray::new(150)).unwrap();
    stopped.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(stopped.fit(), Err(MlError::Stopped)));
    let plain = try_fit(&[], &features).unwrap();
    for doc in batch_option_docs("pca").unwrap() {
        assert_eq!(try_fit(&[(doc.name, &doc.default)], &features).unwrap(), plain, "{}", doc.name);
    }
}

#[test]
fn many_categories_are_taken_by_the_randomized_solver() {
    let names = (0..4000).map(|i| format!("c{}", i * i % 1201));
    let columns: [(&str, ArrayRef); 2] = [
        ("name", Arc::new(StringArray::from_iter_values(names.chain((0..2100).map(|i| format!("d{i}")))))),
        ("x", Arc::new(Float64Array::from_iter_values((0..6100).map(|i| f64::from(i * 37 % 101))))),
    ];
    let features = RecordBatch::try_from_iter(columns).unwrap();
    let (report, model) = fit(&[("num_principal_components", "1")], &features);
    // Nothing varies as much as the number, scaled to a variance of 1.
    assert!(report.converged && report.iterations > 1);
    assert_all_close(&[model.principal_components()[0].eigenvalue], &[1.0], 1e-3);
    check_error(
        try_fit(&[("pca_solver", "full")], &features),
        expect![
            "option pca_solver = 'full' is not valid; expected randomized, with num_principal_components, for more than 2048 features"
        ],
    );
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let features = reference_rows(0..40_000).0;
    for solver in ["full", "randomized"] {
        let alone = try_fit(&[("pca_solver", solver)], &features).unwrap();
        for threads in [2, 4] {
            let mut model = try_model(&[("pca_solver", solver)], &features).unwrap();
            for (start, rows) in [(0, 1), (1, 1030), (1031, 38_969)] {
                model.add(&features.slice(start, rows), &NullArray::new(rows)).unwrap();
            }
            model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
            assert_eq!(model.fit().unwrap(), alone);
            assert_eq!(model.fit().unwrap(), alone);
        }
    }
}

#[test]
fn it_has_no_label() {
    let (report, _) = fit(&[], &data_set("iris").0);
    assert!(!takes_label("pca").unwrap());
    assert!(matches!(restore(&report.model), Err(MlError::NotOnline { model_type: "pca" })));
    assert!(matches!(restore_supervised(&report.model), Err(MlError::CorruptState { .. })));
    assert!(Pca::restore(&[1, 2]).is_err());
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
            let _ = ModelTable::ALL.map(|table| model.table(table).map(drop));
        }
    }
}
