//! A batch whose rows are in the order of a number, which is in one of its columns: an event time, or an id.

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, UInt64Type};
use tidemill_plans::time::event_times;

use super::Part;
use crate::error::Result;
use crate::task::batch_bytes;

/// See the [module](self). Never empty; where a bound cuts it, both parts are slices.
#[derive(Debug, Clone)]
pub(crate) struct SortedBatch {
    pub(crate) rows: RecordBatch,
    pub(crate) numbers: ScalarBuffer<i64>,
    pub(crate) part: Part,
    pub(crate) bytes: usize,
}

/// Whether a number is before a bound. Every one is before the last.
pub(crate) fn is_before(number: i64, bound: i64) -> bool {
    number < bound || bound == i64::MAX
}

impl SortedBatch {
    /// Some rows, in the order of a column.
    pub(crate) fn new(rows: RecordBatch, column: usize, part: Part) -> Result<Self> {
        let numbers = numbers(&rows, column)?;
        if numbers.is_sorted() {
            return Ok(Self::of(rows, numbers, part));
        }
        let mut order: Vec<u32> = (0..numbers.len() as u32).collect();
        order.sort_by_key(|row| numbers[*row as usize]);
        let numbers = order.iter().map(|row| numbers[*row as usize]).collect();
        Ok(Self::of(take_record_batch(&rows, &UInt32Array::from(order))?, numbers, part))
    }

    fn of(rows: RecordBatch, numbers: ScalarBuffer<i64>, part: Part) -> Self {
        debug_assert!(numbers.is_sorted() && !numbers.is_empty(), "rows are in order, and there are some");
        Self { bytes: batch_bytes(&rows), rows, numbers, part }
    }

    /// How many rows are before a bound.
    pub(crate) fn rows_before(&self, bound: i64) -> usize {
        self.numbers.partition_point(|number| is_before(*number, bound))
    }

    /// The first so many rows, and the others.
    fn cut(self, rows: usize) -> [Option<Self>; 2] {
        let all = self.numbers.len();
        if rows == 0 || rows == all {
            let whole = Some(self);
            return if rows == 0 { [None, whole] } else { [whole, None] };
        }
        [(0, rows), (rows, all - rows)].map(|(start, rows)| {
            Some(Self::of(self.rows.slice(start, rows), self.numbers.slice(start, rows), self.part))
        })
    }
}

/// What rows are in the order of.
fn numbers(rows: &RecordBatch, column: usize) -> Result<ScalarBuffer<i64>> {
    let column = rows.column(column);
    if *column.data_type() == DataType::UInt64 {
        // Ids count from zero: none has the sign's bit.
        return Ok(column.as_primitive::<UInt64Type>().values().iter().map(|id| *id as i64).collect());
    }
    Ok(event_times(column)?.values().clone())
}

/// Takes the rows before a bound out of batches.
pub(crate) fn cut_before(batches: &mut Vec<SortedBatch>, bound: i64) -> Vec<SortedBatch> {
    let (mut before, mut behind) = (Vec::new(), Vec::with_capacity(batches.len()));
    for batch in std::mem::take(batches) {
        let rows = batch.rows_before(bound);
        let [first, rest] = batch.cut(rows);
        before.extend(first);
        behind.extend(rest);
    }
    *batches = behind;
    before
}

/// The rows of some batches in order, so many at a time.
pub(crate) fn in_order(
    batches: Vec<SortedBatch>,
    rows_at_a_time: usize,
) -> impl Iterator<Item = Result<(RecordBatch, Vec<i64>)>> {
    let mut places: Vec<(i64, u32, u32)> = Vec::with_capacity(batches.iter().map(|batch| batch.numbers.len()).sum());
    for (batch, number) in batches.iter().zip(0u32..) {
        places.extend(batch.numbers.iter().zip(0u32..).map(|(own, row)| (*own, number, row)));
    }
    places.sort_unstable();
    (0..places.len()).step_by(rows_at_a_time).map(move |start| {
        let places = &places[start..places.len().min(start + rows_at_a_time)];
        let numbers = places.iter().map(|(number, ..)| *number).collect();
        Ok((gather(&batches, places)?, numbers))
    })
}

/// The rows in these places, of which there are some: the number of each, its batch, and where it is there.
fn gather(batches: &[SortedBatch], places: &[(i64, u32, u32)]) -> Result<RecordBatch> {
    if let [(_, batch, first), .., (_, other, last)] = places
        && batch == other
        && (last - first) as usize + 1 == places.len()
    {
        return Ok(batches[*batch as usize].rows.slice(*first as usize, places.len()));
    }
    let whole: Vec<&RecordBatch> = batches.iter().map(|batch| &batch.rows).collect();
    let picks: Vec<_> = places.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)).collect();
    Ok(interleave_record_batch(&whole, &picks)?)
}
