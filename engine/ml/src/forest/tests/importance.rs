//! How much features are used, against scikit-learn's measure.

use super::*;
use crate::{ModelTable, restore_predictor, table_of};

#[test]
fn importances_are_scikit_learn_s() {
    let (features, labels) = floored(false);
    let [(features, labels), _] = halves(&features, &labels);
    let report = fit(TREE_REGRESSOR, &[("min_rows_in_leaf", "10")], &features, &Float64Array::from(labels)).unwrap();
    let table = table_of(restore_predictor(&report.model).unwrap().as_ref(), ModelTable::FeatureImportance).unwrap();
    let splits = table["importance_weight"].as_primitive::<Int64Type>().values().to_vec();
    let gains = numbers(&table["importance_gain"]);
    // Its measure is the sum of the gains, as a part of all.
    let sums: Vec<f64> = splits.iter().zip(&gains).map(|(splits, gain)| *splits as f64 * gain).collect();
    let all: f64 = sums.iter().sum();
    let found: Vec<f64> = sums.iter().map(|sum| sum / all).collect();
    assert_all_close(&found, &expected("tree_diabetes", "importances"), 1e-6);
    let leaves = Forest::restore(&report.model).unwrap().trees[0].leaves.count() as i64;
    assert_eq!(splits.iter().sum::<i64>(), leaves - 1);
    // The feature that the root is split by has all rows at least once.
    let covers = numbers(&table["importance_cover"]);
    let most = covers.iter().copied().fold(0.0, f64::max);
    assert!(most > features.num_rows() as f64 / leaves as f64 && most <= features.num_rows() as f64, "{covers:?}");
}
