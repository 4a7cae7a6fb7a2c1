//! EXPLAIN ANALYZE: what operators did, in one process and in several.

use std::time::Duration;

use crate::command::{Folder, PATIENCE};

/// A hundred rows of ten keys, a row a second, and behind them one without a number and one that is late.
fn folder() -> Folder {
    let mut rows = String::from("ts,k,n\n");
    for n in 0..100 {
        rows.push_str(&format!("2024-01-01 00:{:02}:{:02},{},{n}\n", n / 60, n % 60, n % 10));
    }
    rows.push_str("2024-01-01 00:00:00,3,no number\n2024-01-01 00:00:00,4,1\n");
    Folder::with(&[("s.csv", &rows)])
}

const SOURCE: &str = "
CREATE SOURCE s (ts TIMESTAMP, k BIGINT, n BIGINT, WATERMARK FOR ts AS ts)
  WITH (connector = 'files', path = 's.csv', format = 'csv');
";

/// What a run printed, times and bytes as `_`: they differ from run to run.
fn steady(text: &str) -> String {
    let mut steady = text.to_owned();
    for measured in ["busy ", "state at most "] {
        let mut parts = steady.split(measured);
        let mut masked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find([',', ')']).unwrap_or(part.len());
            masked.push_str(&format!("{measured}_{}", &part[end..]));
        }
        steady = masked;
    }
    steady
}

#[test]
fn a_query_is_run_and_its_operators_say_what_they_did() {
    let sql = format!("{SOURCE} EXPLAIN ANALYZE SELECT k, count(*) AS rows FROM s GROUP BY k;");
    for workers in [&[][..], &["--workers", "2"]] {
        let output = folder().run(&sql, &[&["--parallelism", "2"], workers].concat()).success();
        expect_test::expect![[r#"
            Sink #4 select_1 to result [x1]
                (rows in 10, out 0, busy _, state at most _)
              Project #3 k, "count(1)" AS rows [x2] -> rebalance
                  (rows in 10, out 10, busy _)
                Aggregate #2 by (k): count(1) at end [x2] -> forward
                    (rows in 102, out 10, busy _, state at most _)
                  Project #1 k, ts [x2] -> hash(k)
                      (rows in 102, out 102, busy _)
                    Source #0 s from files watermark(ts AS ts) [x2] -> forward
                        (rows in 102, out 102, busy _)
        "#]]
        .assert_eq(&steady(&output.stdout));
    }
}

#[test]
fn an_insert_is_carried_out_and_late_rows_are_counted() {
    let sql = format!(
        "{SOURCE}
        CREATE SINK out (k BIGINT, n BIGINT) WITH (connector = 'files', path = 'out', format = 'csv');
        SELECT count(*) AS all_rows FROM s;
        EXPLAIN ANALYZE INSERT INTO out
          SELECT k, sum(n) AS n FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end;"
    );
    let folder = folder();
    let output =
        folder.run(&sql, &["--parallelism", "1", "--format", "csv", "--set", "source_batch_rows=10"]).success();
    expect_test::expect![[r#"
        all_rows
        101
        plan
        Sink #8 out to files [x1]
        "    (rows in 100, out 0, busy _)"
        "  Project #7 k, ""sum(n)"" AS n [x1] -> forward"
        "      (rows in 100, out 100, busy _)"
            WindowAggregate #6 TUMBLE(size=10s) on ts by (k): sum(n) [x1] -> forward
        "        (rows in 101, out 100, busy _, state at most _, late 1)"
        "      Project #5 k, n, ts [x1] -> hash(k)"
        "          (rows in 101, out 101, busy _)"
                Source #0 s from files watermark(ts AS ts) [x1] -> forward
        "            (rows in 101, out 101, busy _, bad 1)"
    "#]]
    .assert_eq(&steady(&output.stdout));
    assert_eq!(folder.read("out/part-0.csv").lines().count(), 101, "the rows of an INSERT are written");
}

#[test]
fn a_query_that_does_not_end_is_explained_when_it_is_interrupted() {
    let sql = "CREATE SOURCE s (n BIGINT, ts AS PROCTIME()) WITH (connector = 'datagen', rows_per_second = 100);
        EXPLAIN ANALYZE SELECT n FROM s WHERE n < 0;";
    let folder = Folder::new();
    let run = folder.start(sql, &[]);
    run.wait_for_line("rows/s");
    run.signal("INT");
    let output = run.output(Duration::from_secs(15));
    assert_eq!(output.status, Some(130), "stderr:\n{}", output.stderr);
    assert!(output.stdout.contains("(rows in ") && output.stdout.contains("Source #0"), "{}", output.stdout);
}

#[test]
fn a_limit_ends_a_query_that_is_explained() {
    let sql = "CREATE SOURCE s (n BIGINT, ts AS PROCTIME()) WITH (connector = 'datagen', rows_per_second = 1000);
        EXPLAIN ANALYZE SELECT n FROM s LIMIT 50;";
    for workers in [&[][..], &["--workers", "2"]] {
        let output = Folder::new().run(sql, workers).success();
        let sink = output.stdout.lines().nth(1).unwrap_or_default();
        assert!(output.stdout.starts_with("Sink #"), "its rows are not printed:\n{}", output.stdout);
        let rows = sink.trim().strip_prefix("(rows in ").and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
        assert!(rows.is_some_and(|rows| rows >= 50), "{}", output.stdout);
    }
}

#[test]
fn a_shell_explains_and_warns_too() {
    let folder = folder();
    let input = format!(
        "{SOURCE}
         CREATE SOURCE endless (k BIGINT, ts AS PROCTIME()) WITH (connector = 'datagen', rows_per_second = 1000);
         CREATE SINK out (k BIGINT) WITH (connector = 'files', path = 'out', format = 'csv');
         EXPLAIN ANALYZE INSERT INTO out SELECT k FROM s;
         EXPLAIN ANALYZE SELECT k FROM endless LIMIT 20;
         CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM endless GROUP BY k;"
    );
    let output = folder.shell(&input, &["--parallelism", "1"]).output(PATIENCE).success();
    for part in ["Sink #2 out to files", "(rows in 102, out 102, busy ", "to result limit 20"] {
        assert!(output.stdout.contains(part), "no '{part}' in\n{}", output.stdout);
    }
    let warnings = output.stderr.lines().filter(|line| line.starts_with("warning: ")).collect::<Vec<_>>();
    assert_eq!(warnings.len(), 1, "{}", output.stderr);
    assert_eq!(folder.read_only_file("out").lines().count(), 103, "the rows of an INSERT are written");
}
