//! One side of an interval join: the rows that may still find a partner.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::{JoinKind, JoinSide};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::timed_keys::{HeldRow, TimedKeys};
use crate::error::Result;
use crate::operator::changed_rows::ChangedRows;
use crate::operator::held_rows::{HeldRows, Place};
use crate::operator::state_rows::{least_watermark, take_note, with_note};
use crate::rows::{JoinKeys, KeyRows};
use crate::state::{RowKeys, StateReader, StateWriter};

/// Stands for a row that is not kept.
const GONE: u32 = u32::MAX;

/// Rows that have just come, none of them late.
pub(super) struct Arrival {
    pub(super) batch: RecordBatch,
    pub(super) keys: KeyRows,
    pub(super) times: TimestampMicrosecondArray,
    /// Which of them have found a partner.
    pub(super) matched: Vec<bool>,
}

/// What becomes of new rows once the other side's held rows have been looked through. A row that is in
/// neither list is done with.
pub(super) struct Fate {
    /// Rows that will have no partner and are emitted without one.
    pub(super) alone: Vec<u32>,
    /// Rows that may still find a partner.
    pub(super) held: Vec<u32>,
}

/// See the [module](self).
pub(super) struct Side {
    keys: JoinKeys,
    pub(super) time: usize,
    /// A row at time t matches the other side's rows in `[t + reach.0, t + reach.1]`.
    pub(super) reach: (i64, i64),
    pub(super) watermark: Watermark,
    role: Role,
    held: HeldRows,
    by_key: TimedKeys,
    /// Of each held batch, which rows have found a partner, if the join wants to know.
    matched: Vec<Vec<bool>>,
    /// Of each held batch, its rows in the order in which they are ruled out, if the join keeps those.
    waiting: Vec<Waiting>,
    /// The greatest time of rows that have been held.
    last_time: i64,
    /// Rows that are held since state was written; nothing of them changes but where matches are noted. Mostly it is
    /// the same memory.
    unwritten: ChangedRows,
}

/// What a join does with a side's rows besides pairing them.
#[derive(Debug, Clone, Copy)]
struct Role {
    /// A row is done with at its first match: semi and anti joins.
    leaves_at_match: bool,
    /// A row without a partner is emitted.
    keeps_unmatched: bool,
}

/// Rows of a batch by event time.
struct Waiting {
    rows: Vec<(i64, u32)>,
    /// The first that is not ruled out yet.
    next: usize,
}

impl Waiting {
    fn new(times: impl Iterator<Item = i64>) -> Self {
        let mut rows: Vec<(i64, u32)> = times.zip(0..).collect();
        rows.sort_unstable();
        Self { rows, next: 0 }
    }
}

impl Side {
    pub(super) fn new(
        schema: &SchemaRef,
        keys: &[usize],
        time: usize,
        reach: (i64, i64),
        kind: JoinKind,
        side: JoinSide,
    ) -> Result<Self> {
        let leaves_at_match = kind.single_side() == Some(side);
        Ok(Self {
            keys: JoinKeys::new(schema, keys)?,
            time,
            reach,
            watermark: Watermark::MIN,
            role: Role { leaves_at_match, keeps_unmatched: kind.keeps_unmatched(side) },
            held: HeldRows::new(Arc::clone(schema)),
            by_key: TimedKeys::default(),
            matched: Vec::new(),
            waiting: Vec::new(),
            last_time: i64::MIN,
            unwritten: ChangedRows::default(),
        })
    }

    pub(super) fn arrival(&self, batch: RecordBatch, times: TimestampMicrosecondArray) -> Result<Arrival> {
        Ok(Arrival { keys: self.keys.of(&batch)?, matched: vec![false; batch.num_rows()], batch, times })
    }

    /// The other side's times that a row at `time` can match, first and last.
    pub(super) fn reach_of(&self, time: i64) -> (i64, i64) {
        (time.saturating_add(self.reach.0), time.saturating_add(self.reach.1))
    }

    /// Whether a row is done with once it has a partner.
    pub(super) fn leaves_at_match(&self) -> bool {
        self.role.leaves_at_match
    }

    /// Whether a row is emitted, alone, when it finds its first partner.
    pub(super) fn is_emitted_at_match(&self) -> bool {
        self.role.leaves_at_match && !self.role.keeps_unmatched
    }

    /// The held rows of a key with times from the first to the last.
    pub(super) fn partners(&self, key: &[u8], (first, last): (i64, i64)) -> impl Iterator<Item = Place> {
        let rows = self.by_key.rows(key);
        let from = rows.partition_point(|(time, _)| *time < first);
        let until = rows.partition_point(|(time, _)| *time <= last);
        let places = rows.get(from..until).unwrap_or_default().iter().map(|(_, place)| *place);
        places.filter(|place| !(self.role.leaves_at_match && self.is_matched(*place)))
    }

    pub(super) fn gather(&self, places: &[Place]) -> Result<RecordBatch> {
        self.held.gather(places)
    }

    /// Notes that held rows have a partner; those that have their first one, each once.
    pub(super) fn mark(&mut self, places: &[Place]) -> Vec<Place> {
        let mut first = Vec::new();
        if !self.role.is_tracked() {
            return first;
        }
        for (batch, row) in places {
            let matched = &mut self.matched[*batch as usize][*row as usize];
            if !std::mem::replace(matched, true) {
                first.push((*batch, *row));
            }
        }
        first
    }

    fn is_matched(&self, (batch, row): Place) -> bool {
        self.matched[batch as usize][row as usize]
    }

    /// Whether no later row of the other side can match a row at `time`.
    fn is_ruled_out(&self, time: i64, other: Watermark) -> bool {
        other.passed(EventTime(time).plus(self.reach.1))
    }

    pub(super) fn fate(&self, arrival: &Arrival, other: Watermark) -> Fate {
        let mut fate = Fate { alone: Vec::new(), held: Vec::new() };
        for (row, time) in arrival.times.values().iter().enumerate() {
            let over = arrival.keys.get(row).is_none() || self.is_ruled_out(*time, other);
            let matched = arrival.matched[row];
            if over && self.role.keeps_unmatched && !matched {
                fate.alone.push(row as u32);
            }
            let done = over || (matched && self.role.leaves_at_match);
            if !done {
                fate.held.push(row as u32);
            }
        }
        fate
    }

    pub(super) fn hold(&mut self, arrival: &Arrival, rows: &[u32]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let whole = rows.len() == arrival.batch.num_rows();
        let batch = if whole {
            arrival.batch.clone()
        } else {
            take_record_batch(&arrival.batch, &UInt32Array::from(rows.to_vec()))?
        };
        self.unwritten.note(&batch, self.held.rows());
        let number = self.held.push(batch);
        for (place, row) in rows.iter().enumerate() {
            let Some(key) = arrival.keys.get(*row as usize) else { continue };
            let held = (arrival.times.value(*row as usize), (number, place as u32));
            self.last_time = self.last_time.max(held.0);
            self.by_key.insert(key, held);
        }
        if self.role.is_tracked() {
            self.matched.push(rows.iter().map(|row| arrival.matched[*row as usize]).collect());
        }
        if self.role.keeps_unmatched {
            self.waiting.push(Waiting::new(rows.iter().map(|row| arrival.times.value(*row as usize))));
        }
        Ok(())
    }

    /// The rows without a partner that can have none any more, each once. They are held until the next
    /// clean-up.
    pub(super) fn take_ruled_out(&mut self, other: Watermark) -> Vec<Place> {
        let mut places = Vec::new();
        let reach = self.reach.1;
        for (number, waiting) in self.waiting.iter_mut().enumerate() {
            while let Some((time, row)) = waiting.rows.get(waiting.next)
                && other.passed(EventTime(*time).plus(reach))
            {
                waiting.next += 1;
                if !self.matched[number][*row as usize] {
                    places.push((number as u32, *row));
                }
            }
        }
        places
    }

    /// Drops the rows that no later row of the other side can match.
    pub(super) fn clean_up(&mut self, other: Watermark) -> Result<()> {
        if self.held.wants_clean_up() || other.is_end() { self.drop_ruled_out(other) } else { Ok(()) }
    }

    pub(super) fn drop_ruled_out(&mut self, other: Watermark) -> Result<()> {
        let mut by_key = std::mem::take(&mut self.by_key);
        let is_done = |place| self.role.leaves_at_match && self.is_matched(place);
        by_key.retain(|(time, place)| !self.is_ruled_out(*time, other) && !is_done(*place));
        // In the order in which they came: the map's own would differ from run to run.
        let mut numbers: Vec<Vec<u32>> = self.held.batch_rows().map(|rows| vec![GONE; rows]).collect();
        by_key.all().for_each(|(_, (batch, row))| numbers[*batch as usize][*row as usize] = 0);
        let mut live: Vec<Place> = Vec::new();
        for (batch, numbers) in numbers.iter_mut().enumerate() {
            for (row, number) in numbers.iter_mut().enumerate().filter(|(_, number)| **number != GONE) {
                *number = live.len() as u32;
                live.push((batch as u32, row as u32));
            }
        }
        let mut times = vec![0; live.len()];
        for (time, place) in by_key.all_mut() {
            let number = numbers[place.0 as usize][place.1 as usize];
            times[number as usize] = *time;
            *place = (0, number);
        }
        self.by_key = by_key;
        self.keep(&live, &times)
    }

    /// Keeps the rows in these places, which have these times, and gives the i-th the place (0, i).
    fn keep(&mut self, live: &[Place], times: &[i64]) -> Result<()> {
        let tracked = live.iter().filter(|_| self.role.is_tracked());
        let matched: Vec<bool> = tracked.map(|place| self.is_matched(*place)).collect();
        self.matched.clear();
        self.waiting.clear();
        if !live.is_empty() {
            self.matched.push(matched);
            self.waiting.extend(self.role.keeps_unmatched.then(|| Waiting::new(times.iter().copied())));
        }
        self.held.keep(live)
    }

    /// Writes the rows that may still find a partner, in the order in which they came. Behind their columns
    /// is whether each has found one, if the join wants to know. What is ruled out has been emitted. If it does not,
    /// rows change in nothing, and it follows from their times which are gone.
    pub(super) fn snapshot(&mut self, other: Watermark, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        let come = self.unwritten.take(state.takes_changes() && !self.role.is_tracked());
        if come.is_none() || self.is_ruled_out(self.last_time, other) {
            self.drop_ruled_out(other)?;
        }
        if let Some(come) = come {
            state.changes("rows", self.keys.belongs(), RowKeys::Each, come, []);
            return Ok(());
        }
        let mut batches = self.held.batches().to_vec();
        if self.role.is_tracked() {
            for (batch, matched) in batches.iter_mut().zip(&self.matched) {
                *batch = with_note(batch, "matched", BooleanArray::from(matched.clone()))?;
            }
        }
        state.rows("rows", self.keys.belongs(), batches);
        Ok(())
    }

    pub(super) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        for batch in state.rows("rows")? {
            let (batch, matched) = if self.role.is_tracked() {
                let (batch, matched) = take_note::<BooleanArray>(&batch)?;
                (batch, matched.values().iter().collect())
            } else {
                let rows = batch.num_rows();
                (batch, vec![false; rows])
            };
            let times = event_times(batch.column(self.time))?;
            let arrival = Arrival { matched, ..self.arrival(batch, times)? };
            let all: Vec<u32> = (0..arrival.batch.num_rows() as u32).collect();
            self.hold(&arrival, &all)?;
        }
        self.held.note_clean();
        self.unwritten.begin();
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.held.bytes() + self.by_key.bytes() + self.held.rows() * size_of::<HeldRow>()
    }
}

impl Role {
    /// Whether it matters which rows have a partner.
    fn is_tracked(self) -> bool {
        self.leaves_at_match || self.keeps_unmatched
    }
}
