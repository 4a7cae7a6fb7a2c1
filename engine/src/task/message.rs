//! What travels on a channel between two tasks.

use arrow::array::RecordBatch;
use tidemill_plans::ids::Barrier;
use tidemill_plans::size::batch_bytes;
use tidemill_plans::time::Watermark;

/// One element of a stream. Order on a channel is what gives watermarks and barriers their meaning:
/// nothing overtakes anything.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Rows.
    Batch(RecordBatch),
    /// No later row on this channel is older.
    Watermark(Watermark),
    /// No rows come for the time being: until [`Message::Active`] this channel holds time up no more.
    Idle,
    /// Rows come again, or may.
    Active,
    /// What a source had when its job began has all come. From its driver to its task, and no further.
    CaughtUp,
    /// The rows before belong to this barrier's epoch, the rows behind do not.
    Barrier(Barrier),
    /// Nothing follows.
    End(EndReason),
}

/// Why a channel ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndReason {
    /// The input is complete: every open window may close.
    Finished,
    /// The job was stopped: what is open is incomplete and must not be emitted.
    Stopped,
}

impl Message {
    /// What the message counts against its queue's bound, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Batch(batch) => batch_bytes(batch),
            _ => 64,
        }
    }
}
