//! Columns of lists: how snapshots hold what a group has many of.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::Field;

/// Values as lists of these lengths, one behind the other.
pub(super) fn list_column(values: ArrayRef, lengths: &[usize]) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths.iter().copied()), values, None))
}

/// The values of all lists of a column, and which of them are in each list.
pub(super) fn list_values(column: &ArrayRef) -> (ArrayRef, Vec<Range<usize>>) {
    let lists = column.as_list::<i32>();
    // A column that was cut or read keeps the values around its own.
    let start = lists.value_offsets()[0] as usize;
    let ranges: Vec<Range<usize>> =
        lists.value_offsets().windows(2).map(|ends| ends[0] as usize - start..ends[1] as usize - start).collect();
    let values = ranges.last().map_or(0, |last| last.end);
    (lists.values().slice(start, values), ranges)
}
