//! Turns what a connector read into the source's rows, and says how far event time has come.
//!
//! The watermark is the greatest value so far of the WATERMARK expression, so it never goes back
//! even if a batch is old. Rows without an event time cannot be placed in time: they go to the dead
//! letters, or are left out where the source says so.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, is_not_null, max};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::node::{EventTimeSpec, NullEventTime, SourceNode};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::project::Columns;
use crate::error::Result;
use crate::task::OperatorContext;

/// See [`SourceNode`].
pub(super) struct SourceOperator {
    columns: Columns,
    time: Option<Time>,
}

struct Time {
    column: usize,
    name: String,
    watermark: Arc<dyn PhysicalExpr>,
    on_null: NullEventTime,
}

impl SourceOperator {
    pub(super) fn new(node: &SourceNode, output: SchemaRef) -> Result<Self> {
        let time = node.event_time.as_ref().map(|spec| Time::new(spec, &output)).transpose()?;
        Ok(Self { columns: Columns::new(&node.projection, &node.columns.0, output)?, time })
    }
}

impl Time {
    fn new(spec: &EventTimeSpec, output: &SchemaRef) -> Result<Self> {
        Ok(Self {
            column: spec.column,
            name: output.field(spec.column).name().clone(),
            watermark: spec.watermark.to_physical(output)?,
            on_null: spec.on_null,
        })
    }

    /// Leaves the rows without an event time out, and says where they went.
    fn without_nulls(&self, batch: RecordBatch, ctx: &OperatorContext) -> Result<RecordBatch> {
        let times = batch.column(self.column);
        if times.null_count() == 0 {
            return Ok(batch);
        }
        let known = is_not_null(times)?;
        match self.on_null {
            NullEventTime::Skip => ctx.count_skipped(times.null_count()),
            NullEventTime::DeadLetter => self.route(&batch, &known, ctx)?,
        }
        Ok(filter_record_batch(&batch, &known)?)
    }

    fn route(&self, batch: &RecordBatch, known: &BooleanArray, ctx: &OperatorContext) -> Result<()> {
        for row in (0..batch.num_rows()).filter(|row| !known.value(*row)) {
            ctx.dead_letter(format!("event time '{}' is NULL", self.name), show_row(batch, row)?)?;
        }
        Ok(())
    }

    fn watermark_of(&self, batch: &RecordBatch) -> Result<Watermark> {
        let marks = event_times(&self.watermark.evaluate(batch)?.into_array(batch.num_rows())?)?;
        Ok(max(&marks).map_or(Watermark::MIN, |mark| Watermark(EventTime(mark))))
    }
}

impl Operator for SourceOperator {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let batch = self.columns.evaluate(&batch)?;
        let Some(time) = &self.time else {
            ctx.emit(batch);
            return Ok(());
        };
        let batch = time.without_nulls(batch, ctx)?;
        if let Some(newest) = max(&event_times(batch.column(time.column))?) {
            ctx.stats().see_event_time(EventTime(newest));
        }
        let watermark = time.watermark_of(&batch)?;
        ctx.emit(batch);
        // Behind the rows: the promise is about those that follow.
        ctx.emit_watermark(watermark);
        Ok(())
    }
}

/// A row as `name=value` pairs, for people.
pub(super) fn show_row(batch: &RecordBatch, row: usize) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut text = String::new();
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(field.name());
        text.push('=');
        text.push_str(&ArrayFormatter::try_new(column.as_ref(), &options)?.value(row).to_string());
    }
    Ok(text)
}
