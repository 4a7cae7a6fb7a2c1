//! Rows whose pane is not complete, where their order matters. Those that have no room in memory go to disk, and come
//! back when their pane is complete: a slice of its keys at a time, so that a pane may be larger than memory.
//!
//! All rows of a key in a pane are in one slice, so its aggregates are those that all of the pane at once would have.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemill_plans::time::{EventTime, event_times};

use crate::error::Result;
use crate::operator::groups::key_schema;
use crate::operator::panes::{PaneGrid, slice_hashes};
use crate::rows::{EventTimeBuffer, canonical_order};
use crate::state::spill::{BatchesView, Layout, Part, SpilledBatches, with_keys};
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};

/// Rows of a slice, more or less, and rows that are written, or read as state, at a time. Tests want to see several.
const SLICE_ROWS: usize = if cfg!(test) { 4 } else { 1 << 16 };

/// See the [module](self).
pub(super) struct WaitingRows {
    grid: PaneGrid,
    keys: Vec<usize>,
    key_schema: SchemaRef,
    time: usize,
    buffer: EventTimeBuffer,
    memory: StateMemory,
    /// Whether rows go by pane and key: else the buffer itself has them go, by time.
    in_slices: bool,
    /// Rows by pane, then by the hash of their key.
    away: SpilledBatches,
    /// How many rows of each pane are on disk, and about how many of them all are in no state.
    panes: BTreeMap<i64, usize>,
    away_new: usize,
    slices: Option<Slices>,
}

/// A pane that is complete.
struct Slices {
    pane: i64,
    view: Option<BatchesView>,
    left: Range<u64>,
    of: u64,
}

impl WaitingRows {
    /// Rows of one key in a pane are given out together; or, `in_slices` or not, all of a pane if there are no keys. What
    /// is given out together has to fit into memory.
    pub(super) fn new(
        input: SchemaRef,
        (keys, in_slices): (&[usize], bool),
        time: usize,
        grid: PaneGrid,
        memory: &StateMemory,
    ) -> Self {
        let in_slices = in_slices && !keys.is_empty();
        let buffer = EventTimeBuffer::new(Arc::clone(&input), time, &memory.limited_if(!in_slices));
        Self {
            in_slices,
            grid,
            keys: keys.to_vec(),
            time,
            key_schema: key_schema(&input, keys),
            buffer,
            away: SpilledBatches::new(memory.scratch.clone(), Layout::ByStamp, keys.len()),
            memory: memory.clone(),
            panes: BTreeMap::new(),
            away_new: 0,
            slices: None,
        }
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.buffer.push(batch)?;
        self.make_room()
    }

    /// The next rows before `bound`, which no pane goes beyond, in order: panes are never parted but by keys.
    pub(super) fn take_before(&mut self, bound: EventTime) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(rows) = self.next_slice()? {
                return Ok(Some(rows));
            }
            let first = self.panes.first_key_value().map(|(pane, _)| *pane).filter(|pane| EventTime(*pane) < bound);
            let Some(pane) = first else {
                let grid = self.grid;
                return self.buffer.take_stretch_before(bound, |time| grid.last(time));
            };
            // What comes before it is all in memory.
            let grid = self.grid;
            if let Some(rows) = self.buffer.take_stretch_before(EventTime(pane), |time| grid.last(time))? {
                return Ok(Some(rows));
            }
            self.open(pane, bound)?;
        }
    }

    /// Begins to take a pane that is on disk in part. The rest goes there, too, for it to be in order.
    fn open(&mut self, pane: i64, bound: EventTime) -> Result<()> {
        let end = EventTime(self.grid.last(pane).saturating_add(1)).min(bound);
        if let Some(rows) = self.buffer.take_before(end)? {
            self.put(Part::Unwritten, &rows)?;
        }
        let slices = self.panes.remove(&pane).unwrap_or_default().div_ceil(SLICE_ROWS) as u64;
        self.slices = Some(Slices { pane, view: self.away.view(None, SLICE_ROWS), left: 0..slices, of: slices });
        self.away.drop_at(pane..pane.saturating_add(1))?;
        self.away_new = self.away_new.min(self.away.len());
        Ok(())
    }

    /// The next rows of the pane that is being taken.
    fn next_slice(&mut self) -> Result<Option<RecordBatch>> {
        let Some(slices) = &mut self.slices else { return Ok(None) };
        while let (Some(view), Some(slice)) = (&slices.view, slices.left.next()) {
            let rows = view.at(slices.pane, slice_hashes(slice, slices.of))?;
            if rows.num_rows() > 0 {
                let rows = rows.project(&(self.keys.len()..rows.num_columns()).collect::<Vec<_>>())?;
                return Ok(Some(canonical_order(&rows, Some(self.time))?));
            }
        }
        self.slices = None;
        Ok(None)
    }

    /// Has all rows in memory go, if there is no room for them: each is needed once.
    fn make_room(&mut self) -> Result<()> {
        if !self.in_slices || self.memory.excess(self.buffer.bytes(), self.away.memory_bytes()).is_none() {
            return Ok(());
        }
        for (rows, part) in self.buffer.take_held() {
            self.put(part, &rows)?;
        }
        Ok(())
    }

    fn put(&mut self, part: Part, rows: &RecordBatch) -> Result<()> {
        for start in (0..rows.num_rows()).step_by(SLICE_ROWS) {
            let rows = rows.slice(start, SLICE_ROWS.min(rows.num_rows() - start));
            let times = event_times(rows.column(self.time))?;
            let panes: Vec<i64> = times.values().iter().map(|time| self.grid.start(*time)).collect();
            panes.iter().for_each(|pane| *self.panes.entry(*pane).or_default() += 1);
            self.away_new += if part == Part::Unwritten { rows.num_rows() } else { 0 };
            let keys: Vec<ArrayRef> = self.keys.iter().map(|key| ArrayRef::clone(rows.column(*key))).collect();
            self.away.put(part, &with_keys(&self.key_schema, &keys, &rows)?, &panes)?;
        }
        Ok(())
    }

    /// Writes the rows that have come, or all.
    pub(super) fn snapshot(&mut self, belongs: &Belongs, state: &mut StateWriter<'_>) -> Result<()> {
        debug_assert!(self.slices.is_none(), "complete panes are taken as a whole");
        let counts = [self.away.len(), self.away_new];
        let are_changes = self.buffer.snapshot_beside(belongs.clone(), &self.memory, state, counts)?;
        if let Some(away) = self.away.view(are_changes.then_some(Part::Unwritten), SLICE_ROWS) {
            state.later("rows", belongs.clone(), Arc::new(away.without_keys()));
        }
        self.away.note_written();
        self.away_new = 0;
        Ok(())
    }

    /// Takes up what was written.
    pub(super) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        for batch in state.batches("rows")? {
            self.buffer.push(batch?)?;
            self.buffer.note_written();
            self.make_room()?;
        }
        self.buffer.note_written();
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.buffer.bytes() + self.away.memory_bytes()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.buffer.disk_bytes() + self.away.disk_bytes()
    }
}
