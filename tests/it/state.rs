//! Warnings about state that grows for ever, and what bounds it.

use std::time::Duration;

use crate::command::Folder;

/// Starts a query that does not end, interrupts it, and returns what the program warned of.
fn warnings(sql: &str) -> Vec<String> {
    let folder = Folder::new();
    let source = "CREATE SOURCE s (k BIGINT, ts AS PROCTIME()) WITH (connector = 'datagen', rows_per_second = 100);\n";
    let run = folder.start(&format!("{source}{sql}"), &[]);
    run.wait_for_line("rows/s");
    run.signal("INT");
    let output = run.output(Duration::from_secs(15));
    assert_eq!(output.status, Some(130), "stderr:\n{}", output.stderr);
    output.stderr.lines().filter(|line| line.starts_with("warning: ")).map(String::from).collect()
}

#[test]
fn a_query_whose_state_grows_is_warned_of_once() {
    let warned = warnings("SELECT k, count(*) AS n FROM s GROUP BY k;");
    let [warning] = warned.as_slice() else { panic!("{warned:?}") };
    for part in ["script.sql: line 2, column 1: ", "Aggregate #1", "a group for every (k)", "SET state_ttl"] {
        assert!(warning.contains(part), "no '{part}' in {warning}");
    }
}

#[test]
fn a_time_to_live_silences_the_warning() {
    assert!(warnings("SET state_ttl = '1h';\nSELECT k, count(*) AS n FROM s GROUP BY k;").is_empty());
    assert!(warnings("SELECT /*+ STATE_TTL('s' = '1h') */ k, count(*) AS n FROM s GROUP BY k;").is_empty());
}

#[test]
fn a_hint_drops_groups_that_nothing_changes() {
    let rows = "ts,k\n2024-01-01 00:00:00,a\n2024-01-01 00:30:00,a\n2024-01-01 05:00:00,b\n2024-01-01 05:01:00,a\n";
    let folder = Folder::with(&[("s.csv", rows)]);
    let run = |hint: &str| {
        let sql = format!(
            "CREATE SOURCE s (ts TIMESTAMP, k VARCHAR, WATERMARK FOR ts AS ts)
               WITH (connector = 'files', path = 's.csv', format = 'csv');
             CREATE SINK out WITH (connector = 'print') AS SELECT {hint} k, count(*) AS n FROM s GROUP BY k;"
        );
        let settings = ["--parallelism", "1", "--set", "source_batch_rows=1", "--set", "update_interval=0"];
        folder.run(&sql, &settings).success().stdout
    };
    expect_test::expect![[r#"
        +I[a, 1]
        -U[a, 1]
        +U[a, 2]
        +I[b, 1]
        -U[a, 2]
        +U[a, 3]
    "#]]
    .assert_eq(&run(""));
    expect_test::expect![[r#"
        +I[a, 1]
        -U[a, 1]
        +U[a, 2]
        +I[b, 1]
        +I[a, 1]
    "#]]
    .assert_eq(&run("/*+ STATE_TTL('s' = '1h') */"));
}
