//! Makes a row of each element of a list, and columns of a struct's fields.
//!
//! No element is touched one by one: which rows and which elements the output has is worked out as
//! indexes, and Arrow takes them column by column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use tidemill_plans::PlanError;
use tidemill_plans::change::change_column_index;
use tidemill_plans::node::{UnnestColumn, UnnestNode};

use super::Operator;
use crate::error::Result;
use crate::task::OperatorContext;

/// Rows that come out at a time, but for those of one row.
const CHUNK_ROWS: usize = if cfg!(test) { 8 } else { 1 << 14 };

/// See [`UnnestNode`].
pub(super) struct Unnest {
    columns: Vec<UnnestColumn>,
    /// The input's columns whose elements the output has.
    lists: Vec<usize>,
    keeps_empty: bool,
    output: SchemaRef,
}

/// A list column of a batch.
struct Elements {
    values: ArrayRef,
    /// Of each row, the first element and how many there are; none where the list is NULL.
    ranges: Vec<(usize, usize)>,
}

/// Rows of the output: the input's rows they come from, and of each list the element, if it has so many.
#[derive(Default)]
struct Picks {
    parents: Vec<u32>,
    elements: Vec<Vec<Option<u32>>>,
}

impl Unnest {
    pub(super) fn new(node: &UnnestNode, input: &SchemaRef, output: SchemaRef) -> Self {
        let mut columns = node.columns.clone();
        columns.extend(change_column_index(input).map(UnnestColumn::Passed));
        let mut lists: Vec<usize> = Vec::new();
        for column in &columns {
            if let UnnestColumn::Elements(list) = column
                && !lists.contains(list)
            {
                lists.push(*list);
            }
        }
        Self { columns, lists, keeps_empty: node.keeps_empty, output }
    }

    /// How many rows a row becomes.
    fn rows_of(&self, row: usize, lists: &[Elements]) -> usize {
        let longest = lists.iter().map(|list| list.ranges[row].1).max();
        match longest {
            None => 1,
            Some(0) if self.keeps_empty => 1,
            Some(longest) => longest,
        }
    }

    fn take(&self, batch: &RecordBatch, lists: &[Elements], picks: Picks) -> Result<RecordBatch> {
        let parents = UInt32Array::from(picks.parents);
        let elements: Vec<UInt32Array> = picks.elements.into_iter().map(UInt32Array::from).collect();
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            columns.push(match column {
                UnnestColumn::Passed(column) => take(batch.column(*column), &parents, None)?,
                UnnestColumn::Field { column, field } => {
                    take(&struct_field(batch.column(*column), *field)?, &parents, None)?
                }
                UnnestColumn::Elements(list) => {
                    let place = self.lists.iter().position(|column| column == list).unwrap_or_default();
                    take(&lists[place].values, &elements[place], None)?
                }
            });
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

impl Operator for Unnest {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let lists = self.lists.iter().map(|column| Elements::of(batch.column(*column))).collect::<Result<Vec<_>>>()?;
        let mut picks = Picks::new(lists.len());
        for row in 0..batch.num_rows() {
            picks.add(row, self.rows_of(row, &lists), &lists);
            if picks.parents.len() >= CHUNK_ROWS {
                let full = std::mem::replace(&mut picks, Picks::new(lists.len()));
                ctx.emit(self.take(&batch, &lists, full)?);
            }
        }
        ctx.emit(self.take(&batch, &lists, picks)?);
        Ok(())
    }
}

impl Picks {
    fn new(lists: usize) -> Self {
        Self { parents: Vec::new(), elements: vec![Vec::new(); lists] }
    }

    fn add(&mut self, row: usize, rows: usize, lists: &[Elements]) {
        self.parents.resize(self.parents.len() + rows, row as u32);
        for (elements, list) in self.elements.iter_mut().zip(lists) {
            let (first, count) = list.ranges[row];
            elements.extend((first..first + count).map(|element| Some(element as u32)));
            elements.resize(self.parents.len(), None);
        }
    }
}

impl Elements {
    fn of(column: &ArrayRef) -> Result<Self> {
        let rows = 0..column.len();
        let known = |row: usize, range: (usize, usize)| if column.is_null(row) { (0, 0) } else { range };
        let (values, ranges): (&ArrayRef, Vec<_>) = match column.data_type() {
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let offsets = list.value_offsets();
                let range = |row: usize| (offsets[row] as usize, (offsets[row + 1] - offsets[row]) as usize);
                (list.values(), rows.map(|row| known(row, range(row))).collect())
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                let offsets = list.value_offsets();
                let range = |row: usize| (offsets[row] as usize, (offsets[row + 1] - offsets[row]) as usize);
                (list.values(), rows.map(|row| known(row, range(row))).collect())
            }
            DataType::FixedSizeList(_, size) => {
                let (list, size) = (column.as_fixed_size_list(), *size as usize);
                let first = |row: usize| list.value_offset(row) as usize;
                (list.values(), rows.map(|row| known(row, (first(row), size))).collect())
            }
            other => return Err(PlanError::InvalidGraph(format!("{other} has no elements to unnest")).into()),
        };
        Ok(Self { values: Arc::clone(values), ranges })
    }
}

/// A field of a struct, NULL where the struct is.
fn struct_field(column: &ArrayRef, field: usize) -> Result<ArrayRef> {
    let Some(structs) = column.as_struct_opt().filter(|structs| field < structs.num_columns()) else {
        let message = format!("{} has no field {field} to unnest", column.data_type());
        return Err(PlanError::InvalidGraph(message).into());
    };
    let values = structs.column(field);
    let nulls = NullBuffer::union(structs.nulls(), values.nulls());
    Ok(make_array(values.to_data().into_builder().nulls(nulls).build()?))
}

#[cfg(test)]
mod tests;
