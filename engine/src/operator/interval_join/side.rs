//! One side of an interval join: the rows that may still find a partner.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow::compute::{filter_record_batch, take_arrays, take_record_batch};
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::{JoinKind, JoinSide};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::timed_keys::{HeldRow, TimedKeys};
use crate::error::Result;
use crate::operator::groups::key_schema;
use crate::operator::held_rows::{HeldRows, Place};
use crate::operator::state_rows::{STATE_ROWS, take_ids, take_note, with_note};
use crate::operator::unwritten_rows::{ToWrite, UnwrittenRows};
use crate::rows::{JoinKeys, KeyRows};
use crate::state::spill::{Layout, Part, SpilledBatches, with_keys};
use crate::state::{RowKeys, StateMemory, StateWriter};

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
    key_schema: SchemaRef,
    pub(super) time: usize,
    /// A row at time t matches the other side's rows in `[t + reach.0, t + reach.1]`.
    pub(super) reach: (i64, i64),
    pub(super) watermark: Watermark,
    pub(super) role: Role,
    held: HeldRows,
    by_key: TimedKeys,
    /// Of each held batch, which rows have found a partner, if the join wants to know.
    matched: Vec<Vec<bool>>,
    /// Of each held batch, its rows in the order in which they are ruled out, if the join keeps those.
    waiting: Vec<Waiting>,
    /// How many held rows have left at their match.
    done: usize,
    /// The greatest time of rows that are held.
    pub(super) last_time: i64,
    /// What has changed since state was written, but for rows that are ruled out: which they are follows from their
    /// times.
    unwritten: UnwrittenRows,
    /// Rows that have no room in memory.
    pub(super) on_disk: SpilledBatches,
}

/// What a join does with a side's rows besides pairing them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    /// A row is done with at its first match: semi and anti joins.
    pub(super) leaves_at_match: bool,
    /// A row without a partner is emitted.
    pub(super) keeps_unmatched: bool,
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
        (kind, side): (JoinKind, JoinSide),
        memory: &StateMemory,
    ) -> Result<Self> {
        let leaves_at_match = kind.single_side() == Some(side);
        Ok(Self {
            keys: JoinKeys::new(schema, keys)?,
            key_schema: key_schema(schema, keys),
            time,
            reach,
            watermark: Watermark::MIN,
            role: Role { leaves_at_match, keeps_unmatched: kind.keeps_unmatched(side) },
            held: HeldRows::new(Arc::clone(schema)),
            by_key: TimedKeys::default(),
            matched: Vec::new(),
            waiting: Vec::new(),
            done: 0,
            last_time: i64::MIN,
            unwritten: UnwrittenRows::default(),
            on_disk: SpilledBatches::new(memory.scratch.clone(), Layout::ManyRuns, keys.len()),
        })
    }

    pub(super) fn arrival(&self, batch: RecordBatch, times: TimestampMicrosecondArray) -> Result<Arrival> {
        Ok(Arrival { keys: self.keys.of(&batch)?, matched: vec![false; batch.num_rows()], batch, times })
    }

    /// The keys of rows that have just come, each once.
    pub(super) fn keys_of(&self, arrival: &Arrival) -> Result<Vec<ArrayRef>> {
        let firsts = UInt32Array::from(arrival.keys.first_rows(arrival.batch.num_rows()));
        Ok(take_arrays(&self.keys.columns(&arrival.batch), &firsts, None)?)
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
        places.filter(|place| !self.is_done(*place))
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
        for row in first.iter().map(|place| self.held.number(*place)) {
            match self.role.leaves_at_match {
                true => self.unwritten.note_gone(row),
                false => self.unwritten.note_changed(row),
            }
        }
        self.done += if self.role.leaves_at_match { first.len() } else { 0 };
        self.unwritten.forget_if_most_is_gone(self.held.rows() + self.on_disk.len());
        first
    }

    fn is_matched(&self, (batch, row): Place) -> bool {
        self.matched[batch as usize][row as usize]
    }

    /// Whether a held row has left at its match.
    fn is_done(&self, place: Place) -> bool {
        self.role.leaves_at_match && self.is_matched(place)
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
        self.drop_rows(|side, time, place| side.is_ruled_out(time, other) || side.is_done(place))
    }

    /// Drops held rows, by their times and places.
    fn drop_rows(&mut self, goes: impl Fn(&Self, i64, Place) -> bool) -> Result<()> {
        let mut by_key = std::mem::take(&mut self.by_key);
        by_key.retain(|(time, place)| !goes(self, *time, *place));
        // In the order in which they came: the map's own would differ from run to run.
        let mut numbers = vec![GONE; self.held.rows()];
        by_key.all().for_each(|(_, place)| numbers[self.held.number(*place) as usize] = 0);
        let mut live: Vec<u32> = Vec::new();
        for (old, number) in numbers.iter_mut().enumerate().filter(|(_, number)| **number != GONE) {
            *number = live.len() as u32;
            live.push(old as u32);
        }
        let mut times = vec![0; live.len()];
        for (time, place) in by_key.all_mut() {
            let number = numbers[self.held.number(*place) as usize];
            times[number as usize] = *time;
            *place = (0, number);
        }
        self.by_key = by_key;
        self.keep(&live, &times)
    }

    /// Keeps the rows with these numbers, which have these times, and gives the i-th the place (0, i).
    fn keep(&mut self, live: &[u32], times: &[i64]) -> Result<()> {
        self.unwritten.keep(live, self.held.rows() as u32);
        let places: Vec<Place> = live.iter().map(|row| self.held.place(*row)).collect();
        let tracked = places.iter().filter(|_| self.role.is_tracked());
        let matched: Vec<bool> = tracked.map(|place| self.is_matched(*place)).collect();
        (self.done, self.last_time) = (0, times.iter().copied().max().unwrap_or(i64::MIN));
        self.matched.clear();
        self.waiting.clear();
        if !live.is_empty() {
            self.matched.push(matched);
            self.waiting.extend(self.role.keeps_unmatched.then(|| Waiting::new(times.iter().copied())));
        }
        self.held.keep(&places)
    }

    /// Writes the rows that may still find a partner, in the order in which they came. Behind their columns
    /// is whether each has found one, if the join wants to know, and its id. What is ruled out has been emitted.
    pub(super) fn snapshot(
        &mut self,
        memory: &StateMemory,
        other: Watermark,
        state: &mut StateWriter<'_>,
    ) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        let is_whole = !self.unwritten.is_noting() || !state.takes_changes();
        if is_whole || self.done > 0 || self.is_ruled_out(self.last_time, other) {
            self.drop_ruled_out(other)?;
        }
        let (all, belongs) = (self.held.rows() as u32, self.keys.belongs());
        let changes = self.unwritten.take(all, self.on_disk.len(), state)?;
        let only = changes.as_ref().map(|_| Part::Unwritten);
        match changes {
            None => {
                let parts = (0..all).step_by(STATE_ROWS).map(|start| {
                    let numbers: Vec<u32> = (start..all).take(STATE_ROWS).collect();
                    self.with_notes(&self.held.slice(start, numbers.len()), &numbers)
                });
                state.behind("rows", belongs.clone(), memory, parts)?;
            }
            Some(ToWrite { rows, gone }) => {
                let id = RowKeys::Exact(vec![self.columns()]);
                state.changes("rows", belongs.clone(), id, [], [gone]);
                let parts = rows.chunks(STATE_ROWS).map(|rows| self.write(rows));
                state.behind("rows", belongs.clone(), memory, parts)?;
            }
        }
        if let Some(spilled) = self.on_disk.view(only, STATE_ROWS) {
            state.later("rows", belongs, Arc::new(spilled.without_keys()));
        }
        self.on_disk.note_written();
        Ok(())
    }

    /// How many columns rows have in state before their ids.
    fn columns(&self) -> usize {
        self.held.schema().fields().len() + usize::from(self.role.is_tracked())
    }

    fn write(&self, numbers: &[u32]) -> Result<RecordBatch> {
        let places: Vec<Place> = numbers.iter().map(|row| self.held.place(*row)).collect();
        self.with_notes(&self.held.gather(&places)?, numbers)
    }

    /// These rows with what is known of them.
    fn with_notes(&self, rows: &RecordBatch, numbers: &[u32]) -> Result<RecordBatch> {
        let mut rows = rows.clone();
        if self.role.is_tracked() {
            let matched = numbers.iter().map(|row| Some(self.is_matched(self.held.place(*row))));
            rows = with_note(&rows, "matched", matched.collect::<BooleanArray>())?;
        }
        with_note(&rows, "id", UInt64Array::from_iter_values(numbers.iter().map(|row| self.unwritten.id(*row))))
    }

    /// Rows as they were written, and their ids.
    fn read(&self, rows: &RecordBatch) -> Result<(Arrival, UInt64Array)> {
        // State of the first format has no ids where nothing was noted of rows.
        let (rows, ids) = match rows.num_columns() > self.columns() {
            true => take_ids(rows)?,
            false => (rows.clone(), self.unwritten.new_ids(rows.num_rows())),
        };
        let (batch, matched) = if self.role.is_tracked() {
            let (batch, matched) = take_note::<BooleanArray>(&rows)?;
            (batch, matched.values().iter().collect())
        } else {
            let matched = vec![false; rows.num_rows()];
            (rows, matched)
        };
        let times = event_times(batch.column(self.time))?;
        Ok((Arrival { matched, ..self.arrival(batch, times)? }, ids))
    }

    /// What is taken up from now on is what was written.
    pub(super) fn begin(&mut self) {
        self.unwritten.begin();
    }

    /// Takes up rows that were written, but for those that are ruled out. Their ids are others' too if they are
    /// `renumbered`.
    pub(super) fn take_up(&mut self, rows: &RecordBatch, renumbered: bool, other: Watermark) -> Result<()> {
        let times = event_times(rows.column(self.time))?;
        let live = times.values().iter().map(|time| Some(!self.is_ruled_out(*time, other)));
        let (arrival, mut ids) = self.read(&filter_record_batch(rows, &live.collect())?)?;
        if renumbered {
            ids = self.unwritten.new_ids(ids.len());
        }
        self.hold_known(&arrival, &ids)
    }

    /// All rows that were written have been taken up.
    pub(super) fn end(&mut self) {
        self.held.note_clean();
        self.unwritten.end(self.held.rows() as u32);
    }

    fn hold_known(&mut self, arrival: &Arrival, ids: &UInt64Array) -> Result<()> {
        self.unwritten.take_up(self.held.rows() as u32, ids);
        self.hold(arrival, &(0..arrival.batch.num_rows() as u32).collect::<Vec<_>>())
    }

    /// How many rows are held.
    pub(super) fn rows(&self) -> usize {
        self.held.rows()
    }

    /// All held rows by their times.
    pub(super) fn by_time(&self) -> Vec<(i64, u32)> {
        let mut rows: Vec<(i64, u32)> =
            self.by_key.all().map(|(time, place)| (*time, self.held.number(*place))).collect();
        rows.sort_unstable();
        rows
    }

    /// Puts these rows on disk, in the order of their numbers.
    pub(super) fn put_away(&mut self, rows: &[(i64, u32)]) -> Result<()> {
        let (written, unwritten): (Vec<_>, Vec<_>) =
            rows.iter().partition(|(_, row)| self.unwritten.part(*row) == Part::Written);
        for (part, rows) in [(Part::Written, written), (Part::Unwritten, unwritten)] {
            for rows in rows.chunks(STATE_ROWS) {
                let (times, numbers): (Vec<i64>, Vec<u32>) = rows.iter().copied().unzip();
                let batch = self.write(&numbers)?;
                let batch = with_keys(&self.key_schema, &self.keys.columns(&batch), &batch)?;
                self.on_disk.put(part, &batch, &times)?;
            }
        }
        self.unwritten.note_on_disk(self.held.rows() as u32);
        let mut goes = vec![false; self.held.rows()];
        rows.iter().for_each(|(_, row)| goes[*row as usize] = true);
        self.drop_rows(|side, _, place| goes[side.held.number(place) as usize])
    }

    /// Holds rows that were on disk, in these parts, or in any.
    pub(super) fn hold_again(&mut self, rows: &RecordBatch, parts: Option<&[Part]>) -> Result<()> {
        let (first, (arrival, ids)) = (self.held.rows() as u32, self.read(rows)?);
        self.hold_known(&arrival, &ids)?;
        for row in 0..rows.num_rows() {
            if parts.is_none_or(|parts| parts[row] == Part::Unwritten) {
                self.unwritten.note_changed(first + row as u32);
            }
        }
        Ok(())
    }

    /// Of rows as they were on disk those that are ruled out and have no partner, without what is known of them; and all
    /// those that are not ruled out.
    pub(super) fn part_ruled_out(&self, rows: &RecordBatch, other: Watermark) -> Result<[RecordBatch; 2]> {
        let (arrival, _) = self.read(rows)?;
        let over: Vec<bool> = arrival.times.values().iter().map(|time| self.is_ruled_out(*time, other)).collect();
        let alone = over.iter().zip(&arrival.matched).map(|(over, matched)| Some(*over && !matched)).collect();
        let waiting = over.iter().map(|over| Some(!over)).collect();
        Ok([filter_record_batch(&arrival.batch, &alone)?, filter_record_batch(rows, &waiting)?])
    }

    /// Bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        let known = size_of::<HeldRow>()
            + usize::from(self.role.is_tracked())
            + if self.role.keeps_unmatched { size_of::<(i64, u32)>() } else { 0 };
        self.held.bytes() + self.by_key.bytes() + self.held.rows() * known + self.unwritten.bytes()
    }
}

impl Role {
    /// Whether it matters which rows have a partner.
    fn is_tracked(self) -> bool {
        self.leaves_at_match || self.keeps_unmatched
    }
}
