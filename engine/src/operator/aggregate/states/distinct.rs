//! DISTINCT: a value counts when it comes for the first time, and no more when it goes for the last.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_empty_array};
use arrow::compute::{concat_batches, take_arrays};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use hashbrown::{HashMap, HashSet};
use tidemill_plans::change::ChangeOp;

use super::{GroupStates, GroupedRows, Pairs};
use crate::error::Result;
use crate::operator::changed_rows::ChangedRows;
use crate::operator::key_numbers::KeyNumbers;
use crate::rows::canonical_key;

/// Passes the first and the last of equal values on to another state.
pub(super) struct Distinct {
    inner: Box<dyn GroupStates>,
    /// A group and a value.
    schema: SchemaRef,
    /// Numbers of pairs of a group and a value.
    pairs: KeyNumbers,
    /// How often each pair is there.
    counts: Vec<i64>,
    numbers: Vec<usize>,
    unwritten: ChangedRows,
}

impl Distinct {
    pub(super) fn new(inner: Box<dyn GroupStates>, types: &[DataType]) -> Result<Self> {
        let value = |(i, data_type): (usize, &DataType)| Field::new(format!("v{i}"), data_type.clone(), true);
        let group = Field::new("group", DataType::UInt32, false);
        let fields = [group].into_iter().chain(types.iter().enumerate().map(value));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let (pairs, unwritten) = (KeyNumbers::new(&schema)?, ChangedRows::default());
        Ok(Self { inner, pairs, schema, counts: Vec::new(), numbers: Vec::new(), unwritten })
    }

    /// All pairs that are there, as columns; they are numbered anew.
    fn all_pairs(&mut self) -> Result<Vec<ArrayRef>> {
        if self.counts.is_empty() {
            return Ok(self.schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect());
        }
        let (pairs, counts) = (self.pairs.take()?, std::mem::take(&mut self.counts));
        let there: Vec<u32> = (0..counts.len() as u32).filter(|pair| counts[*pair as usize] != 0).collect();
        self.counts = there.iter().map(|pair| counts[*pair as usize]).collect();
        let pairs = take_arrays(&pairs, &UInt32Array::from(there), None)?;
        self.pairs.find(&pairs, self.counts.len(), &mut self.numbers)?;
        Ok(pairs)
    }

    /// The pairs among these that have changed, each once: as columns with their counts.
    fn changed_pairs(&mut self, noted: &[RecordBatch]) -> Result<(Vec<ArrayRef>, Vec<i64>)> {
        let noted = concat_batches(&self.schema, noted)?;
        self.pairs.find(noted.columns(), noted.num_rows(), &mut self.numbers)?;
        let mut seen = HashSet::with_capacity(self.numbers.len());
        let picks: Vec<u32> =
            (0u32..).zip(&self.numbers).filter(|(_, pair)| seen.insert(**pair)).map(|(row, _)| row).collect();
        let counts = picks.iter().map(|row| self.counts[self.numbers[*row as usize]]).collect();
        Ok((take_arrays(noted.columns(), &UInt32Array::from(picks), None)?, counts))
    }

    /// Finds the number of each row's pair.
    fn find_pairs(&mut self, rows: &GroupedRows<'_>) -> Result<()> {
        let groups: UInt32Array = rows.groups.iter().map(|group| Some(*group as u32)).collect();
        let values = rows.arguments.iter().map(canonical_key);
        let columns: Vec<ArrayRef> = [Arc::new(groups) as ArrayRef].into_iter().chain(values).collect();
        self.unwritten.note(&RecordBatch::try_new(Arc::clone(&self.schema), columns.clone())?, self.counts.len());
        // Rows that the filter holds back get numbers too: they only cost a place.
        self.pairs.find(&columns, rows.groups.len(), &mut self.numbers)?;
        self.counts.resize(self.pairs.len(), 0);
        Ok(())
    }
}

impl GroupStates for Distinct {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        self.find_pairs(rows)?;
        let (mut picks, mut groups, mut ops) = (Vec::new(), Vec::new(), Vec::new());
        for (row, pair) in self.numbers.iter().enumerate().filter(|(row, _)| rows.passes(*row)) {
            let before = self.counts[*pair];
            self.counts[*pair] = before + rows.sign(row);
            let op = match (before, self.counts[*pair]) {
                (0, 1) => ChangeOp::Insert,
                (1, 0) => ChangeOp::Delete,
                _ => continue,
            };
            picks.push(row as u32);
            groups.push(rows.groups[row]);
            ops.push(op);
        }
        let picks = UInt32Array::from(picks);
        let taken = take_arrays(rows.arguments, &picks, None)?;
        let ops = rows.ops.map(|_| ops.as_slice());
        self.inner.update(&GroupedRows { groups: &groups, arguments: &taken, filter: None, ops }, total)
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        self.inner.evaluate(groups)
    }

    fn needs_order(&self) -> bool {
        self.inner.needs_order()
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.inner.keep(live)?;
        // What has been noted has other groups' numbers.
        self.unwritten = ChangedRows::default();
        let pairs = self.pairs.take()?;
        let counts = std::mem::take(&mut self.counts);
        let places: HashMap<u32, u32> = live.iter().enumerate().map(|(new, old)| (*old, new as u32)).collect();
        let old = pairs[0].as_primitive::<UInt32Type>().values();
        let (mut picks, mut groups) = (Vec::new(), Vec::new());
        for (pair, group) in old.iter().enumerate().filter(|(pair, _)| counts[*pair] != 0) {
            if let Some(place) = places.get(group) {
                picks.push(pair as u32);
                groups.push(*place);
            }
        }
        self.counts = picks.iter().map(|pair| counts[*pair as usize]).collect();
        let picks = UInt32Array::from(picks);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(groups))];
        columns.extend(take_arrays(&pairs[1..], &picks, None)?);
        self.pairs.find(&columns, self.counts.len(), &mut self.numbers)
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        self.inner.write(parts)
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.inner.read(first, columns)
    }

    /// The values of each group, with how often each is there.
    fn write_pairs(&mut self, changes: bool) -> Result<Option<Pairs>> {
        let noted = self.unwritten.take(changes);
        let are_changes = noted.is_some();
        let (pairs, counts) = match noted {
            Some(noted) => self.changed_pairs(&noted)?,
            None => (self.all_pairs()?, self.counts.clone()),
        };
        let (there, gone): (Vec<u32>, Vec<u32>) =
            (0..counts.len() as u32).partition(|pair| counts[*pair as usize] != 0);
        let [(groups, mut columns), (gone_groups, gone)] = [pick(&pairs, &there)?, pick(&pairs, &gone)?];
        columns.push(Arc::new(Int64Array::from_iter_values(there.iter().map(|pair| counts[*pair as usize]))));
        let values = pairs.len() - 1;
        Ok(Some(Pairs { are_changes, values, groups, columns, gone_groups, gone }))
    }

    fn has_pairs(&self) -> bool {
        true
    }

    fn read_pairs(&mut self, groups: &[usize], columns: &[ArrayRef]) -> Result<()> {
        let Some((counts, values)) = columns.split_last() else { return Ok(()) };
        let groups = UInt32Array::from_iter_values(groups.iter().map(|group| *group as u32));
        let pairs: Vec<ArrayRef> = [Arc::new(groups) as ArrayRef].into_iter().chain(values.iter().cloned()).collect();
        self.pairs.find(&pairs, counts.len(), &mut self.numbers)?;
        self.counts.extend(counts.as_primitive::<Int64Type>().values());
        debug_assert_eq!(self.counts.len(), self.pairs.len(), "each pair is written once");
        Ok(())
    }

    fn begin(&mut self) {
        self.unwritten.begin();
    }

    fn bytes(&self) -> usize {
        self.inner.bytes() + self.pairs.bytes() + self.counts.capacity() * size_of::<i64>() + self.unwritten.bytes()
    }
}

/// The groups and the values of some pairs.
fn pick(pairs: &[ArrayRef], picks: &[u32]) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
    let mut picked = take_arrays(pairs, &UInt32Array::from(picks.to_vec()), None)?;
    let groups = picked.remove(0);
    Ok((groups.as_primitive::<UInt32Type>().values().to_vec(), picked))
}
