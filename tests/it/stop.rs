//! An interrupt in the middle of a job: what was read is written, files are complete, nobody is left.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::command::{Folder, Output, PATIENCE, Run};
use crate::flights;

/// How long a job may take to stop: two seconds are promised, of a release build on a machine of its own.
const STOP: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 2 });

/// Rows of a replay that would take minutes.
const ROWS: usize = 20_000;

const PACED: &str = "
CREATE SOURCE ticks (ts TIMESTAMP, n BIGINT, WATERMARK FOR ts AS ts)
  WITH (connector = 'files', path = 'ticks.csv', format = 'csv', rows_per_second = 100);
CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'parquet') AS SELECT ts, n FROM ticks;
SELECT count(*) AS n FROM ticks;";

fn start(arguments: &[&str]) -> (Folder, Run) {
    let mut rows = String::from("ts,n\n");
    for n in 0..ROWS {
        rows.push_str(&format!("2024-01-01 {:02}:{:02}:{:02},{n}\n", n / 3600, n / 60 % 60, n % 60));
    }
    let folder = Folder::with(&[("ticks.csv", &rows)]);
    let run = folder.start(PACED, arguments);
    // A line a second: the first one means that the job has run for one.
    run.wait_for_line("rows/s, event time");
    (folder, run)
}

/// Rows in the one part file that the sink left.
fn rows_written(folder: &Folder) -> usize {
    let names: Vec<String> = fs::read_dir(folder.path("kept"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["part-0.parquet"], "nothing else, and nothing .inprogress");
    let file = File::open(folder.path("kept/part-0.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(|batch| batch.unwrap().num_rows()).sum()
}

#[track_caller]
fn check_stopped(folder: &Folder, output: &Output, status: i32) {
    assert_eq!(output.status, Some(status), "stderr:\n{}", output.stderr);
    assert!(!output.stderr.contains("panicked"), "stderr:\n{}", output.stderr);
    let rows = rows_written(folder);
    assert!((1..ROWS).contains(&rows), "{rows} rows");
    assert_eq!(output.stdout, "n\n", "a count that is not complete is not printed");
}

#[test]
fn an_interrupt_leaves_complete_files() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let (folder, run) = start(&["--format", "csv"]);
        run.signal(signal);
        let output = run.output(STOP);
        check_stopped(&folder, &output, status);
    }
}

#[test]
fn an_interrupt_of_a_busy_job_leaves_complete_files() {
    for workers in [&[][..], &["--workers", "2"]] {
        let (folder, sql) = flights::example_in_folder();
        let run = folder.start(&sql, workers);
        // A line a second: by then the job is at work, and far from its end in any build.
        run.wait_for_line("rows/s, event time");
        run.signal("INT");
        let output = run.output(STOP);
        assert_eq!(output.status, Some(130), "stderr:\n{}", output.stderr);
        let names: Vec<_> = fs::read_dir(folder.path("predictions")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["part-0.parquet"], "nothing else, and nothing .inprogress");
        let file = File::open(folder.path("predictions/part-0.parquet")).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
        assert!(rows < 336_776, "{rows} rows");
    }
}

#[test]
fn an_interrupt_ends_worker_processes_too() {
    let (folder, run) = start(&["--format", "csv", "--workers", "2"]);
    let workers = children(run.pid);
    assert_eq!(workers.len(), 2, "{workers:?}");
    run.signal("INT");
    let output = run.output(STOP);
    check_stopped(&folder, &output, 130);
    let left: Vec<u32> = workers.into_iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "worker processes {left:?} are still there");
}

#[test]
fn a_worker_process_that_is_killed_ends_the_job_with_an_error() {
    let (folder, run) = start(&["--workers", "2"]);
    let workers = children(run.pid);
    let killed = std::process::Command::new("kill").args(["-KILL", &workers[0].to_string()]).status().unwrap();
    assert!(killed.success());
    let message = run.output(PATIENCE).failure();
    assert!(message.contains("worker"), "{message}");
    assert!(!folder.path("kept/part-0.parquet").exists(), "half a file must not look like a whole one");
    assert!(!Path::new(&format!("/proc/{}", workers[1])).exists(), "the other worker is still there");
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().map(Result::unwrap) {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may be gone by now. Behind its name, which may hold anything, come state and parent.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if parent == Some(pid.to_string().as_str()) {
            found.push(child);
        }
    }
    found
}
