//! Rows a second that a tree learns, to be run by hand in release with those of other online models:
//! `cargo test --release -p tidemill-ml online_throughput -- --ignored --nocapture --test-threads 1`.

use arrow::array::{BooleanArray, Float64Array};

use super::adaptive::tests::drifting;
use super::tests::waves;
use crate::batch::throughput::numbers;
use crate::linear::linear_regression::online::throughput::measure;

const ROWS: usize = 200_000;

#[test]
#[ignore = "a measurement, not a check"]
fn tree_online_throughput() {
    let (features, labels) = numbers(ROWS);
    let labels: BooleanArray = labels.iter().map(|label| Some(*label > 0.0)).collect();
    measure("tree of thirty numbers", "hoeffding_tree_classifier", &[], &features, &labels);
    let (features, labels) = waves(0..ROWS);
    measure("tree of waves", "hoeffding_tree_classifier", &[], &features, &labels);
    let (features, labels) = drifting(0..ROWS);
    measure("adaptive tree of waves that change", "hoeffding_adaptive_tree_classifier", &[], &features, &labels);
    measure("forest of waves that change", "adaptive_random_forest_classifier", &[], &features, &labels);
    let (features, labels) = numbers(ROWS);
    measure(
        "regression tree of thirty numbers",
        "hoeffding_tree_regressor",
        &[],
        &features,
        &Float64Array::from(labels),
    );
}
