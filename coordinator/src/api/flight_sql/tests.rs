//! Messages that nobody has written: each is read or refused, and takes no more memory than it has bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    CommandGetTables, CommandStatementIngest, CommandStatementQuery, TableDefinitionOptions, TicketStatementQuery,
};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tidemill_plans::codec;
use tidemill_plans::ids::{Epoch, JobId, RunId, TaskId, WorkerId};
use tidemill_plans::protocol::{EventResponse, ExecutePart, WorkerEvent, WorkerRequest};

use super::incoming::Incoming;
use super::session_options::SetSessionOptionsRequest;
use super::*;

/// Changes bytes of a message, or cuts it off.
fn damaged(message: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..6);
    (changes, any::<Option<Index>>()).prop_map(move |(changes, cut)| {
        let mut message = message.clone();
        for (place, byte) in changes {
            if !message.is_empty() {
                let place = place.index(message.len());
                message[place] = byte;
            }
        }
        message.truncate(cut.map_or(message.len(), |cut| cut.index(message.len() + 1)));
        message
    })
}

fn commands() -> Vec<Vec<u8>> {
    let query = CommandStatementQuery { query: String::from("SELECT 1"), transaction_id: None };
    let tables = CommandGetTables { table_types: vec![String::from("TABLE")], ..CommandGetTables::default() };
    let ingest = CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions { if_not_exist: 1, if_exists: 2 }),
        table: String::from("t"),
        options: [(String::from("a"), String::from("b"))].into(),
        ..CommandStatementIngest::default()
    };
    let ticket = TicketStatementQuery { statement_handle: Bytes::from_static(b"1-0000") };
    vec![
        query.as_any().encode_to_vec(),
        tables.as_any().encode_to_vec(),
        ingest.as_any().encode_to_vec(),
        ticket.as_any().encode_to_vec(),
    ]
}

/// What a client sends for rows with texts and lists.
fn sent() -> Vec<FlightData> {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("é")]));
    let lists = [Some(vec![Some(1), None]), None, Some(vec![])];
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
    let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", texts, true), ("l", lists, true)]);
    let encoder = FlightDataEncoderBuilder::new().build(stream::iter([Ok(rows.unwrap())]));
    encoder.try_collect::<Vec<_>>().now_or_never().unwrap().unwrap()
}

/// Reads all that a client has sent; how many rows there were.
fn read(messages: Vec<FlightData>) -> Result<usize, Status> {
    let mut incoming = Incoming::new(stream::iter(messages).map(Ok));
    let mut rows = 0;
    while let Some(batch) = incoming.next().now_or_never().unwrap()? {
        rows += batch.num_rows();
        // Every value can be looked at.
        arrow::util::pretty::pretty_format_batches(&[batch]).map_err(|error| Status::internal(error.to_string()))?;
    }
    Ok(rows)
}

fn events() -> Vec<Vec<u8>> {
    let run = RunId::first(JobId(3));
    let register = WorkerEvent::Register { data_address: String::from("http://w:1"), slots: 2, cluster: None };
    let rows =
        WorkerEvent::ResultRows { job: JobId(1), operator: tidemill_plans::ids::OperatorId(2), ipc: vec![7; 30] };
    let task = TaskId { stage: tidemill_plans::ids::StageId(0), subtask: 1 };
    let passed = WorkerEvent::BarrierPassed { run, task, epoch: Epoch(4), state: None, alignment_us: 9, needs: None };
    let beat = WorkerEvent::Heartbeat { worker: WorkerId(1), metrics: vec![], models: vec![] };
    let events = [register, rows, passed, beat];
    let requests = [WorkerRequest::Start(run), WorkerRequest::Commit(run, Epoch(1))];
    let parts = [ExecutePart::Message(String::from("x")), ExecutePart::Rows(vec![1; 20])];
    let mut all: Vec<Vec<u8>> = events.iter().map(|event| codec::encode(event).unwrap()).collect();
    all.extend(requests.iter().map(|request| codec::encode(request).unwrap()));
    all.extend(parts.iter().map(|part| codec::encode(part).unwrap()));
    all
}

proptest! {
    #[test]
    fn commands_and_tickets_are_read_or_refused(
        bytes in prop_oneof![vec(any::<u8>(), 0..200), (0..4_usize).prop_flat_map(|which| damaged(commands()[which].clone()))],
    ) {
        let _ = command_of(&bytes);
        let _ = statement_of(&bytes);
        let _ = CancelFlightInfoRequest::decode(&bytes[..]);
        let _ = SetSessionOptionsRequest::decode(&bytes[..]);
    }

    #[test]
    fn control_messages_are_read_or_refused(
        bytes in prop_oneof![vec(any::<u8>(), 0..200), (0..8_usize).prop_flat_map(|which| damaged(events()[which].clone()))],
    ) {
        let _ = codec::decode::<WorkerEvent>(&bytes);
        let _ = codec::decode::<WorkerRequest>(&bytes);
        let _ = codec::decode::<EventResponse>(&bytes);
        let _ = codec::decode::<ExecutePart>(&bytes);
    }

    #[test]
    fn rows_are_read_or_refused(
        which in 0..2_usize,
        of_header in any::<bool>(),
        (header, body) in (0..2_usize).prop_flat_map(|which| {
            let message = sent()[which].clone();
            (damaged(message.data_header.to_vec()), damaged(message.data_body.to_vec()))
        }),
    ) {
        let mut messages = sent();
        match of_header {
            true => messages[which].data_header = header.into(),
            false => messages[which].data_body = body.into(),
        }
        let _ = read(messages);
    }
}

#[test]
fn whole_messages_are_read() {
    assert_eq!(read(sent()).unwrap(), 3);
    let empty = FlightData::default();
    assert_eq!(read([vec![empty.clone()], sent(), vec![empty]].concat()).unwrap(), 3);
    assert!(commands().iter().all(|command| command_of(command).is_ok()));
}
