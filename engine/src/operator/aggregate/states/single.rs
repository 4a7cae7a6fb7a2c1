//! Any function over rows that only come: DataFusion's accumulator, one a group.
//!
//! What an accumulator gives as its state is merged into a new one to read it. Of nearly all functions that
//! is the accumulator as it was: sets, lists, texts, extremes, counts, exact sums. APPROX_PERCENTILE_CONT and
//! its relatives compress their sketch once more, so there an accumulator goes on from what it has written:
//! its next results are the same whether it is restored or not.

use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{filter, take, take_arrays};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use hashbrown::HashMap;

use super::super::super::groups::AggregateCall;
use super::{GroupStates, GroupedRows};
use crate::error::Result;
use crate::operator::by_number::ByNumber;

/// An accumulator for each group.
pub(super) struct Single {
    call: AggregateCall,
    accumulators: ByNumber<Box<dyn Accumulator>>,
    bytes: usize,
}

impl Single {
    pub(super) fn new(call: AggregateCall) -> Self {
        Self { call, accumulators: ByNumber::default(), bytes: 0 }
    }

    /// The states of some groups, a column for each value of a state. Some accumulators give theirs
    /// away, so each is made anew from it.
    fn write_part(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut values: Vec<Vec<ScalarValue>> = Vec::new();
        for group in groups {
            let state = self.accumulators[*group as usize].state()?;
            values.resize_with(state.len(), Vec::new);
            values.iter_mut().zip(state).for_each(|(column, value)| column.push(value));
        }
        let columns: datafusion::error::Result<Vec<ArrayRef>> =
            values.into_iter().map(ScalarValue::iter_to_array).collect();
        let columns = columns?;
        for (row, group) in groups.iter().enumerate() {
            self.accumulators[*group as usize] = self.restored(&columns, row)?;
        }
        Ok(columns)
    }

    /// The accumulator with the state in a row. The row is copied: an accumulator that keeps it must not
    /// keep all others.
    fn restored(&self, columns: &[ArrayRef], row: usize) -> Result<Box<dyn Accumulator>> {
        let mut accumulator = self.call.single()?;
        accumulator.merge_batch(&take_arrays(columns, &UInt32Array::from(vec![row as u32]), None)?)?;
        Ok(accumulator)
    }

    fn measure(&mut self) {
        self.bytes = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
    }

    fn grow(&mut self, total: usize) -> Result<()> {
        while self.accumulators.len() < total {
            let accumulator = self.call.single()?;
            self.bytes += accumulator.size();
            self.accumulators.push(accumulator);
        }
        Ok(())
    }
}

impl GroupStates for Single {
    fn update(&mut self, rows: &GroupedRows<'_>, total: usize) -> Result<()> {
        debug_assert!(rows.ops.is_none(), "rows only come");
        self.grow(total)?;
        for (group, picks) in rows_by_group(rows.groups) {
            let values = select(rows.arguments, rows.filter, picks)?;
            let accumulator = &mut self.accumulators[group];
            let before = accumulator.size();
            accumulator.update_batch(&values)?;
            self.bytes = (self.bytes + accumulator.size()).saturating_sub(before);
        }
        Ok(())
    }

    /// DataFusion lets an accumulator be asked again and again (window frames do), so nothing is copied.
    fn evaluate(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        self.grow(groups.iter().max().map_or(0, |last| *last as usize + 1))?;
        let values: datafusion::error::Result<Vec<ScalarValue>> =
            groups.iter().map(|group| self.accumulators[*group as usize].evaluate()).collect();
        Ok(ScalarValue::iter_to_array(values?)?)
    }

    fn needs_order(&self) -> bool {
        self.call.order_matters
    }

    fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.accumulators.keep(live);
        self.measure();
        Ok(())
    }

    fn write(&mut self, parts: &[&[u32]]) -> Result<Vec<Vec<ArrayRef>>> {
        self.grow(parts.last().and_then(|part| part.last()).map_or(0, |last| *last as usize + 1))?;
        let columns = parts.iter().map(|groups| self.write_part(groups)).collect();
        self.measure();
        columns
    }

    fn read(&mut self, first: usize, columns: &[ArrayRef]) -> Result<()> {
        self.grow(first)?;
        for row in 0..columns.first().map_or(0, |column| column.len()) {
            let accumulator = self.restored(columns, row)?;
            self.bytes += accumulator.size();
            self.accumulators.push(accumulator);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The rows of each group, groups in the order of their first row.
fn rows_by_group(groups: &[usize]) -> Vec<(usize, Vec<u32>)> {
    let mut by_group: Vec<(usize, Vec<u32>)> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for (row, group) in groups.iter().enumerate() {
        let place = *places.entry(*group).or_insert(by_group.len());
        if place == by_group.len() {
            by_group.push((*group, Vec::new()));
        }
        by_group[place].1.push(row as u32);
    }
    by_group
}

/// The arguments of these rows, of which the aggregate's FILTER lets some through.
fn select(arguments: &[ArrayRef], keep: Option<&BooleanArray>, rows: Vec<u32>) -> Result<Vec<ArrayRef>> {
    let rows = UInt32Array::from(rows);
    let mask = keep.map(|keep| take(keep, &rows, None)).transpose()?;
    let mut values = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let taken = take(argument, &rows, None)?;
        values.push(match &mask {
            Some(mask) => filter(&taken, mask.as_boolean())?,
            None => taken,
        });
    }
    Ok(values)
}
