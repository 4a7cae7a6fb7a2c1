//! Turns what a connector read into the source's rows, and says how far event time has come.
//!
//! The watermark is the greatest value so far of the WATERMARK expression, so it never goes back
//! even if a batch is old. Rows without an event time cannot be placed in time: they go to the dead
//! letters, or are left out where the source says so.
//!
//! A source that is backfilled says nothing of event time until all has come that was there when its job began: its rows
//! come in any order, and none of them is to be late. Where event time is the time of reading, none can be.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, is_not_null, is_null, max};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::connector::StartupMode;
use tidemill_plans::node::{EventTimeSpec, NullEventTime, SourceNode};
use tidemill_plans::time::{EventTime, Watermark, event_times};
use tracing::info;

use super::Operator;
use super::bad_rows::route;
use super::project::Columns;
use crate::error::Result;
use crate::state::{StateReader, StateWriter};
use crate::task::OperatorContext;

/// See [`SourceNode`].
pub(super) struct SourceOperator {
    columns: Columns,
    time: Option<Time>,
    /// Whether what was there is told from the rest, and what has come of it, until all has.
    is_backfilled: bool,
    past: Option<Past>,
}

/// What has come of what was there when the job began.
#[derive(Debug, Clone, Copy, bincode::Encode, bincode::Decode)]
struct Past {
    /// What is said of event time at its end.
    watermark: Watermark,
    rows: u64,
}

struct Time {
    column: usize,
    name: String,
    watermark: Arc<dyn PhysicalExpr>,
    on_null: NullEventTime,
    follows_clock: bool,
}

impl SourceOperator {
    pub(super) fn new(node: &SourceNode, output: SchemaRef) -> Result<Self> {
        let time = node.event_time.as_ref().map(|spec| Time::new(spec, node.follows_clock(), &output)).transpose()?;
        let columns = Columns::new(&node.projection, &node.read_schema(), output)?;
        let is_backfilled = StartupMode::of(&node.options) == StartupMode::Backfill;
        let past = is_backfilled.then_some(Past { watermark: Watermark::MIN, rows: 0 });
        Ok(Self { columns, time, is_backfilled, past })
    }

    /// Notes rows that are being emitted.
    fn note(&mut self, batch: &RecordBatch) {
        if let Some(past) = &mut self.past {
            past.rows += batch.num_rows() as u64;
        }
    }
}

impl Time {
    fn new(spec: &EventTimeSpec, follows_clock: bool, output: &SchemaRef) -> Result<Self> {
        Ok(Self {
            column: spec.column,
            name: output.field(spec.column).name().clone(),
            watermark: spec.watermark.to_physical(output)?,
            on_null: spec.on_null,
            follows_clock,
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
            self.note(&batch);
            ctx.emit(batch);
            return Ok(());
        };
        let batch = time.within_range(time.without_nulls(batch, ctx)?, ctx)?;
        if let Some(newest) = max(&event_times(batch.column(time.column))?) {
            ctx.stats().see_event_time(EventTime(newest));
        }
        let (watermark, follows_clock) = (time.watermark_of(&batch)?, time.follows_clock);
        self.note(&batch);
        ctx.emit(batch);
        // Behind the rows: the promise is about those that follow.
        match &mut self.past {
            Some(past) if !follows_clock => past.watermark = past.watermark.max(watermark),
            _ => ctx.emit_watermark(watermark),
        }
        Ok(())
    }

    fn on_caught_up(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let Some(past) = self.past.take() else { return Ok(()) };
        let (operator, subtask) = (ctx.name(), ctx.stats().subtask());
        info!(job = %ctx.env().job, operator, subtask, rows = past.rows, "what was there when the job began has been read");
        ctx.emit_watermark(past.watermark);
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        // Where there is none, a source goes on that was none of this kind, or its past has come to its end.
        if self.is_backfilled {
            state.value("past", &self.past)?;
        }
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        let past: Option<Option<Past>> = state.value("past")?;
        self.past = past.flatten().filter(|_| self.is_backfilled);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
