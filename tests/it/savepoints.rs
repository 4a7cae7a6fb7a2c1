//! Savepoints: jobs that end with one, and others, of edited queries, that go on from it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::command::{Folder, PATIENCE};
use crate::killed::{files, wait_for_commits};

const ROWS: u64 = 4000;

/// Rows of ten keys, four a second of event time.
fn folder() -> Folder {
    let row = |n: u64| format!("{},{n},2024-01-01 00:{:02}:{:02}\n", n % 10, n / 4 / 60, n / 4 % 60);
    let rows: String = (0..ROWS).map(row).collect();
    Folder::with(&[("numbers.csv", &format!("k,v,ts\n{rows}"))])
}

/// Statements in front of a query over the numbers, which are read at a pace or at once.
fn head(parallelism: u32, pace: &str) -> String {
    format!(
        "SET checkpoint_interval = '100ms';
         SET parallelism = {parallelism};
         CREATE SOURCE numbers (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
           WITH (connector = 'files', path = 'numbers.csv', format = 'csv'{pace});\n"
    )
}

const SLOWLY: &str = ", rows_per_second = 1000";

fn counts(query: &str) -> String {
    format!("CREATE SINK counts WITH (connector = 'files', path = 'counts', format = 'debezium-json') AS {query}")
}

const PLAIN: &str = "SELECT k, count(*) AS n, sum(v) AS total FROM numbers GROUP BY k";

/// A shell with a job that counts, until it has ended with a savepoint.
fn saved(folder: &Folder) {
    let mut shell = folder.open_shell(&["--data-dir", "first"]);
    shell.say(&format!("{}{};", head(2, SLOWLY), counts(PLAIN)));
    wait_for_commits(folder, "counts", 3);
    shell.stop_with_savepoint("counts", "saved");
    shell.output(PATIENCE).success();
}

/// What the changes in a folder add up to: each key's count and sum.
fn totals(folder: &Folder) -> BTreeMap<i64, (i64, i64)> {
    let mut rows: BTreeMap<String, i64> = BTreeMap::new();
    for part in files(folder, "counts") {
        for line in folder.read(&format!("counts/{part}")).lines() {
            let change: Value = serde_json::from_str(line).unwrap();
            for (side, by) in [("before", -1), ("after", 1)] {
                if !change[side].is_null() {
                    *rows.entry(change[side].to_string()).or_default() += by;
                }
            }
        }
    }
    rows.retain(|_, count| *count != 0);
    assert!(rows.values().all(|count| *count == 1), "{rows:?}");
    let row = |text: &String| {
        let row: Value = serde_json::from_str(text).unwrap();
        let number = |column: &str| row[column].as_i64().unwrap();
        (number("k"), (number("n"), number("total")))
    };
    rows.keys().map(row).collect()
}

/// What all rows of the keys that are kept add up to.
fn expected(keeps: impl Fn(u64) -> bool) -> BTreeMap<i64, (i64, i64)> {
    let mut totals: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for n in (0..ROWS).filter(|n| keeps(*n)) {
        let (count, total) = totals.entry((n % 10) as i64).or_default();
        *count += 1;
        *total += n as i64;
    }
    totals
}

fn rows_of(totals: &BTreeMap<i64, (i64, i64)>) -> i64 {
    totals.values().map(|(count, _)| count).sum()
}

#[test]
fn another_job_goes_on_at_another_parallelism() {
    let folder = folder();
    saved(&folder);
    let seen = rows_of(&totals(&folder));
    assert!(seen > 0 && seen < ROWS as i64, "{seen} rows");
    let query = counts("SELECT k, count(*) AS n, sum(v) AS total FROM numbers GROUP BY k FROM SAVEPOINT 'saved'");
    folder.shell(&format!("{}{query};", head(3, "")), &["--data-dir", "second"]).output(PATIENCE).success();
    assert_eq!(totals(&folder), expected(|_| true));
}

#[test]
fn a_script_goes_on_and_what_was_in_front_may_change() {
    let folder = folder();
    saved(&folder);
    let seen = totals(&folder);
    // From here on rows of odd keys are left out.
    let query = counts("SELECT k, count(*) AS n, sum(v) AS total FROM numbers WHERE k % 2 = 0 GROUP BY k");
    let script = format!("SET from_savepoint = 'saved';\n{}{query};", head(2, ""));
    folder.run(&script, &["--data-dir", "second"]).success();
    let all = expected(|_| true);
    for (key, total) in totals(&folder) {
        let even = key % 2 == 0;
        assert_eq!(total, if even { all[&key] } else { seen[&key] }, "of key {key}");
    }
}

#[test]
fn what_cannot_be_kept_is_refused_and_explained() {
    let folder = folder();
    saved(&folder);
    let other = counts("SELECT k, count(*) AS n, max(v) AS total FROM numbers GROUP BY k FROM SAVEPOINT 'saved'");
    let input = format!(
        "{}EXPLAIN MIGRATION {};\nEXPLAIN MIGRATION {other};\n{other};",
        head(2, ""),
        counts(&format!("{PLAIN} FROM SAVEPOINT 'saved'"))
    );
    let output = folder.shell(&input, &["--data-dir", "second", "--format", "csv"]).output(PATIENCE);
    let rows = |output: &str| output.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        rows(&output.stdout),
        [
            "operator,state,detail",
            "numbers.Source,kept,",
            "counts.Aggregate,kept,",
            "counts.Project,no state,",
            "counts.Sink,kept,",
            "operator,state,detail",
            "numbers.Source,kept,",
            "counts.Aggregate,not kept,\"it kept by (k): count(1), sum(v), and would keep by (k): count(1), max(v) now\"",
            "counts.Project,no state,",
            "counts.Sink,kept,",
            "counts.Aggregate,dropped,\"by (k): count(1), sum(v)\"",
        ]
    );
    let message = output.failure();
    assert!(
        message.contains(
            "savepoint 'saved': this query cannot go on from it with all of its state: counts.Aggregate: it kept by (k): \
             count(1), sum(v), and would keep by (k): count(1), max(v) now; SET allow_dropped_state = true to start"
        ),
        "{message}"
    );
    for (from, reason) in [("nowhere", "there is none: savepoint.json is missing"), ("saved", "is damaged: ")] {
        if from == "saved" {
            let text = folder.read("saved/savepoint.json").replace("\"epoch\"", "\"epoc\"");
            folder.write("saved/savepoint.json", text);
        }
        let script = format!("SET from_savepoint = '{from}';\n{}{};", head(2, ""), counts(PLAIN));
        let message = folder.run(&script, &["--data-dir", "second"]).failure();
        assert!(message.contains(&format!("savepoint '{from}': ")) && message.contains(reason), "{message}");
    }
    assert!(!folder.path("nowhere").exists(), "looking for a savepoint makes no folder");
}

#[test]
fn a_job_goes_on_behind_a_savepoint_and_none_is_overwritten() {
    let folder = folder();
    let mut shell = folder.open_shell(&["--data-dir", "first"]);
    shell.say(&format!("{}{};", head(2, SLOWLY), counts(PLAIN)));
    wait_for_commits(&folder, "counts", 2);
    let create = "CREATE SAVEPOINT FOR JOB counts";
    shell.say(&format!("{create} 'one'; {create}; {create};"));
    shell.wait_for_line("CREATE SAVEPOINT 'one'");
    shell.wait_for_line("/savepoints/job-1-1'");
    shell.wait_for_line("/savepoints/job-1-2'");
    wait_for_commits(&folder, "counts", 2);
    shell.say("CREATE SAVEPOINT FOR JOB counts 'one';");
    let message = shell.output(PATIENCE).failure();
    assert!(message.contains("savepoint 'one': there is one already, and none is overwritten"), "{message}");
}
