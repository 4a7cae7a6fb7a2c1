//! Several INSERTs into one sink of files, at a time and one after the other: none takes the place of another's rows.

use std::collections::BTreeMap;
use std::fs;

use crate::command::PATIENCE;
use crate::flight_sql::{Served, connect, serve};

const STREAM: &str = "
    CREATE SOURCE s (id BIGINT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
      WITH (connector = 'files', path = 's.csv', format = 'csv', rows_per_second = 1000)";

const SINK: &str = "CREATE SINK kept (id BIGINT, p DOUBLE) WITH (connector = 'files', path = 'kept', format = 'csv')";

fn served() -> Served {
    let mut served = Served::start();
    let rows: String = (0..600).map(|n| format!("{n},2024-01-01 00:{:02}:{:02}\n", n / 60, n % 60)).collect();
    fs::write(served.folder.path("s.csv"), format!("id,ts\n{rows}")).unwrap();
    served.ask(&format!("{STREAM}; {SINK}"));
    served
}

/// How many rows the sink has of each value of `p`.
fn counts(served: &Served) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(served.folder.path("kept")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        for row in fs::read_to_string(path).unwrap().lines().skip(1) {
            *counts.entry(row.split(',').nth(1).unwrap().to_owned()).or_default() += 1;
        }
    }
    counts
}

fn all(values: &[(&str, usize)]) -> BTreeMap<String, usize> {
    values.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect()
}

#[test]
fn inserts_add_their_rows() {
    let mut served = served();
    served.ask("INSERT INTO kept SELECT id, 1.0 AS p FROM s");
    served.ask("INSERT INTO kept SELECT id, 2.0 AS p FROM s");
    served.wait_for_jobs(&[]);
    assert_eq!(counts(&served), all(&[("1.0", 600), ("2.0", 600)]));
    // Of a query that runs as a whole, and of rows that stand in the statement.
    served.ask("INSERT INTO kept SELECT 7 AS id, 3.0 AS p UNION ALL SELECT 8, 3.0");
    served.ask("INSERT INTO kept VALUES (9, 4.0)");
    served.wait_for_jobs(&[]);
    assert_eq!(counts(&served), all(&[("1.0", 600), ("2.0", 600), ("3.0", 2), ("4.0", 1)]));
    served.end();
}

#[test]
fn an_insert_that_goes_on_elsewhere_writes_each_row_once() {
    let mut served = served();
    served.ask("INSERT INTO kept SELECT 1 AS id, 9.0 AS p");
    served.ask("SET checkpoint_interval = '100ms'; INSERT INTO kept SELECT id, 1.0 AS p FROM s");
    for _ in 0..3 {
        served.server.signal("KILL");
        served.server.wait_killed();
        served.server = serve(&served.folder, served.port);
        served.client = connect(&served.runtime, served.port);
    }
    served.wait_for_jobs(&[]);
    assert_eq!(counts(&served), all(&[("1.0", 600), ("9.0", 1)]));
    served.server.signal("TERM");
    served.server.output(PATIENCE).success();
}
