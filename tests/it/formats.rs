//! Files in every format, changes in files, and folders that files come into.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::command::{Folder, PATIENCE, sorted_rows};

/// Events of a key each, every seventh one without a value.
const EVENTS: &str =
    "CREATE SOURCE events (ts TIMESTAMP, k BIGINT, v BIGINT, price DOUBLE, name VARCHAR, WATERMARK FOR ts AS ts)
    WITH (connector = 'files', path = 'events.csv', format = 'csv');";

/// An updating answer: keys come and go as their counts grow.
const ANSWER: &str = "SELECT k, count(*) AS n, sum(v) AS total, max(ts) AS newest FROM events GROUP BY k \
                      HAVING count(*) < 30 OR k > 3";

fn events() -> Folder {
    let mut rows = String::from("ts,k,v,price,name\n");
    for n in 0..300 {
        let value = if n % 7 == 0 { String::new() } else { format!("{}", n * 3 - 100) };
        let time = format!("2024-01-01 00:{:02}:{:02}", n / 60, n % 60);
        rows.push_str(&format!("{time},{},{value},{}.5,name-{}\n", n * n % 13, n, n % 11));
    }
    Folder::with(&[("events.csv", &rows)])
}

/// Ways of running in which changes come one by one, or together.
const SPREADS: [&[&str]; 3] = [
    &["--parallelism", "1", "--set", "source_batch_rows=1", "--set", "update_interval=0"],
    &["--parallelism", "3", "--set", "source_batch_rows=7", "--set", "update_interval=0"],
    &["--workers", "2"],
];

fn answer(folder: &Folder, sql: &str, spread: &[&str]) -> Vec<String> {
    sorted_rows(&folder.run(sql, &[&["--format", "csv"], spread].concat()).success().stdout)
        .into_iter()
        .map(String::from)
        .collect()
}

#[test]
fn what_one_script_writes_another_reads_in_every_format() {
    for format in ["parquet", "arrow", "avro", "csv", "json"] {
        let folder = events();
        let write = format!(
            "{EVENTS} CREATE SINK kept WITH (connector = 'files', path = 'kept', format = '{format}') AS
             SELECT ts, k, v, price, name FROM events WHERE k <> 3;"
        );
        folder.run(&write, &[]).success();
        let query = "SELECT * FROM events WHERE k <> 3";
        let read = EVENTS.replace("'events.csv'", "'kept'").replace("'csv'", &format!("'{format}'"));
        let wanted = answer(&folder, &format!("{EVENTS} {query}"), &[]);
        assert!(wanted.len() > 200);
        for spread in SPREADS {
            assert_eq!(answer(&folder, &format!("{read} {query}"), spread), wanted, "{format}");
        }
    }
}

#[test]
fn an_updating_answer_survives_envelopes() {
    let folder = events();
    let wanted = answer(&folder, &format!("{EVENTS} {ANSWER}"), &[]);
    assert_eq!(wanted.len(), 5);
    let read = "CREATE SOURCE changes (k BIGINT NOT NULL, n BIGINT, total BIGINT, newest TIMESTAMP)
        WITH (connector = 'files', path = 'out', format = 'debezium-json');";
    let keyed = read.replace("newest TIMESTAMP", "newest TIMESTAMP, PRIMARY KEY (k) NOT ENFORCED");
    for spread in SPREADS {
        let write = format!(
            "{EVENTS} CREATE SINK out WITH (connector = 'files', path = 'out', format = 'debezium-json') AS {ANSWER};"
        );
        folder.run(&write, spread).success();
        let lines = folder.read("out/part-0.json").lines().count();
        assert!(spread.contains(&"--workers") || lines > 100, "{lines} changes are no changelog to speak of");
        for source in [read, &keyed] {
            assert_eq!(answer(&folder, &format!("{source} SELECT * FROM changes"), spread), wanted);
        }
        let sums = "SELECT count(*) AS rows_left, sum(n) AS n FROM changes WHERE total > 0";
        let direct = format!("{EVENTS} CREATE VIEW changes AS {ANSWER}; {sums}");
        assert_eq!(answer(&folder, &format!("{read} {sums}"), spread), answer(&folder, &direct, &[]));
    }
}

#[test]
fn the_last_rows_of_keys_are_the_answer() {
    let folder = events();
    let sql = format!(
        "{EVENTS} CREATE SINK out (PRIMARY KEY (k) NOT ENFORCED)
           WITH (connector = 'files', path = 'out', format = 'upsert-json') AS {ANSWER};
         CREATE SINK declared (id BIGINT, n BIGINT, total BIGINT, newest TIMESTAMP, PRIMARY KEY (id) NOT ENFORCED)
           WITH (connector = 'files', path = 'declared', format = 'upsert-json');
         INSERT INTO declared {ANSWER};"
    );
    let wanted = answer(&folder, &format!("{EVENTS} SELECT k, n, total FROM ({ANSWER})"), &[]);
    for spread in SPREADS {
        folder.run(&sql, spread).success();
        for (file, key) in [("out/part-0.json", "k"), ("declared/part-0.json", "id")] {
            let mut last = BTreeMap::new();
            for line in folder.read(file).lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                last.insert(line["key"][key].as_i64().unwrap(), line["value"].clone());
            }
            let rows = last.values().filter(|row| !row.is_null());
            let mut rows: Vec<String> = rows.map(|row| format!("{},{},{}", row[key], row["n"], row["total"])).collect();
            rows.sort_unstable();
            assert_eq!(rows, wanted, "{file}");
        }
    }
}

#[test]
fn the_last_rows_of_keys_are_read_back_as_the_answer() {
    let folder = events();
    let wanted = answer(&folder, &format!("{EVENTS} {ANSWER}"), &[]);
    let read =
        "CREATE SOURCE rows (k BIGINT NOT NULL, n BIGINT, total BIGINT, newest TIMESTAMP, PRIMARY KEY (k) NOT ENFORCED)
        WITH (connector = 'files', path = 'out', format = 'upsert-json');";
    let sums = "SELECT count(*) AS rows_left, sum(n) AS n, max(newest) AS newest FROM rows WHERE total > 0";
    let direct = answer(&folder, &format!("{EVENTS} CREATE VIEW rows AS {ANSWER}; {sums}"), &[]);
    for spread in SPREADS {
        let write = format!(
            "{EVENTS} CREATE SINK out (PRIMARY KEY (k) NOT ENFORCED)
               WITH (connector = 'files', path = 'out', format = 'upsert-json') AS {ANSWER};"
        );
        folder.run(&write, spread).success();
        assert_eq!(answer(&folder, &format!("{read} SELECT * FROM rows"), spread), wanted);
        assert_eq!(answer(&folder, &format!("{read} {sums}"), spread), direct);
        // And once more through files: what was read has a key itself.
        let copy = format!(
            "{read} CREATE SINK copy (PRIMARY KEY (k) NOT ENFORCED)
               WITH (connector = 'files', path = 'copy', format = 'upsert-json') AS SELECT * FROM rows;"
        );
        folder.run(&copy, spread).success();
        let copied = read.replace("'out'", "'copy'");
        assert_eq!(answer(&folder, &format!("{copied} SELECT * FROM rows"), spread), wanted);
    }
}

#[test]
fn the_last_line_of_a_key_counts_in_whichever_file_it_is() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    let files = [
        ("in/b.json", "{\"key\":{\"k\":1},\"value\":null}\n{\"key\":{\"k\":2},\"value\":{\"k\":2,\"v\":20}}\n"),
        (
            "in/a.json",
            "{\"key\":{\"k\":1},\"value\":{\"k\":1,\"v\":10}}\n{\"key\":{\"k\":2},\"value\":{\"k\":2,\"v\":21}}\n\
             {\"key\":{\"k\":3},\"value\":null}\nno json\n",
        ),
        (
            "in/c.json",
            "{\"key\":{\"k\":1},\"value\":{\"k\":1,\"v\":11}}\n{\"key\":{\"k\":3},\"value\":{\"k\":3,\"v\":30}}\n",
        ),
    ];
    files.iter().for_each(|(name, lines)| folder.write(name, lines));
    let sql = "CREATE SOURCE rows (k BIGINT, v BIGINT, next AS (v + 1), PRIMARY KEY (k) NOT ENFORCED)
                 WITH (connector = 'files', path = 'in', format = 'upsert-json');
               SELECT * FROM rows";
    for spread in SPREADS {
        assert_eq!(answer(&folder, sql, spread), ["1,11,12", "2,20,21", "3,30,31"]);
    }
}

#[test]
fn bad_envelopes_are_dead_letters_with_their_lines() {
    let folder = Folder::with(&[(
        "changes.json",
        "{\"before\":null,\"after\":{\"k\":1,\"n\":2},\"op\":\"c\"}\n{\"k\":1}\n\
         {\"before\":{\"k\":1,\"n\":2},\"after\":{\"k\":1,\"n\":5},\"op\":\"u\"}\nno json\n",
    )]);
    let sql = "CREATE SOURCE changes (k BIGINT, n BIGINT)
                 WITH (connector = 'files', path = 'changes.json', format = 'debezium-json');
               SELECT k, sum(n) AS n FROM changes GROUP BY k";
    let output = folder.run(sql, &["--format", "csv", "--set", "dead_letter_path=letters.jsonl"]).success();
    assert_eq!(output.stdout, "k,n\n1,5\n");
    let letters = folder.read("letters.jsonl");
    assert!(letters.contains("changes.json:2: ") && letters.contains("changes.json:4: no json"), "{letters}");
    assert_eq!(letters.lines().count(), 2, "{letters}");
}

const ARRIVALS: &str = "CREATE SOURCE arrivals (ts TIMESTAMP, item VARCHAR, price BIGINT, WATERMARK FOR ts AS ts)
    WITH (connector = 'files', path = 'in', format = 'json', watch = '20ms', idle_timeout = '200ms');";

fn arrive(folder: &Folder, name: &str, second: u32, item: &str) {
    let line = format!("{{\"ts\": \"2024-01-01 00:00:{second:02}\", \"item\": \"{item}\", \"price\": {second}}}\n");
    folder.write(&format!("in/{name}.inprogress"), line);
    fs::rename(folder.path(&format!("in/{name}.inprogress")), folder.path(&format!("in/{name}"))).unwrap();
}

#[test]
fn a_watched_folder_is_read_until_an_interrupt() {
    for spread in [&["--parallelism", "1"][..], &["--parallelism", "3"], &["--workers", "2"]] {
        let folder = Folder::new();
        fs::create_dir(folder.path("in")).unwrap();
        let sql = format!(
            "{ARRIVALS} CREATE SINK kept WITH (connector = 'files', path = 'kept', format = 'csv') AS
                SELECT item, price FROM arrivals;
             CREATE SINK windows WITH (connector = 'print') AS
                SELECT window_end, count(*) AS n FROM TUMBLE(TABLE arrivals, DESCRIPTOR(ts), INTERVAL '10 seconds')
                GROUP BY window_start, window_end;
             CREATE SINK items WITH (connector = 'print') AS SELECT item FROM arrivals;"
        );
        arrive(&folder, "a.json", 1, "early");
        let run = folder.start(&sql, spread);
        run.wait_for_row("early");
        arrive(&folder, "b.json", 5, "second");
        run.wait_for_row("second");
        // Closes the window of the others, though not every subtask has had a file: they are idle.
        arrive(&folder, "c.json", 15, "late");
        run.wait_for_row("2024-01-01T00:00:10");
        run.signal("INT");
        let output = run.output(if cfg!(debug_assertions) { PATIENCE } else { Duration::from_secs(2) });
        assert_eq!(output.status, Some(130), "stderr:\n{}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "stderr:\n{}", output.stderr);
        assert_eq!(folder.read("kept/part-0.csv"), "item,price\nearly,1\nsecond,5\nlate,15\n", "{spread:?}");
    }
}
