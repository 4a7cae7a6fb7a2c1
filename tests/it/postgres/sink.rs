//! Sinks that are driven by hand, so that they fail where the test says.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tidemill_engine::connector::{Sink, open_sink};
use tidemill_engine::state::{Snapshot, StateReader};
use tidemill_engine::task::TaskEnv;
use tidemill_engine::testing::test_env;
use tidemill_plans::ids::{Epoch, OperatorId};
use tidemill_plans::node::SinkNode;

use super::server;
use crate::postgres_server::Server;

/// A table and the sinks that attempts at a job have opened.
struct Table {
    server: Server,
    has_key: bool,
}

impl Table {
    fn new(has_key: bool) -> Self {
        let server = server();
        server.execute("CREATE TABLE out (id BIGINT PRIMARY KEY, v BIGINT)");
        Self { server, has_key }
    }

    fn try_open(&self, attempt: u32, subtask: u32, parallelism: u32) -> tidemill_engine::Result<Box<dyn Sink>> {
        let node = SinkNode {
            table: String::from("out"),
            connector: String::from("postgres"),
            options: vec![(String::from("url"), self.server.url())],
            time: None,
            upsert_keys: if self.has_key { vec![0] } else { vec![] },
            order_by: vec![],
            limit: None,
            live: false,
        };
        let env = TaskEnv { attempt, checkpoints: Some(String::from("x/cluster-1")), ..test_env()? };
        open_sink(&node, OperatorId(4), subtask, parallelism, &env, rows([]).schema())
    }

    fn open(&self, attempt: u32, subtask: u32, parallelism: u32) -> Box<dyn Sink> {
        self.try_open(attempt, subtask, parallelism).unwrap()
    }

    fn try_restore(&self, attempt: u32, from: &[Snapshot], subtask: u32, of: u32) -> Result<Box<dyn Sink>, String> {
        let mut sink = self.open(attempt, subtask, of);
        sink.restore(&StateReader::new(from, subtask, of)).map_err(|error| error.chain())?;
        Ok(sink)
    }

    fn restore(&self, attempt: u32, from: &[Snapshot], subtask: u32, of: u32) -> Box<dyn Sink> {
        self.try_restore(attempt, from, subtask, of).unwrap()
    }

    #[track_caller]
    fn check(&self, expected: &[&str]) {
        assert_eq!(self.server.rows("SELECT id, v FROM out ORDER BY id"), expected);
    }

    fn prepared(&self) -> Vec<String> {
        self.server.rows("SELECT gid FROM pg_prepared_xacts ORDER BY gid")
    }
}

fn rows<const N: usize>(rows: [(i64, i64); N]) -> RecordBatch {
    let column = |values: [i64; N]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    RecordBatch::try_from_iter_with_nullable([
        ("id", column(rows.map(|(id, _)| id)), true),
        ("v", column(rows.map(|(_, v)| v)), true),
    ])
    .unwrap()
}

fn snapshot(sink: &mut Box<dyn Sink>, epoch: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    sink.snapshot(&mut snapshot.writer(Epoch(epoch))).unwrap();
    snapshot
}

#[test]
fn rows_between_the_two_phases_are_taken_up_and_what_no_checkpoint_covers_is_dropped() {
    for has_key in [false, true] {
        let table = Table::new(has_key);
        let mut sink = table.open(0, 0, 1);
        sink.write(&rows([(1, 1), (2, 1)])).unwrap();
        let sealed = snapshot(&mut sink, 1);
        sink.write(&rows([(3, 1)])).unwrap();
        snapshot(&mut sink, 2);
        sink.write(&rows([(4, 1)])).unwrap();
        table.check(&[]);
        let names = ["tidemill:cluster-1:job-1:op-4:0:0:0", "tidemill:cluster-1:job-1:op-4:0:0:1"];
        assert_eq!(table.prepared(), if has_key { vec![] } else { names.to_vec() });
        // Two attempts, of which one has no time to do anything.
        drop(table.restore(1, std::slice::from_ref(&sealed), 0, 1));
        table.check(&["1|1", "2|1"]);
        let mut next = table.restore(2, &[sealed], 0, 1);
        table.check(&["1|1", "2|1"]);
        assert_eq!(table.prepared(), Vec::<String>::new());
        next.write(&rows([(3, 2)])).unwrap();
        next.finish().unwrap();
        let ended = snapshot(&mut next, Epoch::END.0);
        next.commit(Epoch::END).unwrap();
        drop(next);
        table.restore(3, &[ended], 0, 1).commit(Epoch::END).unwrap();
        table.check(&["1|1", "2|1", "3|2"]);
    }
}

#[test]
fn who_has_been_replaced_writes_nothing() {
    for has_key in [false, true] {
        let table = Table::new(has_key);
        let mut old = table.open(0, 0, 1);
        old.write(&rows([(1, 1)])).unwrap();
        let sealed = snapshot(&mut old, 1);
        old.write(&rows([(2, 1)])).unwrap();
        let mut new = table.restore(1, std::slice::from_ref(&sealed), 0, 1);
        // It cannot prepare another, and what it has been told of has been done.
        let mut state = Snapshot::default();
        let prepared = old.write(&rows([(9, 9)])).and_then(|()| old.snapshot(&mut state.writer(Epoch(2))));
        assert!(prepared.is_err() || old.commit(Epoch(2)).is_err());
        new.write(&rows([(2, 2)])).unwrap();
        let sealed_by_new = snapshot(&mut new, 2);
        new.commit(Epoch(2)).unwrap();
        // One that was deployed late finds a session of a later attempt, or what one has committed.
        let late = table.try_restore(0, std::slice::from_ref(&sealed), 0, 1).err().unwrap();
        assert!(late.contains("a later attempt at the job writes to sink 'out'"), "{late}");
        drop(new);
        let late = table.try_restore(0, &[sealed], 0, 1).err().unwrap();
        assert!(late.contains("a later attempt at the job writes to sink 'out'"), "{late}");
        table.restore(2, &[sealed_by_new], 0, 1);
        table.check(&["1|1", "2|2"]);
        assert_eq!(table.prepared(), Vec::<String>::new());
    }
}

#[test]
fn instances_share_what_others_have_left() {
    let table = Table::new(false);
    let mut sinks: Vec<_> = (0..3).map(|subtask| table.open(0, subtask, 3)).collect();
    let mut states = Vec::new();
    for (row, sink) in (0..).zip(&mut sinks) {
        sink.write(&rows([(row, 0)])).unwrap();
        states.push(snapshot(sink, 1));
        sink.write(&rows([(row + 10, 0)])).unwrap();
        snapshot(sink, 2);
    }
    drop(sinks);
    assert_eq!(table.prepared().len(), 6);
    let restored: Vec<_> = (0..2).map(|subtask| table.restore(1, &states, subtask, 2)).collect();
    table.check(&["0|0", "1|0", "2|0"]);
    assert_eq!(table.prepared(), Vec::<String>::new());
    drop(restored);
}

#[test]
fn rows_that_would_be_written_twice_or_are_lost_are_told() {
    let table = Table::new(false);
    let mut sink = table.open(0, 0, 1);
    sink.write(&rows([(1, 1)])).unwrap();
    let first = snapshot(&mut sink, 1);
    sink.commit(Epoch(1)).unwrap();
    sink.write(&rows([(2, 1)])).unwrap();
    let second = snapshot(&mut sink, 2);
    sink.commit(Epoch(2)).unwrap();
    sink.write(&rows([(3, 1)])).unwrap();
    let third = snapshot(&mut sink, 3);
    drop(sink);
    // The second checkpoint is damaged.
    let twice = table.try_restore(1, &[first], 0, 1).err().unwrap();
    assert!(twice.contains("it has rows that were written behind the checkpoint of epoch-1"), "{twice}");
    drop(table.restore(2, &[second], 0, 1));
    // Which has aborted what the third has.
    let lost = table.try_restore(3, &[third], 0, 1).err().unwrap();
    assert!(lost.contains(":0:0:2 is gone, and nobody has committed it: its rows are lost"), "{lost}");
    table.check(&["1|1", "2|1"]);
}

#[test]
fn of_a_key_the_last_row_counts() {
    let table = Table::new(true);
    table.server.execute("INSERT INTO out VALUES (1, 0), (7, 0)");
    let mut sink = table.open(0, 0, 1);
    sink.write(&rows([(1, 1), (2, 1), (1, 2)])).unwrap();
    sink.write(&rows([(2, 2)])).unwrap();
    snapshot(&mut sink, 1);
    table.check(&["1|0", "7|0"]);
    sink.write(&rows([(2, 3)])).unwrap();
    sink.commit(Epoch(1)).unwrap();
    table.check(&["1|2", "2|2", "7|0"]);
    sink.finish().unwrap();
    sink.commit(Epoch::END).unwrap();
    table.check(&["1|2", "2|3", "7|0"]);
}
