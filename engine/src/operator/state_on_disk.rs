//! Rows of an operator's state that have no room in memory: on disk they are as a snapshot has them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::state_rows::STATE_ROWS;
use crate::error::Result;
use crate::state::spill::{Layout, Part, ScratchFolder, SpilledRows, SpilledView};
use crate::state::{LaterRows, StateMemory};

/// See the [module](self).
pub(super) struct StateOnDisk {
    scratch: ScratchFolder,
    layout: Layout,
    /// Made when the first rows go: it takes the types of their columns.
    stored: Option<Stored>,
}

struct Stored {
    rows: SpilledRows,
    schema: SchemaRef,
}

impl Stored {
    fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Rows that were taken out, and for each the place of its key among those that were asked for, and where it was.
pub(super) struct TakenRows {
    pub(super) rows: RecordBatch,
    pub(super) places: Vec<usize>,
    pub(super) parts: Vec<Part>,
}

impl StateOnDisk {
    /// Where rows go that have no room in this memory.
    pub(super) fn new(memory: &StateMemory, layout: Layout) -> Self {
        Self { scratch: memory.scratch.clone(), layout, stored: None }
    }

    /// Puts rows with their keys, which have the columns of `schema`, and their times.
    pub(super) fn put(
        &mut self,
        part: Part,
        (schema, keys): (&SchemaRef, &[ArrayRef]),
        rows: &RecordBatch,
        times: &[i64],
    ) -> Result<()> {
        let stored = match &mut self.stored {
            Some(stored) => stored,
            None => {
                let of = SpilledRows::new(self.scratch.clone(), self.layout, schema, &rows.schema())?;
                self.stored.insert(Stored { rows: of, schema: rows.schema() })
            }
        };
        stored.rows.put(part, keys, rows.columns(), times)
    }

    /// Takes the rows of these keys out, in the order of the keys. No key is asked for twice.
    pub(super) fn take(&mut self, keys: &[ArrayRef]) -> Result<Option<TakenRows>> {
        let Some(stored) = self.stored.as_mut().filter(|stored| stored.rows.len() > 0) else { return Ok(None) };
        let taken = stored.rows.take(keys)?.sorted()?;
        if taken.places.is_empty() {
            return Ok(None);
        }
        Ok(Some(TakenRows { rows: stored.batch(taken.rows)?, places: taken.places, parts: taken.parts }))
    }

    /// Forgets the rows from before this time.
    pub(super) fn drop_before(&mut self, time: i64) -> Result<()> {
        self.stored.as_mut().map_or(Ok(()), |stored| stored.rows.drop_before(time, false).map(drop))
    }

    /// Takes the rows from before this time out, some at a time.
    pub(super) fn take_before(&mut self, time: i64, mut taken: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let Some(Stored { rows, schema }) = &mut self.stored else { return Ok(()) };
        rows.take_before(time, STATE_ROWS, |rows| taken(RecordBatch::try_new(Arc::clone(schema), rows)?))
    }

    /// No row is older, and none younger, than these times.
    pub(super) fn times(&self) -> Option<(i64, i64)> {
        self.stored.as_ref()?.rows.stamps()
    }

    /// What is here, or one part of it, as state has it.
    pub(super) fn view(&self, only: Option<Part>) -> Option<Arc<dyn LaterRows>> {
        let stored = self.stored.as_ref().filter(|stored| stored.rows.len() > 0)?;
        Some(Arc::new(View { rows: stored.rows.view(only), schema: Arc::clone(&stored.schema) }))
    }

    /// A snapshot has all of it.
    pub(super) fn note_written(&mut self) {
        if let Some(stored) = &mut self.stored {
            stored.rows.note_written();
        }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.stored.as_ref().map_or(0, |stored| stored.rows.len())
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.stored.as_ref().map_or(0, |stored| stored.rows.memory_bytes())
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.stored.as_ref().map_or(0, |stored| stored.rows.disk_bytes())
    }
}

/// Rows that were on disk at one moment.
struct View {
    rows: SpilledView,
    schema: SchemaRef,
}

impl LaterRows for View {
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let schema = Arc::clone(&self.schema);
        let batch =
            move |part: Result<(Vec<ArrayRef>, Vec<ArrayRef>)>| Ok(RecordBatch::try_new(Arc::clone(&schema), part?.1)?);
        Ok(Box::new(self.rows.scan(STATE_ROWS)?.map(batch)))
    }
}

/// Parts of rows with their keys, which follow each other: a key's rows are in one part.
pub(super) fn some_keys(mut rows: &[(u32, u32)]) -> Vec<&[(u32, u32)]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let last = rows[rows.len().min(STATE_ROWS) - 1].0;
        let (part, rest) = rows.split_at(rows.partition_point(|(key, _)| *key <= last));
        parts.push(part);
        rows = rest;
    }
    parts
}
