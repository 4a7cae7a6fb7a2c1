//! All rows of each partition, where rows may be taken away: the next one takes the place of the first.

use std::cmp::Ordering;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::change::ChangeOp;
use tidemill_plans::node::TopNNode;
use tidemill_plans::time::Watermark;

use super::{Changes, KeptRows, Named, SLICE_ROWS};
use crate::error::Result;
use crate::operator::sorted_rows::{Encoded, SortedRows, difference};
use crate::state::{StateMemory, StateReader, StateWriter};

/// See the [module](self).
pub(super) struct AllRows {
    limit: usize,
    by_rank: bool,
    rows: SortedRows,
    /// Of each changed partition, in the order of the first change, the first rows that downstream
    /// knows.
    known: Vec<Vec<Encoded>>,
}

impl AllRows {
    pub(super) fn new(node: &TopNNode, input: &SchemaRef, memory: &StateMemory) -> Result<Self> {
        Ok(Self {
            limit: usize::try_from(node.limit).unwrap_or(usize::MAX),
            by_rank: node.rank || node.limit == 1,
            rows: SortedRows::new(input, &node.partition, &node.order_by, node.ttl, memory)?,
            known: Vec::new(),
        })
    }
}

impl KeptRows for AllRows {
    fn apply(&mut self, batch: &RecordBatch) -> Result<()> {
        let Self { limit, rows, known, .. } = self;
        rows.apply(batch, |_, partition| known.push(partition.first(*limit)))
    }

    fn has_changes(&self) -> bool {
        !self.known.is_empty()
    }

    fn changes(&mut self) -> Result<Changes> {
        let mut named = Named::new();
        let known = std::mem::take(&mut self.known);
        for (partition, before) in self.rows.take_changed().into_iter().zip(known) {
            let after = self.rows.partition(partition).first(self.limit);
            if self.by_rank {
                named.by_rank(&before, &after);
                continue;
            }
            difference(&before, &after, |row, side| {
                let op = if side == Ordering::Less { ChangeOp::Delete } else { ChangeOp::Insert };
                named.push(row, op, 0);
            });
        }
        let rows = self.rows.decode(&named.rows)?;
        Ok(named.with_rows(rows))
    }

    fn forget_changes(&mut self) -> Result<()> {
        self.known.clear();
        self.rows.take_changed();
        Ok(())
    }

    fn slice(&self, from: &mut usize) -> Result<Option<Changes>> {
        let mut named = Named::new();
        while *from < self.rows.partitions() && named.rows.len() < SLICE_ROWS {
            named.insert_all(&self.rows.partition(*from).first(self.limit));
            *from += 1;
        }
        if named.rows.is_empty() {
            return Ok(None);
        }
        let rows = self.rows.decode(&named.rows)?;
        Ok(Some(named.with_rows(rows)))
    }

    fn wants_clean_up(&mut self, watermark: Watermark) -> bool {
        self.rows.wants_clean_up(watermark)
    }

    fn drop_old(&mut self) -> Result<()> {
        self.rows.drop_old().map(drop)
    }

    fn lacks_room(&self) -> bool {
        self.rows.lacks_room(self.bytes())
    }

    fn spill(&mut self) -> Result<()> {
        self.rows.spill()
    }

    fn next_spilled(&mut self) -> Result<bool> {
        self.rows.next_spilled()
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.rows.snapshot(state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.rows.restore(state)
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }
}
