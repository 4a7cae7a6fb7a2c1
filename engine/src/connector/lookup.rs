//! External tables that are asked by key, for look-up joins.
//!
//! A look-up runs on the I/O thread of its task and blocks it: what comes behind a batch, barriers
//! too, waits for the answer, so the order of rows is kept. One query asks for all keys of a batch
//! that the cache does not know.

mod cache;
mod files;
mod postgres;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use tidemill_plans::node::LookupTable;

use self::cache::Cache;
use super::unknown;
use crate::clock;
use crate::error::Result;
use crate::metrics::OperatorStats;
use crate::rows::{JoinKeys, KeyRows};
use crate::task::TaskEnv;

/// Fetches rows by key.
trait Fetch: Send {
    /// The rows of which the key columns are equal to one of these keys, in any order. The keys are
    /// columns of the table's types, without NULL and without doubles.
    fn fetch(&mut self, keys: &[ArrayRef]) -> Result<RecordBatch>;

    /// Whether what was fetched is worth being kept.
    fn is_remote(&self) -> bool {
        true
    }
}

/// A table behind its cache.
pub(crate) struct Lookup {
    source: Box<dyn Fetch>,
    keys: JoinKeys,
    cache: Cache,
}

impl Lookup {
    /// Opens a table; its first rows are fetched when they are asked for.
    pub(crate) fn open(table: &LookupTable, env: &TaskEnv, stats: Arc<OperatorStats>) -> Result<Self> {
        let source: Box<dyn Fetch> = match table.connector.as_str() {
            "files" => Box::new(files::FilesTable::new(table, env, stats)?),
            "postgres" => Box::new(postgres::PostgresTable::new(table)?),
            other => return Err(unknown(other)),
        };
        let kept = if source.is_remote() { table.cache_rows } else { 0 };
        let cache = Cache::new(usize::try_from(kept).unwrap_or(usize::MAX), ttl_ns(table));
        Ok(Self { source, keys: JoinKeys::new(&table.columns.0, &table.keys)?, cache })
    }

    /// The rows of each of these keys, which are no NULLs and no doubles. `bytes` are the keys as they
    /// are compared, `columns` the same as columns.
    pub(crate) fn rows_of(&mut self, bytes: &[&[u8]], columns: &[ArrayRef]) -> Result<Vec<RecordBatch>> {
        let now = clock::monotonic_ns();
        let mut found: Vec<Option<RecordBatch>> = bytes.iter().map(|key| self.cache.get(key, now)).collect();
        let missing: Vec<u32> = (0..bytes.len() as u32).filter(|key| found[*key as usize].is_none()).collect();
        if !missing.is_empty() {
            let keys = arrow::compute::take_arrays(columns, &arrow::array::UInt32Array::from(missing.clone()), None)?;
            let rows = self.source.fetch(&keys)?;
            let by_key = self.split(&rows, missing.iter().map(|key| bytes[*key as usize]))?;
            for (key, rows) in missing.iter().zip(by_key) {
                self.cache.insert(bytes[*key as usize], rows.clone(), now);
                found[*key as usize] = Some(rows);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// The rows of each key, put together.
    fn split<'a>(&self, rows: &RecordBatch, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<RecordBatch>> {
        let index = index(&self.keys.of(rows)?, rows.num_rows());
        let of_key = |key: &[u8]| index.get(key).map(Vec::as_slice).unwrap_or_default();
        keys.map(|key| take_rows(rows, of_key(key))).collect()
    }
}

/// Which rows have which key.
fn index(keys: &KeyRows, rows: usize) -> hashbrown::HashMap<Box<[u8]>, Vec<u32>> {
    let mut index: hashbrown::HashMap<Box<[u8]>, Vec<u32>> = hashbrown::HashMap::new();
    for row in 0..rows {
        if let Some(key) = keys.get(row) {
            index.entry_ref(key).or_default().push(row as u32);
        }
    }
    index
}

fn take_rows(rows: &RecordBatch, picks: &[u32]) -> Result<RecordBatch> {
    Ok(arrow::compute::take_record_batch(rows, &arrow::array::UInt32Array::from(picks.to_vec()))?)
}

fn ttl_ns(table: &LookupTable) -> u64 {
    u64::try_from(table.cache_ttl).unwrap_or(0).saturating_mul(1_000)
}

#[cfg(test)]
mod tests;
