//! SUM of whole and decimal numbers, which is exact, and fails where it does not fit its type.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, AsArray, Int64Array, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Int64Type};

use super::{GroupStates, GroupedRows, values_of};
use crate::error::Result;
use crate::operator::by_number::ByNumber;

/// A sum a group, and how many values are in it: of none the sum is NULL.
pub(super) struct Sum<T: ArrowPrimitiveType> {
    output: DataType,
    sums: ByNumber<T::Native>,
    counts: ByNumber<i64>,
}

impl<T: ArrowPrimitiveType> Sum<T> {
    pub(super) fn new(output: DataType) -> Self {
        Self { output, sums: ByNumber::default(), counts: ByNumber::default() }
    }
}

impl<T: ArrowPrimitiveType> GroupStates for Sum<T> {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        self.sums.resize(total, T::Native::ZERO);
        self.counts.resize(total, 0);
        let values = rows.arguments[0].as_primitive::<T>().values();
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        let mut failure = None;
        rows.for_each(|row, group, sign| {
            let (sum, value) = (sums[group], values[row]);
            match if sign > 0 { sum.add_checked(value) } else { sum.sub_checked(value) } {
                Ok(sum) => sums[group] = sum,
                Err(error) => failure = Some(error),
            }
            counts[group] += sign;
        });
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let sum = |group: &u32| {
            let group = *group as usize;
            self.counts.get(group).filter(|count| **count > 0).map(|_| self.sums[group])
        };
        let sums: PrimitiveArray<T> = groups.iter().map(sum).collect();
        Ok(Arc::new(sums.with_data_type(self.output.clone())))
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.sums.keep(live);
        self.counts.keep(live);
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        let columns = |groups: &&[u32]| {
            let sums = PrimitiveArray::<T>::from_iter_values(values_of(&self.sums, groups));
            let counts = Int64Array::from_iter_values(values_of(&self.counts, groups));
            vec![Arc::new(sums.with_data_type(self.output.clone())) as ArrayRef, Arc::new(counts)]
        };
        Ok(parts.iter().map(columns).collect())
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.sums.resize(first, T::Native::ZERO);
        self.sums.extend(columns[0].as_primitive::<T>().values().iter().copied());
        self.counts.resize(first, 0);
        self.counts.extend(columns[1].as_primitive::<Int64Type>().values().iter().copied());
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sums.bytes() + self.counts.bytes()
    }
}
