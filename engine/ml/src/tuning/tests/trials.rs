//! What searches come to, and what is known of their trials afterwards.

use std::sync::atomic::AtomicBool;

use arrow::datatypes::DataType;

use super::*;
use crate::Origin;
use crate::error::MlError;
use crate::explain::explain;
use crate::goldens::reference_rows;
use crate::inspect::{ModelTable, table_of};
use crate::registry::{restore, restore_predictor};

const PENALTY: (&str, &str) = ("l2_reg", "HPARAM_RANGE(0.001, 1000)");

#[test]
fn the_same_bits_whatever_the_threads() {
    let (features, labels) = reference_rows(0..400);
    for algorithm in ["tpe", "random_search", "successive_halving"] {
        let searched = [
            ("learn_rate", "HPARAM_RANGE(0.01, 1)"),
            ("num_leaves", "HPARAM_RANGE(2, 20)"),
            ("max_iterations", "HPARAM_CANDIDATES([5, 10])"),
            ("num_trials", "14"),
            ("max_parallel_trials", "3"),
            ("hparam_tuning_algorithm", algorithm),
        ];
        let fits = [1, 2, 4]
            .map(|threads| fit_with("boosted_tree_classifier", &searched, &features, &labels, threads).unwrap());
        assert!(fits[0] == fits[1] && fits[0] == fits[2], "{algorithm}");
        assert_eq!(fits[0].trials.len(), 14);
    }
}

#[test]
fn trials_by_chance_do_not_depend_on_how_many_run() {
    let (features, labels) = reference_rows(0..300);
    let of = |parallel: &str, seed: &str| {
        let searched = [PENALTY, ("num_trials", "6"), ("hparam_tuning_algorithm", "random_search")];
        let options = [&searched[..], &[("max_parallel_trials", parallel), ("seed", seed)]].concat();
        fit_with("logistic_reg", &options, &features, &labels, 2).unwrap()
    };
    let one = of("1", "1");
    assert!(one == of("4", "1"));
    assert!(one != of("1", "2"));
}

#[test]
fn the_best_model_goes_with_its_trials() {
    let (features, labels) = reference_rows(0..300);
    let options = [PENALTY, ("num_trials", "5"), ("hparam_tuning_objectives", "f1_score")];
    let report = fit("logistic_reg", &options, &features, &labels).unwrap();
    let tuned = report.kept().unwrap();
    assert_eq!(Origin::of(&tuned).unwrap().trials, report.trials);
    let best = report.trials.iter().find(|trial| trial.is_optimal).unwrap();
    assert_eq!(report.trials.iter().filter(|trial| trial.is_optimal).count(), 1);
    assert!(report.trials.iter().all(|trial| trial.value <= best.value && trial.objective == "f1"));
    assert_eq!((best.parameters[0].0.as_str(), best.training_loss), ("l2_reg", Some(report.loss)));
    assert!(best.evaluation_loss.is_some_and(|loss| (0.0..1.0).contains(&loss)));
    assert_eq!(best.evaluation_loss, Some(metric(&report, "log_loss")));

    // The same model as one that was only split.
    let options = [("l2_reg", best.parameters[0].1.as_str()), ("data_split_method", "random")];
    let split = fit("logistic_reg", &options, &features, &labels).unwrap();
    assert_eq!(split.metrics, report.metrics);
    assert!(Origin::of(&split.kept().unwrap()).unwrap().trials.is_empty());
    let bytes = [&tuned, &split.model];
    let [tuned, plain] = bytes.map(|model| restore_predictor(model).unwrap());
    assert_eq!((tuned.model_type(), tuned.rows_learnt()), ("logistic_reg", split.rows));
    assert_eq!(tuned.answers(&features).unwrap(), plain.answers(&features).unwrap());
    let weights = |model: &dyn crate::Predictor| table_of(model, ModelTable::Weights).unwrap();
    assert_eq!(weights(tuned.as_ref()), weights(plain.as_ref()));
    let explained = |model: &dyn crate::Predictor| explain(model, "y", &features, 2).unwrap();
    assert_eq!(explained(tuned.as_ref()), explained(plain.as_ref()));
    // It may go on to learn from a stream.
    let [tuned, plain] = bytes.map(|model| restore(model).unwrap().snapshot().unwrap());
    assert!(tuned == plain);
}

#[test]
fn damaged_models_are_an_error() {
    let (features, labels) = reference_rows(0..200);
    let report = fit("logistic_reg", &[PENALTY, ("num_trials", "2")], &features, &labels).unwrap();
    let kept = report.kept().unwrap();
    for end in (0..kept.len()).step_by(7) {
        assert!(Origin::of(&kept[..end]).is_err(), "{end}");
    }
    // Whatever is wrong, nothing panics.
    for place in 0..kept.len() {
        let mut bytes = kept.clone();
        bytes[place] ^= 0x55;
        drop((restore_predictor(&bytes), Origin::of(&bytes)));
    }
}

#[test]
fn half_of_the_points_go_on_with_twice_the_rows() {
    let (features, labels) = reference_rows(0..1000);
    let options = [PENALTY, ("num_trials", "16"), ("hparam_tuning_algorithm", "successive_halving")];
    let report = fit("logistic_reg", &options, &features, &labels).unwrap();
    let of = |status| report.trials.iter().filter(|trial| trial.status == status).count();
    // 800 rows have three halvings of at least 64 rows: 16, 8, 4 and then 2 points.
    assert_eq!((of(TrialStatus::StoppedEarly), of(TrialStatus::Succeeded)), (14, 2));
    let best = report.trials.iter().find(|trial| trial.is_optimal).unwrap();
    assert_eq!(best.status, TrialStatus::Succeeded);
    assert!((750..850).contains(&report.rows), "{}", report.rows);
}

#[test]
fn what_fails_is_kept_and_does_not_end_a_search() {
    let (features, labels) = data_set("wine");
    let labels = integers(&labels);
    let grid = ("hparam_tuning_algorithm", "grid_search");
    let options = [("num_neighbors", "HPARAM_CANDIDATES([500, 3])"), ("num_trials", "2"), grid];
    let report = fit("knn_classifier", &options, &features, &labels).unwrap();
    let [first, second] = &report.trials[..] else { panic!("{:?}", report.trials) };
    assert_eq!((first.status, first.value, first.is_optimal), (TrialStatus::Infeasible, None, false));
    let error = first.error.as_deref().unwrap();
    assert!(error.starts_with("option num_neighbors = '500' is not valid; expected at most 1"), "{error}");
    assert_eq!((second.status, second.is_optimal, &second.error), (TrialStatus::Succeeded, true, &None));
    assert_eq!([first.status.name(), second.status.name()], ["INFEASIBLE", "SUCCEEDED"]);

    let options = [("num_neighbors", "HPARAM_CANDIDATES([500, 600])"), ("num_trials", "2"), grid];
    let error = fit("knn_classifier", &options, &features, &labels).unwrap_err();
    assert_eq!(error.to_string(), "none of the 2 trials came to a model; the first");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("option num_neighbors = '500'"), "{source}");
}

#[test]
fn rows_that_cannot_judge_are_an_error_of_each_trial() {
    let numbers: ArrayRef = Arc::new(Float64Array::from_iter_values((0..50).map(f64::from)));
    let features = RecordBatch::try_from_iter([("x", numbers)]).unwrap();
    let labels: BooleanArray = (0..50).map(|row| Some(row > 30)).collect();
    let options = [PENALTY, ("num_trials", "2"), ("data_split_method", "seq")];
    let error = fit("logistic_reg", &options, &features, &labels).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("the rows held out have no roc_auc"), "{source}");
    let options = [&options[..], &[("hparam_tuning_objectives", "log_loss")]].concat();
    assert!(fit("logistic_reg", &options, &features, &labels).is_ok());
}

#[test]
fn a_search_can_be_stopped() {
    let (features, labels) = reference_rows(0..300);
    let mut model = model("logistic_reg", &[PENALTY, ("num_trials", "5")], &features, &labels).unwrap();
    model.add(&features, &labels).unwrap();
    model.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(model.fit(), Err(MlError::Stopped)));
    model.set_control(FitControl::default());
    assert_eq!(model.fit().unwrap().trials.len(), 5);
}

#[test]
fn clusters_are_searched_by_their_own_measure() {
    let (features, _) = data_set("iris");
    let options: BTreeMap<_, _> = [("num_trials", "9"), ("hparam_tuning_algorithm", "grid_search")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let schema = FeatureSchema::from_arrow(features.schema_ref()).unwrap();
    let mut model = create_batch("kmeans", &options, &schema, &DataType::Null).unwrap();
    model.add(&features, &arrow::array::NullArray::new(features.num_rows())).unwrap();
    let report = model.fit().unwrap();
    let found: Vec<_> = report.trials.iter().map(|trial| trial.parameters[0].1.as_str()).collect();
    assert_eq!(found, ["2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    let best = report.trials.iter().find(|trial| trial.is_optimal).unwrap();
    assert_eq!((best.objective.as_str(), best.parameters[0].1.as_str()), ("davies_bouldin_index", "2"));
    assert_eq!(best.value, Some(metric(&report, "davies_bouldin_index")));
    assert_eq!(report.rows, 150);
}

#[test]
fn defaults_are_searched_where_no_range_is_given() {
    let (features, labels) = data_set("wine");
    let report = fit("naive_bayes", &[("num_trials", "4")], &features, &integers(&labels)).unwrap();
    let first = &report.trials[0];
    assert_eq!((first.parameters[0].0.as_str(), first.objective.as_str()), ("var_smoothing", "log_loss"));
}
