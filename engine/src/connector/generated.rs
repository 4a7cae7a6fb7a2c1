//! A source whose rows are functions of their numbers.
//!
//! Rows are dealt out to the subtasks in blocks, a block a batch. So the event times that subtasks have
//! reached stay close together, and which rows there are does not depend on how many subtasks make them.

use std::ops::Range;

use arrow::array::RecordBatch;
use tidemill_plans::codec;
use tidemill_plans::node::SourceNode;

use super::pace::{Pace, Paced};
use super::share::Share;
use super::{Source, SourceEvent};
use crate::error::{EngineError, Result};

/// Batches a second that each subtask makes of a source with a pace, if there are that many rows.
const PACED_BATCHES: u64 = 20;

/// Makes rows.
pub(super) trait Generate: Send {
    /// The rows of these numbers.
    fn rows(&self, numbers: Range<u64>) -> Result<RecordBatch>;
}

/// What a generated source is opened with.
pub(super) struct GeneratedOptions {
    /// How many rows all subtasks make together.
    pub(super) rows: u64,
    /// Rows in a batch at most.
    pub(super) batch_rows: u64,
    /// The pace of all subtasks together.
    pub(super) rows_per_second: Option<u64>,
    pub(super) share: Share,
}

/// One subtask's share of the rows.
struct Generated<G> {
    generate: G,
    rows: u64,
    block_rows: u64,
    /// The block to make next.
    block: u64,
    parallelism: u64,
}

/// How far a subtask has come.
#[derive(bincode::Encode, bincode::Decode)]
enum Position {
    V1 { block: u64, block_rows: u64, parallelism: u64 },
}

/// Opens one subtask's share of a generated source.
pub(super) fn open<G: Generate + 'static>(
    generate: G,
    options: &GeneratedOptions,
    node: &SourceNode,
) -> Box<dyn Source> {
    let share = options.share;
    let parallelism = u64::from(share.parallelism);
    // At a pace, a large block would hold a subtask's event time, and so the watermark, back.
    let block_rows = match options.rows_per_second {
        None => options.batch_rows,
        Some(rate) => (rate / (PACED_BATCHES * parallelism)).clamp(1, options.batch_rows),
    };
    let source = Generated { generate, rows: options.rows, block_rows, block: u64::from(share.subtask), parallelism };
    let pace = options.rows_per_second.map(|rate| Pace::new(rate, share, options.rows.div_ceil(block_rows)));
    Box::new(Paced::new(source, pace, node))
}

impl<G: Generate> Source for Generated<G> {
    fn next_event(&mut self) -> Result<SourceEvent> {
        let start = self.block.saturating_mul(self.block_rows);
        if start >= self.rows {
            return Ok(SourceEvent::End);
        }
        let end = start.saturating_add(self.block_rows).min(self.rows);
        self.block += self.parallelism;
        self.generate.rows(start..end).map(SourceEvent::Batch)
    }

    fn position(&self) -> Result<Vec<u8>> {
        let Self { block, block_rows, parallelism, .. } = *self;
        Ok(codec::encode(&Position::V1 { block, block_rows, parallelism })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let Position::V1 { block, block_rows, parallelism } = codec::decode(position)?;
        if (block_rows, parallelism) != (self.block_rows, self.parallelism) {
            let now = (self.block_rows, self.parallelism);
            return Err(EngineError::State(format!(
                "rows were made {block_rows} at a time by {parallelism} subtasks, and are now {} by {}",
                now.0, now.1
            )));
        }
        self.block = block;
        Ok(())
    }
}
