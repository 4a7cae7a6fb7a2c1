//! Savepoints of earlier formats: each release reads all of them.
//!
//! `tests/savepoints/N` has a savepoint of format N, taken of a job that had read half of its input, with the input,
//! the script, and the rows that a job from there writes. What is there is never written anew: a new format gets a new
//! folder, by the ignored test below.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Folder, PATIENCE};
use crate::killed::{files, wait_for_commits};

/// The newest format.
const FORMAT: u32 = 1;

/// The sinks of the script.
const SINKS: &[&str] = &[
    "totals",
    "windows",
    "sessions",
    "matched",
    "priced",
    "ranked",
    "newest",
    "moving",
    "running",
    "latest",
    "predicted",
];

const ROWS: u64 = 600;

/// A job that keeps state of every kind.
const SCRIPT: &str = "
CREATE SOURCE sales (id BIGINT, item VARCHAR, price DOUBLE, late BOOLEAN, ts TIMESTAMP,
                     WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
  WITH (connector = 'files', path = 'sales.csv', format = 'csv'PACE);
CREATE SOURCE prices (item VARCHAR, price DOUBLE, valid TIMESTAMP, WATERMARK FOR valid AS valid)
  WITH (connector = 'files', path = 'prices.csv', format = 'csv'PACE);
CREATE SOURCE stock (item VARCHAR, pieces BIGINT, PRIMARY KEY (item) NOT ENFORCED)
  WITH (connector = 'files', path = 'stock.json', format = 'upsert-json'PACE);
CREATE SINK totals WITH (connector = 'files', path = 'totals', format = 'debezium-json') AS
  SELECT item, count(*) AS n, sum(price) AS total, min(price) AS least, max(id) AS last,
         count(DISTINCT price) AS prices, avg(price) AS mean FROM sales GROUP BY item;
CREATE SINK windows WITH (connector = 'files', path = 'windows', format = 'csv') AS
  SELECT window_end, item, count(*) AS n, sum(price) AS total
  FROM HOP(TABLE sales, DESCRIPTOR(ts), INTERVAL '10 seconds', INTERVAL '30 seconds')
  GROUP BY window_start, window_end, item;
CREATE SINK sessions WITH (connector = 'files', path = 'sessions', format = 'csv') AS
  SELECT item, window_start, window_end, count(*) AS n
  FROM SESSION(TABLE sales PARTITION BY item, DESCRIPTOR(ts), INTERVAL '4 seconds')
  GROUP BY item, window_start, window_end;
CREATE SINK matched WITH (connector = 'files', path = 'matched', format = 'csv') AS
  SELECT a.id, b.id AS next FROM sales a JOIN sales b
    ON a.item = b.item AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '3 seconds' AND a.price < b.price;
CREATE SINK priced WITH (connector = 'files', path = 'priced', format = 'csv') AS
  SELECT s.id, p.price FROM sales s LEFT JOIN prices FOR SYSTEM_TIME AS OF s.ts AS p ON p.item = s.item;
CREATE SINK ranked WITH (connector = 'files', path = 'ranked', format = 'debezium-json') AS
  SELECT item, id, price, rank FROM (SELECT item, id, price, ROW_NUMBER() OVER (PARTITION BY item ORDER BY price, id) AS rank
                                     FROM sales) WHERE rank <= 3;
CREATE SINK newest WITH (connector = 'files', path = 'newest', format = 'debezium-json') AS
  SELECT item, id, late FROM (SELECT item, id, late, ROW_NUMBER() OVER (PARTITION BY item ORDER BY ts DESC) AS rank
                              FROM sales) WHERE rank = 1;
CREATE SINK moving WITH (connector = 'files', path = 'moving', format = 'csv') AS
  SELECT id, sum(price) OVER (PARTITION BY item ORDER BY ts ROWS BETWEEN 5 PRECEDING AND CURRENT ROW) AS total FROM sales;
CREATE SINK running WITH (connector = 'files', path = 'running', format = 'debezium-json') AS
  SELECT item, n, sum(n) OVER (ORDER BY item) AS upto FROM (SELECT item, count(*) AS n FROM sales GROUP BY item);
CREATE SINK latest WITH (connector = 'files', path = 'latest', format = 'debezium-json') AS
  SELECT s.item, s.pieces, t.n FROM stock s JOIN (SELECT item, count(*) AS n FROM sales GROUP BY item) t ON s.item = t.item;
CREATE MODEL lateness WITH (model_type = 'logistic_reg', label = 'late', publish_every = '10 seconds') AS
  SELECT ts, late, item, price FROM sales;
CREATE SINK predicted WITH (connector = 'files', path = 'predicted', format = 'csv') AS
  SELECT id, predicted_late_prob, model_version FROM ML.PREDICT(MODEL lateness, TABLE sales);
";

fn script(settings: &str, pace: &str) -> String {
    format!("SET checkpoint_interval = '100ms';\n{settings}{}", SCRIPT.replace("PACE", pace))
}

fn folder_of(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/savepoints/{format}"))
}

fn time(tenths: u64) -> String {
    format!("2024-01-01 00:{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// Made of the rows' numbers alone.
fn input() -> Folder {
    let sale = |n: u64| {
        let (item, price) = (n * 7 % 11, (n * n * 13 % 97) as f64 / 4.0);
        format!("{n},i{item},{price},{},{}\n", (n * n + item).is_multiple_of(3), time(n * 2 + 10 - n * 5 % 9))
    };
    let price = |n: u64| format!("i{},{},{}\n", n % 11, n as f64 / 2.0, time(n * 20));
    let stock = |n: u64| match n % 17 {
        16 => format!("{{\"key\":{{\"item\":\"i{}\"}},\"value\":null}}\n", n % 11),
        _ => format!("{{\"key\":{{\"item\":\"i{0}\"}},\"value\":{{\"item\":\"i{0}\",\"pieces\":{n}}}}}\n", n % 11),
    };
    let lines = |count: u64, line: &dyn Fn(u64) -> String| (0..count).map(line).collect::<String>();
    Folder::with(&[
        ("sales.csv", &format!("id,item,price,late,ts\n{}", lines(ROWS, &sale))),
        ("prices.csv", &format!("item,price,valid\n{}", lines(ROWS / 10, &price))),
        ("stock.json", &lines(ROWS / 10, &stock)),
    ])
}

/// The lines of all sinks, sorted, without headers.
fn written(folder: &Folder) -> String {
    let mut lines = Vec::new();
    for sink in SINKS {
        for part in files(folder, sink) {
            let text = folder.read(&format!("{sink}/{part}"));
            let skipped = usize::from(part.ends_with("csv"));
            lines.extend(text.lines().skip(skipped).map(|line| format!("{sink}: {line}\n")));
        }
    }
    lines.sort();
    lines.concat()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What changes add up to: rows that were taken back are gone.
fn net(lines: &str) -> Vec<String> {
    let mut rows = std::collections::BTreeMap::<String, i64>::new();
    for line in lines.lines() {
        let (sink, row) = line.split_once(": ").unwrap();
        match serde_json::from_str::<serde_json::Value>(row) {
            Ok(change) if change.is_object() => {
                for (side, by) in [("before", -1), ("after", 1)] {
                    if !change[side].is_null() {
                        *rows.entry(format!("{sink}: {}", change[side])).or_default() += by;
                    }
                }
            }
            _ => *rows.entry(line.to_owned()).or_default() += 1,
        }
    }
    rows.into_iter().filter(|(_, count)| *count != 0).map(|(row, count)| format!("{count} {row}")).collect()
}

/// A job from a savepoint that lies in a folder; what it writes.
fn go_on(folder: &Folder, parallelism: &str) -> String {
    let script = script("SET from_savepoint = 'saved';\n", "");
    folder.run(&script, &["--parallelism", parallelism, "--data-dir", "meta"]).success();
    written(folder)
}

#[test]
fn savepoints_of_every_format_are_read() {
    for format in 1..=FORMAT {
        for parallelism in ["2", "3"] {
            let folder = Folder::new();
            copy(&folder_of(format), &folder.path(""));
            let found = net(&go_on(&folder, parallelism));
            let expected = net(&folder.read("expected.txt"));
            assert_eq!(found, expected, "format {format}, parallelism {parallelism}");
        }
    }
}

#[test]
#[ignore = "writes a savepoint of a new format into tests/savepoints; cargo test --test it formats -- --ignored"]
fn writes_a_savepoint_of_the_newest_format() {
    let target = folder_of(FORMAT);
    assert!(!target.exists(), "{} is never written anew", target.display());
    let whole = input();
    whole.run(&script("", ""), &["--parallelism", "2", "--data-dir", "meta"]).success();

    let folder = input();
    let pace = ", rows_per_second = 200";
    folder.write("first.sql", script("SET parallelism = 2;\n", pace));
    let mut shell = folder.open_shell(&["--data-dir", "first"]);
    shell.say("\\i first.sql");
    wait_for_commits(&folder, "windows", 4);
    shell.stop_with_savepoint("windows", "saved");
    shell.output(PATIENCE).success();
    let before = written(&folder);

    let second = input();
    copy(&folder.path("saved"), &second.path("saved"));
    let after = go_on(&second, "2");
    assert_eq!(net(&(before + &after)), net(&written(&whole)), "nothing is lost or doubled");
    copy(&folder.path("saved"), &target.join("saved"));
    for name in ["sales.csv", "prices.csv", "stock.json"] {
        fs::copy(folder.path(name), target.join(name)).unwrap();
    }
    fs::write(target.join("expected.txt"), after).unwrap();
}
