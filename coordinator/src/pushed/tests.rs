//! Logs: what is written is read, also when the writer was killed, and rows fit or are refused.

use std::fs::{self, OpenOptions};
use std::io::Write;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use tidemill_plans::pushed::{LogReader, Mark, segment_path};

use super::*;
use crate::testing::run;

fn rows(values: std::ops::Range<i64>) -> Vec<Batch> {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    vec![Batch { rows: RecordBatch::try_from_iter([("a", values)]).unwrap(), mark: None }]
}

/// The same, of a client that numbers them.
fn numbered(id: &str, sequence: u64, values: std::ops::Range<i64>) -> Vec<Batch> {
    let mark = Some(Mark { id: id.to_owned(), sequence });
    rows(values).into_iter().map(|batch| Batch { mark: mark.clone(), ..batch }).collect()
}

fn read(folder: &Path) -> Vec<i64> {
    let mut reader = LogReader::new(folder.to_owned(), Place::default());
    let mut values = Vec::new();
    while let Some(rows) = reader.next_rows().unwrap() {
        values.extend(rows.column(0).as_primitive::<Int64Type>().values());
    }
    values
}

#[test]
fn what_is_acknowledged_is_there_for_the_next_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let log_folder = folder.path().join("s%20%2e");
    run(async {
        let logs = PushedLogs::new(Some(folder.path().to_owned()));
        assert!(logs.open_log("s .").await.unwrap_err().to_string().contains("it has no log here"));
        logs.create("s .").await.unwrap();
        let log = logs.open_log("s .").await.unwrap();
        log.append(rows(0..3), None).await.unwrap();
        log.append([rows(3..5), rows(5..6)].concat(), None).await.unwrap();
        // The process ends while it writes.
        let mut file = OpenOptions::new().append(true).open(segment_path(&log_folder, 1)).unwrap();
        file.write_all(&[7; 100]).unwrap();

        let logs = PushedLogs::new(Some(folder.path().to_owned()));
        let again = logs.open_log("s .").await.unwrap();
        let end = again.end();
        again.append(rows(6..8), Some(1 << 20)).await.unwrap();
        assert_eq!(read(&log_folder), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(again.end() > end);
        let full = again.append(rows(8..1000), Some(2000)).await.unwrap_err();
        assert!(full.to_string().contains("of the 2000 of its option max_bytes"), "{full}");
        again.append(Vec::new(), None).await.unwrap();

        logs.remove("s .").await.unwrap();
        assert!(again.append(rows(8..9), None).await.unwrap_err().to_string().contains("it was dropped"));
        assert!(!log_folder.exists());
        logs.create("s .").await.unwrap();
        assert_eq!(logs.open_log("s .").await.unwrap().end(), Place::default());
        let nowhere = PushedLogs::new(None).create("s").await.unwrap_err();
        assert!(nowhere.to_string().contains("--data-dir"), "{nowhere}");
    });
}

#[test]
fn what_could_not_be_written_is_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path().to_owned()).unwrap();
    log.append(&rows(0..2), None).unwrap();
    log.close();
    let mut log = Log::open(folder.path().to_owned()).unwrap();
    // Somebody has the next segment's name.
    fs::create_dir(segment_path(folder.path(), 2)).unwrap();
    assert!(log.append(&rows(2..3), None).is_err());
    fs::remove_dir(segment_path(folder.path(), 2)).unwrap();
    log.append(&rows(2..3), None).unwrap();
    assert_eq!(read(folder.path()), [0, 1, 2]);
}

#[test]
fn what_is_sent_again_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Log::open(folder.path().to_owned()).unwrap();
    let mut log = open();
    log.append(&[numbered("p", 1, 0..2), numbered("p", 2, 2..4), numbered("p", 1, 0..2)].concat(), None).unwrap();
    log.append(&[numbered("p", 2, 2..4), numbered("q", 1, 4..5)].concat(), None).unwrap();
    // What is in front of the last segment is known from its beginning.
    for _ in 0..2 {
        log = open();
        log.append(&[numbered("p", 2, 2..4), rows(5..6)].concat(), None).unwrap();
    }
    // The process ends before anything is in the segment that it has begun.
    fs::write(segment_path(folder.path(), 4), [7; 20]).unwrap();
    log = open();
    log.append(&[numbered("q", 1, 4..5), numbered("p", 3, 6..7)].concat(), None).unwrap();
    assert_eq!(read(folder.path()), [0, 1, 2, 3, 4, 5, 5, 6]);
    // One that was refused counts as not sent.
    let full = log.append(&numbered("p", 4, 7..8), Some(10)).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::QuotaExceeded);
    log.append(&numbered("p", 4, 7..8), None).unwrap();
    log.append(&numbered("p", 4, 7..8), None).unwrap();
    assert_eq!(read(folder.path()), [0, 1, 2, 3, 4, 5, 5, 6, 7]);
}

#[test]
fn large_batches_are_parted() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path().to_owned()).unwrap();
    log.append(&rows(0..3_000_000), None).unwrap();
    let mut reader = LogReader::new(folder.path().to_owned(), Place::default());
    let mut sizes = Vec::new();
    while let Some(rows) = reader.next_rows().unwrap() {
        sizes.push(rows.num_rows());
    }
    assert_eq!(sizes, [1_000_000; 3]);
}

#[test]
fn rows_fit_by_name_and_are_cast() {
    let columns = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", DataType::Float64, true),
    ]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("1.5"), None]));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2)]));
    let given =
        RecordBatch::try_from_iter_with_nullable([("c", Arc::clone(&texts), true), ("a", numbers, true)]).unwrap();
    let fit = Fit::new(given.schema_ref(), Arc::clone(&columns)).unwrap();
    let fitted = fit.apply(&given).unwrap();
    let wanted: [ArrayRef; 3] = [
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(StringArray::new_null(2)),
        Arc::new(Float64Array::from(vec![Some(1.5), None])),
    ];
    assert_eq!(fitted.columns(), wanted);

    let nulls: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let given = RecordBatch::try_from_iter_with_nullable([("a", nulls, true)]).unwrap();
    let error = Fit::new(given.schema_ref(), Arc::clone(&columns)).unwrap().apply(&given).unwrap_err().to_string();
    assert!(error.contains("'a'"), "{error}");
    let given = RecordBatch::try_from_iter([("a", texts)]).unwrap();
    let error = Fit::new(given.schema_ref(), Arc::clone(&columns)).unwrap().apply(&given).unwrap_err().to_string();
    assert!(error.contains("column 'a'") && error.contains("1.5"), "{error}");
    let refused = |given: Field| Fit::new(&Schema::new(vec![given]), Arc::clone(&columns)).unwrap_err().to_string();
    assert!(refused(Field::new("d", DataType::Int64, true)).contains("no column 'd'; there are: a, b, c"));
    assert!(refused(Field::new("b", DataType::Utf8, true)).contains("column 'a' is missing"));
    let map = DataType::Struct(vec![Field::new("x", DataType::Int64, true)].into());
    assert!(refused(Field::new("a", map, true)).contains("cannot be cast to Int64"));
}
