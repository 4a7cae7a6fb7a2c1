//! DISTINCT: a value counts when it comes for the first time, and no more when it goes for the last.

mod spilling;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_empty_array};
use arrow::compute::{concat_batches, take_arrays};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use hashbrown::{HashMap, HashSet};
use tidemill_plans::change::ChangeOp;

use self::spilling::{PART_PAIRS, SpilledPairs};
use super::{GroupStates, GroupedRows};
use crate::error::Result;
use crate::operator::changed_rows::ChangedRows;
use crate::operator::key_index::KeyIndex;
use crate::operator::key_numbers::KeyNumbers;
use crate::rows::canonical_key;
use crate::state::spill::Part;
use crate::state::{Belongs, RowKeys, StateMemory, StateWriter};

/// Passes the first and the last of equal values on to another state.
pub(in crate::operator::aggregate) struct Distinct {
    inner: Box<dyn GroupStates>,
    /// A group and a value.
    schema: SchemaRef,
    /// Numbers of pairs of a group and a value.
    pairs: KeyNumbers,
    /// How often each pair is there.
    counts: Vec<i64>,
    numbers: Vec<usize>,
    unwritten: ChangedRows,
    /// Where pairs go, if there may be no room for all.
    spilled: Option<SpilledPairs>,
}

impl Distinct {
    pub(super) fn new(inner: Box<dyn GroupStates>, types: &[DataType]) -> Result<Self> {
        let value = |(i, data_type): (usize, &DataType)| Field::new(format!("v{i}"), data_type.clone(), true);
        let group = Field::new("group", DataType::UInt32, false);
        let fields = [group].into_iter().chain(types.iter().enumerate().map(value));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let (pairs, unwritten) = (KeyNumbers::new(&schema)?, ChangedRows::default());
        Ok(Self { inner, pairs, schema, counts: Vec::new(), numbers: Vec::new(), unwritten, spilled: None })
    }

    /// How many pairs there are in memory.
    pub(in crate::operator::aggregate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// All pairs in memory that are there, as columns; they are numbered anew.
    fn all_pairs(&mut self) -> Result<Vec<ArrayRef>> {
        if self.counts.is_empty() {
            return Ok(self.schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect());
        }
        let (pairs, counts) = (self.pairs.take()?, std::mem::take(&mut self.counts));
        let there: Vec<u32> = (0..counts.len() as u32).filter(|pair| counts[*pair as usize] != 0).collect();
        self.take_up(&pairs, &counts, &there)?;
        Ok(take_arrays(&pairs, &UInt32Array::from(there), None)?)
    }

    /// Has some of the pairs that were taken out, and no others: the i-th has the number i now.
    fn take_up(&mut self, pairs: &[ArrayRef], counts: &[i64], picks: &[u32]) -> Result<()> {
        self.counts = picks.iter().map(|pair| counts[*pair as usize]).collect();
        if let Some(spilled) = &mut self.spilled {
            spilled.keep(picks);
        }
        let pairs = take_arrays(pairs, &UInt32Array::from(picks.to_vec()), None)?;
        self.pairs = KeyNumbers::new(&self.schema)?;
        self.pairs.find(&pairs, self.counts.len(), &mut self.numbers)
    }

    /// Finds the number of each row's pair.
    fn find_pairs(&mut self, rows: &GroupedRows<'_>) -> Result<()> {
        let groups: UInt32Array = rows.groups.iter().map(|group| Some(*group as u32)).collect();
        let values = rows.arguments.iter().map(canonical_key);
        let columns: Vec<ArrayRef> = [Arc::new(groups) as ArrayRef].into_iter().chain(values).collect();
        let there = self.counts.len() + self.spilled.as_ref().map_or(0, SpilledPairs::len);
        self.unwritten.note(&RecordBatch::try_new(Arc::clone(&self.schema), columns.clone())?, there);
        // Rows that the filter holds back get numbers too: they only cost a place.
        self.pairs.find(&columns, rows.groups.len(), &mut self.numbers)?;
        let known = self.counts.len();
        self.counts.resize(self.pairs.len(), 0);
        self.take_back(known, &columns, rows)
    }

    /// The pairs among these that have changed, each once: as columns with their counts.
    fn changed_pairs(&mut self, noted: &[RecordBatch]) -> Result<(Vec<ArrayRef>, Vec<i64>)> {
        let noted = concat_batches(&self.schema, noted)?;
        self.pairs.find(noted.columns(), noted.num_rows(), &mut self.numbers)?;
        // Those that were gone may have lost their numbers.
        self.counts.resize(self.pairs.len(), 0);
        let mut seen = HashSet::with_capacity(self.numbers.len());
        let picks: Vec<u32> =
            (0u32..).zip(&self.numbers).filter(|(_, pair)| seen.insert(**pair)).map(|(row, _)| row).collect();
        let counts = picks.iter().map(|row| self.counts[self.numbers[*row as usize]]).collect();
        Ok((take_arrays(noted.columns(), &UInt32Array::from(picks), None)?, counts))
    }

    /// Writes the values of each group, with how often each is there: rows of their own, for a group may have any number
    /// of them. `changes` asks for those alone that have changed since they were written; all may be given anyway.
    pub(in crate::operator::aggregate) fn write_pairs(
        &mut self,
        name: &str,
        keys: &KeyIndex,
        changes: bool,
        memory: &StateMemory,
        state: &mut StateWriter<'_>,
    ) -> Result<()> {
        let belongs = Belongs::to_first(keys.schema().fields().len());
        let mut gone = self.unwritten.take_gone();
        let noted = self.unwritten.take(changes);
        let only = noted.as_ref().map(|_| Part::Unwritten);
        let (pairs, counts, there) = match noted {
            Some(noted) => {
                let (pairs, counts) = self.changed_pairs(&noted)?;
                let all = 0..counts.len() as u32;
                let (there, others): (Vec<u32>, Vec<u32>) = all.partition(|pair| counts[*pair as usize] != 0);
                gone.push(pair_rows(pair_columns(keys, &pairs, &others)?)?);
                let columns = RowKeys::Exact((0..gone[0].num_columns()).collect());
                state.changes(name, belongs.clone(), columns, [], gone);
                (pairs, counts, there)
            }
            None => (self.all_pairs()?, self.counts.clone(), (0..self.counts.len() as u32).collect()),
        };
        let rows = |pairs_of: &[u32]| counted_rows(pair_columns(keys, &pairs, pairs_of)?, &counts, pairs_of);
        state.behind(name, belongs.clone(), memory, there.chunks(PART_PAIRS).map(rows))?;
        if let Some(spilled) = &mut self.spilled {
            spilled.write(name, belongs, only, state);
        }
        Ok(())
    }

    /// Takes up the pairs of these groups, all of which have been read, and nothing yet of others.
    pub(in crate::operator::aggregate) fn read_pairs(&mut self, groups: &[usize], columns: &[ArrayRef]) -> Result<()> {
        let Some((counts, values)) = columns.split_last() else { return Ok(()) };
        let groups = UInt32Array::from_iter_values(groups.iter().map(|group| *group as u32));
        let pairs: Vec<ArrayRef> = [Arc::new(groups) as ArrayRef].into_iter().chain(values.iter().cloned()).collect();
        self.pairs.find(&pairs, counts.len(), &mut self.numbers)?;
        self.counts.extend(counts.as_primitive::<Int64Type>().values());
        debug_assert_eq!(self.counts.len(), self.pairs.len(), "each pair is written once");
        Ok(())
    }

    /// Everything has been read: changes from now on may go on from it.
    pub(in crate::operator::aggregate) fn begin(&mut self) {
        self.unwritten.begin();
    }

    /// Has what is noted follow the groups to their new numbers. Of groups that are gone nobody knows the keys any
    /// more: if anything of theirs has to be written, everything is.
    fn keep_noted(&mut self, places: &HashMap<u32, u32>) -> Result<()> {
        let mut moved = Vec::new();
        for rows in self.unwritten.noted() {
            let groups = rows.column(0).as_primitive::<UInt32Type>().values();
            let groups: Option<Vec<u32>> = groups.iter().map(|group| places.get(group).copied()).collect();
            let Some(groups) = groups else {
                self.unwritten = ChangedRows::default();
                return Ok(());
            };
            let groups: ArrayRef = Arc::new(UInt32Array::from(groups));
            let columns = [groups].into_iter().chain(rows.columns()[1..].iter().cloned()).collect();
            moved.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        }
        self.unwritten.set_noted(moved);
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
        let rows = GroupedRows { groups: &groups, arguments: &taken, filter: None, ops, keys: rows.keys };
        self.inner.update(&rows, total)
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        self.inner.evaluate(groups)
    }

    fn needs_order(&self) -> bool {
        self.inner.needs_order()
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.inner.keep(live)?;
        let places: HashMap<u32, u32> = live.iter().enumerate().map(|(new, old)| (*old, new as u32)).collect();
        self.keep_noted(&places)?;
        let mut pairs = self.pairs.take()?;
        let counts = std::mem::take(&mut self.counts);
        if pairs.is_empty() || counts.is_empty() {
            return Ok(());
        }
        let old = pairs[0].as_primitive::<UInt32Type>().values();
        let there: Vec<u32> = (0..counts.len() as u32).filter(|pair| counts[*pair as usize] != 0).collect();
        let picks: Vec<u32> = there.iter().copied().filter(|pair| places.contains_key(&old[*pair as usize])).collect();
        if picks.len() < there.len() {
            // Their groups' keys are not known any more.
            self.unwritten = ChangedRows::default();
        }
        let moved = UInt32Array::from_iter(old.iter().map(|group| places.get(group).copied()));
        pairs[0] = Arc::new(moved);
        self.take_up(&pairs, &counts, &picks)
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        self.inner.write(parts)
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.inner.read(first, columns)
    }

    fn pairs(&self) -> Option<&Distinct> {
        Some(self)
    }

    fn pairs_mut(&mut self) -> Option<&mut Distinct> {
        Some(self)
    }

    fn bytes(&self) -> usize {
        let spilled = self.spilled.as_ref().map_or(0, SpilledPairs::bytes);
        let counts = self.counts.capacity() * size_of::<i64>();
        self.inner.bytes() + self.pairs.bytes() + counts + self.unwritten.bytes() + spilled
    }
}

/// Some pairs, with the keys of groups in the place of their numbers.
fn pair_columns(keys: &KeyIndex, pairs: &[ArrayRef], picks: &[u32]) -> Result<Vec<ArrayRef>> {
    let mut values = take_arrays(pairs, &UInt32Array::from(picks.to_vec()), None)?;
    let groups = values.remove(0);
    let mut columns = keys.keys(groups.as_primitive::<UInt32Type>().values())?;
    columns.extend(values);
    Ok(columns)
}

/// Pairs, as they are written where they are gone.
fn pair_rows(columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let columns = columns.into_iter().enumerate();
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(number, column)| (format!("c{number}"), column, true)))?)
}

/// Some pairs, as they are written: with how often each is there.
fn counted_rows(mut pairs: Vec<ArrayRef>, counts: &[i64], picks: &[u32]) -> Result<RecordBatch> {
    pairs.push(Arc::new(Int64Array::from_iter_values(picks.iter().map(|pair| counts[*pair as usize]))));
    pair_rows(pairs)
}
