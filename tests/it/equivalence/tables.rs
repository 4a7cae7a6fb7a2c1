//! Small tables with NULLs, duplicates, and rows that come as late as the watermark allows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::Strategy;

use super::relations::{Column, Kind};
use crate::command::Folder;
use crate::oracle::Oracle;

/// The sources of the tables, each in a line: two with event time, and one without. Their files are in a folder,
/// and `options` are more of WITH.
pub(super) fn sources(folder: &str, options: &str) -> String {
    let source = |name: &str, time: &str, watermark: &str| {
        format!(
            "CREATE SOURCE {name} ({time}k BIGINT, g VARCHAR, v BIGINT, f DOUBLE{watermark}) \
             WITH (connector = 'files', path = '{folder}{name}.csv', format = 'csv'{options});\n"
        )
    };
    let timed = |name| source(name, "ts TIMESTAMP, ", ", WATERMARK FOR ts AS ts - INTERVAL '5 seconds'");
    [timed("l"), timed("r"), source("n", "", "")].concat()
}

/// 2024-01-01 00:00:00, in seconds.
const START: i64 = 1_704_067_200;
const LATENESS_MAX_MS: i64 = 5_000;

/// A row, in the order in which it is read.
#[derive(Debug, Clone)]
struct Row {
    /// How much later the newest row so far is than the one before it.
    step_ms: i64,
    /// How much older this row is than the newest one.
    late_ms: i64,
    k: Option<i64>,
    g: Option<usize>,
    v: Option<i64>,
    /// Quarters, so that sums of floats are exact in any order.
    f: Option<i64>,
}

/// The rows of all tables.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    tables: [(&'static str, Vec<Row>); 3],
}

fn rows(count: Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    let time = ((0..8i64).prop_map(|steps| steps * 500), (0..=LATENESS_MAX_MS / 500).prop_map(|steps| steps * 500));
    let values = (option::weighted(0.8, 0..4i64), option::weighted(0.8, 0..3usize));
    let numbers = (option::weighted(0.8, -4..8i64), option::weighted(0.8, -6..10i64));
    let row =
        (time, values, numbers).prop_map(|((step_ms, late_ms), (k, g), (v, f))| Row { step_ms, late_ms, k, g, v, f });
    vec(row, count)
}

/// Tables of which those with event time have so many rows.
pub(super) fn tables(count: Range<usize>) -> impl Strategy<Value = Tables> {
    (rows(count.clone()), rows(count), rows(0..12))
        .prop_map(|(l, r, n)| Tables { tables: [("l", l), ("r", r), ("n", n)] })
}

/// The columns of a table.
pub(super) fn columns(table: &str) -> Vec<Column> {
    let known = [("ts", Kind::Time), ("k", Kind::Int), ("g", Kind::Text), ("v", Kind::Int), ("f", Kind::Float)];
    let columns = known.into_iter().filter(|(name, _)| table != "n" || *name != "ts");
    columns.map(|(name, kind)| Column { name: name.to_owned(), kind }).collect()
}

impl Tables {
    /// Writes each table's CSV file.
    pub(super) fn write_to(&self, folder: &Folder) {
        for (name, rows) in &self.tables {
            folder.write(&format!("{name}.csv"), csv(name, rows));
        }
    }

    /// Adds each table to the oracle.
    pub(super) fn add_to(&self, oracle: &Oracle) {
        for (name, rows) in &self.tables {
            oracle.add_table(name, vec![batch(name, rows)]);
        }
    }

    /// The tables as text.
    pub(super) fn shown(&self) -> String {
        self.tables.iter().map(|(name, rows)| format!("{name}:\n{}", csv(name, rows))).collect()
    }
}

/// The event times of rows in microseconds.
fn times(rows: &[Row]) -> Vec<i64> {
    let mut newest_ms = START * 1000;
    let times = rows.iter().map(|row| {
        newest_ms += row.step_ms;
        (newest_ms - row.late_ms) * 1000
    });
    times.collect()
}

fn text(g: usize) -> &'static str {
    ["a", "b", "ab"][g]
}

fn csv(table: &str, rows: &[Row]) -> String {
    let batch = batch(table, rows);
    let mut csv = Vec::new();
    arrow::csv::WriterBuilder::new().with_header(true).build(&mut csv).write(&batch).unwrap();
    String::from_utf8(csv).unwrap()
}

fn batch(table: &str, rows: &[Row]) -> RecordBatch {
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times(rows)));
    let k: ArrayRef = Arc::new(rows.iter().map(|row| row.k).collect::<Int64Array>());
    let g: ArrayRef = Arc::new(rows.iter().map(|row| row.g.map(text)).collect::<StringArray>());
    let v: ArrayRef = Arc::new(rows.iter().map(|row| row.v).collect::<Int64Array>());
    let f: ArrayRef = Arc::new(rows.iter().map(|row| row.f.map(|f| f as f64 / 4.0)).collect::<Float64Array>());
    let columns = [("ts", times), ("k", k), ("g", g), ("v", v), ("f", f)];
    let columns = columns.into_iter().filter(|(name, _)| table != "n" || *name != "ts");
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}
