//! Applies the changes of a changelog to each other, until only rows are left: for results, views and tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::row::{Row, RowConverter, Rows, SortField};
use hashbrown::HashMap;
use tidemill_plans::change::{ChangeOp, change_array, change_column_index, change_ops};

use crate::error::{EngineError, Result};
use crate::rows::show_row;

/// What is left of a changelog: of a row that came and was taken away, nothing.
///
/// With keys, a row replaces the one of its key, and a key's changes must come in their order. Without,
/// a change takes away one equal row, which may also come behind it: UNION ALL mixes up what several
/// tasks send. An append-only stream is what is left of it.
pub(super) fn merge(rows: &RecordBatch, keys: &[usize]) -> Result<RecordBatch> {
    let left = |converted: &Rows, ops: &[ChangeOp]| {
        if keys.is_empty() { Ok(sum(converted, ops)) } else { replace(rows, converted, ops) }
    };
    with_left(rows, keys, left)
}

/// What a part of a changelog comes to, for those who have the part before it: of each key the last
/// change. Without keys the same as [`merge`].
pub(super) fn condense(rows: &RecordBatch, keys: &[usize]) -> Result<RecordBatch> {
    let left = |converted: &Rows, ops: &[ChangeOp]| {
        Ok(if keys.is_empty() { sum(converted, ops) } else { last(converted, ops) })
    };
    with_left(rows, keys, left)
}

/// Of rows that replace each other by key the last one of each, in order.
pub(super) fn last_rows(rows: &RecordBatch, keys: &[usize]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = keys.iter().map(|key| Arc::clone(rows.column(*key))).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
    let last: HashMap<Row<'_>, usize> = keys.iter().enumerate().map(|(row, key)| (key, row)).collect();
    let is_last = |row: &usize| last.get(&keys.row(*row)) == Some(row);
    let last: UInt32Array = (0..rows.num_rows()).filter(is_last).map(|row| row as u32).collect();
    Ok(take_record_batch(rows, &last)?)
}

/// The changes that `left` chooses by their keys, with the changes that it makes of them.
fn with_left(
    rows: &RecordBatch,
    keys: &[usize],
    left: impl FnOnce(&Rows, &[ChangeOp]) -> Result<Vec<(u32, ChangeOp)>>,
) -> Result<RecordBatch> {
    let Some(change) = change_column_index(rows.schema_ref()) else {
        return Ok(rows.clone());
    };
    let by: Vec<usize> = if keys.is_empty() { (0..change).collect() } else { keys.to_vec() };
    let columns: Vec<ArrayRef> = by.iter().map(|column| Arc::clone(rows.column(*column))).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converted = RowConverter::new(fields)?.convert_columns(&columns)?;
    let (order, ops): (Vec<u32>, Vec<ChangeOp>) = left(&converted, &change_ops(rows)?)?.into_iter().unzip();
    let mut columns = take_record_batch(rows, &UInt32Array::from(order))?.columns().to_vec();
    columns[change] = change_array(&ops);
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

/// The rows of a changelog that has been merged to its end, without the changelog column.
pub(super) fn finish(rows: &RecordBatch) -> Result<RecordBatch> {
    let Some(change) = change_column_index(rows.schema_ref()) else {
        return Ok(rows.clone());
    };
    match change_ops(rows)?.iter().position(|op| !op.adds()) {
        Some(row) => Err(unmatched(rows, row)),
        None => Ok(rows.project(&(0..change).collect::<Vec<_>>())?),
    }
}

/// How often each row was added more than it was taken away, or the other way round.
fn sum(rows: &Rows, ops: &[ChangeOp]) -> Vec<(u32, ChangeOp)> {
    let mut sums: BTreeMap<Row<'_>, (u32, i64)> = BTreeMap::new();
    for (index, (row, op)) in rows.iter().zip(ops).enumerate() {
        let (_, sum) = sums.entry(row).or_insert((index as u32, 0));
        *sum += if op.adds() { 1 } else { -1 };
    }
    let mut left = Vec::new();
    for (index, sum) in sums.into_values() {
        let op = if sum > 0 { ChangeOp::Insert } else { ChangeOp::Delete };
        left.extend((0..sum.unsigned_abs()).map(|_| (index, op)));
    }
    left
}

/// The last change of each key.
fn last(keys: &Rows, ops: &[ChangeOp]) -> Vec<(u32, ChangeOp)> {
    let mut changes: BTreeMap<Row<'_>, (u32, ChangeOp)> = BTreeMap::new();
    for (index, (key, op)) in keys.iter().zip(ops).enumerate() {
        changes.insert(key, (index as u32, *op));
    }
    changes.into_values().collect()
}

/// The last row of each key that was not taken away.
fn replace(rows: &RecordBatch, keys: &Rows, ops: &[ChangeOp]) -> Result<Vec<(u32, ChangeOp)>> {
    let mut live: BTreeMap<Row<'_>, u32> = BTreeMap::new();
    for (index, (key, op)) in keys.iter().zip(ops).enumerate() {
        if op.adds() {
            live.insert(key, index as u32);
        } else if live.remove(&key).is_none() {
            return Err(unmatched(rows, index));
        }
    }
    Ok(live.into_values().map(|row| (row, ChangeOp::Insert)).collect())
}

/// Names the row, whose last column is the change.
fn unmatched(rows: &RecordBatch, row: usize) -> EngineError {
    let columns: Vec<usize> = (0..rows.num_columns() - 1).collect();
    let shown = rows.project(&columns).map_err(EngineError::from).and_then(|rows| show_row(&rows, row));
    EngineError::UnmatchedChange { row: shown.unwrap_or_else(|error| error.to_string()) }
}

/// The rows that are there after changes that have been condensed, without the changelog column.
pub(super) fn rows_left(rows: &RecordBatch) -> Result<RecordBatch> {
    let Some(change) = change_column_index(rows.schema_ref()) else {
        return Ok(rows.clone());
    };
    let columns: Vec<usize> = (0..change).collect();
    Ok(filter_record_batch(&rows.project(&columns)?, &there(rows)?)?)
}

/// The same rows as inserts.
pub(super) fn only_added(rows: &RecordBatch) -> Result<RecordBatch> {
    let Some(change) = change_column_index(rows.schema_ref()) else {
        return Ok(rows.clone());
    };
    let rows = filter_record_batch(rows, &there(rows)?)?;
    let mut columns = rows.columns().to_vec();
    columns[change] = change_array(&vec![ChangeOp::Insert; rows.num_rows()]);
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

fn there(rows: &RecordBatch) -> Result<BooleanArray> {
    Ok(change_ops(rows)?.iter().map(|op| Some(op.adds())).collect())
}
