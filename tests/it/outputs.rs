//! Where rows go: sinks of every kind, formats on standard output, the registry, what is said meanwhile.

use std::fs;

use crate::command::{Folder, sorted_rows};
use crate::windows_and_joins::BIDS;

const BIDS_CSV: &str = "\
ts,item,price
2024-01-01 00:00:01,a,1
2024-01-01 00:00:04,b,2
2024-01-01 00:00:09,a,3
2024-01-01 00:00:10,,4
";

fn folder() -> Folder {
    Folder::with(&[("bids.csv", BIDS_CSV)])
}

#[test]
fn inserts_into_one_sink_are_one_file_in_event_time_order() {
    for spread in [&["--parallelism", "1"][..], &["--parallelism", "3"], &["--workers", "2"]] {
        let folder = folder();
        let sql = format!(
            "{BIDS} CREATE SINK kept (item VARCHAR, ts TIMESTAMP) WITH (connector = 'files', path = 'kept', format = 'csv');
             INSERT INTO kept SELECT item, ts FROM bids WHERE price < 3;
             INSERT INTO kept SELECT upper(item), ts FROM bids WHERE price > 1;"
        );
        folder.run(&sql, spread).success();
        let expected = "item,ts\na,2024-01-01T00:00:01\nB,2024-01-01T00:00:04\nb,2024-01-01T00:00:04\n\
                        A,2024-01-01T00:00:09\n,2024-01-01T00:00:10\n";
        assert_eq!(folder.read("kept/part-0.csv"), expected, "{spread:?}");
    }
}

#[test]
fn several_queries_of_a_script_print_in_their_order() {
    let sql = format!(
        "{BIDS} SELECT count(*) AS n FROM bids; CREATE SINK nowhere WITH (connector = 'blackhole') AS SELECT * FROM bids;
         CREATE MATERIALIZED VIEW dear AS SELECT item, price FROM bids WHERE price > 2;
         SELECT item FROM dear WHERE item IS NOT NULL;"
    );
    let output = folder().run(&sql, &["--format", "csv"]).success();
    assert_eq!(output.stdout, "n\n4\nitem\na\n");
}

#[test]
fn the_print_sink_prints_rows_as_they_come() {
    let sql =
        format!("{BIDS} CREATE SINK out WITH (connector = 'print') AS SELECT item, price FROM bids WHERE price > 1");
    let output = folder().run(&sql, &["--parallelism", "1"]).success();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", output.stdout);
    assert!(lines[0].contains('b') && lines[0].contains('2'), "{}", output.stdout);
}

#[test]
fn json_is_an_object_a_line() {
    let sql = format!("{BIDS} SELECT item, price FROM bids WHERE price >= 3 ORDER BY price");
    let output = folder().run(&sql, &["--format", "json"]).success();
    let rows: Vec<serde_json::Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, [serde_json::json!({"item": "a", "price": 3}), serde_json::json!({"item": null, "price": 4})]);
}

#[test]
fn a_table_is_for_people() {
    let sql = format!("{BIDS} SELECT item, price FROM bids WHERE price < 3 ORDER BY price");
    let output = folder().run(&sql, &[]).success();
    let expected = "\
+------+-------+
| item | price |
+------+-------+
| a    | 1     |
| b    | 2     |
+------+-------+
";
    assert_eq!(output.stdout, expected);
}

#[test]
fn option_keys_may_be_quoted_and_objects_created_once() {
    let sql = "CREATE TABLE IF NOT EXISTS bids (item VARCHAR, price BIGINT)
                 WITH ('connector' = 'files', \"path\" = 'bids.csv', 'format' = 'csv');
               CREATE TABLE IF NOT EXISTS bids (other INT) WITH (connector = 'files', path = 'x', format = 'csv');
               CREATE VIEW v AS SELECT item FROM bids; DROP VIEW v; DROP VIEW IF EXISTS v;
               CREATE VIEW v AS SELECT price AS p FROM bids;
               SELECT sum(p) AS total FROM v";
    assert_eq!(folder().run(sql, &["--format", "csv"]).success().stdout, "total\n10\n");
}

#[test]
fn barriers_change_no_result() {
    let query = format!(
        "{BIDS} SELECT item, window_start, sum(price) AS total
         FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2 seconds', INTERVAL '6 seconds') GROUP BY item, window_start, window_end"
    );
    let run = |interval: &str, workers: &[&str]| {
        let setting = format!("checkpoint_interval={interval}");
        let arguments = [&["--format", "csv", "--set", &setting, "--set", "source_batch_rows=1"], workers].concat();
        let stdout = folder().run(&query, &arguments).success().stdout;
        sorted_rows(&stdout).join("\n")
    };
    let expected = run("0", &[]);
    assert!(expected.lines().count() > 5, "{expected}");
    assert_eq!(run("1ms", &["--parallelism", "3"]), expected);
    assert_eq!(run("1ms", &["--workers", "2"]), expected);
}

#[test]
fn the_registry_knows_the_models_of_earlier_runs() {
    let rows: String = (0..40).map(|n| format!("2024-01-01 00:{:02}:00,{n},{}\n", n, n % 3 == 0)).collect();
    let folder = Folder::with(&[("rows.csv", &format!("ts,x,late\n{rows}"))]);
    let sql = "CREATE SOURCE rows (ts TIMESTAMP, x DOUBLE, late BOOLEAN, WATERMARK FOR ts AS ts)
                 WITH (connector = 'files', path = 'rows.csv', format = 'csv');
               CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'late', publish_every = '10 minutes') AS
                 SELECT ts, x, late FROM rows;";
    let before = folder.run(&format!("{sql} SHOW MODELS"), &["--data-dir", "data", "--format", "csv"]).success();
    assert_eq!(before.stdout, "name,model_type,version,learnt_to,rows_learnt,metrics\nm,logistic_reg,,,,\n");
    let after = folder.run("SHOW MODELS", &["--data-dir", "data", "--format", "csv"]).success();
    let row = after.stdout.lines().nth(1).unwrap();
    assert!(row.starts_with("m,,4,2024-01-01 00:40:00,40,auc 0."), "{row}");
    // The journal is the truth: without its local copy nothing is lost.
    fs::remove_dir_all(folder.path("data/meta-index")).unwrap();
    let again = folder.run("SHOW MODELS", &["--data-dir", "data", "--format", "csv"]).success();
    assert_eq!(again.stdout, after.stdout);
}

#[test]
fn progress_says_how_far_time_and_the_model_have_come() {
    let rows: String =
        (0..600).map(|n| format!("2024-01-01 00:{:02}:{:02},{n},{}\n", n / 60, n % 60, n % 3 == 0)).collect();
    let folder = Folder::with(&[("rows.csv", &format!("ts,x,late\n{rows}"))]);
    let sql = "CREATE SOURCE rows (ts TIMESTAMP, x DOUBLE, late BOOLEAN, WATERMARK FOR ts AS ts)
                 WITH (connector = 'files', path = 'rows.csv', format = 'csv', rows_per_second = 200);
               CREATE MODEL m WITH (model_type = 'logistic_reg', label = 'late', publish_every = '10 seconds') AS
                 SELECT ts, x, late FROM rows;";
    let output = folder.run(sql, &[]).success();
    assert_eq!(output.stdout, "");
    let line = output.stderr.lines().find(|line| line.contains("model m auc")).expect(&output.stderr);
    for part in ["rows, ", "rows/s, event time 2024-01-01 00:0", "watermark lag 0.0 h"] {
        assert!(line.contains(part), "no '{part}' in: {line}");
    }
    assert!(output.stderr.lines().last().unwrap().starts_with("600 rows in "), "{}", output.stderr);
}
