//! TRANSFORM: features are made when a model is fitted and whenever it is asked, and scikit-learn says the same.

use std::fs;

use tonic::Code;

use crate::command::{Folder, PATIENCE};
use crate::flight_sql::{Served, connect, serve, shown};

const TABLES: &str = "CREATE EXTERNAL TABLE trips STORED AS CSV LOCATION 'trips.csv';";

const MODEL: &str = "
    CREATE MODEL late TRANSFORM (
      ML.STANDARD_SCALER(distance) OVER () AS distance, ML.IMPUTER(pace, 'median') OVER () AS pace,
      ML.MIN_MAX_SCALER(coalesce(pace, 5)) OVER () AS quick, ML.QUANTILE_BUCKETIZE(distance, 4) OVER () AS quarter,
      ML.ONE_HOT_ENCODER(upper(zone)) OVER () AS zone, late)
    WITH (model_type = 'logistic_reg', label = 'late', l2_reg = 1, standardize_features = false) AS SELECT late, distance, pace, zone FROM trips;";

/// What is asked: numbers beyond those of the training set, none, and a zone that it does not have.
const ASKED: &str = "
    CREATE VIEW asked AS SELECT column1 AS id, column2 AS distance, column3 AS pace, column4 AS zone
    FROM (VALUES (1, 0.5, 1.0, 'north'), (2, 9.5, CAST(NULL AS DOUBLE), 'South'), (3, 21.0, -50.0, 'EAST'),
                 (4, 30.0, 60.0, 'west'), (5, 12.0, 4.25, 'south'));";

const PREDICTED: &str = "
    SELECT id, predicted_late, round(predicted_late_prob, 6) AS p, model_version AS v
    FROM ML.PREDICT(MODEL late, TABLE asked) ORDER BY id;";

/// `LogisticRegression(C=1, tol=1e-12)` behind `StandardScaler`, `SimpleImputer(strategy='median')`,
/// `MinMaxScaler(clip=True)`, `KBinsDiscretizer(4, quantile_method='linear')` and `OneHotEncoder(handle_unknown='ignore')`
/// of the same columns (scikit-learn 1.9.1). Nothing is scaled twice: `standardize_features = false`.
const EXPECTED: [f64; 5] = [3.006e-04, 0.8574448, 1.0, 0.9858006, 0.9904849];

fn trips() -> String {
    let trip = |n: u64| {
        let distance = (n * 37 % 211) as f64 / 10.0;
        let pace = (!n.is_multiple_of(13)).then(|| (n * n % 89) as f64 / 4.0 - 3.0);
        let late = distance + 3.0 * (n % 3) as f64 + (n % 11) as f64 / 3.0 - pace.unwrap_or(2.0) / 4.0 > 13.0;
        let pace = pace.map(|pace| pace.to_string()).unwrap_or_default();
        format!("{n},{distance},{pace},{},{late}\n", ["north", "east", "south"][n as usize % 3])
    };
    format!("id,distance,pace,zone,late\n{}", (0..400).map(trip).collect::<String>())
}

fn folder() -> Folder {
    Folder::with(&[("trips.csv", &trips())])
}

#[test]
fn a_model_with_a_transform_says_what_scikit_learn_says() {
    let folder = folder();
    let script = format!("{TABLES}{MODEL}{ASKED}{PREDICTED}");
    let here = folder.run(&script, &["--format", "csv"]).success().stdout;
    let rows: Vec<Vec<&str>> = here.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), EXPECTED.len(), "{here}");
    for (row, expected) in rows.iter().zip(EXPECTED) {
        assert!((row[2].parse::<f64>().unwrap() - expected).abs() < 2e-6, "{expected}: {here}");
        assert_eq!(row[3], "1");
    }
    for other in [&["--workers", "2"][..], &["--set", "parallelism=4"]] {
        let there = folder.run(&script, &[&["--format", "csv"], other].concat()).success().stdout;
        assert_eq!(there, here, "{other:?}");
    }
    let evaluate = "SELECT accuracy > 0.9 AS a, roc_auc > 0.95 AS b FROM ML.EVALUATE(MODEL late, TABLE trips)";
    let evaluated = folder.run(&format!("{TABLES}{MODEL}{evaluate}"), &["--format", "csv"]).success().stdout;
    assert_eq!(evaluated, "a,b\ntrue,true\n");
}

#[test]
fn models_without_a_label_have_transforms_too() {
    let folder = folder();
    let script = format!(
        "{TABLES}CREATE MODEL groups TRANSFORM (ML.MIN_MAX_SCALER(distance) OVER () AS d) WITH (model_type = 'kmeans', num_clusters = 2)
           AS SELECT distance, zone FROM trips;
         SELECT count(DISTINCT centroid_id) AS n FROM ML.PREDICT(MODEL groups, (SELECT distance FROM trips))"
    );
    assert_eq!(folder.run(&script, &["--format", "csv"]).success().stdout, "n\n2\n");
}

#[test]
fn rows_whose_features_cannot_be_made_are_dead_letters() {
    let folder = folder();
    let model = "CREATE MODEL late TRANSFORM (ML.STANDARD_SCALER(10 / (id - 3)) OVER () AS a, 7 / (id - 4) AS b, late)
                 WITH (model_type = 'logistic_reg', label = 'late') AS SELECT id, late FROM trips;";
    let query = "SELECT count(*) AS n FROM ML.PREDICT(MODEL late, (SELECT id FROM trips WHERE id < 10))";
    let run = folder.run(&format!("{TABLES}{model}{query}"), &["--format", "csv"]).success();
    assert_eq!(run.stdout, "n\n8\n");
    // Two rows that are learnt, and the same that are asked.
    assert!(run.stderr.contains("4 to dead letters"), "{}", run.stderr);
}

#[test]
fn what_a_transform_cannot_be_is_told() {
    let folder = folder();
    let told = |features: &str, query: &str, options: &[&str]| {
        let model = "WITH (model_type = 'logistic_reg', label = 'late')";
        folder.run(&format!("{TABLES}CREATE MODEL m TRANSFORM ({features}) {model} AS {query}"), options).failure()
    };
    let query = "SELECT late, distance, CAST(NULL AS DOUBLE) AS nothing FROM trips";
    let text = told("ML.IMPUTER(nothing, 'mean') OVER () AS n, late", query, &[]);
    assert!(text.contains("the features of model 'm'") && text.contains("has no value of nothing"), "{text}");
    let text = told("distance", query, &[]);
    assert!(text.contains("line 1") && text.contains("the label 'late' is not in TRANSFORM"), "{text}");
    let text = told("ML.STANDARD_SCALER(distance) OVER () AS d, late", query, &["--set", "execution=streaming"]);
    assert!(text.contains("TRANSFORM of a model that learns for ever is not supported"), "{text}");
    // Columns without values, and those that are constant, say nothing.
    let script = format!(
        "{TABLES}CREATE MODEL m TRANSFORM (distance, ML.STANDARD_SCALER(nothing) OVER () AS n, ML.MIN_MAX_SCALER(one) OVER () AS o, late)
           WITH (model_type = 'logistic_reg', label = 'late') AS
           SELECT late, distance, CAST(NULL AS DOUBLE) AS nothing, 1 AS one FROM trips;
         SELECT count(predicted_late) AS n FROM ML.PREDICT(MODEL m, (SELECT distance, 3.5 AS nothing, 9 AS one FROM trips))"
    );
    assert_eq!(folder.run(&script, &["--format", "csv"]).success().stdout, "n\n400\n");
}

#[test]
fn a_served_model_makes_its_features_wherever_it_is_asked() {
    let mut served = Served::start();
    fs::write(served.folder.path("trips.csv"), trips()).unwrap();
    served.ask(&format!("{TABLES}{MODEL}{ASKED}"));
    let answers = shown(&served.ask(PREDICTED));
    assert!(answers.contains("0.857445") && answers.contains("0.990485"), "{answers}");
    let explained = shown(&served.ask(&format!("EXPLAIN {PREDICTED}")));
    assert!(explained.contains("Batch, by DataFusion") && explained.contains("ml_predict(late$1)"), "{explained}");
    assert_eq!(shown(&served.ask(&format!("SET execution = 'streaming'; {PREDICTED}"))), answers);
    let weights = shown(&served.ask("SELECT processed_input FROM ML.WEIGHTS(MODEL late)"));
    assert!(["quick", "quarter", "zone"].iter().all(|feature| weights.contains(feature)), "{weights}");
    let made =
        "SELECT round(distance, 6) AS d, pace, quarter, zone FROM ML.TRANSFORM(MODEL late, TABLE asked) ORDER BY d";
    let features = shown(&served.ask(made));
    for row in ["| -0.166566 | 8.0   | bin_2   | SOUTH |", "| 3.192608  | 60.0  | bin_4   |       |"] {
        assert!(features.contains(row), "{features}");
    }
    assert_eq!(shown(&served.ask(&format!("SET execution = 'streaming'; {made}"))), features);
    let statement = shown(&served.ask("SHOW CREATE MODEL late"));
    assert!(statement.contains("ML.QUANTILE_BUCKETIZE(distance, 4) OVER ()"), "{statement}");
    let missing = "SET execution = 'batch'; SELECT * FROM ML.PREDICT(MODEL late, (SELECT id, pace, zone FROM asked))";
    served.refused(missing, Code::InvalidArgument, "distance");
    let other = "SET execution = 'batch';
                 SELECT * FROM ML.PREDICT(MODEL late, (SELECT 'far' AS distance, pace, zone FROM asked))";
    served.refused(other, Code::InvalidArgument, "'distance'");

    served.server.signal("TERM");
    drop(served.server.output(PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(shown(&served.ask(PREDICTED)), answers, "after a restart");
    assert_eq!(shown(&served.ask(&format!("SET execution = 'streaming'; {PREDICTED}"))), answers);
    served.end();
}
