//! Results on standard output: as tables, CSV or JSON lines, and nothing else.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::json::WriterBuilder as JsonWriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use unicode_width::UnicodeWidthStr;

use tidemill_plans::explain::PLAN_COLUMN;
use tidemill_plans::flat::flat;

use crate::error::Result;
use crate::table;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Boxes, for people: no wider than the terminal.
    Table,
    /// A line a value, whole.
    Expanded,
    /// A header and rows.
    Csv,
    /// One object a line.
    Json,
}

/// How much wider than usual a column gets where there is room.
const GROWTH_MAX: usize = 48;

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
        Format::Table | Format::Expanded if is_plan(&rows) => print_plan(&mut out, &rows)?,
        Format::Table => match table::terminal_width() {
            Some(width) => table::write(&mut out, &names(schema), &table::cells(&rows)?, width)?,
            None => {
                let options = FormatOptions::default().with_null("NULL");
                writeln!(out, "{}", pretty_format_batches_with_options(&[rows], &options)?)?;
            }
        },
        Format::Expanded => table::write_expanded(&mut out, &names(schema), &table::cells(&rows)?)?,
        Format::Csv => {
            let mut writer = WriterBuilder::new().with_header(true).build(&mut out);
            writer.write(&*flat(&rows)?)?;
        }
        Format::Json => write_json(&mut out, &rows)?,
    }
    Ok(out.flush()?)
}

/// Rows that are printed as they come: there may be no last one to measure columns by.
#[derive(Debug)]
pub struct LiveRows {
    format: Format,
    schema: SchemaRef,
    /// How wide each column of a table is.
    widths: Vec<usize>,
    /// Whether cells are cut to that.
    are_cut: bool,
}

impl LiveRows {
    /// Rows of this schema.
    #[must_use]
    pub fn new(format: Format, schema: SchemaRef) -> Self {
        let width = |field: &Arc<Field>| usual_width(field.data_type()).max(field.name().width());
        let widths: Vec<usize> = schema.fields().iter().map(width).collect();
        let Some(room) = table::terminal_width().filter(|_| format == Format::Table) else {
            // What is wider than its column moves those behind it, and is all there.
            return Self { format, schema, widths, are_cut: false };
        };
        match table::fit(&widths, room) {
            Some(widths) => {
                let widths = widened(widths, &schema, room);
                Self { format, schema, widths, are_cut: true }
            }
            None => Self { format: Format::Expanded, schema, widths, are_cut: false },
        }
    }

    /// Prints what stands above the rows.
    pub fn print_header(&self) -> Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.format {
            Format::Table => {
                writeln!(out, "{}\n{}\n{0}", table::rule(&self.widths), self.line(&names(&self.schema)))?;
            }
            Format::Csv => {
                let empty = RecordBatch::new_empty(Arc::clone(&self.schema));
                WriterBuilder::new().with_header(true).build(&mut out).write(&*flat(&empty)?)?;
            }
            Format::Json | Format::Expanded => {}
        }
        Ok(out.flush()?)
    }

    /// Prints rows. Where there is no terminal, a value that is longer than its column is not cut.
    pub fn print(&self, rows: &RecordBatch) -> Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        match self.format {
            Format::Table => {
                table::cells(rows)?.iter().try_for_each(|row| writeln!(out, "{}", self.line(row)))?;
            }
            Format::Expanded => table::write_expanded(&mut out, &names(&self.schema), &table::cells(rows)?)?,
            Format::Csv => WriterBuilder::new().with_header(false).build(&mut out).write(&*flat(rows)?)?,
            Format::Json => write_json(&mut out, rows)?,
        }
        Ok(out.flush()?)
    }

    /// Prints what stands below the rows.
    pub fn print_end(&self) -> Result<()> {
        if self.format == Format::Table {
            writeln!(io::stdout().lock(), "{}", table::rule(&self.widths))?;
        }
        Ok(())
    }

    fn line(&self, cells: &[String]) -> String {
        if self.are_cut {
            let cells: Vec<Cow<'_, str>> = cells.iter().map(|cell| table::printable(cell)).collect();
            return table::line(&self.widths, cells.iter());
        }
        let cells: Vec<String> =
            cells.iter().zip(&self.widths).map(|(cell, width)| table::padded(cell, *width)).collect();
        format!("| {} |", cells.join(" | "))
    }
}

/// Gives columns whose values may be of any length what room is left.
fn widened(mut widths: Vec<usize>, schema: &SchemaRef, room: usize) -> Vec<usize> {
    let may_grow = |field: &Field| matches!(field.data_type(), DataType::Utf8) || field.data_type().is_nested();
    let growing = schema.fields().iter().filter(|field| may_grow(field)).count();
    let left = room.saturating_sub(table::rule(&widths).len());
    for (width, field) in widths.iter_mut().zip(schema.fields()) {
        if may_grow(field) {
            *width += (left / growing).min(GROWTH_MAX);
        }
    }
    widths
}

/// Writes an object a line. A NULL is written: every object has all of the query's columns.
fn write_json(out: &mut impl Write, rows: &RecordBatch) -> Result<()> {
    let mut writer = JsonWriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
    writer.write(rows)?;
    Ok(writer.finish()?)
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
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
