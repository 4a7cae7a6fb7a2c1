//! Keys with numbers, and the keys of numbers: hash tables cannot be asked for a key, so they are kept
//! beside them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::SchemaRef;

use super::groups::key_schema;
use super::key_numbers::KeyNumbers;
use super::numbered_rows::NumberedRows;
use crate::error::Result;
use crate::rows::canonical_key;

/// Keys that are numbered anew at a time.
const KEYS_AT_ONCE: usize = if cfg!(test) { 3 } else { 1 << 15 };

/// See the [module](self).
pub(super) struct KeyIndex {
    schema: SchemaRef,
    numbers: KeyNumbers,
    keys: NumberedRows,
}

impl KeyIndex {
    /// For keys of the types of these columns of `input`. Without columns there is one key from the start.
    pub(super) fn new(input: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let schema = key_schema(input, columns);
        Ok(Self { numbers: KeyNumbers::new(&schema)?, keys: NumberedRows::new(&schema)?, schema })
    }

    /// Finds the number of each row's key, which is in these columns.
    pub(super) fn find(&mut self, batch: &RecordBatch, columns: &[usize], numbers: &mut Vec<usize>) -> Result<()> {
        let keys: Vec<ArrayRef> = columns.iter().map(|column| canonical_key(batch.column(*column))).collect();
        self.numbers.find(&keys, batch.num_rows(), numbers)?;
        let (known, total) = (self.keys.len(), self.numbers.len());
        if self.has_columns() && total > known {
            let firsts = first_rows(numbers, known, total);
            let new = take_arrays(&keys, &firsts, None)?;
            self.keys.push(&RecordBatch::try_new(Arc::clone(&self.schema), new)?)?;
        }
        Ok(())
    }

    /// The columns of the keys.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The keys of these numbers.
    pub(super) fn keys(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        if !self.has_columns() {
            return Ok(Vec::new());
        }
        Ok(self.keys.gather(numbers)?.columns().to_vec())
    }

    /// Whether keys have columns.
    pub(super) fn has_columns(&self) -> bool {
        self.numbers.has_columns()
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Keeps these keys only: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) -> Result<()> {
        if !self.has_columns() {
            return Ok(());
        }
        if live.len() < self.len() / 2 {
            self.numbers = KeyNumbers::new(&self.schema)?;
        } else {
            // The table stays as large as it was: those that come next need the room.
            self.numbers.take()?;
        }
        self.keys.keep(live)?;
        let mut found = Vec::new();
        // Some at a time: there may be no room for a copy of all.
        for part in (0..live.len() as u32).collect::<Vec<_>>().chunks(KEYS_AT_ONCE) {
            self.numbers.find(self.keys.gather(part)?.columns(), part.len(), &mut found)?;
            debug_assert!(found.iter().zip(part).all(|(found, key)| *found == *key as usize), "keys keep their order");
        }
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.numbers.bytes()
    }
}

/// For each number from `known` up to `total`, the first row that has it.
pub(super) fn first_rows(numbers: &[usize], known: usize, total: usize) -> UInt32Array {
    let mut firsts = vec![u32::MAX; total - known];
    for (row, number) in numbers.iter().enumerate().filter(|(_, number)| **number >= known) {
        let first = &mut firsts[number - known];
        *first = (*first).min(row as u32);
    }
    debug_assert!(!firsts.contains(&u32::MAX), "a number without a row");
    UInt32Array::from(firsts)
}
