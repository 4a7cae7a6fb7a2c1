//! Rows held back until event time has passed them, and given out in one canonical order.
//!
//! Batches from several channels interleave differently in every run. An operator whose result
//! depends on order (a sum of floats, a model, a file) takes its rows from here: by event time, then
//! by all columns, so the same rows always come in the same order.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef, TimestampMicrosecondType};
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_plans::time::{EventTime, event_times};

use crate::error::Result;
use crate::state::{Belongs, RowKeys, StateReader, StateWriter};
use crate::task::batch_bytes;

/// Rows given out at a time by [`EventTimeBuffer::take_chunk_before`], but for rows of equal time.
const CHUNK_ROWS: usize = 1 << 16;

/// Rows by event time.
pub(crate) struct EventTimeBuffer {
    schema: SchemaRef,
    time: usize,
    held: Vec<Held>,
    bytes: usize,
    /// Whether state has been written that changes can go on from; the rows in it from before `passed` are gone.
    has_written: bool,
    passed: EventTime,
}

/// A batch in event-time order, never empty: where a bound cuts it, both parts are slices.
struct Held {
    batch: RecordBatch,
    times: PrimitiveArray<TimestampMicrosecondType>,
    bytes: usize,
    is_written: bool,
}

impl Held {
    fn new(batch: RecordBatch, times: PrimitiveArray<TimestampMicrosecondType>) -> Self {
        debug_assert!(times.values().is_sorted(), "a cut is a slice");
        Self { bytes: batch_bytes(&batch), batch, times, is_written: false }
    }

    /// How many rows are before `bound`.
    fn rows_before(&self, bound: EventTime) -> usize {
        if bound == EventTime::MAX { self.times.len() } else { self.times.values().partition_point(|t| *t < bound.0) }
    }
}

impl EventTimeBuffer {
    /// An empty buffer for rows of `schema` with event time in column `time`.
    pub(crate) fn new(schema: SchemaRef, time: usize) -> Self {
        let (has_written, passed) = (false, EventTime::MIN);
        Self { schema, time, held: Vec::new(), bytes: 0, has_written, passed }
    }

    /// Holds a batch. Its event times must not be NULL: sources route such rows away.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut batch = batch;
        let mut times = event_times(batch.column(self.time))?;
        if !times.values().is_sorted() {
            batch = take_record_batch(&batch, &sort_to_indices(&times, None, None)?)?;
            times = event_times(batch.column(self.time))?;
        }
        let held = Held::new(batch, times);
        self.bytes += held.bytes;
        self.held.push(held);
        Ok(())
    }

    /// Takes all rows before `bound` out, in canonical order; `None` if there are none.
    pub(crate) fn take_before(&mut self, bound: EventTime) -> Result<Option<RecordBatch>> {
        // At the end of time nothing is left to write.
        self.has_written &= bound != EventTime::MAX;
        self.passed = self.passed.max(bound);
        let mut ready = Vec::new();
        let mut later = Vec::with_capacity(self.held.len());
        for held in std::mem::take(&mut self.held) {
            let rows = held.rows_before(bound);
            if rows == 0 {
                later.push(held);
                continue;
            }
            self.bytes -= held.bytes;
            let rest = held.batch.num_rows() - rows;
            if rest > 0 {
                let kept = Held::new(held.batch.slice(rows, rest), held.times.slice(rows, rest));
                let kept = Held { is_written: held.is_written, ..kept };
                self.bytes += kept.bytes;
                later.push(kept);
            }
            ready.push(held.batch.slice(0, rows));
        }
        self.held = later;
        if ready.is_empty() {
            return Ok(None);
        }
        let rows = concat_batches(&self.schema, &ready)?;
        Ok(Some(canonical_order(&rows, Some(self.time))?))
    }

    /// Takes the oldest rows before `bound` out, some [`CHUNK_ROWS`] of them, in canonical order;
    /// `None` if there are none. Rows of equal time are never parted, so the chunks of a bound are the
    /// whole in order.
    pub(crate) fn take_chunk_before(&mut self, bound: EventTime) -> Result<Option<RecordBatch>> {
        self.take_stretch_before(bound, |time| time)
    }

    /// The same for rows of which some belong together: `last` says of a time which is the last that
    /// belongs with it.
    pub(crate) fn take_stretch_before(
        &mut self,
        bound: EventTime,
        last: impl Fn(i64) -> i64,
    ) -> Result<Option<RecordBatch>> {
        let ready: usize = self.held.iter().map(|held| held.rows_before(bound)).sum();
        if ready <= CHUNK_ROWS {
            return self.take_before(bound);
        }
        let before = |held: &Held| held.times.values()[..held.rows_before(bound)].to_vec();
        let mut times: Vec<i64> = self.held.iter().flat_map(before).collect();
        let (_, time, _) = times.select_nth_unstable(CHUNK_ROWS - 1);
        self.take_before(EventTime(last(*time).saturating_add(1)).min(bound))
    }

    /// Takes all rows out, to be held by somebody else: batches, and whether state has them. They have not gone.
    pub(crate) fn take_held(&mut self) -> impl Iterator<Item = (RecordBatch, bool)> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.held).into_iter().map(|held| (held.batch, held.is_written))
    }

    /// Writes the rows that have come, and until when they have gone, or all; they belong to the same instances as the
    /// input's. If most have come there is little that need not be written: with all of them, nothing is read of those
    /// that have gone.
    pub(crate) fn snapshot(&mut self, belongs: Belongs, state: &mut StateWriter<'_>) {
        self.snapshot_beside(belongs, state, [0, 0]);
    }

    /// The same where somebody else has so many rows beside, of which so many have come; whether all that is written is
    /// what has come.
    pub(crate) fn snapshot_beside(
        &mut self,
        belongs: Belongs,
        state: &mut StateWriter<'_>,
        [beside, new]: [usize; 2],
    ) -> bool {
        let rows = |wanted: fn(&Held) -> bool| self.held.iter().filter(move |held| wanted(held));
        let count = |wanted| rows(wanted).map(|held| held.batch.num_rows()).sum::<usize>();
        let is_new: fn(&Held) -> bool = |held| !held.is_written;
        let is_little = 2 * (count(is_new) + new) <= count(|_| true) + beside;
        let are_changes = self.has_written && state.takes_changes() && is_little;
        if are_changes {
            let keys = RowKeys::Passing { time: self.time, from: self.passed.0 };
            state.changes("rows", belongs, keys, rows(is_new).map(|held| held.batch.clone()), []);
        } else {
            state.rows("rows", belongs, rows(|_| true).map(|held| held.batch.clone()));
        }
        self.note_written();
        are_changes
    }

    /// State has all rows that are held.
    pub(crate) fn note_written(&mut self) {
        (self.has_written, self.passed) = (true, EventTime::MIN);
        self.held.iter_mut().for_each(|held| held.is_written = true);
    }

    /// Takes up rows that were written.
    pub(crate) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        state.rows("rows")?.into_iter().try_for_each(|batch| self.push(batch))?;
        self.note_written();
        Ok(())
    }

    /// What rows look like.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The event-time column.
    pub(crate) fn time(&self) -> usize {
        self.time
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The rows of a batch by column `first`, if given, and then by all columns.
pub(crate) fn canonical_order(batch: &RecordBatch, first: Option<usize>) -> Result<RecordBatch> {
    if batch.num_rows() < 2 {
        return Ok(batch.clone());
    }
    let others = (0..batch.num_columns()).filter(|column| Some(*column) != first);
    let columns: Vec<ArrayRef> = first.into_iter().chain(others).map(|c| Arc::clone(batch.column(c))).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let sorted = (1..batch.num_rows()).all(|row| rows.row(row - 1) <= rows.row(row));
    if sorted {
        return Ok(batch.clone());
    }
    let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
    order.sort_unstable_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
    Ok(take_record_batch(batch, &UInt32Array::from(order))?)
}

/// Floats that are equal become the same bits: -0.0 is 0.0, and there is one NaN. Keys are compared
/// and hashed by their bytes, and SQL says that such keys are one.
pub(crate) fn canonical_key(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            let one = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(one))
        }
        DataType::Float32 => {
            let one = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(one))
        }
        _ => Arc::clone(column),
    }
}

/// A row as `name=value` pairs, for people.
pub(crate) fn show_row(batch: &RecordBatch, row: usize) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut text = String::new();
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(field.name());
        text.push('=');
        text.push_str(&ArrayFormatter::try_new(column.as_ref(), &options)?.value(row).to_string());
    }
    Ok(text)
}

/// Turns key columns into bytes that are equal exactly when the keys are; `None` where a key is NULL,
/// because NULL equals nothing in a join.
pub(crate) struct JoinKeys {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl JoinKeys {
    /// Keys from these columns of `schema`; without any, all rows have the same key.
    pub(crate) fn new(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let fields = columns.iter().map(|c| SortField::new(schema.field(*c).data_type().clone())).collect();
        Ok(Self { converter: RowConverter::new(fields)?, columns: columns.to_vec() })
    }

    /// Whose rows with these key columns are.
    pub(crate) fn belongs(&self) -> Belongs {
        Belongs::ToKeys(self.columns.clone())
    }

    /// The key columns of rows, as keys are compared.
    pub(crate) fn columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.columns.iter().map(|column| canonical_key(batch.column(*column))).collect()
    }

    /// The key of every row.
    pub(crate) fn of(&self, batch: &RecordBatch) -> Result<KeyRows> {
        self.of_columns(&self.columns(batch))
    }

    /// The key of every row of these key columns.
    pub(crate) fn of_columns(&self, columns: &[ArrayRef]) -> Result<KeyRows> {
        let columns: Vec<ArrayRef> = columns.iter().map(canonical_key).collect();
        let nulls = columns.iter().fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), column.nulls()));
        let rows = if columns.is_empty() { None } else { Some(self.converter.convert_columns(&columns)?) };
        Ok(KeyRows { rows, nulls })
    }
}

/// The join keys of a batch.
pub(crate) struct KeyRows {
    /// `None` where there are no key columns.
    rows: Option<Rows>,
    nulls: Option<NullBuffer>,
}

impl KeyRows {
    /// The key of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        let known = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        known.then(|| self.rows.as_ref().map_or(&[][..], |rows| rows.row(row).data()))
    }
}

impl KeyRows {
    /// The first row of each key, of so many rows.
    pub(crate) fn first_rows(&self, rows: usize) -> Vec<u32> {
        let mut seen = HashSet::with_capacity(rows);
        (0..rows as u32).filter(|row| self.get(*row as usize).is_some_and(|key| seen.insert(key))).collect()
    }
}

/// A column that counts, for tests and generated ids.
#[cfg(test)]
pub(crate) fn int64(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(arrow::array::PrimitiveArray::<arrow::datatypes::Int64Type>::from_iter_values(values))
}

#[cfg(test)]
mod tests {
    use arrow::compute::cast;
    use arrow::datatypes::{Field, Int64Type, Schema};
    use tidemill_plans::ids::Epoch;
    use tidemill_plans::time::event_time_type;

    use super::*;
    use crate::state::Snapshot;

    fn batch(times: &[i64], values: &[i64]) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("v", DataType::Int64, true), Field::new("t", event_time_type(), true)]);
        let times = cast(&int64(times.iter().copied()), &event_time_type()).unwrap();
        RecordBatch::try_new(Arc::new(schema), vec![int64(values.iter().copied()), times]).unwrap()
    }

    fn values(batch: &RecordBatch) -> Vec<i64> {
        batch.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn rows_come_out_by_time_then_by_value_however_they_went_in() {
        let mut buffer = EventTimeBuffer::new(batch(&[], &[]).schema(), 1);
        buffer.push(batch(&[5, 3], &[1, 9])).unwrap();
        buffer.push(batch(&[3, 7], &[2, 4])).unwrap();
        assert!(buffer.take_before(EventTime(3)).unwrap().is_none());
        assert_eq!(values(&buffer.take_before(EventTime(6)).unwrap().unwrap()), [2, 9, 1]);
        assert_eq!(values(&buffer.take_before(EventTime::MAX).unwrap().unwrap()), [4]);
        assert_eq!(buffer.bytes(), 0);
    }

    #[test]
    fn what_has_been_written_is_not_written_again() {
        let mut buffer = EventTimeBuffer::new(batch(&[], &[]).schema(), 1);
        let mut layers: Vec<Snapshot> = Vec::new();
        let write = |buffer: &mut EventTimeBuffer, layers: &mut Vec<Snapshot>| {
            let (epoch, mut snapshot) = (Epoch(layers.len() as u64 + 1), Snapshot::default());
            let mut writer = match layers.last() {
                None => snapshot.writer(epoch),
                Some(_) => snapshot.writer_of_changes(epoch, Epoch(epoch.0 - 1)),
            };
            buffer.snapshot(Belongs::Anywhere, &mut writer);
            layers.push(snapshot.clone());
            let mut restored = EventTimeBuffer::new(batch(&[], &[]).schema(), 1);
            let merged = [Snapshot::merged(layers.clone()).unwrap()];
            restored.restore(&StateReader::new(&merged, 0, 1)).unwrap();
            let held = restored.take_before(EventTime::MAX).unwrap();
            (snapshot.row_count().unwrap(), held.map_or(Vec::new(), |held| values(&held)))
        };
        buffer.push(batch(&[1, 3, 5, 7], &[1, 3, 5, 7])).unwrap();
        assert_eq!(write(&mut buffer, &mut layers), (4, vec![1, 3, 5, 7]));
        buffer.take_before(EventTime(4)).unwrap();
        // This one is behind the time that has passed.
        buffer.push(batch(&[2], &[2])).unwrap();
        assert_eq!(write(&mut buffer, &mut layers), (1, vec![2, 5, 7]));
        buffer.push(batch(&[9], &[9])).unwrap();
        assert_eq!(write(&mut buffer, &mut layers), (1, vec![2, 5, 7, 9]));
        buffer.take_before(EventTime(6)).unwrap();
        assert_eq!(write(&mut buffer, &mut layers), (0, vec![7, 9]));
        buffer.push(batch(&[10, 11, 12], &[10, 11, 12])).unwrap();
        assert_eq!(write(&mut buffer, &mut layers), (5, vec![7, 9, 10, 11, 12]), "most is new");
        buffer.take_before(EventTime::MAX).unwrap();
        assert_eq!(write(&mut buffer, &mut layers), (0, vec![]));
    }

    #[test]
    fn chunks_are_the_whole_in_order_and_never_part_rows_of_one_time() {
        let mut buffer = EventTimeBuffer::new(batch(&[], &[]).schema(), 1);
        let rows = 3 * CHUNK_ROWS as i64;
        // Seven rows of each time, from three batches that overlap.
        for part in 0..3 {
            let numbers: Vec<i64> = (0..rows).filter(|row| row % 3 == part).collect();
            let times: Vec<i64> = numbers.iter().map(|row| row / 7).collect();
            buffer.push(batch(&times, &numbers)).unwrap();
        }
        let mut given = Vec::new();
        while let Some(chunk) = buffer.take_chunk_before(EventTime(rows / 7 - 1)).unwrap() {
            assert!(chunk.num_rows() < CHUNK_ROWS + 7);
            if let Some(last) = given.last() {
                assert_ne!(last / 7, values(&chunk)[0] / 7, "a time was parted");
            }
            given.extend(values(&chunk));
        }
        assert_eq!(given, (0..(rows / 7 - 1) * 7).collect::<Vec<_>>());
    }
}
