//! Joins each row with the rows of an external table as they are now.
//!
//! Rows come out in the order in which they came in, so event time and its watermarks pass through.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{interleave, take, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use hashbrown::HashMap;
use tidemill_plans::node::{LookupJoinNode, LookupTable};

use super::Operator;
use crate::connector::Lookup;
use crate::error::Result;
use crate::rows::{JoinKeys, KeyRows};
use crate::task::OperatorContext;

/// See [`LookupJoinNode`].
pub(super) struct LookupJoin {
    table: LookupTable,
    input_keys: Vec<usize>,
    keys: JoinKeys,
    keeps_unmatched: bool,
    /// Opened at the first rows.
    lookup: Option<Lookup>,
    output: SchemaRef,
}

/// The keys of a batch, each once.
struct DistinctKeys<'a> {
    bytes: Vec<&'a [u8]>,
    /// The first row that has it.
    first: Vec<u32>,
    /// Of each row, its key's number.
    of: Vec<Option<usize>>,
}

impl LookupJoin {
    pub(super) fn new(node: &LookupJoinNode, input: &SchemaRef, output: SchemaRef) -> Result<Self> {
        Ok(Self {
            table: node.table.clone(),
            input_keys: node.input_keys.clone(),
            keys: JoinKeys::new(input, &node.input_keys)?,
            keeps_unmatched: node.keeps_unmatched,
            lookup: None,
            output,
        })
    }

    fn look_up(
        &mut self,
        batch: &RecordBatch,
        keys: &DistinctKeys<'_>,
        ctx: &OperatorContext,
    ) -> Result<Vec<RecordBatch>> {
        if keys.bytes.is_empty() {
            return Ok(Vec::new());
        }
        let lookup = match &mut self.lookup {
            Some(lookup) => lookup,
            none => none.insert(Lookup::open(&self.table, ctx.env(), ctx.shared_stats())?),
        };
        let first = UInt32Array::from(keys.first.clone());
        let columns = self.input_keys.iter().map(|key| take(batch.column(*key), &first, None));
        lookup.rows_of(&keys.bytes, &columns.collect::<Result<Vec<ArrayRef>, _>>()?)
    }

    fn join(&self, batch: &RecordBatch, keys: &DistinctKeys<'_>, found: &[RecordBatch]) -> Result<RecordBatch> {
        // What no key has comes last: a row of NULLs.
        let none = (found.len(), 0);
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for (row, key) in keys.of.iter().enumerate() {
            let rows = key.map_or(0, |key| found[key].num_rows());
            theirs.extend((0..rows).filter_map(|row| Some(((*key)?, row))));
            if rows == 0 && self.keeps_unmatched {
                theirs.push(none);
            }
            mine.resize(theirs.len(), row as u32);
        }
        let mine = take_record_batch(batch, &UInt32Array::from(mine))?;
        let mut columns = mine.columns().to_vec();
        for (index, field) in self.table.columns.fields().iter().enumerate() {
            columns.push(gather(found, index, field.data_type(), &theirs)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

/// A column of the rows in these places.
fn gather(found: &[RecordBatch], index: usize, data_type: &DataType, places: &[(usize, usize)]) -> Result<ArrayRef> {
    let null = new_null_array(data_type, 1);
    let arrays = found.iter().map(|rows| rows.column(index).as_ref()).chain([null.as_ref()]);
    let arrays: Vec<&dyn Array> = arrays.collect();
    Ok(interleave(&arrays, places)?)
}

impl<'a> DistinctKeys<'a> {
    fn of(keys: &'a KeyRows, rows: usize) -> Self {
        let mut numbers: HashMap<&[u8], usize> = HashMap::new();
        let mut distinct = Self { bytes: Vec::new(), first: Vec::new(), of: Vec::with_capacity(rows) };
        for row in 0..rows {
            distinct.of.push(keys.get(row).map(|key| {
                *numbers.entry(key).or_insert_with(|| {
                    distinct.bytes.push(key);
                    distinct.first.push(row as u32);
                    distinct.bytes.len() - 1
                })
            }));
        }
        distinct
    }
}

impl Operator for LookupJoin {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let keys = self.keys.of(&batch)?;
        let keys = DistinctKeys::of(&keys, batch.num_rows());
        let found = self.look_up(&batch, &keys, ctx)?;
        ctx.emit(self.join(&batch, &keys, &found)?);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.lookup.as_ref().map_or(0, Lookup::bytes)
    }

    fn is_io(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
