//! Values as bytes that compare as the values do, counted: what a group of rows that come and go holds.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int64Type};
use arrow::row::{RowConverter, SortField};

use super::lists::{list_column, list_values};
use crate::error::Result;
use crate::operator::by_number::ByNumber;
use crate::operator::sorted_rows::count;

/// Values of one type.
pub(super) struct Encoding {
    pub(super) converter: RowConverter,
    data_type: DataType,
}

impl Encoding {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Self { converter, data_type: data_type.clone() })
    }

    /// A column of these values, NULL where there is none.
    pub(super) fn column<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let (mut rows, mut picks) = (Vec::new(), Vec::new());
        for value in values {
            picks.push(value.map_or((0, 0), |value| {
                rows.push(parser.parse(value));
                (1, rows.len() - 1)
            }));
        }
        let null = new_null_array(&self.data_type, 1);
        let known = self.converter.convert_rows(rows)?;
        let known = known.first().unwrap_or(&null);
        Ok(interleave(&[null.as_ref(), known.as_ref()], &picks)?)
    }
}

/// Encoded values of each group, and how often each is there. Of rows that go before they come there
/// may be fewer than none.
#[derive(Default)]
pub(super) struct Multisets {
    groups: ByNumber<BTreeMap<Box<[u8]>, i64>>,
    entries: usize,
    bytes: usize,
}

impl Multisets {
    pub(super) fn grow(&mut self, total: usize) {
        self.groups.resize_with(total.max(self.groups.len()), BTreeMap::new);
    }

    pub(super) fn change(&mut self, group: usize, value: &[u8], by: i64) {
        match count(&mut self.groups[group], value, by) {
            Ordering::Greater => {
                self.entries += 1;
                self.bytes += value.len();
            }
            Ordering::Less => {
                self.entries -= 1;
                self.bytes -= value.len();
            }
            Ordering::Equal => {}
        }
    }

    /// The values that are there, in their order, with how often each is.
    pub(super) fn of(&self, group: u32) -> impl DoubleEndedIterator<Item = (&[u8], i64)> {
        let values = self.groups.get(group as usize).into_iter().flatten();
        values.filter(|(_, count)| **count > 0).map(|(value, count)| (value.as_ref(), *count))
    }

    pub(super) fn keep(&mut self, live: &[u32]) {
        self.groups.keep(live);
        self.entries = self.groups.iter().map(BTreeMap::len).sum();
        self.bytes = self.groups.iter().flatten().map(|(value, _)| value.len()).sum();
    }

    /// The values of some groups, be there fewer than none, and how often each is there: lists with a
    /// row a group.
    pub(super) fn write(&self, converter: &RowConverter, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let known = |group: &u32| self.groups.get(*group as usize);
        let lengths: Vec<usize> = groups.iter().map(|group| known(group).map_or(0, BTreeMap::len)).collect();
        let entries = || groups.iter().filter_map(known).flatten();
        let parser = converter.parser();
        let mut columns = converter.convert_rows(entries().map(|(value, _)| parser.parse(value)))?;
        columns.push(Arc::new(Int64Array::from_iter_values(entries().map(|(_, count)| *count))));
        Ok(columns.into_iter().map(|values| list_column(values, &lengths)).collect())
    }

    /// Takes up what was written of the groups from `first` on.
    pub(super) fn read(&mut self, converter: &RowConverter, first: usize, columns: &[ArrayRef]) -> Result<()> {
        let Some((counts, values)) = columns.split_last() else { return Ok(()) };
        let (counts, ranges) = list_values(counts);
        let counts = counts.as_primitive::<Int64Type>().values();
        let values: Vec<ArrayRef> = values.iter().map(|column| list_values(column).0).collect();
        let encoded = converter.convert_columns(&values)?;
        self.grow(first + ranges.len());
        for (group, entries) in (first..).zip(ranges) {
            entries.for_each(|entry| self.change(group, encoded.row(entry).data(), counts[entry]));
        }
        Ok(())
    }

    /// Bytes held. A B-tree is about two thirds full.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.entries * 3 * size_of::<(Box<[u8]>, i64)>() / 2 + self.groups.bytes()
    }
}
