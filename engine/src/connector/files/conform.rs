//! Makes what a file holds into what the source declares, and says which rows cannot be.
//!
//! A type that cannot hold a column's values in general is an error when the file is opened; a value
//! that does not fit (an overflow, a word where a number should be) makes its row a bad row: counted,
//! sent to the dead letters, left out.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, filter, is_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::task::{DeadLetter, TaskEnv};

/// Routes bad rows of one source.
#[derive(Clone)]
pub(super) struct BadRows {
    operator: String,
    env: TaskEnv,
    pub(super) stats: Arc<OperatorStats>,
}

impl BadRows {
    pub(super) fn new(table: &str, env: &TaskEnv, stats: Arc<OperatorStats>) -> Self {
        Self { operator: format!("Source {table}"), env: env.clone(), stats }
    }

    pub(super) fn push(&self, reason: String, row: String) -> Result<()> {
        if !self.env.dead_letters.is_first(&self.operator, &row) {
            return Ok(());
        }
        OperatorStats::add(&self.stats.dead_letter_rows, 1);
        self.env.dead_letters.push(|| Ok(DeadLetter { operator: self.operator.clone(), reason, row }))
    }
}

/// The declared columns.
#[derive(Clone)]
pub(super) struct Conform {
    pub(super) columns: SchemaRef,
    pub(super) bad_rows: BadRows,
}

impl Conform {
    pub(super) fn new(columns: SchemaRef, bad_rows: BadRows) -> Self {
        Self { columns, bad_rows }
    }

    /// Where each declared column is in a file's schema, checked to be readable as declared.
    pub(super) fn find_columns(&self, path: &Path, file: &Schema) -> Result<Vec<usize>> {
        let mut found = Vec::with_capacity(self.columns.fields().len());
        for declared in self.columns.fields() {
            let Some((index, field)) = file.fields().find(declared.name()) else {
                let names: Vec<&str> = file.fields().iter().map(|field| field.name().as_str()).collect();
                return Err(EngineError::MissingColumn {
                    path: path.to_path_buf(),
                    column: declared.name().clone(),
                    available: names.join(", "),
                });
            };
            if !readable_as(field.data_type(), declared.data_type()) {
                return Err(EngineError::ColumnType {
                    path: path.to_path_buf(),
                    column: declared.name().clone(),
                    found: field.data_type().to_string(),
                    declared: declared.data_type().to_string(),
                });
            }
            found.push(index);
        }
        Ok(found)
    }

    /// A batch of the declared columns from columns of the same order. `place` says where a row is.
    pub(super) fn convert(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        place: &dyn Fn(usize) -> String,
    ) -> Result<RecordBatch> {
        let mut batch = self.begin(rows, place);
        columns.iter().try_for_each(|column| batch.push_cast(column))?;
        batch.finish()
    }

    /// A batch of so many rows, to which the declared columns are added in their order.
    pub(super) fn begin<'a>(&'a self, rows: usize, place: &'a dyn Fn(usize) -> String) -> Conforming<'a> {
        let columns = Vec::with_capacity(self.columns.fields().len());
        Conforming { conform: self, place, good: vec![true; rows], columns }
    }
}

/// A batch that is being put together.
pub(super) struct Conforming<'a> {
    conform: &'a Conform,
    /// Says where a row is.
    place: &'a dyn Fn(usize) -> String,
    /// Which rows have fitted so far.
    good: Vec<bool>,
    columns: Vec<ArrayRef>,
}

impl Conforming<'_> {
    /// The column that is added next.
    pub(super) fn field(&self) -> &Field {
        self.conform.columns.field(self.columns.len())
    }

    /// Adds a column of another type; what does not fit makes a bad row.
    pub(super) fn push_cast(&mut self, column: &ArrayRef) -> Result<()> {
        let cast = cast_with_options(column, self.field().data_type(), &CastOptions::default())?;
        self.check(column, &cast)?;
        self.columns.push(cast);
        Ok(())
    }

    /// Adds a column of the declared type.
    pub(super) fn push(&mut self, column: ArrayRef) -> Result<()> {
        if !self.field().is_nullable() && column.null_count() > 0 {
            self.check(&column, &column)?;
        }
        self.columns.push(column);
        Ok(())
    }

    /// Makes a row a bad row, if it is not one yet.
    pub(super) fn refuse(&mut self, row: usize, reason: impl FnOnce(&Field) -> String) -> Result<()> {
        if std::mem::replace(&mut self.good[row], false) {
            self.conform.bad_rows.push(reason(self.field()), (self.place)(row))?;
        }
        Ok(())
    }

    /// Finds the rows whose value in the next column did not fit.
    fn check(&mut self, before: &ArrayRef, after: &ArrayRef) -> Result<()> {
        // Not `null_count`: a column of type Null and a dictionary of NULLs would have none.
        let absent = is_null(before)?;
        let nullable = self.field().is_nullable();
        if after.null_count() == absent.true_count() && (nullable || after.null_count() == 0) {
            return Ok(());
        }
        let values = ArrayFormatter::try_new(before.as_ref(), &FormatOptions::default().with_null("NULL"))?;
        for row in 0..after.len() {
            let lost = after.is_null(row) && !absent.value(row);
            let missing = after.is_null(row) && absent.value(row) && !nullable;
            if lost || missing {
                self.refuse(row, |field| {
                    let wanted = if lost { field.data_type().to_string() } else { String::from("NOT NULL") };
                    format!("column '{}' is '{}', not {wanted}", field.name(), values.value(row))
                })?;
            }
        }
        Ok(())
    }

    /// The rows that fit.
    pub(super) fn finish(self) -> Result<RecordBatch> {
        let columns = &self.conform.columns;
        if !self.good.contains(&false) {
            let options = RecordBatchOptions::new().with_row_count(Some(self.good.len()));
            return Ok(RecordBatch::try_new_with_options(Arc::clone(columns), self.columns, &options)?);
        }
        let good = BooleanArray::from(self.good);
        let fitting = self.columns.iter().map(|column| filter(column, &good)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(good.true_count()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(columns), fitting, &options)?)
    }
}

/// Whether values of one type are, bar some that are too large, values of another.
fn readable_as(found: &DataType, declared: &DataType) -> bool {
    use DataType::{Boolean, Date32, Date64, Decimal128, Dictionary, LargeUtf8, Null, Timestamp, Utf8, Utf8View};
    let text = |t: &DataType| matches!(t, Utf8 | LargeUtf8 | Utf8View);
    match (found, declared) {
        (a, b) if a == b => true,
        (Null, _) => true,
        (Dictionary(_, values), b) => readable_as(values, b),
        (a, b) if text(a) && text(b) => true,
        (a, b) if a.is_integer() && b.is_numeric() => true,
        (a, b) if a.is_floating() && b.is_floating() => true,
        (Decimal128(..), b) => b.is_floating() || matches!(b, Decimal128(..)),
        (Timestamp(_, a), Timestamp(_, b)) => a.is_none() == b.is_none(),
        (Date32 | Date64, Timestamp(_, None) | Date32 | Date64) => true,
        (Boolean, b) => text(b),
        _ => false,
    }
}
