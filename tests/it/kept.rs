//! Jobs that are not done and not forgotten: interrupted ones that have no time to drain, and ones that have failed.

use std::fs;

use crate::cluster::Cluster;
use crate::command::{Folder, PATIENCE, Run};
use crate::killed::{csv_rows, wait_for_commits};

const ROWS: usize = 3_000;

/// Rows whose window ends long behind them: a job that drains has them on its way for ever. `divisor` may be zero.
fn numbers(divisor: usize) -> String {
    let mut text = String::from("n,d,ts\n");
    for n in 0..ROWS {
        let (minutes, seconds) = (n / 60, n % 60);
        text.push_str(&format!("{n},{divisor},2024-01-01 {:02}:{:02}:{seconds:02}\n", minutes / 60, minutes % 60));
    }
    text
}

fn script(rows_per_second: usize) -> String {
    format!(
        "SET checkpoint_interval = '100ms';
         SET restart_strategy = 'none';
         CREATE SOURCE numbers (n BIGINT, d BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
           WITH (connector = 'files', path = 'numbers.csv', format = 'csv', rows_per_second = {rows_per_second});
         CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv') AS
           SELECT n, ts FROM numbers;
         CREATE SINK sums WITH (connector = 'files', path = 'sums', format = 'csv') AS
           SELECT d, sum(n / d) AS total FROM TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '1 minute')
           GROUP BY d, window_start, window_end;"
    )
}

fn resume(folder: &Folder, arguments: &[&str]) -> Run {
    Run::start(&folder.path(""), &[&["resume", "--data-dir", "meta"], arguments].concat())
}

#[test]
fn a_second_interrupt_leaves_the_job_to_tidemill_resume() {
    let folder = Folder::with(&[("numbers.csv", &numbers(1))]);
    let run = folder.start(&script(1000), &["--data-dir", "meta"]);
    wait_for_commits(&folder, "kept", 2);
    // Both are there when it wakes up, so that it seldom has drained in between.
    for name in ["STOP", "TERM", "INT", "CONT"] {
        run.signal(name);
    }
    let output = run.output(PATIENCE);
    if output.stderr.contains("tidemill resume") {
        let resumed = resume(&folder, &[]).output(PATIENCE).success();
        let kept = csv_rows(&folder, "kept").len();
        // If it had, the first interrupt was its end, though its sinks had not shown everything: nothing more is read,
        // and the last window stays open.
        let had_drained = resumed.stderr.lines().any(|line| line.starts_with("0 rows in ")) && kept > 0;
        let windows = if had_drained { (kept - 1) / 60 } else { ROWS / 60 };
        assert!(had_drained || kept == ROWS, "{kept} rows\n{}\n{}", output.stderr, resumed.stderr);
        assert_eq!(csv_rows(&folder, "sums").len(), windows, "of {kept} rows");
    }
    let nothing = resume(&folder, &[]).output(PATIENCE).failure();
    assert!(nothing.contains("no job was left unfinished"), "{nothing}");
}

/// Puts a file in the place of a sink's folder.
fn take_place(folder: &Folder) {
    fs::rename(folder.path("kept"), folder.path("kept-before")).unwrap();
    folder.write("kept", "not a folder");
}

fn give_back_place(folder: &Folder) {
    fs::remove_file(folder.path("kept")).unwrap();
    fs::rename(folder.path("kept-before"), folder.path("kept")).unwrap();
}

#[test]
fn a_job_that_has_failed_is_tried_again_by_name() {
    let folder = Folder::with(&[("numbers.csv", &numbers(1))]);
    // A sink that cannot write: its place is taken by a file.
    let run = folder.start(&script(2000), &["--data-dir", "meta"]);
    wait_for_commits(&folder, "kept", 2);
    take_place(&folder);
    let failed = run.output(PATIENCE).failure();
    give_back_place(&folder);

    let told = resume(&folder, &[]).output(PATIENCE).failure();
    assert!(told.contains("job-1 (kept, sums) has failed: ") && told.contains("--job"), "{told}\n{failed}");
    let shown = folder.shell("SHOW JOBS;", &["--data-dir", "meta", "--format", "csv"]).output(PATIENCE).success();
    assert!(shown.stdout.contains("1,failed,\"kept, sums\","), "{}", shown.stdout);
    let unknown = resume(&folder, &["--job", "other"]).output(PATIENCE).failure();
    assert!(unknown.contains("no job 'other' was left in meta; there is: job-1"), "{unknown}");
    resume(&folder, &["--job", "kept"]).output(PATIENCE).success();
    assert_eq!((csv_rows(&folder, "kept").len(), csv_rows(&folder, "sums").len()), (ROWS, ROWS / 60));
}

#[test]
fn a_server_goes_on_with_a_job_that_has_failed_when_it_is_told_to() {
    let mut cluster = Cluster::open(1, &[]);
    cluster.folder.write("numbers.csv", numbers(1));
    cluster.add_worker();
    cluster.add_worker();
    cluster.sql(&script(2000)).success();
    for again in ["RESUME JOB kept", "RESUME JOB 1"] {
        cluster.wait_for_commits(2);
        take_place(&cluster.folder);
        cluster.wait_for_jobs(|jobs| jobs[0].starts_with("1,failed,"));
        give_back_place(&cluster.folder);
        if again.ends_with('1') {
            // A coordinator that comes back knows it by what is recorded.
            cluster.end_coordinator();
            cluster.restart_coordinator();
            cluster.wait_for_jobs(|jobs| jobs[0].starts_with("1,failed,"));
        }
        let told = cluster.sql(again).success().stderr;
        assert!(told.contains("RESUME job-1"), "{told}");
        let twice = cluster.sql(again).failure();
        assert!(twice.contains("job-1 runs"), "{twice}");
    }
    let unknown = cluster.sql("RESUME JOB 7").failure();
    assert!(unknown.contains("job-7"), "{unknown}");
    cluster.wait_for_jobs(<[String]>::is_empty);
    assert_eq!((csv_rows(&cluster.folder, "kept").len(), csv_rows(&cluster.folder, "sums").len()), (ROWS, ROWS / 60));
    assert!(cluster.sql("RESUME JOB kept").failure().contains("job-1"));
}
