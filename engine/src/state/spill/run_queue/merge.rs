//! Runs put together to one. A block that no other has rows among is copied as it is: of rows that come in order there
//! are only such.

use super::block::{self, Run, RunWriter};
use crate::error::Result;
use crate::state::spill::sorted_batch::{SortedBatch, cut_before};

/// Puts runs of one part together.
pub(super) fn merge(mut runs: Vec<Run>, mut writer: RunWriter, column: usize) -> Result<Run> {
    let mut open: Vec<SortedBatch> = Vec::new();
    while let Some((block, part)) = block::take_first(&mut runs) {
        // Before it nothing comes any more.
        let bound = block::first(&runs).map_or(i64::MAX, |run| runs[run].first());
        if open.is_empty() && block.last <= bound {
            writer.copy(&block)?;
            continue;
        }
        let wanted = block.rows;
        open.push(SortedBatch::new(block.read()?, column, part)?);
        let ready: usize = open.iter().map(|batch| batch.rows_before(bound)).sum();
        // Blocks stay as large as they were.
        if ready >= wanted || runs.is_empty() {
            writer.add(cut_before(&mut open, bound))?;
        }
    }
    Ok(writer.finish())
}
