//! Results on standard output: as boxes, CSV or JSON lines, and nothing else.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::json::WriterBuilder as JsonWriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::{ArrayFormatter, FormatOptions};
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

/// A plan as rows, a line each.
pub fn plan(text: &str) -> Result<RecordBatch> {
    let lines: ArrayRef = Arc::new(StringArray::from(text.lines().collect::<Vec<_>>()));
    Ok(RecordBatch::try_from_iter([(PLAN_COLUMN, lines)])?)
}

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

/// Rows that are printed as they come: there may be no last one to measure columns by.
#[derive(Debug)]
pub struct LiveRows {
    format: Format,
    schema: SchemaRef,
    /// Characters of each column of a table.
    widths: Vec<usize>,
}

impl LiveRows {
    /// Rows of this schema.
    #[must_use]
    pub fn new(format: Format, schema: SchemaRef) -> Self {
        let width = |field: &Arc<Field>| usual_width(field.data_type()).max(field.name().chars().count());
        let widths = schema.fields().iter().map(width).collect();
        Self { format, schema, widths }
    }

    /// Prints what stands above the rows.
    pub fn print_header(&self) -> Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.format {
            Format::Table => {
                let names = self.schema.fields().iter().map(|field| field.name().clone());
                writeln!(out, "{}\n{}\n{0}", self.rule(), self.line(names))?;
            }
            Format::Csv => {
                let empty = RecordBatch::new_empty(Arc::clone(&self.schema));
                WriterBuilder::new().with_header(true).build(&mut out).write(&empty)?;
            }
            Format::Json => {}
        }
        Ok(out.flush()?)
    }

    /// Prints rows. A value that is longer than its column is not cut.
    pub fn print(&self, rows: &RecordBatch) -> Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.format {
            Format::Table => {
                let options = FormatOptions::default().with_null("NULL");
                let columns: Result<Vec<_>, _> =
                    rows.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
                let columns = columns?;
                for row in 0..rows.num_rows() {
                    let values = columns.iter().map(|column| column.value(row).to_string());
                    writeln!(out, "{}", self.line(values))?;
                }
            }
            Format::Csv => WriterBuilder::new().with_header(false).build(&mut out).write(rows)?,
            Format::Json => {
                let builder = JsonWriterBuilder::new().with_explicit_nulls(true);
                let mut writer = builder.build::<_, LineDelimited>(&mut out);
                writer.write(rows)?;
                writer.finish()?;
            }
        }
        Ok(out.flush()?)
    }

    /// Prints what stands below the rows.
    pub fn print_end(&self) -> Result<()> {
        if self.format == Format::Table {
            writeln!(io::stdout().lock(), "{}", self.rule())?;
        }
        Ok(())
    }

    fn rule(&self) -> String {
        let dashes: Vec<String> = self.widths.iter().map(|width| "-".repeat(width + 2)).collect();
        format!("+{}+", dashes.join("+"))
    }

    fn line(&self, values: impl Iterator<Item = String>) -> String {
        let cells: Vec<String> = values.zip(&self.widths).map(|(value, width)| format!(" {value:width$} ")).collect();
        format!("|{}|", cells.join("|"))
    }
}

/// How wide most values of a type are.
fn usual_width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean => 5,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::Date32 => {
            10
        }
        DataType::Timestamp(..) => 26,
        DataType::Utf8 => 16,
        _ => 20,
    }
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
