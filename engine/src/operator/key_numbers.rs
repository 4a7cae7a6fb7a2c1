//! Numbers for keys, from 0 on in the order in which they are first seen.
//!
//! What an operator knows of a key is then a place in a vector. DataFusion's hash tables find the
//! numbers of a batch at a time.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::error::Result;

/// See the [module](self).
pub(super) struct KeyNumbers {
    /// `None` where keys have no columns: everything has the number 0.
    values: Option<Box<dyn GroupValues>>,
}

impl KeyNumbers {
    /// For keys with the columns of `schema`. Without columns there is one key from the start.
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let values = match schema.fields().is_empty() {
            true => None,
            false => Some(new_group_values(Arc::clone(schema), &GroupOrdering::None)?),
        };
        Ok(Self { values })
    }

    /// Finds the number of each row's key.
    pub(super) fn find(&mut self, keys: &[ArrayRef], rows: usize, numbers: &mut Vec<usize>) -> Result<()> {
        match &mut self.values {
            Some(values) => Ok(values.intern(keys, numbers)?),
            None => {
                numbers.clear();
                numbers.resize(rows, 0);
                Ok(())
            }
        }
    }

    /// Whether keys have columns.
    pub(super) fn has_columns(&self) -> bool {
        self.values.is_some()
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.len())
    }

    /// The keys in the order of their numbers. Afterwards there are none.
    pub(super) fn take(&mut self) -> Result<Vec<ArrayRef>> {
        let Some(values) = &mut self.values else { return Ok(Vec::new()) };
        let keys = values.len();
        let columns = values.emit(EmitTo::All)?;
        // Emitting all leaves a multi-column map's entries in place; only this makes it empty.
        values.clear_shrink(keys);
        Ok(columns)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size())
    }
}
