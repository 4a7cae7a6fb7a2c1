//! What is known of a model's fit, by SQL: ML.TRAINING_INFO, which goes where the model goes.

use std::fs;

use tonic::Code;

use crate::command::PATIENCE;
use crate::fitted::folder;
use crate::flight_sql::{Served, connect, serve, shown};
use crate::model_files::LIGHTGBM;

#[track_caller]
fn is_so(served: &mut Served, condition: &str, model: &str) {
    let info = format!("SELECT CASE WHEN {condition} THEN 1 ELSE 0 END AS n FROM ML.TRAINING_INFO(MODEL {model})");
    assert_eq!(served.number(&info), 1, "{model}: {condition}");
}

#[test]
fn a_fit_tells_the_loss_of_each_of_its_steps() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask(
        "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
         CREATE MODEL trees WITH (model_type = 'boosted_tree_classifier', label = 'late', max_iterations = 12,
           learn_rate = 0.2, data_split_method = 'random', early_stop = false) AS SELECT late, distance, zone FROM trips;
         CREATE MODEL line TRANSFORM (ML.STANDARD_SCALER(distance) OVER () AS scaled, zone, late)
           WITH (model_type = 'logistic_reg', label = 'late', data_split_method = 'random') AS SELECT late, distance, zone FROM trips;
         CREATE MODEL found WITH (model_type = 'linear_reg', label = 'distance', num_trials = 3, l1_reg = HPARAM_RANGE(0.1, 10))
           AS SELECT distance, id, zone FROM trips;
         CREATE MODEL near WITH (model_type = 'kmeans', num_clusters = 3) AS SELECT distance, zone FROM trips;
         CREATE MODEL forest WITH (model_type = 'random_forest_regressor', label = 'distance', seed = 1)
           AS SELECT distance, id, zone FROM trips",
    );
    let check = |served: &mut Served| {
        let steps = "training_run = 0 AND iteration >= 0 AND loss IS NOT NULL";
        for model in ["trees", "line", "found", "near", "forest"] {
            is_so(served, &format!("bool_and({steps}) AND count(DISTINCT iteration) = count(*)"), model);
        }
        is_so(served, "count(*) = 12 AND min(iteration) = 0 AND max(iteration) = 11", "trees");
        is_so(served, "bool_and(learning_rate = 0.2) AND count(eval_loss) = 12", "trees");
        let (first, last) = ("FILTER (WHERE iteration = 0)", "FILTER (WHERE iteration = 11)");
        is_so(served, &format!("max(loss) {first} > 1.5 * max(loss) {last}"), "trees");
        is_so(served, &format!("max(eval_loss) {first} > 1.2 * max(eval_loss) {last}"), "trees");
        // Its fit does not look at rows held out, so they say what it came to.
        is_so(served, "count(*) > 2 AND count(learning_rate) = 0 AND count(eval_loss) = 1", "line");
        is_so(served, "count(*) > 1 AND count(eval_loss) + count(learning_rate) = 0", "near");
        is_so(served, "count(*) = 1 AND max(iteration) = 0", "forest");
        let best = "(SELECT max(training_loss) FROM ML.TRIAL_INFO(MODEL found) WHERE is_optimal)";
        is_so(served, &format!("abs(min(loss) - {best}) < 1e-9"), "found");
    };
    let told = shown(&served.ask("SELECT * FROM ML.TRAINING_INFO(MODEL near) ORDER BY iteration"));
    assert!(told.contains("| training_run | iteration | loss"), "{told}");
    check(&mut served);

    let path = served.folder.path("trees.model").display().to_string();
    let told = shown(&served.ask("SELECT * FROM ML.TRAINING_INFO(MODEL trees) ORDER BY iteration"));
    served.ask(&format!("EXPORT MODEL trees TO '{path}'"));
    served.ask(&format!("CREATE MODEL again FROM FILE '{path}'"));
    assert_eq!(shown(&served.ask("SELECT * FROM ML.TRAINING_INFO(MODEL again) ORDER BY iteration")), told);

    fs::write(served.folder.path("fare.txt"), LIGHTGBM).unwrap();
    let path = served.folder.path("fare.txt").display().to_string();
    served.ask(&format!("CREATE MODEL fare FROM FILE '{path}' WITH (label = 'fare')"));
    let of_file = "SELECT * FROM ML.TRAINING_INFO(MODEL fare)";
    served.refused(of_file, Code::InvalidArgument, "has no iterations: it comes from a file of another library");
    let streamed = "SET execution = 'streaming'; SELECT * FROM ML.TRAINING_INFO(MODEL trees) ORDER BY iteration";
    assert_eq!(shown(&served.ask(streamed)), told, "part of a stream's plan");
    served.refused("SELECT * FROM ML.TRAINING_INFO(trees)", Code::InvalidArgument, "ML.TRAINING_INFO(MODEL m)");

    served.server.signal("TERM");
    drop(served.server.output(PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    check(&mut served);
    served.end();
}
