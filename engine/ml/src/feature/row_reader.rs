//! Reads rows one at a time, for models that number what they see in the order of rows.
//!
//! A block of rows is read column by column, so that new categories of a block would be numbered by columns first. Here a
//! row's categories are numbered before the next row's, so that numbers do not depend on how rows are cut into batches.

use arrow::array::RecordBatch;

use super::columns::{Columns, SparseRows};
use crate::error::Result;
use crate::model::{FeatureSchema, RejectReason};

/// The rows of one batch.
pub(crate) struct RowReader<'a> {
    columns: Columns<'a>,
    /// Room for one row.
    row: SparseRows,
    /// Of each row of the batch: that its categories are to be read.
    wanted: Vec<bool>,
}

impl<'a> RowReader<'a> {
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    pub(crate) fn new(schema: &'a FeatureSchema, batch: &'a RecordBatch) -> Result<Self> {
        let columns = Columns::resolve(schema, batch)?;
        let mut row = SparseRows::new(schema);
        row.grow(1);
        Ok(Self { wanted: vec![true; columns.rows()], columns, row })
    }

    /// The slots of a row's categories, as `slot_of` says them of each categorical feature's number and value, and its
    /// numbers, NaN where they are missing.
    ///
    /// # Errors
    /// Why the row cannot be used; its categories are not asked for then.
    pub(crate) fn read(
        &mut self,
        row: usize,
        slot_of: impl FnMut(usize, Option<&str>) -> u32,
    ) -> std::result::Result<(&[u32], &[f64]), RejectReason> {
        let mut rejected = None;
        self.columns.write_numbers(row..row + 1, &mut self.row, 0, |_, reason| {
            rejected.get_or_insert(reason);
        });
        if let Some(reason) = rejected {
            return Err(reason);
        }
        self.columns.write_categories(row..row + 1, &mut self.row, 0, &self.wanted, slot_of);
        let numbers = self.row.numbers(0);
        Ok((&self.row.row(0).0[1 + numbers.len()..], numbers))
    }
}
