//! Changelog rows: a stream that is updating carries one extra column that says what each row does.
//!
//! The names and the meaning are Flink's: +I insert, -U and +U the old and the new version of a row,
//! -D delete. A stream without the column is append-only: every row is an insert.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};

use crate::error::{PlanError, Result};

/// Name of the changelog column; users cannot declare a column of this name.
pub const CHANGE_COLUMN: &str = "__op";

/// What a row of an updating stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ChangeOp {
    /// +I: the row is new.
    Insert = 0,
    /// -U: the row as it was before an update.
    UpdateBefore = 1,
    /// +U: the row as it is after an update.
    UpdateAfter = 2,
    /// -D: the row is gone.
    Delete = 3,
}

impl ChangeOp {
    /// Whether the row adds to what downstream knows (+I, +U) rather than taking away (-U, -D).
    #[must_use]
    pub fn adds(self) -> bool {
        matches!(self, Self::Insert | Self::UpdateAfter)
    }

    /// Reads the column's number back.
    pub fn from_code(code: i8) -> Result<Self> {
        match code {
            0 => Ok(Self::Insert),
            1 => Ok(Self::UpdateBefore),
            2 => Ok(Self::UpdateAfter),
            3 => Ok(Self::Delete),
            _ => Err(PlanError::InvalidGraph(format!("{code} is no changelog operation"))),
        }
    }
}

impl fmt::Display for ChangeOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        })
    }
}

/// The field of the changelog column.
#[must_use]
pub fn change_field() -> Field {
    Field::new(CHANGE_COLUMN, DataType::Int8, false)
}

/// `schema` with the changelog column behind its columns.
#[must_use]
pub fn with_change_column(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().map(Arc::clone).collect();
    fields.push(Arc::new(change_field()));
    Arc::new(Schema::new(fields))
}

/// `schema` where rows that are taken away may come with their keys alone: every column but the changelog
/// column may be NULL.
#[must_use]
pub fn with_absent_values(schema: &Schema) -> SchemaRef {
    let change = change_column_index(schema);
    let absent = |(column, field): (usize, &Arc<Field>)| match change == Some(column) {
        true => Arc::clone(field),
        false => Arc::new(field.as_ref().clone().with_nullable(true)),
    };
    Arc::new(Schema::new(schema.fields().iter().enumerate().map(absent).collect::<Vec<_>>()))
}

/// The column that shows changes to people, in front of the others: `+I`, `-U`, `+U`, `-D`.
pub const OP_COLUMN: &str = "op";

/// `schema` with the column in front that shows changes to people.
#[must_use]
pub fn with_op_column(schema: &Schema) -> SchemaRef {
    let op = Arc::new(Field::new(OP_COLUMN, DataType::Utf8, false));
    Arc::new(Schema::new([op].into_iter().chain(schema.fields().iter().cloned()).collect::<Vec<_>>()))
}

/// A batch of changes with their operations as text in front, in the place of the changelog column; an
/// append-only batch as it is.
pub fn show_changes(batch: &RecordBatch) -> Result<RecordBatch> {
    let Some(change) = change_column_index(batch.schema_ref()) else { return Ok(batch.clone()) };
    let ops: StringArray = change_ops(batch)?.iter().map(|op| Some(op.to_string())).collect();
    let columns: Vec<usize> = (0..change).collect();
    let rows = batch.project(&columns)?;
    let shown = [Arc::new(ops) as ArrayRef].into_iter().chain(rows.columns().iter().cloned());
    Ok(RecordBatch::try_new(with_op_column(rows.schema_ref()), shown.collect())?)
}

/// Where the changelog column of `schema` is: always last, if there is one.
#[must_use]
pub fn change_column_index(schema: &Schema) -> Option<usize> {
    let last = schema.fields().len().checked_sub(1)?;
    (schema.field(last).name() == CHANGE_COLUMN).then_some(last)
}

/// The operations of a batch's rows; all inserts if the batch is append-only.
pub fn change_ops(batch: &RecordBatch) -> Result<Vec<ChangeOp>> {
    match change_column_index(batch.schema_ref()) {
        None => Ok(vec![ChangeOp::Insert; batch.num_rows()]),
        Some(index) => {
            batch.column(index).as_primitive::<Int8Type>().values().iter().map(|c| ChangeOp::from_code(*c)).collect()
        }
    }
}

/// A changelog column of these operations.
#[must_use]
pub fn change_array(ops: &[ChangeOp]) -> ArrayRef {
    Arc::new(Int8Array::from_iter_values(ops.iter().map(|op| *op as i8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_unknown_ones_are_refused() {
        for op in [ChangeOp::Insert, ChangeOp::UpdateBefore, ChangeOp::UpdateAfter, ChangeOp::Delete] {
            assert!(matches!(ChangeOp::from_code(op as i8), Ok(back) if back == op));
        }
        assert!(ChangeOp::from_code(4).is_err());
    }
}
