//! Models whose options are searched, and training sets that are split, by SQL.

use std::fs;

use tonic::Code;

use crate::command::PATIENCE;
use crate::fitted::folder;
use crate::flight_sql::{Served, connect, serve};

/// A number that says whether a condition holds.
fn holds(served: &mut Served, condition: &str, rows: &str) -> bool {
    served.number(&format!("SELECT CASE WHEN {condition} THEN 1 ELSE 0 END AS n FROM {rows}")) == 1
}

#[test]
fn options_are_searched_and_all_trials_are_known() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    served.ask(
        "CREATE MODEL late OPTIONS (model_type = 'boosted_tree_classifier', label = 'late', num_trials = 6,
           hparam_tuning_objectives = ['roc_auc'], max_iterations = 20,
           learn_rate = HPARAM_RANGE(0.01, 0.5), max_tree_depth = HPARAM_CANDIDATES([1, 3]))
         AS SELECT late, distance, zone FROM trips",
    );
    let check = |served: &mut Served| {
        let trials = "ML.TRIAL_INFO(MODEL late)";
        for condition in [
            "count(*) = 6 AND min(trial_id) = 1 AND max(trial_id) = 6",
            "count(*) FILTER (WHERE is_optimal) = 1 AND bool_and(status = 'SUCCEEDED')",
            "min(hyperparameters['learn_rate']) >= 0.01 AND max(hyperparameters['learn_rate']) <= 0.5",
            "count(DISTINCT hyperparameters['max_tree_depth']) <= 2",
            "max(hparam_tuning_evaluation_metrics['roc_auc']) > 0.9",
            "max(hparam_tuning_evaluation_metrics['roc_auc']) FILTER (WHERE is_optimal) \
             = max(hparam_tuning_evaluation_metrics['roc_auc'])",
        ] {
            assert!(holds(served, condition, trials), "{condition}");
        }
        let answers = "ML.PREDICT(MODEL late, TABLE trips)";
        assert!(holds(served, "avg(CASE WHEN predicted_late = late THEN 1.0 ELSE 0.0 END) > 0.8", answers));
        assert!(holds(served, "count(*) = 2", "ML.FEATURE_IMPORTANCE(MODEL late)"), "it is a model like any other");
    };
    check(&mut served);
    served.server.signal("TERM");
    drop(served.server.output(PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    check(&mut served);

    // What rows are split by is no feature.
    served.ask(
        "CREATE MODEL split OPTIONS (model_type = 'logistic_reg', label = 'late', data_split_method = 'custom',
           data_split_col = 'held')
         AS SELECT late, distance, id % 4 = 0 AS held FROM trips",
    );
    assert!(holds(&mut served, "count(*) = 600", "ML.PREDICT(MODEL split, (SELECT distance FROM trips))"));
    // It may be a time, of which no model reads any, and stand beside a TRANSFORM that makes the features.
    served.ask(
        "CREATE MODEL last TRANSFORM (ML.STANDARD_SCALER(distance) OVER () AS scaled, late)
           OPTIONS (model_type = 'logistic_reg', label = 'late', data_split_method = 'seq', data_split_col = 'at')
         AS SELECT late, distance, CAST(to_timestamp(id) AS TIMESTAMP) AS at FROM trips;
         CREATE MODEL day OPTIONS (model_type = 'linear_reg', label = 'distance', data_split_method = 'seq', data_split_col = 'at')
         AS SELECT distance, zone, CAST(to_timestamp(id) AS TIMESTAMP) AS at FROM trips",
    );
    assert!(holds(&mut served, "count(*) = 600", "ML.PREDICT(MODEL last, (SELECT distance FROM trips))"));
    assert!(holds(&mut served, "count(*) = 600", "ML.PREDICT(MODEL day, (SELECT zone FROM trips))"));
    served.refused("SELECT * FROM ML.TRIAL_INFO(MODEL split)", Code::InvalidArgument, "has no ML.TRIAL_INFO");
    let wrong = |options: &str| {
        format!(
            "CREATE MODEL wrong OPTIONS (model_type = 'logistic_reg', label = 'late', {options})
             AS SELECT late, distance FROM trips"
        )
    };
    for (options, reason) in [
        ("l2_reg = HPARAM_RANGE(0, 1)", "num_trials beside it"),
        ("l2_reg = HPARAM_RANGE(0, 1), num_trials = 3, hparam_tuning_algorithm = 'grid_search'", "grid_search"),
        ("l2_reg = HPARAM_CANDIDATES(['x']), num_trials = 3", "l2_reg"),
        ("data_split_method = 'custom'", "data_split_col"),
        ("data_split_method = 'seq', data_split_col = 'nothing'", "no column 'nothing' to split by"),
    ] {
        served.refused(&wrong(options), Code::InvalidArgument, reason);
    }
    served.end();
}
