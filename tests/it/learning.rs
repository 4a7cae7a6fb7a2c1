//! Learning while workers are killed: what a model predicts, and what the registry says of its versions, is
//! to the last bit what it would be had nothing happened.
//!
//! Labels come after the rows that they belong to and meet them in a join, and one feature is what a window
//! has seen: so predictions are the same only if the state of all of it is. The weights show in every one.

use std::path::Path;
use std::time::Duration;

use tidemill_coordinator::{CoordinatorConfig, CoordinatorHandle};

use crate::command::{Folder, PATIENCE};
use crate::killed::{Random, csv_rows, kill_a_worker, wait_for_commits};

/// How far trips are out of order, in seconds.
const DISORDER: u64 = 5;

/// Trips a second, of which there are two seconds in each of event time.
const RATE: usize = 1000;

/// How long a job with so many trips and kills may take.
const LIMIT: Duration = Duration::from_secs(600);

fn timestamp(millis: u64) -> String {
    let seconds = millis / 1000;
    format!("2024-01-01 {:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, millis % 1000)
}

/// Trips, and for each of them, some seconds later, whether it was late.
fn trips(count: usize, random: &mut Random) -> (String, String) {
    let mut trips = String::from("id,zone,distance,ts\n");
    let mut ends = Vec::new();
    for id in 0..count as u64 {
        let begun = DISORDER * 1000 + id * 2 - random.below(DISORDER * 1000);
        let (zone, distance) = (random.below(6), random.below(1000) as f64 / 100.0);
        // Zones differ, one of them is slow for a while, and the rest is chance.
        let odds = 10 + 5 * zone + distance as u64 * 4 + if zone == 3 && id % 4000 < 1500 { 40 } else { 0 };
        let late = random.below(100) < odds;
        trips.push_str(&format!("{id},z{zone},{distance},{}\n", timestamp(begun)));
        ends.push((begun + 1000 + random.below(3000), format!("{id},z{zone},{late}")));
    }
    ends.sort();
    let ends = ends.into_iter().map(|(ended, end)| format!("{end},{}\n", timestamp(ended)));
    (trips, format!("id,zone,late,ts\n{}", ends.collect::<String>()))
}

/// The script; what `paced` says is about its sources.
fn script(paced: &str) -> String {
    format!(
        "SET checkpoint_interval = '200ms';
         SET restart_delay = '50ms';
         SET restart_delay_max = '200ms';
         SET restart_attempts = 1000;
         CREATE SOURCE trips (id BIGINT, zone VARCHAR, distance DOUBLE, ts TIMESTAMP,
                              WATERMARK FOR ts AS ts - INTERVAL '{DISORDER} seconds')
           WITH (connector = 'files', path = 'trips.csv', format = 'csv'{paced});
         CREATE SOURCE ends (id BIGINT, zone VARCHAR, late BOOLEAN, ts TIMESTAMP, WATERMARK FOR ts AS ts)
           WITH (connector = 'files', path = 'ends.csv', format = 'csv'{paced});
         CREATE VIEW lateness AS
           SELECT zone, window_end, avg(CASE WHEN late THEN 1.0 ELSE 0.0 END) AS late_share
           FROM HOP(TABLE ends, DESCRIPTOR(ts), INTERVAL '1 second', INTERVAL '3 seconds')
           GROUP BY zone, window_start, window_end;
         CREATE VIEW features AS
           SELECT t.id, t.ts, t.zone, t.distance, l.late_share
           FROM trips AS t LEFT JOIN lateness FOR SYSTEM_TIME AS OF t.ts AS l ON l.zone = t.zone;
         CREATE MODEL late WITH (model_type = 'logistic_reg', label = 'late', publish_every = '1 second') AS
           SELECT e.ts, e.late, f.zone, f.distance, f.late_share
           FROM features AS f JOIN ends AS e ON e.id = f.id AND e.ts BETWEEN f.ts AND f.ts + INTERVAL '5 seconds';
         CREATE SINK predicted WITH (connector = 'files', path = 'predicted', format = 'csv') AS
           SELECT id, ts, predicted_late_prob, model_version, model_event_time
           FROM ML.PREDICT(MODEL late, TABLE features);"
    )
}

/// What a run has learnt and said.
#[derive(Debug)]
struct Learnt {
    /// A row for each trip, in the order of their numbers.
    predictions: Vec<String>,
    /// The versions of the model in the registry, the last first, each with its metrics.
    versions: Vec<String>,
}

impl Learnt {
    fn read(folder: &Folder) -> Self {
        let mut predictions = csv_rows(folder, "predicted");
        predictions.sort_by_key(|row| row.split(',').next().unwrap().parse::<u64>().unwrap());
        Self { predictions, versions: versions(&folder.path("meta")) }
    }
}

/// What the registry in a data folder knows of the model. Floats are shown with all digits that tell them apart.
fn versions(data_dir: &Path) -> Vec<String> {
    let config = CoordinatorConfig { data_dir: Some(data_dir.to_owned()), ..CoordinatorConfig::default() };
    actix::System::new().block_on(async {
        let coordinator = CoordinatorHandle::start(config).unwrap();
        let versions = coordinator.model_versions("late").await.unwrap();
        coordinator.shutdown().await;
        versions.iter().map(|version| format!("{version:?}")).collect()
    })
}

#[track_caller]
fn check_same<T: AsRef<str>>(what: &str, found: &[T], expected: &[T]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.as_ref(), expected.as_ref(), "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// Learns from so many trips twice, once with kills.
fn check_killed(trips: usize, kills: usize, seed: u64, settings: &str) {
    let mut random = Random(seed);
    let (trips_csv, ends_csv) = self::trips(trips, &mut random);
    let files: [(&str, &str); 2] = [("trips.csv", &trips_csv), ("ends.csv", &ends_csv)];
    let arguments = ["--workers", "2", "--parallelism", "2", "--data-dir", "meta"];

    let folder = Folder::with(&files);
    folder.start(&script(""), &arguments).output(PATIENCE).success();
    let expected = Learnt::read(&folder);
    assert_eq!(expected.predictions.len(), trips);
    assert!(expected.versions.len() >= trips / 600, "a version for most seconds: {}", expected.versions.len());

    let folder = Folder::with(&files);
    let paced = script(&format!(", rows_per_second = {RATE}"));
    let run = folder.start(&format!("{settings}{paced}"), &arguments);
    for _ in 0..kills {
        wait_for_commits(&folder, "predicted", 1 + random.below(3) as usize);
        kill_a_worker(&run, &mut random);
    }
    let output = run.output(LIMIT).success();
    let restarts = output.stderr.lines().filter(|line| line.contains("restart ")).count();
    assert!(restarts >= kills, "{restarts} restarts:\n{}", output.stderr);
    let found = Learnt::read(&folder);
    check_same("predictions", &found.predictions, &expected.predictions);
    check_same("versions", &found.versions, &expected.versions);
}

#[test]
fn what_is_learnt_does_not_depend_on_workers_that_are_killed() {
    check_killed(5_000, 3, 5, "");
}

#[test]
fn nor_does_it_when_barriers_overtake_rows() {
    check_killed(5_000, 3, 6, "SET aligned_checkpoint_timeout = '1ms';");
}

#[test]
fn what_is_learnt_goes_on_from_a_savepoint() {
    let (trips_csv, ends_csv) = trips(3_000, &mut Random(7));
    let files: [(&str, &str); 2] = [("trips.csv", &trips_csv), ("ends.csv", &ends_csv)];
    let folder = Folder::with(&files);
    folder.start(&script(""), &["--data-dir", "meta"]).output(PATIENCE).success();
    let expected = Learnt::read(&folder);

    let folder = Folder::with(&files);
    folder.write("first.sql", script(&format!(", rows_per_second = {RATE}")));
    folder.write("second.sql", format!("SET from_savepoint = 'saved';\n{}", script("")));
    let mut shell = folder.open_shell(&["--data-dir", "first"]);
    shell.say("\\i first.sql");
    wait_for_commits(&folder, "predicted", 3);
    shell.stop_with_savepoint("predicted", "saved");
    shell.output(PATIENCE).success();
    folder.shell("\\i second.sql", &["--parallelism", "3", "--data-dir", "meta"]).output(LIMIT).success();
    let mut found = Learnt::read(&folder);
    check_same("predictions", &found.predictions, &expected.predictions);
    // What was published before the savepoint is in the registry of the first, and not again in that of the second.
    found.versions.extend(versions(&folder.path("first")));
    check_same("versions", &found.versions, &expected.versions);
}

#[test]
#[ignore = "takes minutes; cargo test --test it learning -- --ignored"]
fn what_is_learnt_does_not_depend_on_many_kills() {
    for seed in 1..=3 {
        check_killed(20_000, 10, seed, "");
        check_killed(20_000, 10, seed, "SET aligned_checkpoint_timeout = '1ms';");
    }
}
