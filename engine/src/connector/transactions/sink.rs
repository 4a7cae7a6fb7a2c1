//! The sink over any [`Transactions`].

use arrow::array::RecordBatch;
use tidemill_plans::ids::Epoch;

use super::{Prepared, TransactionName, Transactions};
use crate::connector::Sink;
use crate::error::{EngineError, Result};
use crate::state::{StateReader, StateWriter};

/// Transactions that may wait for their commit: as many checkpoints in a row may be given up.
const PENDING_MAX: usize = 64;

/// See the [module](super).
pub struct TransactionalSink<T> {
    transactions: T,
    /// What it is called, for errors.
    table: String,
    subtask: u32,
    attempt: u32,
    /// The last checkpoint.
    epoch: Epoch,
    has_taken_over: bool,
    is_open: bool,
    /// What was prepared, and the epoch with which each becomes visible; the oldest first.
    pending: Vec<(Prepared, Epoch)>,
}

impl<T: Transactions> TransactionalSink<T> {
    /// One instance of a sink in an attempt at a job.
    pub fn new(transactions: T, table: String, subtask: u32, attempt: u32) -> Self {
        let (epoch, pending) = (Epoch::default(), Vec::new());
        Self { transactions, table, subtask, attempt, epoch, has_taken_over: false, is_open: false, pending }
    }

    /// Aborts, once, what earlier attempts have left, but for what a sealed checkpoint covers.
    fn take_over(&mut self, covered: &[Prepared]) -> Result<()> {
        if std::mem::replace(&mut self.has_taken_over, true) {
            return Ok(());
        }
        for left in self.transactions.take_over(self.epoch)? {
            if !covered.iter().any(|covered| covered.name == left) {
                self.transactions.abort(left)?;
            }
        }
        Ok(())
    }

    /// Prepares the open transaction, to become visible with an epoch.
    fn prepare(&mut self, epoch: Epoch) -> Result<()> {
        self.take_over(&[])?;
        if !self.is_open {
            return Ok(());
        }
        if self.pending.len() == PENDING_MAX {
            let reason = format!("{PENDING_MAX} checkpoints in a row have not been sealed");
            return Err(EngineError::Destination {
                action: "commit",
                table: self.table.clone(),
                source: reason.into(),
            });
        }
        let handle = self.transactions.prepare()?;
        self.is_open = false;
        self.pending.push((Prepared { name: self.name(), handle }, epoch));
        Ok(())
    }

    /// What the transaction behind the last checkpoint is called.
    fn name(&self) -> TransactionName {
        TransactionName { subtask: self.subtask, attempt: self.attempt, after: self.epoch }
    }
}

impl<T: Transactions> Sink for TransactionalSink<T> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.take_over(&[])?;
        if !self.is_open {
            self.transactions.begin(self.name())?;
            self.is_open = true;
        }
        self.transactions.write(batch)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.prepare(state.epoch())?;
        self.epoch = state.epoch();
        let pending: Vec<&Prepared> = self.pending.iter().map(|(prepared, _)| prepared).collect();
        state.value("pending", &pending)?;
        state.value("epoch", &self.epoch)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        // Instances that have ended wrote theirs with the end.
        self.epoch = state.values("epoch")?.into_iter().min().unwrap_or_default();
        let mut covered: Vec<Prepared> = state.values::<Vec<Prepared>>("pending")?.concat();
        // What a savepoint covers has been committed by the job that it is of.
        covered.retain(|prepared| state.has_part_of(prepared.name.subtask) && !state.is_of_savepoint());
        self.take_over(&covered)?;
        covered.iter().try_for_each(|prepared| self.transactions.commit(prepared))
    }

    fn commits(&self) -> bool {
        true
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let covered = self.pending.iter().take_while(|(_, covered_by)| *covered_by <= epoch).count();
        for (prepared, _) in self.pending.drain(..covered) {
            self.transactions.commit(&prepared)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.prepare(Epoch::END)
    }
}
