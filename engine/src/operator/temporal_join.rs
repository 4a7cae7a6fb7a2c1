//! Joins each row with the newest version of the other side at or before its event time.
//!
//! A left row waits until the right side's watermark has passed its time: only then is it certain
//! which version was the newest. Of two versions with the same key and time, the one that is greater
//! in all its columns counts, so that the answer does not depend on which came first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{filter_record_batch, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use tidemill_plans::node::{TemporalJoinKind, TemporalJoinNode};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use crate::error::Result;
use crate::rows::{EventTimeBuffer, JoinKeys};
use crate::task::{OperatorContext, PortWatermarks, batch_bytes};

/// Fewer rows than twice this are not worth a clean-up. Tests want to see some.
const CLEAN_UP_ROWS: usize = if cfg!(test) { 2 } else { 1024 };

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

/// The right side: each key's versions by time.
struct Versions {
    keys: JoinKeys,
    time: usize,
    schema: SchemaRef,
    order: RowConverter,
    batches: Vec<RecordBatch>,
    by_key: HashMap<Box<[u8]>, BTreeMap<i64, Version>>,
    /// Later versions are not older than this.
    watermark: Watermark,
    /// How many rows the batches hold, and how many were left by the last clean-up.
    held: usize,
    kept: usize,
    bytes: usize,
}

struct Version {
    batch: u32,
    row: u32,
    /// All columns, comparable: decides between versions of the same time.
    order: Box<[u8]>,
}

impl TemporalJoin {
    pub(super) fn new(node: &TemporalJoinNode, left: &SchemaRef, right: &SchemaRef, output: SchemaRef) -> Result<Self> {
        let fields = right.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self {
            left_keys: JoinKeys::new(left, &node.left_keys)?,
            left_time: node.left_time,
            waiting: EventTimeBuffer::new(Arc::clone(left), node.left_time),
            left_watermark: Watermark::MIN,
            versions: Versions {
                keys: JoinKeys::new(right, &node.right_keys)?,
                time: node.right_time,
                schema: Arc::clone(right),
                order: RowConverter::new(fields)?,
                batches: Vec::new(),
                by_key: HashMap::new(),
                watermark: Watermark::MIN,
                held: 0,
                kept: 0,
                bytes: 0,
            },
            kind: node.kind,
            output,
        })
    }

    fn join(&self, left: &RecordBatch) -> Result<RecordBatch> {
        let keys = self.left_keys.of(left)?;
        let times = event_times(left.column(self.left_time))?;
        let (mut rows, mut found) = (Vec::new(), Vec::new());
        for (row, (key, time)) in keys.iter().zip(times.values()).enumerate() {
            let version = key.as_ref().and_then(|key| self.versions.newest(key, *time));
            if version.is_some() || self.kind == TemporalJoinKind::Left {
                rows.push(row as u32);
                found.push(version);
            }
        }
        let left = take_record_batch(left, &UInt32Array::from(rows))?;
        let right = self.versions.take(&found)?;
        let columns = left.columns().iter().map(Arc::clone).chain(right).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

impl Versions {
    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let times = event_times(batch.column(self.time))?;
        let orders = self.order.convert_columns(batch.columns())?;
        let index = self.batches.len() as u32;
        for (row, (key, time)) in self.keys.of(&batch)?.into_iter().zip(times.values()).enumerate() {
            let Some(key) = key else { continue };
            let order = Box::from(orders.row(row).as_ref());
            let versions = self.by_key.entry(key).or_default();
            match versions.get(time) {
                Some(known) if known.order >= order => {}
                _ => {
                    versions.insert(*time, Version { batch: index, row: row as u32, order });
                }
            }
        }
        self.held += batch.num_rows();
        self.bytes += 2 * batch_bytes(&batch);
        self.batches.push(batch);
        Ok(())
    }

    fn newest(&self, key: &[u8], time: i64) -> Option<(usize, usize)> {
        let (_, version) = self.by_key.get(key)?.range(..=time).next_back()?;
        Some((version.batch as usize, version.row as usize))
    }

    /// The versions' columns; NULLs where there is none.
    fn take(&self, found: &[Option<(usize, usize)>]) -> Result<Vec<ArrayRef>> {
        let nulls: Vec<ArrayRef> = self.schema.fields().iter().map(|f| new_null_array(f.data_type(), 1)).collect();
        let nullable: Vec<_> = self.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(nullable));
        let none = RecordBatch::try_new(Arc::clone(&schema), nulls)?;
        let mut batches = vec![none];
        for batch in &self.batches {
            batches.push(RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?);
        }
        let picks: Vec<(usize, usize)> =
            found.iter().map(|pick| pick.map_or((0, 0), |(batch, row)| (batch + 1, row))).collect();
        let sources: Vec<&RecordBatch> = batches.iter().collect();
        Ok(interleave_record_batch(&sources, &picks)?.columns().to_vec())
    }

    /// Drops the versions that no later row can ask for: all but the newest before `bound`. Costs a
    /// pass over all versions, so it waits until there are twice as many as it left the last time.
    fn clean_up(&mut self, bound: EventTime) -> Result<()> {
        if self.held < 2 * self.kept.max(CLEAN_UP_ROWS) {
            return Ok(());
        }
        let mut live: Vec<(usize, usize)> = Vec::new();
        for versions in self.by_key.values_mut() {
            if let Some((newest, _)) = versions.range(..=bound.0).next_back() {
                let newest = *newest;
                *versions = versions.split_off(&newest);
            }
            for version in versions.values_mut() {
                live.push((version.batch as usize, version.row as usize));
                (version.batch, version.row) = (0, live.len() as u32 - 1);
            }
        }
        let held: Vec<&RecordBatch> = self.batches.iter().collect();
        self.batches = if live.is_empty() { Vec::new() } else { vec![interleave_record_batch(&held, &live)?] };
        self.bytes = self.batches.iter().map(|batch| 2 * batch_bytes(batch)).sum();
        self.held = live.len();
        self.kept = live.len();
        Ok(())
    }
}

/// The rows that are not late, and a count of the others.
fn on_time(batch: RecordBatch, time: usize, watermark: Watermark, ctx: &OperatorContext) -> Result<RecordBatch> {
    let times = event_times(batch.column(time))?;
    let on_time: BooleanArray = times.values().iter().map(|time| Some(EventTime(*time) >= watermark.0)).collect();
    let late = on_time.false_count();
    if late == 0 {
        return Ok(batch);
    }
    ctx.count_late(late);
    Ok(filter_record_batch(&batch, &on_time)?)
}

impl Operator for TemporalJoin {
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        // The version that a late row asks for may be gone or not, and the rows that a late version
        // answers may have been answered or not: dropping both keeps results repeatable.
        match port {
            0 => self.waiting.push(on_time(batch, self.left_time, self.left_watermark, ctx)?),
            _ => self.versions.push(on_time(batch, self.versions.time, self.versions.watermark, ctx)?),
        }
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.left_watermark = watermarks.port(0);
        self.versions.watermark = watermarks.port(1);
        if let Some(left) = self.waiting.take_before(watermarks.port(1).0)? {
            let joined = self.join(&left)?;
            ctx.emit(joined);
        }
        self.versions.clean_up(watermarks.min().0)?;
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.waiting.bytes() + self.versions.bytes
    }
}

#[cfg(test)]
mod tests;
