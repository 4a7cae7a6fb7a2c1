//! Results on standard output: as boxes, CSV or JSON lines, and nothing else.

use std::io::{self, BufWriter, Write};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::json::WriterBuilder as JsonWriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;

use crate::error::Result;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Boxes, for people.
    Table,
    /// A header and rows.
    Csv,
    /// One object a line.
    Json,
}

/// The name of the one column of a plan, which is printed as text in a table's stead.
const PLAN_COLUMN: &str = "plan";

/// Prints one statement's rows.
pub fn print(format: Format, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let rows = concat_batches(schema, batches)?;
    match format {
        Format::Table if is_plan(&rows) => print_plan(&mut out, &rows)?,
        Format::Table => {
            let options = FormatOptions::default().with_null("NULL");
            writeln!(out, "{}", pretty_format_batches_with_options(&[rows], &options)?)?;
        }
        Format::Csv => {
            let mut writer = WriterBuilder::new().with_header(true).build(&mut out);
            writer.write(&rows)?;
        }
        Format::Json => {
            // A NULL is written: every object has all of the query's columns.
            let mut writer = JsonWriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut out);
            writer.write(&rows)?;
            writer.finish()?;
        }
    }
    Ok(out.flush()?)
}

fn is_plan(rows: &RecordBatch) -> bool {
    let schema = rows.schema_ref();
    schema.fields().len() == 1
        && schema.field(0).name() == PLAN_COLUMN
        && schema.field(0).data_type() == &DataType::Utf8
}

fn print_plan(out: &mut impl Write, rows: &RecordBatch) -> io::Result<()> {
    let lines = rows.column(0).as_string::<i32>();
    (0..lines.len()).try_for_each(|line| writeln!(out, "{}", lines.value(line)))
}
