//! The accuracy of River along a stream that changes, what is drawn, limits, snapshots, and bad input.

use std::sync::OnceLock;

use arrow::array::{Array, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::AdaptiveRandomForest;
use super::member::times;
use crate::goldens::{expected, reference_rows};
use crate::hoeffding_tree::adaptive::tests::drifting;
use crate::model::testing::{
    check_batch_boundaries, check_damaged, check_goes_on_restored, is_probability, try_online,
};
use crate::random::Random;
use crate::{FeatureSchema, OnlineSupervised, Result, restore};

fn forest(options: &[(&str, &str)], features: &RecordBatch) -> AdaptiveRandomForest {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    AdaptiveRandomForest::new(&options, schema, &DataType::Utf8).unwrap()
}

/// The share of rows of which the forest says the class before it learns them, one by one.
fn prequential_accuracy(forest: &mut AdaptiveRandomForest, features: &RecordBatch, labels: &StringArray) -> f64 {
    let mut right = 0;
    for row in 0..labels.len() {
        let label = labels.slice(row, 1);
        let report = forest.learn(&features.slice(row, 1), &label).unwrap();
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
    let (features, labels) = drifting(0..12_000);
    let ours = prequential_accuracy(&mut forest(&[], &features), &features, &labels);
    // Both depend on what they draw.
    let theirs = (0..2).map(|seed| expected(&format!("drifting_forest_{seed}"), "accuracy")[0]).fold(0.0, f64::max);
    assert!(ours > theirs - 0.005, "{ours}, and River {theirs}");
}

#[test]
fn trees_learn_rows_six_times_on_average() {
    let drawn: Vec<f64> = (0..100_000).map(|row| f64::from(times(Random::new(7, row)))).collect();
    let mean = drawn.iter().sum::<f64>() / 1e5;
    let variance = drawn.iter().map(|times| (times - mean).powi(2)).sum::<f64>() / 1e5;
    // Of a Poisson distribution both are the same; four standard errors of each.
    assert!((mean - 6.0).abs() < 0.031 && (variance - 6.0).abs() < 0.12, "{mean} {variance}");
}

#[test]
fn trees_differ_and_follow_from_the_seed() {
    let (features, labels) = drifting(0..3000);
    let learnt = |options: &[(&str, &str)]| {
        let mut forest = forest(options, &features);
        forest.learn(&features, &labels).unwrap();
        forest.snapshot().unwrap()
    };
    assert_eq!(learnt(&[]), learnt(&[("seed", "0")]));
    assert_ne!(learnt(&[]), learnt(&[("seed", "1")]));
    let forest = AdaptiveRandomForest::restore(&learnt(&[])).unwrap();
    let mut shapes: Vec<_> = forest.learner.members.iter().map(|member| member.tree.bytes()).collect();
    shapes.sort_unstable();
    shapes.dedup();
    assert!(shapes.len() > 5, "{shapes:?}");
}

#[test]
fn memory_keeps_within_its_limits() {
    let (features, labels) = drifting(0..9000);
    let mut small = forest(&[("max_size", "0.25"), ("num_parallel_tree", "5")], &features);
    for start in (0..9000).step_by(100) {
        small.learn(&features.slice(start, 100), &labels.slice(start, 100)).unwrap();
        let members = small.learner.members.iter();
        let trees = members.flat_map(|member| std::iter::once(&member.tree).chain(&member.background));
        // A split can exceed the limit of a tree until the next row comes.
        let bytes: usize = trees.map(|tree| tree.bytes()).sum();
        assert!(bytes < (256 + 40) << 10, "{bytes}");
    }
    let restored = AdaptiveRandomForest::restore(&small.snapshot().unwrap()).unwrap();
    assert_eq!(restored.learner.members[0].tree.bytes(), small.learner.members[0].tree.bytes());
}

#[test]
fn batch_boundaries_do_not_change_a_bit() {
    let (features, labels) = drifting(4500..7500);
    let options = [("max_categories", "4"), ("num_parallel_tree", "3")];
    check_batch_boundaries(&forest(&options, &features), &features, &labels);
}

#[test]
fn trees_are_planted_in_the_order_of_rows() {
    let (features, labels) = drifting(5000..7000);
    let options = [("num_parallel_tree", "40"), ("warning_delta", "0.45"), ("drift_delta", "0.4")];
    let mut whole = forest(&options, &features);
    whole.learn(&features, &labels).unwrap();
    // More than there are blocks that members learn by themselves, so of some blocks several.
    assert!(whole.learner.planted > 40 + 2000 / 128 + 1, "{}", whole.learner.planted);
    let mut alone = forest(&options, &features);
    (0..2000).for_each(|row| drop(alone.learn(&features.slice(row, 1), &labels.slice(row, 1)).unwrap()));
    assert_eq!(alone.snapshot().unwrap(), whole.snapshot().unwrap());
}

#[test]
fn a_restored_forest_goes_on_as_the_original() {
    let (features, labels) = drifting(4000..8000);
    for options in [[("max_features", "all"), ("seed", "5")], [("num_parallel_tree", "3"), ("warning_delta", "0.2")]] {
        check_goes_on_restored(Box::new(forest(&options, &features)), &features, &labels, 1900);
    }
}

#[test]
fn a_stream_of_one_class_and_bad_options_are_told() {
    let (features, _) = reference_rows(0..1000);
    let label = DataType::Boolean;
    let mut one = try_online("adaptive_random_forest_classifier", &[], &features, &label).unwrap();
    assert_eq!(one.predict(&features.slice(0, 2)).unwrap().values(), &[0.5, 0.5]);
    one.learn(&features, &BooleanArray::from(vec![true; 1000])).unwrap();
    assert_eq!(one.predict(&features.slice(0, 2)).unwrap().values(), &[1.0, 1.0]);
    check_error(
        one.merge(&[&[]]),
        expect!["models of type 'adaptive_random_forest_classifier' cannot be merged: one task has to learn all rows"],
    );
    let error = |options: &[(&str, &str)]| try_online("adaptive_random_forest_classifier", options, &features, &label);
    check_error(
        error(&[("num_parallel_tree", "0")]),
        expect!["option num_parallel_tree = '0' is not valid; expected a number from 1 to 1000"],
    );
    check_error(
        error(&[("max_features", "0")]),
        expect![
            "option max_features = '0' is not valid; expected all, sqrt, log2, a whole number, or a fraction from 0.0 to 1.0"
        ],
    );
    check_error(
        error(&[("trees", "3")]),
        expect![
            "model type 'adaptive_random_forest_classifier' has no option 'trees'; valid options are num_parallel_tree, max_features, warning_delta, drift_delta, seed, grace_period, delta, tau, leaf_prediction, binary_split, max_nodes, max_size, max_categories"
        ],
    );
}

fn some_snapshot() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let (features, labels) = drifting(5000..6200);
        let mut forest = forest(&[("num_parallel_tree", "3"), ("warning_delta", "0.3")], &features);
        forest.learn(&features, &labels).unwrap();
        assert!(forest.learner.members.iter().any(|member| member.background.is_some()));
        forest.snapshot().unwrap()
    })
}

#[test]
fn a_snapshot_must_be_whole() {
    let bytes = some_snapshot();
    restore(bytes).unwrap();
    assert!((0..bytes.len()).step_by(31).all(|end| restore(&bytes[..end]).is_err()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn corrupt_bytes_are_an_error_or_a_working_model(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (features, labels) = drifting(6400..6450);
        check_damaged(some_snapshot(), changes, AdaptiveRandomForest::restore, (&features, &labels), is_probability);
    }
}
