//! MIN and MAX: of rows that only come, the extreme so far; of rows that may go, all values in order.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray, downcast_primitive};
use arrow::datatypes::{ArrowPrimitiveType, DataType};

use super::encoding::{Encoding, Multisets};
use super::{GroupStates, GroupedRows};
use crate::error::Result;
use crate::operator::by_number::ByNumber;

/// Which end of the order is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Least,
    Greatest,
}

impl Which {
    /// Whether a value that compares so with the extreme so far takes its place.
    fn replaces(self, order: Ordering) -> bool {
        order == if self == Self::Least { Ordering::Less } else { Ordering::Greater }
    }
}

/// The states for values of a type.
pub(super) fn states(which: Which, data_type: &DataType, takes_back: bool) -> Result<Box<dyn GroupStates>> {
    macro_rules! primitive {
        ($type:ty) => {
            Ok(Box::new(Extreme::<$type> {
                which,
                output: data_type.clone(),
                values: ByNumber::default(),
                known: ByNumber::default(),
            }))
        };
    }
    if takes_back {
        return Ok(Box::new(Values { which, encoding: Encoding::new(data_type)?, values: Multisets::default() }));
    }
    downcast_primitive! {
        data_type => (primitive),
        _ => Ok(Box::new(EncodedExtreme::new(which, data_type)?)),
    }
}

/// The extreme of numbers and times.
struct Extreme<T: ArrowPrimitiveType> {
    which: Which,
    output: DataType,
    values: ByNumber<T::Native>,
    known: ByNumber<bool>,
}

impl<T: ArrowPrimitiveType> GroupStates for Extreme<T> {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        self.values.resize(total, T::Native::default());
        self.known.resize(total, false);
        let column = rows.arguments[0].as_primitive::<T>().values();
        let (which, values, known) = (self.which, &mut self.values, &mut self.known);
        rows.for_each(|row, group, _| {
            let value = column[row];
            if !known[group] || which.replaces(value.compare(values[group])) {
                values[group] = value;
                known[group] = true;
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let value = |group: &u32| {
            let group = *group as usize;
            self.known.get(group).filter(|known| **known).map(|_| self.values[group])
        };
        let values: PrimitiveArray<T> = groups.iter().map(value).collect();
        Ok(Arc::new(values.with_data_type(self.output.clone())))
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.values.keep(live);
        self.known.keep(live);
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        write_results(self, parts)
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        let values = columns[0].as_primitive::<T>();
        self.values.resize(first, T::Native::default());
        self.values.extend(values.values().iter().copied());
        self.known.resize(first, false);
        self.known.extend((0..values.len()).map(|row| values.is_valid(row)));
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.known.bytes()
    }
}

/// The extreme of texts and whatever else has an order.
struct EncodedExtreme {
    which: Which,
    encoding: Encoding,
    values: ByNumber<Option<Box<[u8]>>>,
    bytes: usize,
}

impl EncodedExtreme {
    fn new(which: Which, data_type: &DataType) -> Result<Self> {
        Ok(Self { which, encoding: Encoding::new(data_type)?, values: ByNumber::default(), bytes: 0 })
    }
}

impl GroupStates for EncodedExtreme {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        self.values.resize(total, None);
        let encoded = self.encoding.converter.convert_columns(rows.arguments)?;
        let (which, values, bytes) = (self.which, &mut self.values, &mut self.bytes);
        rows.for_each(|row, group, _| {
            let row = encoded.row(row);
            let value = row.data();
            let known = &mut values[group];
            if known.as_ref().is_none_or(|known| which.replaces(value.cmp(known))) {
                *bytes = *bytes + heap_bytes(value.len()) - known.as_ref().map_or(0, |known| heap_bytes(known.len()));
                *known = Some(Box::from(value));
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let value = |group: &u32| self.values.get(*group as usize).and_then(|value| value.as_deref());
        self.encoding.column(groups.iter().map(value))
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.values.keep(live);
        self.bytes = self.values.iter().flatten().map(|value| heap_bytes(value.len())).sum();
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        write_results(self, parts)
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        let encoded = self.encoding.converter.convert_columns(&columns[..1])?;
        self.values.resize(first, None);
        for (row, value) in encoded.iter().enumerate() {
            let value = columns[0].is_valid(row).then(|| value.data());
            self.bytes += value.map_or(0, |value| heap_bytes(value.len()));
            self.values.push(value.map(Box::from));
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes + self.values.bytes()
    }
}

/// Bytes that an allocation of so many takes, nearly.
fn heap_bytes(bytes: usize) -> usize {
    bytes + 2 * size_of::<usize>()
}

/// All values of each group: when the extreme goes, the next one is it.
struct Values {
    which: Which,
    encoding: Encoding,
    values: Multisets,
}

impl GroupStates for Values {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        self.values.grow(total);
        let encoded = self.encoding.converter.convert_columns(rows.arguments)?;
        rows.for_each(|row, group, sign| self.values.change(group, encoded.row(row).data(), sign));
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let extreme = |group: &u32| {
            let mut values = self.values.of(*group);
            let found = if self.which == Which::Least { values.next() } else { values.next_back() };
            found.map(|(value, _)| value)
        };
        self.encoding.column(groups.iter().map(extreme))
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.values.keep(live);
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        parts.iter().map(|groups| self.values.write(&self.encoding.converter, groups)).collect()
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.values.read(&self.encoding.converter, first, columns)
    }

    fn bytes(&self) -> usize {
        self.values.bytes()
    }
}

/// Where a group's state is its result.
fn write_results(states: &mut dyn GroupStates, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
    let result = |groups: &&[u32]| Ok(vec![states.evaluate(groups)?]);
    parts.iter().map(result).collect()
}
