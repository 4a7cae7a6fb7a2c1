//! Rows that weigh by their class.

use super::*;

#[test]
fn balanced_classes_are_told_apart_as_by_lightgbm() {
    let (features, labels) = rare(20_000);
    check_two_classes(&features, &labels, &[], [0.068_94, 0.950_18, 0.110_78], [0.001, 0.003, 0.003]);
    let balanced = [("auto_class_weights", "true")];
    check_two_classes(&features, &labels, &balanced, [0.164_14, 0.949_14, 0.211_56], [0.002, 0.003, 0.003]);
}

#[test]
fn many_balanced_classes_are_told_apart_as_by_lightgbm() {
    let (features, labels) = data_set("wine");
    let [(features, labels), _] = halves(&features, &labels);
    let options = [("auto_class_weights", "true"), ("max_iterations", "20")];
    let report = fit(CLASSIFIER, &options, &features, &integers(&labels)).unwrap();
    assert!((metric(&report, "log_loss") - 0.130_0).abs() < 0.003, "{:?}", report.metrics);
}

#[test]
fn weights_by_hand_are_those_that_balance() {
    let (features, labels) = rare(2000);
    let rows = labels.iter().filter(|label| **label > 0.5).count();
    let weight = |rows: usize| 2000.0 / (2.0 * rows as f64);
    let by_hand = format!("false: {}, true: {}", weight(2000 - rows), weight(rows));
    let with = |option| fit(CLASSIFIER, &[option, ("max_iterations", "5")], &features, &booleans(&labels)).unwrap();
    assert_eq!(with(("class_weights", by_hand.as_str())), with(("auto_class_weights", "true")));
    // What is lowered weighs each row.
    let balanced = with(("auto_class_weights", "true"));
    let probabilities = said(&balanced, &features).probability().unwrap();
    let loss = |row: usize| {
        let (label, probability) = (labels[row], probabilities.value(row));
        -(1.0 - label - probability).abs().ln() * weight(if label > 0.5 { rows } else { 2000 - rows })
    };
    assert!(((0..2000).map(loss).sum::<f64>() / 2000.0 - balanced.loss).abs() < 1e-9);
    // Weights of 1 change nothing.
    assert_eq!(with(("class_weights", "true:1")), with(("auto_class_weights", "false")));
    assert_ne!(with(("class_weights", "true:2")).model, with(("class_weights", "")).model);
}

#[test]
fn what_has_no_such_class_has_no_weight_for_it() {
    let (features, labels) = rare(2000);
    let error = |model_type, option, value, labels: &dyn Array| {
        fit(model_type, &[(option, value)], &features, labels).unwrap_err().to_string()
    };
    let classes = booleans(&labels);
    let unknown = error(CLASSIFIER, "class_weights", "maybe:2", &classes);
    assert!(unknown.ends_with("expected classes of the label: false, true"), "{unknown}");
    let negative = error(CLASSIFIER, "class_weights", "true:-1", &classes);
    assert!(negative.contains("class_weights = '-1'"), "{negative}");
    let of_numbers = error(REGRESSOR, "auto_class_weights", "true", &Float64Array::from(labels));
    assert!(of_numbers.contains("has no option 'auto_class_weights'"), "{of_numbers}");
}
