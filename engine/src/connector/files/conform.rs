//! Makes what a file holds into what the source declares, and says which rows cannot be.
//!
//! A type that cannot hold a column's values in general is an error when the file is opened; a value
//! that does not fit (an overflow, a word where a number should be) makes its row a bad row: counted,
//! sent to the dead letters, left out.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch, is_null};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::task::{DeadLetter, TaskEnv};

/// Routes bad rows of one source.
#[derive(Clone)]
pub(super) struct BadRows {
    operator: String,
    env: TaskEnv,
    stats: Arc<OperatorStats>,
}

impl BadRows {
    pub(super) fn new(table: &str, env: &TaskEnv, stats: Arc<OperatorStats>) -> Self {
        Self { operator: format!("Source {table}"), env: env.clone(), stats }
    }

    pub(super) fn push(&self, reason: String, row: String) -> Result<()> {
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
        let mut good = vec![true; rows];
        let mut converted = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(self.columns.fields()) {
            let cast = cast_with_options(column, field.data_type(), &CastOptions::default())?;
            self.check(column, &cast, field, &mut good, place)?;
            converted.push(cast);
        }
        let nullable: Vec<_> = self.columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(nullable)), converted, &options)?;
        let batch = if good.contains(&false) { filter_record_batch(&batch, &BooleanArray::from(good))? } else { batch };
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.columns), batch.columns().to_vec(), &options)?)
    }

    /// Finds the rows whose value in one column did not fit.
    fn check(
        &self,
        before: &ArrayRef,
        after: &ArrayRef,
        field: &arrow::datatypes::Field,
        good: &mut [bool],
        place: &dyn Fn(usize) -> String,
    ) -> Result<()> {
        // Not `null_count`: a column of type Null and a dictionary of NULLs would have none.
        let absent = is_null(before)?;
        if after.null_count() == absent.true_count() && (field.is_nullable() || after.null_count() == 0) {
            return Ok(());
        }
        let values = ArrayFormatter::try_new(before.as_ref(), &FormatOptions::default().with_null("NULL"))?;
        for (row, good) in good.iter_mut().enumerate() {
            let lost = after.is_null(row) && !absent.value(row);
            let missing = after.is_null(row) && absent.value(row) && !field.is_nullable();
            if *good && (lost || missing) {
                *good = false;
                let wanted = if lost { field.data_type().to_string() } else { String::from("NOT NULL") };
                let reason = format!("column '{}' is '{}', not {wanted}", field.name(), values.value(row));
                self.bad_rows.push(reason, place(row))?;
            }
        }
        Ok(())
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
