//! Sinks whose destination has transactions that outlive whoever writes them: databases that prepare them, brokers.
//!
//! Rows go into a transaction as they come. At a checkpoint it is prepared, which is to say durable, not visible, and
//! found again by its name, and the checkpoint has the name. It is committed when the checkpoint has been sealed. After
//! a failure the next attempt commits what the checkpoint names that it goes on from, and aborts everything else.

mod sink;

use std::fmt;

use arrow::array::RecordBatch;
use tidemill_plans::ids::Epoch;

pub use self::sink::TransactionalSink;
use crate::error::Result;

/// A destination with transactions, as one instance of a sink sees it.
///
/// Called from one thread: [`Self::take_over`] once and first, then for each transaction [`Self::begin`],
/// [`Self::write`] any number of times and [`Self::prepare`]. Transactions that have been prepared are committed while
/// the next one is open. A value that is dropped leaves its open transaction to be aborted by the destination. An error
/// ends the attempt.
pub trait Transactions: Send {
    /// Takes the destination over from the attempts before this one, and says which transactions they have left
    /// that are neither committed nor aborted: those of the instances that this one looks after, which is to say of
    /// all whose number is its own modulo the number of instances. From here on an earlier attempt commits nothing that
    /// [`Self::abort`] has been called for. The rows up to `restored` have been written; if the destination knows that
    /// a transaction which begins behind it has been committed, that is an error: its rows would be written twice. So
    /// is a later attempt that has begun to write.
    fn take_over(&mut self, restored: Epoch) -> Result<Vec<TransactionName>>;

    /// Begins a transaction.
    fn begin(&mut self, name: TransactionName) -> Result<()>;

    /// Writes rows into the transaction that was begun last.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;

    /// Makes the transaction that was begun last durable, but not visible. The answer is what has to be known to
    /// commit it, beside its name.
    fn prepare(&mut self) -> Result<String>;

    /// Makes a transaction visible that this attempt or one before it has prepared. Of one that is visible it does
    /// nothing; an error if it has been aborted, by a time-out or by hand, for then its rows are lost.
    fn commit(&mut self, transaction: &Prepared) -> Result<()>;

    /// Drops what [`Self::take_over`] has found. Of one that is gone it does nothing.
    fn abort(&mut self, name: TransactionName) -> Result<()>;
}

/// What no two transactions of a sink have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub struct TransactionName {
    /// The instance that began it.
    pub subtask: u32,
    /// In which attempt at the job.
    pub attempt: u32,
    /// Behind which checkpoint.
    pub after: Epoch,
}

impl TransactionName {
    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (subtask, attempt, after) = (parts.next()?, parts.next()?, parts.next()?);
        let name =
            Self { subtask: subtask.parse().ok()?, attempt: attempt.parse().ok()?, after: Epoch(after.parse().ok()?) };
        parts.next().is_none().then_some(name)
    }
}

impl fmt::Display for TransactionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.subtask, self.attempt, self.after.0)
    }
}

/// A transaction that has been prepared.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Prepared {
    /// Which.
    pub name: TransactionName,
    /// What [`Transactions::prepare`] answered.
    pub handle: String,
}

#[cfg(test)]
mod tests;
