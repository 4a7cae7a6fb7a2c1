//! Blocks of rows in a file, each an Arrow IPC stream, and the runs that they are of.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_plans::ipc;

use crate::error::{EngineError, Result};
use crate::state::spill::scratch::{ScratchFile, ScratchFolder};
use crate::state::spill::sorted_batch::{SortedBatch, in_order};
use crate::state::spill::{Part, set_aside::append};

/// Some rows of a run, which are in order.
#[derive(Debug, Clone)]
pub(super) struct Block {
    file: Arc<ScratchFile>,
    bytes: Range<u64>,
    /// The number of the first row, and of the last.
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) rows: usize,
}

impl Block {
    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (self.bytes.end - self.bytes.start) as usize];
        self.file.read(&mut bytes, self.bytes.start)?;
        Ok(bytes)
    }

    pub(super) fn read(&self) -> Result<RecordBatch> {
        let rows = ipc::decode(self.bytes()?)?.batches.pop();
        rows.ok_or_else(|| EngineError::State(String::from("a block of a scratch file has no rows")))
    }
}

/// Rows in order. There are always some, but for a moment.
pub(super) struct Run {
    pub(super) part: Part,
    blocks: VecDeque<Block>,
    rows: usize,
    live_bytes: u64,
    disk_bytes: u64,
}

impl Run {
    /// The number of the first row.
    pub(super) fn first(&self) -> i64 {
        self.blocks.front().map_or(i64::MAX, |block| block.first)
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the blocks that are there, and of the whole file.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    fn take_first(&mut self) -> Option<Block> {
        let block = self.blocks.pop_front()?;
        self.rows -= block.rows;
        self.live_bytes -= block.bytes.end - block.bytes.start;
        Some(block)
    }

    /// Lets the blocks go that have no row from `bound` on.
    pub(super) fn drop_before(&mut self, bound: i64) {
        while self.blocks.front().is_some_and(|block| block.last < bound) {
            self.take_first();
        }
    }
}

/// The run whose rows begin first.
pub(super) fn first(runs: &[Run]) -> Option<usize> {
    (0..runs.len()).min_by_key(|run| runs[*run].first())
}

/// Takes the block out that begins first, with the part that it is of. A run goes with its last block, and with it
/// its file.
pub(super) fn take_first(runs: &mut Vec<Run>) -> Option<(Block, Part)> {
    let run = first(runs)?;
    let (block, part) = (runs[run].take_first()?, runs[run].part);
    if runs[run].is_empty() {
        runs.swap_remove(run);
    }
    Some((block, part))
}

/// Writes a run.
pub(super) struct RunWriter {
    part: Part,
    file: Arc<ScratchFile>,
    block_bytes: usize,
    end: u64,
    blocks: VecDeque<Block>,
}

impl RunWriter {
    pub(super) fn new(folder: &ScratchFolder, part: Part, block_bytes: usize) -> Result<Self> {
        let file = Arc::new(folder.file()?);
        Ok(Self { part, file, block_bytes, end: 0, blocks: VecDeque::new() })
    }

    /// Adds rows, which are not before those that have been added.
    pub(super) fn add(&mut self, batches: Vec<SortedBatch>) -> Result<()> {
        let rows: usize = batches.iter().map(|batch| batch.numbers.len()).sum();
        let bytes: usize = batches.iter().map(|batch| batch.bytes).sum();
        let blocks = (bytes / self.block_bytes).clamp(1, rows.max(1));
        in_order(batches, rows.div_ceil(blocks).max(1)).try_for_each(|block| {
            let (rows, numbers) = block?;
            self.write(&rows, &numbers)
        })
    }

    fn write(&mut self, rows: &RecordBatch, numbers: &[i64]) -> Result<()> {
        let [first, ..] = *numbers else { return Ok(()) };
        let last = numbers.last().copied().unwrap_or(first);
        self.append(&mut ipc::of_batch(rows)?, [first, last], rows.num_rows())
    }

    /// Adds a block of another run, none of whose rows is before those that have been added.
    pub(super) fn copy(&mut self, block: &Block) -> Result<()> {
        self.append(&mut block.bytes()?, [block.first, block.last], block.rows)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, [first, last]: [i64; 2], rows: usize) -> Result<()> {
        debug_assert!(self.blocks.back().is_none_or(|block| block.last <= first), "a run is in order");
        let start = self.end;
        append(&self.file, &mut self.end, bytes)?;
        self.blocks.push_back(Block { file: Arc::clone(&self.file), bytes: start..self.end, first, last, rows });
        Ok(())
    }

    /// The run.
    pub(super) fn finish(self) -> Run {
        let rows = self.blocks.iter().map(|block| block.rows).sum();
        Run { part: self.part, blocks: self.blocks, rows, live_bytes: self.end, disk_bytes: self.end }
    }
}
