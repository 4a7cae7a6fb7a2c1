//! Jobs that go on from state which is in many files: one with all of it, and those with what has changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidemill_plans::checkpoint::{Manifest, TaskState};

use crate::command::{Folder, PATIENCE, Run};
use crate::killed::{kill_all, manifests, parts};

/// Keys, of which nearly all come at the beginning and never again.
const KEYS: usize = 3_000;

/// Rows behind them, of few keys.
const ROWS: usize = 24_000;
const BUSY_KEYS: usize = 50;

/// Rows a second: on a busy machine too there are some checkpoints before the end.
const RATE: usize = 2_000;

const SCRIPT: &str = "
    SET checkpoint_interval = '100ms';
    SET update_interval = '50ms';
    SET parallelism = 2;
    CREATE SOURCE rows (k BIGINT, v BIGINT)
      WITH (connector = 'files', path = 'rows.csv', format = 'csv', rows_per_second = {rate});
    CREATE SINK sums WITH (connector = 'files', path = 'sums', format = 'debezium-json') AS
      SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m FROM rows GROUP BY k;
    CREATE SINK pairs WITH (connector = 'files', path = 'pairs', format = 'debezium-json') AS
      SELECT a.k, a.n, b.s FROM (SELECT k, count(*) AS n FROM rows GROUP BY k) AS a
        LEFT JOIN (SELECT k, sum(v) AS s FROM rows WHERE v % 2 = 0 GROUP BY k) AS b ON a.k = b.k;";

/// The value of each row; its key comes from its number.
fn rows() -> impl Iterator<Item = (usize, usize)> {
    let key = |row: usize| if row < KEYS { row } else { row * 7 % BUSY_KEYS };
    (0..KEYS + ROWS).map(move |row| (key(row), row * 31 % 1000))
}

/// The states of the newest checkpoint.
fn newest(folder: &Folder) -> Vec<TaskState> {
    let newest = manifests(folder).pop().and_then(|path| fs::read(path).ok());
    let manifest = newest.and_then(|bytes| Manifest::from_bytes(&bytes, "the newest").ok());
    manifest.into_iter().flat_map(|manifest| manifest.tasks).map(|(_, state)| state).collect()
}

/// Waits until the newest checkpoint has a chain that is as it should be.
#[track_caller]
fn wait_for_chain(folder: &Folder, is_it: impl Fn(&TaskState) -> bool) {
    for _ in 0..PATIENCE.as_millis() / 5 {
        if newest(folder).iter().any(&is_it) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("no such chain among {:?}", newest(folder));
}

/// The attempts that the files of a state are of.
fn attempts(state: &TaskState) -> BTreeSet<&str> {
    state.files.iter().filter_map(|file| file.path.rsplit('/').next()?.split('-').next()).collect()
}

/// What the changes of a sink add up to: each row's columns by its key.
fn merged(folder: &Folder, sink: &str, columns: &[&str]) -> BTreeMap<u64, Vec<Value>> {
    let mut rows = BTreeMap::new();
    let parts = parts(folder, sink);
    let epochs: BTreeSet<u64> = parts.iter().map(|(epoch, _)| *epoch).collect();
    for epoch in epochs {
        for line in parts.iter().filter(|(of, _)| *of == epoch).flat_map(|(_, text)| text.lines()) {
            let change: Value = serde_json::from_str(line).unwrap();
            let side = |side: &str| {
                let row = &change[side];
                Some((row["k"].as_u64()?, columns.iter().map(|column| row[*column].clone()).collect::<Vec<Value>>()))
            };
            if let Some((key, row)) = side("before") {
                assert_eq!(rows.remove(&key), Some(row), "taken back: {line}");
            }
            if let Some((key, row)) = side("after") {
                assert_eq!(rows.insert(key, row), None, "there before: {line}");
            }
        }
    }
    rows
}

#[test]
fn a_job_goes_on_from_many_files_of_several_attempts_as_if_nothing_had_been() {
    let text: String = rows().map(|(key, value)| format!("{key},{value}\n")).collect();
    let folder = Folder::with(&[("rows.csv", &format!("k,v\n{text}"))]);
    let mut run = folder.start(&SCRIPT.replace("{rate}", &RATE.to_string()), &["--workers", "2", "--data-dir", "meta"]);
    for before in 0..2 {
        wait_for_chain(&folder, |state| state.files.len() > 3 && attempts(state).len() > before);
        kill_all(&run);
        run = Run::start(&folder.path(""), &["resume", "--workers", "2", "--data-dir", "meta"]);
    }
    run.output(PATIENCE).success();
    let (mut sums, mut even) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in rows() {
        let (n, s, m) = sums.entry(key as u64).or_insert((0, 0, 0));
        (*n, *s, *m) = (*n + 1, *s + value, (*m).max(value));
        if value % 2 == 0 {
            *even.entry(key as u64).or_insert(0) += value;
        }
    }
    let right: BTreeMap<u64, Vec<Value>> =
        sums.iter().map(|(k, (n, s, m))| (*k, vec![(*k).into(), (*n).into(), (*s).into(), (*m).into()])).collect();
    assert!(merged(&folder, "sums", &["k", "n", "s", "m"]) == right, "sums");
    let pair = |(k, (n, ..)): (&u64, &(usize, usize, usize))| {
        (*k, vec![(*k).into(), (*n).into(), even.get(k).copied().map_or(Value::Null, Value::from)])
    };
    let right: BTreeMap<u64, Vec<Value>> = sums.iter().map(pair).collect();
    assert!(merged(&folder, "pairs", &["k", "n", "s"]) == right, "pairs");
}
