//! Rows held out, and fits that they end.

use super::*;

/// The rounds and the first measures of the rows held out, each within some of LightGBM's.
fn check(
    model_type: &str,
    features: &RecordBatch,
    labels: &dyn Array,
    rounds: (u64, u64),
    wanted: &[(&str, f64, f64)],
) {
    let options = [("data_split_method", "SEQ"), ("max_iterations", "1000")];
    let report = fit(model_type, &options, features, labels).unwrap();
    assert!(report.iterations.abs_diff(rounds.0) <= rounds.1, "{} rounds, {:?}", report.iterations, report.metrics);
    for (name, value, within) in wanted {
        assert!((metric(&report, name) - value).abs() <= *within, "{name} {value}: {:?}", report.metrics);
    }
}

#[test]
fn rows_held_out_end_a_fit_as_with_lightgbm() {
    let (features, labels) = rare(20_000);
    let wanted = [("roc_auc", 0.935_56, 0.003), ("log_loss", 0.117_83, 0.003)];
    check(CLASSIFIER, &features, &booleans(&labels), (39, 8), &wanted);
    let (features, labels) = data_set("breast_cancer");
    let wanted = [("roc_auc", 0.999_13, 0.003), ("log_loss", 0.051_96, 0.02)];
    check(CLASSIFIER, &features, &booleans(&labels), (92, 40), &wanted);
    let (features, labels) = data_set("diabetes");
    check(REGRESSOR, &features, &Float64Array::from(labels), (40, 15), &[("rmse", 58.71, 1.0)]);
}

/// As [`mixed`], but x is missing and the category is a new one in the last rows only.
fn odd_at_the_end(rows: usize, last: usize) -> (RecordBatch, Vec<f64>) {
    let (features, labels) = mixed(rows);
    let numbers = features["x"].as_primitive::<Float64Type>().iter().enumerate();
    let numbers: Float64Array = numbers.map(|(row, number)| number.filter(|_| row < last)).collect();
    let categories = features["category"].as_string::<i32>().iter().enumerate();
    let categories: StringArray =
        categories.map(|(row, category)| category.map(|name| if row < last { name } else { "new" })).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(categories), Arc::clone(&features["y"])];
    (RecordBatch::try_new(features.schema(), columns).unwrap(), labels)
}

#[test]
fn measures_are_those_of_the_models_answers() {
    for (features, labels) in [mixed(3000), odd_at_the_end(3000, 2400)] {
        let options = [("data_split_method", "seq"), ("early_stop", "false"), ("max_iterations", "20")];
        let report = fit(CLASSIFIER, &options, &features, &booleans(&labels)).unwrap();
        let said = said(&report, &features).probability().unwrap();
        for (prefix, rows) in [("training_", 0..2400), ("", 2400..3000)] {
            let wanted: Vec<bool> = labels[rows.clone()].iter().map(|label| *label > 0.5).collect();
            let found = log_loss(&said.values()[rows.clone()], &wanted).unwrap();
            assert!((metric(&report, &format!("{prefix}log_loss")) - found).abs() < 1e-12, "{found} {report:?}");
            let found = auc(&said.values()[rows], &wanted).unwrap();
            assert!((metric(&report, &format!("{prefix}roc_auc")) - found).abs() < 1e-12, "{found} {report:?}");
        }
        assert!((metric(&report, "eval_loss") - metric(&report, "log_loss")).abs() < 1e-9);
    }
}

#[test]
fn several_classes_are_measured_too() {
    let (features, labels) = data_set("iris");
    let options = [("data_split_method", "random"), ("seed", "3"), ("data_split_eval_fraction", "0.3")];
    let report = fit(CLASSIFIER, &options, &features, &integers(&labels)).unwrap();
    assert!(metric(&report, "accuracy") > 0.85, "{:?}", report.metrics);
    assert!((metric(&report, "eval_loss") - metric(&report, "log_loss")).abs() < 1e-9);
    assert!(report.iterations < 100, "{}", report.iterations);
}

#[test]
fn what_is_kept_is_what_is_best_for_the_rows_held_out() {
    let (features, labels) = mixed(2000);
    let labels = booleans(&labels);
    let split = [("data_split_method", "random"), ("seed", "7")];
    let options = [split[0], split[1], ("learn_rate", "0.5"), ("early_stopping_rounds", "5")];
    let stopped = fit(CLASSIFIER, &options, &features, &labels).unwrap();
    let rounds = stopped.iterations.to_string();
    assert!(stopped.iterations < 95, "{rounds}");
    let options = [split[0], split[1], ("learn_rate", "0.5"), ("early_stop", "false"), ("max_iterations", &rounds)];
    // The rounds after the best are told, and are no part of the model.
    let mut kept = stopped.clone();
    kept.history.truncate(stopped.iterations as usize);
    assert_eq!(
        (stopped.history.len(), fit(CLASSIFIER, &options, &features, &labels).unwrap()),
        (kept.history.len() + 5, kept)
    );
    let loss = |rounds: u64| {
        let rounds = rounds.to_string();
        let options = [split[0], split[1], ("learn_rate", "0.5"), ("early_stop", "false"), ("max_iterations", &rounds)];
        metric(&fit(CLASSIFIER, &options, &features, &labels).unwrap(), "eval_loss")
    };
    for others in stopped.iterations - 3..stopped.iterations + 6 {
        assert!(loss(others) >= metric(&stopped, "eval_loss"), "{others}");
    }
}

#[test]
fn rows_held_out_are_not_learnt_from() {
    let (features, mut labels) = rare(1000);
    let options = [("data_split_method", "seq"), ("early_stop", "false"), ("max_iterations", "5")];
    let one = fit(REGRESSOR, &options, &features, &Float64Array::from(labels.clone())).unwrap();
    labels[800..].iter_mut().for_each(|label| *label = 1e6 - *label);
    let other = fit(REGRESSOR, &options, &features, &Float64Array::from(labels)).unwrap();
    assert_eq!((&one.model, one.loss), (&other.model, other.loss));
    // Behind r2, rmse, mae and the loss of those are the measures of the rows learnt.
    assert_eq!(one.metrics[4..7], other.metrics[4..7]);
    assert_ne!(one.metrics[..4], other.metrics[..4]);
    let (own, others) = (metric(&one, "baseline_rmse"), metric(&other, "baseline_rmse"));
    assert!(own < 1.0 && others > 9e5, "{own} {others}");
}

#[test]
fn what_helps_no_row_held_out_is_not_kept() {
    let x = |row: usize| (row * 37 % 101) as f64 - 50.0;
    let column: ArrayRef = Arc::new(Float64Array::from_iter_values((0..1000).map(x)));
    let features = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let labels: BooleanArray = (0..1000).map(|row| Some((x(row) > 0.0) == (row < 800))).collect();
    let report = fit(CLASSIFIER, &[("data_split_method", "seq")], &features, &labels).unwrap();
    let positive = (0..800).filter(|row| labels.value(*row)).count() as f64 / 800.0;
    let said = said(&report, &features).probability().unwrap();
    assert!(said.values().iter().all(|probability| (probability - positive).abs() < 1e-12));
    assert_eq!(report.iterations, 0);
}

#[test]
fn what_stops_nothing_is_an_error() {
    let (features, labels) = mixed(1000);
    let error =
        |options: &[(&str, &str)]| fit(CLASSIFIER, options, &features, &booleans(&labels)).unwrap_err().to_string();
    let none_held_out = error(&[("early_stop", "true")]);
    assert!(none_held_out.ends_with("expected data_split_method = 'random' or 'seq' beside it"), "{none_held_out}");
    let split = ("data_split_method", "seq");
    for option in [("early_stopping_rounds", "5"), ("min_rel_progress", "0.01")] {
        let switched_off = error(&[split, ("early_stop", "false"), option]);
        assert!(switched_off.ends_with("expected early_stop = 'true' beside it"), "{switched_off}");
    }
    assert!(error(&[split, ("early_stopping_rounds", "0")]).contains("early_stopping_rounds = '0'"));
    assert!(error(&[("data_split_method", "half")]).contains("no_split, random, seq"));
    let sorted: BooleanArray = (0..1000).map(|row| Some(row >= 800)).collect();
    let one_class = fit(CLASSIFIER, &[split], &features, &sorted);
    assert!(matches!(one_class, Err(MlError::SameClass { rows: 800, .. })), "{one_class:?}");
}
