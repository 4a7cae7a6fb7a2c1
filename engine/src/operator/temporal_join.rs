//! Joins each row with the newest version of the other side as of its event time.
//!
//! A left row waits until the right side's watermark has passed its time: only then is it certain
//! which version was the newest. Of two versions with the same key and time, the one that is greater
//! in all its columns counts, so that the answer does not depend on which came first. For the same reason a
//! version that is too old for a row is not found, whether it has been dropped yet or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{take_arrays, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use tidemill_plans::node::{TemporalJoinKind, TemporalJoinNode, VersionBound};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::changed_rows::ChangedRows;
use super::held_rows::{HeldRows, Place};
use super::late_rows::without_late;
use super::state_rows::least_watermark;
use crate::error::Result;
use crate::rows::{EventTimeBuffer, JoinKeys};
use crate::state::{RowKeys, StateReader, StateWriter};
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

/// The right side: each key's versions by time.
struct Versions {
    keys: JoinKeys,
    time: usize,
    bound: VersionBound,
    /// For how many microseconds a version is found.
    ttl: Option<i64>,
    order: RowConverter,
    held: HeldRows,
    by_key: HashMap<Box<[u8]>, BTreeMap<i64, Version>>,
    /// What has come since state was written: mostly the same memory as that of the rows that are held.
    unwritten: ChangedRows,
    /// Later versions are not older than this.
    watermark: Watermark,
    /// Nothing is looked for that is too old to be found before the watermark is here.
    next_look: EventTime,
}

struct Version {
    place: Place,
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
                bound: node.bound,
                ttl: node.ttl,
                order: RowConverter::new(fields)?,
                held: HeldRows::new(Arc::clone(right)),
                by_key: HashMap::new(),
                unwritten: ChangedRows::default(),
                watermark: Watermark::MIN,
                next_look: EventTime::MIN,
            },
            kind: node.kind,
            output,
        })
    }

    fn join(&self, left: &RecordBatch) -> Result<RecordBatch> {
        let keys = self.left_keys.of(left)?;
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

impl Versions {
    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let keys = self.keys.of(&batch)?;
        if (0..batch.num_rows()).all(|row| keys.get(row).is_none()) {
            return Ok(());
        }
        let times = event_times(batch.column(self.time))?;
        let orders = self.order.convert_columns(batch.columns())?;
        self.unwritten.note(&batch, self.held.rows());
        let number = self.held.push(batch);
        for (row, time) in times.values().iter().enumerate() {
            let Some(key) = keys.get(row) else { continue };
            let versions = self.by_key.entry_ref(key).or_default();
            let order = orders.row(row).data();
            if versions.get(time).is_none_or(|known| known.order.as_ref() < order) {
                versions.insert(*time, Version { place: (number, row as u32), order: Box::from(order) });
            }
        }
        Ok(())
    }

    fn newest(&self, key: &[u8], time: i64) -> Option<Place> {
        let (from, version) = newest(self.by_key.get(key)?, time, self.bound)?;
        self.is_found(from, time).then_some(version.place)
    }

    /// Whether a version from this time on is young enough for a row at `time`.
    fn is_found(&self, from: i64, time: i64) -> bool {
        self.ttl.is_none_or(|ttl| from >= time.saturating_sub(ttl))
    }

    /// The columns of the versions in `found`, as `beside` picks them; NULLs where it picks none.
    fn beside(&self, found: &[Place], beside: &[Option<u32>]) -> Result<Vec<ArrayRef>> {
        let rows = self.held.gather(found)?;
        if found.len() == beside.len() {
            return Ok(rows.columns().to_vec());
        }
        let picks = UInt32Array::from(beside.to_vec());
        Ok(take_arrays(rows.columns(), &picks, None)?)
    }

    /// Drops the versions that no row at `time` or later can find: all but the newest as of then, and now and
    /// then those that are too old.
    fn clean_up(&mut self, time: EventTime) -> Result<()> {
        let is_due = self.is_due(time);
        if is_due || self.held.wants_clean_up() { self.drop_unfound(time, is_due) } else { Ok(()) }
    }

    /// Drops all but the newest as of a time, and that too if it is too old then, if asked to.
    fn drop_unfound(&mut self, time: EventTime, drops_old: bool) -> Result<()> {
        let mut live: Vec<Place> = Vec::new();
        let mut by_key = std::mem::take(&mut self.by_key);
        by_key.retain(|_, versions| {
            if let Some((newest, _)) = newest(versions, time.0, self.bound) {
                *versions = versions.split_off(&newest);
                if drops_old && !self.is_found(newest, time.0) {
                    versions.pop_first();
                }
            }
            for version in versions.values_mut() {
                live.push(version.place);
                version.place = (0, live.len() as u32 - 1);
            }
            !versions.is_empty()
        });
        self.by_key = by_key;
        self.held.keep(&live)
    }

    /// Whether it is time to look for versions that are too old: a look at all of them is worth a quarter of
    /// the time that they have.
    fn is_due(&mut self, time: EventTime) -> bool {
        let Some(ttl) = self.ttl.filter(|_| time >= self.next_look && !Watermark(time).is_end()) else { return false };
        self.next_look = time.plus(ttl / 4);
        true
    }

    /// Writes the versions that a row can ask for, or those that have come. Which no row can ask for any more follows
    /// from the others.
    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        state.value("next_look", &self.next_look)?;
        if let Some(come) = self.unwritten.take(state.takes_changes()) {
            state.changes("rows", self.keys.belongs(), RowKeys::Each, come, []);
            return Ok(());
        }
        let versions = self.by_key.values().flat_map(BTreeMap::values);
        let mut live: Vec<Place> = versions.map(|version| version.place).collect();
        // As they came: the map's order would differ from run to run.
        live.sort_unstable();
        self.held.snapshot(&live, self.keys.belongs(), state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        self.next_look = state.values("next_look")?.into_iter().min().unwrap_or(EventTime::MIN);
        state.rows("rows")?.into_iter().try_for_each(|batch| self.push(batch))?;
        self.unwritten.begin();
        match self.ttl {
            // As of the last look.
            Some(ttl) if self.next_look != EventTime::MIN => self.drop_unfound(self.next_look.plus(-(ttl / 4)), true),
            _ => Ok(()),
        }
    }

    /// Bytes held: each row as it came, and about as much again for its key and its order.
    fn bytes(&self) -> usize {
        2 * self.held.bytes()
    }
}

/// The newest of a key's versions that a row at `time` may see.
fn newest(versions: &BTreeMap<i64, Version>, time: i64, bound: VersionBound) -> Option<(i64, &Version)> {
    let mut seen = match bound {
        VersionBound::AtOrBefore => versions.range(..=time),
        VersionBound::Before => versions.range(..time),
    };
    seen.next_back().map(|(time, version)| (*time, version))
}

impl Operator for TemporalJoin {
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        // The version that a late row asks for may be gone or not, and the rows that a late version
        // answers may have been answered or not: dropping both keeps results repeatable.
        match port {
            0 => self.waiting.push(without_late(batch, self.left_time, self.left_watermark.0, ctx)?),
            _ => self.versions.push(without_late(batch, self.versions.time, self.versions.watermark.0, ctx)?),
        }
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.left_watermark = watermarks.port(0);
        self.versions.watermark = watermarks.port(1);
        while let Some(left) = self.waiting.take_chunk_before(watermarks.port(1).0)? {
            let joined = self.join(&left)?;
            ctx.emit(joined);
        }
        self.versions.clean_up(watermarks.min().0)?;
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.left_watermark)?;
        self.waiting.snapshot(self.left_keys.belongs(), &mut state.part("waiting"));
        self.versions.snapshot(&mut state.part("versions"))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.left_watermark = least_watermark(state, "watermark")?;
        self.waiting.restore(&state.part("waiting"))?;
        self.versions.restore(&state.part("versions"))
    }

    fn state_bytes(&self) -> usize {
        self.waiting.bytes() + self.versions.bytes()
    }
}

#[cfg(test)]
mod tests;
