//! Rows of keys that have no room in memory: the rows of a key on both sides go to disk, and come back, in their order,
//! when a row with that key comes on either.
//!
//! A join that may have to do so writes all of its rows into every snapshot: those on disk have no ids to be called by
//! in changes.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;

use super::Join;
use super::side::Side;
use crate::error::Result;
use crate::operator::recency::Recency;
use crate::operator::state_rows::{STATE_ROWS, with_note};
use crate::state::spill::{Part, SpilledRows, SpilledView};
use crate::state::{LaterRows, StateMemory};

/// Where rows go.
pub(super) struct Spilling {
    memory: StateMemory,
    recency: Recency,
    /// Those of each side; made when the first ones go, for they take the types of their columns.
    sides: [Option<SpilledSide>; 2],
}

struct SpilledSide {
    rows: SpilledRows,
    schema: SchemaRef,
}

impl Spilling {
    pub(super) fn new(memory: &StateMemory, keys: &[usize]) -> Self {
        // Without keys all rows are of one, which is always needed.
        let memory = memory.limited_if(!keys.is_empty());
        Self { memory, recency: Recency::default(), sides: [None, None] }
    }

    /// Whether rows may have to go.
    pub(super) fn is_limited(&self) -> bool {
        self.memory.is_limited()
    }

    /// Only these keys are in memory: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) {
        self.recency.keep(live);
    }

    fn stores(&self) -> impl Iterator<Item = &SpilledRows> {
        self.sides.iter().flatten().map(|side| &side.rows)
    }

    pub(super) fn bytes(&self) -> usize {
        self.stores().map(SpilledRows::memory_bytes).sum::<usize>() + self.recency.bytes()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.stores().map(SpilledRows::disk_bytes).sum()
    }

    /// Puts rows of one side with their keys, which have the columns of `schema`.
    fn put(
        &mut self,
        side: usize,
        (schema, keys): (&SchemaRef, &[ArrayRef]),
        rows: &RecordBatch,
        times: &[i64],
    ) -> Result<()> {
        let spilled = match &mut self.sides[side] {
            Some(spilled) => spilled,
            None => {
                let rows_of = SpilledRows::new(self.memory.scratch.clone(), schema, &rows.schema())?;
                self.sides[side].insert(SpilledSide { rows: rows_of, schema: rows.schema() })
            }
        };
        spilled.rows.put(Part::Unwritten, keys, rows.columns(), times)
    }

    /// Forgets the rows of a side from before this time.
    pub(super) fn drop_before(&mut self, side: usize, time: i64) -> Result<()> {
        if let Some(spilled) = &mut self.sides[side] {
            spilled.rows.drop_before(time, false)?;
        }
        Ok(())
    }

    /// The rows of a side, as state has them; their ids begin at this one.
    pub(super) fn view(&self, side: usize, first_id: u32) -> Option<SpilledState> {
        let spilled = self.sides[side].as_ref().filter(|spilled| spilled.rows.len() > 0)?;
        Some(SpilledState { view: spilled.rows.view(None), schema: Arc::clone(&spilled.schema), first_id })
    }
}

/// The rows of a side that were on disk at one moment.
pub(super) struct SpilledState {
    view: SpilledView,
    schema: SchemaRef,
    first_id: u32,
}

impl LaterRows for SpilledState {
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let (schema, mut id) = (Arc::clone(&self.schema), self.first_id);
        Ok(Box::new(self.view.scan(STATE_ROWS)?.map(move |part| {
            let rows = RecordBatch::try_new(Arc::clone(&schema), part?.1)?;
            let ids = UInt32Array::from_iter_values((0..rows.num_rows() as u32).map(|row| id.wrapping_add(row)));
            id = id.wrapping_add(rows.num_rows() as u32);
            with_note(&rows, "id", ids)
        })))
    }
}

impl Join {
    /// Takes the rows of keys back that are new in memory, whose numbers begin at `known`.
    pub(super) fn take_back(&mut self, known: usize) -> Result<()> {
        let new: Vec<u32> = (known as u32..self.keys.len() as u32).collect();
        if new.is_empty() || self.spilling.stores().all(|rows| rows.len() == 0) {
            return Ok(());
        }
        let keys = self.keys.keys(&new)?;
        for (side, spilled) in self.sides.iter_mut().zip(&mut self.spilling.sides) {
            let Some(SpilledSide { rows, schema }) = spilled else { continue };
            let taken = rows.take(&keys)?.sorted()?;
            let numbers: Vec<usize> = taken.places.iter().map(|place| known + place).collect();
            if !numbers.is_empty() {
                side.take_back(&RecordBatch::try_new(Arc::clone(schema), taken.rows)?, &numbers)?;
            }
        }
        Ok(())
    }

    /// Rows have these keys.
    pub(super) fn note_recent(&mut self, keys: &[usize]) {
        if self.spilling.is_limited() {
            keys.iter().for_each(|key| self.spilling.recency.note(*key));
        }
    }

    /// How many keys there is room for, if it is not for all.
    fn room(&self) -> Option<usize> {
        let bytes = self.keys.bytes() + self.sides.iter().map(Side::bytes).sum::<usize>();
        self.spilling.memory.room(self.keys.len(), bytes, self.spilling.bytes())
    }

    /// Has the rows of some keys go, if there is no room for all of them.
    pub(super) fn spill(&mut self) -> Result<()> {
        if self.room().is_none() {
            return Ok(());
        }
        self.compact()?;
        let Some(room) = self.room() else { return Ok(()) };
        let cold = self.spilling.recency.take_cold(self.keys.len(), room);
        for side in 0..self.sides.len() {
            let rows = self.sides[side].rows_of(&cold);
            for part in parts(&rows) {
                let (keys, numbers): (Vec<u32>, Vec<u32>) = part.iter().copied().unzip();
                let (rows, times) = self.sides[side].write_without_ids(&numbers)?;
                let keys = self.keys.keys(&keys)?;
                self.spilling.put(side, (self.keys.schema(), &keys), &rows, &times)?;
            }
            self.sides[side].let_go(&rows);
        }
        self.compact()
    }
}

/// Parts of rows with their keys, which follow each other: a key's rows are in one part.
fn parts(mut rows: &[(u32, u32)]) -> Vec<&[(u32, u32)]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let last = rows[rows.len().min(STATE_ROWS) - 1].0;
        let (part, rest) = rows.split_at(rows.partition_point(|(key, _)| *key <= last));
        parts.push(part);
        rows = rest;
    }
    parts
}
