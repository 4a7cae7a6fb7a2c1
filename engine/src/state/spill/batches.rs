//! Batches that have no room in memory, as state has them: their first columns are keys, the others what is known of
//! each. Where state has no keys, for they follow from the rows, they are put before them here.

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

impl Made {
    /// The columns behind those of the keys.
    fn known(&self, keys: usize) -> Result<SchemaRef> {
        Ok(Arc::new(self.schema.project(&(keys..self.schema.fields().len()).collect::<Vec<_>>())?))
    }
}

/// Rows that were taken out, without their keys, and for each the place of its key among those that were asked for, and
/// where it was.
pub(crate) struct TakenRows {
    pub(crate) rows: RecordBatch,
    pub(crate) places: Vec<usize>,
    pub(crate) parts: Vec<Part>,
}

/// Rows with the columns of their keys before their own.
pub(crate) fn with_keys(key_schema: &SchemaRef, keys: &[ArrayRef], rows: &RecordBatch) -> Result<RecordBatch> {
    let fields: Vec<_> = key_schema.fields().iter().chain(rows.schema_ref().fields()).cloned().collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), [keys, rows.columns()].concat())?)
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

    /// Takes the rows of these keys out, in the order of the keys; none if none of them is here. No key is asked for
    /// twice.
    pub(crate) fn take(&mut self, keys: &[ArrayRef]) -> Result<Option<TakenRows>> {
        let Some(made) = self.made.as_mut().filter(|made| made.rows.len() > 0) else { return Ok(None) };
        let Taken { places, parts, rows } = made.rows.take(keys)?.sorted()?;
        if places.is_empty() {
            return Ok(None);
        }
        let rows = RecordBatch::try_new(made.known(self.keys)?, rows)?;
        Ok(Some(TakenRows { rows, places, parts }))
    }

    /// Takes the rows with an older stamp out, so many at a time.
    pub(crate) fn take_before(
        &mut self,
        stamp: i64,
        rows_at_a_time: usize,
        mut taken: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let Some(made) = &mut self.made else { return Ok(()) };
        let known = made.known(self.keys)?;
        made.rows.take_before(stamp, rows_at_a_time, |rows| taken(RecordBatch::try_new(Arc::clone(&known), rows)?))
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
        Some(BatchesView { view: made.rows.view(only), schema, rows_at_a_time, keys: self.keys, has_keys: true })
    }

    /// No row has a lesser stamp, and none a greater one, than these.
    pub(crate) fn stamps(&self) -> Option<(i64, i64)> {
        self.made.as_ref()?.rows.stamps()
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
    /// How many columns keys have, and whether state has them.
    keys: usize,
    has_keys: bool,
}

impl BatchesView {
    /// The same, but state has no keys.
    pub(crate) fn without_keys(self) -> Self {
        Self { has_keys: false, ..self }
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
        let (schema, skipped) = (Arc::clone(&self.schema), if self.has_keys { 0 } else { self.keys });
        let batch = move |(keys, known): (Vec<_>, Vec<_>)| {
            let whole = RecordBatch::try_new(Arc::clone(&schema), [keys, known].concat())?;
            Ok(whole.project(&(skipped..whole.num_columns()).collect::<Vec<_>>())?)
        };
        Ok(Box::new(self.view.scan(self.rows_at_a_time)?.map(move |part| part.and_then(&batch))))
    }
}
