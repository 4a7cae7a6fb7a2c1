//! A broker in memory, after Kafka's: a transactional id has one transaction at a time, whoever initialises it anew
//! aborts that and fences the producer before, and what is not committed in time is aborted by the broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidemill_plans::ids::Epoch;

use crate::connector::transactions::{Prepared, TransactionName, Transactions};
use crate::error::{EngineError, Result};

/// What is in the way of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not arrive.
    Request,
    /// Its answer does not arrive.
    Answer,
}

/// The broker, which lives longer than its clients.
#[derive(Clone, Default)]
pub(super) struct Broker(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By transactional id.
    producers: BTreeMap<String, Producer>,
    /// What whoever reads committed rows has read.
    committed: Vec<i64>,
    /// After how many more requests there is a fault.
    fault: Option<(u32, Fault)>,
}

#[derive(Default)]
struct Producer {
    /// Only the newest may write.
    epoch: u32,
    transaction: Transaction,
}

#[derive(Default)]
enum Transaction {
    #[default]
    None,
    Open(Vec<i64>),
    Committed,
}

impl Broker {
    pub(super) fn client(&self, attempt: u32, subtask: u32, parallelism: u32) -> Client {
        Client { broker: self.clone(), attempt, subtask, parallelism, current: None }
    }

    /// Rows of committed transactions, sorted.
    pub(super) fn read(&self) -> Vec<i64> {
        let mut rows = self.0.lock().unwrap().committed.clone();
        rows.sort_unstable();
        rows
    }

    /// The ids of open transactions.
    pub(super) fn open(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let open = state.producers.iter().filter(|(_, producer)| matches!(producer.transaction, Transaction::Open(_)));
        open.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn wait_until_transactions_time_out(&self) {
        for producer in self.0.lock().unwrap().producers.values_mut() {
            if matches!(producer.transaction, Transaction::Open(_)) {
                producer.abort();
            }
        }
    }

    /// The request behind so many others goes wrong.
    pub(super) fn fail_after(&self, requests: u32, fault: Fault) {
        self.0.lock().unwrap().fault = Some((requests, fault));
    }

    fn request<T>(&self, serve: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.0.lock().unwrap();
        let fault = match &mut state.fault {
            Some((0, fault)) => Some(*fault),
            Some((requests, _)) => {
                *requests -= 1;
                None
            }
            None => None,
        };
        if fault.is_some() {
            state.fault = None;
        }
        if fault == Some(Fault::Request) {
            return Err(refused("the broker is not reached"));
        }
        let served = serve(&mut state);
        if fault == Some(Fault::Answer) { Err(refused("the broker is silent")) } else { served }
    }

    /// InitProducerId: aborts what is open, and fences.
    fn init(&self, id: &str) -> Result<u32> {
        self.request(|state| {
            let producer = state.producers.entry(id.to_owned()).or_default();
            producer.abort();
            Ok(producer.epoch)
        })
    }

    fn produce(&self, id: &str, epoch: u32, rows: &[i64]) -> Result<()> {
        self.request(|state| {
            let producer = state.producer(id, epoch)?;
            match &mut producer.transaction {
                Transaction::Open(open) => open.extend(rows),
                _ => producer.transaction = Transaction::Open(rows.to_vec()),
            }
            Ok(())
        })
    }

    /// EndTxn with a commit. Who did not hear the answer may ask again.
    fn commit(&self, id: &str, epoch: u32) -> Result<()> {
        self.request(|state| {
            let producer = state.producer(id, epoch)?;
            match std::mem::replace(&mut producer.transaction, Transaction::Committed) {
                Transaction::Open(rows) => state.committed.extend(rows),
                Transaction::Committed => {}
                Transaction::None => return Err(refused("no transaction is open")),
            }
            Ok(())
        })
    }

    fn list(&self) -> Result<Vec<String>> {
        self.request(|_| Ok(())).map(|()| self.open())
    }
}

impl State {
    fn producer(&mut self, id: &str, epoch: u32) -> Result<&mut Producer> {
        let producer = self.producers.get_mut(id).ok_or_else(|| refused("no such producer"))?;
        if producer.epoch == epoch { Ok(producer) } else { Err(refused("the producer is fenced")) }
    }
}

impl Producer {
    fn abort(&mut self) {
        self.epoch += 1;
        self.transaction = Transaction::None;
    }
}

fn refused(reason: &str) -> EngineError {
    EngineError::Destination { action: "write", table: String::from("out"), source: reason.into() }
}

/// An instance's way to the broker. Each transaction has an id of its own, for one may wait for its commit while the
/// next is open.
pub(super) struct Client {
    broker: Broker,
    attempt: u32,
    subtask: u32,
    parallelism: u32,
    current: Option<(String, u32)>,
}

impl Transactions for Client {
    fn take_over(&mut self, _restored: Epoch) -> Result<Vec<TransactionName>> {
        let open = self.broker.list()?;
        let mut open: Vec<TransactionName> = open.iter().filter_map(|id| TransactionName::parse(id)).collect();
        open.retain(|name| name.subtask % self.parallelism == self.subtask);
        if open.iter().any(|name| name.attempt > self.attempt) {
            return Err(EngineError::SinkTakenOver { sink: String::from("out") });
        }
        Ok(open)
    }

    fn begin(&mut self, name: TransactionName) -> Result<()> {
        let id = name.to_string();
        let epoch = self.broker.init(&id)?;
        self.current = Some((id, epoch));
        Ok(())
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let (id, epoch) = self.current.as_ref().unwrap();
        self.broker.produce(id, *epoch, rows.column(0).as_primitive::<Int64Type>().values())
    }

    fn prepare(&mut self) -> Result<String> {
        let (_, epoch) = self.current.take().unwrap();
        Ok(epoch.to_string())
    }

    fn commit(&mut self, transaction: &Prepared) -> Result<()> {
        self.broker.commit(&transaction.name.to_string(), transaction.handle.parse().unwrap())
    }

    fn abort(&mut self, name: TransactionName) -> Result<()> {
        self.broker.init(&name.to_string()).map(drop)
    }
}
