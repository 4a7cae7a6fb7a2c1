//! Models of tables that end: a query as a whole writes the training set, and the model is fitted to all of it.

use std::fs;
use std::thread;
use std::time::Duration;

use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use tokio::runtime::Runtime;
use tonic::Code;

use crate::command::{Folder, PATIENCE, Run};
use crate::flight_sql::{POLL, Served, TRIES, connect, serve, shown};

pub(crate) const TABLES: &str = "
    CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';
    CREATE EXTERNAL TABLE zones STORED AS CSV LOCATION 'zones.csv';";

/// Whether a trip was late follows its distance, and the zone's share of rain.
const MODEL: &str = "
    CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS
      SELECT t.late, t.distance, z.name, z.rain
      FROM trips AS t JOIN (SELECT zone, max(name) AS name, avg(rain) AS rain FROM zones GROUP BY zone) AS z
        ON z.zone = t.zone;";

/// The same by distance alone.
const OF_DISTANCE: &str =
    "CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late') AS SELECT late, distance FROM trips";

const PREDICTED: &str = "
    SELECT id, predicted_late, round(predicted_late_prob, 6) AS p, model_version AS v, model_event_time AS at
    FROM ML.PREDICT(MODEL late, TABLE asked) ORDER BY id;";

/// What is asked of the model.
const ASKED: &str = "
    CREATE VIEW asked AS SELECT column1 AS id, column2 AS distance, column3 AS name, column4 AS rain
    FROM (VALUES (1, 0.5, 'north', 0.1), (2, 9.5, 'north', 0.1), (3, 5.0, 'south', 0.9), (4, CAST(NULL AS DOUBLE), 'none', 0.9));";

pub(crate) fn folder() -> Folder {
    let trip = |n: u64| {
        let (zone, distance) = (n % 3, (n * 7 % 100) as f64 / 10.0);
        format!("{n},{zone},{distance},{}\n", distance + 2.0 * zone as f64 + (n % 11) as f64 / 3.0 > 8.0)
    };
    let trips: String = (0..600).map(trip).collect();
    let zones = "zone,name,rain\n0,north,0.1\n1,east,0.4\n1,east,0.6\n2,south,0.9\n";
    Folder::with(&[("trips.csv", &format!("id,zone,distance,late\n{trips}")), ("zones.csv", zones)])
}

#[test]
fn a_script_fits_a_model_and_predicts_rows_that_have_no_time() {
    let folder = folder();
    let script = format!("{TABLES}{MODEL}{ASKED}{PREDICTED}");
    let here = folder.run(&script, &["--format", "csv"]).success().stdout;
    let rows: Vec<Vec<&str>> = here.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["id", "predicted_late", "p", "v", "at"]);
    let labels: Vec<&str> = rows[1..].iter().map(|row| row[1]).collect();
    assert_eq!(labels[..3], ["false", "true", "true"], "{here}");
    assert!(rows[1..].iter().all(|row| row[3] == "1" && row[4].is_empty()), "{here}");
    for other in [&["--workers", "2"][..], &["--set", "parallelism=4"]] {
        let there = folder.run(&script, &[&["--format", "csv"], other].concat()).success().stdout;
        assert_eq!(there, here, "{other:?}");
    }
}

#[test]
fn a_shell_asks_a_model_once_it_is_there() {
    let folder = folder();
    let input = format!(
        "{TABLES}\n{OF_DISTANCE};\nSELECT id, model_version FROM ML.PREDICT(MODEL late, TABLE trips) WHERE id = 7;\n"
    );
    let printed = folder.shell(&input, &["--format", "csv"]).output(PATIENCE).success();
    assert!(printed.stdout.contains("id,model_version\n7,1\n"), "{}{}", printed.stdout, printed.stderr);
    let refused = format!("{TABLES}\n{OF_DISTANCE} WHERE late;\nSHOW MODELS;\n");
    let printed = folder.shell(&refused, &["--format", "csv"]).output(PATIENCE);
    assert!(
        printed.stderr.contains("have the label true") && !printed.stderr.contains("CREATE MODEL late"),
        "{}",
        printed.stderr
    );
}

#[test]
fn numbers_and_classes_are_predicted() {
    let folder = folder();
    let fitted = |model: &str, query: &str| {
        let script = format!("{TABLES}{model};{ASKED} SELECT * FROM ML.PREDICT(MODEL m, TABLE asked) ORDER BY id");
        let printed = folder.run(&script, &["--format", "csv"]).success().stdout;
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        assert_eq!(lines[0], format!("id,distance,name,rain,{query}"));
        lines[1..].iter().map(|line| line.split(',').map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
    };
    let rows = fitted(
        "CREATE MODEL m WITH (model_type = 'linear_reg', label = 'fare') AS SELECT distance, 3 + 2 * distance AS fare FROM trips",
        "predicted_fare,model_version,model_event_time",
    );
    let fares: Vec<f64> = rows[..3].iter().map(|row| row[4].parse().unwrap()).collect();
    for (fare, expected) in fares.iter().zip([4.0, 22.0, 13.0]) {
        assert!((fare - expected).abs() < 1e-6, "{rows:?}");
    }
    let rows = fitted(
        "CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'far') AS
         SELECT distance, CASE WHEN distance < 3 THEN 'near' WHEN distance < 7 THEN 'mid' ELSE 'far' END AS far FROM trips",
        "predicted_far,predicted_far_prob,model_version,model_event_time",
    );
    let classes: Vec<&str> = rows[..3].iter().map(|row| row[4].as_str()).collect();
    assert_eq!(classes, ["near", "far", "mid"]);
    assert!(rows.iter().all(|row| (0.33..=1.0).contains(&row[5].parse::<f64>().unwrap())), "{rows:?}");
}

#[test]
fn what_a_model_says_is_measured_in_the_script_that_makes_it() {
    let folder = folder();
    let evaluated = |model: &str, query: &str, wanted: &str| {
        let script = format!(
            "{TABLES}CREATE MODEL m WITH ({model}) AS {query}; SELECT * FROM ML.EVALUATE(MODEL m, ({query}));
             SELECT {wanted} FROM ML.PREDICT(MODEL m, ({query}));"
        );
        let printed = folder.run(&script, &["--format", "csv"]).success().stdout;
        let lines: Vec<String> = printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let [measures, values, _, expected] = <[String; 4]>::try_from(lines).unwrap();
        assert_eq!(values, expected, "{measures}");
        (measures, values.split(',').map(|value| value.parse().unwrap()).collect::<Vec<f64>>())
    };
    let (measures, values) = evaluated(
        "model_type = 'logistic_reg', label = 'late'",
        "SELECT late, distance FROM trips",
        "precision(late, predicted_late) AS a, recall(late, predicted_late) AS b, accuracy(late, predicted_late) AS c,
         f1(late, predicted_late) AS d, log_loss(late, predicted_late_prob) AS e, roc_auc(late, predicted_late_prob) AS f",
    );
    assert_eq!(measures, "precision,recall,accuracy,f1_score,log_loss,roc_auc");
    assert!(values[5] > 0.9 && values[4] < 0.4, "{values:?}");
    let (measures, values) = evaluated(
        "model_type = 'linear_reg', label = 'fare'",
        "SELECT distance, 3 + 2 * distance + CASE WHEN id % 2 = 0 THEN 0.5 ELSE -0.5 END AS fare FROM trips",
        "mae(fare, predicted_fare) AS a, mse(fare, predicted_fare) AS b,
         avg(power(ln(1 + fare) - ln(1 + predicted_fare), 2)) AS c, median(abs(fare - predicted_fare)) AS d,
         r2(fare, predicted_fare) AS e, 1 - var_pop(fare - predicted_fare) / var_pop(fare) AS f",
    );
    let names = "mean_absolute_error,mean_squared_error,mean_squared_log_error,median_absolute_error,r2_score,explained_variance";
    assert_eq!(measures, names);
    assert!((values[0] - 0.5).abs() < 0.01 && values[4] > 0.99, "{values:?}");
    let (measures, values) = evaluated(
        "model_type = 'naive_bayes', label = 'far'",
        "SELECT distance, CASE WHEN distance < 3 THEN 'near' WHEN distance < 7 THEN 'mid' ELSE 'far' END AS far FROM trips",
        "precision(far, predicted_far) AS a, recall(far, predicted_far) AS b, accuracy(far, predicted_far) AS c,
         f1(far, predicted_far) AS d",
    );
    assert_eq!(measures, "precision,recall,accuracy,f1_score");
    assert!(values.iter().all(|value| *value > 0.8), "{values:?}");
    let (_, values) = evaluated(
        "model_type = 'boosted_tree_classifier', label = 'far', max_iterations = 20",
        "SELECT distance, CASE WHEN distance < 3 THEN 'near' WHEN distance < 7 THEN 'mid' ELSE 'far' END AS far FROM trips",
        "precision(far, predicted_far) AS a, recall(far, predicted_far) AS b, accuracy(far, predicted_far) AS c,
         f1(far, predicted_far) AS d",
    );
    assert_eq!(values, [1.0; 4]);
    let (_, values) = evaluated(
        "model_type = 'boosted_tree_regressor', label = 'fare'",
        "SELECT distance, zone, 3 + 2 * distance * zone AS fare FROM trips",
        "mae(fare, predicted_fare) AS a, mse(fare, predicted_fare) AS b,
         avg(power(ln(1 + fare) - ln(1 + predicted_fare), 2)) AS c, median(abs(fare - predicted_fare)) AS d,
         r2(fare, predicted_fare) AS e, 1 - var_pop(fare - predicted_fare) / var_pop(fare) AS f",
    );
    assert!(values[4] > 0.99, "{values:?}");
}

#[test]
fn explain_says_how_the_training_set_is_made() {
    let folder = folder();
    let plan = folder.run(&format!("{TABLES}EXPLAIN {MODEL}"), &[]).success().stdout;
    assert!(plan.contains("Batch, by DataFusion in this process") && plan.contains("HashJoin"), "{plan}");
}

#[test]
fn what_a_model_of_tables_cannot_be_is_told() {
    let folder = folder();
    let model = |options: &str, query: &str| format!("{TABLES}CREATE MODEL m WITH ({options}) AS {query}");
    let told = |options: &str, query: &str| folder.run(&model(options, query), &[]).failure();
    let usual = "model_type = 'logistic_reg', label = 'late'";
    let query = "SELECT late, distance FROM trips";
    let text = told("model_type = 'logistic_reg', label = 'distance'", query);
    assert!(text.contains("'distance'") && text.contains("a class is a BOOLEAN"), "{text}");
    let text = told(&format!("{usual}, publish_every = '1 hour'"), query);
    assert!(text.contains("publish_every") && text.contains("training_set"), "{text}");
    let text = told(usual, "SELECT late, distance, CAST('2024-01-01' AS DATE) AS d FROM trips");
    assert!(text.contains("the feature 'd' is DATE, which no model of type 'logistic_reg' reads"), "{text}");
    let text = told(usual, &format!("{query} WHERE late"));
    assert!(text.contains("335 rows learnt have the label true"), "{text}");
    let text = told(usual, &format!("{query} WHERE distance < 0"));
    assert!(text.contains("there is no row to fit the model to"), "{text}");
    let divided =
        folder.run(&model(usual, "SELECT late, distance, 1 / (id - 1) AS x FROM trips"), &[]).success().stderr;
    assert!(divided.contains("1 to dead letters"), "{divided}");
    let streamed = folder.run(&model(usual, query), &["--set", "execution=streaming"]).failure();
    assert!(streamed.contains("the training query has no event-time column"), "{streamed}");
    // A folder that has something in it is somebody else's.
    folder.write("taken/other.parquet", "x");
    let text = told(&format!("{usual}, training_set = 'taken'"), query);
    assert!(text.contains("taken"), "{text}");
}

#[test]
fn a_training_set_stays_where_somebody_wants_it() {
    let folder = folder();
    let model = MODEL.replace("label = 'late'", "label = 'late', training_set = 'kept'");
    folder.run(&format!("{TABLES}{model}"), &[]).success();
    let count = "CREATE EXTERNAL TABLE kept STORED AS PARQUET LOCATION 'kept'; SELECT count(*) AS n FROM kept";
    assert_eq!(folder.run(count, &["--format", "csv"]).success().stdout, "n\n600\n");
}

/// How many threads of a process run tasks that keep a thread to themselves.
fn busy_threads(run: &Run) -> usize {
    let threads = fs::read_dir(format!("/proc/{}/task", run.pid)).unwrap().flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.starts_with("io-")).count()
}

#[track_caller]
fn wait_for_threads(run: &Run, is_wanted: impl Fn(usize) -> bool) {
    for _ in 0..TRIES {
        if is_wanted(busy_threads(run)) {
            return;
        }
        thread::sleep(POLL);
    }
    panic!("{} threads", busy_threads(run));
}

/// What a statement comes to that somebody else asks meanwhile.
fn asked_apart(port: u16, sql: &'static str) -> thread::JoinHandle<Result<FlightInfo, FlightError>> {
    thread::spawn(move || {
        let runtime = Runtime::new().unwrap();
        let mut client = connect(&runtime, port);
        runtime.block_on(client.execute(sql.to_owned(), None))
    })
}

#[test]
fn a_fit_ends_with_its_job_and_with_its_model() {
    let mut served = Served::start();
    fs::copy(folder().path("trips.csv"), served.folder.path("trips.csv")).unwrap();
    served.ask("CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv'");
    // It would take minutes.
    let slow =
        "CREATE MODEL slow WITH (model_type = 'boosted_tree_classifier', label = 'late', max_iterations = 100000,
                  learn_rate = 0.000001, subsample = 0.9) AS SELECT late, distance, id FROM trips";
    for (end, told) in [("STOP JOB slow", "was stopped before it had ended"), ("DROP MODEL slow", "was stopped")] {
        let asked = asked_apart(served.port, slow);
        wait_for_threads(&served.server, |threads| threads > 0);
        thread::sleep(Duration::from_millis(500));
        served.wait_for_jobs(&["slow"]);
        served.ask(end);
        wait_for_threads(&served.server, |threads| threads == 0);
        served.wait_for_jobs(&[]);
        let error = asked.join().unwrap().unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        served.refused("DROP MODEL slow", Code::NotFound, "slow");
    }
    assert_eq!(
        fs::read_dir(served.folder.path("meta/tables")).map_or(0, Iterator::count),
        0,
        "its training set is gone"
    );
    served.end();
}

/// A model that is served answers queries as a whole, and as the stream does that computes it again.
#[track_caller]
fn check_whole(served: &mut Served, answers: &str) {
    let explained = shown(&served.ask(&format!("EXPLAIN {PREDICTED}")));
    assert!(explained.contains("Batch, by DataFusion") && explained.contains("ml_predict(late$1)"), "{explained}");
    let streamed = shown(&served.ask(&format!("SET execution = 'streaming'; {PREDICTED}")));
    assert_eq!(streamed, answers);

    // By way of views and of WITH, and of itself; what is written, too.
    let nested = "
        CREATE VIEW twice AS
          WITH late_ones AS (SELECT id, distance FROM ML.PREDICT(MODEL late, (SELECT id, distance FROM asked)) AS p
                             WHERE p.predicted_late)
          SELECT id, predicted_late FROM ML.PREDICT(MODEL late, TABLE late_ones);
        CREATE TABLE written AS SELECT count(*) AS n, bool_and(predicted_late) AS all_late FROM twice;
        SELECT n, all_late FROM written";
    let counted = shown(&served.ask(nested));
    let late = answers.matches("| true ").count();
    assert!(late > 0 && counted.contains(&format!("| {late} | true ")), "{counted}");
    let columns = "SELECT * FROM ML.PREDICT(MODEL late, (SELECT id AS predicted_late, distance FROM asked))";
    served.refused(columns, Code::InvalidArgument, "has a column 'predicted_late' already");
    let missing = "SET execution = 'batch'; SELECT * FROM ML.PREDICT(MODEL late, (SELECT id FROM asked))";
    served.refused(missing, Code::InvalidArgument, "distance");
    let measures = "precision, recall, accuracy, f1_score, log_loss, roc_auc";
    let evaluated = format!("SELECT {measures} FROM ML.EVALUATE(MODEL late, (SELECT late, distance FROM trips))");
    let whole = shown(&served.ask(&evaluated));
    assert!(shown(&served.ask(&format!("EXPLAIN {evaluated}"))).contains("Batch, by DataFusion"));
    assert_eq!(shown(&served.ask(&format!("SET execution = 'streaming'; {evaluated}"))), whole);
    served.ask("DROP TABLE written; DROP VIEW twice");
}

/// What a model knows, and how well it tells rows apart, agrees with what it says.
#[track_caller]
fn check_knowledge(served: &mut Served) {
    let is_so = |served: &mut Served, condition: &str, from: &str| {
        assert_eq!(
            served.number(&format!("SELECT CASE WHEN {condition} THEN 1 ELSE 0 END AS n FROM {from}")),
            1,
            "{condition}"
        );
    };
    let weight = |input: &str| format!("(SELECT weight FROM ML.WEIGHTS(MODEL late) WHERE processed_input = '{input}')");
    let from = format!(
        "ML.PREDICT(MODEL late, (SELECT distance FROM trips)) AS p, {} AS w, {} AS i",
        weight("distance"),
        weight("__INTERCEPT__")
    );
    let by_hand = "1 / (1 + exp(-(w.weight * p.distance + i.weight)))";
    is_so(served, &format!("max(abs({by_hand} - p.predicted_late_prob)) < 1e-12"), &from);
    let rows = "(SELECT late, distance FROM trips)";
    let diagonal = "sum(CASE WHEN expected_label THEN \"true\" ELSE \"false\" END)";
    let matrix = format!("ML.CONFUSION_MATRIX(MODEL late, {rows}) AS m");
    let accuracy = format!("(SELECT max(accuracy) FROM ML.EVALUATE(MODEL late, {rows}))");
    is_so(
        served,
        &format!("sum(\"true\" + \"false\") = 600 AND abs({diagonal} / 600.0 - {accuracy}) < 1e-12"),
        &matrix,
    );
    let before = |column: &str| format!("lag({column}, 1, 0.0) OVER (ORDER BY threshold DESC)");
    let curve = format!(
        "(SELECT (false_positive_rate - {}) * (recall + {}) / 2 AS area, true_positives + false_negatives AS positives
          FROM ML.ROC_CURVE(MODEL late, {rows})) AS c",
        before("false_positive_rate"),
        before("recall")
    );
    let auc = format!("(SELECT max(roc_auc) FROM ML.EVALUATE(MODEL late, {rows}))");
    is_so(served, &format!("abs(sum(area) - {auc}) < 1e-9 AND min(positives) = 335 AND max(positives) = 335"), &curve);
    let missing = "SELECT * FROM ML.FEATURE_IMPORTANCE(MODEL late)";
    served.refused(
        missing,
        Code::InvalidArgument,
        "a model of type 'logistic_reg' has no ML.FEATURE_IMPORTANCE; it has ML.WEIGHTS",
    );
    served.refused("SELECT * FROM ML.WEIGHTS(late)", Code::InvalidArgument, "write ML.WEIGHTS(MODEL m)");
    served.refused("SELECT * FROM ML.WEIGHTS(MODEL nobody)", Code::NotFound, "nobody");
}

/// What predictions are made of adds up to them.
#[track_caller]
fn check_explanations(served: &mut Served) {
    let explained =
        "ML.EXPLAIN_PREDICT(MODEL late, (SELECT id, distance FROM trips), STRUCT(1 AS top_k_features)) AS e";
    let sum = "e.baseline_prediction_value + e.top_feature_attributions[1]['attribution']";
    let conditions = [
        "count(*) = 600 AND bool_and(e.top_feature_attributions[1]['feature'] = 'distance')",
        &format!("max(abs({sum} - e.prediction_value)) < 1e-12"),
        "max(abs(1 / (1 + exp(-e.prediction_value)) - e.probability)) < 1e-12",
        "bool_and(e.probability = CASE WHEN e.predicted_late THEN e.predicted_late_prob ELSE 1 - e.predicted_late_prob END)",
        "max(e.approximation_error) = 0 AND max(e.model_version) = 1",
    ];
    for condition in conditions {
        let sql = format!("SELECT CASE WHEN {condition} THEN 1 ELSE 0 END AS n FROM {explained}");
        assert_eq!(served.number(&sql), 1, "{condition}");
    }
    let mean = format!(
        "SELECT CASE WHEN min(u.a['feature']) = 'distance' AND avg(abs(u.a['attribution'])) > 0.5 THEN 1 ELSE 0 END AS n
         FROM (SELECT unnest(e.top_feature_attributions) AS a FROM {explained}) AS u"
    );
    assert_eq!(served.number(&mean), 1);
    let rows = format!("SELECT e.* FROM {explained} ORDER BY e.id");
    let streamed = format!("SET execution = 'streaming'; {rows}");
    assert_eq!(shown(&served.ask(&streamed)), shown(&served.ask(&rows)), "a stream explains the same");
    let wrong = "SELECT * FROM ML.EXPLAIN_PREDICT(MODEL late, TABLE trips, STRUCT(0 AS top_k_features))";
    served.refused(wrong, Code::InvalidArgument, "top_k_features is a whole number above 0, not 0");
    served.refused("SELECT * FROM ML.EXPLAIN_PREDICT(MODEL nobody, TABLE trips)", Code::NotFound, "nobody");
}

/// A prediction is an expression, too.
#[track_caller]
fn check_row_predictions(served: &mut Served) {
    let predicted = "FROM ML.PREDICT(MODEL late, (SELECT id, distance FROM trips)) AS p";
    for call in
        ["ml_predict(MODEL late, distance)", "ML_PREDICT('late', distance + 0)", "ml.predict(MODEL late$1, distance)"]
    {
        let same = format!(
            "SELECT CASE WHEN bool_and({call} = predicted_late) AND count(*) = 600 THEN 1 ELSE 0 END AS n {predicted}"
        );
        assert_eq!(served.number(&same), 1, "{call}");
    }
}

#[test]
fn a_served_model_lives_as_long_as_its_name() {
    let mut served = Served::start();
    let files = folder();
    for name in ["trips.csv", "zones.csv"] {
        fs::copy(files.path(name), served.folder.path(name)).unwrap();
    }
    let sets = served.folder.path("meta/tables");
    let places = || fs::read_dir(&sets).map_or(0, Iterator::count);
    served.ask(&format!("{TABLES}{ASKED}{OF_DISTANCE}"));
    served.wait_for_jobs(&[]);
    let before = served.predict("late");
    assert_eq!(before.0, 1);
    assert_eq!(places(), 1);
    let known = served.ask("SELECT model_type, version, learnt_to, rows_learnt FROM tidemill.models");
    let known = shown(&known);
    assert!(known.contains("| logistic_reg | 1       |           | 600         |"), "{known}");
    let answers = shown(&served.ask(PREDICTED));
    check_whole(&mut served, &answers);
    check_knowledge(&mut served);
    check_explanations(&mut served);
    check_row_predictions(&mut served);
    // What the tables have by now is another matter.
    fs::write(served.folder.path("trips.csv"), "id,zone,distance,late\n").unwrap();
    served.server.signal("TERM");
    drop(served.server.output(PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(served.try_predict("late").unwrap(), before, "after a restart");
    assert_eq!(shown(&served.ask(PREDICTED)), answers);
    served.refused(OF_DISTANCE, Code::AlreadyExists, "late");
    assert_eq!(places(), 1, "what is refused leaves nothing");
    served.ask("DROP MODEL late");
    assert_eq!(places(), 0);
    served.refused(OF_DISTANCE, Code::InvalidArgument, "there is no row to fit the model to");
    served.refused(&format!("SET execution = 'batch'; {PREDICTED}"), Code::NotFound, "late");
    assert_eq!(places(), 0);
    served.end();
}

#[test]
fn series_are_fitted_and_forecast() {
    let mut served = Served::start();
    // 28 days of two shops: one sells four every day, the other ten and one more each day.
    let day = |n: usize| format!("2024-02-{:02},north,4\n2024-02-{:02},south,{}\n", n, n, 10 + n);
    let sales: String = (1..=28).rev().map(day).collect();
    fs::write(served.folder.path("sales.csv"), format!("day,shop,sold\n{sales}")).unwrap();
    served.ask(
        "CREATE EXTERNAL TABLE sales STORED AS CSV LOCATION 'sales.csv';
         CREATE MODEL demand WITH (model_type = 'arima', non_seasonal_order = '0,1,1', include_drift = 'true',
           time_series_timestamp_col = 'day', time_series_data_col = 'sold', time_series_id_col = 'shop') AS
         SELECT CAST(day AS DATE) AS day, shop, sold FROM sales;
         CREATE MODEL level WITH (model_type = 'kmeans', num_clusters = 2) AS SELECT sold FROM sales",
    );
    let forecast =
        "SELECT shop, forecast_timestamp AS day, round(forecast_value, 6) AS sold, confidence_level AS level,
                      prediction_interval_lower_bound <= forecast_value AS is_above
                    FROM ML.FORECAST(MODEL demand, STRUCT(2 AS horizon, 0.9 AS confidence_level)) ORDER BY shop, day";
    let rows = shown(&served.ask(forecast));
    let cells = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned();
    let lines: Vec<String> = rows.lines().filter(|line| line.contains("2024-")).map(cells).collect();
    let expected = [
        "north 2024-02-29 4.0 0.9 true",
        "north 2024-03-01 4.0 0.9 true",
        "south 2024-02-29 39.0 0.9 true",
        "south 2024-03-01 40.0 0.9 true",
    ];
    assert_eq!(lines, expected, "{rows}");
    // BigQuery's defaults are three points and 0.95.
    let count = "SELECT count(*) AS n FROM ML.FORECAST(MODEL demand) AS f WHERE f.confidence_level = 0.95";
    assert_eq!(served.number(count), 6);
    let orders = "SELECT count(*) AS n FROM ML.ARIMA_EVALUATE(MODEL demand) WHERE non_seasonal_q = 1 AND has_drift";
    assert_eq!(served.number(orders), 2);
    let wrong = |call: &str| format!("SELECT * FROM ML.FORECAST({call})");
    for (call, reason) in [
        ("MODEL demand, 3", "write ML.FORECAST(MODEL m [, STRUCT("),
        ("MODEL demand, STRUCT('x' AS horizon)", "horizon is a whole number, not"),
        ("MODEL demand, STRUCT(0 AS horizon)", "expected a number from 1 to 10000"),
        ("MODEL level", "a model of type 'kmeans' was fitted to no series"),
    ] {
        served.refused(&wrong(call), Code::InvalidArgument, reason);
    }
    let said =
        "ML.DETECT_ANOMALIES(MODEL demand, (SELECT CAST(column1 AS DATE) AS day, column2 AS shop, column3 AS sold FROM
                  (VALUES ('2024-02-29', 'north', 4.0), ('2024-02-29', 'north', 40.0), ('2024-03-01', 'south', 40.0),
                          ('2024-03-01', 'south', 4.0), ('2024-02-03', 'south', 4.0), ('2024-03-01', 'nobody', 4.0))),
                  STRUCT(0.9 AS anomaly_prob_threshold))";
    let told = "count(*) FILTER (WHERE is_anomaly) = 2 AND count(*) FILTER (WHERE NOT is_anomaly) = 2 AND count(*) = 6
                AND bool_and(is_anomaly = (anomaly_probability > 0.9)) AND min(sold) FILTER (WHERE is_anomaly) = 4
                AND bool_and(lower_bound <= upper_bound) AND min(model_version) = 1";
    assert_eq!(served.number(&format!("SELECT CASE WHEN {told} THEN 1 ELSE 0 END AS n FROM {said}")), 1);
    let of_groups = "SELECT * FROM ML.DETECT_ANOMALIES(MODEL level, TABLE sales)";
    served.refused(of_groups, Code::InvalidArgument, "a model of type 'kmeans' does not tell anomalies");
    let days = wrong("MODEL demand, STRUCT(3 AS days)");
    served.refused(&days, Code::Unimplemented, "ML.FORECAST takes horizon, confidence_level");
    served.refused(&wrong("MODEL nobody"), Code::NotFound, "nobody");
    served.end();
}

#[test]
fn rows_may_call_a_column_as_another_was() {
    let folder = folder();
    let model =
        "CREATE MODEL pace WITH (model_type = 'linear_reg', label = 'id') AS SELECT id, zone, distance FROM trips;";
    let said = |rows: &str| {
        let sql = format!(
            "{TABLES}{model} SELECT round(predicted_id, 6) AS p FROM ML.PREDICT(MODEL pace, ({rows})) ORDER BY p LIMIT 5"
        );
        folder.run(&sql, &["--format", "csv"]).success().stdout
    };
    // The same rows, without names that are others'.
    let of_file = "SELECT CAST(a AS DOUBLE) AS distance, b AS zone FROM (VALUES (1, 0), (2, 1), (3, 2)) AS v (a, b)";
    let swapped = "SELECT zone AS distance, CAST(distance AS BIGINT) AS zone FROM \
                   (SELECT b AS distance, CAST(a AS DOUBLE) AS zone FROM (VALUES (1, 0), (2, 1), (3, 2)) AS v (a, b)) AS s";
    assert_eq!(said(swapped), said(of_file));
    for rows in [
        "SELECT CAST(zone AS DOUBLE) AS distance, CAST(distance AS BIGINT) AS zone FROM trips",
        "SELECT id AS a, id AS b, zone, distance FROM trips",
        "SELECT distance AS zone, CAST(id AS DOUBLE) AS distance FROM trips",
    ] {
        assert_eq!(said(rows).lines().count(), 6, "{rows}");
    }
    let swapped = "(SELECT id, CAST(zone AS DOUBLE) AS distance, CAST(distance AS BIGINT) AS zone FROM trips)";
    for asked in ["ML.EVALUATE", "ML.EXPLAIN_PREDICT"] {
        folder.run(&format!("{TABLES}{model} SELECT * FROM {asked}(MODEL pace, {swapped})"), &[]).success();
    }
}

#[test]
fn a_sample_of_predictions_is_refused() {
    let folder = folder();
    for call in
        ["ML.PREDICT(MODEL late, TABLE trips)", "ML.EVALUATE(MODEL late, TABLE trips)", "ML.WEIGHTS(MODEL late)"]
    {
        for mode in ["batch", "inferred"] {
            let sql = format!("SET execution = '{mode}'; {TABLES}{OF_DISTANCE}; SELECT * FROM {call} TABLESAMPLE (10)");
            let refused = folder.run(&sql, &[]).failure();
            assert!(refused.contains("TABLESAMPLE"), "{call} {mode}: {refused}");
        }
    }
}
