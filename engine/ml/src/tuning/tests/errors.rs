//! What options cannot be, and what is said of them.

use arrow::datatypes::DataType;

use super::*;

/// The message of a model whose options are wrong.
fn message(name: &str, options: &[(&str, &str)]) -> String {
    let (features, _) = data_set("wine");
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let label = if name.ends_with("regressor") { DataType::Float64 } else { DataType::Int64 };
    let label = if name == "kmeans" || name == "pca" { DataType::Null } else { label };
    match create_batch(name, &options, &schema, &label) {
        Ok(_) => "none".to_owned(),
        Err(error) => error.to_string(),
    }
}

const TRIALS: (&str, &str) = ("num_trials", "5");
const RANGE: (&str, &str) = ("l2_reg", "HPARAM_RANGE(0.1, 10)");

#[test]
fn each_wrong_option_says_what_would_work() {
    let wrong = |options: &[(&str, &str)], option: &str, value: &str, expected: &str| {
        let message = message("logistic_reg", options);
        assert_eq!(message, format!("option {option} = '{value}' is not valid; expected {expected}"));
    };
    let beside = "num_trials beside it, which says how many values are tried";
    wrong(&[RANGE], "l2_reg", RANGE.1, beside);
    for (option, value) in [("max_parallel_trials", "2"), ("cv_folds", "3"), ("hparam_tuning_algorithm", "tpe")] {
        wrong(&[(option, value)], option, value, "num_trials beside it");
    }
    wrong(&[("num_trials", "0"), RANGE], "num_trials", "0", "a number from 1 to 10000");
    wrong(&[("num_trials", "x"), RANGE], "num_trials", "x", "a whole number");
    wrong(&[TRIALS, RANGE, ("max_parallel_trials", "0")], "max_parallel_trials", "0", "a number from 1 to 100");
    wrong(&[TRIALS, RANGE, ("cv_folds", "1")], "cv_folds", "1", "a number from 2 to 10");
    let algorithms = "one of random_search, grid_search, tpe, vizier_default, successive_halving";
    wrong(&[TRIALS, RANGE, ("hparam_tuning_algorithm", "best")], "hparam_tuning_algorithm", "best", algorithms);
    let measures = "one of roc_auc, log_loss, accuracy, precision, recall, f1, average_precision, brier_score";
    for value in ["r2", "['roc_auc', 'f1']", "[]"] {
        wrong(&[TRIALS, RANGE, ("hparam_tuning_objectives", value)], "hparam_tuning_objectives", value, measures);
    }
    let grid = "HPARAM_CANDIDATES([a, b]) for l2_reg, whose range has numbers without end, or another algorithm";
    wrong(&[TRIALS, RANGE, ("hparam_tuning_algorithm", "grid_search")], "hparam_tuning_algorithm", "grid_search", grid);
    let candidates = ("l2_reg", "HPARAM_CANDIDATES([1, 2, 3, 4, 5, 6])");
    let points = "at least 6, the points of the grid, or fewer candidates";
    wrong(&[TRIALS, candidates, ("hparam_tuning_algorithm", "grid_search")], "num_trials", "5", points);
    wrong(
        &[TRIALS, RANGE, ("data_split_method", "no_split")],
        "data_split_method",
        "no_split",
        "a method that holds rows out, by which trials are compared",
    );
    wrong(
        &[TRIALS, RANGE, ("cv_folds", "3"), ("data_split_method", "random"), ("data_split_eval_fraction", "0.1")],
        "cv_folds",
        "3",
        "no data_split_eval_fraction beside it: each fold is held out in turn",
    );
    wrong(
        &[TRIALS, RANGE, ("cv_folds", "3"), ("data_split_method", "custom"), ("data_split_col", "x0")],
        "data_split_method",
        "custom",
        "random, stratified, grouped or seq beside cv_folds",
    );
    wrong(&[("data_split_method", "seq"), ("seed", "x")], "seed", "x", "a whole number");
    wrong(
        &[("data_split_method", "fifths")],
        "data_split_method",
        "fifths",
        "no_split, random, seq, custom, stratified, grouped",
    );
}

#[test]
fn values_that_can_never_work_are_an_error_before_the_first_trial() {
    let options = [TRIALS, ("l2_reg", "HPARAM_CANDIDATES([1, -1])")];
    assert!(
        message("logistic_reg", &options).starts_with("option l2_reg = '-1' is not valid; expected a number from 0 to")
    );
    let options = [TRIALS, ("l2_reg", "HPARAM_RANGE(-2, 1)")];
    assert!(
        message("logistic_reg", &options).starts_with("option l2_reg = '-2' is not valid; expected a number from 0 to")
    );
    let options = [TRIALS, ("weights", "HPARAM_CANDIDATES([uniform, heavy])")];
    assert_eq!(
        message("knn_classifier", &options),
        "option weights = 'heavy' is not valid; expected one of uniform, distance"
    );
    let options = [TRIALS, ("l2_rag", "HPARAM_RANGE(0, 1)")];
    assert!(
        message("logistic_reg", &options)
            .starts_with("model type 'logistic_reg' has no option 'l2_rag'; valid options are l1_reg, l2_reg")
    );
    assert!(message("logistic_reg", &[TRIALS, RANGE, ("l2_rag", "1")]).contains("has no option 'l2_rag'"));
}

#[test]
fn models_that_cannot_be_judged_say_so() {
    let expected = "option data_split_method = 'stratified' is not valid; expected random, seq, custom or grouped for a label \
                    that is a number";
    assert_eq!(message("knn_regressor", &[("data_split_method", "stratified")]), expected);
    let expected = "option data_split_method = 'random' is not valid; expected no_split for a model without a label, which no \
                    rows held out could judge";
    assert_eq!(message("kmeans", &[("data_split_method", "random")]), expected);
    let expected = "option cv_folds = '3' is not valid; expected no folds for a model without a label";
    assert_eq!(message("kmeans", &[TRIALS, ("cv_folds", "3")]), expected);
    assert!(message("pca", &[TRIALS]).starts_with("model type 'pca' has no option 'num_trials'"));
    let options = [TRIALS, ("hparam_tuning_objectives", "bic")];
    let expected = "option hparam_tuning_objectives = 'bic' is not valid; expected one of davies_bouldin_index, \
                    mean_squared_distance";
    assert_eq!(message("kmeans", &options), expected);
    let expected = "option num_trials = '' is not valid; expected HPARAM_RANGE(low, high) or HPARAM_CANDIDATES([a, b]) as the \
                    value of an option that is searched";
    assert_eq!(message("logistic_reg", &[TRIALS, ("l2_reg", "1")]), expected);
}

#[test]
fn each_model_type_says_what_it_has_beside_its_own_options() {
    let names =
        |name: &str| crate::tuning_option_docs(name).unwrap().into_iter().map(|doc| doc.name).collect::<Vec<_>>();
    assert_eq!(names("logistic_reg").len(), 13);
    assert_eq!(names("linear_reg").len(), 10);
    // They have some of them themselves.
    assert!(!names("boosted_tree_regressor").contains(&"data_split_method"));
    assert!(!names("random_forest_regressor").contains(&"seed"));
    let of_clusters = ["num_trials", "max_parallel_trials", "hparam_tuning_algorithm", "hparam_tuning_objectives"];
    assert_eq!(names("kmeans"), of_clusters);
    assert!(names("auto_classifier").is_empty() && crate::batch_option_docs("auto_classifier").unwrap().len() == 13);
    assert!(names("pca").is_empty() && crate::tuning_option_docs("none").is_err());
}
