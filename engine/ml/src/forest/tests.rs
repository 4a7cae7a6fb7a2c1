//! scikit-learn's numbers (`goldens/forest.py`), the same bits whatever the threads, and bad input.

mod explain;
mod importance;
mod input;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::{Forest, ForestType};
use crate::batch::{FitControl, FitReport, create_batch};
use crate::error::Result;
use crate::goldens::{assert_all_close, data_set, expected};
use crate::metrics::{RegressionSums, auc};
use crate::model::FeatureSchema;
use crate::predictor::Predictions;
use crate::registry::restore_supervised;

const TREE_CLASSIFIER: &str = ForestType::TreeClassifier.name();
const TREE_REGRESSOR: &str = ForestType::TreeRegressor.name();
const CLASSIFIER: &str = ForestType::ForestClassifier.name();
const REGRESSOR: &str = ForestType::ForestRegressor.name();

fn fit_with(
    model_type: &str,
    options: &[(&str, &str)],
    features: &RecordBatch,
    labels: &dyn Array,
    control: FitControl,
) -> Result<FitReport> {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(features.schema_ref())?;
    let mut model = create_batch(model_type, &options, &schema, labels.data_type())?;
    assert_eq!(model.add(features, labels)?, []);
    model.set_control(control);
    model.fit()
}

fn fit(model_type: &str, options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Result<FitReport> {
    fit_with(model_type, options, features, labels, FitControl::default())
}

fn said(report: &FitReport, features: &RecordBatch) -> Predictions {
    restore_supervised(&report.model).unwrap().predictions(features).unwrap()
}

fn metric(report: &FitReport, name: &str) -> f64 {
    let found = report.metrics.iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no {name} among {:?}", report.metrics)).1
}

/// The rows that are learnt, and every fifth, which is not, each with their labels.
fn halves(features: &RecordBatch, labels: &[f64]) -> [(RecordBatch, Vec<f64>); 2] {
    [false, true].map(|held| {
        let rows: Vec<i64> = (0..labels.len() as i64).filter(|row| (row % 5 == 0) == held).collect();
        let own = rows.iter().map(|row| labels[*row as usize]).collect();
        (take_record_batch(features, &Int64Array::from(rows)).unwrap(), own)
    })
}

fn integers(labels: &[f64]) -> Int64Array {
    labels.iter().map(|label| Some(*label as i64)).collect()
}

fn numbers(array: &ArrayRef) -> Vec<f64> {
    array.as_primitive::<Float64Type>().values().to_vec()
}

/// Two numbers, one sometimes missing, and 40 categories.
fn mixed(rows: usize) -> (RecordBatch, Vec<f64>) {
    let x = |i: usize| (i * 37 % 101) as f64 / 10.0 - 5.0;
    let y = |i: usize| (i % 11 != 3).then_some((i * 53 + 7) % 97);
    let category = |i: usize| i * i % 1009 % 40;
    let label = |i: usize| {
        let effect = [2.0, -1.0, 0.0][category(i) % 3];
        let of_y = y(i).map_or(1.5, |y| if y > 50 { -1.0 } else { 0.0 });
        x(i) * 0.8 + effect + of_y + (i * 29 % 17) as f64 / 8.0 > 1.5
    };
    let columns: [(&str, ArrayRef); 3] = [
        ("x", Arc::new(Float64Array::from_iter_values((0..rows).map(x)))),
        ("category", Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("c{}", category(i)))))),
        ("y", Arc::new((0..rows).map(|i| y(i).map(|y| y as i64)).collect::<Int64Array>())),
    ];
    let labels = (0..rows).map(|i| f64::from(u8::from(label(i)))).collect();
    (RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap(), labels)
}

/// The mean decrease in impurity by each feature, as a part of all, in the mean over the trees.
fn importances(forest: &Forest, features: usize) -> Vec<f64> {
    let mut all = vec![0.0; features];
    for tree in &forest.trees {
        let mut own = vec![0.0; features];
        tree.nodes.iter().for_each(|node| own[node.feature as usize] += f64::from(node.gain));
        let sum: f64 = own.iter().sum();
        all.iter_mut().zip(own).for_each(|(all, own)| *all += own / sum / forest.trees.len() as f64);
    }
    all
}

/// Whole numbers, which all have a bin of their own, and some of them missing.
fn floored(has_holes: bool) -> (RecordBatch, Vec<f64>) {
    let (features, labels) = data_set("diabetes");
    let is_hole = |column: usize, row: usize| (column == 2 && row % 7 == 2) || (column == 8 && labels[row] > 250.0);
    let columns = features.columns().iter().enumerate().map(|(column, array)| {
        let values = numbers(array).into_iter().enumerate();
        let value = |(row, value): (usize, f64)| Some(value.floor()).filter(|_| !(has_holes && is_hole(column, row)));
        (format!("x{column}"), Arc::new(values.map(value).collect::<Float64Array>()) as ArrayRef, true)
    });
    (RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap(), labels)
}

/// A tree that scikit-learn grows in one way only.
fn check_tree(case: &str, model_type: &str, options: &[(&str, &str)], data: &(RecordBatch, Vec<f64>), has_gains: bool) {
    let [(features, labels), (others, _)] = halves(&data.0, &data.1);
    let (classes, numeric) = (integers(&labels), Float64Array::from(labels));
    let labels: &dyn Array = if model_type == TREE_CLASSIFIER { &classes } else { &numeric };
    let report = fit(model_type, options, &features, labels).unwrap();
    let said = said(&report, &others);
    let found: Vec<f64> = match said.probabilities.as_slice() {
        [] => numbers(&said.labels),
        classes => (0..others.num_rows()).flat_map(|row| classes.iter().map(move |class| class.value(row))).collect(),
    };
    assert_all_close(&found, &expected(case, "said"), 1e-9);
    let forest = Forest::restore(&report.model).unwrap();
    assert_eq!(vec![forest.trees[0].leaves.count() as f64], expected(case, "leaves"), "{case}");
    if has_gains {
        assert_all_close(&importances(&forest, features.num_columns()), &expected(case, "importances"), 1e-6);
    }
}

#[test]
fn trees_of_numbers_are_scikit_learn_s() {
    let leaf = ("min_rows_in_leaf", "10");
    check_tree("tree_diabetes", TREE_REGRESSOR, &[leaf], &floored(false), true);
    check_tree("tree_diabetes_holes", TREE_REGRESSOR, &[leaf], &floored(true), true);
    let options = [("min_rows_in_leaf", "7"), ("max_tree_depth", "5")];
    check_tree("tree_diabetes_deep", TREE_REGRESSOR, &options, &floored(false), true);
}

#[test]
fn trees_of_classes_are_scikit_learn_s() {
    let (digits, iris) = (data_set("third_of_digits"), data_set("iris"));
    let (depth, entropy) = (("max_tree_depth", "3"), ("criterion", "entropy"));
    check_tree("tree_digits", TREE_CLASSIFIER, &[depth], &digits, true);
    check_tree("tree_digits_entropy", TREE_CLASSIFIER, &[depth, entropy], &digits, true);
    check_tree("tree_digits_decrease", TREE_CLASSIFIER, &[("min_impurity_decrease", "0.03")], &digits, true);
    check_tree("tree_iris", TREE_CLASSIFIER, &[], &iris, false);
    check_tree("tree_iris_entropy", TREE_CLASSIFIER, &[entropy], &iris, false);
}

/// Of the rows held out, the share whose class is said, the AUC of two classes, and the log loss.
fn told(report: &FitReport, others: &RecordBatch, wanted: &[f64]) -> [f64; 3] {
    let said = said(report, others);
    let right = said.labels.as_primitive::<Int64Type>().values().iter().zip(wanted);
    let right = right.filter(|(said, wanted)| **said == **wanted as i64).count();
    let positive: Vec<bool> = wanted.iter().map(|label| *label > 0.5).collect();
    let area = auc(said.probabilities[1].values(), &positive).unwrap();
    let of_own = |row: usize| said.probabilities[wanted[row] as usize].value(row);
    let loss = (0..wanted.len()).map(|row| -of_own(row).max(2.3e-16).ln()).sum::<f64>();
    [right as f64 / wanted.len() as f64, area, loss / wanted.len() as f64]
}

/// The mean over some seeds of what is told of the rows held out, and of the rows out of bag.
fn means(case: &str, options: &[(&str, &str)], name: &str, seeds: u64) -> [f64; 4] {
    let (features, labels) = data_set(name);
    let [(features, labels), (others, wanted)] = halves(&features, &labels);
    let model_type = if case.starts_with("tree") { TREE_CLASSIFIER } else { CLASSIFIER };
    let mut means = [0.0; 4];
    for seed in 0..seeds {
        let seed = seed.to_string();
        let options: Vec<_> = options.iter().copied().chain([("seed", seed.as_str())]).collect();
        let report = fit(model_type, &options, &features, &integers(&labels)).unwrap();
        let oob = if model_type == CLASSIFIER { metric(&report, "oob_accuracy") } else { metric(&report, "accuracy") };
        let found = told(&report, &others, &wanted).into_iter().chain([oob]);
        means.iter_mut().zip(found).for_each(|(mean, found)| *mean += found / seeds as f64);
    }
    means
}

#[track_caller]
fn check_mean(case: &str, name: &str, found: f64, within: f64) {
    let wanted = expected(case, name)[0];
    assert!((found - wanted).abs() <= within, "{case} {name}: {found}, scikit-learn has {wanted}");
}

#[test]
fn full_trees_are_as_good_as_scikit_learn_s() {
    // Two to three standard deviations of scikit-learn's over seeds, which decide between splits as good.
    for (name, within) in [("breast_cancer", 0.03), ("wine", 0.05), ("iris", 0.0), ("third_of_digits", 0.04)] {
        let [accuracy, area, _, own] = means("tree", &[], name, 1);
        let case = format!("tree_{name}_full");
        check_mean(&case, "accuracy", accuracy, within + 1e-9);
        assert_eq!(own, 1.0, "{name}");
        if name == "breast_cancer" {
            check_mean(&case, "roc_auc", area, 0.035);
        }
    }
}

#[test]
fn forests_are_as_good_as_scikit_learn_s() {
    // The accuracy, the AUC, the log loss and the accuracy out of bag: about two standard deviations of one seed.
    let sets = [
        ("breast_cancer", [0.01, 0.01, 0.2, 0.01]),
        ("wine", [0.017, 1.0, 0.015, 0.015]),
        ("iris", [0.01, 1.0, 0.1, 0.013]),
        ("third_of_digits", [0.018, 1.0, 0.02, 0.014]),
    ];
    for (name, within) in sets {
        let [accuracy, area, loss, oob] = means("forest", &[], name, 4);
        let case = format!("forest_{name}");
        check_mean(&case, "accuracy", accuracy, within[0]);
        check_mean(&case, "log_loss", loss, within[2]);
        check_mean(&case, "oob", oob, within[3]);
        if name == "breast_cancer" {
            check_mean(&case, "roc_auc", area, within[1]);
        }
    }
    let options = [("criterion", "entropy"), ("max_tree_depth", "4")];
    let [accuracy, area, loss, _] = means("forest", &options, "breast_cancer", 4);
    check_mean("forest_breast_cancer_entropy", "accuracy", accuracy, 0.01);
    check_mean("forest_breast_cancer_entropy", "roc_auc", area, 0.01);
    check_mean("forest_breast_cancer_entropy", "log_loss", loss, 0.02);
}

#[test]
fn forests_of_numbers_are_as_good_as_scikit_learn_s() {
    let (features, labels) = data_set("diabetes");
    let [(features, labels), (others, wanted)] = halves(&features, &labels);
    let labels = Float64Array::from(labels);
    let mean = |options: &[(&str, &str)]| {
        let (mut rmse, mut oob) = (0.0, 0.0);
        for seed in ["0", "1", "2", "3"] {
            let options: Vec<_> = options.iter().copied().chain([("seed", seed)]).collect();
            let report = fit(REGRESSOR, &options, &features, &labels).unwrap();
            let mut sums = RegressionSums::default();
            let said = numbers(&said(&report, &others).labels);
            wanted.iter().zip(said).for_each(|(label, said)| sums.add(*label, said));
            rmse += sums.rmse().unwrap() / 4.0;
            oob += metric(&report, "oob_r2") / 4.0;
        }
        (rmse, oob)
    };
    let (rmse, oob) = mean(&[]);
    check_mean("forest_diabetes", "rmse", rmse, 1.5);
    check_mean("forest_diabetes", "oob", oob, 0.02);
    let (rmse, _) = mean(&[("max_features", "sqrt"), ("min_rows_in_leaf", "3"), ("subsample", "0.5")]);
    check_mean("forest_diabetes_part", "rmse", rmse, 1.5);
}

#[test]
fn threads_and_batches_change_no_bit() {
    let with = |threads| FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() };
    let (features, labels) = mixed(3000);
    let labels = integers(&labels);
    let options = [("num_parallel_tree", "7"), ("max_features", "2"), ("seed", "5")];
    let one = fit_with(CLASSIFIER, &options, &features, &labels, with(1)).unwrap();
    for threads in [2, 5, 16] {
        let more = fit_with(CLASSIFIER, &options, &features, &labels, with(threads)).unwrap();
        assert_eq!(more, one, "{threads} threads");
    }

    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let mut parted = create_batch(CLASSIFIER, &options, &schema, &DataType::Int64).unwrap();
    for start in (0..3000).step_by(777) {
        let length = 777.min(3000 - start);
        parted.add(&features.slice(start, length), &labels.slice(start, length)).unwrap();
    }
    assert_eq!(parted.fit().unwrap(), one);
    // A second fit ends where the first one did.
    assert_eq!(parted.fit().unwrap(), one);
}

#[test]
fn threads_that_share_a_node_change_no_bit() {
    let with = |threads| FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() };
    let (features, labels) = mixed(100_000);
    let labels = Float64Array::from(labels);
    let options = [("max_tree_depth", "3")];
    let one = fit_with(TREE_REGRESSOR, &options, &features, &labels, with(1)).unwrap();
    assert_eq!(fit_with(TREE_REGRESSOR, &options, &features, &labels, with(3)).unwrap(), one);
}

#[test]
fn the_seed_decides() {
    let (features, labels) = mixed(300);
    let labels = integers(&labels);
    let of = |model_type, options: &[(&str, &str)]| fit(model_type, options, &features, &labels).unwrap().model;
    let few = ("num_parallel_tree", "3");
    assert_ne!(of(CLASSIFIER, &[few, ("seed", "1")]), of(CLASSIFIER, &[few, ("seed", "2")]));
    // A tree that looks at all rows and features draws nothing; the seed is not written down.
    assert_eq!(of(TREE_CLASSIFIER, &[("seed", "1")]), of(TREE_CLASSIFIER, &[]));
    assert_ne!(of(TREE_CLASSIFIER, &[("max_features", "1")]), of(TREE_CLASSIFIER, &[]));
    assert_eq!(of(TREE_CLASSIFIER, &[("max_features", "99")]), of(TREE_CLASSIFIER, &[]));
}

#[test]
fn a_forest_of_one_tree_of_all_rows_is_a_tree() {
    let (features, labels) = mixed(500);
    let labels = integers(&labels);
    let options = [("num_parallel_tree", "1"), ("bootstrap", "false"), ("max_features", "all")];
    let forest = fit(CLASSIFIER, &options, &features, &labels).unwrap();
    let tree = fit(TREE_CLASSIFIER, &[], &features, &labels).unwrap();
    assert_eq!(Forest::restore(&forest.model).unwrap().trees, Forest::restore(&tree.model).unwrap().trees);
    assert_eq!((forest.metrics, forest.loss), (tree.metrics, 0.0));
}
