//! Rows of clients as a source has them: columns by name, values cast to its types.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use crate::error::{CoordinatorError, Result};

/// How the rows of one client become those of a source.
#[derive(Debug)]
pub(crate) struct Fit {
    columns: SchemaRef,
    /// Where the client has each column.
    places: Vec<Option<usize>>,
}

impl Fit {
    /// From rows of one schema to rows of the other. An error says which column does not fit.
    pub(crate) fn new(given: &Schema, columns: SchemaRef) -> Result<Self> {
        let names =
            |schema: &Schema| schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        if let Some(unknown) = given.fields().iter().find(|field| columns.column_with_name(field.name()).is_none()) {
            return Err(wrong(format!("there is no column '{}'; there are: {}", unknown.name(), names(&columns))));
        }
        let mut places = Vec::new();
        for field in columns.fields() {
            let place = given.index_of(field.name()).ok();
            match place.map(|place| given.field(place).data_type()) {
                None if !field.is_nullable() => {
                    return Err(wrong(format!("column '{}' is missing, which is NOT NULL", field.name())));
                }
                Some(found) if !can_cast_types(found, field.data_type()) => {
                    let wanted = field.data_type();
                    return Err(wrong(format!(
                        "column '{}' is {found}, which cannot be cast to {wanted}",
                        field.name()
                    )));
                }
                _ => places.push(place),
            }
        }
        Ok(Self { columns, places })
    }

    /// Rows as the source has them. An error says which column has a value that it does not take.
    pub(crate) fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.places.iter().zip(self.columns.fields()).map(|(place, field)| match place {
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
            Some(place) => cast(rows.column(*place), field.data_type())
                .map_err(|error| wrong(format!("column '{}': {error}", field.name()))),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let columns: Result<Vec<ArrayRef>> = columns.collect();
        RecordBatch::try_new_with_options(Arc::clone(&self.columns), columns?, &options)
            .map_err(|error| wrong(error.to_string()))
    }
}

/// Casts values; one that the type does not have is an error, and no NULL.
fn cast(values: &ArrayRef, to: &DataType) -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    cast_with_options(values, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn wrong(message: String) -> CoordinatorError {
    CoordinatorError::Statement { message: format!("these rows do not fit: {message}") }
}
