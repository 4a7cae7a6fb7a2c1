//! New rows, in transactions that are prepared at checkpoints.

use std::thread::sleep;
use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_plans::ids::Epoch;
use tokio_postgres::Config;

use super::ledger::{Identity, Ledger};
use super::session::{Session, failed, is_busy, is_gone};
use super::table::Table;
use crate::connector::transactions::{Prepared, TransactionName, Transactions};
use crate::error::{EngineError, Result};

/// How often it is tried to end a transaction that somebody else is about to end, and how long after each other.
const TRIES: u32 = 250;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// See the [module](self).
pub(super) struct Appended {
    table: Table,
    identity: Identity,
    ledger: Ledger,
    /// In which transactions are written.
    writer: Session,
    /// In which they are committed: the writer is in the next one then.
    committer: Session,
    current: Option<TransactionName>,
}

impl Appended {
    pub(super) fn open(table: Table, identity: Identity, writer: Session, config: &Config) -> Result<Self> {
        let slots = writer.query("SELECT current_setting('max_prepared_transactions')::int", &[])?;
        if slots.first().is_none_or(|row| row.get::<_, i32>(0) == 0) {
            let reason = "the server prepares no transactions; set max_prepared_transactions to 2 for each of a job's \
                          sinks and instances, and some more, in its configuration, and start it again; or give the \
                          sink a PRIMARY KEY, by which rows replace each other; or delivery = 'at_least_once'";
            return Err(EngineError::SinkRefused { sink: identity.sink, reason: String::from(reason) });
        }
        let committer = identity.session(config)?;
        let ledger = Ledger::open(&table.schema, identity.clone(), &committer)?;
        Ok(Self { table, identity, ledger, writer, committer, current: None })
    }

    /// What the server calls a transaction.
    fn id(&self, name: TransactionName) -> String {
        format!("{}{name}", self.identity.prefix)
    }

    /// Commits or aborts a prepared transaction; false if there is none.
    fn end(&self, action: &'static str, how: &str, name: TransactionName) -> Result<bool> {
        // The name of a cluster and numbers: there are no quotes in it.
        let statement = format!("{how} PREPARED '{}'", self.id(name));
        for _ in 0..TRIES {
            match self.committer.try_execute(action, &statement)? {
                Ok(()) => return Ok(true),
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) if is_busy(&error) => sleep(BETWEEN_TRIES),
                Err(error) => return Err(failed(action, &self.identity.sink, error)),
            }
        }
        Err(failed(action, &self.identity.sink, format!("somebody else keeps the transaction {}", self.id(name))))
    }

    /// The transactions that are prepared, of the instances that this one looks after.
    fn prepared(&self) -> Result<Vec<TransactionName>> {
        const PREPARED: &str = "SELECT gid FROM pg_prepared_xacts
            WHERE database = current_database() AND left(gid, length($1::text)) = $1";
        let rows = self.committer.query(PREPARED, &[&self.identity.prefix])?;
        let ids = rows.iter().filter_map(|row| row.get::<_, &str>(0).strip_prefix(&self.identity.prefix));
        Ok(ids.filter_map(TransactionName::parse).filter(|name| self.identity.looks_after(name.subtask)).collect())
    }
}

impl Transactions for Appended {
    fn take_over(&mut self, restored: Epoch) -> Result<Vec<TransactionName>> {
        // Whoever could prepare another transaction is gone before it is looked which there are.
        self.identity.fence(&self.committer)?;
        let (prepared, committed) = (self.prepared()?, self.ledger.committed(&self.committer)?);
        for name in prepared.iter().chain(&committed) {
            self.identity.check_newest(name.subtask, name.attempt)?;
        }
        match committed.iter().find(|name| name.after >= restored) {
            None => Ok(prepared),
            Some(ahead) => {
                let reason = format!(
                    "it has rows that were written behind the checkpoint of {}, and the job would go on from that of \
                     {restored} and write them again; empty the table and begin anew, or take the rows out and forget \
                     that they were written: DELETE FROM tidemill_commits WHERE sink = '{}'",
                    ahead.after, self.identity.prefix
                );
                Err(EngineError::SinkRefused { sink: self.identity.sink.clone(), reason })
            }
        }
    }

    fn begin(&mut self, name: TransactionName) -> Result<()> {
        self.current = Some(name);
        self.writer.execute("write to", "BEGIN")
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.table.append(&self.writer, rows)
    }

    fn prepare(&mut self) -> Result<String> {
        if let Some(name) = self.current.take() {
            self.ledger.note(&self.writer, name)?;
            self.writer.execute("write to", &format!("PREPARE TRANSACTION '{}'", self.id(name)))?;
        }
        // The name is all that has to be known.
        Ok(String::new())
    }

    fn commit(&mut self, transaction: &Prepared) -> Result<()> {
        let name = transaction.name;
        if self.end("commit to", "COMMIT", name)? {
            return self.ledger.forget_before(&self.committer, name);
        }
        // Transactions of an instance are committed in order.
        let committed = self.ledger.committed(&self.committer)?;
        if committed.iter().any(|other| other.subtask == name.subtask && other.after >= name.after) {
            return Ok(());
        }
        let id = self.id(name);
        let reason = format!("the prepared transaction {id} is gone, and nobody has committed it: its rows are lost");
        Err(EngineError::SinkRefused { sink: self.identity.sink.clone(), reason })
    }

    fn abort(&mut self, name: TransactionName) -> Result<()> {
        self.end("take over", "ROLLBACK", name).map(drop)
    }
}
