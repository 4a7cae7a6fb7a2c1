//! Models without a label along streams: what they learn they say of rows, in the stream, beside it and after it, and
//! workers that are killed change no bit of it.

use std::fs;
use std::time::Duration;

use crate::command::{Folder, PATIENCE};
use crate::flight_sql::{Served, shown};
use crate::killed::{Random, kill_a_worker, parts, wait_for_commits};

/// Rows of two groups in turn, 20 a second, of which after a while each hundredth lies anywhere else.
fn points(rows: u64) -> String {
    let noise = |n: u64, factor: u64| (n * factor % 97) as f64 / 97.0;
    let point = |n: u64| {
        let group = (n % 2) as f64 * 10.0;
        let (x, y) = match is_odd(n) {
            true => (40.0 * noise(n, 41) - 20.0, 30.0 + 10.0 * noise(n, 29)),
            false => (group + noise(n, 37), group + noise(n, 53)),
        };
        let (millis, second) = (n % 20 * 50, n / 20);
        format!("{n},{x},{y},2024-01-01 00:{:02}:{:02}.{millis:03}\n", second / 60, second % 60)
    };
    format!("id,x,y,ts\n{}", (0..rows).map(point).collect::<String>())
}

fn is_odd(n: u64) -> bool {
    n >= 200 && n % 100 == 51
}

/// The source, which reads as `paced` says, and both models.
fn models(paced: &str) -> String {
    format!(
        "CREATE SOURCE points (id BIGINT, x DOUBLE, y DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts)
           WITH (connector = 'files', path = 'points.csv', format = 'csv'{paced});
         CREATE MODEL groups WITH (model_type = 'kmeans', num_clusters = 2, half_life_rows = 500, publish_every = '1 second')
           AS SELECT ts, x, y FROM points;
         CREATE MODEL odd WITH (model_type = 'half_space_trees', window_rows = 100, contamination = 0.02, seed = 3,
                                publish_every = '1 second')
           AS SELECT ts, x, y FROM points;"
    )
}

#[test]
fn groups_and_anomalies_are_found_along_a_stream() {
    let folder = Folder::with(&[("points.csv", &points(3000))]);
    let asked = |query: &str| {
        let printed = folder.run(&format!("{}{query}", models("")), &["--format", "csv"]).success().stdout;
        let rows = printed.lines().skip(1).map(|row| row.split(',').map(str::to_owned).collect::<Vec<_>>());
        let rows = rows.map(|row| (row[0].parse::<u64>().unwrap(), row[1].clone()));
        rows.filter(|(id, _)| *id >= 500).collect::<Vec<_>>()
    };
    let groups = asked("SELECT id, centroid_id FROM ML.PREDICT(MODEL groups, TABLE points)");
    let of_group =
        |group: u64| groups.iter().filter(move |(id, _)| !is_odd(*id) && id % 2 == group).map(|(_, said)| said);
    let [zero, one] = [0, 1].map(|group| of_group(group).next().unwrap());
    assert!(zero != one && of_group(0).all(|said| said == zero) && of_group(1).all(|said| said == one), "{groups:?}");
    let found = asked("SELECT id, is_anomaly FROM ML.PREDICT(MODEL odd, TABLE points)");
    let share = |odd: bool| {
        let said: Vec<_> = found.iter().filter(|(id, _)| is_odd(*id) == odd).map(|(_, said)| said).collect();
        said.iter().filter(|said| *said == &"true").count() as f64 / said.len() as f64
    };
    assert!(share(true) > 0.8 && share(false) < 0.05, "{} {}", share(true), share(false));
}

#[test]
fn they_answer_queries_as_a_whole() {
    let mut served = Served::start();
    fs::write(served.folder.path("points.csv"), points(3000)).unwrap();
    for statement in models("").split(';').filter(|statement| !statement.trim().is_empty()) {
        served.ask(statement);
    }
    served.wait_for_jobs(&[]);
    let known = shown(&served.ask("SHOW MODELS"));
    assert!(known.contains("kmeans") && known.contains("half_space_trees") && known.contains("3000"), "{known}");
    let asked = "(SELECT column1 AS x, column2 AS y FROM (VALUES (0.5, 0.5), (10.5, 10.5), (-20.0, 39.0)) AS t)";
    let groups = format!("SELECT count(DISTINCT centroid_id) AS n FROM ML.PREDICT(MODEL groups, {asked})");
    assert_eq!(served.number(&groups), 2);
    for odd in ["ML.PREDICT", "ML.DETECT_ANOMALIES"] {
        let found = format!(
            "SELECT count(*) AS n FROM {odd}(MODEL odd, {asked}) WHERE is_anomaly AND x < -10 AND anomaly_score > 0.5"
        );
        assert_eq!(served.number(&found), 1, "{odd}");
    }
    let centres = "SELECT count(*) AS n FROM ML.CENTROIDS(MODEL groups) WHERE abs(numerical_value - 0.5) < 2
                   OR abs(numerical_value - 10.5) < 2";
    assert_eq!(served.number(centres), 4, "{}", shown(&served.ask("SELECT * FROM ML.CENTROIDS(MODEL groups)")));
    for (asked, said) in [
        (format!("ML.EVALUATE(MODEL odd, {asked})"), "ask ML.PREDICT for what this one says"),
        (format!("ML.DETECT_ANOMALIES(MODEL groups, {asked})"), "does not tell anomalies"),
    ] {
        let told = served.try_ask(&format!("SELECT * FROM {asked}")).unwrap_err().to_string();
        assert!(told.contains(said), "{told}");
    }
    served.end();
}

#[test]
fn what_needs_a_label_or_takes_none_is_said_before_it_begins() {
    let folder = Folder::with(&[("points.csv", &points(1))]);
    let source = models("").split(';').next().unwrap().to_owned();
    for (options, columns, message) in [
        ("model_type = 'kmeans', label = 'x'", "ts, x, y", "a model of type kmeans learns no label"),
        ("model_type = 'linear_reg'", "ts, x, y", "a model needs the option 'label'"),
        ("model_type = 'kmeans', distance_type = 'cosine'", "ts, x, y", "has no option 'distance_type'"),
        ("model_type = 'half_space_trees'", "ts, x, x > 1 AS far", "'far' is a category"),
    ] {
        let script = format!("{source}; CREATE MODEL m WITH ({options}) AS SELECT {columns} FROM points;");
        let told = folder.run(&script, &[]).failure();
        assert!(told.contains(message), "{options}: {told}");
    }
}

/// What both models say of all rows, sorted.
fn said(folder: &Folder) -> Vec<String> {
    let lines =
        ["groups", "odds"].map(|sink| parts(folder, sink).into_iter().map(|(_, text)| text).collect::<String>());
    let mut lines: Vec<String> = lines.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn what_they_learn_does_not_depend_on_workers_that_are_killed() {
    let script = |paced: &str| {
        format!(
            "SET checkpoint_interval = '200ms'; SET restart_delay = '50ms'; SET restart_attempts = 1000;
             {}
             CREATE SINK groups_said WITH (connector = 'files', path = 'groups', format = 'json') AS
               SELECT id, centroid_id, nearest_centroids_distance, model_version FROM ML.PREDICT(MODEL groups, TABLE points);
             CREATE SINK odds_said WITH (connector = 'files', path = 'odds', format = 'json') AS
               SELECT id, is_anomaly, anomaly_score, model_version FROM ML.PREDICT(MODEL odd, TABLE points);",
            models(paced)
        )
    };
    let arguments = ["--workers", "2", "--parallelism", "2", "--data-dir", "meta"];
    let points = points(4000);
    let folder = Folder::with(&[("points.csv", &points)]);
    folder.start(&script(""), &arguments).output(PATIENCE).success();
    let expected = said(&folder);
    assert_eq!(expected.len(), 8000);

    let folder = Folder::with(&[("points.csv", &points)]);
    let run = folder.start(&script(", rows_per_second = 1000"), &arguments);
    let mut random = Random(11);
    for _ in 0..2 {
        wait_for_commits(&folder, "odds", 1 + random.below(2) as usize);
        kill_a_worker(&run, &mut random);
    }
    let output = run.output(Duration::from_secs(600)).success();
    assert!(output.stderr.lines().any(|line| line.contains("restart ")), "{}", output.stderr);
    let found = said(&folder);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}
