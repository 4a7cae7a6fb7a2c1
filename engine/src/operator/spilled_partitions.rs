//! Partitions that have no room in memory: those that no row has touched lately go to disk as a whole, and come back
//! when a row of theirs comes.
//!
//! What is known of partitions are rows in a few tables, as snapshots have them; so what is on disk goes into a
//! snapshot as it is.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};

use super::recency::Recency;
use super::state_rows::STATE_ROWS;
use crate::error::Result;
use crate::state::spill::{Layout, Part, SpilledRows, SpilledView};
use crate::state::{Belongs, LaterRows, StateMemory, StateWriter};

/// Which rows of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// The input's.
    Rows,
    /// What the operator knows besides.
    Known,
    /// When each was touched last: a row a partition, the time in its last column.
    Touched,
}

/// See the [module](self).
pub(super) struct SpilledPartitions {
    memory: StateMemory,
    recency: Recency,
    keys: SchemaRef,
    /// Each made when its first rows go: it takes the types of their columns.
    tables: [Option<SpilledTable>; 3],
    /// Goes through the partitions when all of them are wanted.
    scan: Option<Scan>,
}

struct SpilledTable {
    rows: SpilledRows,
    schema: SchemaRef,
}

type Scan = Box<dyn Iterator<Item = Result<(Vec<ArrayRef>, Vec<ArrayRef>)>> + Send>;

/// Rows of partitions that have come back, those of each together and in the order in which they went.
pub(super) struct Back {
    /// The partition of each.
    pub(super) numbers: Vec<usize>,
    pub(super) rows: RecordBatch,
}

impl SpilledPartitions {
    /// For partitions with keys of this schema, which has columns.
    pub(super) fn new(memory: &StateMemory, keys: &SchemaRef) -> Self {
        let (recency, keys) = (Recency::default(), Arc::clone(keys));
        Self { memory: memory.clone(), recency, keys, tables: [None, None, None], scan: None }
    }

    /// Rows touch these partitions.
    pub(super) fn note(&mut self, partitions: &[usize]) {
        partitions.iter().for_each(|partition| self.recency.note(*partition));
    }

    /// How many of so many partitions there is room for beside so many bytes of others, if it is not for all: with what
    /// is here they have so many bytes.
    pub(super) fn room(&self, partitions: usize, bytes: usize, beside: usize) -> Option<usize> {
        let here = self.bytes();
        self.memory.room(partitions, bytes.saturating_sub(here), here + beside)
    }

    /// Which of so many partitions go if so many are kept.
    pub(super) fn take_cold(&mut self, partitions: usize, kept: usize) -> Vec<u32> {
        self.recency.take_cold(partitions, kept)
    }

    /// Only these partitions are in memory: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) {
        self.recency.keep(live);
    }

    /// Puts rows with the keys of their partitions: all that a partition has in this table, which has none of it.
    pub(super) fn put(&mut self, table: Table, part: Part, keys: &[ArrayRef], rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let spilled = match &mut self.tables[table as usize] {
            Some(spilled) => spilled,
            none => {
                let rows_of =
                    SpilledRows::new(self.memory.scratch.clone(), Layout::OneRun, &self.keys, &rows.schema())?;
                none.insert(SpilledTable { rows: rows_of, schema: rows.schema() })
            }
        };
        let at = rows.columns().last().filter(|_| table == Table::Touched);
        let stamps =
            at.map_or_else(|| vec![i64::MAX; rows.num_rows()], |at| at.as_primitive::<Int64Type>().values().to_vec());
        spilled.rows.put(part, keys, rows.columns(), &stamps)
    }

    /// Whether a table has no rows.
    pub(super) fn is_empty(&self, table: Table) -> bool {
        self.tables[table as usize].as_ref().is_none_or(|spilled| spilled.rows.len() == 0)
    }

    /// Takes the rows of partitions with these keys out of a table. They have the numbers from `first` on.
    pub(super) fn take(&mut self, table: Table, keys: &[ArrayRef], first: usize) -> Result<Option<Back>> {
        let spilled = self.tables[table as usize].as_mut().filter(|spilled| spilled.rows.len() > 0);
        let Some(spilled) = spilled else { return Ok(None) };
        let taken = spilled.rows.take(keys)?.sorted()?;
        if taken.places.is_empty() {
            return Ok(None);
        }
        let numbers = taken.places.iter().map(|place| first + place).collect();
        Ok(Some(Back { numbers, rows: RecordBatch::try_new(Arc::clone(&spilled.schema), taken.rows)? }))
    }

    /// Writes the rows of a table, or one part of them.
    pub(super) fn write(
        &mut self,
        table: Table,
        name: &str,
        belongs: Belongs,
        only: Option<Part>,
        state: &mut StateWriter<'_>,
    ) {
        let Some(spilled) = self.tables[table as usize].as_mut().filter(|spilled| spilled.rows.len() > 0) else {
            return;
        };
        let view = TableView { view: spilled.rows.view(only), schema: Arc::clone(&spilled.schema) };
        state.later(name, belongs, Arc::new(view));
        spilled.rows.note_written();
    }

    /// Drops the partitions that were touched last before this time; returns their keys.
    pub(super) fn drop_before(&mut self, time: i64) -> Result<Option<RecordBatch>> {
        let Some(touched) = &mut self.tables[Table::Touched as usize] else { return Ok(None) };
        let keys = touched.rows.drop_before(time, true)?;
        if keys.iter().all(|key| key.is_empty()) {
            return Ok(None);
        }
        for table in [Table::Rows, Table::Known] {
            self.take(table, &keys, 0)?;
        }
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.keys), keys)?))
    }

    /// How many partitions there are here for which it is known when they were touched.
    pub(super) fn touched(&self) -> usize {
        self.tables[Table::Touched as usize].as_ref().map_or(0, |spilled| spilled.rows.len())
    }

    /// The keys of some partitions that have rows here, until all have been given; some more than once. Nothing goes
    /// any more.
    pub(super) fn next_keys(&mut self) -> Result<Option<RecordBatch>> {
        if self.scan.is_none() {
            let Some(spilled) = &self.tables[Table::Rows as usize] else { return Ok(None) };
            self.scan = Some(Box::new(spilled.rows.view(None).scan(STATE_ROWS)?));
        }
        let next = self.scan.as_mut().and_then(|scan| scan.next()).transpose()?;
        Ok(next.map(|(keys, _)| RecordBatch::try_new(Arc::clone(&self.keys), keys)).transpose()?)
    }

    fn stores(&self) -> impl Iterator<Item = &SpilledRows> {
        self.tables.iter().flatten().map(|table| &table.rows)
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.stores().map(SpilledRows::memory_bytes).sum::<usize>() + self.recency.bytes()
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.stores().map(SpilledRows::disk_bytes).sum()
    }
}

/// The rows of a table as they were at one moment.
struct TableView {
    view: SpilledView,
    schema: SchemaRef,
}

impl LaterRows for TableView {
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let schema = Arc::clone(&self.schema);
        Ok(Box::new(
            self.view.scan(STATE_ROWS)?.map(move |part| Ok(RecordBatch::try_new(Arc::clone(&schema), part?.1)?)),
        ))
    }
}
