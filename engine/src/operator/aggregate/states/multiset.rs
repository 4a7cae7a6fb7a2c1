//! Any function over rows that come and go: the rows that are there, from which a result is made anew.
//!
//! They are fed to DataFusion's accumulator in their order by value, so the result does not depend on
//! the order in which they came. A result costs a pass over the group.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;

use super::super::super::groups::AggregateCall;
use super::encoding::Multisets;
use super::{GroupStates, GroupedRows};
use crate::error::Result;

/// The arguments of each group's rows.
pub(super) struct Multiset {
    call: AggregateCall,
    converter: RowConverter,
    rows: Multisets,
}

impl Multiset {
    pub(super) fn new(call: AggregateCall, types: &[DataType]) -> Result<Self> {
        let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        Ok(Self { call, converter: RowConverter::new(fields)?, rows: Multisets::default() })
    }

    fn result(&self, group: u32) -> Result<ScalarValue> {
        let mut accumulator = self.call.single()?;
        let parser = self.converter.parser();
        let rows = self.rows.of(group).flat_map(|(row, count)| (0..count).map(move |_| row));
        let columns = self.converter.convert_rows(rows.map(|row| parser.parse(row)))?;
        accumulator.update_batch(&columns)?;
        Ok(accumulator.evaluate()?)
    }
}

impl GroupStates for Multiset {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        self.rows.grow(total);
        let encoded = self.converter.convert_columns(rows.arguments)?;
        // Rows with a NULL too: what it means is the function's to say.
        for (row, group) in rows.groups.iter().enumerate().filter(|(row, _)| rows.passes(*row)) {
            self.rows.change(*group, encoded.row(row).data(), rows.sign(row));
        }
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let values: Result<Vec<ScalarValue>> = groups.iter().map(|group| self.result(*group)).collect();
        Ok(ScalarValue::iter_to_array(values?)?)
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.rows.keep(live);
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        parts.iter().map(|groups| self.rows.write(&self.converter, groups)).collect()
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.rows.read(&self.converter, first, columns)
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }
}
