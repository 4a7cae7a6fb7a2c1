//! Sinks whose rows wait in the checkpoint that covers them, and are written in one go once it has been sealed.
//!
//! For destinations where rows replace each other by key. A transaction that has been prepared would lock its keys, and
//! the next one wait for it, though it is the thread that waits which has to commit; and of the rows of a key between
//! two checkpoints only the last one counts, so that there is little to be kept.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use tidemill_plans::ids::Epoch;

use super::Sink;
use super::changes::last_rows;
use super::transactions::TransactionName;
use crate::error::Result;
use crate::state::{Belongs, StateReader, StateWriter};
use crate::task::batch_bytes;

/// Rows that come before those are dropped which others have replaced.
const CONDENSED_EVERY: usize = 65_536;

/// A destination that writes rows at once, or not at all.
pub(super) trait Replaces: Send {
    /// Takes the destination over from the attempts before this one: from here on they write nothing.
    fn take_over(&mut self) -> Result<()>;

    /// Writes the last row of each key, or removes it; unless rows of this name have been written.
    fn apply(&mut self, name: TransactionName, rows: &RecordBatch) -> Result<()>;
}

/// See the [module](self). There is one instance.
pub(super) struct LoggedSink<T> {
    destination: T,
    schema: SchemaRef,
    keys: Vec<usize>,
    attempt: u32,
    /// The last checkpoint.
    epoch: Epoch,
    has_taken_over: bool,
    /// Rows behind the last checkpoint.
    waiting: Vec<RecordBatch>,
    /// How many there are that may replace each other.
    uncondensed: usize,
    /// Rows that are to be written, and the epoch with which they are.
    pending: Option<Pending>,
}

struct Pending {
    name: TransactionName,
    rows: RecordBatch,
    covered_by: Epoch,
}

impl<T: Replaces> LoggedSink<T> {
    pub(super) fn new(destination: T, schema: SchemaRef, keys: Vec<usize>, attempt: u32) -> Self {
        Self {
            destination,
            schema,
            keys,
            attempt,
            epoch: Epoch::default(),
            has_taken_over: false,
            waiting: Vec::new(),
            uncondensed: 0,
            pending: None,
        }
    }

    fn take_over(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.has_taken_over, true) { Ok(()) } else { self.destination.take_over() }
    }

    /// What is written behind the last checkpoint.
    fn name(&self) -> TransactionName {
        TransactionName { subtask: 0, attempt: self.attempt, after: self.epoch }
    }

    /// Of the rows behind the last checkpoint, the last one of each key.
    fn condense(&mut self) -> Result<Option<RecordBatch>> {
        self.uncondensed = 0;
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let rows = concat_batches(&self.schema, &std::mem::take(&mut self.waiting))?;
        last_rows(&rows, &self.keys).map(Some)
    }

    /// The rows so far are to be written with an epoch; those that wait for an earlier one, which was given up or
    /// may be sealed yet, with them.
    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.take_over()?;
        if self.waiting.is_empty() {
            return Ok(());
        }
        if let Some(earlier) = self.pending.take() {
            self.waiting.insert(0, earlier.rows);
        }
        let name = self.name();
        self.pending = self.condense()?.map(|rows| Pending { name, rows, covered_by: epoch });
        Ok(())
    }
}

impl<T: Replaces> Sink for LoggedSink<T> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.waiting.push(batch.clone());
        self.uncondensed += batch.num_rows();
        if self.uncondensed >= CONDENSED_EVERY {
            self.waiting = self.condense()?.into_iter().collect();
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(batch_bytes).sum();
        waiting + self.pending.as_ref().map_or(0, |pending| batch_bytes(&pending.rows))
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.seal(state.epoch())?;
        self.epoch = state.epoch();
        let pending = self.pending.as_ref();
        state.value("epoch", &self.epoch)?;
        state.value("name", &pending.map(|pending| pending.name))?;
        state.rows("pending", Belongs::ToKeys(Vec::new()), pending.map(|pending| pending.rows.clone()));
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.epoch = state.value("epoch")?.unwrap_or_default();
        self.take_over()?;
        let name: Option<TransactionName> = state.value::<Option<TransactionName>>("name")?.flatten();
        let rows = state.rows("pending")?;
        match name {
            // What a savepoint covers has been written by the job that it is of.
            Some(name) if !rows.is_empty() && !state.is_of_savepoint() => {
                self.destination.apply(name, &concat_batches(&self.schema, &rows)?)
            }
            _ => Ok(()),
        }
    }

    fn commits(&self) -> bool {
        true
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        match self.pending.take_if(|pending| pending.covered_by <= epoch) {
            Some(Pending { name, rows, .. }) => self.destination.apply(name, &rows),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.seal(Epoch::END)
    }
}

#[cfg(test)]
mod tests;
