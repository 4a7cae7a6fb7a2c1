//! What several operators do with rows: put them in order, tell them by their keys, show them.
//!
//! Batches from several channels interleave differently in every run. An operator whose result
//! depends on order (a sum of floats, a model, a file) takes its rows from [`EventTimeBuffer`]: by event time, then
//! by all columns, so the same rows always come in the same order.

mod arrival;
mod even_chunks;
mod event_time;
mod queue;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

pub(crate) use self::arrival::ArrivalBuffer;
pub(crate) use self::even_chunks::EvenChunks;
pub(crate) use self::event_time::EventTimeBuffer;
pub(crate) use self::queue::{CHUNK_ROWS, RowQueue};
use crate::error::Result;
use crate::state::Belongs;

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
    Ok(tidemill_plans::bad_rows::show_row(batch, row)?)
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
