//! How near mini-batches come to Lloyd's algorithm, and that only the seed decides how.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, NullArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};

use crate::goldens::{data_set, reference_rows};
use crate::{
    BatchModel, FeatureSchema, FitControl, FitReport, Result, batch_option_docs, create_batch, restore_predictor,
};

const MINI_BATCH: (&str, &str) = ("kmeans_algorithm", "mini_batch");
const RAW: (&str, &str) = ("standardize_features", "false");

fn try_model(options: &[(&str, &str)], features: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch("kmeans", &options, &FeatureSchema::from_arrow(&features.schema())?, &DataType::Null)
}

fn try_fit(options: &[(&str, &str)], features: &RecordBatch) -> Result<FitReport> {
    let mut model = try_model(options, features)?;
    model.add(features, &NullArray::new(features.num_rows()))?;
    model.fit()
}

fn fit(options: &[(&str, &str)], features: &RecordBatch) -> FitReport {
    try_fit(options, features).unwrap()
}

fn error(options: &[(&str, &str)], features: &RecordBatch) -> String {
    try_fit(options, features).unwrap_err().to_string()
}

fn nearest(report: &FitReport, features: &RecordBatch) -> Vec<i64> {
    let said = restore_predictor(&report.model).unwrap().answers(features).unwrap();
    said[0].as_primitive::<Int64Type>().values().to_vec()
}

fn one_column(values: Vec<f64>) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(values)) as ArrayRef)]).unwrap()
}

#[test]
fn inertia_is_near_that_of_lloyd() {
    // scikit-learn's best of ten starts by Lloyd, `goldens/clusters.py` prints it; its MiniBatchKMeans comes within 3 %.
    for (name, clusters, inertia, standardize) in [
        ("digits", "10", 1_165_188.890_449_232, "false"),
        ("iris", "3", 78.851_441_426_146, "false"),
        ("wine", "3", 1_277.928_488_844_642_3, "true"),
    ] {
        let (features, _) = data_set(name);
        let own = [("num_clusters", clusters), ("standardize_features", standardize), ("num_init", "3")];
        for batch_size in ["100", "1024"] {
            let report = fit(&[&own[..], &[MINI_BATCH, ("batch_size", batch_size)]].concat(), &features);
            let more = report.loss / inertia - 1.0;
            assert!((-1e-9..0.02).contains(&more), "{name}, batches of {batch_size}: {more} more than Lloyd");
        }
    }
}

#[test]
fn a_centroid_is_the_mean_of_the_rows_that_came_to_it() {
    // Two values, far from each other: each centroid is the mean of the same number.
    let features = one_column((0..5000).map(|row| f64::from(row % 2 * 40)).collect());
    let report = fit(&[MINI_BATCH, RAW, ("num_clusters", "2"), ("batch_size", "64")], &features);
    assert_eq!(nearest(&report, &features)[..4], [1, 2, 1, 2]);
    // Rounding moves sums of centred numbers, and then nothing moves: the first pass from there is the last.
    assert!(report.loss < 1e-18 && report.converged && report.iterations < 3, "{report:?}");
    // One centroid is the mean of so many rows drawn, whose standard error is a hundredth.
    let features =
        one_column((0..10_000).map(|row| f64::from(row * 7919 % 10_007) / 10_007.0 * 12_f64.sqrt()).collect());
    let report = fit(&[MINI_BATCH, RAW, ("num_clusters", "1"), ("max_iterations", "1")], &features);
    let least: f64 = fit(&[RAW, ("num_clusters", "1")], &features).loss;
    assert!(report.loss > least && report.loss < least + 10_000.0 * 0.05 * 0.05, "{} {least}", report.loss);
}

#[test]
fn directions_are_found_too() {
    let (features, _) = data_set("iris");
    let options = [RAW, MINI_BATCH, ("distance_type", "cosine"), ("num_clusters", "3"), ("num_init", "5")];
    let report = fit(&[&options[..], &[("batch_size", "30")]].concat(), &features);
    // Lloyd's, as in the tests of directions.
    assert!((report.loss / 0.161_428_720_476_742_73 - 1.0).abs() < 0.02, "{}", report.loss);
}

#[test]
fn the_seed_decides_and_threads_and_batches_do_not() {
    let (features, _) = reference_rows(0..40_000);
    // Batches that several threads go through, and some that one does.
    for batch_size in ["30000", "500"] {
        let options = |seed| {
            [MINI_BATCH, ("batch_size", batch_size), ("num_clusters", "5"), ("max_iterations", "3"), ("seed", seed)]
        };
        let alone = fit(&options("1"), &features);
        assert_ne!(fit(&options("2"), &features).model, alone.model);
        for threads in [2, 4] {
            let mut model = try_model(&options("1"), &features).unwrap();
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
fn few_different_rows_are_found_though_few_are_drawn() {
    // A row drawn by chance has the value of one in a thousand hardly ever.
    let features = one_column((0..20_000).map(|row| f64::from(row / 19_980)).collect());
    let report = fit(&[MINI_BATCH, ("num_clusters", "2"), ("batch_size", "2")], &features);
    assert_eq!(nearest(&report, &features.slice(19_979, 2)), [1, 2]);
    assert_eq!(
        error(&[MINI_BATCH, ("num_clusters", "3"), ("batch_size", "2")], &features),
        "option num_clusters = '3' is not valid; expected at most 2, since the rows have no more different values"
    );
}

#[test]
fn what_cannot_be_searched_so_is_an_error() {
    let (features, _) = data_set("iris");
    assert_eq!(
        error(&[("kmeans_algorithm", "elkan")], &features),
        "option kmeans_algorithm = 'elkan' is not valid; expected lloyd or mini_batch"
    );
    assert_eq!(
        error(&[MINI_BATCH, ("batch_size", "0")], &features),
        "option batch_size = '0' is not valid; expected a number from 1 to 1000000000"
    );
    assert_eq!(
        error(&[MINI_BATCH], &features.slice(0, 0)),
        "there is no row to fit the model to: the query gave none, or none whose label and features can be used"
    );
    let docs = batch_option_docs("kmeans").unwrap();
    let default = |name: &str| docs.iter().find(|doc| doc.name == name).unwrap().default.clone();
    assert_eq!((default("kmeans_algorithm"), default("batch_size")), ("lloyd".to_owned(), "1024".to_owned()));
    // A batch of more rows than there are is one of as many.
    let (all, more) = ([MINI_BATCH, ("batch_size", "150")], [MINI_BATCH, ("batch_size", "1000000000")]);
    assert_eq!(fit(&all, &features), fit(&more, &features));
}
