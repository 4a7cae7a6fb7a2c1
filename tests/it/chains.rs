//! Jobs that go on from state which is in many files: one with all of it, and those with what has changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidemill_plans::checkpoint::{Manifest, TaskState};

use crate::command::{Folder, PATIENCE, Run};
use crate::killed::{complete_parts, kill_all, manifests};

/// Keys, of which nearly all come at the beginning and never again.
const KEYS: usize = 3_000;

/// Rows that come later, all of few keys: so many in a file.
const LATER_ROWS: usize = 500;
const BUSY_KEYS: usize = 50;

/// How often everybody is killed, and how many files come before each time.
const KILLS: usize = 2;
const FILES: usize = 4;

const SCRIPT: &str = "
    SET checkpoint_interval = '100ms';
    SET update_interval = '50ms';
    SET parallelism = 2;
    CREATE SOURCE rows (k BIGINT, v BIGINT)
      WITH (connector = 'files', path = 'rows/*.csv', format = 'csv', watch = '50ms');
    CREATE SINK sums WITH (connector = 'files', path = 'sums', format = 'debezium-json') AS
      SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m FROM rows GROUP BY k;
    CREATE SINK pairs WITH (connector = 'files', path = 'pairs', format = 'debezium-json') AS
      SELECT a.k, a.n, b.s FROM (SELECT k, count(*) AS n FROM rows GROUP BY k) AS a
        LEFT JOIN (SELECT k, sum(v) AS s FROM rows WHERE v % 2 = 0 GROUP BY k) AS b ON a.k = b.k;";

/// The keys and values of a file; the first one has all keys.
fn rows(file: usize) -> impl Iterator<Item = (usize, usize)> {
    let (rows, first) = if file == 0 { (KEYS, 0) } else { (LATER_ROWS, file * LATER_ROWS) };
    (first..first + rows).map(move |row| (if file == 0 { row } else { row * 7 % BUSY_KEYS }, row * 31 % 1000))
}

/// Has the job read one more file, which comes at once.
fn write(folder: &Folder, file: usize) {
    let text: String = rows(file).map(|(key, value)| format!("{key},{value}\n")).collect();
    folder.write("rows.part", format!("k,v\n{text}"));
    fs::rename(folder.path("rows.part"), folder.path(&format!("rows/{file}.csv"))).unwrap();
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
    let parts = complete_parts(folder, sink);
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

/// What the sinks are to have once so many files have been read.
fn right(files: usize) -> [BTreeMap<u64, Vec<Value>>; 2] {
    let (mut sums, mut even) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in (0..files).flat_map(rows) {
        let (n, s, m) = sums.entry(key as u64).or_insert((0, 0, 0));
        (*n, *s, *m) = (*n + 1, *s + value, (*m).max(value));
        if value % 2 == 0 {
            *even.entry(key as u64).or_insert(0) += value;
        }
    }
    let sum =
        |(k, (n, s, m)): (&u64, &(usize, usize, usize))| (*k, vec![(*k).into(), (*n).into(), (*s).into(), (*m).into()]);
    let pair = |(k, (n, ..)): (&u64, &(usize, usize, usize))| {
        (*k, vec![(*k).into(), (*n).into(), even.get(k).copied().map_or(Value::Null, Value::from)])
    };
    [sums.iter().map(sum).collect(), sums.iter().map(pair).collect()]
}

#[test]
fn a_job_goes_on_from_many_files_of_several_attempts_as_if_nothing_had_been() {
    let folder = Folder::new();
    fs::create_dir(folder.path("rows")).unwrap();
    write(&folder, 0);
    let mut run = folder.start(SCRIPT, &["--workers", "2", "--data-dir", "meta"]);
    for kill in 0..KILLS {
        for file in 1..=FILES {
            write(&folder, kill * FILES + file);
            wait_for_chain(&folder, |state| state.files.len() > file && attempts(state).len() > kill);
        }
        kill_all(&run);
        run = Run::start(&folder.path(""), &["resume", "--workers", "2", "--data-dir", "meta"]);
    }
    let right = right(1 + KILLS * FILES);
    for _ in 0..PATIENCE.as_millis() / 50 {
        if [merged(&folder, "sums", &["k", "n", "s", "m"]), merged(&folder, "pairs", &["k", "n", "s"])] == right {
            return kill_all(&run);
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the sinks have something else than the rows add up to");
}
