//! Window functions in event-time order over new rows: each row is emitted once, when it is known.
//!
//! Rows wait for the watermark, come out of the buffer in canonical order, and are put behind the rows
//! that their partitions still need. What a watermark costs depends on the partitions that it touches:
//! those with new rows, and those with rows whose frames it completes.

mod spilling;
mod state;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use tidemill_plans::node::OverWindowNode;
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::call::{Call, CallState, PartitionRows, Prepared};
use crate::error::Result;
use crate::operator::Operator;
use crate::operator::changed_keys::ChangedKeys;
use crate::operator::held_rows::{HeldRows, Place};
use crate::operator::late_rows::without_late;
use crate::operator::partitions::{OrderKeys, Partitions, keep_live};
use crate::operator::window_aggregate::conform;
use crate::rows::EventTimeBuffer;
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// So many rows are looked at together of partitions whose rows have waited. Tests want to see some.
const SLICE_ROWS: usize = if cfg!(test) { 4 } else { 1 << 13 };

/// No place among the touched partitions.
const UNTOUCHED: u32 = u32::MAX;

/// See the [module](self).
pub(super) struct InOrderOver {
    time: usize,
    rows_ahead: usize,
    micros_ahead: i64,
    calls: Vec<Call>,
    prepared: Prepared,
    prepared_schema: SchemaRef,
    input_columns: usize,
    /// The whole ORDER BY, where it is by more than event time.
    keys: Option<OrderKeys>,
    partitions: Partitions,
    states: Vec<State>,
    /// The partitions of which something else is known than what was written.
    unwritten: ChangedKeys,
    /// The keys of those among them that are on disk and hold no rows any more.
    emptied: ChangedKeys,
    /// Rows that are waiting for others, or that others can reach.
    held: HeldRows,
    /// The partitions with rows that are not known yet, by the first such row's time.
    pending: BTreeSet<(i64, usize)>,
    /// Of those, the ones that were looked at as of a time before the watermark, as which more may be known.
    behind: Vec<usize>,
    waiting: EventTimeBuffer,
    watermark: Watermark,
    /// Whether it is still to be passed on, behind the rows that are known with it.
    passes: bool,
    output: SchemaRef,
    bytes: usize,
}

/// A partition.
struct State {
    calls: Vec<CallState>,
    /// Its rows in `held`: their batch, the first of them, and how many.
    held: (u32, u32, u32),
    /// How many of them have been emitted.
    emitted: usize,
    /// The time of the first one that has not.
    pending: Option<i64>,
    /// Its place among the partitions that are touched now.
    touched: u32,
}

/// A touched partition and where its rows are.
struct Touched {
    partition: usize,
    start: usize,
    len: usize,
}

/// What comes of touched partitions.
#[derive(Default)]
struct Outcome {
    /// Rows to emit.
    rows: Vec<u32>,
    /// The values of each call for them.
    values: Vec<Vec<ScalarValue>>,
    /// Rows that are kept.
    kept: Vec<u32>,
}

impl InOrderOver {
    pub(super) fn new(
        node: &OverWindowNode,
        time: usize,
        (rows_ahead, micros_ahead): (u64, i64),
        input: SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        // Partitions have what rows that wait for the watermark leave them. A row that waits for others keeps its
        // partition in memory: there each partition has one.
        let (waiting, memory) = (memory.shared_by(2), memory.limited_if(rows_ahead == 0));
        let mut prepared = Prepared::new(Arc::clone(&input));
        let calls = node.functions.iter().map(|call| Call::new(call, &node.order_by, &input, &mut prepared));
        let calls = calls.collect::<Result<Vec<_>>>()?;
        let prepared_schema = prepared.schema();
        Ok(Self {
            time,
            rows_ahead: usize::try_from(rows_ahead).unwrap_or(usize::MAX),
            micros_ahead,
            calls,
            prepared,
            input_columns: input.fields().len(),
            keys: if node.order_by.len() > 1 { Some(OrderKeys::new(&node.order_by, &input)?) } else { None },
            partitions: Partitions::with_keys(&input, &node.partition, node.ttl, &memory)?,
            states: Vec::new(),
            unwritten: ChangedKeys::default(),
            emptied: ChangedKeys::default(),
            held: HeldRows::new(Arc::clone(&prepared_schema)),
            prepared_schema,
            pending: BTreeSet::new(),
            behind: Vec::new(),
            waiting: EventTimeBuffer::new(input, time, &waiting),
            watermark: Watermark::MIN,
            passes: false,
            output,
            bytes: 0,
        })
    }

    /// Takes in rows that event time has passed, in order.
    fn take_in(&mut self, rows: RecordBatch, bound: Watermark, ctx: &mut OperatorContext) -> Result<()> {
        // What ORDER BY does not tell apart stays in canonical order.
        let rows = self.keys.as_ref().map_or(Ok(rows.clone()), |keys| keys.sort(&rows))?;
        let new = self.prepared.rows(&rows, &self.prepared_schema)?;
        let partitions = self.partitions.of(&rows)?.to_vec();
        self.take_back()?;
        let mut touched: Vec<(usize, Vec<u32>)> = Vec::new();
        for (row, partition) in partitions.into_iter().enumerate() {
            let state = &mut self.states[partition];
            if state.touched == UNTOUCHED {
                state.touched = touched.len() as u32;
                touched.push((partition, Vec::new()));
            }
            touched[state.touched as usize].1.push(row as u32);
        }
        let number = self.held.push(new);
        let places =
            |(partition, rows): (usize, Vec<u32>)| (partition, rows.into_iter().map(|row| (number, row)).collect());
        let (all, touched) = self.places(touched.into_iter().map(places));
        let rows = self.held.gather(&all)?;
        self.held.drop_last();
        self.advance(&rows, &touched, bound, ctx)
    }

    fn add_state(&mut self) -> Result<()> {
        let calls = self.calls.iter().map(Call::state).collect::<Result<Vec<_>>>()?;
        self.bytes += size_of::<State>() + calls.iter().map(CallState::bytes).sum::<usize>();
        self.states.push(State { calls, held: (0, 0, 0), emitted: 0, pending: None, touched: UNTOUCHED });
        Ok(())
    }

    /// The places of all rows of these partitions, the held ones before the new ones of each.
    fn places(&mut self, touched: impl Iterator<Item = (usize, Vec<Place>)>) -> (Vec<Place>, Vec<Touched>) {
        let (mut all, mut runs) = (Vec::new(), Vec::new());
        for (partition, new) in touched {
            let state = &mut self.states[partition];
            state.touched = UNTOUCHED;
            let start = all.len();
            let (batch, first, len) = state.held;
            all.extend((first..first + len).map(|row| (batch, row)));
            all.extend(new);
            runs.push(Touched { partition, start, len: all.len() - start });
        }
        (all, runs)
    }

    /// Emits what is known of the rows of these partitions, and keeps what is needed.
    fn advance(
        &mut self,
        rows: &RecordBatch,
        touched: &[Touched],
        bound: Watermark,
        ctx: &mut OperatorContext,
    ) -> Result<()> {
        let times = event_times(rows.column(self.time))?;
        let mut outcome = Outcome { values: vec![Vec::new(); self.calls.len()], ..Outcome::default() };
        for run in touched {
            let known = self.known(&times.values()[run.start..run.start + run.len], bound);
            self.advance_partition(rows, run, known, times.values(), &mut outcome)?;
            self.note_behind(run.partition, bound);
        }
        let Outcome { rows: emitted, values, kept } = outcome;
        if !kept.is_empty() {
            let number = self.held.push(take_record_batch(rows, &UInt32Array::from(kept))?);
            for run in touched {
                self.states[run.partition].held.0 = number;
            }
        }
        if !emitted.is_empty() {
            let own = rows.project(&(0..self.input_columns).collect::<Vec<_>>())?;
            let mut columns: Vec<ArrayRef> = take_record_batch(&own, &UInt32Array::from(emitted))?.columns().to_vec();
            for (call, values) in self.calls.iter().zip(values) {
                columns.push(call.column(values)?);
            }
            ctx.emit(conform(columns, &self.output)?);
        }
        self.clean_up()
    }

    /// How many of a partition's rows are known with all that their frames reach.
    fn known(&self, times: &[i64], bound: Watermark) -> usize {
        if bound.is_end() {
            return times.len();
        }
        let passed = times.partition_point(|time| bound.passed(EventTime(*time).plus(self.micros_ahead)));
        passed.min(times.len().saturating_sub(self.rows_ahead))
    }

    fn advance_partition(
        &mut self,
        rows: &RecordBatch,
        run: &Touched,
        known: usize,
        times: &[i64],
        outcome: &mut Outcome,
    ) -> Result<()> {
        self.unwritten.note(run.partition);
        let state = &mut self.states[run.partition];
        let before: usize = state.calls.iter().map(CallState::bytes).sum();
        let known = known.max(state.emitted);
        let own = PartitionRows { rows, start: run.start, len: run.len };
        for ((call, state), values) in self.calls.iter().zip(&mut state.calls).zip(&mut outcome.values) {
            call.advance(state, own, known, values)?;
        }
        let row = |row: usize| (run.start + row) as u32;
        outcome.rows.extend(row(state.emitted)..row(known));
        let needed = state.calls.iter().map(CallState::needed_from).fold(known, usize::min);
        state.calls.iter_mut().for_each(|call| call.forget(needed));
        state.held = (0, outcome.kept.len() as u32, (run.len - needed) as u32);
        outcome.kept.extend(row(needed)..row(run.len));
        state.emitted = known - needed;
        let pending = (known < run.len).then(|| times[run.start + known]);
        if let Some(time) = std::mem::replace(&mut state.pending, pending) {
            self.pending.remove(&(time, run.partition));
        }
        self.pending.extend(pending.map(|time| (time, run.partition)));
        let after: usize = state.calls.iter().map(CallState::bytes).sum();
        self.bytes = (self.bytes + after).saturating_sub(before);
        Ok(())
    }

    /// Remembers a partition that has been looked at as of `bound`, if its next row is known by now.
    fn note_behind(&mut self, partition: usize, bound: Watermark) {
        let reach = self.states[partition].pending.map(|time| EventTime(time).plus(self.micros_ahead));
        if reach.is_some_and(|reach| !bound.passed(reach) && self.watermark.passed(reach)) {
            self.behind.push(partition);
        }
    }

    /// Looks again at some partitions whose rows have waited for time to pass; whether there were any.
    fn take_pending(&mut self, ctx: &mut OperatorContext) -> Result<bool> {
        let slice = if self.rows_ahead > 0 && !self.watermark.is_end() {
            // Only further rows can help the others.
            self.take_behind()
        } else {
            self.behind.clear();
            let ripe = self.pending.iter();
            let ripe = ripe.take_while(|(time, _)| self.watermark.passed(EventTime(*time).plus(self.micros_ahead)));
            self.first_slice(ripe.map(|(_, partition)| *partition))
        };
        let has_some = !slice.is_empty();
        self.advance_held(slice, self.watermark, ctx)?;
        Ok(has_some)
    }

    /// Some of the partitions that were looked at as of an earlier time.
    fn take_behind(&mut self) -> Vec<usize> {
        self.behind.sort_unstable();
        self.behind.dedup();
        let slice = self.first_slice(self.behind.iter().copied());
        self.behind.drain(..slice.len());
        slice
    }

    /// The first of these partitions, whose rows are enough to be looked at together.
    fn first_slice(&self, partitions: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut rows = 0;
        let fits = |partition: &usize| {
            let before = rows;
            rows += self.states[*partition].held.2 as usize;
            before < SLICE_ROWS
        };
        partitions.take_while(fits).collect()
    }

    /// Emits what is known of the rows that these partitions hold.
    fn advance_held(&mut self, partitions: Vec<usize>, bound: Watermark, ctx: &mut OperatorContext) -> Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        let (all, touched) = self.places(partitions.into_iter().map(|partition| (partition, Vec::new())));
        let rows = self.held.gather(&all)?;
        self.advance(&rows, &touched, bound, ctx)
    }

    /// Forgets the partitions that no row has touched for long enough, unless rows of theirs wait for time
    /// to pass. Those that wait for further rows have their values without them, as at the end.
    fn drop_old(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let is_passed = |time: i64| self.watermark.passed(EventTime(time).plus(self.micros_ahead));
        let old = self.pending.iter().filter(|(time, of)| is_passed(*time) && !self.partitions.is_young(*of));
        let old: Vec<usize> = old.map(|(_, partition)| *partition).collect();
        self.advance_held(old, Watermark::MAX, ctx)?;
        let states = &self.states;
        let keeps = |partition: usize, young| young || states[partition].pending.is_some();
        let Some(dropped) = self.partitions.drop_old(keeps)? else { return Ok(()) };
        self.unwritten.note_dropped(&dropped);
        self.keep(&dropped.live);
        self.clean_up()
    }

    /// Keeps these partitions only: the i-th has the number i now.
    fn keep(&mut self, live: &[u32]) {
        self.states = keep_live(std::mem::take(&mut self.states), live);
        let waiting = self.states.iter().enumerate();
        self.pending = waiting.filter_map(|(partition, state)| Some((state.pending?, partition))).collect();
        let calls = self.states.iter().flat_map(|state| &state.calls);
        self.bytes = self.states.len() * size_of::<State>() + calls.map(CallState::bytes).sum::<usize>();
    }

    /// Drops the rows that no partition needs, if there are enough of them.
    fn clean_up(&mut self) -> Result<()> {
        if self.held.wants_clean_up() { self.compact() } else { Ok(()) }
    }

    fn compact(&mut self) -> Result<()> {
        let mut live: Vec<Place> = Vec::new();
        for state in &mut self.states {
            let (batch, first, len) = state.held;
            state.held = (0, live.len() as u32, len);
            live.extend((first..first + len).map(|row| (batch, row)));
        }
        self.held.keep(&live)
    }
}

impl Operator for InOrderOver {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        // Rows behind a late one have been emitted with frames that it is not in.
        self.waiting.push(without_late(batch, self.time, self.watermark.0, ctx)?)?;
        self.spill()
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        (self.watermark, self.passes) = (watermarks.min(), true);
        self.on_more(ctx)
    }

    fn has_more(&self) -> bool {
        self.passes
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        if let Some(rows) = self.waiting.take_chunk_before(self.watermark.0)? {
            // Of what is behind a chunk nothing is known before the next one.
            let last = event_times(rows.column(self.time))?.values().last().copied();
            let bound = last.map_or(self.watermark, |last| Watermark(EventTime(last.saturating_add(1))));
            self.take_in(rows, bound.min(self.watermark), ctx)?;
            return self.spill();
        }
        if self.take_pending(ctx)? {
            return Ok(());
        }
        if self.partitions.wants_clean_up(self.watermark) {
            self.drop_old(ctx)?;
        }
        self.spill()?;
        self.passes = false;
        // Rows that wait are emitted later, with their own times.
        let pending = self.pending.first().map_or(Watermark::MAX, |(time, _)| Watermark(EventTime(*time)));
        ctx.emit_watermark(self.watermark.min(pending));
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.write(state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.read(state)
    }

    fn state_bytes(&self) -> usize {
        let pending = self.pending.len() * size_of::<(i64, usize)>();
        self.waiting.bytes() + self.known_bytes() + pending
    }

    fn spilled_bytes(&self) -> u64 {
        self.waiting.disk_bytes() + self.partitions.disk_bytes()
    }
}
