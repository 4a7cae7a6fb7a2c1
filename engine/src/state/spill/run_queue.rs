//! Rows on disk that come back in the order of a number: those that wait for event time to pass them.
//!
//! Each put writes a run: rows in order, in blocks that are read one by one. In memory is where each block is and
//! which numbers it has, so that what is due is found without a look at the others. A block is gone when it has been
//! read: whoever needs some of its rows only keeps the others. Runs of like size are put together, so that few of them
//! have a block at each number.

mod block;
mod merge;

use std::ops::Range;

use arrow::array::RecordBatch;

use self::block::{Block, Run, RunWriter};
use self::merge::merge;
use super::sizes::of_like_size;
use super::sorted_batch::{SortedBatch, is_before};
use super::{Part, ScratchFolder, StateMemory};
use crate::error::Result;
use crate::state::LaterRows;

/// Bytes of a block, in memory. One of each run that has rows which are due is read at a time, so it is a small part of
/// the memory that there is. Tests want to see several.
const BLOCK_BYTES: Range<usize> = if cfg!(test) { 64..1 << 10 } else { 4 << 10..128 << 10 };

/// Of the memory that there is, a block has one such part.
const BLOCKS_IN_MEMORY: usize = 64;

/// See the [module](self).
pub(crate) struct RunQueue {
    folder: ScratchFolder,
    /// The column with the number.
    column: usize,
    block_bytes: usize,
    runs: Vec<Run>,
}

impl RunQueue {
    /// An empty one, for rows that have their number in this column.
    pub(crate) fn new(column: usize, memory: &StateMemory) -> Self {
        let share = memory.bytes_max.map_or(usize::MAX, |bytes_max| bytes_max / BLOCKS_IN_MEMORY);
        let block_bytes = share.clamp(BLOCK_BYTES.start, BLOCK_BYTES.end);
        Self { folder: memory.scratch.clone(), column, block_bytes, runs: Vec::new() }
    }

    /// Puts rows.
    pub(crate) fn put(&mut self, batches: Vec<SortedBatch>) -> Result<()> {
        let (written, new): (Vec<_>, Vec<_>) = batches.into_iter().partition(|batch| batch.part == Part::Written);
        for (part, batches) in [(Part::Written, written), (Part::Unwritten, new)] {
            if !batches.is_empty() {
                let mut writer = self.writer(part)?;
                writer.add(batches)?;
                self.runs.push(writer.finish());
            }
        }
        self.tidy_up()
    }

    fn writer(&self, part: Part) -> Result<RunWriter> {
        RunWriter::new(&self.folder, part, self.block_bytes)
    }

    /// Puts some runs together, if there are enough of like size.
    fn tidy_up(&mut self) -> Result<()> {
        for part in [Part::Written, Part::Unwritten] {
            let runs = self.runs.iter().enumerate().filter(|(_, run)| run.part == part);
            let Some(chosen) = of_like_size(runs.map(|(number, run)| (number, run.live_bytes()))) else { continue };
            let mut numbers = 0..;
            let is_chosen = |_: &mut Run| numbers.next().is_some_and(|number| chosen.contains(&number));
            let merged = self.runs.extract_if(.., is_chosen).collect();
            let merged = merge(merged, self.writer(part)?, self.column)?;
            self.runs.push(merged);
        }
        Ok(())
    }

    /// The least number of a row that is here, if it is before a bound.
    pub(crate) fn first_before(&self, bound: i64) -> Option<i64> {
        let first = block::first(&self.runs).map(|run| self.runs[run].first())?;
        Some(first).filter(|first| is_before(*first, bound))
    }

    /// Takes the block out that begins first.
    pub(crate) fn take_first(&mut self) -> Result<Option<SortedBatch>> {
        let Some((block, part)) = block::take_first(&mut self.runs) else { return Ok(None) };
        Ok(Some(SortedBatch::new(block.read()?, self.column, part)?))
    }

    /// Lets the blocks go that have no row from `bound` on. Where one has some, all of its rows are left.
    pub(crate) fn drop_before(&mut self, bound: i64) {
        self.runs.iter_mut().for_each(|run| run.drop_before(bound));
        self.runs.retain(|run| !run.is_empty());
    }

    /// The rows of all blocks that have some with such numbers.
    pub(crate) fn read(&self, numbers: &Range<i64>) -> Result<Vec<SortedBatch>> {
        let mut found = Vec::new();
        for run in &self.runs {
            for block in run.blocks().filter(|block| block.first < numbers.end && numbers.start <= block.last) {
                found.push(SortedBatch::new(block.read()?, self.column, run.part)?);
            }
        }
        Ok(found)
    }

    /// What is here now, or one part of it; none if there is nothing.
    pub(crate) fn view(&self, only: Option<Part>) -> Option<QueuedView> {
        let runs = self.runs.iter().filter(|run| only.is_none_or(|part| run.part == part));
        let blocks: Vec<Block> = runs.flat_map(Run::blocks).cloned().collect();
        (!blocks.is_empty()).then_some(QueuedView { blocks })
    }

    /// A snapshot has everything that is here.
    pub(crate) fn note_written(&mut self) {
        self.runs.iter_mut().for_each(|run| run.part = Part::Written);
    }

    /// How many rows there are, and how many of them are in no snapshot.
    pub(crate) fn counts(&self) -> [usize; 2] {
        let count = |wanted: fn(&Run) -> bool| self.runs.iter().filter(|run| wanted(run)).map(Run::rows).sum();
        [count(|_| true), count(|run| run.part == Part::Unwritten)]
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.runs.iter().map(Run::memory_bytes).sum()
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.runs.iter().map(Run::disk_bytes).sum()
    }
}

/// The rows of one moment.
pub(crate) struct QueuedView {
    blocks: Vec<Block>,
}

impl LaterRows for QueuedView {
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        Ok(Box::new(self.blocks.clone().into_iter().map(|block| block.read())))
    }
}

#[cfg(test)]
mod tests;
