//! The keys of rows that have been seen, and which rows have others.
//!
//! There may be as many keys as rows, so with little memory most of them are on disk. Of the rows that are looked for,
//! only those are encoded, while all keys are in memory, whose hash is that of a key: mostly few have changed.

mod held;
#[cfg(test)]
mod tests;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_arrays};
use arrow::row::{RowConverter, SortField};
use datafusion::common::hash_utils::{RandomState, create_hashes};

use self::held::HeldKeys;
use super::spill::NumberedKeys;
use super::{RowKeys, StateMemory};
use crate::error::{EngineError, Result};
use crate::rows::canonical_key;

/// See the [module](self).
pub(super) struct SeenKeys {
    /// Whether keys are equal to the last bit only.
    is_exact: bool,
    /// Made with the first keys, whose types it takes.
    converter: Option<RowConverter>,
    /// The newest layer that has each key; those on disk are of layers that are no older.
    held: HeldKeys,
    away: NumberedKeys,
    memory: StateMemory,
    /// Of a fixed seed: nothing depends on it but which keys are compared.
    hasher: RandomState,
}

impl SeenKeys {
    pub(super) fn new(keys: &RowKeys, memory: &StateMemory) -> Self {
        Self {
            is_exact: matches!(keys, RowKeys::Exact(_)),
            converter: None,
            held: HeldKeys::default(),
            away: NumberedKeys::new(memory.scratch.clone()),
            memory: memory.clone(),
            hasher: RandomState::default(),
        }
    }

    /// Notes the keys of rows, which are in these columns. Layers come in the order of their numbers.
    pub(super) fn note(&mut self, layer: usize, rows: &RecordBatch, columns: &[usize]) -> Result<()> {
        let (keys, hashes) = self.hashed(rows, columns)?;
        let encoded = match &self.converter {
            Some(converter) => converter.convert_columns(&keys)?,
            None => {
                let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
                self.converter.insert(RowConverter::new(fields)?).convert_columns(&keys)?
            }
        };
        self.held.note(layer, encoded, &hashes);
        if self.memory.is_too_much_beside(self.held.bytes()) {
            self.away.put(std::mem::take(&mut self.held).keys())?;
        }
        Ok(())
    }

    /// The rows of a layer whose keys, in these columns, no layer with a lower number has; nothing if there are none.
    pub(super) fn unseen(&self, layer: usize, rows: RecordBatch, columns: &[usize]) -> Result<Option<RecordBatch>> {
        if self.held.is_empty() && self.away.is_empty() {
            return Ok(Some(rows));
        }
        let seen = self.seen(layer, &rows, columns)?;
        if !seen.contains(&true) {
            return Ok(Some(rows));
        }
        let keep: BooleanArray = seen.iter().map(|seen| Some(!seen)).collect();
        Ok(Some(filter_record_batch(&rows, &keep)?).filter(|rows| rows.num_rows() > 0))
    }

    /// Of each row, whether a layer with a lower number has its key.
    fn seen(&self, layer: usize, rows: &RecordBatch, columns: &[usize]) -> Result<Vec<bool>> {
        let (keys, hashes) = self.hashed(rows, columns)?;
        let is_candidate = |hash: u32| !self.away.is_empty() || self.held.may_have(hash);
        let candidates: Vec<u32> =
            (0u32..).zip(&hashes).filter(|(_, hash)| is_candidate(**hash)).map(|(row, _)| row).collect();
        let mut seen = vec![false; rows.num_rows()];
        let Some(converter) = self.converter.as_ref().filter(|_| !candidates.is_empty()) else { return Ok(seen) };
        let encoded = converter.convert_columns(&take_arrays(&keys, &UInt32Array::from(candidates.clone()), None)?)?;
        let encoded: Vec<&[u8]> = encoded.iter().map(|key| key.data()).collect();
        let away = self.away.least(&encoded)?;
        for ((key, away), row) in encoded.iter().zip(away).zip(candidates) {
            let newest = away.or_else(|| self.held.find(hashes[row as usize], key));
            seen[row as usize] = newest.is_some_and(|newest| newest < layer);
        }
        Ok(seen)
    }

    fn hashed(&self, rows: &RecordBatch, columns: &[usize]) -> Result<(Vec<ArrayRef>, Vec<u32>)> {
        if columns.iter().any(|column| *column >= rows.num_columns()) {
            return Err(EngineError::State(String::from("the keys of its changes are not among its columns")));
        }
        let key = |column: &ArrayRef| if self.is_exact { ArrayRef::clone(column) } else { canonical_key(column) };
        let keys: Vec<ArrayRef> = columns.iter().map(|column| key(rows.column(*column))).collect();
        let mut hashes = vec![0; rows.num_rows()];
        create_hashes(&keys, &self.hasher, &mut hashes)?;
        Ok((keys, hashes.into_iter().map(|hash| hash as u32).collect()))
    }

    /// Bytes in memory.
    #[cfg(test)]
    fn memory_bytes(&self) -> usize {
        self.held.bytes() + self.away.memory_bytes()
    }
}
