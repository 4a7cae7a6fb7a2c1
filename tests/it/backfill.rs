//! What is there when a job begins, and what comes, in one source: nothing of the past is late, whatever the order in which
//! it comes, and nothing is missing or there twice at the seam.

use std::fs;
use std::thread;

use crate::cluster::Cluster;
use crate::command::{Folder, PATIENCE, sorted_rows};
use crate::flight_sql::{POLL, TRIES};
use crate::killed::{complete_parts, csv_rows, files, wait_for_commits};

/// The past is twenty minutes, in so many files.
const SECONDS: usize = 1200;
const FILES: usize = 12;

/// Rows that come behind it, in one minute, and the last one, which nobody's window closes behind.
const LIVE: usize = 60;
const LAST_SECOND: usize = 3000;

/// How a source is to read.
struct Reading {
    mode: &'static str,
    rows_per_second: usize,
    idle_timeout: &'static str,
}

/// A file that is there at once.
fn put(folder: &Folder, name: &str, rows: impl Iterator<Item = (usize, usize)>) {
    let rows = rows.map(|(id, second)| {
        let (minute, second) = (second / 60, second % 60);
        format!("{id},{},2024-01-01 00:{minute:02}:{second:02}\n", id % 3)
    });
    folder.write("part", format!("id,k,ts\n{}", rows.collect::<String>()));
    fs::create_dir_all(folder.path("in")).unwrap();
    fs::rename(folder.path("part"), folder.path(&format!("in/{name}.csv"))).unwrap();
}

/// So many rows of the past: the newest are in the file that is read first, and within a file they have no order.
fn put_past(folder: &Folder, rows: usize) {
    for file in 0..FILES {
        let all = (0..rows).map(|id| (id, id * 7919 % rows * (SECONDS / rows)));
        let is_of_file = |second: usize| (SECONDS - 1 - second) / (SECONDS / FILES) == file;
        put(folder, &format!("{file:02}"), all.filter(|(_, second)| is_of_file(*second)));
    }
}

fn put_live(folder: &Folder, past: usize) {
    put(folder, "live", (0..LIVE).map(|n| (past + n, SECONDS + n)));
}

fn put_last(folder: &Folder, past: usize) {
    put(folder, "last", [(past + LIVE, LAST_SECOND)].into_iter());
}

fn script(reading: &Reading) -> String {
    let Reading { mode, rows_per_second, idle_timeout } = reading;
    format!(
        "CREATE SOURCE s (id BIGINT, k BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
           WITH (connector = 'files', path = 'in', format = 'csv', watch = '20ms', idle_timeout = '{idle_timeout}',
                 rows_per_second = {rows_per_second}, scan_startup_mode = '{mode}');
         CREATE VIEW w AS
           SELECT CAST(date_part('minute', window_start) AS BIGINT) AS m, k, count(*) AS c, CAST(sum(id) AS BIGINT) AS s
           FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1 minute') GROUP BY window_start, window_end, k;
         CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv') AS SELECT id FROM s;
         CREATE SINK windows WITH (connector = 'files', path = 'windows', format = 'csv') AS SELECT m, k, c, s FROM w;"
    )
}

/// The windows but for that of the last row, as a table has them.
fn windows_of_table(folder: &Folder, past: usize) -> Vec<String> {
    let last = past + LIVE;
    let sql = format!(
        "CREATE TABLE t (id BIGINT, k BIGINT, ts TIMESTAMP) WITH (connector = 'files', path = 'in', format = 'csv');
         SELECT m, k, count(*) AS c, CAST(sum(id) AS BIGINT) AS s
         FROM (SELECT CAST(date_part('minute', ts) AS BIGINT) AS m, k, id FROM t WHERE id <> {last}) GROUP BY m, k"
    );
    let output = folder.run(&sql, &["--format", "csv"]).success();
    sorted_rows(&output.stdout).into_iter().map(String::from).collect()
}

/// The rows of a sink, sorted.
fn sorted(folder: &Folder, sink: &str) -> Vec<String> {
    let mut rows = csv_rows(folder, sink);
    rows.sort_unstable();
    rows
}

#[track_caller]
fn check_each_row_is_there_once(folder: &Folder, past: usize, told: &str) {
    let mut ids: Vec<usize> = csv_rows(folder, "kept").iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..=past + LIVE), "{} rows; {told}", ids.len());
}

/// Runs a source over a past of so many rows, to which others are added while it is read; the windows that come of it, and
/// those of a table.
fn windows(reading: &Reading, past: usize, spread: &[&str]) -> (Vec<String>, Vec<String>) {
    let folder = Folder::new();
    put_past(&folder, past);
    let print = "CREATE SINK ids WITH (connector = 'print') AS SELECT 'id ' || CAST(id AS VARCHAR) AS t FROM s;
                 CREATE SINK ends WITH (connector = 'print') AS SELECT 'minute ' || CAST(m AS VARCHAR) AS t FROM w;";
    let run = folder.start(&format!("{}{print}", script(reading)), spread);
    run.wait_for_row("id ");
    put_live(&folder, past);
    run.wait_for_row(&format!("id {}", past + LIVE - 1));
    put_last(&folder, past);
    run.wait_for_row("minute 20");
    run.signal("INT");
    let output = run.output(PATIENCE);
    assert_eq!(output.status, Some(130), "stderr:\n{}", output.stderr);
    check_each_row_is_there_once(&folder, past, &output.stderr);
    (sorted(&folder, "windows"), windows_of_table(&folder, past))
}

#[test]
fn a_past_in_any_order_has_the_windows_of_a_table() {
    let reading = Reading { mode: "backfill", rows_per_second: 1500, idle_timeout: "200ms" };
    for spread in [&["--parallelism", "1"][..], &["--parallelism", "3"], &["--workers", "2"]] {
        let (windows, wanted) = windows(&reading, SECONDS, spread);
        assert_eq!((windows.len(), &windows), (63, &wanted), "{spread:?}");
    }
    // As one live stream, what is not of the newest file is late.
    let (live, wanted) = windows(&Reading { mode: "earliest", ..reading }, SECONDS, &["--parallelism", "1"]);
    assert!(live.len() < 63 && wanted.len() == 63, "{live:?}");
}

#[test]
fn who_waits_for_rows_of_the_past_is_not_idle() {
    // From one row of an instance to the next it is longer than it takes to be idle.
    let reading = Reading { mode: "backfill", rows_per_second: 60, idle_timeout: "20ms" };
    let (windows, wanted) = windows(&reading, FILES, &["--parallelism", "3"]);
    assert_eq!((windows.len(), windows), (FILES + 3, wanted));
}

/// How many rows of a sink there are.
fn count(folder: &Folder, sink: &str) -> usize {
    complete_parts(folder, sink).iter().map(|(_, text)| text.lines().count() - 1).sum()
}

#[track_caller]
fn wait_for_rows(folder: &Folder, sink: &str, wanted: usize) {
    for _ in 0..TRIES {
        if count(folder, sink) >= wanted {
            return;
        }
        thread::sleep(POLL);
    }
    panic!("{} of {wanted} rows of {sink} in {PATIENCE:?}", count(folder, sink));
}

#[test]
fn the_seam_is_crossed_once_also_by_workers_that_are_killed() {
    let mut cluster = Cluster::open(1, &[]);
    put_past(&cluster.folder, SECONDS);
    cluster.add_worker();
    cluster.add_worker();
    let reading = Reading { mode: "backfill", rows_per_second: 250, idle_timeout: "200ms" };
    let settings = "SET checkpoint_interval = '100ms'; SET parallelism = 2;";
    cluster.sql(&format!("{settings} {}", script(&reading))).success();
    cluster.wait_for_commits(3);
    put_live(&cluster.folder, SECONDS);
    let begun = count(&cluster.folder, "kept");
    assert!(begun < SECONDS && files(&cluster.folder, "windows").is_empty(), "{begun}");
    let killed = cluster.workers.remove(0);
    killed.signal("KILL");
    killed.wait_killed();
    cluster.add_worker();

    // Behind the seam, and while what has come since is read.
    wait_for_commits(&cluster.folder, "windows", 1);
    let killed = cluster.workers.remove(0);
    killed.signal("KILL");
    killed.wait_killed();
    cluster.add_worker();
    wait_for_rows(&cluster.folder, "kept", SECONDS + LIVE);
    put_last(&cluster.folder, SECONDS);
    wait_for_rows(&cluster.folder, "windows", 63);
    wait_for_rows(&cluster.folder, "kept", SECONDS + LIVE + 1);
    cluster.sql("STOP JOB kept").success();
    cluster.wait_for_jobs(<[String]>::is_empty);
    check_each_row_is_there_once(&cluster.folder, SECONDS, "in a cluster");
    assert_eq!(sorted(&cluster.folder, "windows"), windows_of_table(&cluster.folder, SECONDS));
}

#[test]
fn what_was_there_before_a_job_can_be_left_out() {
    let folder = Folder::new();
    put_past(&folder, SECONDS);
    let reading = Reading { mode: "latest", rows_per_second: 100_000, idle_timeout: "200ms" };
    let print = "CREATE SINK ids WITH (connector = 'print') AS SELECT 'id ' || CAST(id AS VARCHAR) AS t FROM s;
                 CREATE SINK tick WITH (connector = 'print') AS SELECT 'tick' AS t FROM d;";
    let ticks = "CREATE SOURCE d (a INT) WITH (connector = 'datagen', rows = 1);";
    let run = folder.start(&format!("{ticks}{}{print}", script(&reading)), &[]);
    // All sources are open before any of them is read.
    run.wait_for_row("tick");
    put_live(&folder, SECONDS);
    run.wait_for_row(&format!("id {}", SECONDS + LIVE - 1));
    run.signal("INT");
    assert_eq!(run.output(PATIENCE).status, Some(130));
    assert_eq!(csv_rows(&folder, "kept").len(), LIVE);
}

/// What is predicted for each row but the last one, by a model that learns from the same rows.
fn predicted(folder: &Folder) -> Vec<String> {
    let last = format!("{},", SECONDS + LIVE);
    sorted(folder, "predicted").into_iter().filter(|row| !row.starts_with(&last)).collect()
}

#[test]
fn a_model_learns_from_a_past_in_any_order_what_it_learns_from_one_in_order() {
    let learns = "CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'y', publish_every = '1 minute',
                              model_freshness = 'consistent') AS
           SELECT ts, id * 31 % 7 < 3 AS y, k FROM s;
         CREATE VIEW p AS SELECT id, predicted_y_prob FROM ML.PREDICT(MODEL m, TABLE s);
         CREATE SINK predicted WITH (connector = 'files', path = 'predicted', format = 'csv') AS SELECT * FROM p;";
    let columns = "id BIGINT, k BIGINT, ts TIMESTAMP";
    let files = "connector = 'files', path = 'in', format = 'csv'";

    let folder = Folder::new();
    put_past(&folder, SECONDS);
    let source = format!(
        "CREATE SOURCE s ({columns}, WATERMARK FOR ts AS ts)
           WITH ({files}, watch = '20ms', idle_timeout = '200ms', scan_startup_mode = 'backfill');"
    );
    let print = "CREATE SINK ids WITH (connector = 'print') AS SELECT 'id ' || CAST(id AS VARCHAR) AS t FROM p;";
    let run = folder.start(&format!("{source}{learns}{print}"), &["--parallelism", "3"]);
    // The newest row of the past waits for nothing once all of it has been read.
    put_live(&folder, SECONDS);
    put_last(&folder, SECONDS);
    run.wait_for_row(&format!("id {}", SECONDS + LIVE - 1));
    run.signal("INT");
    assert_eq!(run.output(PATIENCE).status, Some(130));

    let table = Folder::new();
    put_past(&table, SECONDS);
    put_live(&table, SECONDS);
    put_last(&table, SECONDS);
    let source = format!("CREATE SOURCE s ({columns}, WATERMARK FOR ts AS ts - INTERVAL '1 hour') WITH ({files});");
    table.run(&format!("{source}{learns}"), &[]).success();
    let wanted = predicted(&table);
    assert_eq!((wanted.len(), predicted(&folder)), (SECONDS + LIVE, wanted));
}
