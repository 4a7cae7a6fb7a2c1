//! Open sessions as their rows, with ids behind the columns: a row is written once, and named once when its session has
//! closed.
//!
//! Nothing is written of the sessions themselves, for rows make the same ones in whatever order they are read. A session's
//! rows are in the order of their ids, which are not changed: sums of floats show it. Ids are those of one instance, so
//! rows are called by their keys, too.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, max};
use arrow::datatypes::UInt64Type;

use super::Sessions;
use crate::error::Result;
use crate::operator::held_rows::{HeldRows, Place};
use crate::operator::state_rows::{STATE_ROWS, other_columns, take_note};
use crate::state::spill::Part;
use crate::state::{Belongs, RowKeys, StateReader, StateWriter};

/// So many rows that are gone are remembered, however few there are.
const GONE_MIN: usize = if cfg!(test) { 4 } else { 4096 };

/// What state has. Nothing is noted before it has been written.
#[derive(Default)]
pub(super) struct Written {
    /// The id of the first row that it lacks.
    first_new: Option<u64>,
    /// The keys and ids of rows that are gone since.
    gone: Vec<RecordBatch>,
    gone_rows: usize,
}

impl Written {
    /// Rows from this id on are in no state that changes go on from.
    pub(super) fn first_new(&self) -> u64 {
        self.first_new.unwrap_or_default()
    }

    /// Rows are gone, so many are left. If that is less than what is gone, all of them are written next.
    pub(super) fn note_gone(&mut self, rows: &RecordBatch, keys: &[usize], left: usize) -> Result<()> {
        let Some(first_new) = self.first_new else { return Ok(()) };
        let columns: Vec<usize> = keys.iter().copied().chain([rows.num_columns() - 1]).collect();
        let names = rows.project(&columns)?;
        let (_, ids) = take_note::<UInt64Array>(&names)?;
        let is_written: BooleanArray = ids.values().iter().map(|id| Some(*id < first_new)).collect();
        self.gone_rows += is_written.true_count();
        if left == 0 || self.gone_rows > left.max(GONE_MIN) {
            *self = Self::default();
        } else if is_written.true_count() > 0 {
            self.gone.push(filter_record_batch(&names, &is_written)?);
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.gone.iter().map(RecordBatch::get_array_memory_size).sum()
    }
}

/// The id of a row that is held.
pub(super) fn id_of(held: &HeldRows, (batch, row): Place) -> u64 {
    let batch = held.batch(batch);
    batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>().value(row as usize)
}

impl Sessions {
    /// Writes the rows that have come, and which are gone, or all.
    pub(in crate::operator) fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let belongs = Belongs::ToKeys(self.keys.clone());
        state.value("watermark", &self.watermark)?;
        self.waiting.snapshot(belongs.clone(), &mut state.part("waiting"))?;
        let written = std::mem::take(&mut self.written);
        let changes = written.first_new.filter(|_| state.takes_changes());
        let id = self.waiting.schema().fields().len();
        if changes.is_some() {
            let keys = RowKeys::Exact(self.keys.iter().copied().chain([id]).collect());
            state.changes("rows", belongs.clone(), keys, [], written.gone);
        }
        let places = self.places_since(changes.unwrap_or_default());
        let batches = places.chunks(STATE_ROWS).map(|part| self.held.gather(part));
        state.behind("rows", belongs.clone(), &self.spilling.memory, batches)?;
        if let Some(away) = self.spilling.view(changes.map(|_| Part::Unwritten)) {
            state.later("rows", belongs, Arc::new(away));
        }
        self.spilling.note_written();
        self.written.first_new = Some(self.next_id);
        Ok(())
    }

    /// Where the rows in memory are from this id on, of open sessions.
    fn places_since(&self, first: u64) -> Vec<Place> {
        let rows = self.by_key.values().flatten().flat_map(|session| &session.rows).copied();
        let mut places: Vec<Place> = rows.filter(|place| id_of(&self.held, *place) >= first).collect();
        places.sort_unstable();
        places
    }

    /// Takes up what was written.
    pub(in crate::operator) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        if let Some(least) = state.values("watermark")?.into_iter().min() {
            self.watermark = least;
        }
        self.waiting.restore(&state.part("waiting"))?;
        // What has no room meanwhile is in state, too.
        self.written.first_new = Some(u64::MAX);
        for batch in state.batches("rows")? {
            let batch = batch?;
            let ids = batch.columns().last().and_then(|ids| ids.as_primitive_opt::<UInt64Type>());
            let last = max(ids.ok_or_else(other_columns)?).unwrap_or_default();
            self.next_id = self.next_id.max(last.saturating_add(1));
            self.hold(batch)?;
            self.make_room()?;
        }
        self.written.first_new = Some(self.next_id);
        // Before rows had ids, they were written session by session, in order, with its number.
        for batch in state.batches("sessions")? {
            let (rows, _) = take_note::<UInt64Array>(&batch?)?;
            self.add(&rows)?;
            self.written.first_new = None;
        }
        Ok(())
    }
}
