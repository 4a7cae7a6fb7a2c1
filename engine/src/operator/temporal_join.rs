//! Joins each row with the newest version of the other side as of its event time.
//!
//! A left row waits until the right side's watermark has passed its time: only then is it certain
//! which version was the newest. Of two versions with the same key and time, the one that is greater
//! in all its columns counts, so that the answer does not depend on which came first. For the same reason a
//! version that is too old for a row is not found, whether it has been dropped yet or not.

mod versions;

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::{TemporalJoinKind, TemporalJoinNode};
use tidemill_plans::time::{Watermark, event_times};

use self::versions::Versions;
use super::Operator;
use super::late_rows::without_late;
use super::state_rows::least_watermark;
use crate::error::Result;
use crate::rows::{EventTimeBuffer, JoinKeys};
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// See [`TemporalJoinNode`].
pub(super) struct TemporalJoin {
    left_keys: JoinKeys,
    left_time: usize,
    waiting: EventTimeBuffer,
    left_watermark: Watermark,
    versions: Versions,
    kind: TemporalJoinKind,
    output: SchemaRef,
}

impl TemporalJoin {
    pub(super) fn new(
        node: &TemporalJoinNode,
        left: &SchemaRef,
        right: &SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        Ok(Self {
            left_keys: JoinKeys::new(left, &node.left_keys)?,
            left_time: node.left_time,
            // Versions have what rows that wait leave them.
            waiting: EventTimeBuffer::new(Arc::clone(left), node.left_time, &memory.shared_by(2)),
            left_watermark: Watermark::MIN,
            versions: Versions::new(node, right, memory)?,
            kind: node.kind,
            output,
        })
    }

    fn join(&mut self, left: &RecordBatch) -> Result<RecordBatch> {
        let keys = self.left_keys.of(left)?;
        self.versions.take_back(&keys, &self.left_keys.columns(left), left.num_rows())?;
        let times = event_times(left.column(self.left_time))?;
        // The rows of the output, and which of the versions found is beside each.
        let (mut rows, mut beside, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for (row, time) in times.values().iter().enumerate() {
            let version = keys.get(row).and_then(|key| self.versions.newest(key, *time));
            if version.is_none() && self.kind == TemporalJoinKind::Inner {
                continue;
            }
            rows.push(row as u32);
            beside.push(version.map(|_| found.len() as u32));
            found.extend(version);
        }
        let left = if rows.len() == left.num_rows() {
            left.clone()
        } else {
            take_record_batch(left, &UInt32Array::from(rows))?
        };
        let right = self.versions.beside(&found, &beside)?;
        let columns = left.columns().iter().map(Arc::clone).chain(right).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

impl Operator for TemporalJoin {
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        // The version that a late row asks for may be gone or not, and the rows that a late version
        // answers may have been answered or not: dropping both keeps results repeatable.
        match port {
            0 => self.waiting.push(without_late(batch, self.left_time, self.left_watermark.0, ctx)?)?,
            _ => self.versions.push(without_late(batch, self.versions.time, self.versions.watermark.0, ctx)?)?,
        }
        self.versions.spill(self.waiting.bytes())
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.left_watermark = watermarks.port(0);
        self.versions.watermark = watermarks.port(1);
        while let Some(left) = self.waiting.take_chunk_before(watermarks.port(1).0)? {
            let joined = self.join(&left)?;
            ctx.emit(joined);
            self.versions.spill(self.waiting.bytes())?;
        }
        self.versions.clean_up(watermarks.min().0)?;
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.left_watermark)?;
        self.waiting.snapshot(self.left_keys.belongs(), &mut state.part("waiting"))?;
        self.versions.snapshot(&mut state.part("versions"))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.left_watermark = least_watermark(state, "watermark")?;
        self.waiting.restore(&state.part("waiting"))?;
        let state = state.part("versions");
        self.versions.watermark = least_watermark(&state, "watermark")?;
        self.versions.restore(self.left_watermark.min(self.versions.watermark).0, self.waiting.bytes(), &state)
    }

    fn state_bytes(&self) -> usize {
        self.waiting.bytes() + self.versions.bytes()
    }

    fn spilled_bytes(&self) -> u64 {
        self.waiting.disk_bytes() + self.versions.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
