//! Sinks on a broker: whatever crashes, is lost, or goes on though it should not, each row is read once.

mod broker;
mod crashes;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tidemill_plans::ids::{Epoch, OperatorId};

use self::broker::{Broker, Client};
use super::*;

use crate::connector::Sink;
use crate::error::EngineError;
use crate::state::{Moved, Restore, Snapshot, StateReader};

const NOTHING: [i64; 0] = [];

type BrokerSink = TransactionalSink<Client>;

fn open(broker: &Broker, attempt: u32, subtask: u32, parallelism: u32) -> BrokerSink {
    let client = broker.client(attempt, subtask, parallelism);
    TransactionalSink::new(client, String::from("out"), subtask, attempt)
}

fn restored(broker: &Broker, attempt: u32, from: &[Snapshot], subtask: u32, parallelism: u32) -> Result<BrokerSink> {
    let mut sink = open(broker, attempt, subtask, parallelism);
    sink.restore(&StateReader::new(from, subtask, parallelism))?;
    Ok(sink)
}

fn rows(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_from_iter([("v", column)]).unwrap()
}

/// The state of a sink, through bytes.
fn snapshot(sink: &mut BrokerSink, epoch: Epoch) -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    sink.snapshot(&mut snapshot.writer(epoch))?;
    Snapshot::from_bytes(&snapshot.to_bytes()?)
}

#[test]
fn a_name_is_read_as_it_was_written_or_not_at_all() {
    let name = TransactionName { subtask: 3, attempt: 0, after: Epoch::END };
    assert_eq!(TransactionName::parse(&name.to_string()), Some(name));
    for other in ["", "3:0", "3:0:7:1", "a:0:7", "3:-1:7"] {
        assert_eq!(TransactionName::parse(other), None);
    }
}

#[test]
fn rows_are_read_once_their_checkpoint_is_sealed() {
    let broker = Broker::default();
    let mut sink = open(&broker, 0, 0, 1);
    assert!(sink.commits());
    sink.write(&rows([])).unwrap();
    sink.write(&rows([1, 2])).unwrap();
    snapshot(&mut sink, Epoch(1)).unwrap();
    sink.write(&rows([3])).unwrap();
    assert_eq!(broker.read(), NOTHING);
    sink.commit(Epoch(0)).unwrap();
    assert_eq!(broker.read(), NOTHING, "an epoch before it");
    sink.commit(Epoch(1)).unwrap();
    sink.commit(Epoch(1)).unwrap();
    assert_eq!(broker.read(), [1, 2]);
    // Given up.
    snapshot(&mut sink, Epoch(2)).unwrap();
    snapshot(&mut sink, Epoch(3)).unwrap();
    sink.write(&rows([4])).unwrap();
    sink.commit(Epoch(3)).unwrap();
    assert_eq!(broker.read(), [1, 2, 3]);
    sink.finish().unwrap();
    assert_eq!(broker.read(), [1, 2, 3]);
    sink.commit(Epoch::END).unwrap();
    assert_eq!(broker.read(), [1, 2, 3, 4]);
}

#[test]
fn what_a_checkpoint_covers_is_committed_after_a_crash_and_the_rest_is_aborted() {
    let broker = Broker::default();
    let mut sink = open(&broker, 0, 0, 1);
    sink.write(&rows([1])).unwrap();
    let sealed = snapshot(&mut sink, Epoch(1)).unwrap();
    sink.write(&rows([2])).unwrap();
    snapshot(&mut sink, Epoch(2)).unwrap();
    sink.write(&rows([3])).unwrap();
    drop(sink);
    assert_eq!(broker.open(), ["0:0:0", "0:0:1", "0:0:2"]);
    for attempt in 1..=2 {
        drop(restored(&broker, attempt, std::slice::from_ref(&sealed), 0, 1).unwrap());
        assert_eq!((broker.read(), broker.open()), (vec![1], vec![]));
    }
}

#[test]
fn what_was_left_before_the_first_checkpoint_is_aborted() {
    let broker = Broker::default();
    for subtask in 0..3 {
        open(&broker, 0, subtask, 3).write(&rows([1])).unwrap();
    }
    let mut sink = open(&broker, 1, 0, 1);
    assert_eq!(broker.open().len(), 3);
    snapshot(&mut sink, Epoch(1)).unwrap();
    assert_eq!(broker.open().len(), 0);
}

#[test]
fn instances_share_what_others_have_left() {
    for (before, after) in [(3, 1), (3, 2), (1, 3), (2, 3)] {
        let broker = Broker::default();
        let mut sinks: Vec<BrokerSink> = (0..before).map(|subtask| open(&broker, 0, subtask, before)).collect();
        let mut states = Vec::new();
        for (row, sink) in (0..).zip(&mut sinks) {
            sink.write(&rows([row])).unwrap();
            states.push(snapshot(sink, Epoch(1)).unwrap());
            sink.write(&rows([9])).unwrap();
        }
        drop(sinks);
        for subtask in 0..after {
            restored(&broker, 1, &states, subtask, after).unwrap();
        }
        assert_eq!((broker.read(), broker.open()), ((0..i64::from(before)).collect(), vec![]));
    }
}

#[test]
fn what_a_savepoint_covers_has_been_committed_by_another_job() {
    let broker = Broker::default();
    let mut sink = open(&broker, 0, 0, 1);
    sink.write(&rows([1])).unwrap();
    let (id, mut saved) = (OperatorId(3), Snapshot::default());
    sink.snapshot(&mut saved.writer(Epoch(4)).part(&id.to_string())).unwrap();
    sink.commit(Epoch(4)).unwrap();
    let saved = [saved];
    let moved = Moved { operators: BTreeMap::from([(id, (id, &saved[..]))]), had_same_inputs: true };
    let broker = Broker::default();
    let mut sink = open(&broker, 0, 0, 1);
    sink.restore(&Restore::moved(id, moved).at(0, 1).operator(id).unwrap()).unwrap();
    sink.write(&rows([2])).unwrap();
    assert_eq!(broker.open(), ["0:0:4"]);
    sink.finish().unwrap();
    sink.commit(Epoch::END).unwrap();
    assert_eq!(broker.read(), [2]);
}

#[test]
fn who_has_been_replaced_commits_nothing() {
    let broker = Broker::default();
    let mut old = open(&broker, 0, 0, 1);
    old.write(&rows([1])).unwrap();
    let sealed = snapshot(&mut old, Epoch(1)).unwrap();
    old.write(&rows([2])).unwrap();
    let mut new = restored(&broker, 1, std::slice::from_ref(&sealed), 0, 1).unwrap();
    // It has not noticed yet, and believes that its next checkpoint is sealed.
    old.commit(Epoch(1)).unwrap();
    assert!(snapshot(&mut old, Epoch(2)).is_err() || old.commit(Epoch(2)).is_err());
    new.write(&rows([2])).unwrap();
    snapshot(&mut new, Epoch(2)).unwrap();
    // Whose deployment was on its way for a long time.
    let error = restored(&broker, 0, &[sealed], 0, 1).err().unwrap();
    assert!(matches!(error, EngineError::SinkTakenOver { .. }), "{error}");
    new.commit(Epoch(2)).unwrap();
    assert_eq!(broker.read(), [1, 2]);
}

#[test]
fn a_transaction_that_has_timed_out_is_lost_and_that_is_said() {
    let broker = Broker::default();
    let mut sink = open(&broker, 0, 0, 1);
    sink.write(&rows([1])).unwrap();
    let sealed = snapshot(&mut sink, Epoch(1)).unwrap();
    broker.wait_until_transactions_time_out();
    assert!(sink.commit(Epoch(1)).is_err());
    assert!(restored(&broker, 1, &[sealed], 0, 1).is_err());
    assert_eq!(broker.read(), NOTHING);
}

#[test]
fn transactions_that_wait_for_their_commit_are_bounded() {
    let broker = Broker::default();
    let mut sink = open(&broker, 0, 0, 1);
    let given_up = (1..1000).find(|epoch| {
        sink.write(&rows([1])).unwrap();
        snapshot(&mut sink, Epoch(*epoch)).is_err()
    });
    assert_eq!(given_up, Some(65));
}
