//! Pairs that have no room in memory: those that no row has touched lately go to disk, and are asked for one by one
//! when a row has a pair that is not in memory. So a group may have more values than there is room for.
//!
//! On disk a pair is called by the key of its group: groups have other numbers when some of them go.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter, take_arrays};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashSet;

use super::{Distinct, GroupedRows, pair_columns, pair_rows};
use crate::error::Result;
use crate::operator::key_index::{KeyIndex, first_rows};
use crate::operator::recency::Recency;
use crate::state::spill::{Layout, Part, SpilledRows, SpilledView};
use crate::state::{Belongs, LaterRows, StateMemory, StateWriter};

/// Pairs that are read or written at a time. Tests want to see several batches.
pub(super) const PART_PAIRS: usize = if cfg!(test) { 3 } else { 1 << 15 };

/// Where pairs go.
pub(super) struct SpilledPairs {
    recency: Recency,
    rows: SpilledRows,
    /// How many columns the keys of groups have.
    keys: usize,
}

impl SpilledPairs {
    /// For groups with keys of this schema; the first column of pairs is their number.
    fn new(memory: &StateMemory, keys: &SchemaRef, pairs: &SchemaRef) -> Result<Self> {
        let values = pairs.fields().iter().skip(1).cloned();
        let columns = Arc::new(Schema::new(keys.fields().iter().cloned().chain(values).collect::<Vec<_>>()));
        let count = Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, false)]));
        let rows = SpilledRows::new(memory.scratch.clone(), Layout::OneRun, &columns, &count)?;
        Ok(Self { recency: Recency::default(), rows, keys: keys.fields().len() })
    }

    /// How many pairs there are here.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.memory_bytes() + self.recency.bytes()
    }

    /// Only these pairs are in memory: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) {
        self.recency.keep(live);
    }

    fn put(&mut self, part: Part, pairs: &[ArrayRef], counts: &Int64Array) -> Result<()> {
        self.rows.put(part, pairs, &[Arc::new(counts.clone())], &vec![i64::MAX; counts.len()])
    }

    /// Writes the pairs that are here, or one part of them.
    pub(super) fn write(&mut self, name: &str, belongs: Belongs, only: Option<Part>, state: &mut StateWriter<'_>) {
        if self.rows.len() > 0 {
            state.later(name, belongs, Arc::new(PairsView(self.rows.view(only))));
        }
        self.rows.note_written();
    }

    /// Drops the pairs of groups with these keys.
    fn drop_groups(&mut self, gone: &[RecordBatch]) -> Result<()> {
        let Some(first) = gone.first() else { return Ok(()) };
        let fields = first.columns().iter().map(|key| SortField::new(key.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let mut groups: HashSet<Box<[u8]>> = HashSet::new();
        for keys in gone {
            groups.extend(converter.convert_columns(keys.columns())?.iter().map(|key| Box::from(key.data())));
        }
        for pairs in self.rows.view(None).scan(PART_PAIRS)? {
            let (pairs, _) = pairs?;
            let keys = converter.convert_columns(&pairs[..self.keys])?;
            let is_gone: BooleanArray = keys.iter().map(|key| Some(groups.contains(key.data()))).collect();
            if is_gone.has_true() {
                let pairs = pairs.iter().map(|column| filter(column, &is_gone)).collect::<Result<Vec<_>, _>>()?;
                self.rows.take(&pairs)?;
            }
        }
        Ok(())
    }
}

/// Pairs that were not in memory at one moment.
struct PairsView(SpilledView);

impl LaterRows for PairsView {
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let batch = |part: Result<(Vec<ArrayRef>, Vec<ArrayRef>)>| {
            part.and_then(|(pair, count)| pair_rows([pair, count].concat()))
        };
        Ok(Box::new(self.0.scan(PART_PAIRS)?.map(batch)))
    }
}

impl Distinct {
    /// Has pairs go when there is no room for all.
    pub(in crate::operator::aggregate) fn limit(&mut self, memory: &StateMemory, keys: &SchemaRef) -> Result<()> {
        self.spilled = Some(SpilledPairs::new(memory, keys, &self.schema)?);
        Ok(())
    }

    /// Whether pairs may have to go.
    pub(in crate::operator::aggregate) fn is_limited(&self) -> bool {
        self.spilled.is_some()
    }

    /// Bytes on disk.
    pub(in crate::operator::aggregate) fn disk_bytes(&self) -> u64 {
        self.spilled.as_ref().map_or(0, |spilled| spilled.rows.disk_bytes())
    }

    /// Bytes in memory that pairs need which are not there.
    pub(in crate::operator::aggregate) fn bytes_of_spilled(&self) -> usize {
        self.spilled.as_ref().map_or(0, |spilled| spilled.rows.memory_bytes())
    }

    /// Has pairs go, but for so many.
    pub(in crate::operator::aggregate) fn spill(&mut self, keys: &KeyIndex, room: usize) -> Result<()> {
        let Some(spilled) = &mut self.spilled else { return Ok(()) };
        let mut goes = vec![false; self.counts.len()];
        spilled.recency.take_cold(goes.len(), room).into_iter().for_each(|pair| goes[pair as usize] = true);
        self.put_away(keys, |pair, _| goes[pair as usize])
    }

    /// Has all pairs of these groups go.
    pub(in crate::operator::aggregate) fn spill_groups(&mut self, keys: &KeyIndex, groups: &[u32]) -> Result<()> {
        let mut goes = vec![false; keys.len()];
        groups.iter().for_each(|group| goes[*group as usize] = true);
        self.put_away(keys, |_, group| goes[group as usize])
    }

    /// Puts pairs on disk, of which `goes` is told the number and the group.
    fn put_away(&mut self, keys: &KeyIndex, goes: impl Fn(u32, u32) -> bool) -> Result<()> {
        if self.counts.is_empty() {
            return Ok(());
        }
        let changed = self.changed()?;
        let (pairs, counts) = (self.pairs.take()?, std::mem::take(&mut self.counts));
        let groups = pairs[0].as_primitive::<UInt32Type>().values();
        let all = 0..counts.len() as u32;
        let (cold, warm): (Vec<u32>, Vec<u32>) = all.partition(|pair| goes(*pair, groups[*pair as usize]));
        let is_there = |pair: &u32| counts[*pair as usize] != 0;
        let has_changed = |pair: &u32| changed[*pair as usize];
        let (there, gone): (Vec<u32>, Vec<u32>) = cold.into_iter().partition(is_there);
        let (unwritten, written): (Vec<u32>, Vec<u32>) = there.into_iter().partition(has_changed);
        for (part, picks) in [(Part::Unwritten, unwritten), (Part::Written, written)] {
            for picks in picks.chunks(PART_PAIRS) {
                let counts = Int64Array::from_iter_values(picks.iter().map(|pair| counts[*pair as usize]));
                let columns = pair_columns(keys, &pairs, picks)?;
                self.spilled.iter_mut().try_for_each(|spilled| spilled.put(part, &columns, &counts))?;
            }
        }
        let noted: Vec<u32> = warm.iter().copied().filter(has_changed).collect();
        let noted = take_arrays(&pairs, &UInt32Array::from(noted), None)?;
        self.unwritten.set_noted(vec![RecordBatch::try_new(Arc::clone(&self.schema), noted)?]);
        let gone: Vec<u32> = gone.into_iter().filter(has_changed).collect();
        if !gone.is_empty() {
            let left = warm.len() + self.spilled.as_ref().map_or(0, SpilledPairs::len);
            self.unwritten.note_gone(pair_rows(pair_columns(keys, &pairs, &gone)?)?, left);
        }
        let warm: Vec<u32> = warm.into_iter().filter(is_there).collect();
        self.take_up(&pairs, &counts, &warm)
    }

    /// Of each pair in memory, whether it has changed since it was written.
    fn changed(&mut self) -> Result<Vec<bool>> {
        let noted = concat_batches(&self.schema, self.unwritten.noted())?;
        self.pairs.find(noted.columns(), noted.num_rows(), &mut self.numbers)?;
        self.counts.resize(self.pairs.len(), 0);
        let mut changed = vec![false; self.counts.len()];
        self.numbers.iter().for_each(|pair| changed[*pair] = true);
        Ok(changed)
    }

    /// Takes pairs back that are new in memory, where numbers begin at `known`; rows have these pairs.
    pub(super) fn take_back(&mut self, known: usize, pairs: &[ArrayRef], rows: &GroupedRows<'_>) -> Result<()> {
        let Some(spilled) = &mut self.spilled else { return Ok(()) };
        self.numbers.iter().for_each(|pair| spilled.recency.note(*pair));
        if self.counts.len() == known || spilled.len() == 0 {
            return Ok(());
        }
        let firsts = first_rows(&self.numbers, known, self.counts.len());
        let groups: Vec<u32> = firsts.values().iter().map(|row| rows.groups[*row as usize] as u32).collect();
        let mut columns = rows.keys.keys(&groups)?;
        columns.extend(take_arrays(&pairs[1..], &firsts, None)?);
        let taken = spilled.rows.take(&columns)?;
        let counts = taken.rows[0].as_primitive::<Int64Type>().values();
        taken.places.iter().zip(counts).for_each(|(place, count)| self.counts[known + place] = *count);
        Ok(())
    }

    /// Takes up pairs that were written, whether their groups are in memory or not.
    pub(in crate::operator::aggregate) fn read_spilled(&mut self, batch: &RecordBatch) -> Result<()> {
        let (Some((counts, pairs)), Some(spilled)) = (batch.columns().split_last(), &mut self.spilled) else {
            return Ok(());
        };
        spilled.put(Part::Written, pairs, counts.as_primitive::<Int64Type>())
    }

    /// Forgets the pairs on disk of groups with these keys, which are gone.
    pub(in crate::operator::aggregate) fn drop_groups(&mut self, gone: &[RecordBatch]) -> Result<()> {
        let Some(spilled) = self.spilled.as_mut().filter(|spilled| spilled.len() > 0) else { return Ok(()) };
        // Each of their pairs would be a change.
        self.unwritten = Default::default();
        spilled.drop_groups(gone)
    }
}
