//! All rows of each partition in order, where rows may be taken away.
//!
//! A row is the bytes of its order and its columns, and how often it is there. A row may be taken away
//! before it comes, where several tasks' changes mix: then it is there less than no time, and counts
//! for nothing.
//!
//! Rows that come and go are kept as they come until state is written, for that alone says which have changed.

mod spilling;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, Rows};
use tidemill_plans::change::{change_column_index, change_ops};
use tidemill_plans::node::{SortColumn, TimeToLive};
use tidemill_plans::time::Watermark;

use self::spilling::Unwritten;
use super::changed_keys::Dropped;
use super::partitions::{Partitions, all_fields, keep_live, order_fields};
use super::state_rows::{STATE_ROWS, take_note, with_note};
use crate::error::Result;
use crate::state::{Belongs, RowKeys, StateMemory, StateReader, StateWriter};

/// A row as bytes that compare as the rows do.
pub(super) type Encoded = Arc<[u8]>;

/// See the [module](self).
pub(super) struct SortedRows {
    /// The input without a changelog column.
    schema: SchemaRef,
    partitions: Partitions,
    order: Vec<usize>,
    converter: RowConverter,
    rows: Vec<BTreeMap<Encoded, i64>>,
    /// Of each partition, whether it has changed.
    marked: Vec<bool>,
    changed: Vec<usize>,
    /// How many entries there are, and their bytes.
    entries: usize,
    bytes: usize,
    unwritten: Unwritten,
}

/// Bytes of a row beside its own: pointer, count, and what a tree and an allocation need.
const ROW_OVERHEAD: usize = 64;

impl SortedRows {
    /// For rows of `input`, which may have a changelog column.
    pub(super) fn new(
        input: &SchemaRef,
        partition: &[usize],
        order_by: &[SortColumn],
        life: Option<TimeToLive>,
        memory: &StateMemory,
    ) -> Result<Self> {
        let columns = change_column_index(input).unwrap_or(input.fields().len());
        let schema = Arc::new(Schema::new(input.fields()[..columns].to_vec()));
        let order: Vec<usize> = order_by.iter().map(|sort| sort.column).collect();
        let mut fields = if order.is_empty() { Vec::new() } else { order_fields(order_by, &schema) };
        fields.extend(all_fields(&schema));
        let partitions = Partitions::new(&schema, partition, life, memory)?;
        Ok(Self {
            unwritten: Unwritten::new(partitions.is_limited()),
            partitions,
            schema,
            order,
            converter: RowConverter::new(fields)?,
            rows: Vec::new(),
            marked: Vec::new(),
            changed: Vec::new(),
            entries: 0,
            bytes: 0,
        })
    }

    /// Applies changes. `before` is told of each partition that has not changed since the last
    /// [`Self::take_changed`], and its rows as they were.
    pub(super) fn apply(
        &mut self,
        batch: &RecordBatch,
        mut before: impl FnMut(usize, SortedPartition<'_>),
    ) -> Result<()> {
        let ops = change_ops(batch)?;
        let batch = batch.project(&(0..self.schema.fields().len()).collect::<Vec<_>>())?;
        let encoded = self.encode(&batch)?;
        let partitions = self.partitions.of(&batch)?.to_vec();
        self.take_back()?;
        self.unwritten.note(&batch, &partitions, self.entries);
        for (row, (partition, op)) in partitions.iter().zip(ops).enumerate() {
            let rows = &mut self.rows[*partition];
            if !std::mem::replace(&mut self.marked[*partition], true) {
                self.changed.push(*partition);
                before(*partition, SortedPartition(rows));
            }
            let bytes = encoded.row(row).data();
            match count(rows, bytes, if op.adds() { 1 } else { -1 }) {
                Ordering::Greater => {
                    self.entries += 1;
                    self.bytes += bytes.len() + ROW_OVERHEAD;
                }
                Ordering::Less => {
                    self.entries -= 1;
                    self.bytes -= bytes.len() + ROW_OVERHEAD;
                }
                Ordering::Equal => {}
            }
        }
        Ok(())
    }

    fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        let ordered = self.order.iter().map(|column| rows.column(*column));
        let columns: Vec<_> = ordered.chain(rows.columns()).map(Arc::clone).collect();
        Ok(self.converter.convert_columns(&columns)?)
    }

    /// Whether partitions have changed since the last [`Self::take_changed`].
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The partitions that have changed since the last call, in the order of their first change.
    pub(super) fn take_changed(&mut self) -> Vec<usize> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().for_each(|partition| self.marked[*partition] = false);
        changed
    }

    /// Whether it is time to call [`Self::drop_old`].
    pub(super) fn wants_clean_up(&mut self, watermark: Watermark) -> bool {
        self.partitions.wants_clean_up(watermark)
    }

    /// Drops partitions that no row has touched for long enough, and those without rows. None of them may
    /// have changed since the last [`Self::take_changed`].
    pub(super) fn drop_old(&mut self) -> Result<Option<Dropped>> {
        debug_assert!(self.changed.is_empty(), "changes are taken before partitions are dropped");
        let rows = &self.rows;
        let dropped = self.partitions.drop_old(|partition, young| young && !rows[partition].is_empty())?;
        if let Some(dropped) = &dropped {
            self.unwritten.note_dropped(dropped);
            self.keep(&dropped.live);
        }
        Ok(dropped)
    }

    /// Keeps these partitions only: the i-th has the number i now.
    fn keep(&mut self, live: &[u32]) {
        self.rows = keep_live(std::mem::take(&mut self.rows), live);
        self.marked = vec![false; live.len()];
        self.entries = self.rows.iter().map(BTreeMap::len).sum();
        let rows = self.rows.iter().flat_map(BTreeMap::keys);
        self.bytes = rows.map(|row| row.len() + ROW_OVERHEAD).sum();
    }

    /// Writes each row once, partition by partition and in order, with how often it is there behind its
    /// columns. Or those that have come and gone, or those of partitions that have changed.
    pub(super) fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        debug_assert!(self.changed.is_empty(), "changes are taken before state is written");
        self.partitions.snapshot(&mut state.part("partitions"))?;
        match &mut self.unwritten {
            Unwritten::Rows(rows) => {
                let changed = rows.take(state.takes_changes());
                self.write_rows(changed, state)
            }
            Unwritten::Partitions(partitions) => {
                let changed = partitions.take(state);
                self.write_partitions(changed, state)
            }
        }
    }

    /// Adds those of the rows to others that are there, with how often they are; the others are gone.
    fn note_changed(&mut self, rows: &RecordBatch, there: &mut BTreeMap<Encoded, i64>) -> Result<RecordBatch> {
        let encoded = self.encode(rows)?;
        let mut is_gone = Vec::with_capacity(rows.num_rows());
        for (partition, row) in self.partitions.of_known(rows)?.iter().zip(encoded.iter()) {
            let entry = self.rows[*partition].get_key_value(row.data());
            there.extend(entry.map(|(row, count)| (Arc::clone(row), *count)));
            is_gone.push(entry.is_none());
        }
        Ok(filter_record_batch(rows, &BooleanArray::from(is_gone))?)
    }

    fn write<'a>(
        &self,
        rows: impl Iterator<Item = (&'a Encoded, &'a i64)>,
    ) -> impl Iterator<Item = Result<RecordBatch>> {
        let mut rows = rows.peekable();
        std::iter::from_fn(move || {
            rows.peek()?;
            let chunk = rows.by_ref().take(STATE_ROWS).map(|(row, count)| (Arc::clone(row), *count));
            let (rows, counts): (Vec<Encoded>, Vec<i64>) = chunk.unzip();
            Some(self.counted(&rows, counts))
        })
    }

    /// Rows, and how often each is there.
    fn counted(&self, rows: &[Encoded], counts: Vec<i64>) -> Result<RecordBatch> {
        with_note(&self.decode(rows)?, "count", Int64Array::from(counts))
    }

    /// Adds rows of these partitions that are not there, with how often they are.
    fn insert(&mut self, rows: &RecordBatch, counts: &Int64Array, partitions: &[usize]) -> Result<()> {
        let encoded = self.encode(rows)?;
        for ((partition, row), times) in partitions.iter().zip(encoded.iter()).zip(counts.values()) {
            self.entries += 1;
            self.bytes += row.data().len() + ROW_OVERHEAD;
            self.rows[*partition].insert(Arc::from(row.data()), *times);
        }
        Ok(())
    }

    pub(super) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.partitions.restore_spilled(&state.part("partitions"))?;
        for batch in state.batches("rows")? {
            let (rows, counts) = take_note::<Int64Array>(&batch?)?;
            let partitions = self.partitions_of(&rows)?;
            self.insert(&rows, &counts, &partitions)?;
            self.spill()?;
        }
        self.partitions.restore(&state.part("partitions"))?;
        self.rows.resize_with(self.partitions.len(), BTreeMap::new);
        self.marked = vec![false; self.rows.len()];
        self.unwritten.begin();
        Ok(())
    }

    /// Whose rows of the input are.
    pub(super) fn belongs(&self) -> Belongs {
        self.partitions.belongs()
    }

    /// By which columns changes call rows that begin with the input's, a partition's together.
    pub(super) fn row_keys(&self) -> Option<RowKeys> {
        self.partitions.row_keys().map(|[keys, _]| keys)
    }

    /// The partitions of rows that begin with the input's columns, while state is read. None is touched.
    pub(super) fn partitions_of(&mut self, rows: &RecordBatch) -> Result<Vec<usize>> {
        let partitions = self.partitions.of_known(rows)?.to_vec();
        self.take_back()?;
        Ok(partitions)
    }

    /// How many partitions there are; some may have no rows.
    pub(super) fn partitions(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn partition(&self, partition: usize) -> SortedPartition<'_> {
        SortedPartition(&self.rows[partition])
    }

    /// Rows as columns again.
    pub(super) fn decode(&self, rows: &[Encoded]) -> Result<RecordBatch> {
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(rows.iter().map(|row| parser.parse(row)))?;
        let columns = columns.split_off(self.order.len());
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// The input without a changelog column.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let index = size_of::<BTreeMap<Encoded, i64>>() + size_of::<bool>();
        self.bytes + self.partitions.bytes() + self.rows.capacity() * index + self.unwritten.bytes()
    }
}

/// Changes how often a row is there; says whether there is one more entry, or one less.
pub(super) fn count<R>(rows: &mut BTreeMap<R, i64>, row: &[u8], by: i64) -> Ordering
where
    R: Ord + Borrow<[u8]> + for<'a> From<&'a [u8]>,
{
    match rows.get_mut(row) {
        Some(count) if *count + by != 0 => {
            *count += by;
            Ordering::Equal
        }
        Some(_) => {
            rows.remove(row);
            Ordering::Less
        }
        None => {
            rows.insert(R::from(row), by);
            Ordering::Greater
        }
    }
}

/// The rows of one partition.
pub(super) struct SortedPartition<'a>(&'a BTreeMap<Encoded, i64>);

impl SortedPartition<'_> {
    /// Its first rows in order, equal ones as often as they are there.
    pub(super) fn first(&self, limit: usize) -> Vec<Encoded> {
        let times = |count: i64| usize::try_from(count).unwrap_or(0);
        let repeated = self.0.iter().flat_map(|(row, count)| std::iter::repeat_n(row, times(*count)));
        repeated.take(limit).map(Arc::clone).collect()
    }
}

/// Tells `changed` of each row that two ordered lists do not share: less is only in the first, greater
/// only in the second.
pub(super) fn difference<'a>(
    before: &'a [Encoded],
    after: &'a [Encoded],
    mut changed: impl FnMut(&'a Encoded, Ordering),
) {
    let (mut old, mut new) = (0, 0);
    while old < before.len() || new < after.len() {
        let order = match (before.get(old), after.get(new)) {
            (Some(before), Some(after)) => before.cmp(after),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => changed(&before[old], order),
            Ordering::Greater => changed(&after[new], order),
            Ordering::Equal => {}
        }
        old += usize::from(order != Ordering::Greater);
        new += usize::from(order != Ordering::Less);
    }
}
