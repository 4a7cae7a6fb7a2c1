//! Attributions of the package shap (`goldens/explain.py`), sums that are the prediction, and the columns of the table.

mod asked;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Float64Type};

use super::{Explanations, explain};
use crate::error::MlError;
use crate::goldens::{assert_all_close, data_set, expected, reference_rows};
use crate::model::FeatureSchema;
use crate::predictor::Predictions;
use crate::registry::testing::create_supervised;
use crate::{create_batch, restore_predictor, restore_supervised};

/// The Shapley values of a game with so many players by their definition; a bit of a coalition is a player.
pub(crate) fn shapley(players: usize, value: impl Fn(u32) -> f64) -> Vec<f64> {
    let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
    let all = players as u32;
    let weight = |others: u32| factorial(others) * factorial(all - others - 1) / factorial(all);
    let of_player = |player: u32| {
        let without = (0..1_u32 << all).filter(|coalition| coalition >> player & 1 == 0);
        let added = |coalition: u32| value(coalition | 1 << player) - value(coalition);
        without.map(|coalition| weight(coalition.count_ones()) * added(coalition)).sum()
    };
    (0..all).map(of_player).collect()
}

fn fit(model_type: &str, options: &[(&str, &str)], features: &RecordBatch, labels: &dyn Array) -> Vec<u8> {
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let mut model = create_batch(model_type, &options, &schema, labels.data_type()).unwrap();
    assert_eq!(model.add(features, labels).unwrap(), []);
    model.fit().unwrap().model
}

fn explained(model: &[u8], rows: &RecordBatch) -> (Predictions, Explanations) {
    let model = restore_supervised(model).unwrap();
    let said = model.predictions(rows).unwrap();
    let explanations = model.explanations(rows, &said).unwrap().unwrap();
    (said, explanations)
}

fn floored() -> (RecordBatch, Vec<f64>) {
    let (features, labels) = data_set("diabetes");
    let floor = |array: &ArrayRef| {
        let values = array.as_primitive::<Float64Type>().values().iter();
        Arc::new(Float64Array::from_iter_values(values.map(|value| value.floor()))) as ArrayRef
    };
    let columns = features.columns().iter().map(floor).collect();
    (RecordBatch::try_new(features.schema(), columns).unwrap(), labels)
}

/// Fits to all rows but every fifth, of which each `step`th is explained.
fn check_golden(
    case: &str,
    model_type: &str,
    options: &[(&str, &str)],
    (features, labels): (RecordBatch, Vec<f64>),
    step: usize,
) {
    let learnt = Int64Array::from_iter_values((0..labels.len() as i64).filter(|row| row % 5 != 0));
    let asked = Int64Array::from_iter_values((0..labels.len() as i64).step_by(5).step_by(step));
    let own = learnt.values().iter().map(|row| labels[*row as usize]);
    let labels: ArrayRef = match model_type.ends_with("classifier") || model_type == "naive_bayes" {
        true => Arc::new(Int64Array::from_iter_values(own.map(|label| label as i64))),
        false => Arc::new(Float64Array::from_iter_values(own)),
    };
    let model = fit(model_type, options, &take_record_batch(&features, &learnt).unwrap(), &labels);
    let (_, explanations) = explained(&model, &take_record_batch(&features, &asked).unwrap());
    let (baselines, values) = (explanations.baselines(), explanations.values());
    let of_row = |row: usize| [&[baselines.value(row), values.value(row)], explanations.attributions(row)].concat();
    assert_all_close(&(0..asked.len()).flat_map(of_row).collect::<Vec<_>>(), &expected(case, "values"), 1e-6);
}

#[test]
fn trees_and_linear_models_are_explained_as_by_shap() {
    let digits = || data_set("third_of_digits");
    check_golden("shap_diabetes", "decision_tree_regressor", &[("min_rows_in_leaf", "10")], floored(), 9);
    let deep = [("min_rows_in_leaf", "7"), ("max_tree_depth", "5")];
    check_golden("shap_diabetes_deep", "decision_tree_regressor", &deep, floored(), 9);
    check_golden("shap_digits", "decision_tree_classifier", &[("max_tree_depth", "3")], digits(), 30);
    check_golden("shap_ridge", "linear_reg", &[("l2_reg", "1")], data_set("diabetes"), 9);
}

#[test]
fn neighbours_and_naive_bayes_are_explained_as_by_shap() {
    check_golden("shap_knn_numbers", "knn_regressor", &[("num_neighbors", "7")], data_set("diabetes"), 18);
    let (features, labels) = data_set("diabetes");
    let class = |label: f64| f64::from(u8::from(label >= 100.0) + u8::from(label >= 200.0));
    let classes = labels.into_iter().map(class).collect();
    let options = [("num_neighbors", "9"), ("weights", "distance")];
    check_golden("shap_knn_classes", "knn_classifier", &options, (features, classes), 18);
    check_golden("shap_naive_bayes_iris", "naive_bayes", &[], data_set("iris"), 6);
    check_golden("shap_naive_bayes_wine", "naive_bayes", &[], data_set("wine"), 9);
}

/// Attributions add up, and so does what they explain, to the prediction.
#[track_caller]
fn check_sums(model_type: &str, options: &[(&str, &str)], labels: &dyn Array) {
    let (rows, _) = reference_rows(0..600);
    let model = fit(model_type, options, &rows.slice(0, 400), &labels.slice(0, 400));
    let (said, explanations) = explained(&model, &rows);
    let (baselines, values) = (explanations.baselines(), explanations.values());
    let mut differ = 0;
    for row in 0..rows.num_rows() {
        let attributions = explanations.attributions(row);
        let sum = attributions.iter().fold(baselines.value(row), |sum, attribution| sum + attribution);
        assert!((sum - values.value(row)).abs() < 1e-9, "{model_type} row {row}: {sum}, not {}", values.value(row));
        let moved = attributions.iter().filter(|attribution| attribution.abs() > 1e-6).count();
        differ += usize::from(moved > 1);
        let class = explanations.classes[row];
        match said.probabilities.as_slice() {
            [] => assert_eq!(values.value(row), said.labels.as_primitive::<Float64Type>().value(row)),
            [_, _] if ["logistic_reg", "boosted_tree_classifier"].contains(&model_type) => {
                let probability = 1.0 / (1.0 + (-values.value(row)).exp());
                assert!((probability - said.probabilities[class].value(row)).abs() < 1e-9 && probability >= 0.5);
            }
            classes if model_type.ends_with("forest_classifier") => {
                assert!((values.value(row) - classes[class].value(row)).abs() < 1e-12);
            }
            _ => {}
        }
    }
    assert!(differ > 100, "{model_type}: {differ} rows are moved by several features");
}

#[test]
fn attributions_add_up_to_the_prediction() {
    let (rows, positive) = reference_rows(0..600);
    let flags = rows["flag"].as_boolean().values();
    let number = |row: usize| {
        let a = rows["a"].as_primitive::<Float64Type>().value(row);
        0.3 * a * a + if flags.value(row) { 4.0 } else { 0.0 } + if positive.value(row) { 1.0 } else { 0.0 }
    };
    let numbers = Float64Array::from_iter_values((0..600).map(number));
    let class = |number: &f64| match number {
        large if *large > 6.0 => "x",
        middle if *middle > 3.0 => "y",
        _ => "z",
    };
    let texts = StringArray::from_iter_values(numbers.values().iter().map(class));
    let plain = ("standardize_features", "false");
    for options in [&[][..], &[plain]] {
        check_sums("linear_reg", options, &numbers);
        check_sums("logistic_reg", options, &positive);
        check_sums("logistic_reg", options, &texts);
        check_sums("linear_svm", options, &positive);
        check_sums("linear_svm", options, &texts);
    }
    let few = ("max_iterations", "20");
    check_sums("boosted_tree_regressor", &[few], &numbers);
    check_sums("boosted_tree_classifier", &[few], &positive);
    check_sums("boosted_tree_classifier", &[few], &texts);
    check_sums("decision_tree_regressor", &[], &numbers);
    check_sums("random_forest_regressor", &[("num_parallel_tree", "10")], &numbers);
    check_sums("random_forest_classifier", &[("num_parallel_tree", "10")], &positive);
    check_sums("random_forest_classifier", &[("num_parallel_tree", "10")], &texts);
}

#[test]
fn the_mean_of_all_rows_is_the_baseline_of_a_linear_model() {
    let (rows, positive) = reference_rows(0..400);
    for standardize in ["true", "false"] {
        let options = [("standardize_features", standardize)];
        let classes =
            StringArray::from_iter_values(positive.values().iter().map(|label| if label { "b" } else { "a" }));
        for (labels, is_signed) in [(&positive as &dyn Array, true), (&classes, false)] {
            let (said, explanations) = explained(&fit("linear_svm", &options, &rows, labels), &rows);
            let sign = |row: usize| if explanations.classes[row] == 1 { 1.0 } else { -1.0 };
            let values = explanations.values();
            let mean = (0..400).map(|row| sign(row) * values.value(row)).sum::<f64>() / 400.0;
            let baseline = sign(0) * explanations.baselines().value(0);
            assert!((mean - baseline).abs() < 1e-9, "{mean}, not {baseline} ({standardize}, {is_signed})");
            assert_eq!(said.labels.len(), 400);
        }
    }
}

#[test]
fn a_model_that_went_on_learning_forgets_its_categories_means() {
    let (rows, positive) = reference_rows(0..400);
    let fitted = fit("logistic_reg", &[], &rows, &positive);
    let mut model = crate::restore(&fitted).unwrap();
    assert_eq!(model.snapshot().unwrap(), fitted);
    model.learn(&rows.slice(0, 0), &positive.slice(0, 0)).unwrap();
    assert_eq!(model.snapshot().unwrap(), fitted);
    let (_, before) = explained(&fitted, &rows);
    model.learn(&rows.slice(0, 1), &positive.slice(0, 1)).unwrap();
    let (_, after) = explained(&model.snapshot().unwrap(), &rows);
    // Without shares, the attribution of a category is its weight.
    assert!((before.attributions(7)[2] - after.attributions(7)[2]).abs() > 1e-3);
    let sum: f64 = after.attributions(7).iter().sum();
    assert!((after.baselines().value(7) + sum - after.values().value(7)).abs() < 1e-9);
    for cut in [fitted.len() - 1, fitted.len() - 2] {
        assert!(matches!(crate::restore(&fitted[..cut]), Err(MlError::CorruptState { .. })));
    }
    assert!(matches!(crate::restore(&[&fitted[..], &[0]].concat()), Err(MlError::CorruptState { .. })));
}

#[test]
fn the_table_has_the_largest_attributions_of_each_row() {
    let (rows, positive) = reference_rows(0..400);
    let model = restore_predictor(&fit("boosted_tree_classifier", &[], &rows, &positive)).unwrap();
    let a: ArrayRef = Arc::new(Float64Array::from(vec![Some(-4.0), Some(f64::NAN), None, Some(4.0)]));
    let others = reference_rows(1..5).0;
    let other = |name: &str| Arc::clone(&others[name]);
    let columns = [("a", a), ("b", other("b")), ("city", other("city")), ("flag", other("flag"))];
    let asked = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let table = explain(model.as_ref(), "late", &asked, 3).unwrap();
    let names: Vec<_> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    let attributions =
        ["top_feature_attributions", "baseline_prediction_value", "prediction_value", "approximation_error"];
    assert_eq!(names, [&["predicted_late", "predicted_late_prob", "probability"][..], &attributions].concat());
    let lists = table["top_feature_attributions"].as_list::<i32>();
    // What is no number cannot be predicted; one that is missing can.
    assert!(table.columns().iter().all(|column| column.is_null(1) && column.null_count() == 1));
    let probabilities = table["probability"].as_primitive::<Float64Type>();
    let positive = table["predicted_late_prob"].as_primitive::<Float64Type>();
    for row in [0, 2, 3] {
        let structs = lists.value(row);
        let values = structs.as_struct().column(1).as_primitive::<Float64Type>().values().to_vec();
        assert!(values.len() == 3 && values.is_sorted_by(|one, next| one.abs() >= next.abs()), "{values:?}");
        let is_positive = table["predicted_late"].as_boolean().value(row);
        let wanted = if is_positive { positive.value(row) } else { 1.0 - positive.value(row) };
        assert!(probabilities.value(row) == wanted && wanted >= 0.5, "{wanted}");
    }
    assert_eq!(lists.value(0).as_struct().column(0).as_string::<i32>().value(0), "a");
    let all = explain(model.as_ref(), "late", &asked, 100).unwrap();
    assert_eq!(all["top_feature_attributions"].as_list::<i32>().value(0).len(), 4);
    assert_eq!(explain(model.as_ref(), "late", &asked.slice(0, 0), 3).unwrap().schema(), table.schema());
}

#[test]
fn online_models_are_explained_and_those_without_a_label_say_that_they_are_not() {
    let (rows, positive) = reference_rows(0..400);
    let schema = FeatureSchema::from_arrow(rows.schema_ref()).unwrap();
    let numbers = Float64Array::from_iter_values((0..400).map(|row| f64::from(row * 37 % 101) + 50.0));
    let cases = [("logistic_reg", &positive as &dyn Array), ("linear_reg", &numbers)];
    for ((model_type, labels), standardize) in cases.into_iter().flat_map(|case| ["true", "false"].map(|of| (case, of)))
    {
        let options = BTreeMap::from([(String::from("standardize"), String::from(standardize))]);
        let mut model = create_supervised(model_type, &options, &schema, labels.data_type()).unwrap();
        model.learn(&rows, labels).unwrap();
        let (said, explanations) = explained(&model.snapshot().unwrap(), &rows);
        for row in 0..400 {
            let value = explanations.values().value(row);
            let sum = explanations.baselines().value(row) + explanations.attributions(row).iter().sum::<f64>();
            assert!((sum - value).abs() < 1e-9 * value.abs().max(1.0), "{model_type}: {sum}, not {value}");
            let (own, theirs) = match said.probabilities.as_slice() {
                [] => (value, said.scores().value(row)),
                classes => (1.0 / (1.0 + (-value).exp()), classes[explanations.classes[row]].value(row)),
            };
            assert!((own - theirs).abs() < 1e-9 * theirs.abs().max(1.0), "{model_type}: {own}, not {theirs}");
        }
        let model = restore_predictor(&model.snapshot().unwrap()).unwrap();
        assert_eq!(explain(model.as_ref(), "late", &rows, 2).unwrap().num_rows(), 400);
    }
    let model = restore_predictor(&fit("pca", &[], &rows, &positive)).unwrap();
    assert_eq!(
        explain(model.as_ref(), "late", &rows, 2).unwrap_err().to_string(),
        "what a model of type 'pca' says cannot be explained; predictions of models with a label can"
    );
    let missing = rows.project(&[0]).unwrap();
    let model = restore_predictor(&fit("linear_svm", &[], &rows, &positive as &BooleanArray)).unwrap();
    assert!(matches!(explain(model.as_ref(), "late", &missing, 2), Err(MlError::MissingColumn { .. })));
    assert_eq!(model.outputs("late")[0].data_type(), &DataType::Boolean);
}
