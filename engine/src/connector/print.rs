//! Prints rows on standard output as they come, one line each, with the change in front.
//! What has been printed stays: a job that goes back to a checkpoint prints what came behind it again.

use std::io::Write;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_plans::change::{change_column_index, change_ops};

use super::Sink;
use crate::error::{EngineError, Result};

/// The sink.
pub(super) struct Print {
    columns: usize,
}

impl Print {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { columns: change_column_index(&schema).unwrap_or(schema.fields().len()) }
    }
}

impl Sink for Print {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let options = FormatOptions::default().with_null("NULL");
        let columns = &batch.columns()[..self.columns];
        let formatters: Result<Vec<_>, _> =
            columns.iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
        let formatters = formatters?;
        let mut text = String::new();
        for (row, op) in change_ops(batch)?.iter().enumerate() {
            let values: Vec<String> = formatters.iter().map(|column| column.value(row).to_string()).collect();
            text.push_str(&format!("{op}[{}]\n", values.join(", ")));
        }
        std::io::stdout().lock().write_all(text.as_bytes()).map_err(|source| EngineError::File {
            action: "write",
            path: PathBuf::from("standard output"),
            source,
        })
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
