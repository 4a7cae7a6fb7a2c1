//! Rows of keys that have no room in memory: those whose key nothing has touched lately go to disk, and come back when
//! it comes again.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::{Normalize, Touches};
use crate::error::Result;
use crate::operator::changed_keys::others;
use crate::operator::key_index::first_rows;
use crate::operator::recency::Recency;
use crate::operator::state_rows::{STATE_ROWS, with_note};
use crate::rows::canonical_key;
use crate::state::spill::{Layout, Part, SpilledRows, SpilledView};
use crate::state::{LaterRows, StateMemory};

/// Where rows go.
pub(super) struct Spilling {
    memory: StateMemory,
    recency: Recency,
    rows: SpilledRows,
    columns: Columns,
}

/// What is on disk of each key: its row, and when it was touched.
#[derive(Clone)]
struct Columns {
    /// Of the row.
    schema: SchemaRef,
    /// Which of them are the key's.
    keys: Vec<usize>,
    key_schema: SchemaRef,
}

impl Spilling {
    /// For rows of this schema, whose keys are in these columns.
    pub(super) fn new(
        memory: &StateMemory,
        schema: &SchemaRef,
        keys: &[usize],
        key_schema: &SchemaRef,
    ) -> Result<Self> {
        let at = Arc::new(Field::new("at", DataType::Int64, false));
        let whole = schema.fields().iter().cloned().chain([at]).collect::<Vec<_>>();
        let columns = Columns { schema: Arc::clone(schema), keys: keys.to_vec(), key_schema: Arc::clone(key_schema) };
        let rows = SpilledRows::new(memory.scratch.clone(), Layout::OneRun, key_schema, &Arc::new(Schema::new(whole)))?;
        Ok(Self { memory: memory.clone(), recency: Recency::default(), rows, columns })
    }

    /// The memory of all rows.
    pub(super) fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// Only these keys are in memory: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) {
        self.recency.keep(live);
    }

    /// How many keys there are here.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.memory_bytes() + self.recency.bytes()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }

    /// The rows that are here, or one part of them: themselves, and their keys with their touches.
    pub(super) fn views(&self, only: Option<Part>) -> Option<[SpilledState; 2]> {
        let view = (self.rows.len() > 0).then(|| self.rows.view(only))?;
        let of = |what| SpilledState { view: view.clone(), columns: self.columns.clone(), what };
        Some([of(What::Rows), of(What::Touches)])
    }

    /// A snapshot has all of them.
    pub(super) fn note_written(&mut self) {
        self.rows.note_written();
    }

    /// Drops the rows whose keys were touched last before this time; the keys, if somebody wants to know.
    pub(super) fn drop_before(&mut self, time: i64, wants_keys: bool) -> Result<RecordBatch> {
        let keys = self.rows.drop_before(time, wants_keys)?;
        Ok(RecordBatch::try_new(Arc::clone(&self.columns.key_schema), keys)?)
    }
}

/// What a snapshot has of the keys on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Rows,
    Touches,
}

/// Rows on disk as they were at one moment, as state has them.
pub(super) struct SpilledState {
    view: SpilledView,
    columns: Columns,
    what: What,
}

impl LaterRows for SpilledState {
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let (columns, what) = (self.columns.clone(), self.what);
        Ok(Box::new(self.view.scan(STATE_ROWS)?.map(move |part| columns.state_of(what, part?.1))))
    }
}

impl Columns {
    fn state_of(&self, what: What, mut row: Vec<ArrayRef>) -> Result<RecordBatch> {
        let at = row.pop();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), row)?;
        match at.filter(|_| what == What::Touches) {
            Some(at) => with_note(&rows.project(&self.keys)?, "at", at.as_primitive::<Int64Type>().clone()),
            None => Ok(rows),
        }
    }
}

impl Normalize {
    fn bytes_in_memory(&self) -> usize {
        self.last.bytes() + self.touches.as_ref().map_or(0, Touches::bytes)
    }

    /// How many keys there is room for, if it is not for all.
    fn room(&self) -> Option<usize> {
        self.spilling.memory.room(self.last.row_of.len(), self.bytes_in_memory(), self.spilling.bytes())
    }

    /// Has rows go, if there is no room for all of them.
    pub(super) fn spill(&mut self) -> Result<()> {
        if self.room().is_none() {
            return Ok(());
        }
        self.clean_up()?;
        let Some(room) = self.room() else { return Ok(()) };
        let cold = self.spilling.recency.take_cold(self.last.row_of.len(), room);
        for (part, keys) in self.last.unwritten.parts(&cold) {
            keys.chunks(STATE_ROWS).try_for_each(|keys| self.put_away(part, keys))?;
        }
        self.keep(&others(&cold, self.last.row_of.len()))
    }

    fn put_away(&mut self, part: Part, keys: &[u32]) -> Result<()> {
        let rows = self.last.of(keys)?;
        let at = match &self.touches {
            Some(touches) => touches.of(keys),
            None => Int64Array::from(vec![i64::MAX; keys.len()]),
        };
        let key_columns: Vec<ArrayRef> = self.last.keys.iter().map(|key| canonical_key(rows.column(*key))).collect();
        let columns: Vec<ArrayRef> = rows.columns().iter().cloned().chain([Arc::new(at.clone()) as _]).collect();
        self.spilling.rows.put(part, &key_columns, &columns, at.values())
    }

    /// Takes rows back whose keys are new in memory, where numbers begin at `known`; rows of a batch have these keys.
    pub(super) fn take_back(&mut self, batch: &RecordBatch, keys: &[usize], known: usize) -> Result<()> {
        if self.spilling.memory.is_limited() {
            keys.iter().for_each(|key| self.spilling.recency.note(*key));
        }
        let new = self.last.row_of.len() - known;
        if new == 0 || self.spilling.rows.len() == 0 {
            return Ok(());
        }
        let firsts = first_rows(keys, known, self.last.row_of.len());
        let columns: Vec<ArrayRef> = self.last.keys.iter().map(|key| canonical_key(batch.column(*key))).collect();
        let taken = self.spilling.rows.take(&take_arrays(&columns, &firsts, None)?)?;
        let numbers: Vec<usize> = taken.places.iter().map(|place| known + place).collect();
        let mut rows = taken.rows;
        if let (Some(at), Some(touches)) = (rows.pop(), &mut self.touches) {
            touches.set(&numbers, at.as_primitive::<Int64Type>());
        }
        let first = self.last.rows.len() as u32;
        self.last.rows.push(&RecordBatch::try_new(Arc::clone(&self.spilling.columns.schema), rows)?)?;
        for (row, key) in (first..).zip(numbers) {
            self.last.set(key, row);
            // The next snapshot may lack what the store held.
            self.last.unwritten.note(key);
        }
        Ok(())
    }
}
