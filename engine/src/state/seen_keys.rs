//! The keys of rows that have been seen, and which rows have others.
//!
//! Of the rows that are looked for, only those are encoded whose hash is that of a key: mostly few have changed.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_arrays};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use hashbrown::HashTable;

use super::RowKeys;
use crate::error::{EngineError, Result};
use crate::rows::canonical_key;

/// See the [module](self).
pub(super) struct SeenKeys {
    /// Whether keys are equal to the last bit only.
    is_exact: bool,
    /// Made with the first keys, whose types it takes.
    converter: Option<RowConverter>,
    /// In batches, each with the layer that it is from.
    encoded: Vec<(Rows, usize)>,
    places: HashTable<Place>,
    /// Of a fixed seed: nothing depends on it but which keys are compared.
    hasher: RandomState,
}

/// Where a key is among the encoded ones of the newest layer that has it. As many keys as a job's state has may have
/// changed, so half of their hash does.
struct Place {
    hash: u32,
    batch: u32,
    row: u32,
}

impl Place {
    /// What the table finds places by. It looks at the first bits, and at the last.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl SeenKeys {
    pub(super) fn new(keys: &RowKeys) -> Self {
        Self {
            is_exact: matches!(keys, RowKeys::Exact(_)),
            converter: None,
            encoded: Vec::new(),
            places: HashTable::new(),
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
        let batch = self.encoded.len() as u32;
        self.encoded.push((encoded, layer));
        for (row, hash) in (0u32..).zip(hashes) {
            let key = self.encoded[batch as usize].0.row(row as usize);
            if self.find(hash, key.data()).is_none() {
                let rehash = |place: &Place| Place::spread(place.hash);
                self.places.insert_unique(Place::spread(hash), Place { hash, batch, row }, rehash);
            }
        }
        Ok(())
    }

    /// The rows of a layer whose keys, in these columns, no layer with a lower number has; nothing if there are none.
    pub(super) fn unseen(&self, layer: usize, rows: RecordBatch, columns: &[usize]) -> Result<Option<RecordBatch>> {
        if self.places.is_empty() {
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
        let is_candidate = |hash: u32| self.places.find(Place::spread(hash), |place| place.hash == hash).is_some();
        let candidates: Vec<u32> =
            (0u32..).zip(&hashes).filter(|(_, hash)| is_candidate(**hash)).map(|(row, _)| row).collect();
        let mut seen = vec![false; rows.num_rows()];
        let Some(converter) = self.converter.as_ref().filter(|_| !candidates.is_empty()) else { return Ok(seen) };
        let encoded = converter.convert_columns(&take_arrays(&keys, &UInt32Array::from(candidates.clone()), None)?)?;
        for (key, row) in encoded.iter().zip(candidates) {
            let newest = self.find(hashes[row as usize], key.data());
            seen[row as usize] = newest.is_some_and(|newest| newest < layer);
        }
        Ok(seen)
    }

    /// The newest layer that has a key.
    fn find(&self, hash: u32, key: &[u8]) -> Option<usize> {
        let encoded = |place: &Place| self.encoded[place.batch as usize].0.row(place.row as usize);
        let is_found = |place: &Place| place.hash == hash && encoded(place).data() == key;
        self.places.find(Place::spread(hash), is_found).map(|place| self.encoded[place.batch as usize].1)
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
}
