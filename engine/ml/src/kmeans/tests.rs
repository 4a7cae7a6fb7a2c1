//! scikit-learn's inertia and centroids, categories and directions by hand, one model whatever the threads, bad input.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, NullArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::KMeans;
use super::config::DistanceType;
use super::lloyd;
use super::space::Space;
use crate::batch::TrainingSet;
use crate::batch::unlabelled;
use crate::clusters::CentroidValue;
use crate::feature::dictionary::Category;
use crate::feature::encoder::Numbers;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::inspect::ModelTable;
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, MlError, Result, batch_option_docs, fitted_outputs, restore,
    restore_predictor, restore_supervised, takes_label,
};

const KMEANS: &str = "kmeans";

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    unlabelled::try_model(KMEANS, options, features)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    unlabelled::try_fit(KMEANS, options, features)
}

fn fit(options: &[(&str, &str)], features: &RecordBatch) -> FitReport {
    try_fit(options, features).unwrap()
}

/// The nearest centroid of a row, and all of them with their distances.
type Answer = (i64, Vec<(i64, f64)>);

fn answers(report: &FitReport, features: &RecordBatch) -> Vec<Option<Answer>> {
    let said = restore_predictor(&report.model).unwrap().answers(features).unwrap();
    let (nearest, lists) = (said[0].as_primitive::<Int64Type>(), said[1].as_list::<i32>());
    let ranked = |row: usize| {
        let structs = lists.value(row);
        let structs = structs.as_struct();
        let ids = structs.column(0).as_primitive::<Int64Type>().values().to_vec();
        ids.into_iter().zip(structs.column(1).as_primitive::<Float64Type>().values().to_vec()).collect()
    };
    assert!((0..features.num_rows()).all(|row| lists.is_null(row) == nearest.is_null(row)));
    (0..features.num_rows()).map(|row| nearest.is_valid(row).then(|| (nearest.value(row), ranked(row)))).collect()
}

fn nearest(report: &FitReport, features: &RecordBatch) -> Vec<i64> {
    answers(report, features).into_iter().map(|answer| answer.unwrap().0).collect()
}

/// The numbers of all centroids, one after another.
fn centroid_numbers(report: &FitReport) -> Vec<f64> {
    let number = |value| match value {
        CentroidValue::Number(number) => Some(number),
        CentroidValue::Categories(_) => None,
    };
    let rows = KMeans::restore(&report.model).unwrap().centroids();
    rows.into_iter().filter_map(|row| number(row.value)).collect()
}

fn metric(report: &FitReport, name: &str) -> Option<f64> {
    report.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

fn numbers(columns: &[&[f64]]) -> RecordBatch {
    let columns = columns.iter().map(|column| Arc::new(Float64Array::from(column.to_vec())) as ArrayRef);
    RecordBatch::try_from_iter(columns.enumerate().map(|(place, column)| (format!("x{place}"), column))).unwrap()
}

fn one_column(column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap()
}

fn texts(values: &[Option<&str>]) -> RecordBatch {
    one_column(Arc::new(StringArray::from(values.to_vec())))
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

/// The inertia of scikit-learn's fits that are cut off after each pass, from the same centroids; see
/// `goldens/training_info.py`.
#[test]
fn passes_have_scikit_learns_inertia() {
    let (features, _) = data_set("iris");
    let mut set = TrainingSet::new(FeatureSchema::from_arrow(features.schema_ref()).unwrap(), 1);
    set.add_unlabelled(&features).unwrap();
    let control = FitControl::default();
    set.prepare(Numbers::Centred, &control).unwrap();
    let space = Space::new(&set, &control, DistanceType::Euclidean);
    let start = [3, 60, 62].into_iter().flat_map(|row| space.values(row)).collect();
    let history = lloyd::search(&space, start, 0.0, 9).unwrap().history.into_iterations(0.0);
    let losses: Vec<f64> = history.iter().map(|iteration| iteration.loss).collect();
    assert_all_close(&losses, &expected("kmeans_passes", "losses"), 1e-9);
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

/// scikit-learn's inertia, the best of ten starts, and the index for its labels; `goldens/clusters.py` prints both.
#[track_caller]
fn check_inertia(name: &str, options: &[(&str, &str)], inertia: f64, within: f64, index: f64) {
    let (features, _) = data_set(name);
    let options = [&[("num_init", "10"), ("tolerance", "0")], options].concat();
    let report = fit(&options, &features);
    assert!((report.loss / inertia - 1.0).abs() < within, "{name}: {} is not {inertia}", report.loss);
    let found = metric(&report, "davies_bouldin_index").unwrap();
    assert!((found - index).abs() < 0.05_f64.min(100.0 * within), "{name}: {found} is not {index}");
    let mean = metric(&report, "mean_squared_distance").unwrap();
    if !options.contains(&("distance_type", "cosine")) {
        assert_all_close(&[mean], &[report.loss / features.num_rows() as f64], 1e-9 * mean);
    }
    assert!(report.converged);
}

#[test]
fn inertia_equals_scikit_learn() {
    let raw = ("standardize_features", "false");
    check_inertia("iris", &[raw, ("num_clusters", "3")], 78.851_441_426_146, 1e-9, 0.661_971_546_500_746_5);
    check_inertia("wine", &[raw, ("num_clusters", "3")], 2_370_689.686_782_969, 1e-9, 0.534_243_177_543_628_6);
    check_inertia("digits", &[raw, ("num_clusters", "10")], 1_165_188.890_449_232, 0.005, 1.924_845_851_392_588_3);
    check_inertia("iris", &[("num_clusters", "3")], 139.820_496_359_749_82, 1e-9, 0.833_594_946_475_433_8);
    check_inertia("wine", &[("num_clusters", "3")], 1_277.928_488_844_642_3, 1e-9, 1.389_187_977_718_164_6);
}

#[test]
fn random_starts_come_as_far() {
    let options = [("standardize_features", "false"), ("num_clusters", "3"), ("kmeans_init_method", "RANDOM")];
    check_inertia("iris", &options, 78.851_441_426_146, 1e-9, 0.661_971_546_500_746_5);
}

#[test]
fn centroids_of_blobs_equal_scikit_learn() {
    let features = blobs(600);
    let expected = [
        [-0.001_066_666_666_668_325_5, 12.035_925_925_925_927, 103.054_75],
        [-6.666_666_666_799_159e-5, 0.029_629_629_629_628_34, 100.050_083_333_333_33],
        [9.999_266_666_666_667, 0.029_037_037_037_035_418, 106.055_666_666_666_67],
        [9.999_6, 12.029_333_333_333_334, 109.049_166_666_666_66],
    ];
    for standardize in ["false", "true"] {
        let report = fit(&[("num_clusters", "4"), ("standardize_features", standardize)], &features);
        assert_all_close(&centroid_numbers(&report), &expected.concat(), 1e-9);
        assert!(report.converged && report.iterations <= 3);
    }
    let report = fit(&[("num_clusters", "4"), ("standardize_features", "false")], &features);
    assert_all_close(&[report.loss], &[171.221_700_774_691_3], 1e-9);
    assert_all_close(&[metric(&report, "davies_bouldin_index").unwrap()], &[0.087_951_068_831_192_98], 1e-9);
    // All clusters are as large, so they are numbered by position.
    assert_eq!(nearest(&report, &features.slice(0, 4)), [2, 4, 3, 1]);
}

#[test]
fn clusters_are_numbered_by_size_and_distances_ascend() {
    let features = numbers(&[&[0.0, 1.0, 20.0, 21.0, 22.0, 40.0]]);
    let report = fit(&[("num_clusters", "3"), ("standardize_features", "false"), ("num_init", "5")], &features);
    assert_all_close(&centroid_numbers(&report), &[21.0, 0.5, 40.0], 1e-12);
    assert_all_close(&[report.loss], &[2.0 + 0.5], 1e-12);
    let asked = answers(&report, &numbers(&[&[11.0, 100.0]]));
    let [Some((nearest, ranked)), Some((far, _))] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((*nearest, *far), (1, 3));
    assert_eq!(ranked.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_all_close(&ranked.iter().map(|(_, distance)| *distance).collect::<Vec<_>>(), &[10.0, 10.5, 29.0], 1e-12);
    // (2/3 + ½) / 20.5 is the larger ratio of the first two, and (2/3 + 0) / 19 that of the last.
    let index = (2.0 * (2.0 / 3.0 + 0.5) / 20.5 + 2.0 / 3.0 / 19.0) / 3.0;
    assert_all_close(&[metric(&report, "davies_bouldin_index").unwrap()], &[index], 1e-12);
}

#[test]
fn categories_are_shares_and_missing_numbers_the_mean() {
    let columns: [(&str, ArrayRef); 2] = [
        ("kind", Arc::new(StringArray::from(vec![Some("a"), Some("a"), Some("b"), Some("c"), None, Some("c")]))),
        ("x", Arc::new(Float64Array::from(vec![Some(0.0), Some(1.0), Some(2.0), Some(100.0), Some(102.0), None]))),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let report = fit(&[("num_clusters", "2"), ("standardize_features", "false"), ("num_init", "4")], &features);
    let rows = KMeans::restore(&report.model).unwrap().centroids();
    let name = |name: &str| Category::Named(name.to_owned());
    // The row without a number has the mean, 41, and is nearer to the first three: their mean is 11.
    let shares =
        [vec![(name("a"), 0.5), (name("b"), 0.25), (name("c"), 0.25)], vec![(Category::Null, 0.5), (name("c"), 0.5)]];
    let expected: Vec<_> = [(1, 11.0, &shares[0]), (2, 101.0, &shares[1])]
        .into_iter()
        .flat_map(|(id, x, shares)| [(id, CentroidValue::Categories(shares.clone())), (id, CentroidValue::Number(x))])
        .collect();
    let found: Vec<_> = rows.iter().map(|row| (row.centroid_id, row.value.clone())).collect();
    assert_eq!(found, expected);
    assert_eq!((rows[0].feature.as_str(), rows[1].feature.as_str()), ("kind", "x"));
    let unseen: [(&str, ArrayRef); 2] = [
        ("x", Arc::new(Float64Array::from(vec![None, Some(11.0), Some(100.0)]))),
        ("kind", Arc::new(StringArray::from(vec![Some("a"), Some("never"), None]))),
    ];
    let unseen = RecordBatch::try_from_iter_with_nullable(unseen.map(|(name, array)| (name, array, true))).unwrap();
    let asked = answers(&report, &unseen);
    // 30² and ½² + ¼² + ¼²; an unseen category is none of those; a NULL was seen.
    let distances = [(900.0 + 0.375, 1), (0.375, 1), (1.0 + 0.5, 2)];
    for (answer, (square, id)) in asked.iter().zip(distances) {
        let (nearest, ranked) = answer.as_ref().unwrap();
        assert_eq!((*nearest, ranked[0].0), (id, id));
        assert_all_close(&[ranked[0].1], &[f64::sqrt(square)], 1e-12);
    }
}

#[test]
fn categories_past_the_limit_are_one() {
    let features = texts(&[Some("a"), Some("b"), Some("c"), Some("c")]);
    let report = fit(&[("num_clusters", "1"), ("max_categories", "2")], &features);
    let rows = KMeans::restore(&report.model).unwrap().centroids();
    let shares =
        vec![(Category::Other, 0.5), (Category::Named("a".to_owned()), 0.25), (Category::Named("b".to_owned()), 0.25)];
    assert_eq!(rows[0].value, CentroidValue::Categories(shares));
    // Of one cluster there is nothing to be apart from.
    assert_eq!(metric(&report, "davies_bouldin_index"), None);
}

#[test]
fn directions_by_hand_and_as_python_has_them() {
    let raw = ("standardize_features", "false");
    let cosine = ("distance_type", "cosine");
    let (features, _) = data_set("iris");
    let report = fit(&[raw, cosine, ("num_clusters", "3"), ("num_init", "10"), ("tolerance", "0")], &features);
    assert_all_close(&[report.loss], &[0.161_428_720_476_742_73], 1e-9);

    let features = numbers(&[&[1.0, 10.0, 0.0, 0.0, 3.0], &[0.0, 0.0, 2.0, 5.0, 0.0]]);
    let report = fit(&[raw, cosine, ("num_clusters", "2")], &features);
    assert_eq!(nearest(&report, &features), [1, 1, 2, 2, 1]);
    assert_all_close(&[report.loss], &[0.0], 1e-15);
    // Shown are the means of the rows.
    assert_all_close(&centroid_numbers(&report), &[14.0 / 3.0, 0.0, 0.0, 3.5], 1e-12);
    let asked = answers(&report, &numbers(&[&[4.0, -1.0, 0.0], &[3.0, 0.0, 0.0]]));
    let distances: Vec<f64> = asked.iter().flatten().flat_map(|(_, ranked)| ranked.iter().map(|(_, d)| *d)).collect();
    // Cosines 4/5 and 3/5, then 0 and -1; what has no direction is at a right angle.
    assert_all_close(&distances, &[0.2, 0.4, 1.0, 2.0, 1.0, 1.0], 1e-12);
}

#[test]
fn what_has_no_direction_starts_no_cluster() {
    let options =
        |clusters| [("distance_type", "cosine"), ("standardize_features", "false"), ("num_clusters", clusters)];
    let features = numbers(&[&[0.0, 0.0, 1.0, 2.0, 0.0], &[0.0, 0.0, 0.0, 0.0, 4.0]]);
    let report = fit(&options("2"), &features);
    // The first two rows belong to no cluster, and are said to be of the first.
    assert_eq!(nearest(&report, &features), [1, 1, 1, 1, 2]);
    assert_all_close(&[report.loss, metric(&report, "mean_squared_distance").unwrap()], &[0.0, 0.0], 1e-15);
    check_error(
        try_fit(&options("3"), &features),
        expect![
            "option num_clusters = '3' is not valid; expected at most 2, since the rows have no more different values"
        ],
    );
    check_error(
        try_fit(&options("1"), &numbers(&[&[0.0, 0.0]])),
        expect!["option distance_type = 'cosine' is not valid; expected euclidean, since no row differs from zero"],
    );
}

#[test]
fn few_different_rows_are_few_clusters_or_an_error() {
    let features = numbers(&[&[0.1, 0.2, 0.1, 0.2, 0.1]]);
    for standardize in ["true", "false"] {
        check_error(
            try_fit(&[("num_clusters", "3"), ("standardize_features", standardize)], &features),
            expect![
                "option num_clusters = '3' is not valid; expected at most 2, since the rows have no more different values"
            ],
        );
        // Whoever leaves the number open gets as many as there are.
        let report = fit(&[("standardize_features", standardize)], &numbers(&[&[0.1; 400]]));
        assert_eq!(nearest(&report, &features), [1; 5]);
        assert_eq!((report.loss, report.metrics.len()), (0.0, 1));
        assert_all_close(&centroid_numbers(&report), &[0.1], 1e-15);
    }
    assert_eq!(nearest(&fit(&[], &features.slice(0, 1)), &features), [1; 5]);
    check_error(
        try_fit(&[("num_clusters", "6")], &features),
        expect![
            "option num_clusters = '6' is not valid; expected a whole number up to 5, since there are so many rows"
        ],
    );
    // As many clusters as rows.
    let report = fit(&[("num_clusters", "3")], &numbers(&[&[1.0, 5.0, 9.0]]));
    assert_eq!((report.loss, metric(&report, "davies_bouldin_index")), (0.0, Some(0.0)));
}

#[test]
fn constant_and_missing_columns_say_nothing() {
    let columns: [(&str, ArrayRef); 3] = [
        ("constant", Arc::new(Float64Array::from(vec![7.0; 4]))),
        ("missing", Arc::new(Float64Array::new_null(4))),
        ("x", Arc::new(Float64Array::from(vec![1.0, 2.0, 30.0, 31.0]))),
    ];
    let features = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    for standardize in ["true", "false"] {
        let report = fit(&[("num_clusters", "2"), ("standardize_features", standardize)], &features);
        let numbers = centroid_numbers(&report);
        assert_all_close(&numbers, &[7.0, 0.0, 1.5, 7.0, 0.0, 30.5], 1e-12);
        assert_eq!(nearest(&report, &features), [1, 1, 2, 2]);
    }
}

#[test]
fn rows_that_cannot_be_learnt_get_no_answer() {
    let values = vec![Some(1.0), Some(f64::NAN), Some(2.0), Some(f64::INFINITY), None, Some(9.0)];
    let features = one_column(Arc::new(Float64Array::from(values)));
    let mut model = try_model(&[("num_clusters", "2")], &features).unwrap();
    let rejected = model.add(&features, &NullArray::new(6)).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [1, 3]);
    let report = model.fit().unwrap();
    assert_eq!(report.rows, 4);
    assert!(matches!(model.add(&features, &NullArray::new(6)), Err(MlError::AlreadyFitted)));
    let asked = answers(&report, &features);
    assert_eq!(asked.iter().map(Option::is_none).collect::<Vec<_>>(), [false, true, false, true, false, false]);
    assert_eq!(answers(&report, &features.slice(0, 0)), []);
}

#[test]
fn the_answer_has_the_type_that_was_announced() {
    let features = blobs(40);
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    let report = fit(&[], &features);
    let model = restore_predictor(&report.model).unwrap();
    let outputs = fitted_outputs(KMEANS, &[].into(), &schema, ("", &DataType::Null)).unwrap();
    assert_eq!(outputs, model.outputs(""));
    let said = model.answers(&features).unwrap();
    assert_eq!(outputs.len(), said.len());
    for (field, array) in outputs.iter().zip(&said) {
        assert_eq!((field.data_type(), array.len()), (array.data_type(), 40));
    }
    assert_eq!((model.model_type(), model.rows_learnt()), (KMEANS, 40));
    assert!(!takes_label(KMEANS).unwrap());
    assert!(matches!(restore(&report.model), Err(MlError::NotOnline { model_type: KMEANS })));
    assert!(matches!(restore_supervised(&report.model), Err(MlError::CorruptState { .. })));
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
        try_fit(&[("clusters", "1")], &features),
        expect![[
            r#"model type 'kmeans' has no option 'clusters'; valid options are num_clusters, kmeans_init_method, kmeans_algorithm, batch_size, distance_type, standardize_features, max_iterations, tolerance, num_init, seed, max_categories"#
        ]],
    );
    check_error(
        try_fit(&[("num_clusters", "0")], &features),
        expect!["option num_clusters = '0' is not valid; expected a number from 1 to 1000"],
    );
    check_error(
        try_fit(&[("kmeans_init_method", "custom")], &features),
        expect!["option kmeans_init_method = 'custom' is not valid; expected kmeans++ or random"],
    );
    check_error(
        try_fit(&[("distance_type", "manhattan")], &features),
        expect!["option distance_type = 'manhattan' is not valid; expected euclidean or cosine"],
    );
    let names: Vec<String> = (0..5000).map(|row| format!("name {row}")).collect();
    let names = texts(&names.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>());
    check_error(
        try_fit(&[("num_clusters", "900")], &names),
        expect!["option num_clusters = '900' is not valid; expected at most 838, for 5000 numbers and categories"],
    );
    let mut model = try_model(&[], &features).unwrap();
    model.add(&features, &NullArray::new(50)).unwrap();
    model.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(model.fit(), Err(MlError::Stopped)));
    let plain = fit(&[], &features);
    for doc in batch_option_docs(KMEANS).unwrap() {
        assert_eq!(fit(&[(doc.name, &doc.default)], &features), plain, "{}", doc.name);
    }
}

#[test]
fn large_numbers_stay_finite() {
    let report = fit(&[("num_clusters", "2"), ("standardize_features", "false")], &numbers(&[&[1e50, -1e50, 9e49]]));
    assert_eq!(nearest(&report, &numbers(&[&[1e50, -1e50, 9e49]])), [1, 2, 1]);
    let far = answers(&fit(&[("num_clusters", "2")], &numbers(&[&[1.0, 2.0, 3.0]])), &numbers(&[&[1e50]]));
    assert!(far[0].as_ref().unwrap().1.iter().all(|(_, distance)| distance.is_finite()));
}

#[test]
fn a_centroid_without_rows_goes_to_the_farthest_row() {
    let features = numbers(&[&[0.0, 1.0, 2.0, 50.0]]);
    let mut set = TrainingSet::new(FeatureSchema::from_arrow(&features.schema()).unwrap(), 1);
    set.add_unlabelled(&features).unwrap();
    let control = FitControl::default();
    set.prepare(Numbers::Plain, &control).unwrap();
    let space = Space::new(&set, &control, DistanceType::Euclidean);
    let found = lloyd::search(&space, vec![1.0, 1.0], 0.0, 10).unwrap();
    assert_eq!(found.values, [1.0, 50.0]);
    assert!(found.converged);
    assert!(!lloyd::search(&space, vec![1.0, 1.0], 0.0, 1).unwrap().converged);
}

#[test]
fn threads_and_batches_do_not_change_a_bit() {
    let (features, _) = reference_rows(0..40_000);
    for distance in ["euclidean", "cosine"] {
        let options = [("distance_type", distance), ("num_clusters", "5"), ("max_iterations", "10")];
        let alone = fit(&options, &features);
        for threads in [2, 4] {
            let mut model = try_model(&options, &features).unwrap();
            for (start, rows) in [(0, 1), (1, 1030), (1031, 38_969)] {
                model.add(&features.slice(start, rows), &NullArray::new(rows)).unwrap();
            }
            model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
            assert_eq!(model.fit().unwrap(), alone);
            // A second fit ends where the first one did.
            assert_eq!(model.fit().unwrap(), alone);
        }
    }
}

#[test]
fn the_seed_decides_where_a_search_starts() {
    let (features, _) = data_set("wine");
    let options = |seed| [("num_clusters", "8"), ("seed", seed), ("max_iterations", "2")];
    assert_eq!(fit(&options("1"), &features), fit(&options("1"), &features));
    assert_ne!(fit(&options("1"), &features).model, fit(&options("2"), &features).model);
}

#[test]
fn more_columns_than_rows_can_be_clustered() {
    let columns: Vec<Vec<f64>> = (0..40).map(|column| vec![0.0, f64::from(column), f64::from(column) + 0.1]).collect();
    let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let features = numbers(&columns);
    assert_eq!(nearest(&fit(&[("num_clusters", "2")], &features), &features), [2, 1, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        distance in prop::sample::select(vec!["euclidean", "cosine"]),
    ) {
        let (features, _) = reference_rows(0..100);
        let mut bytes = fit(&[("num_clusters", "3"), ("distance_type", distance)], &features).model;
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
