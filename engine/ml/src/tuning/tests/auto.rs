//! Searches over model types.

use arrow::datatypes::DataType;

use super::*;
use crate::Origin;
use crate::registry::{restore_predictor, restore_supervised};

#[test]
fn the_best_of_several_model_types_is_the_model() {
    let (features, labels) = data_set("wine");
    let options = [("num_trials", "12"), ("data_split_method", "stratified"), ("seed", "1")];
    let report = fit_with("auto_classifier", &options, &features, &integers(&labels), 2).unwrap();
    let tried: Vec<&str> = report.trials.iter().map(|trial| trial.parameters[0].1.as_str()).collect();
    let types =
        ["boosted_tree_classifier", "logistic_reg", "random_forest_classifier", "knn_classifier", "naive_bayes"];
    assert_eq!(tried[..5], types);
    assert!(report.trials.iter().all(|trial| trial.status == TrialStatus::Succeeded), "{:?}", report.trials);
    let best = report.trials.iter().find(|trial| trial.is_optimal).unwrap();
    assert_eq!(restore_predictor(&report.model).unwrap().model_type(), best.parameters[0].1);
    assert!(metric(&report, "accuracy") > 0.9);
    assert_eq!(Origin::of(&report.kept().unwrap()).unwrap().trials, report.trials);
    assert!(report == fit_with("auto_classifier", &options, &features, &integers(&labels), 4).unwrap());
}

#[test]
fn numbers_are_predicted_at_least_as_well_as_by_a_line() {
    let (features, labels) = data_set("diabetes");
    let labels = Float64Array::from(labels);
    let options = [("num_trials", "8"), ("data_split_method", "seq")];
    let report = fit("auto_regressor", &options, &features, &labels).unwrap();
    let line = fit("linear_reg", &[("data_split_method", "seq"), ("l2_reg", "1")], &features, &labels).unwrap();
    assert!(metric(&report, "r2") > metric(&line, "r2") - 0.02, "{:?} {:?}", report.metrics, line.metrics);
    assert_eq!(restore_supervised(&report.model).unwrap().label_type(), DataType::Float64);
}

#[test]
fn only_options_of_the_search_are_taken() {
    let (features, labels) = data_set("wine");
    let error = |options: &[(&str, &str)]| {
        let error = model("auto_classifier", options, &features, &integers(&labels)).err().unwrap();
        error.to_string()
    };
    assert!(
        error(&[("l2_reg", "1")])
            .starts_with("model type 'auto_classifier' has no option 'l2_reg'; valid options are num_trials, max_par")
    );
    assert!(
        error(&[("hparam_tuning_algorithm", "grid_search")])
            .contains("for learn_rate, whose range has numbers without end")
    );
    assert!(error(&[("data_split_method", "no_split")]).contains("a method that holds rows out"));
    let numbers = Float64Array::from(labels.clone());
    let label = model("auto_classifier", &[], &features, &numbers).err().unwrap().to_string();
    assert!(label.starts_with("label column 'label' has the unsupported type Float64"), "{label}");
    assert_eq!(model("auto_classifier", &[], &features, &integers(&labels)).unwrap().model_type(), "auto_classifier");
}
