//! The accuracy of River along streams that change, what becomes of the trees beside parts, limits, snapshots, and bad
//! input.

use std::ops::Range;
use std::sync::OnceLock;

use arrow::array::{Array, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::HoeffdingAdaptiveTree;
use crate::goldens::{expected, reference_rows};
use crate::hoeffding_tree::tests::waves;
use crate::model::testing::{
    check_batch_boundaries, check_damaged, check_goes_on_restored, is_probability, try_online,
};
use crate::predictor::Supervised;
use crate::{FeatureSchema, OnlineSupervised, Result, restore};

/// The rows of `waves`, whose labels change places every 6000 rows; `drifting` in `goldens/online_trees.py` makes the same.
pub(crate) fn drifting(rows: Range<usize>) -> (RecordBatch, StringArray) {
    let (features, labels) = waves(rows.clone());
    let moved = |(row, label): (usize, Option<&str>)| {
        let place = "abc".find(label.unwrap()).unwrap();
        ["a", "b", "c"][(place + row / 6000) % 3]
    };
    (features, StringArray::from_iter_values(rows.zip(labels.iter()).map(moved)))
}

fn tree(options: &[(&str, &str)], features: &RecordBatch) -> HoeffdingAdaptiveTree {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    HoeffdingAdaptiveTree::new(&options, schema, &DataType::Utf8).unwrap()
}

/// The share of rows of which the tree says the class before it learns them, one by one.
fn prequential_accuracy(tree: &mut HoeffdingAdaptiveTree, features: &RecordBatch, labels: &StringArray) -> f64 {
    let mut right = 0;
    for row in 0..labels.len() {
        let label = labels.slice(row, 1);
        let report = tree.learn(&features.slice(row, 1), &label).unwrap();
        right += u32::from(report.said.labels.as_ref() == &label as &dyn Array);
    }
    f64::from(right) / labels.len() as f64
}

#[track_caller]
fn check_error(result: Result<impl Sized>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

#[test]
fn accuracy_along_a_stream_that_changes_is_that_of_river() {
    let (features, labels) = drifting(0..24_000);
    for (leaves, mode) in [("mc", "majority_class"), ("nba", "adaptive")] {
        let ours = prequential_accuracy(&mut tree(&[("leaf_prediction", mode)], &features), &features, &labels);
        // River's depends on what it draws.
        let theirs = (0..3).map(|seed| expected(&format!("drifting_adaptive_{leaves}_{seed}"), "accuracy")[0]);
        let best = theirs.fold(0.0, f64::max);
        assert!(ours > best - 0.005, "{mode}: {ours}, and River {best}");
        // A tree that does not adapt.
        assert!(ours > expected(&format!("drifting_tree_{leaves}"), "accuracy")[0] + 0.2);
    }
}

#[test]
fn parts_are_replaced_only_where_something_changes() {
    let (features, labels) = waves(0..12_000);
    let mut still = tree(&[], &features);
    let mut plain = try_online("hoeffding_tree_classifier", &[], &features, &DataType::Utf8).unwrap();
    still.learn(&features, &labels).unwrap();
    plain.learn(&features, &labels).unwrap();
    assert_eq!(still.predict(&features).unwrap(), plain.predict(&features).unwrap());
    // All parts see the change, and the root is replaced last or takes the others with it.
    let (features, labels) = drifting(0..12_000);
    let mut moved = tree(&[], &features);
    moved.learn(&features, &labels).unwrap();
    let (splits, leaves) = moved.learner.tree.counts();
    assert!(splits > 0 && leaves > splits);
    assert_eq!(moved.learner.watches.len(), splits + leaves);
    let watched = moved.learner.watches.iter().flatten();
    assert_eq!(moved.learner.watch_bytes, watched.map(|watch| watch.bytes()).sum::<usize>());
    let said = moved.predictions(&features.slice(11_000, 1000)).unwrap().labels;
    let labels = labels.slice(11_000, 1000);
    let right = said.as_string::<i32>().iter().zip(&labels).filter(|(said, label)| said == label).count();
    assert!(right > 850, "{right}");
}

#[test]
fn memory_keeps_within_its_limits() {
    let (features, labels) = drifting(0..24_000);
    for (nodes, kib) in [("14", 1000.0), ("100000", 40.0)] {
        let size = (kib / 1024.0_f64).to_string();
        let options = [("grace_period", "50"), ("max_nodes", nodes), ("max_size", &size)];
        let mut small = tree(&options, &features);
        for start in (0..24_000).step_by(100) {
            small.learn(&features.slice(start, 100), &labels.slice(start, 100)).unwrap();
            let (splits, leaves) = small.learner.tree.counts();
            assert!(splits + leaves <= nodes.parse().unwrap());
            // What watches take grows without being asked, but slowly.
            let bytes = small.learner.tree.bytes() + small.learner.watch_bytes;
            assert!(bytes < (kib as usize + 16) << 10, "{bytes}");
        }
        let restored = HoeffdingAdaptiveTree::restore(&small.snapshot().unwrap()).unwrap();
        assert_eq!(restored.learner.tree.bytes(), small.learner.tree.bytes());
        assert_eq!(restored.learner.watch_bytes, small.learner.watch_bytes);
    }
}

#[test]
fn batch_boundaries_do_not_change_a_bit() {
    let (features, labels) = drifting(0..9000);
    let options = [("max_categories", "4"), ("grace_period", "60")];
    check_batch_boundaries(&tree(&options, &features), &features, &labels);
}

#[test]
fn a_restored_tree_goes_on_as_the_original() {
    let (features, labels) = drifting(0..9000);
    // Rows later there are trees beside parts.
    for options in
        [[("grace_period", "50"), ("drift_window", "1000")], [("binary_split", "true"), ("drift_delta", "0.1")]]
    {
        check_goes_on_restored(Box::new(tree(&options, &features)), &features, &labels, 2700);
    }
}

#[test]
fn a_stream_of_one_class_and_bad_options_are_told() {
    let (features, _) = reference_rows(0..3000);
    let label = DataType::Boolean;
    let mut tree = try_online("hoeffding_adaptive_tree_classifier", &[], &features, &label).unwrap();
    tree.learn(&features, &BooleanArray::from(vec![true; 3000])).unwrap();
    assert_eq!(tree.predict(&features.slice(0, 2)).unwrap(), Float64Array::from(vec![1.0, 1.0]));
    assert_eq!(tree.class_rows(), [0, 3000]);
    check_error(
        tree.require_classes(),
        expect!["all 3000 rows have the label 'true'; a classifier needs rows of at least two classes"],
    );
    check_error(
        tree.merge(&[&[]]),
        expect!["models of type 'hoeffding_adaptive_tree_classifier' cannot be merged: one task has to learn all rows"],
    );
    let error = |options: &[(&str, &str)]| try_online("hoeffding_adaptive_tree_classifier", options, &features, &label);
    check_error(
        error(&[("drift_delta", "2")]),
        expect![
            "option drift_delta = '2' is not valid; expected a number from 0.000000000000000000000000000001 to 0.5"
        ],
    );
    check_error(
        error(&[("seed", "3")]),
        expect![
            "model type 'hoeffding_adaptive_tree_classifier' has no option 'seed'; valid options are grace_period, delta, tau, leaf_prediction, binary_split, max_nodes, max_size, max_categories, drift_delta, drift_window, switch_significance"
        ],
    );
}

fn some_snapshot() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let (features, labels) = drifting(4000..6400);
        let mut tree = tree(&[("grace_period", "50"), ("tau", "0.3"), ("drift_window", "2000")], &features);
        tree.learn(&features, &labels).unwrap();
        assert!(tree.learner.watches.iter().flatten().any(|watch| watch.beside.is_some()));
        tree.snapshot().unwrap()
    })
}

#[test]
fn a_snapshot_must_be_whole() {
    let bytes = some_snapshot();
    restore(bytes).unwrap();
    assert!((0..bytes.len()).step_by(7).all(|end| restore(&bytes[..end]).is_err()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, labels) = drifting(6400..6500);
        check_damaged(some_snapshot(), changes, HoeffdingAdaptiveTree::restore, (&features, &labels), is_probability);
    }
}
