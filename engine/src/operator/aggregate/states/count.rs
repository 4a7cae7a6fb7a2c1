//! COUNT: a number a group.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;

use super::{GroupStates, GroupedRows, values_of};
use crate::error::Result;
use crate::operator::by_number::ByNumber;

/// How many rows of each group have no NULL among their arguments.
#[derive(Default)]
pub(super) struct Count {
    counts: ByNumber<i64>,
}

impl GroupStates for Count {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        self.counts.resize(total, 0);
        let counts = &mut self.counts;
        rows.for_each(|_, group, sign| counts[group] += sign);
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let count = |group: &u32| self.counts.get(*group as usize).copied().unwrap_or_default();
        Ok(Arc::new(Int64Array::from_iter_values(groups.iter().map(count))))
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.counts.keep(live);
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        let counts =
            |groups: &&[u32]| vec![Arc::new(Int64Array::from_iter_values(values_of(&self.counts, groups))) as ArrayRef];
        Ok(parts.iter().map(counts).collect())
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.counts.resize(first, 0);
        self.counts.extend(columns[0].as_primitive::<Int64Type>().values().iter().copied());
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.bytes()
    }
}
