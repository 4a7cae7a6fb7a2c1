//! Adds to each row what the version of a model says that was served when the stream was at the row's time.
//!
//! Versions come while the stream runs, and no time of theirs says for which rows they are. So each answers from the
//! watermark on at which it comes: a row behind that is answered by the version before, however late it is, and rows in
//! front of it by the new one. That moment is state, with the versions, so an operator that is restored answers what
//! comes behind its checkpoint as if it had never gone. Rows do not wait, but for the first version.
//!
//! Instances are at different watermarks, and each begins with a version at its own.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use tidemill_plans::node::PredictNode;
use tidemill_plans::time::{EventTime, Watermark, event_time_type, event_times};
use tracing::warn;

use super::answers::{Answers, Version};
use crate::error::Result;
use crate::operator::Operator;
use crate::operator::state_rows::{least_watermark, other_columns};
use crate::rows::ArrivalBuffer;
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// Versions that are kept for late rows, with the newest. Rows of before the oldest are answered by that.
const VERSIONS_MAX: usize = 4;

/// See the [module](self).
pub(super) struct PredictLive {
    answers: Answers,
    input: SchemaRef,
    time: Option<usize>,
    /// What has come before the first version.
    waiting: ArrivalBuffer,
    /// That of the rows.
    watermark: Watermark,
    /// Oldest first.
    versions: VecDeque<Served>,
}

/// A version that was served.
struct Served {
    /// Which it is among those that have come: the same version may come again.
    number: i64,
    /// The time of the first rows that it answers.
    since: EventTime,
    version: Version,
}

impl PredictLive {
    pub(super) fn new(node: &PredictNode, input: &SchemaRef, output: SchemaRef, memory: &StateMemory) -> Self {
        Self {
            answers: Answers::new(node, output),
            input: Arc::clone(input),
            time: node.time,
            waiting: ArrivalBuffer::new(input, &memory.limited_if(node.freshness.waits())),
            watermark: Watermark::MIN,
            versions: VecDeque::new(),
        }
    }

    /// Takes versions as they come. One that is known already comes from a source that has been restored.
    fn take_versions(&mut self, batch: &RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let versions = batch.column(0).as_primitive::<Int64Type>();
        let learnt_to = event_times(batch.column(1))?;
        let numbers = batch.column(2).as_primitive::<Int64Type>();
        let states = batch.column(3).as_binary::<i32>();
        for row in 0..batch.num_rows() {
            let version = Version::new(versions.value(row), learnt_to.value(row), states.value(row));
            self.take_version(numbers.value(row), version, ctx)?;
        }
        Ok(())
    }

    fn take_version(&mut self, number: i64, mut version: Version, ctx: &mut OperatorContext) -> Result<()> {
        let Some(newest) = self.versions.back() else {
            self.versions.push_back(Served { number, since: EventTime(i64::MIN), version });
            return self.answer_waiting(ctx);
        };
        if number <= newest.number {
            return Ok(());
        }
        if let Err(reason) = self.answers.check(&mut version, &self.input, ctx) {
            let (model, version) = (self.answers.model(), version.version);
            warn!(job = %ctx.env().job, model, version, reason, "a version that this stream cannot ask is passed over");
            return Ok(());
        }
        // The watermark says that rows of its own time may still come, and as likely have.
        let since = EventTime(self.watermark.0.0.saturating_add(1));
        self.versions.push_back(Served { number, since, version });
        if self.versions.len() > VERSIONS_MAX {
            self.versions.pop_front();
        }
        Ok(())
    }

    /// Answers what has come before there was a version, and lets time go on.
    fn answer_waiting(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        while let Some(rows) = self.waiting.take_chunk()? {
            let answered = self.answer(rows, ctx)?;
            ctx.emit(answered);
        }
        ctx.emit_watermark(self.watermark);
        Ok(())
    }

    /// Answers rows by their times. Those of one version stay in their order; what an older one answers comes first.
    fn answer(&mut self, rows: RecordBatch, ctx: &OperatorContext) -> Result<RecordBatch> {
        let Some(places) = self.places(&rows)? else {
            let newest = self.versions.back_mut().map(|served| &mut served.version);
            let answer = self.answers.ask(newest, rows, ctx)?;
            return self.answers.output_rows(&[answer]);
        };
        let mut answers = Vec::new();
        for (place, served) in self.versions.iter_mut().enumerate() {
            let own: BooleanArray = places.iter().map(|of_row| Some(*of_row == place)).collect();
            if own.true_count() > 0 {
                let rows = filter_record_batch(&rows, &own)?;
                answers.push(self.answers.ask(Some(&mut served.version), rows, ctx)?);
            }
        }
        self.answers.output_rows(&answers)
    }

    /// Which version answers each row; none if that is the newest for all of them.
    fn places(&self, rows: &RecordBatch) -> Result<Option<Vec<usize>>> {
        let (Some(time), Some(newest)) = (self.time, self.versions.back()) else { return Ok(None) };
        let times = event_times(rows.column(time))?;
        if times.values().iter().all(|time| *time >= newest.since.0) {
            return Ok(None);
        }
        let place = |time: &i64| self.versions.partition_point(|served| served.since.0 <= *time).saturating_sub(1);
        Ok(Some(times.values().iter().map(place).collect()))
    }

    /// The versions as rows, oldest first.
    fn version_rows(&self) -> Result<RecordBatch> {
        let schema = Schema::new(vec![
            Field::new("version", DataType::Int64, false),
            Field::new("learnt_to", event_time_type(), false),
            Field::new("state", DataType::Binary, false),
            Field::new("number", DataType::Int64, false),
            Field::new("since", event_time_type(), false),
        ]);
        let versions = || self.versions.iter().map(|served| &served.version);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(versions().map(|version| version.version))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(versions().map(|version| version.learnt_to))),
            Arc::new(BinaryArray::from_iter_values(versions().map(|version| &version.state))),
            Arc::new(Int64Array::from_iter_values(self.versions.iter().map(|served| served.number))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(self.versions.iter().map(|served| served.since.0))),
        ];
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }

    /// Takes up the versions that instances had. Each begins where it began last: what any of them has answered with the one
    /// before is behind that.
    fn restore_versions(&mut self, state: &StateReader<'_>) -> Result<()> {
        let mut versions = Vec::new();
        for batch in state.rows("versions")? {
            let [version, learnt_to, states, number, since] = batch.columns() else { return Err(other_columns()) };
            let whole = |column: &ArrayRef| column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(other_columns);
            let (version, number) = (whole(version)?, whole(number)?);
            let states = states.as_binary_opt::<i32>().ok_or_else(other_columns)?;
            let (learnt_to, since) = (event_times(learnt_to)?, event_times(since)?);
            versions.extend((0..batch.num_rows()).map(|row| Served {
                number: number.value(row),
                since: EventTime(since.value(row)),
                version: Version::new(version.value(row), learnt_to.value(row), states.value(row)),
            }));
        }
        versions.sort_by_key(|served| (served.number, std::cmp::Reverse(served.since)));
        versions.dedup_by_key(|served| served.number);
        self.versions = versions.into();
        Ok(())
    }
}

impl Operator for PredictLive {
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        if port == 1 {
            return self.take_versions(&batch, ctx);
        }
        if self.versions.is_empty() {
            return self.waiting.push(&batch);
        }
        let answered = self.answer(batch, ctx)?;
        ctx.emit(answered);
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.watermark = watermarks.port(0);
        if !self.versions.is_empty() {
            ctx.emit_watermark(self.watermark);
        }
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        self.waiting.snapshot(Belongs::Anywhere, &mut state.part("waiting"))?;
        state.rows("versions", Belongs::ToAll, [self.version_rows()?]);
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        self.waiting.restore(&state.part("waiting"))?;
        self.restore_versions(state)
    }

    fn state_bytes(&self) -> usize {
        self.waiting.bytes() + self.versions.iter().map(|served| served.version.state.len()).sum::<usize>()
    }

    fn spilled_bytes(&self) -> u64 {
        self.waiting.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
