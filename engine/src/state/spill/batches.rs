//! Batches that have no room in memory, as state has them: their first columns are keys, the others what is known of
//! each.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{Schema, SchemaRef};

use super::rows::{SpilledRows, SpilledView, Taken};
use super::{Layout, Part, ScratchFolder};
use crate::error::Result;
use crate::state::LaterRows;

/// See the [module](self).
pub(crate) struct SpilledBatches {
    folder: ScratchFolder,
    /// How many columns keys have.
    keys: usize,
    layout: Layout,
    /// Made with the first batch: it takes the types of its columns.
    made: Option<Made>,
}

struct Made {
    rows: SpilledRows,
    schema: SchemaRef,
}

impl SpilledBatches {
    /// For rows with keys of so many columns.
    pub(crate) fn new(folder: ScratchFolder, layout: Layout, keys: usize) -> Self {
        Self { folder, keys, layout, made: None }
    }

    /// Puts rows; see [`SpilledRows::put`].
    pub(crate) fn put(&mut self, part: Part, batch: &RecordBatch, stamps: &[i64]) -> Result<()> {
        let made = match &mut self.made {
            Some(made) => made,
            None => {
                let (keys, known) = batch.schema_ref().fields().split_at(self.keys);
                let [keys, known] = [keys, known].map(|fields| SchemaRef::new(Schema::new(fields)));
                let rows = SpilledRows::new(self.folder.clone(), self.layout, &keys, &known)?;
                self.made.insert(Made { rows, schema: batch.schema() })
            }
        };
        let (keys, known) = batch.columns().split_at(self.keys);
        made.rows.put(part, keys, known, stamps)
    }

    /// Takes the rows of these keys out: the places of their keys, which grow, and what is known of them; none if
    /// nothing is here. No key is asked for twice.
    pub(crate) fn take(&mut self, keys: &[ArrayRef]) -> Result<Option<(Vec<usize>, RecordBatch)>> {
        let Some(made) = self.made.as_mut().filter(|made| made.rows.len() > 0) else { return Ok(None) };
        let Taken { places, rows, .. } = made.rows.take(keys)?.sorted()?;
        let known = made.schema.project(&(self.keys..made.schema.fields().len()).collect::<Vec<_>>())?;
        Ok(Some((places, RecordBatch::try_new(SchemaRef::new(known), rows)?)))
    }

    /// Drops the rows with an older stamp; their keys, if somebody wants to know.
    pub(crate) fn drop_before(&mut self, stamp: i64, wants_keys: bool) -> Result<Option<RecordBatch>> {
        let Some(made) = &mut self.made else { return Ok(None) };
        let keys = made.rows.drop_before(stamp, wants_keys)?;
        let schema = made.schema.project(&(0..self.keys).collect::<Vec<_>>())?;
        Ok(Some(RecordBatch::try_new(SchemaRef::new(schema), keys)?))
    }

    /// Drops the rows with these stamps, by which they are found.
    pub(crate) fn drop_at(&mut self, stamps: Range<i64>) -> Result<()> {
        self.made.as_mut().map_or(Ok(()), |made| made.rows.drop_at(stamps))
    }

    /// The rows that are here, or one part of them, so many at a time where they are read as state; none if there
    /// are none.
    pub(crate) fn view(&self, only: Option<Part>, rows_at_a_time: usize) -> Option<BatchesView> {
        let made = self.made.as_ref().filter(|made| made.rows.len() > 0)?;
        let schema = Arc::clone(&made.schema);
        Some(BatchesView { view: made.rows.view(only), schema, rows_at_a_time, skipped: 0 })
    }

    /// A snapshot has everything that is here.
    pub(crate) fn note_written(&mut self) {
        if let Some(made) = &mut self.made {
            made.rows.note_written();
        }
    }

    /// Lets all rows go.
    pub(crate) fn clear(&mut self) {
        self.made = None;
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.made.as_ref().map_or(0, |made| made.rows.len())
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.made.as_ref().map_or(0, |made| made.rows.memory_bytes())
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.made.as_ref().map_or(0, |made| made.rows.disk_bytes())
    }
}

/// The rows of one moment.
pub(crate) struct BatchesView {
    view: SpilledView,
    schema: SchemaRef,
    rows_at_a_time: usize,
    /// How many of the first columns state does not have.
    skipped: usize,
}

impl BatchesView {
    /// The same, but in state are no keys, which have so many columns.
    pub(crate) fn without_keys(self, keys: usize) -> Self {
        Self { skipped: keys, ..self }
    }

    /// The rows with a stamp whose keys have such hashes; see [`SpilledView::at`].
    pub(crate) fn at(&self, stamp: i64, hashes: RangeInclusive<u64>) -> Result<RecordBatch> {
        let (keys, known) = self.view.at(stamp, hashes)?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), [keys, known].concat())?)
    }

    /// The rows with a stamp that have one of these keys, and the place of each one's key.
    pub(crate) fn find(&self, stamp: i64, keys: &[ArrayRef]) -> Result<(Vec<usize>, RecordBatch)> {
        let (places, rows) = self.view.find(stamp, keys)?;
        let picked = UInt32Array::from_iter_values(places.iter().map(|place| *place as u32));
        let keys = take_arrays(keys, &picked, None)?;
        Ok((places, RecordBatch::try_new(Arc::clone(&self.schema), [keys, rows].concat())?))
    }
}

impl LaterRows for BatchesView {
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let (schema, skipped) = (Arc::clone(&self.schema), self.skipped);
        let batch = move |(keys, known): (Vec<_>, Vec<_>)| {
            let whole = RecordBatch::try_new(Arc::clone(&schema), [keys, known].concat())?;
            Ok(whole.project(&(skipped..whole.num_columns()).collect::<Vec<_>>())?)
        };
        Ok(Box::new(self.view.scan(self.rows_at_a_time)?.map(move |part| part.and_then(&batch))))
    }
}
