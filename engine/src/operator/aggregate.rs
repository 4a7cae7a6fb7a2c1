//! Groups by key without a window, and emits how each group's result changes.
//!
//! Rows may come and go: where the input is a changelog, a row that goes leaves the aggregates as if it
//! had never come, and a group without rows is deleted. Changes are gathered while rows come and are
//! emitted when the task pauses: one update a group, however many rows have changed it.
//!
//! Functions whose result depends on the order of their rows take them in event-time order, once the
//! watermark has passed them.

mod before;
mod emission;
mod snapshot;
mod spilling;
mod states;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, make_comparator};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::SchemaRef;
use tidemill_plans::change::{ChangeOp, change_array, change_column_index, change_ops};
use tidemill_plans::node::{AggregateEmit, AggregateNode};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use self::before::Before;
use self::emission::Emission;
use self::spilling::Spilling;
use self::states::{GroupStates, GroupedRows, states_of};
use super::Operator;
use super::by_number::ByNumber;
use super::changed_keys::ChangedKeys;
use super::groups::AggregateCall;
use super::key_index::KeyIndex;
use super::recency::Recency;
use super::window_aggregate::conform;
use crate::error::Result;
use crate::rows::{CHUNK_ROWS, EvenChunks, EventTimeBuffer};
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{EndReason, OperatorContext, PortWatermarks};

/// Changes emitted in one batch.
const EMIT_ROWS: usize = 1 << 14;

/// Fewer groups than this are not worth a clean-up. Tests want to see some.
const CLEAN_UP_GROUPS: usize = if cfg!(test) { 2 } else { 4096 };

/// See [`AggregateNode`].
pub(super) struct Aggregate {
    calls: Vec<AggregateCall>,
    emit: AggregateEmit,
    /// For how long changes are gathered, if this was said.
    gathers_for: Option<Duration>,
    output: SchemaRef,
    /// Event time of the input, if it has one.
    time: Option<usize>,
    /// Rows whose time has not passed; `None` where their order does not matter.
    waiting: Option<EventTimeBuffer>,
    /// Whether the input is a changelog.
    takes_back: bool,
    key_columns: Vec<usize>,
    keys: KeyIndex,
    states: Vec<Box<dyn GroupStates>>,
    groups: ByNumber<Group>,
    /// The groups that have changed since they were emitted, in the order in which they did.
    changed: Vec<u32>,
    emission: Emission,
    /// The groups that have changed since state was written.
    unwritten: ChangedKeys,
    /// For those of them that downstream knows, what it knows.
    before: Before,
    /// Groups without rows.
    empty: usize,
    recency: Recency,
    spilling: Spilling,
    /// How long a group is kept that no row changes, in microseconds of event time.
    ttl: Option<i64>,
    /// Nothing is looked for to be dropped before the watermark is here.
    next_clean_up: EventTime,
    watermark: Watermark,
}

/// What is known of a group besides its aggregates.
#[derive(Debug, Clone, Copy)]
struct Group {
    /// How many rows it has; counted only where rows may go.
    rows: i64,
    /// Whether downstream knows it.
    known: bool,
    changed: bool,
    /// Whether it is counted as a group without rows.
    empty: bool,
    /// The event time of its last change.
    touched: i64,
}

impl Group {
    const NEW: Self = Self { rows: 0, known: false, changed: false, empty: false, touched: i64::MIN };
}

impl Aggregate {
    pub(super) fn new(node: &AggregateNode, input: SchemaRef, output: SchemaRef, memory: &StateMemory) -> Result<Self> {
        let takes_back = change_column_index(&input).is_some();
        let calls: Result<Vec<_>> = node.aggregates.iter().map(|call| AggregateCall::new(call, &input)).collect();
        let calls = calls?;
        let mut states = Vec::new();
        for call in &calls {
            states.push(states_of(call, &call.argument_types(&input)?, takes_back)?);
        }
        let ordered = states.iter().any(|states| states.needs_order());
        let waiting = node
            .time
            .filter(|_| ordered)
            .map(|time| EventTimeBuffer::new(Arc::clone(&input), time, &memory.shared_by(2)));
        let spilling = Spilling::new(memory, node.keys.len(), states.iter().any(|states| states.pairs().is_some()));
        let keys = KeyIndex::new(&input, &node.keys)?;
        for pairs in states.iter_mut().filter_map(|states| states.pairs_mut()).filter(|_| spilling.is_limited()) {
            pairs.limit(memory, keys.schema())?;
        }
        let mut aggregate = Self {
            calls,
            emit: node.emit,
            gathers_for: node.gather_ms.map(Duration::from_millis),
            output,
            time: node.time,
            waiting,
            takes_back,
            key_columns: node.keys.clone(),
            keys,
            states,
            groups: ByNumber::default(),
            changed: Vec::new(),
            emission: Emission::default(),
            unwritten: ChangedKeys::default(),
            before: Before::default(),
            empty: 0,
            recency: Recency::default(),
            spilling,
            ttl: node.ttl,
            next_clean_up: EventTime::MIN,
            watermark: Watermark::MIN,
        };
        if !aggregate.keys.has_columns() {
            // Without keys there is one group from the start: a count of nothing is 0, not nothing.
            aggregate.note_changed(&[0])?;
        }
        Ok(aggregate)
    }

    /// Adds the rows of a batch, and takes away those that it says are gone.
    fn apply(&mut self, batch: &RecordBatch) -> Result<()> {
        let (mut groups, known) = (Vec::new(), self.keys.len());
        self.keys.find(batch, &self.key_columns, &mut groups)?;
        self.take_back(known)?;
        self.note_changed(&groups)?;
        let ops = if self.takes_back { Some(change_ops(batch)?) } else { None };
        self.note_rows(batch, &groups, ops.as_deref())?;
        for (call, states) in self.calls.iter().zip(&mut self.states) {
            let (arguments, filter) = call.evaluate(batch)?;
            let rows = GroupedRows {
                groups: &groups,
                arguments: &arguments,
                filter: filter.as_ref(),
                ops: ops.as_deref(),
                keys: &self.keys,
            };
            states.update(&rows, self.groups.len())?;
        }
        Ok(())
    }

    /// Remembers what downstream knows of these groups, before they change.
    fn note_changed(&mut self, groups: &[usize]) -> Result<()> {
        self.groups.resize(self.keys.len(), Group::NEW);
        if self.spilling.is_limited() {
            groups.iter().for_each(|number| self.recency.note(*number));
        }
        let mut known = Vec::new();
        for number in groups {
            self.unwritten.note(*number);
            let group = &mut self.groups[*number];
            if !group.changed {
                group.changed = true;
                self.changed.push(*number as u32);
                if group.known {
                    known.push(*number as u32);
                }
            }
        }
        if !known.is_empty() {
            let results = self.results(&known)?;
            self.before.push(results);
        }
        Ok(())
    }

    /// Counts the rows of each group, and when it changed last, where that is of use.
    fn note_rows(&mut self, batch: &RecordBatch, groups: &[usize], ops: Option<&[ChangeOp]>) -> Result<()> {
        if let Some(ops) = ops {
            for (number, op) in groups.iter().zip(ops) {
                self.groups[*number].rows += if op.adds() { 1 } else { -1 };
            }
        }
        if self.ttl.is_none() {
            return Ok(());
        }
        match self.time {
            Some(time) => {
                let times = event_times(batch.column(time))?;
                for (number, time) in groups.iter().zip(times.values()) {
                    let group = &mut self.groups[*number];
                    group.touched = group.touched.max(*time);
                }
            }
            None => groups.iter().for_each(|number| self.groups[*number].touched = self.watermark.0.0),
        }
        Ok(())
    }

    /// The results of these groups, a column for each aggregate.
    fn results(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.states.iter_mut().map(|states| states.evaluate(groups)).collect()
    }

    /// Adds the rows that event time has passed.
    ///
    /// An accumulator sums a batch in lanes, so where one batch ends and the next begins shows in the
    /// last bits of a float. The cuts must not depend on when watermarks came, nor on how much memory there is: a
    /// final result takes so many rows at a time, an updated one a point of event time after another.
    fn take_passed(&mut self, watermark: Watermark, ctx: &mut OperatorContext) -> Result<()> {
        match self.emit {
            AggregateEmit::AtEnd if watermark.is_end() => self.take_all(),
            AggregateEmit::AtEnd => Ok(()),
            AggregateEmit::OnUpdate => self.take_times(watermark, ctx),
        }
    }

    fn take_all(&mut self) -> Result<()> {
        let Some(mut waiting) = self.waiting.take() else { return Ok(()) };
        let mut chunks = EvenChunks::new(Arc::clone(waiting.schema()));
        while let Some(rows) = waiting.take_chunk_before(EventTime::MAX)? {
            chunks.push(rows);
            for rows in chunks.take_full(CHUNK_ROWS)? {
                self.apply(&rows)?;
                self.spill()?;
            }
        }
        self.waiting = Some(waiting);
        chunks.take_rest()?.map_or(Ok(()), |rest| self.apply(&rest))
    }

    fn take_times(&mut self, watermark: Watermark, ctx: &mut OperatorContext) -> Result<()> {
        let mut rows = 0;
        while let Some(waiting) = &mut self.waiting
            && let Some(batch) = waiting.take_chunk_before(watermark.0)?
        {
            let times = event_times(batch.column(waiting.time()))?;
            let mut start = 0;
            for same in times.values().chunk_by(|a, b| a == b) {
                self.apply(&batch.slice(start, same.len()))?;
                start += same.len();
            }
            rows += batch.num_rows();
            // What many rows change may have no room, though nothing is due yet.
            if rows >= CHUNK_ROWS {
                self.make_room(ctx)?;
                self.end_emission(ctx)?;
                rows = 0;
            }
        }
        Ok(())
    }

    fn emit_changed(&mut self, changed: &[u32], ctx: &mut OperatorContext) -> Result<()> {
        let after = self.results(changed)?;
        let known = || changed.iter().map(|group| self.groups[*group as usize].known);
        let before = self.before.take(known().filter(|known| *known).count(), &after)?;
        let differ = differences(&before, &after, known())?;
        let mut changes = Changes::default();
        let mut known = 0;
        for (place, number) in changed.iter().enumerate() {
            let is_there = !self.keys.has_columns() || !self.takes_back || self.groups[*number as usize].rows > 0;
            let group = &mut self.groups[*number as usize];
            match (group.known, is_there) {
                (true, true) if differ[known] => {
                    changes.push(*number, (0, known), ChangeOp::UpdateBefore);
                    changes.push(*number, (1, place), ChangeOp::UpdateAfter);
                }
                (true, false) => changes.push(*number, (0, known), ChangeOp::Delete),
                (false, true) => changes.push(*number, (1, place), ChangeOp::Insert),
                _ => {}
            }
            known += usize::from(group.known);
            self.empty = self.empty + usize::from(!is_there) - usize::from(group.empty);
            (group.known, group.changed, group.empty) = (is_there, false, !is_there);
        }
        self.emit_changes(&changes, &before, &after, ctx)
    }

    fn emit_changes(
        &self,
        changes: &Changes,
        before: &[ArrayRef],
        after: &[ArrayRef],
        ctx: &mut OperatorContext,
    ) -> Result<()> {
        for start in (0..changes.ops.len()).step_by(EMIT_ROWS) {
            let rows = start..changes.ops.len().min(start + EMIT_ROWS);
            let mut columns = self.keys.keys(&changes.groups[rows.clone()])?;
            for (before, after) in before.iter().zip(after) {
                columns.push(interleave(&[before.as_ref(), after.as_ref()], &changes.picks[rows.clone()])?);
            }
            columns.push(change_array(&changes.ops[rows]));
            ctx.emit(conform(columns, &self.output)?);
        }
        Ok(())
    }

    /// Forgets groups without rows, once there are more of them than others.
    fn drop_empty_groups(&mut self) -> Result<()> {
        if !self.keys.has_columns() || self.empty < CLEAN_UP_GROUPS.max(self.groups.len() / 2) {
            return Ok(());
        }
        self.keep_groups(|group| !group.empty)
    }

    /// Forgets groups that nothing has changed for so long. Downstream is not told: it keeps its rows for
    /// as long as it wants, and a row that comes later begins a new group.
    fn drop_old_groups(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let Some(ttl) = self.ttl.filter(|_| self.keys.has_columns()) else { return Ok(()) };
        if self.watermark.0 < self.next_clean_up || self.watermark.is_end() {
            return Ok(());
        }
        self.begin_emission(ctx)?;
        self.end_emission(ctx)?;
        // A quarter of the time to live between two passes over all groups.
        self.next_clean_up = self.watermark.0.plus(ttl / 4);
        let oldest = self.watermark.0.plus(-ttl).0;
        let wants_keys = self.has_spilled_pairs();
        let all = 0..self.groups.len() as u32;
        let old: Vec<u32> = all.filter(|group| wants_keys && self.groups[*group as usize].touched < oldest).collect();
        let mut dropped = vec![self.keys_of(&old)?];
        self.keep_groups(|group| group.touched >= oldest)?;
        let gone = self.spilling.drop_before(oldest, wants_keys || self.unwritten.is_noting())?;
        if let Some(keys) = gone.filter(|keys| keys.num_rows() > 0) {
            dropped.push(keys.clone());
            self.unwritten.note_gone(keys, self.groups.len() + self.spilling.len());
        }
        if dropped.iter().any(|keys| keys.num_rows() > 0) { self.drop_pairs(&dropped) } else { Ok(()) }
    }

    /// Forgets the other groups. None of them may have changes that were not emitted.
    fn keep_groups(&mut self, keeps: impl Fn(&Group) -> bool) -> Result<()> {
        debug_assert!(self.changed.is_empty(), "changes are emitted before groups are dropped");
        let live: Vec<u32> =
            (0..self.groups.len() as u32).filter(|number| keeps(&self.groups[*number as usize])).collect();
        if live.len() == self.groups.len() {
            return Ok(());
        }
        self.note_gone(&live)?;
        self.keep(&live)
    }

    /// Keeps these groups only: the i-th has the number i now.
    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.recency.keep(live);
        self.keys.keep(live)?;
        for states in &mut self.states {
            states.keep(live)?;
        }
        self.groups.keep(live);
        self.empty = self.groups.iter().filter(|group| group.empty).count();
        self.changed = (0..live.len() as u32).filter(|number| self.groups[*number as usize].changed).collect();
        Ok(())
    }
}

/// Rows to be emitted.
#[derive(Default)]
struct Changes {
    groups: Vec<u32>,
    /// Where the results are: among those before (0) or after (1), and at which place.
    picks: Vec<(usize, usize)>,
    ops: Vec<ChangeOp>,
}

impl Changes {
    fn push(&mut self, group: u32, pick: (usize, usize), op: ChangeOp) {
        self.groups.push(group);
        self.picks.push(pick);
        self.ops.push(op);
    }
}

/// Which of the groups that downstream knows have other results now: of `before`, the results of the groups
/// that are known, and `after`, those of all that have changed.
fn differences(before: &[ArrayRef], after: &[ArrayRef], known: impl Iterator<Item = bool>) -> Result<Vec<bool>> {
    let places: Vec<u32> = known.enumerate().filter(|(_, known)| *known).map(|(place, _)| place as u32).collect();
    let mut differ = vec![false; places.len()];
    if places.is_empty() {
        return Ok(differ);
    }
    let places = UInt32Array::from(places);
    for (before, after) in before.iter().zip(after) {
        let after = take(after, &places, None)?;
        if before.data_type().is_nested() {
            let compare = make_comparator(before, &after, SortOptions::default())?;
            differ.iter_mut().enumerate().for_each(|(row, differ)| *differ |= compare(row, row).is_ne());
        } else {
            let same = not_distinct(before, &after)?;
            differ.iter_mut().zip(same.values()).for_each(|(differ, same)| *differ |= !same);
        }
    }
    Ok(differ)
}

impl Operator for Aggregate {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        if let Some(waiting) = &mut self.waiting {
            waiting.push(batch)?;
            return self.make_room(ctx);
        }
        self.apply(&batch)?;
        self.make_room(ctx)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.watermark = watermarks.min();
        self.take_passed(self.watermark, ctx)?;
        if self.emit == AggregateEmit::OnUpdate {
            self.drop_old_groups(ctx)?;
        }
        ctx.emit_watermark(self.watermark);
        Ok(())
    }

    fn has_gathered(&self) -> bool {
        self.emit == AggregateEmit::OnUpdate && !self.changed.is_empty()
    }

    fn gathers_for(&self) -> Option<Duration> {
        self.gathers_for
    }

    fn on_pause(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        if self.emit == AggregateEmit::AtEnd { Ok(()) } else { self.begin_emission(ctx) }
    }

    fn has_more(&self) -> bool {
        self.emission.has_more()
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        self.go_on_emitting(ctx)
    }

    fn on_end(&mut self, reason: EndReason, ctx: &mut OperatorContext) -> Result<()> {
        if reason == EndReason::Stopped {
            return Ok(());
        }
        if self.emit == AggregateEmit::AtEnd {
            self.emission.emits_spilled();
        }
        self.begin_emission(ctx)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.write(state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.read(state)
    }

    fn spilled_bytes(&self) -> u64 {
        self.disk_bytes()
    }

    fn state_bytes(&self) -> usize {
        self.group_bytes() + self.waiting_bytes()
    }
}

#[cfg(test)]
mod tests;
