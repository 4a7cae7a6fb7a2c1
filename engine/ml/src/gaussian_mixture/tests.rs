//! scikit-learn's likelihood and densities, numbers by hand, one model whatever the threads, bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, NullArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::GaussianMixture;
use crate::batch::unlabelled;
use crate::clusters::CentroidValue;
use crate::goldens::{assert_all_close, data_set};
use crate::inspect::ModelTable;
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Result, batch_option_docs, fitted_outputs, restore,
    restore_predictor, takes_label,
};

const MIXTURE: &str = "gaussian_mixture";

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    unlabelled::try_model(MIXTURE, options, features)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    unlabelled::try_fit(MIXTURE, options, features)
}

fn fit(options: &[(&str, &str)], features: &RecordBatch) -> FitReport {
    try_fit(options, features).unwrap()
}

/// For each row the likeliest cluster, all clusters with their probabilities, and the density's logarithm.
struct Answers {
    clusters: Vec<Option<i64>>,
    ranked: Vec<Vec<(i64, f64)>>,
    densities: Vec<Option<f64>>,
}

fn answers(report: &FitReport, features: &RecordBatch) -> Answers {
    let said = restore_predictor(&report.model).unwrap().answers(features).unwrap();
    let lists = said[1].as_list::<i32>();
    let ranked = |row: usize| {
        let structs = lists.value(row);
        let structs = structs.as_struct();
        let ids = structs.column(0).as_primitive::<Int64Type>().values().to_vec();
        ids.into_iter().zip(structs.column(1).as_primitive::<Float64Type>().values().to_vec()).collect()
    };
    Answers {
        clusters: said[0].as_primitive::<Int64Type>().iter().collect(),
        ranked: (0..features.num_rows()).map(ranked).collect(),
        densities: said[2].as_primitive::<Float64Type>().iter().collect(),
    }
}

fn centroid_numbers(report: &FitReport) -> Vec<f64> {
    let number = |value| match value {
        CentroidValue::Number(number) => Some(number),
        CentroidValue::Categories(_) => None,
    };
    let rows = GaussianMixture::restore(&report.model).unwrap().centroids();
    rows.into_iter().filter_map(|row| number(row.value)).collect()
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

/// Three numbers about one of four corners, by integers: Python makes the same ones.
fn blobs(rows: usize) -> RecordBatch {
    let corner = |i: usize| i * 7 % 4;
    let noise = |i: usize, factor: usize, modulus: usize, per: f64| (i * factor % modulus) as f64 / per - 0.5;
    let x = |i: usize| (corner(i) / 2 * 10) as f64 + noise(i, 37, 101, 100.0);
    let y = |i: usize| (corner(i) % 2 * 12) as f64 + noise(i, 53, 97, 90.0);
    let z = |i: usize| (corner(i) * 3 + 100) as f64 + noise(i, 29, 89, 80.0);
    let column = |value: &dyn Fn(usize) -> f64| (0..rows).map(value).collect::<Vec<f64>>();
    numbers(&[&column(&x), &column(&y), &column(&z)])
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

/// scikit-learn's mean likelihood and criteria, from the same k-means; `goldens/clusters.py` prints them.
#[track_caller]
fn check_likelihood(features: &RecordBatch, options: &[(&str, &str)], expected: [f64; 3], within: f64) {
    let searched = [("tolerance", "1e-10"), ("max_iterations", "10000"), ("num_init", "3")];
    let report = fit(&[&searched[..], options].concat(), features);
    let found = ["log_likelihood", "aic", "bic"].map(|name| metric(&report, name));
    let rows = features.num_rows() as f64;
    for (found, (expected, within)) in
        found.iter().zip(expected.iter().zip([within, 2.0 * rows * within, 2.0 * rows * within]))
    {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }
    assert_eq!((report.loss, report.converged), (-found[0], true));
    // The report is what the model says of its own rows.
    let said = answers(&report, features).densities.into_iter().flatten().sum::<f64>() / rows;
    assert_all_close(&[said], &[found[0]], 1e-9);
}

#[test]
fn the_likelihood_equals_scikit_learn() {
    let (iris, _) = data_set("iris");
    let raw = ("standardize_features", "false");
    let three = ("num_clusters", "3");
    let full = [-1.201_236_517_285_659_2, 448.370_955_185_697_77, 580.838_908_125_933];
    check_likelihood(&iris, &[raw, three], full, 1e-6);
    let diagonal = [-2.047_850_478_245_842, 666.355_143_473_552_6, 744.631_661_120_255_2];
    check_likelihood(&iris, &[raw, three, ("covariance_type", "diag")], diagonal, 1e-6);
    // Standardised rows lead to the same clusters, but for what is added to variances.
    check_likelihood(&iris, &[three], full, 1e-4);
    let (full, diagonal) = (
        [-2.106_320_184_311_01, 2_605.584_221_173_211_5, 2_777.064_477_726_641],
        [-2.109_339_836_638_713_7, 2_585.207_803_966_456_6, 2_703.924_904_657_292_7],
    );
    check_likelihood(&blobs(600), &[raw, ("num_clusters", "4")], full, 1e-9);
    check_likelihood(&blobs(600), &[raw, ("num_clusters", "4"), ("covariance_type", "diag")], diagonal, 1e-9);
}

#[test]
fn densities_equal_scikit_learn() {
    let asked = numbers(&[&[0.1, 10.4, 5.0], &[0.2, 12.1, 6.0], &[100.3, 109.2, 104.5]]);
    let of = |covariance| {
        let options = [("num_clusters", "4"), ("standardize_features", "false"), ("covariance_type", covariance)];
        answers(&fit(&options, &blobs(600)), &asked)
    };
    let full = of("full");
    let densities: Vec<f64> = full.densities.into_iter().flatten().collect();
    assert_all_close(&densities, &[-1.113_997_919_877_695, -1.718_618_680_472_471_2, -313.415_268_872_183_6], 1e-6);
    // All clusters are as large, so they are numbered by position.
    assert_eq!(full.clusters[..2], [Some(2), Some(4)]);
    assert_all_close(&[full.ranked[0][0].1], &[1.0], 1e-12);
    let densities: Vec<f64> = of("diag").densities.into_iter().flatten().collect();
    assert_all_close(&densities, &[-1.123_891_152_685_395_1, -1.689_901_479_529_965_2, -343.362_250_267_646_5], 1e-6);
}

#[test]
fn one_cluster_by_hand() {
    // Mean 3, variance 2.
    let features = numbers(&[&[1.0, 2.0, 3.0, 4.0, 5.0]]);
    for standardize in ["true", "false"] {
        let options = [("num_clusters", "1"), ("reg_covar", "0"), ("standardize_features", standardize)];
        let report = fit(&options, &features);
        assert_all_close(&centroid_numbers(&report), &[3.0], 1e-12);
        let said = answers(&report, &numbers(&[&[3.0, 5.0]]));
        let peak = -0.5 * f64::ln(std::f64::consts::TAU * 2.0);
        assert_all_close(&said.densities.into_iter().flatten().collect::<Vec<_>>(), &[peak, peak - 1.0], 1e-12);
        assert_eq!(said.ranked, [[(1, 1.0)], [(1, 1.0)]]);
        assert_all_close(&[metric(&report, "aic")], &[10.0 * report.loss + 4.0], 1e-9);
        assert_all_close(&[metric(&report, "bic")], &[10.0 * report.loss + 2.0 * f64::ln(5.0)], 1e-9);
    }
}

#[test]
fn the_largest_cluster_is_the_first_and_probabilities_descend() {
    let features = numbers(&[&[50.0, 51.0, 52.5, 0.0, 0.7, 1.0, 2.0, 1.5, 0.2]]);
    let report = fit(&[("num_clusters", "2")], &features);
    let said = answers(&report, &features);
    assert_eq!(said.clusters, [2, 2, 2, 1, 1, 1, 1, 1, 1].map(Some));
    for (ranked, cluster) in said.ranked.iter().zip(&said.clusters) {
        assert_eq!(Some(ranked[0].0), *cluster);
        assert!(ranked[0].1 >= ranked[1].1);
        assert_all_close(&[ranked[0].1 + ranked[1].1], &[1.0], 1e-12);
    }
    assert_all_close(&centroid_numbers(&report), &[0.9, 153.5 / 3.0], 1e-3);
}

#[test]
fn constant_and_missing_columns_are_left_out() {
    let x = vec![Some(1.0), Some(2.0), Some(30.0), Some(31.5), Some(1.2), None];
    let columns: [(&str, ArrayRef); 3] = [
        ("constant", Arc::new(Float64Array::from(vec![7.0; 6]))),
        ("x", Arc::new(Float64Array::from(x.clone()))),
        ("missing", Arc::new(Float64Array::new_null(6))),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let alone = one_column(Arc::new(Float64Array::from(x)));
    for standardize in ["true", "false"] {
        let options = [("num_clusters", "2"), ("standardize_features", standardize)];
        let report = fit(&options, &features);
        let numbers = centroid_numbers(&report);
        assert_eq!((numbers[0], numbers[2]), (7.0, 0.0));
        assert_eq!(answers(&report, &features).densities, answers(&fit(&options, &alone), &alone).densities);
    }
    // Nothing but a constant: a certain cluster, of no density.
    let report = fit(&[], &features.project(&[0]).unwrap());
    let said = answers(&report, &features);
    assert_eq!((said.clusters[0], said.densities[0]), (Some(1), Some(0.0)));
}

#[test]
fn rows_that_cannot_be_learnt_get_no_answer() {
    let values = vec![Some(1.0), Some(f64::NAN), Some(2.0), Some(f64::INFINITY), None, Some(9.0)];
    let features = one_column(Arc::new(Float64Array::from(values)));
    let mut model = try_model(&[("num_clusters", "1")], &features).unwrap();
    let rejected = model.add(&features, &NullArray::new(6)).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1, 3]);
    let report = model.fit().unwrap();
    assert!(matches!(model.add(&features, &NullArray::new(6)), Err(MlError::AlreadyFitted)));
    let said = answers(&report, &features);
    let is_null = [false, true, false, true, false, false];
    assert_eq!(said.clusters.iter().map(Option::is_none).collect::<Vec<_>>(), is_null);
    assert_eq!(said.densities.iter().map(Option::is_none).collect::<Vec<_>>(), is_null);
    assert!(answers(&report, &features.slice(0, 0)).clusters.is_empty());
}

#[test]
fn far_rows_have_small_densities_and_whole_probabilities() {
    let report = fit(&[("num_clusters", "4")], &blobs(200));
    let far = numbers(&[&[1e50, -1e50], &[1e50, 0.0], &[-1e50, 1.0]]);
    let said = answers(&report, &far);
    for (ranked, density) in said.ranked.iter().zip(said.densities.iter().flatten()) {
        assert!(*density < -1e15 && density.is_finite());
        assert_all_close(&[ranked.iter().map(|(_, probability)| probability).sum::<f64>()], &[1.0], 1e-12);
    }
}

#[test]
fn the_answer_has_the_type_that_was_announced() {
    let features = blobs(40);
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let report = fit(&[("num_clusters", "4")], &features);
    let model = restore_predictor(&report.model).unwrap();
    let outputs = fitted_outputs(MIXTURE, &[].into(), &schema, ("", &DataType::Null)).unwrap();
    assert_eq!(outputs, model.outputs(""));
    for (field, array) in outputs.iter().zip(model.answers(&features).unwrap()) {
        assert_eq!((field.data_type(), array.len()), (array.data_type(), 40));
    }
    assert_eq!((model.model_type(), model.rows_learnt()), (MIXTURE, 40));
    assert!(!takes_label(MIXTURE).unwrap());
    assert!(matches!(restore(&report.model), Err(MlError::NotOnline { model_type: MIXTURE })));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let features = blobs(50);
    check_error(
        try_fit(&[], &features.slice(0, 0)),
        expect![
            "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
        ],
    );
    check_error(
        try_fit(&[], &one_column(Arc::new(StringArray::from(vec!["a", "b"])))),
        expect![
            "feature column 'x' is a category, but a model of type 'gaussian_mixture' takes numbers only; leave it out or turn it into numbers"
        ],
    );
    check_error(
        try_fit(&[("num_clusters", "6")], &features.slice(0, 5)),
        expect![
            "option num_clusters = '6' is not valid; expected a whole number up to 5, since there are so many rows"
        ],
    );
    check_error(
        try_fit(&[("num_clusters", "3")], &numbers(&[&[1.0, 2.0, 2.0, 1.0]])),
        expect![
            "option num_clusters = '3' is not valid; expected at most 2, since the rows have no more different values"
        ],
    );
    check_error(
        try_fit(&[("num_clusters", "2"), ("reg_covar", "0")], &numbers(&[&[1.0, 2.0, 2.0, 1.0]])),
        expect![
            "option reg_covar = '0' is not valid; expected a larger number: the rows of a cluster lie in fewer dimensions than there are features"
        ],
    );
    check_error(
        try_fit(&[("covariance_type", "tied")], &features),
        expect!["option covariance_type = 'tied' is not valid; expected full or diag"],
    );
    check_error(
        try_fit(&[("max_categories", "3")], &features),
        expect![
            "model type 'gaussian_mixture' has no option 'max_categories'; valid options are num_clusters, covariance_type, standardize_features, reg_covar, max_iterations, tolerance, num_init, seed"
        ],
    );
    let mut model = try_model(&[], &features).unwrap();
    model.add(&features, &NullArray::new(50)).unwrap();
    model.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(model.fit(), Err(MlError::Stopped)));
    let plain = fit(&[], &features);
    for doc in batch_option_docs(MIXTURE).unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features), plain, "{}", doc.name);
    }
}

#[test]
fn rows_fewer_than_columns_have_the_variance_that_is_added() {
    let columns: Vec<Vec<f64>> = (0..8).map(|column| vec![0.0, f64::from(column), f64::from(column) + 0.1]).collect();
    let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let features = numbers(&columns);
    let said = answers(&fit(&[("num_clusters", "2")], &features), &features);
    assert_eq!(said.clusters, [2, 1, 1].map(Some));
    // As many clusters as rows: each has the variance that is added, and no other.
    let report = fit(&[("num_clusters", "3")], &numbers(&[&[1.0, 5.0, 9.0]]));
    assert!(report.loss.is_finite());
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let features = blobs(30_000);
    for covariance in ["full", "diag"] {
        let options = [("num_clusters", "5"), ("max_iterations", "5"), ("covariance_type", covariance)];
        let alone = fit(&options, &features);
        for threads in [2, 4] {
            let mut model = try_model(&options, &features).unwrap();
            for (start, rows) in [(0, 1), (1, 1030), (1031, 28_969)] {
                model.add(&features.slice(start, rows), &NullArray::new(rows)).unwrap();
            }
            model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
            assert_eq!(model.fit().unwrap(), alone);
            // A second fit ends where the first one did.
            assert_eq!(model.fit().unwrap(), alone);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        covariance in prop::sample::select(vec!["full", "diag"]),
    ) {
        let features = blobs(100);
        let mut bytes = fit(&[("num_clusters", "4"), ("covariance_type", covariance)], &features).model;
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
