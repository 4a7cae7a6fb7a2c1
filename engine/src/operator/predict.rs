//! Adds to each row what the model says that belongs to its event time: predictions, why they are so, anomalies. Or gives
//! the features that it makes of the row.
//!
//! The model's versions are the other input, aligned by watermark like any stream: a row at time t is
//! answered by the newest version that has learnt from labels before or at t only. In consistent mode
//! it waits until that version is certain, so a replay gives the same predictions. Rows without a time wait for the
//! last version.
//!
//! Versions of a model that is served are another matter: see [`live`].

mod answers;
mod live;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use tidemill_plans::node::{ModelFreshness, PredictNode};
use tidemill_plans::time::{EventTime, Watermark, event_time_type, event_times};

use self::answers::{Answer, Answers, Version};
use super::Operator;
use super::late_rows::without_late;
use super::state_rows::{least_watermark, other_columns};
use crate::error::Result;
use crate::rows::{ArrivalBuffer, EventTimeBuffer};
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// Bytes of model versions that are written in one batch.
const VERSIONS_BYTES: usize = 1 << 24;

/// The operator of a node.
pub(super) fn operator(
    node: &PredictNode,
    input: &SchemaRef,
    output: SchemaRef,
    memory: &StateMemory,
) -> Box<dyn Operator> {
    match node.freshness {
        ModelFreshness::Live => Box::new(live::PredictLive::new(node, input, output, memory)),
        _ => Box::new(Predict::new(node, input, output, memory)),
    }
}

/// See [`PredictNode`].
struct Predict {
    answers: Answers,
    freshness: ModelFreshness,
    waiting: Waiting,
    watermark: Watermark,
    /// That of the versions: what was learnt before it has come.
    known_to: Watermark,
    /// By `learnt_to`, oldest first.
    versions: VecDeque<Version>,
}

/// Rows that wait for their version.
enum Waiting {
    /// Until time has passed the one in this column.
    Timed { time: usize, rows: EventTimeBuffer },
    /// Until the last version has come.
    Untimed(ArrivalBuffer),
}

impl Waiting {
    fn new(time: Option<usize>, input: &SchemaRef, memory: &StateMemory) -> Self {
        match time {
            Some(time) => Self::Timed { time, rows: EventTimeBuffer::new(Arc::clone(input), time, memory) },
            None => Self::Untimed(ArrivalBuffer::new(input, memory)),
        }
    }

    /// Some of the rows whose versions are known, and the column of their time.
    fn take_chunk(&mut self, known_to: EventTime) -> Result<Option<(RecordBatch, Option<usize>)>> {
        Ok(match self {
            Self::Timed { time, rows } => rows.take_chunk_before(known_to)?.map(|rows| (rows, Some(*time))),
            Self::Untimed(rows) if known_to == EventTime::MAX => rows.take_chunk()?.map(|rows| (rows, None)),
            Self::Untimed(_) => None,
        })
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        match self {
            Self::Timed { rows, .. } => rows.snapshot(Belongs::Anywhere, state),
            Self::Untimed(rows) => rows.snapshot(Belongs::Anywhere, state),
        }
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        match self {
            Self::Timed { rows, .. } => rows.restore(state),
            Self::Untimed(rows) => rows.restore(state),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Timed { rows, .. } => rows.bytes(),
            Self::Untimed(rows) => rows.bytes(),
        }
    }

    fn disk_bytes(&self) -> u64 {
        match self {
            Self::Timed { rows, .. } => rows.disk_bytes(),
            Self::Untimed(rows) => rows.disk_bytes(),
        }
    }
}

impl Predict {
    fn new(node: &PredictNode, input: &SchemaRef, output: SchemaRef, memory: &StateMemory) -> Self {
        let memory = memory.limited_if(node.freshness.waits());
        Self {
            answers: Answers::new(node, output),
            freshness: node.freshness,
            waiting: Waiting::new(node.time, input, &memory),
            watermark: Watermark::MIN,
            known_to: Watermark::MIN,
            versions: VecDeque::new(),
        }
    }

    fn take_versions(&mut self, batch: &RecordBatch) -> Result<()> {
        let versions = batch.column(0).as_primitive::<Int64Type>();
        let learnt_to = event_times(batch.column(1))?;
        let states = batch.column(3).as_binary::<i32>();
        for row in 0..batch.num_rows() {
            self.versions.push_back(Version::new(versions.value(row), learnt_to.value(row), states.value(row)));
        }
        Ok(())
    }

    /// Answers what waits for versions of before this time. Rows without a time wait for all of them.
    fn answer_waiting(&mut self, known_to: EventTime, ctx: &mut OperatorContext) -> Result<()> {
        while let Some((rows, time)) = self.waiting.take_chunk(known_to)? {
            let answered = self.answer(rows, time, ctx)?;
            ctx.emit(answered);
        }
        Ok(())
    }

    /// Answers rows, those with a time in this column by what was known then; these are in its order.
    fn answer(&mut self, rows: RecordBatch, time: Option<usize>, ctx: &OperatorContext) -> Result<RecordBatch> {
        let Some(time) = time else {
            let newest = self.versions.len().checked_sub(1);
            let answer = self.ask(newest, rows, ctx)?;
            return self.answers.output_rows(&[answer]);
        };
        let times = event_times(rows.column(time))?.clone();
        let times = times.values();
        let mut answers = Vec::new();
        let mut start = 0;
        while start < times.len() {
            let known = self.versions.partition_point(|version| version.learnt_to <= times[start]);
            let until = self.versions.get(known).map_or(i64::MAX, |next| next.learnt_to);
            let length = times[start..].partition_point(|time| *time < until).max(1);
            answers.push(self.ask(known.checked_sub(1), rows.slice(start, length), ctx)?);
            start += length;
        }
        self.answers.output_rows(&answers)
    }

    fn ask(&mut self, version: Option<usize>, rows: RecordBatch, ctx: &OperatorContext) -> Result<Answer> {
        // Rows come in event-time order: the version before this one has answered its last.
        if let Some(passed) = version.and_then(|index| self.versions.get_mut(index.checked_sub(1)?)) {
            passed.restored = None;
        }
        self.answers.ask(version.and_then(|index| self.versions.get_mut(index)), rows, ctx)
    }

    /// The versions as rows, oldest first.
    fn version_rows(&self) -> Result<Vec<RecordBatch>> {
        let (mut batches, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
        for version in &self.versions {
            chunk.push(version);
            bytes += version.state.len();
            if bytes >= VERSIONS_BYTES {
                batches.push(version_batch(&std::mem::take(&mut chunk))?);
                bytes = 0;
            }
        }
        batches.push(version_batch(&chunk)?);
        Ok(batches)
    }

    /// Takes up the versions that instances had: most of them had the same ones.
    fn restore_versions(&mut self, state: &StateReader<'_>) -> Result<()> {
        let mut versions = Vec::new();
        for batch in state.rows("versions")? {
            let [version, learnt_to, states] = batch.columns() else { return Err(other_columns()) };
            let version = version.as_primitive_opt::<Int64Type>().ok_or_else(other_columns)?;
            let states = states.as_binary_opt::<i32>().ok_or_else(other_columns)?;
            let learnt_to = event_times(learnt_to)?;
            versions.extend(
                (0..batch.num_rows())
                    .map(|row| Version::new(version.value(row), learnt_to.value(row), states.value(row))),
            );
        }
        versions.sort_by_key(|version| (version.learnt_to, version.version));
        versions.dedup_by_key(|version| version.version);
        self.versions = versions.into();
        Ok(())
    }

    /// Drops the versions that no later row can ask for: all but the newest before `bound`.
    fn drop_old_versions(&mut self, bound: EventTime) {
        let known = self.versions.partition_point(|version| version.learnt_to <= bound.0);
        self.versions.drain(..known.saturating_sub(1));
    }
}

fn version_batch(versions: &[&Version]) -> Result<RecordBatch> {
    let schema = Schema::new(vec![
        Field::new("version", DataType::Int64, false),
        Field::new("learnt_to", event_time_type(), false),
        Field::new("state", DataType::Binary, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(versions.iter().map(|version| version.version))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(versions.iter().map(|version| version.learnt_to))),
        Arc::new(BinaryArray::from_iter_values(versions.iter().map(|version| &version.state))),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

impl Operator for Predict {
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        if port == 1 {
            return self.take_versions(&batch);
        }
        match &mut self.waiting {
            Waiting::Timed { time, rows } => rows.push(without_late(batch, *time, self.watermark.0, ctx)?)?,
            Waiting::Untimed(rows) => rows.push(&batch)?,
        }
        let known = if self.freshness.waits() { self.known_to.0 } else { EventTime::MAX };
        if self.freshness == ModelFreshness::Latest || matches!(self.waiting, Waiting::Untimed(_)) {
            self.answer_waiting(known, ctx)?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.watermark = watermarks.port(0);
        if self.freshness == ModelFreshness::Latest {
            self.drop_old_versions(watermarks.port(0).0);
            ctx.emit_watermark(watermarks.port(0));
            return Ok(());
        }
        self.known_to = watermarks.port(1);
        self.answer_waiting(self.known_to.0, ctx)?;
        self.drop_old_versions(watermarks.min().0);
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        state.value("known_to", &self.known_to)?;
        self.waiting.snapshot(&mut state.part("waiting"))?;
        state.rows("versions", Belongs::ToAll, self.version_rows()?);
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        self.known_to = least_watermark(state, "known_to")?;
        self.waiting.restore(&state.part("waiting"))?;
        self.restore_versions(state)
    }

    fn state_bytes(&self) -> usize {
        self.waiting.bytes() + self.versions.iter().map(|version| version.state.len()).sum::<usize>()
    }

    fn spilled_bytes(&self) -> u64 {
        self.waiting.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
