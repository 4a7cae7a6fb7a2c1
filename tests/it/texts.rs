//! Texts and lists as features: scikit-learn's pipelines say the same, and so do models of the same numbers in columns.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Builder, ListBuilder, RecordBatch};
use arrow::datatypes::Float64Type;
use arrow_flight::FlightDescriptor;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{StreamExt, TryStreamExt, stream};
use tonic::Code;

use crate::command::{Folder, PATIENCE};
use crate::flight_sql::{Served, connect, serve, shown};

const WORDS: [&str; 12] =
    ["offer", "free", "Meeting", "report", "cash", "team", "plan", "win", "now", "Straße", "2024", "re"];

/// Notes of some words; those with many that sell something are spam, mostly.
fn notes() -> String {
    let note = |n: usize| {
        let words: Vec<&str> = (0..3 + n % 5).map(|k| WORDS[(n * 7 + k * k * 3 + n * k) % 12]).collect();
        let sell = words.iter().filter(|word| ["offer", "free", "cash", "win"].contains(word)).count();
        let spam = (sell * 2 > words.len()) != n.is_multiple_of(11);
        let separator = |k: usize| [", ", " ", "-"][(n + k) % 3];
        let body: String = words.iter().enumerate().map(|(k, word)| format!("{word}{}", separator(k))).collect();
        format!("{n},\"{body}\",{spam}\n")
    };
    format!("id,body,spam\n{}", (0..150).map(note).collect::<String>())
}

const TABLES: &str = "CREATE EXTERNAL TABLE notes STORED AS CSV LOCATION 'notes.csv';
    CREATE VIEW asked AS SELECT column1 AS id, column2 AS body FROM (VALUES (1, 'Free CASH now, win!'),
      (2, 'the meeting report: team plan'), (3, 'STRASSE straße 2024'), (4, 'nothing that is known'), (5, ''));";

/// A model of the notes' words.
fn model(name: &str, words: &str, options: &str) -> String {
    format!(
        "CREATE MODEL {name} TRANSFORM ({words} AS words, spam) WITH (label = 'spam', {options}) AS SELECT body, spam FROM notes;"
    )
}

const LOGISTIC: &str = "model_type = 'logistic_reg', l2_reg = 1, standardize_features = false";
const BAYES: &str = "model_type = 'naive_bayes', distribution = 'multinomial'";

/// What is asked, and what scikit-learn (1.9.1) says of it: `LogisticRegression(C=1, tol=1e-14)` and `MultinomialNB` behind
/// `TfidfVectorizer(ngram_range=(1, 2))` and `CountVectorizer`, with `token_pattern=r"[^\W_]+"`, and behind BigQuery's formula of
/// the counts: `count / size * ln(1 + 150 / (1 + documents))`.
const CASES: [(&str, &str, [f64; 5]); 4] = [
    (
        "ML.TF_IDF(ML.NGRAMS(TEXT_ANALYZE(body), [1, 2]), 4000, 1, 'scikit_learn') OVER ()",
        LOGISTIC,
        [0.434029316, 0.143967508, 0.106312445, 0.222067244, 0.222067244],
    ),
    (
        "ML.BAG_OF_WORDS(TEXT_ANALYZE(body)) OVER ()",
        BAYES,
        [0.815257521, 0.016073728, 0.030921857, 0.226666667, 0.226666667],
    ),
    ("ML.TF_IDF(TEXT_ANALYZE(body)) OVER ()", BAYES, [0.552128527, 0.117578184, 0.083997612, 0.226666667, 0.226666667]),
    (
        "ML.TF_IDF(TEXT_ANALYZE(body)) OVER ()",
        LOGISTIC,
        [0.478300605, 0.136083215, 0.095005473, 0.194651231, 0.194651231],
    ),
];

/// The probabilities that notes are spam.
fn probability(name: &str) -> String {
    format!("SELECT id, predicted_spam_prob AS p FROM ML.PREDICT(MODEL {name}, TABLE asked) ORDER BY id;")
}

fn folder() -> Folder {
    Folder::with(&[("notes.csv", &notes())])
}

#[track_caller]
fn check(csv: &str, expected: [f64; 5]) {
    let rows: Vec<f64> =
        csv.lines().skip(1).map(|line| line.split(',').next_back().unwrap().parse().unwrap()).collect();
    assert_eq!(rows.len(), expected.len(), "{csv}");
    for (found, expected) in rows.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{expected}: {csv}");
    }
}

#[test]
fn models_of_texts_say_what_scikit_learn_says() {
    let folder = folder();
    for (words, options, expected) in CASES {
        let script = format!("{TABLES}{}{}", model("m", words, options), probability("m"));
        let here = folder.run(&script, &["--format", "csv"]).success().stdout;
        check(&here, expected);
        let there = folder.run(&script, &["--format", "csv", "--set", "parallelism=4"]).success().stdout;
        assert_eq!(there, here);
    }
}

#[test]
fn served_models_of_texts_name_words_wherever_they_are_asked() {
    let mut served = Served::start();
    fs::write(served.folder.path("notes.csv"), notes()).unwrap();
    let (words, options, _) = CASES[2];
    served.ask(&format!("{TABLES}{}", model("m", words, options)));
    let (tf_idf, ..) = CASES[3];
    served.ask(&model("weights", tf_idf, LOGISTIC));
    let answers = shown(&served.ask(&probability("m")));
    assert!(answers.contains("0.55212852"), "{answers}");
    assert_eq!(shown(&served.ask(&format!("SET execution = 'streaming'; {}", probability("m")))), answers);

    let of_weights = shown(&served.ask(&probability("weights")));
    let weights = shown(&served.ask("SELECT processed_input FROM ML.WEIGHTS(MODEL weights)"));
    assert!(weights.contains("words['cash']") && weights.contains("words['straße']"), "{weights}");
    let explained = "SELECT top_feature_attributions[1]['feature'] AS f
                     FROM ML.EXPLAIN_PREDICT(MODEL weights, (SELECT 'cash cash cash cash' AS body))";
    let explained = shown(&served.ask(explained));
    assert!(explained.contains("words['cash']"), "{explained}");
    let made =
        "SELECT words[1]['index'] AS i, cardinality(words) AS n FROM ML.TRANSFORM(MODEL m, TABLE asked) ORDER BY n";
    let features = shown(&served.ask(made));
    // Of the sorted words "cash" is the second; 0 are those that are not known.
    let rows = ["|   | 0 |", "| 0 | 1 |", "| 0 | 3 |", "| 2 | 4 |", "| 0 | 5 |"].join("\n");
    assert!(features.contains(&rows), "{features}");
    assert_eq!(shown(&served.ask(&format!("SET execution = 'streaming'; {made}"))), features);
    let info = shown(&served.ask("SET execution = 'batch'; SELECT input FROM ML.FEATURE_INFO(MODEL m)"));
    assert!(info.contains("body"), "{info}");

    let path = served.folder.path("m.model").display().to_string();
    served.ask(&format!("EXPORT MODEL m TO '{path}'"));
    served.ask("DROP MODEL m");
    served.ask(&format!("CREATE MODEL again FROM FILE '{path}'"));
    assert_eq!(shown(&served.ask(&probability("again"))), answers);
    served.server.signal("TERM");
    drop(served.server.output(PATIENCE).success());
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(shown(&served.ask(&probability("again"))), answers, "after a restart");
    assert_eq!(shown(&served.ask(&probability("weights"))), of_weights);
    served.end();
}

/// Points, as a list and in columns.
const POINTS: &str = "CREATE TABLE points AS
    SELECT CAST(i AS BIGINT) AS id, CAST(i * 37 % 101 AS DOUBLE) / 10 AS a, CAST(i * i % 89 AS DOUBLE) / 7 AS b,
           CAST(i * 5 % 13 AS DOUBLE) AS c, i * 37 % 101 + 2 * (i * i % 89) > 120 AS far,
           CAST(i * 37 % 101 AS DOUBLE) / 3 + i * 5 % 13 AS y
    FROM unnest(range(0, 200)) AS numbers(i);
    CREATE TABLE lists AS SELECT id, CASE WHEN id <> 7 THEN [a, b, c] END AS x, far, y FROM points;
    CREATE TABLE columns AS SELECT id, CASE WHEN id <> 7 THEN a END AS a, CASE WHEN id <> 7 THEN b END AS b,
      CASE WHEN id <> 7 THEN c END AS c, far, y FROM points;";

#[test]
fn a_list_of_numbers_is_as_many_features() {
    let mut served = Served::start();
    served.ask(POINTS);
    let models = [
        ("logistic_reg", "label = 'far'", "far", "predicted_far, predicted_far_prob"),
        ("linear_reg", "label = 'y'", "y", "predicted_y"),
        ("boosted_tree_classifier", "label = 'far', max_iterations = 5", "far", "predicted_far, predicted_far_prob"),
        ("knn_classifier", "label = 'far'", "far", "predicted_far, predicted_far_prob"),
        ("kmeans", "num_clusters = 3", "", "centroid_id"),
        ("pca", "num_principal_components = 2", "", "principal_component_1, principal_component_2"),
    ];
    for (model_type, options, label, said) in models {
        let label = if label.is_empty() { String::new() } else { format!(", {label}") };
        let options = format!("model_type = '{model_type}', {options}");
        served.ask(&format!(
            "CREATE OR REPLACE MODEL l WITH ({options}) AS SELECT x{label} FROM lists;
             CREATE OR REPLACE MODEL c WITH ({options}) AS SELECT a, b, c{label} FROM columns;"
        ));
        let mut asked = |model: &str, rows: &str| {
            shown(&served.ask(&format!("SELECT id, {said} FROM ML.PREDICT(MODEL {model}, TABLE {rows}) ORDER BY id")))
        };
        assert_eq!(asked("l", "lists"), asked("c", "columns"), "{model_type}");
        if model_type == "kmeans" {
            let features = shown(&served.ask("SELECT DISTINCT feature FROM ML.CENTROIDS(MODEL l) ORDER BY 1"));
            assert!(["x[1]", "x[2]", "x[3]"].iter().all(|name| features.contains(name)), "{features}");
        }
        if model_type == "boosted_tree_classifier" {
            let features = shown(&served.ask("SELECT feature FROM ML.FEATURE_IMPORTANCE(MODEL l)"));
            assert!(features.contains("x[2]"), "{features}");
            let moved = shown(&served.ask("SELECT feature FROM ML.GLOBAL_EXPLAIN(MODEL l)"));
            assert!(moved.contains("x[1]"), "{moved}");
            assert_eq!(served.number("SELECT null_count AS n FROM ML.FEATURE_INFO(MODEL l)"), 1);
        }
    }
    // All that says how many features there are is the rows, so a list decides no columns.
    served.refused(
        "CREATE MODEL p WITH (model_type = 'pca') AS SELECT x FROM lists",
        Code::InvalidArgument,
        "num_principal_components",
    );
    served.end();
}

#[test]
fn clients_send_lists_and_streams_have_them() {
    let mut served = Served::start();
    served.ask(POINTS);
    served.ask("CREATE MODEL late WITH (model_type = 'linear_reg', label = 'y') AS SELECT x, y FROM lists");
    let asked = "SELECT id, predicted_y FROM ML.PREDICT(MODEL late, (SELECT id, x FROM lists WHERE id < 20))";
    let answers = shown(&served.ask(&format!("{asked} ORDER BY id")));
    assert_eq!(shown(&served.ask(&format!("SET execution = 'streaming'; {asked} ORDER BY id"))), answers);

    let rows = |length: usize| {
        let mut lists = ListBuilder::new(Float64Builder::new());
        lists.append_value((0..length).map(|n| Some(n as f64)));
        lists.append_value([0.5; 3].map(Some));
        RecordBatch::try_from_iter_with_nullable([("x", Arc::new(lists.finish()) as ArrayRef, true)]).unwrap()
    };
    let mut sent = |rows: RecordBatch| -> Result<Vec<f64>, FlightError> {
        let descriptor = FlightDescriptor::new_path(vec![String::from("predict"), String::from("late")]);
        let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
        let data = encoder.build(stream::iter([Ok(rows)])).map(Result::unwrap);
        let client = served.client.inner_mut();
        let answers: Vec<RecordBatch> = served.runtime.block_on(async {
            let answers = client.do_exchange(data).await?.into_inner().map_err(FlightError::from);
            FlightRecordBatchStream::new_from_flight_data(answers).try_collect().await
        })?;
        Ok(answers[0]["predicted_y"].as_primitive::<Float64Type>().values().to_vec())
    };
    let here = sent(rows(3)).unwrap();
    assert_eq!(here.len(), 2);
    let error = sent(rows(2)).unwrap_err().to_string();
    assert!(error.contains("the list in column 'x' has 2 numbers, and 3 were expected"), "{error}");
    let sql = "SELECT predicted_y FROM ML.PREDICT(MODEL late, (SELECT [0.5, 0.5, 0.5] AS x))";
    let there = served.ask(sql)[0].column(0).as_primitive::<Float64Type>().value(0);
    assert!((there - here[1]).abs() < 1e-12, "{there} {here:?}");
    served.end();
}

#[test]
fn lists_of_texts_are_bags_and_others_of_another_length_dead_letters() {
    let folder = Folder::new();
    let tags = "CREATE TABLE tags AS SELECT i % 3 = 0 AS y, CASE i % 3 WHEN 0 THEN ['a', 'b'] WHEN 1 THEN ['b'] ELSE ['c', 'c'] END AS t
                FROM unnest(range(0, 90)) AS numbers(i);";
    let script = format!(
        "{tags} CREATE MODEL m WITH (model_type = 'decision_tree_classifier', label = 'y') AS SELECT t, y FROM tags;
         SELECT predicted_y AS p FROM ML.PREDICT(MODEL m, (SELECT ['z', 'a'] AS t UNION ALL SELECT ['b', 'c'])) ORDER BY p;"
    );
    let told = folder.run(&script, &["--format", "csv"]).success().stdout;
    assert_eq!(told, "p\nfalse\ntrue\n");

    let lists = "CREATE TABLE lists AS SELECT i AS y, CASE WHEN i % 10 = 9 THEN [i] ELSE [i, 1] END AS x FROM unnest(range(0, 50)) AS numbers(i);";
    let script = format!(
        "{lists} CREATE MODEL m WITH (model_type = 'linear_reg', label = 'y') AS SELECT x, y FROM lists;
         SELECT count(*) AS n FROM ML.PREDICT(MODEL m, TABLE lists)"
    );
    let run = folder.run(&script, &["--format", "csv"]).success();
    assert_eq!(run.stdout, "n\n45\n");
    // Five that are learnt, and the same five that are asked.
    assert!(run.stderr.contains("10 to dead letters"), "{}", run.stderr);

    let many = "CREATE TABLE many AS SELECT i % 2 = 0 AS y, ['w' || CAST(i AS VARCHAR)] AS t FROM unnest(range(0, 5000)) AS numbers(i);";
    let text = format!("{many} CREATE MODEL m WITH (model_type = 'naive_bayes', label = 'y') AS SELECT t, y FROM many");
    let told = folder.run(&text, &[]).failure();
    assert!(told.contains("more than 4096 features") && told.contains("ML.TF_IDF"), "{told}");
    let stream = "CREATE SOURCE s (x DOUBLE[], y BOOLEAN, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
                  WITH (connector = 'files', path = 's.parquet', format = 'parquet');
                  CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'y') AS SELECT x, y, ts FROM s";
    let told = folder.run(stream, &[]).failure();
    assert!(told.contains("rows of tables that end") && told.contains("x[1]"), "{told}");
}

#[test]
fn target_encoders_leave_a_row_out_of_what_it_is_encoded_by() {
    let mut served = Served::start();
    // A category of each row: if a row's own label had a part in its number, the label would be that number.
    served.ask(
        "CREATE TABLE own_rows AS SELECT 'c' || CAST(i AS VARCHAR) AS c, i * i * 7 % 11 AS y FROM unnest(range(0, 300)) AS numbers(i);
         CREATE MODEL own TRANSFORM (ML.TARGET_ENCODER(c, 0) OVER () AS c, y) WITH (model_type = 'linear_reg', label = 'y')
           AS SELECT c, y FROM own_rows;
         CREATE TABLE groups AS SELECT CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END AS c, i % 3 * 10 + i % 2 AS y
           FROM unnest(range(0, 90)) AS numbers(i);
         CREATE MODEL groups_by TRANSFORM (ML.TARGET_ENCODER(c) OVER () AS c, y) WITH (model_type = 'linear_reg', label = 'y')
           AS SELECT c, y FROM groups",
    );
    let weight =
        "SELECT CASE WHEN weight < 0.5 THEN 1 ELSE 0 END AS n FROM ML.WEIGHTS(MODEL own) WHERE processed_input = 'c'";
    assert_eq!(served.number(weight), 1);
    // TargetEncoder() of scikit-learn 1.9.1; what is not known has the mean.
    let asked = "(SELECT 1 AS id, 'a' AS c UNION ALL SELECT 2, 'b' UNION ALL SELECT 3, NULL UNION ALL SELECT 4, 'z')";
    let made = format!("SELECT round(c, 8) AS c FROM ML.TRANSFORM(MODEL groups_by, {asked})");
    let made = shown(&served.ask(&made));
    for number in ["0.50124517", "20.49875483"] {
        assert!(made.contains(number), "{number}: {made}");
    }
    assert_eq!(made.matches("| 10.5 ").count(), 2, "{made}");
    let statement = shown(&served.ask("SHOW CREATE MODEL groups_by"));
    assert!(statement.contains("ML.TARGET_ENCODER(c) OVER ()"), "{statement}");
    served.refused(
        "CREATE MODEL k TRANSFORM (ML.TARGET_ENCODER(c) OVER () AS c) WITH (model_type = 'kmeans') AS SELECT c FROM groups",
        Code::InvalidArgument,
        "goes by the label, and this model has none",
    );
    served.end();
}
