//! The sessions of each key: what session windows are made of, and what says whether a row is too late.
//!
//! Rows wait until the watermark has passed them and are put into sessions in canonical order, so a
//! row in order extends its key's last session or starts a new one. A late row is taken as long as the
//! session that it makes, or that it falls into, is still open; it may join two sessions to one.
//!
//! A row at the very end of a session belongs to it, as in Flink. Until the watermark is past that
//! moment such a row may come: a session stays open for it, or what is in it would depend on when the
//! watermark came.

mod closing;
mod snapshot;
mod spilling;

use std::collections::{BTreeMap, VecDeque};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashMap;
use tidemill_plans::node::TimeWindow;
use tidemill_plans::time::{EventTime, Watermark, event_times};

use self::snapshot::Written;
use self::spilling::Spilling;
use super::held_rows::{HeldRows, Place};
use super::state_rows::with_note;
use crate::error::Result;
use crate::rows::{EventTimeBuffer, canonical_key};
use crate::state::StateMemory;
use crate::task::OperatorContext;

/// See the [module](self).
pub(super) struct Sessions {
    keys: Vec<usize>,
    time: usize,
    gap: i64,
    converter: RowConverter,
    waiting: EventTimeBuffer,
    /// With ids behind their columns.
    held: HeldRows,
    /// How many rows open sessions have, wherever they are.
    rows: usize,
    /// Of the next row: ids grow as rows are put into sessions, and the rows of a session are in their order.
    next_id: u64,
    written: Written,
    spilling: Spilling,
    /// The open sessions of each key.
    by_key: HashMap<Box<[u8]>, Vec<Session>>,
    /// The keys of open sessions by their end and number.
    by_end: BTreeMap<(i64, u64), Box<[u8]>>,
    /// Number of the next session: they count in the order in which sessions begin.
    next: u64,
    watermark: Watermark,
    /// Sessions that have closed, in the order of their ends, until their rows are taken.
    closed: VecDeque<Session>,
}

/// Rows of one key that follow each other within the gap.
pub(super) struct Session {
    number: u64,
    /// Times of its first and last row.
    first: i64,
    last: i64,
    rows: Vec<Place>,
    /// Whether it has got rows since something had to go to disk.
    touched: bool,
    /// What is on disk: chunks of rows, and how many rows.
    away: Vec<u64>,
    away_rows: usize,
}

impl Sessions {
    pub(super) fn new(input: SchemaRef, keys: &[usize], time: usize, gap: i64, memory: &StateMemory) -> Result<Self> {
        let id = Field::new("id", DataType::UInt64, false);
        let with_ids: Vec<_> = input.fields().iter().cloned().chain([id.into()]).collect();
        let fields = keys.iter().map(|key| SortField::new(input.field(*key).data_type().clone())).collect();
        Ok(Self {
            keys: keys.to_vec(),
            time,
            gap,
            converter: RowConverter::new(fields)?,
            waiting: EventTimeBuffer::new(input, time, &memory.shared_by(2)),
            held: HeldRows::new(SchemaRef::new(Schema::new(with_ids))),
            rows: 0,
            next_id: 0,
            written: Written::default(),
            spilling: Spilling::new(memory),
            by_key: HashMap::new(),
            by_end: BTreeMap::new(),
            next: 0,
            watermark: Watermark::MIN,
            closed: VecDeque::new(),
        })
    }

    /// Takes the rows that some open session can take, and counts the others.
    pub(super) fn push(&mut self, batch: RecordBatch, ctx: &OperatorContext) -> Result<()> {
        let batch = match self.on_time(&batch)? {
            None => batch,
            Some(on_time) => {
                ctx.count_late(on_time.false_count());
                filter_record_batch(&batch, &on_time)?
            }
        };
        self.push_on_time(batch)
    }

    /// Takes rows that are not late.
    pub(super) fn push_on_time(&mut self, batch: RecordBatch) -> Result<()> {
        self.waiting.push(batch)
    }

    /// Which rows some open session can take; `None` if all.
    pub(super) fn on_time(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let times = event_times(batch.column(self.time))?;
        if times.values().iter().all(|time| EventTime(*time) >= self.watermark.0) {
            return Ok(None);
        }
        let keys = self.key_rows(batch)?;
        let open = |(row, time): (usize, &i64)| {
            let makes_one = !self.watermark.passed(EventTime(time.saturating_add(self.gap)));
            let sessions = self.by_key.get(key_of(&keys, row));
            Some(makes_one || sessions.is_some_and(|all| all.iter().any(|session| session.touches(*time, self.gap))))
        };
        Ok(Some(times.values().iter().enumerate().map(open).collect()))
    }

    /// Moves time on, which closes sessions: those before have been taken.
    pub(super) fn advance(&mut self, watermark: Watermark) -> Result<()> {
        while let Some(rows) = self.waiting.take_chunk_before(watermark.0)? {
            self.add(&rows)?;
            self.make_room()?;
        }
        self.watermark = watermark;
        self.closed = self.take_complete().into();
        Ok(())
    }

    /// A session's window.
    pub(super) fn window(&self, session: &Session) -> TimeWindow {
        session.window(self.gap)
    }

    /// Drops the rows of sessions that have closed, if it is worth it.
    pub(super) fn clean_up(&mut self) -> Result<()> {
        if self.held.wants_clean_up() || self.by_key.is_empty() { self.compact() } else { Ok(()) }
    }

    /// Drops the rows that are of no open session, or on disk.
    fn compact(&mut self) -> Result<()> {
        let mut live: Vec<Place> = Vec::new();
        for place in self.by_key.values_mut().flatten().flat_map(|session| &mut session.rows) {
            live.push(*place);
            *place = (0, live.len() as u32 - 1);
        }
        self.held.keep(&live)
    }

    /// The watermark behind what has closed. A session that ends at the watermark is open still, and its
    /// window_time is just before.
    pub(super) fn output_watermark(&self) -> Watermark {
        Watermark(self.watermark.0.plus(-1))
    }

    pub(super) fn bytes(&self) -> usize {
        self.waiting.bytes() + self.held_bytes() + self.written.bytes() + self.spilling.memory_bytes()
    }

    /// Bytes of what could be on disk.
    fn held_bytes(&self) -> usize {
        self.held.bytes() + self.held.rows() * size_of::<Place>()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.waiting.disk_bytes() + self.spilling.disk_bytes()
    }

    /// The keys of a batch as bytes; `None` where there are no key columns.
    fn key_rows(&self, batch: &RecordBatch) -> Result<Option<Rows>> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = self.keys.iter().map(|key| canonical_key(batch.column(*key))).collect();
        Ok(Some(self.converter.convert_columns(&columns)?))
    }

    /// Puts rows, which are in order, into their sessions.
    fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let first = self.next_id;
        self.next_id += rows.num_rows() as u64;
        self.hold(with_note(rows, "id", UInt64Array::from_iter_values(first..self.next_id))?)
    }

    /// Puts rows with ids into their sessions. Which rows are of one does not depend on the order in which they come.
    fn hold(&mut self, rows: RecordBatch) -> Result<()> {
        let times = event_times(rows.column(self.time))?;
        let keys = self.key_rows(&rows)?;
        self.rows += rows.num_rows();
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
            Session::new(self.next, time)
        });
        self.by_end.remove(&session.end(self.gap));
        for other in touched {
            self.by_end.remove(&other.end(self.gap));
            session.take(other);
        }
        session.first = session.first.min(time);
        session.last = session.last.max(time);
        session.rows.push(place);
        session.touched = true;
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
}

impl Session {
    fn new(number: u64, time: i64) -> Self {
        let (rows, away) = (Vec::new(), Vec::new());
        Self { number, first: time, last: time, rows, touched: true, away, away_rows: 0 }
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.away_rows
    }

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
        self.away.extend(other.away);
        self.away_rows += other.away_rows;
    }
}

fn key_of(keys: &Option<Rows>, row: usize) -> &[u8] {
    keys.as_ref().map_or(&[], |keys| keys.row(row).data())
}
