//! DISTINCT: a value counts when it comes for the first time, and no more when it goes for the last.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array, new_empty_array};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use hashbrown::HashMap;
use tidemill_plans::change::ChangeOp;

use super::lists::{list_column, list_values};
use super::{GroupStates, GroupedRows};
use crate::error::Result;
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
}

impl Distinct {
    pub(super) fn new(inner: Box<dyn GroupStates>, types: &[DataType]) -> Result<Self> {
        let value = |(i, data_type): (usize, &DataType)| Field::new(format!("v{i}"), data_type.clone(), true);
        let group = Field::new("group", DataType::UInt32, false);
        let fields = [group].into_iter().chain(types.iter().enumerate().map(value));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { inner, pairs: KeyNumbers::new(&schema)?, schema, counts: Vec::new(), numbers: Vec::new() })
    }

    /// Takes all pairs out that are there, by group, as columns; the counts stay.
    fn take_by_group(&mut self) -> Result<Vec<ArrayRef>> {
        if self.counts.is_empty() {
            return Ok(self.schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect());
        }
        let pairs = self.pairs.take()?;
        let counts = std::mem::take(&mut self.counts);
        let groups = pairs[0].as_primitive::<UInt32Type>().values();
        let mut picks: Vec<u32> = (0..counts.len() as u32).filter(|pair| counts[*pair as usize] != 0).collect();
        picks.sort_by_key(|pair| groups[*pair as usize]);
        self.counts = picks.iter().map(|pair| counts[*pair as usize]).collect();
        Ok(take_arrays(&pairs, &UInt32Array::from(picks), None)?)
    }

    /// Finds the number of each row's pair.
    fn find_pairs(&mut self, rows: &GroupedRows<'_>) -> Result<()> {
        let groups: UInt32Array = rows.groups.iter().map(|group| Some(*group as u32)).collect();
        let values = rows.arguments.iter().map(canonical_key);
        let columns: Vec<ArrayRef> = [Arc::new(groups) as ArrayRef].into_iter().chain(values).collect();
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

    /// Behind the inner state's columns those of each group's values, and of how often each is there.
    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        let mut columns = self.inner.write(parts)?;
        let pairs = self.take_by_group()?;
        let of = pairs[0].as_primitive::<UInt32Type>().values();
        for (groups, columns) in parts.iter().zip(&mut columns) {
            let (mut picks, mut lengths) = (Vec::new(), Vec::with_capacity(groups.len()));
            for group in *groups {
                let start = of.partition_point(|other| other < group);
                let pairs = of[start..].iter().take_while(|other| *other == group).count();
                picks.extend(start as u32..(start + pairs) as u32);
                lengths.push(pairs);
            }
            let counts = Int64Array::from_iter_values(picks.iter().map(|pair| self.counts[*pair as usize]));
            let values = take_arrays(&pairs[1..], &UInt32Array::from(picks), None)?;
            columns.extend(values.into_iter().map(|values| list_column(values, &lengths)));
            columns.push(list_column(Arc::new(counts), &lengths));
        }
        self.pairs.find(&pairs, self.counts.len(), &mut self.numbers)?;
        Ok(columns)
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        // As many columns as the pairs have: the counts stand for the groups.
        let (inner, own) = columns.split_at(columns.len() - self.schema.fields().len());
        self.inner.read(first, inner)?;
        let Some((counts, values)) = own.split_last() else { return Ok(()) };
        let (counts, ranges) = list_values(counts);
        let groups = (first as u32..).zip(&ranges).flat_map(|(group, range)| std::iter::repeat_n(group, range.len()));
        let mut pairs: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from_iter_values(groups))];
        pairs.extend(values.iter().map(|column| list_values(column).0));
        self.pairs.find(&pairs, counts.len(), &mut self.numbers)?;
        self.counts.extend(counts.as_primitive::<Int64Type>().values());
        debug_assert_eq!(self.counts.len(), self.pairs.len(), "each pair is written once");
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.inner.bytes() + self.pairs.bytes() + self.counts.capacity() * size_of::<i64>()
    }
}
