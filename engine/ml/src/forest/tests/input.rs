//! Bad input, input that says little, and damaged snapshots.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::batch::BatchModel;
use crate::error::MlError;
use crate::forest::batch::BatchForest;
use crate::forest::config::ForestConfig;
use crate::model::RejectReason;

fn columns<const COUNT: usize>(columns: [(&str, ArrayRef); COUNT]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

#[test]
fn what_two_features_say_together_is_found() {
    let bit = |place: usize| Arc::new((0..64).map(|row| Some((row >> place & 1) as i64)).collect::<Int64Array>());
    let features = columns([("a", bit(0) as ArrayRef), ("b", bit(3)), ("nothing", bit(5))]);
    let labels: BooleanArray = (0..64).map(|row| Some((row ^ row >> 3) & 1 == 1)).collect();
    let report = fit(TREE_CLASSIFIER, &[], &features, &labels).unwrap();
    assert_eq!((metric(&report, "accuracy"), metric(&report, "log_loss"), report.loss), (1.0, 0.0, 0.0));
    assert_eq!(said(&report, &features).labels.as_boolean(), &labels);
}

#[test]
fn what_was_not_seen_has_an_answer() {
    let (features, labels) = mixed(2000);
    let report = fit(CLASSIFIER, &[("num_parallel_tree", "5")], &features, &integers(&labels)).unwrap();
    let others = columns([
        ("category", Arc::new(StringArray::from(vec![Some("never"), None])) as ArrayRef),
        ("y", Arc::new(Int64Array::from(vec![None, Some(1 << 40)]))),
        ("x", Arc::new(Float64Array::from(vec![None, Some(-1e9)]))),
    ]);
    let said = said(&report, &others);
    for row in 0..2 {
        let sum: f64 = said.probabilities.iter().map(|class| class.value(row)).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}

#[test]
fn unseen_and_missing_go_with_most_rows() {
    let names = ["a", "b", "b", "b", "c", "c"];
    let features = columns([("name", Arc::new(StringArray::from(names.to_vec())) as ArrayRef)]);
    let labels = Float64Array::from(vec![9.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let report = fit(TREE_REGRESSOR, &[], &features, &labels).unwrap();
    let others = columns([("name", Arc::new(StringArray::from(vec![Some("a"), Some("x"), None])) as ArrayRef)]);
    assert_eq!(numbers(&said(&report, &others).labels), [9.0, 1.0, 1.0]);
    let features = columns([("x", Arc::new(Float64Array::from(vec![0.0, 5.0, 6.0, 7.0, 8.0, 9.0])) as ArrayRef)]);
    let report = fit(TREE_REGRESSOR, &[], &features, &labels).unwrap();
    let others = columns([("x", Arc::new(Float64Array::from(vec![Some(2.4), Some(2.6), None])) as ArrayRef)]);
    assert_eq!(numbers(&said(&report, &others).labels), [9.0, 1.0, 1.0]);
}

#[test]
fn categories_beyond_the_bins_are_one() {
    // Of 400 categories, 255 have two rows: those say the label, and the others do not.
    let category = |row: usize| if row < 510 { row / 2 } else { row - 255 };
    let names = StringArray::from_iter_values((0..655).map(|row| format!("c{}", category(row))));
    let features = columns([("name", Arc::new(names) as ArrayRef)]);
    let labels: Float64Array = (0..655).map(|row| Some(if row < 510 { (row / 2 % 7) as f64 } else { 3.0 })).collect();
    let report = fit(TREE_REGRESSOR, &[], &features, &labels).unwrap();
    assert_eq!((report.loss, metric(&report, "rmse")), (0.0, 0.0));
    let few = fit(TREE_REGRESSOR, &[("max_categories", "10")], &features, &labels).unwrap();
    assert!(few.loss > 1.0);
    assert_eq!(Forest::restore(&few.model).unwrap().trees[0].leaves.count(), 8);
}

#[test]
fn what_says_nothing_is_the_mean() {
    let features = columns([
        ("constant", Arc::new(Float64Array::from(vec![7.0; 60])) as ArrayRef),
        ("nothing", Arc::new(Float64Array::new_null(60))),
        ("none", Arc::new(StringArray::new_null(60))),
    ]);
    let labels: Float64Array = (0..60).map(|row| Some(f64::from(row % 3))).collect();
    let report = fit(TREE_REGRESSOR, &[], &features, &labels).unwrap();
    assert!(numbers(&said(&report, &features).labels).iter().all(|number| *number == 1.0));
    assert!((report.loss - 2.0 / 3.0).abs() < 1e-12 && metric(&report, "r2").abs() < 1e-12);
    let report = fit(CLASSIFIER, &[], &features, &integers(labels.values())).unwrap();
    assert!((said(&report, &features).probabilities[2].value(0) - 1.0 / 3.0).abs() < 0.05);
    // All numbers are the same: there is nothing to split.
    let same = fit(REGRESSOR, &[("num_parallel_tree", "2")], &mixed(50).0, &Float64Array::from(vec![0.1; 50])).unwrap();
    assert!(numbers(&said(&same, &mixed(50).0).labels).iter().all(|number| *number == 0.1));
}

#[test]
fn more_features_than_rows_are_no_trouble() {
    let value = |row: usize, column: usize| ((row * 31 + column * 17) % 13) as f64;
    let column = |column: usize| {
        let values = Float64Array::from_iter_values((0..4).map(|row| value(row, column)));
        (format!("x{column}"), Arc::new(values) as ArrayRef)
    };
    let features = RecordBatch::try_from_iter((0..300).map(column)).unwrap();
    let labels = BooleanArray::from(vec![true, false, true, false]);
    let report = fit(CLASSIFIER, &[("num_parallel_tree", "40")], &features, &labels).unwrap();
    assert_eq!(said(&report, &features).labels.as_boolean(), &labels);
    // Fewer rows than two leaves need.
    let report = fit(CLASSIFIER, &[("min_rows_in_leaf", "3")], &features, &labels).unwrap();
    assert!(Forest::restore(&report.model).unwrap().trees.iter().all(|tree| tree.nodes.is_empty()));
    // Each of few trees has all rows: nothing is out of bag that could be measured.
    let options = [("bootstrap", "false"), ("num_parallel_tree", "1"), ("subsample", "0.9")];
    assert_eq!(fit(REGRESSOR, &options, &features, &Float64Array::from(vec![0.0, 1.0, 5.0, 2.0])).unwrap().metrics, []);
}

#[test]
fn bad_rows_are_told() {
    let features =
        columns([("x", Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, 1.0, 2.0, 3.0])) as ArrayRef)]);
    let labels = Float64Array::from(vec![Some(1.0), Some(1.0), None, Some(f64::NAN), Some(4.0)]);
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let mut model = create_batch(REGRESSOR, &BTreeMap::new(), &schema, &DataType::Float64).unwrap();
    let rejected = model.add(&features, &labels).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(matches!(rejected[2].reason, RejectReason::NullLabel));
    assert_eq!((model.rows(), model.fit().unwrap().rows), (1, 1));
    assert!(matches!(model.add(&features, &labels), Err(MlError::AlreadyFitted)));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let (features, labels) = mixed(100);
    let one = BooleanArray::from(vec![true; 100]);
    assert!(matches!(fit(CLASSIFIER, &[], &features, &one), Err(MlError::SameClass { rows: 100, .. })));
    let none = features.slice(0, 0);
    assert!(matches!(fit(REGRESSOR, &[], &none, &Float64Array::from(Vec::<f64>::new())), Err(MlError::NoRows)));
    assert!(matches!(fit(TREE_CLASSIFIER, &[], &none, &one.slice(0, 0)), Err(MlError::NoRows)));
    let numbers = Float64Array::from(labels.clone());
    assert!(matches!(fit(CLASSIFIER, &[], &features, &numbers), Err(MlError::UnsupportedLabel { .. })));
    let texts = StringArray::from(vec!["a"; 100]);
    assert!(matches!(fit(TREE_REGRESSOR, &[], &features, &texts), Err(MlError::UnsupportedLabel { .. })));
    let stopped = FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() };
    assert!(matches!(fit_with(REGRESSOR, &[], &features, &numbers, stopped), Err(MlError::Stopped)));
}

#[test]
fn options_are_checked() {
    let (features, labels) = mixed(100);
    let (numbers, classes) = (Float64Array::from(labels.clone()), integers(&labels));
    let bad = [
        ("num_parallel_tree", "0"),
        ("min_rows_in_leaf", "0"),
        ("min_impurity_decrease", "-1"),
        ("max_features", "0"),
        ("max_features", "1.5"),
        ("max_features", "some"),
        ("criterion", "mse"),
        ("bootstrap", "yes"),
        ("subsample", "0"),
        ("seed", "-1"),
        ("max_bins", "256"),
        ("max_categories", "0"),
    ];
    for (option, value) in bad {
        let error = fit(CLASSIFIER, &[(option, value)], &features, &classes).unwrap_err();
        assert!(matches!(&error, MlError::InvalidOption { .. }) && error.to_string().contains(option), "{error}");
    }
    let unknown = |model_type, option| {
        let labels: &dyn Array = if model_type == TREE_CLASSIFIER { &classes } else { &numbers };
        matches!(fit(model_type, &[(option, "1")], &features, labels), Err(MlError::UnknownOption { .. }))
    };
    assert!(unknown(REGRESSOR, "criterion") && unknown(TREE_REGRESSOR, "num_parallel_tree"));
    assert!(unknown(TREE_CLASSIFIER, "bootstrap") && unknown(TREE_CLASSIFIER, "learn_rate"));
    for value in ["all", "sqrt", "LOG2", "2", "0.5", "1.0"] {
        let options = [("max_features", value), ("num_parallel_tree", "2")];
        assert_eq!(fit(CLASSIFIER, &options, &features, &classes).unwrap().iterations, 2);
    }
}

#[test]
fn trees_that_are_too_large_say_what_to_lower() {
    let (features, labels) = mixed(2000);
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let config = ForestConfig::new(ForestType::ForestClassifier);
    let mut model = BatchForest::new(ForestType::ForestClassifier, config, schema, &DataType::Int64).unwrap();
    model.add(&features, &integers(&labels)).unwrap();
    model.bytes_max = 50_000;
    let error = model.fit().unwrap_err();
    assert!(matches!(error, MlError::TreesTooLarge { .. }) && error.to_string().contains("num_parallel_tree"));
}

#[test]
fn a_split_and_a_leaf_take_few_bytes() {
    let (features, labels) = mixed(2000);
    for (model_type, bytes_max) in [(CLASSIFIER, 16), (REGRESSOR, 23)] {
        let (classes, numeric) = (integers(&labels), Float64Array::from(labels.clone()));
        let labels: &dyn Array = if model_type == CLASSIFIER { &classes } else { &numeric };
        let report = fit(model_type, &[("num_parallel_tree", "20")], &features, labels).unwrap();
        let forest = Forest::restore(&report.model).unwrap();
        let leaves: usize = forest.trees.iter().map(|tree| tree.leaves.count()).sum();
        assert!(report.model.len() < bytes_max * leaves, "{} bytes for {leaves} leaves", report.model.len());
    }
}

#[test]
fn damaged_snapshots_are_refused() {
    let (features, labels) = mixed(120);
    let options = [("num_parallel_tree", "2")];
    let (classes, numeric) = (integers(&labels), Float64Array::from(labels.clone()));
    for (model_type, labels) in [(CLASSIFIER, &classes as &dyn Array), (REGRESSOR, &numeric)] {
        let report = fit(model_type, &options, &features, labels).unwrap();
        assert_eq!(restore_supervised(&report.model).unwrap().model_type(), model_type);
        for place in 0..report.model.len() {
            for bit in [1, 16, 128] {
                let mut damaged = report.model.clone();
                damaged[place] ^= bit;
                // It is refused, or answers; it neither panics nor runs for ever.
                if let Ok(model) = restore_supervised(&damaged) {
                    let _ = model.predictions(&features.slice(0, 3));
                }
            }
        }
        assert!(restore_supervised(&report.model[..report.model.len() - 1]).is_err());
        // A snapshot is read and written back as it was.
        assert_eq!(Forest::restore(&report.model).unwrap().snapshot().unwrap(), report.model);
    }
}
