//! Rows that replace each other, on a table in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use tidemill_plans::change::{change_ops, with_change_column};
use tidemill_plans::ids::OperatorId;

use super::*;
use crate::error::EngineError;
use crate::state::{Moved, Restore, Snapshot};
use crate::testing::graph::schema;
use crate::testing::parse_rows;

/// A table of values by their keys, and what has been written to it.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rows: BTreeMap<i64, i64>,
    applied: BTreeSet<TransactionName>,
    /// The attempt that has taken it over.
    attempt: u32,
}

struct Writer {
    table: Table,
    attempt: u32,
}

impl Replaces for Writer {
    fn take_over(&mut self) -> Result<()> {
        self.table.0.lock().unwrap().attempt = self.attempt;
        Ok(())
    }

    fn apply(&mut self, name: TransactionName, rows: &RecordBatch) -> Result<()> {
        let mut state = self.table.0.lock().unwrap();
        if state.attempt > self.attempt {
            return Err(EngineError::SinkTakenOver { sink: String::from("out") });
        }
        if !state.applied.insert(name) {
            return Ok(());
        }
        let column = |index: usize| rows.column(index).as_primitive::<Int64Type>().values();
        let mut keys = BTreeSet::new();
        for ((key, value), op) in column(0).iter().zip(column(1)).zip(change_ops(rows)?) {
            assert!(keys.insert(key), "the key {key} twice");
            if op.adds() {
                state.rows.insert(*key, *value)
            } else {
                state.rows.remove(key)
            };
        }
        Ok(())
    }
}

impl Table {
    fn open(&self, attempt: u32) -> LoggedSink<Writer> {
        let writer = Writer { table: self.clone(), attempt };
        LoggedSink::new(writer, with_change_column(&schema("k:int v:int")), vec![0], attempt)
    }

    fn restored(&self, attempt: u32, from: &Snapshot) -> LoggedSink<Writer> {
        let mut sink = self.open(attempt);
        sink.restore(&StateReader::new(std::slice::from_ref(from), 0, 1)).unwrap();
        sink
    }

    #[track_caller]
    fn check(&self, expected: &[(i64, i64)]) {
        let rows = self.0.lock().unwrap().rows.clone();
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), expected);
    }
}

/// Changes as key, value and operation.
fn write(sink: &mut LoggedSink<Writer>, changes: &str) {
    sink.write(&parse_rows(&with_change_column(&schema("k:int v:int")), changes).unwrap()).unwrap();
}

fn snapshot(sink: &mut LoggedSink<Writer>, epoch: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    sink.snapshot(&mut snapshot.writer(Epoch(epoch))).unwrap();
    Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap()
}

#[test]
fn the_last_row_of_each_key_is_written_once_its_checkpoint_is_sealed() {
    let table = Table::default();
    let mut sink = table.open(0);
    write(&mut sink, "1 1 0\n2 1 0");
    write(&mut sink, "1 1 1\n1 2 2\n3 1 0\n3 1 3");
    assert!(sink.state_bytes() > 0);
    snapshot(&mut sink, 1);
    write(&mut sink, "2 1 3");
    table.check(&[]);
    sink.commit(Epoch(1)).unwrap();
    sink.commit(Epoch(1)).unwrap();
    table.check(&[(1, 2), (2, 1)]);
    // One that is given up, and a commit that comes late.
    snapshot(&mut sink, 2);
    write(&mut sink, "4 1 0");
    snapshot(&mut sink, 3);
    sink.commit(Epoch(2)).unwrap();
    table.check(&[(1, 2), (2, 1)]);
    sink.commit(Epoch(3)).unwrap();
    table.check(&[(1, 2), (4, 1)]);
    write(&mut sink, "1 2 3");
    sink.finish().unwrap();
    sink.commit(Epoch::END).unwrap();
    table.check(&[(4, 1)]);
    assert_eq!(sink.state_bytes(), 0);
}

#[test]
fn what_a_checkpoint_covers_is_written_after_a_crash_and_once() {
    for is_committed in [false, true] {
        let table = Table::default();
        let mut sink = table.open(0);
        write(&mut sink, "1 1 0");
        let sealed = snapshot(&mut sink, 1);
        if is_committed {
            sink.commit(Epoch(1)).unwrap();
        }
        write(&mut sink, "1 2 2\n2 2 0");
        snapshot(&mut sink, 2);
        table.restored(1, &sealed);
        table.check(&[(1, 1)]);
        let mut sink = table.restored(2, &sealed);
        write(&mut sink, "1 2 2\n2 2 0");
        let sealed = snapshot(&mut sink, 2);
        sink.commit(Epoch(2)).unwrap();
        let before = table.0.lock().unwrap().applied.len();
        table.restored(3, &sealed);
        table.check(&[(1, 2), (2, 2)]);
        assert_eq!(table.0.lock().unwrap().applied.len(), before);
    }
}

#[test]
fn what_a_savepoint_covers_has_been_written_by_another_job() {
    let mut sink = Table::default().open(0);
    write(&mut sink, "1 1 0");
    let (id, mut saved) = (OperatorId(3), Snapshot::default());
    sink.snapshot(&mut saved.writer(Epoch(4)).part(&id.to_string())).unwrap();
    let saved = [saved];
    let moved = Moved { operators: BTreeMap::from([(id, (id, &saved[..]))]), had_same_inputs: true };
    let table = Table::default();
    let mut sink = table.open(0);
    sink.restore(&Restore::moved(id, moved).at(0, 1).operator(id).unwrap()).unwrap();
    write(&mut sink, "2 1 0");
    sink.finish().unwrap();
    sink.commit(Epoch::END).unwrap();
    table.check(&[(2, 1)]);
}

#[test]
fn who_has_been_replaced_writes_nothing() {
    let table = Table::default();
    let mut old = table.open(0);
    write(&mut old, "1 1 0");
    let sealed = snapshot(&mut old, 1);
    let mut new = table.restored(1, &sealed);
    write(&mut new, "1 2 2");
    snapshot(&mut new, 2);
    new.commit(Epoch(2)).unwrap();
    assert!(old.commit(Epoch(1)).is_err());
    table.check(&[(1, 2)]);
}

#[test]
fn rows_that_are_replaced_are_dropped_as_they_come() {
    let table = Table::default();
    let mut sink = table.open(0);
    let changes: String = (0..CONDENSED_EVERY).map(|value| format!("7 {value} 2\n")).collect();
    write(&mut sink, &changes);
    assert_eq!(sink.waiting.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    snapshot(&mut sink, 1);
    sink.commit(Epoch(1)).unwrap();
    table.check(&[(7, 65_535)]);
}
