//! Numbers for keys, from 0 on in the order in which they are first seen, and the keys of numbers.
//!
//! What an operator knows of a key is then a place in a vector. DataFusion's hash tables find the
//! numbers of a batch at a time; they cannot be asked for a key, so keys are kept beside them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::groups::key_schema;
use super::numbered_rows::NumberedRows;
use crate::error::Result;
use crate::rows::canonical_key;

/// See the [module](self).
pub(super) struct KeyIndex {
    columns: Vec<usize>,
    schema: SchemaRef,
    /// `None` where there are no key columns: everything has the number 0.
    values: Option<Box<dyn GroupValues>>,
    keys: NumberedRows,
}

impl KeyIndex {
    /// For keys in these columns of `input`. Without columns there is one key from the start.
    pub(super) fn new(input: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let schema = key_schema(input, columns);
        let values = match columns {
            [] => None,
            _ => Some(new_group_values(Arc::clone(&schema), &GroupOrdering::None)?),
        };
        let keys = NumberedRows::new(&schema)?;
        Ok(Self { columns: columns.to_vec(), schema, values, keys })
    }

    /// Finds the number of each row's key.
    pub(super) fn find(&mut self, batch: &RecordBatch, numbers: &mut Vec<usize>) -> Result<()> {
        let columns = std::mem::take(&mut self.columns);
        let found = self.find_in(batch, &columns, numbers);
        self.columns = columns;
        found
    }

    /// The same where the key is in other columns, of the same types.
    pub(super) fn find_in(&mut self, batch: &RecordBatch, columns: &[usize], numbers: &mut Vec<usize>) -> Result<()> {
        let Some(values) = &mut self.values else {
            numbers.clear();
            numbers.resize(batch.num_rows(), 0);
            return Ok(());
        };
        let columns: Vec<ArrayRef> = columns.iter().map(|column| canonical_key(batch.column(*column))).collect();
        values.intern(&columns, numbers)?;
        let (known, total) = (self.keys.len(), values.len());
        if total > known {
            let firsts = first_rows(numbers, known, total);
            let new: Result<Vec<ArrayRef>, _> = columns.iter().map(|column| take(column, &firsts, None)).collect();
            self.keys.push(&RecordBatch::try_new(Arc::clone(&self.schema), new?)?)?;
        }
        Ok(())
    }

    /// The keys of these numbers.
    pub(super) fn keys(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        if self.values.is_none() {
            return Ok(Vec::new());
        }
        Ok(self.keys.gather(numbers)?.columns().to_vec())
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        if self.values.is_some() { self.keys.len() } else { 1 }
    }

    /// Keeps these keys only: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) -> Result<()> {
        if self.values.is_none() {
            return Ok(());
        }
        self.keys.keep(live)?;
        let mut values = new_group_values(Arc::clone(&self.schema), &GroupOrdering::None)?;
        let numbers: Vec<u32> = (0..live.len() as u32).collect();
        let mut found = Vec::new();
        values.intern(self.keys.gather(&numbers)?.columns(), &mut found)?;
        debug_assert!(found.into_iter().eq(0..live.len()), "keys are kept in their order");
        self.values = Some(values);
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.as_ref().map_or(0, |values| values.size())
    }
}

/// For each number from `known` up to `total`, the first row that has it.
fn first_rows(numbers: &[usize], known: usize, total: usize) -> UInt32Array {
    let mut firsts = vec![u32::MAX; total - known];
    for (row, number) in numbers.iter().enumerate().filter(|(_, number)| **number >= known) {
        let first = &mut firsts[number - known];
        *first = (*first).min(row as u32);
    }
    debug_assert!(!firsts.contains(&u32::MAX), "a number without a row");
    UInt32Array::from(firsts)
}
