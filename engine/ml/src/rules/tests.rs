//! Numbers worked by hand: rules are counted.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, StringArray};

use super::batch::BatchRules;
use super::*;
use crate::batch::{BatchModel, FitReport, create_batch, fitted_outputs, takes_label};
use crate::registry::restore_predictor;

fn rows(said: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("rule", said)]).unwrap()
}

fn fit(said: ArrayRef, labels: &dyn Array) -> Result<FitReport> {
    let features = rows(said);
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let fitted = |cut: usize| {
        let mut model = create_batch(MODEL_TYPE, &BTreeMap::new(), &schema, labels.data_type())?;
        for start in (0..features.num_rows()).step_by(cut) {
            let count = cut.min(features.num_rows() - start);
            assert!(model.add(&features.slice(start, count), &labels.slice(start, count))?.is_empty());
        }
        model.fit()
    };
    let report = fitted(features.num_rows().max(1))?;
    assert_eq!(fitted(2)?, report, "cut otherwise");
    Ok(report)
}

fn metric(report: &FitReport, name: &str) -> f64 {
    report.metrics.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("{name}: {:?}", report.metrics)).1
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
}

#[test]
fn a_class_has_its_share_of_the_rows_of_which_the_rule_says_the_same() {
    let said = [Some(true), Some(true), Some(true), Some(true), Some(false), Some(false), None];
    let labels = BooleanArray::from(vec![true, true, true, false, false, false, true]);
    let report = fit(Arc::new(BooleanArray::from(said.to_vec())), &labels).unwrap();
    assert_eq!(report.rows, 7);
    // Of true 3 of 4 are, of false none of 2; each class is counted once more.
    near(metric(&report, "accuracy"), 5.0 / 6.0);
    near(metric(&report, "log_loss"), -(3.0 * (2.0_f64 / 3.0).ln() + (1.0_f64 / 3.0).ln() + 2.0 * 0.75_f64.ln()) / 6.0);
    near(metric(&report, "brier_score"), (3.0 / 9.0 + 4.0 / 9.0 + 2.0 / 16.0) / 6.0);
    near(metric(&report, "baseline_log_loss"), 2.0_f64.ln());
    assert!(!report.is_no_better_than_a_guess());

    let model = restore_predictor(&report.model).unwrap();
    let features = rows(Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])));
    let answers = model.answers(&features).unwrap();
    assert_eq!(answers[0].as_boolean(), &BooleanArray::from(vec![Some(true), Some(false), None]));
    assert_eq!(
        answers[1].as_primitive::<Float64Type>(),
        &Float64Array::from(vec![Some(4.0 / 6.0), Some(1.0 / 4.0), None])
    );
    assert_eq!((model.class_names(), model.rows_learnt()), (vec!["false".to_owned(), "true".to_owned()], 7));
    assert!(model.class_probabilities("late", &features).unwrap().is_some());
}

#[test]
fn what_no_label_is_is_said_all_the_same() {
    let said: ArrayRef = Arc::new(StringArray::from(vec!["slow", "fast", "odd", "slow"]));
    let labels = StringArray::from(vec!["slow", "fast", "fast", "fast"]);
    let report = fit(said, &labels).unwrap();
    near(metric(&report, "accuracy"), 0.5);
    let model = restore_predictor(&report.model).unwrap();
    let asked = rows(Arc::new(StringArray::from(vec!["odd", "new", "slow"])));
    let answers = model.answers(&asked).unwrap();
    assert_eq!(answers[0].as_string::<i32>(), &StringArray::from(vec!["odd", "new", "slow"]));
    let probabilities = answers[1].as_primitive::<Float64Type>();
    assert_eq!(probabilities, &Float64Array::from(vec![None, None, Some(0.5)]), "of the class that is said");
}

#[test]
fn numbers_are_compared_with_their_mean() {
    let said: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), Some(f64::NAN), None]));
    let report = fit(Arc::clone(&said), &Float64Array::from(vec![1.0, 4.0, 9.0, 9.0])).unwrap();
    near(metric(&report, "mse"), 2.0);
    near(metric(&report, "baseline_mse"), 2.25);
    let model = restore_predictor(&report.model).unwrap();
    let answers = model.answers(&rows(said)).unwrap();
    assert_eq!(answers[0].as_primitive::<Float64Type>(), &Float64Array::from(vec![Some(1.0), Some(2.0), None, None]));
}

#[test]
fn without_a_label_nothing_is_measured() {
    assert!(takes_label(MODEL_TYPE).unwrap());
    for (said, outputs) in [
        (Arc::new(Int64Array::from(vec![3, 4])) as ArrayRef, DataType::Float64),
        (Arc::new(BooleanArray::from(vec![true, false])), DataType::Utf8),
    ] {
        let none = arrow::array::new_null_array(&DataType::Null, 2);
        let report = fit(Arc::clone(&said), &none).unwrap();
        assert_eq!(report.metrics, []);
        let features = rows(said);
        let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
        let fields = fitted_outputs(MODEL_TYPE, &BTreeMap::new(), &schema, ("", &DataType::Null)).unwrap();
        let model = restore_predictor(&report.model).unwrap();
        assert_eq!(fields, [Field::new("predicted_rule", outputs, true)]);
        assert_eq!(model.outputs(""), fields);
        assert_eq!(model.answers(&features).unwrap()[0].data_type(), fields[0].data_type());
    }
}

#[test]
fn what_is_no_rule_is_refused() {
    let schema = |names: &[&str]| {
        let feature = |name: &&str| Feature { name: (*name).to_owned(), kind: FeatureKind::Numeric };
        FeatureSchema::new(names.iter().map(feature).collect()).unwrap()
    };
    let two = BatchRules::new(&BTreeMap::new(), schema(&["a", "b"]), &DataType::Boolean).unwrap_err();
    assert!(two.to_string().contains("a, b"), "{two}");
    let options = BTreeMap::from([("depth".to_owned(), "3".to_owned())]);
    assert!(BatchRules::new(&options, schema(&["a"]), &DataType::Boolean).is_err());
    assert!(matches!(
        fit(Arc::new(BooleanArray::from(vec![true])), &BooleanArray::from(vec![true])),
        Err(MlError::SameClass { rows: 1, .. })
    ));
    let rejected = BatchRules::new(&BTreeMap::new(), schema(&["rule"]), &DataType::Float64)
        .and_then(|mut model| {
            model.add(
                &rows(Arc::new(Float64Array::from(vec![1.0, 1.0, 1.0]))),
                &Float64Array::from(vec![None, Some(f64::NAN), Some(1.0)]),
            )
        })
        .unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn damaged_snapshots_are_refused_or_harmless() {
    let said: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true]));
    let report = fit(Arc::clone(&said), &BooleanArray::from(vec![true, false, false])).unwrap();
    let features = rows(said);
    for place in 0..report.model.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut damaged = report.model.clone();
            damaged[place] = byte;
            if let Ok(model) = restore_predictor(&damaged) {
                let _ = model.answers(&features);
            }
        }
        assert!(restore_predictor(&report.model[..place]).is_err(), "cut at {place}");
    }
}
