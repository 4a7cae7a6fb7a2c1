//! Groups by key and session; emits a session's row once the watermark has passed its end.
//!
//! A row at the very end of a session belongs to it, as in Flink. Until the watermark is past that
//! moment such a row may come: a session stays open for it, or what is in it would depend on when the
//! watermark came.
//!
//! Rows wait until the watermark has passed them and are put into sessions in canonical order, so a
//! row in order extends its key's last session or starts a new one. A late row is taken as long as the
//! session that it makes, or that it falls into, is still open; it may join two sessions to one. A
//! session's rows are aggregated when it closes, all at once: so a sum of floats does not show where
//! watermarks cut the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashMap;
use tidemill_plans::node::{SessionWindowNode, TimeWindow};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::groups::{AggregateCall, Groups, key_schema, numbered_key_schema};
use super::held_rows::{HeldRows, Place};
use super::window_aggregate::finish_windows;
use crate::error::Result;
use crate::rows::{EventTimeBuffer, canonical_key};
use crate::task::{OperatorContext, PortWatermarks};

/// See [`SessionWindowNode`].
pub(super) struct SessionWindow {
    keys: Vec<usize>,
    time: usize,
    gap: i64,
    calls: Vec<AggregateCall>,
    output: SchemaRef,
    converter: RowConverter,
    waiting: EventTimeBuffer,
    held: HeldRows,
    /// The open sessions of each key.
    by_key: HashMap<Box<[u8]>, Vec<Session>>,
    /// The keys of open sessions by their end and number.
    by_end: BTreeMap<(i64, u64), Box<[u8]>>,
    /// Number of the next session: they count in the order in which sessions begin.
    next: u64,
    closing: Groups,
    watermark: Watermark,
}

struct Session {
    number: u64,
    /// Times of its first and last row.
    first: i64,
    last: i64,
    rows: Vec<Place>,
}

impl SessionWindow {
    pub(super) fn new(node: &SessionWindowNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let calls: Result<Vec<_>> = node.aggregates.iter().map(|call| AggregateCall::new(call, &input)).collect();
        let calls = calls?;
        let fields = node.keys.iter().map(|key| SortField::new(input.field(*key).data_type().clone())).collect();
        Ok(Self {
            keys: node.keys.clone(),
            time: node.time,
            gap: node.gap,
            output,
            converter: RowConverter::new(fields)?,
            waiting: EventTimeBuffer::new(Arc::clone(&input), node.time),
            held: HeldRows::new(Arc::clone(&input)),
            by_key: HashMap::new(),
            by_end: BTreeMap::new(),
            next: 0,
            closing: Groups::new(&numbered_key_schema(&key_schema(&input, &node.keys)), &calls)?,
            calls,
            watermark: Watermark::MIN,
        })
    }

    /// The keys of a batch as bytes; `None` where there are no key columns.
    fn key_rows(&self, batch: &RecordBatch) -> Result<Option<Rows>> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = self.keys.iter().map(|key| canonical_key(batch.column(*key))).collect();
        Ok(Some(self.converter.convert_columns(&columns)?))
    }

    /// The rows that some open session can take.
    fn on_time(&self, batch: RecordBatch, ctx: &OperatorContext) -> Result<RecordBatch> {
        let times = event_times(batch.column(self.time))?;
        if times.values().iter().all(|time| EventTime(*time) >= self.watermark.0) {
            return Ok(batch);
        }
        let keys = self.key_rows(&batch)?;
        let open = |(row, time): (usize, &i64)| {
            let makes_one = !self.watermark.passed(EventTime(time.saturating_add(self.gap)));
            let sessions = self.by_key.get(key_of(&keys, row));
            Some(makes_one || sessions.is_some_and(|all| all.iter().any(|session| session.touches(*time, self.gap))))
        };
        let on_time: BooleanArray = times.values().iter().enumerate().map(open).collect();
        ctx.count_late(on_time.false_count());
        Ok(filter_record_batch(&batch, &on_time)?)
    }

    /// Puts rows, which are in order, into their sessions.
    fn add(&mut self, rows: RecordBatch) -> Result<()> {
        let times = event_times(rows.column(self.time))?;
        let keys = self.key_rows(&rows)?;
        let batch = self.held.push(rows);
        for (row, time) in times.values().iter().enumerate() {
            self.add_row(key_of(&keys, row), *time, (batch, row as u32));
        }
        Ok(())
    }

    fn add_row(&mut self, key: &[u8], time: i64, place: Place) {
        let sessions = self.by_key.entry_ref(key).or_default();
        let mut touched = sessions.extract_if(.., |session| session.touches(time, self.gap));
        let mut session = touched.next().unwrap_or_else(|| {
            self.next += 1;
            Session { number: self.next, first: time, last: time, rows: Vec::new() }
        });
        self.by_end.remove(&session.end(self.gap));
        for other in touched {
            self.by_end.remove(&other.end(self.gap));
            session.take(other);
        }
        session.first = session.first.min(time);
        session.last = session.last.max(time);
        session.rows.push(place);
        self.by_end.insert(session.end(self.gap), Box::from(key));
        sessions.push(session);
    }

    /// Takes the sessions out that the watermark has passed, in the order of their ends.
    fn take_complete(&mut self) -> Vec<Session> {
        let mut complete = Vec::new();
        while let Some(entry) = self.by_end.first_entry() {
            let (end, number) = *entry.key();
            if !self.watermark.passed(EventTime(end)) {
                break;
            }
            let key = entry.remove();
            let Some(sessions) = self.by_key.get_mut(&key) else { continue };
            complete.extend(sessions.extract_if(.., |session| session.number == number));
            if sessions.is_empty() {
                self.by_key.remove(&key);
            }
        }
        complete
    }

    /// One row a session.
    fn aggregate(&mut self, sessions: &[Session]) -> Result<RecordBatch> {
        let places: Vec<Place> = sessions.iter().flat_map(|session| &session.rows).copied().collect();
        let rows = self.held.gather(&places)?;
        let numbers = sessions.iter().enumerate().flat_map(|(at, session)| session.rows.iter().map(move |_| at as i64));
        let mut keys: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(numbers))];
        keys.extend(self.keys.iter().map(|key| canonical_key(rows.column(*key))));
        self.closing.update(&keys, &self.calls, &rows)?;
        finish_windows(&mut self.closing, |at| sessions[at as usize].window(self.gap), &self.output)
    }

    fn clean_up(&mut self) -> Result<()> {
        if !self.held.wants_clean_up() && !self.by_key.is_empty() {
            return Ok(());
        }
        let mut live: Vec<Place> = Vec::new();
        for place in self.by_key.values_mut().flatten().flat_map(|session| &mut session.rows) {
            live.push(*place);
            *place = (0, live.len() as u32 - 1);
        }
        self.held.keep(&live)
    }
}

impl Session {
    /// Whether a row at `time` belongs to it.
    fn touches(&self, time: i64, gap: i64) -> bool {
        time >= self.first.saturating_sub(gap) && time <= self.last.saturating_add(gap)
    }

    fn window(&self, gap: i64) -> TimeWindow {
        TimeWindow { start: self.first, end: self.last.saturating_add(gap) }
    }

    /// Its place in the order of ends.
    fn end(&self, gap: i64) -> (i64, u64) {
        (self.window(gap).end, self.number)
    }

    fn take(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.rows.extend(other.rows);
    }
}

fn key_of(keys: &Option<Rows>, row: usize) -> &[u8] {
    keys.as_ref().map_or(&[], |keys| keys.row(row).data())
}

impl Operator for SessionWindow {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        self.waiting.push(self.on_time(batch, ctx)?)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        while let Some(rows) = self.waiting.take_chunk_before(watermarks.min().0)? {
            self.add(rows)?;
        }
        self.watermark = watermarks.min();
        let complete = self.take_complete();
        if !complete.is_empty() {
            ctx.emit(self.aggregate(&complete)?);
        }
        self.clean_up()?;
        // A session that ends at the watermark is open still, and its window_time is just before.
        ctx.emit_watermark(Watermark(self.watermark.0.plus(-1)));
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.waiting.bytes() + self.held.bytes() + self.held.rows() * size_of::<Place>()
    }
}

#[cfg(test)]
mod tests;
