//! Rows of keys that have no room in memory: the rows of a key on both sides go to disk, and come back, in their order,
//! when a row with that key comes on either. They are there as state has them, with their ids.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::Join;
use super::side::Side;
use crate::error::Result;
use crate::operator::recency::Recency;
use crate::operator::state_rows::STATE_ROWS;
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

    /// The memory of all rows.
    pub(super) fn memory(&self) -> &StateMemory {
        &self.memory
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

    /// How many rows of a side are here.
    pub(super) fn rows(&self, side: usize) -> usize {
        self.sides[side].as_ref().map_or(0, |side| side.rows.len())
    }

    /// Puts rows of one side with their keys, which have the columns of `schema`.
    fn put(
        &mut self,
        (side, part): (usize, Part),
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
        spilled.rows.put(part, keys, rows.columns(), times)
    }

    /// Forgets the rows of a side from before this time, and shows them, some at a time, if somebody wants to see them.
    pub(super) fn drop_before(
        &mut self,
        side: usize,
        time: i64,
        gone: Option<impl FnMut(RecordBatch) -> Result<()>>,
    ) -> Result<()> {
        let Some(SpilledSide { rows, schema }) = &mut self.sides[side] else { return Ok(()) };
        let Some(mut gone) = gone else { return rows.drop_before(time, false).map(drop) };
        rows.take_before(time, STATE_ROWS, |rows| gone(RecordBatch::try_new(Arc::clone(schema), rows)?))
    }

    /// The rows of a side, or one part of them.
    pub(super) fn view(&self, side: usize, only: Option<Part>) -> Option<SpilledState> {
        let spilled = self.sides[side].as_ref().filter(|spilled| spilled.rows.len() > 0)?;
        Some(SpilledState { view: spilled.rows.view(only), schema: Arc::clone(&spilled.schema) })
    }

    /// A snapshot has all of them.
    pub(super) fn note_written(&mut self) {
        self.sides.iter_mut().flatten().for_each(|side| side.rows.note_written());
    }
}

/// The rows of a side that were on disk at one moment.
pub(super) struct SpilledState {
    view: SpilledView,
    schema: SchemaRef,
}

impl LaterRows for SpilledState {
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let schema = Arc::clone(&self.schema);
        let rows =
            move |part: Result<(Vec<ArrayRef>, Vec<ArrayRef>)>| Ok(RecordBatch::try_new(Arc::clone(&schema), part?.1)?);
        Ok(Box::new(self.view.scan(STATE_ROWS)?.map(rows)))
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
                let rows = RecordBatch::try_new(Arc::clone(schema), taken.rows)?;
                side.take_back(&rows, &numbers, &taken.parts)?;
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
            let (written, unwritten): (Vec<_>, Vec<_>) =
                rows.chunk_by(|a, b| a.0 == b.0).partition(|rows| self.sides[side].part(rows) == Part::Written);
            for (part, rows) in [(Part::Written, written.concat()), (Part::Unwritten, unwritten.concat())] {
                some_keys(&rows).into_iter().try_for_each(|rows| self.put_away(side, part, rows))?;
            }
            self.sides[side].let_go(&rows);
        }
        self.compact()
    }

    fn put_away(&mut self, side: usize, part: Part, rows: &[(u32, u32)]) -> Result<()> {
        let (keys, numbers): (Vec<u32>, Vec<u32>) = rows.iter().copied().unzip();
        let (rows, times) = (self.sides[side].write(&numbers)?, self.sides[side].times(&numbers));
        let keys = self.keys.keys(&keys)?;
        self.spilling.put((side, part), (self.keys.schema(), &keys), &rows, &times)
    }
}

/// Parts of rows with their keys, which follow each other: a key's rows are in one part.
fn some_keys(mut rows: &[(u32, u32)]) -> Vec<&[(u32, u32)]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let last = rows[rows.len().min(STATE_ROWS) - 1].0;
        let (part, rest) = rows.split_at(rows.partition_point(|(key, _)| *key <= last));
        parts.push(part);
        rows = rest;
    }
    parts
}
