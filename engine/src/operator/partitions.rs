//! Partitions as dense numbers, and the order within them as bytes.

mod spilling;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use tidemill_plans::node::{SortColumn, TimeToLive};
use tidemill_plans::time::Watermark;

use super::changed_keys::{Changed, ChangedKeys, Dropped, others};
use super::groups::key_schema;
use super::key_index::KeyIndex;
use super::key_numbers::KeyNumbers;
use super::spilled_partitions::{Back, SpilledPartitions, Table};
use super::state_rows::{STATE_ROWS, other_columns, take_note, with_note};
use super::time_to_live::Touches;
use crate::error::{EngineError, Result};
use crate::rows::canonical_key;
use crate::state::spill::Part;
use crate::state::{Belongs, RowKeys, StateMemory, StateReader, StateWriter};

/// Numbers the partitions in the order in which they first come. With a time to live, those that no row
/// touches are dropped. Where memory is limited, some go to disk; their owner hands out what it knows of them, and
/// takes it back when they come again.
pub(super) struct Partitions {
    columns: Vec<usize>,
    key_schema: SchemaRef,
    keys: Keys,
    numbers: Vec<usize>,
    /// The partitions that were touched since that was written.
    unwritten: ChangedKeys,
    /// The memory of what is known of them, and where they go if there may be no room for all.
    memory: StateMemory,
    spilled: Option<SpilledPartitions>,
    /// Partitions from this number on were not in memory before rows of theirs were looked for last.
    first_new: usize,
}

/// The partitions' keys.
enum Keys {
    /// Nobody asks for them.
    Numbered(KeyNumbers),
    /// They are called by themselves in state, or numbered anew when some are dropped.
    Known(Box<KeyIndex>, Option<Touches>),
}

impl Partitions {
    pub(super) fn new(
        input: &SchemaRef,
        columns: &[usize],
        life: Option<TimeToLive>,
        memory: &StateMemory,
    ) -> Result<Self> {
        if life.is_some() || memory.is_limited() {
            return Self::with_keys(input, columns, life, memory);
        }
        let keys = Keys::Numbered(KeyNumbers::new(&key_schema(input, columns))?);
        Ok(Self::build(input, columns, keys, memory.clone()))
    }

    /// For an owner that asks for [`Self::keys`].
    pub(super) fn with_keys(
        input: &SchemaRef,
        columns: &[usize],
        life: Option<TimeToLive>,
        memory: &StateMemory,
    ) -> Result<Self> {
        // Without columns there is one partition, which is always needed, and touched by everything.
        let has_columns = !columns.is_empty();
        let touches = life.filter(|_| has_columns).map(Touches::new);
        let keys = Keys::Known(Box::new(KeyIndex::new(input, columns)?), touches);
        Ok(Self::build(input, columns, keys, memory.limited_if(has_columns)))
    }

    fn build(input: &SchemaRef, columns: &[usize], keys: Keys, memory: StateMemory) -> Self {
        let key_schema = key_schema(input, columns);
        Self {
            columns: columns.to_vec(),
            keys,
            numbers: Vec::new(),
            unwritten: ChangedKeys::default(),
            spilled: memory.is_limited().then(|| SpilledPartitions::new(&memory, &key_schema)),
            memory,
            key_schema,
            first_new: 0,
        }
    }

    /// The memory of what is known of them.
    pub(super) fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// The columns of the input that are their keys.
    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whose rows of the input are.
    pub(super) fn belongs(&self) -> Belongs {
        Belongs::ToKeys(self.columns.clone())
    }

    /// Whose rows that begin with keys are.
    pub(super) fn belongs_by_key(&self) -> Belongs {
        Belongs::to_first(self.columns.len())
    }

    /// By which columns changes call the input's rows, and those that begin with keys: a partition's are written
    /// together. Without columns there is one partition, and no key to call it by.
    pub(super) fn row_keys(&self) -> Option<[RowKeys; 2]> {
        let first = (0..self.columns.len()).collect();
        (!self.columns.is_empty()).then(|| [self.columns.clone(), first].map(RowKeys::Grouped))
    }

    /// How many there are. Without columns there is one from the start.
    pub(super) fn len(&self) -> usize {
        match &self.keys {
            Keys::Numbered(numbers) => numbers.len(),
            Keys::Known(keys, _) => keys.len(),
        }
    }

    /// The partition of every row. A new one has the next number.
    pub(super) fn of(&mut self, batch: &RecordBatch) -> Result<&[usize]> {
        self.find(batch, &self.columns.clone())?;
        if let Keys::Known(_, Some(touches)) = &mut self.keys {
            touches.note(batch, &self.numbers)?;
            self.numbers.iter().for_each(|number| self.unwritten.note(*number));
        }
        Ok(&self.numbers)
    }

    /// Finds the partition of every row, whose keys are in these columns.
    fn find(&mut self, batch: &RecordBatch, columns: &[usize]) -> Result<()> {
        self.first_new = self.len();
        match &mut self.keys {
            Keys::Numbered(numbers) => {
                let keys: Vec<ArrayRef> = columns.iter().map(|c| canonical_key(batch.column(*c))).collect();
                numbers.find(&keys, batch.num_rows(), &mut self.numbers)?;
            }
            Keys::Known(keys, _) => keys.find(batch, columns, &mut self.numbers)?,
        }
        if let Some(spilled) = &mut self.spilled {
            spilled.note(&self.numbers);
        }
        if let Keys::Known(keys, Some(touches)) = &mut self.keys {
            touches.grow(keys.len());
        }
        let touched = self.take_back(Table::Touched)?;
        match (&mut self.keys, touched) {
            (Keys::Known(_, Some(touches)), Some(Back { numbers, rows })) => {
                touches.set(&numbers, &take_note::<Int64Array>(&rows)?.1);
                numbers.iter().for_each(|number| self.unwritten.note(*number));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        if let Keys::Known(keys, touches) = &mut self.keys {
            keys.keep(live)?;
            touches.iter_mut().for_each(|touches| touches.keep(live));
        }
        self.spilled.iter_mut().for_each(|spilled| spilled.keep(live));
        Ok(())
    }

    /// When partitions were touched, if they are not kept for ever.
    fn touches(&self) -> Option<&Touches> {
        match &self.keys {
            Keys::Numbered(_) => None,
            Keys::Known(_, touches) => touches.as_ref(),
        }
    }

    /// Whether it is time to call [`Self::drop_old`].
    pub(super) fn wants_clean_up(&mut self, watermark: Watermark) -> bool {
        match &mut self.keys {
            Keys::Known(_, Some(touches)) => touches.is_due(watermark),
            _ => false,
        }
    }

    /// Whether a row has touched a partition lately.
    pub(super) fn is_young(&self, partition: usize) -> bool {
        self.touches().is_none_or(|touches| touches.is_young(partition))
    }

    /// Drops partitions, unless all are kept. `keeps` decides of each, and is told whether it was touched lately.
    pub(super) fn drop_old(&mut self, keeps: impl Fn(usize, bool) -> bool) -> Result<Option<Dropped>> {
        let Keys::Known(keys, Some(touches)) = &mut self.keys else { return Ok(None) };
        let all = 0..keys.len() as u32;
        let live: Vec<u32> = all.filter(|p| keeps(*p as usize, touches.is_young(*p as usize))).collect();
        let oldest = touches.oldest();
        let spilled = self.spilled.as_mut().map(|spilled| spilled.drop_before(oldest)).transpose()?.flatten();
        if live.len() == keys.len() && spilled.is_none() {
            return Ok(None);
        }
        let gone = match self.unwritten.is_noting() {
            true => {
                let here = keys.keys(&others(&live, keys.len()))?;
                let here = RecordBatch::try_new(Arc::clone(&self.key_schema), here)?;
                Some(concat_batches(&self.key_schema, [&here].into_iter().chain(&spilled))?)
            }
            false => None,
        };
        let left = live.len() + self.spilled.as_ref().map_or(0, SpilledPartitions::touched);
        let dropped = Dropped { live, gone, left };
        self.keep(&dropped.live)?;
        self.unwritten.note_dropped(&dropped);
        Ok(Some(dropped))
    }

    /// The partition of every row, while state is read: none is touched.
    pub(super) fn of_known(&mut self, batch: &RecordBatch) -> Result<&[usize]> {
        let keys: Vec<ArrayRef> = self.columns.iter().map(|c| ArrayRef::clone(batch.column(*c))).collect();
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        self.of_keys(&RecordBatch::try_new_with_options(Arc::clone(&self.key_schema), keys, &rows)?)
    }

    /// The keys of these partitions, which there are for owners that asked for them.
    pub(super) fn keys(&self, partitions: &[u32]) -> Result<RecordBatch> {
        let keys = match &self.keys {
            Keys::Numbered(_) => return Err(EngineError::State(String::from("the keys of partitions are not kept"))),
            Keys::Known(keys, _) => keys.keys(partitions)?,
        };
        let rows = RecordBatchOptions::new().with_row_count(Some(partitions.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.key_schema), keys, &rows)?)
    }

    /// The schema of [`Self::keys`].
    pub(super) fn key_schema(&self) -> &SchemaRef {
        &self.key_schema
    }

    /// The partitions of these keys, which are the first columns. A new one has the next number; none is
    /// touched.
    pub(super) fn of_keys(&mut self, batch: &RecordBatch) -> Result<&[usize]> {
        let columns: Vec<usize> = (0..self.columns.len()).collect();
        if batch.num_columns() < columns.len() {
            return Err(other_columns());
        }
        self.find(batch, &columns)?;
        Ok(&self.numbers)
    }

    /// Writes when partitions were touched. Which there are follows from what their owner writes.
    pub(super) fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        let Some(touches) = self.touches() else { return Ok(()) };
        touches.snapshot(state)?;
        let (changed, belongs) = (self.unwritten.take(state).zip(self.row_keys()), self.belongs_by_key());
        let only = changed.as_ref().map(|_| Part::Unwritten);
        let numbers = match changed {
            Some((Changed { numbers, gone }, [_, keys])) => {
                state.changes("touched", belongs.clone(), keys, [], gone);
                numbers
            }
            None => self.all(),
        };
        let touched = numbers.chunks(STATE_ROWS).map(|partitions| self.touched(partitions));
        state.behind("touched", belongs.clone(), &self.memory, touched)?;
        self.write_spilled(Table::Touched, "touched", belongs, only, state);
        Ok(())
    }

    /// Takes up when partitions were touched, whenever they were while their rows were read.
    pub(super) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        let touched = if self.spilled.is_some() { Vec::new() } else { state.rows("touched")? };
        for batch in touched {
            let (keys, at) = take_note::<Int64Array>(&batch)?;
            let numbers = self.of_keys(&keys)?.to_vec();
            if let Keys::Known(_, Some(touches)) = &mut self.keys {
                touches.set(&numbers, &at);
            }
        }
        self.unwritten.begin();
        match &mut self.keys {
            Keys::Known(keys, Some(touches)) => touches.restore(keys.len(), state),
            _ => Ok(()),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.len() as u32).collect()
    }

    /// The keys of these, with when they were touched.
    fn touched(&self, partitions: &[u32]) -> Result<RecordBatch> {
        let at =
            self.touches().map_or_else(|| Int64Array::from(vec![i64::MAX; partitions.len()]), |t| t.of(partitions));
        with_note(&self.keys(partitions)?, "at", at)
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.keys {
            Keys::Numbered(numbers) => numbers.bytes(),
            Keys::Known(keys, touches) => {
                let spilled = self.spilled.as_ref().map_or(0, SpilledPartitions::bytes);
                keys.bytes() + touches.as_ref().map_or(0, Touches::bytes) + self.unwritten.bytes() + spilled
            }
        }
    }
}

/// What is known of the partitions that are left, which are sorted.
pub(super) fn keep_live<T>(all: Vec<T>, live: &[u32]) -> Vec<T> {
    let mut live = live.iter().peekable();
    let mut kept = Vec::with_capacity(live.len());
    for (partition, of) in all.into_iter().enumerate() {
        if live.next_if(|next| **next as usize == partition).is_some() {
            kept.push(of);
        }
    }
    kept
}

/// Turns ORDER BY into bytes: the smaller they are, the earlier is the row.
pub(super) struct OrderKeys {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl OrderKeys {
    /// Without ORDER BY rows are in the order of all their columns.
    pub(super) fn new(order_by: &[SortColumn], input: &Schema) -> Result<Self> {
        let columns = match order_by {
            [] => (0..input.fields().len()).collect(),
            order_by => order_by.iter().map(|sort| sort.column).collect(),
        };
        Ok(Self { converter: RowConverter::new(order_fields(order_by, input))?, columns })
    }

    pub(super) fn of(&self, batch: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|c| ArrayRef::clone(batch.column(*c))).collect();
        Ok(self.converter.convert_columns(&columns)?)
    }

    /// Rows in this order; those that it does not tell apart stay in theirs.
    pub(super) fn sort(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let keys = self.of(rows)?;
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
        Ok(take_record_batch(rows, &UInt32Array::from(order))?)
    }

    /// Room for so many rows' bytes.
    pub(super) fn empty(&self, rows: usize) -> Rows {
        self.converter.empty_rows(rows, 0)
    }
}

/// How ORDER BY encodes.
pub(super) fn order_fields(order_by: &[SortColumn], input: &Schema) -> Vec<SortField> {
    if order_by.is_empty() {
        return all_fields(input);
    }
    let field = |sort: &SortColumn| {
        let options = SortOptions { descending: sort.descending, nulls_first: sort.nulls_first };
        SortField::new_with_options(input.field(sort.column).data_type().clone(), options)
    };
    order_by.iter().map(field).collect()
}

/// How all columns encode.
pub(super) fn all_fields(input: &Schema) -> Vec<SortField> {
    input.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect()
}

/// The first 16 bytes of a key as a number. What is greater by it is greater by the key; fixed-width
/// columns, which most orders are by, are told apart by it alone.
pub(super) fn prefix(key: &[u8]) -> u128 {
    match key.first_chunk::<16>() {
        Some(first) => u128::from_be_bytes(*first),
        None => {
            let mut padded = [0; 16];
            padded[..key.len()].copy_from_slice(key);
            u128::from_be_bytes(padded)
        }
    }
}
