//! Turns what a connector read into the source's rows, and says how far event time has come.
//!
//! The watermark is the greatest value so far of the WATERMARK expression, so it never goes back
//! even if a batch is old. Rows without an event time cannot be placed in time: they go to the dead
//! letters, or are left out where the source says so.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, is_not_null, is_null, max};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::node::{EventTimeSpec, NullEventTime, SourceNode};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::bad_rows::route;
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
        Ok(Self { columns: Columns::new(&node.projection, &node.read_schema(), output)?, time })
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
        match self.on_null {
            NullEventTime::DeadLetter => {
                let reason = format!("event time '{}' is NULL", self.name);
                let nulls = is_null(times)?;
                route(batch, &nulls, &reason, ctx)
            }
            NullEventTime::Skip => {
                ctx.count_skipped(times.null_count());
                let known = is_not_null(times)?;
                Ok(filter_record_batch(&batch, &known)?)
            }
        }
    }

    /// Leaves out the rows that are so far away in time that windows and bounds could not be computed.
    fn within_range(&self, batch: RecordBatch, ctx: &OperatorContext) -> Result<RecordBatch> {
        let times = event_times(batch.column(self.column))?;
        let far: BooleanArray = times.values().iter().map(|time| Some(!EventTime(*time).is_valid())).collect();
        let reason = format!("event time '{}' is more than {} years from 1970", self.name, EventTime::YEARS_MAX);
        route(batch, &far, &reason, ctx)
    }

    fn watermark_of(&self, batch: &RecordBatch) -> Result<Watermark> {
        let marks = event_times(&self.watermark.evaluate(batch)?.into_array(batch.num_rows())?)?;
        Ok(max(&marks).map_or(Watermark::MIN, |mark| Watermark(EventTime(mark))))
    }
}

impl Operator for SourceOperator {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let batch = self.columns.evaluate_or_route(batch, ctx)?;
        let Some(time) = &self.time else {
            ctx.emit(batch);
            return Ok(());
        };
        let batch = time.within_range(time.without_nulls(batch, ctx)?, ctx)?;
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

#[cfg(test)]
mod tests;
