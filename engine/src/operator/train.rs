//! Learns a model in event-time order and emits its versions.
//!
//! Rows wait until the watermark closes their interval. They are then learnt in a canonical order
//! (event time, then all columns), and a version is emitted that says up to which event time it has
//! learnt. So the weights do not depend on how batches interleaved or on parallelism upstream, and a
//! replay gives the same bits.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, NullArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use tidemill_ml::metrics::{StreamingAuc, StreamingAucState};
use tidemill_ml::{FeatureSchema, LearnReport, MlError, OnlineModel};
use tidemill_plans::catalog::ModelVersion;
use tidemill_plans::node::{Published, TrainNode, version_rows};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::late_rows::without_late;
use super::state_rows::{least_watermark, other_columns};
use crate::error::{EngineError, Result};
use crate::rows::{EventTimeBuffer, show_row};
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{EndReason, OperatorContext, PortWatermarks};

/// Rows over which the prequential AUC that people watch is taken.
const AUC_WINDOW_ROWS: u64 = 50_000;

/// Bytes of model versions that are emitted together.
const VERSIONS_BYTES: usize = 1 << 18;

/// See [`TrainNode`].
pub(super) struct Train {
    name: String,
    label: Option<usize>,
    /// Empty without a label.
    label_name: String,
    time: usize,
    publish_every: i64,
    waiting: EventTimeBuffer,
    watermark: Watermark,
    model: Box<dyn OnlineModel>,
    version: i64,
    auc: StreamingAuc,
    /// Whether the label has two classes: of others nothing is measured yet.
    has_auc: bool,
    /// Bytes of the last version: about what the model takes.
    model_bytes: usize,
}

impl Train {
    pub(super) fn new(node: &TrainNode, input: SchemaRef, memory: &StateMemory) -> Result<Self> {
        let failed = |source: MlError| EngineError::Model { model: node.model.clone(), source };
        let features: Vec<_> = node.features.iter().map(|index| Arc::clone(&input.fields()[*index])).collect();
        let schema = FeatureSchema::from_arrow(&Schema::new(features)).map_err(failed)?;
        let options = node.options.iter().cloned().collect();
        let label = node.label.map(|label| Arc::clone(&input.fields()[label]));
        let label_type = label.as_ref().map_or(&DataType::Null, |label| label.data_type());
        Ok(Self {
            name: node.model.clone(),
            label: node.label,
            label_name: label.as_ref().map(|label| label.name().clone()).unwrap_or_default(),
            time: node.time,
            publish_every: node.publish_every,
            waiting: EventTimeBuffer::new(input, node.time, memory),
            watermark: Watermark::MIN,
            model: tidemill_ml::create(&node.model_type, &options, &schema, label_type).map_err(failed)?,
            version: 0,
            auc: StreamingAuc::with_window(AUC_WINDOW_ROWS),
            has_auc: label_type == &DataType::Boolean,
            model_bytes: 0,
        })
    }

    fn failed(&self, source: MlError) -> EngineError {
        EngineError::Model { model: self.name.clone(), source }
    }

    /// Start of the interval that a watermark is in.
    fn interval_start(&self, watermark: Watermark) -> EventTime {
        EventTime(watermark.0.0.div_euclid(self.publish_every).saturating_mul(self.publish_every))
    }

    /// Learns rows in canonical order, one version an interval.
    fn learn(&mut self, rows: &RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let times = event_times(rows.column(self.time))?;
        let times = times.values();
        let (mut versions, mut bytes) = (Vec::new(), 0);
        let mut start = 0;
        while start < times.len() {
            let end = interval_end(times[start], self.publish_every);
            let length = times[start..].partition_point(|time| *time < end);
            // An interval without usable rows leaves the model as the last version has it.
            if self.learn_interval(&rows.slice(start, length), ctx)? > 0 {
                let version = self.publish(end, ctx)?;
                bytes += version.state.len();
                versions.push(version);
            }
            // A watermark can close any number of intervals: their versions travel in small batches.
            if bytes >= VERSIONS_BYTES {
                ctx.emit(version_rows(&std::mem::take(&mut versions))?);
                bytes = 0;
            }
            start += length;
        }
        ctx.emit(version_rows(&versions)?);
        Ok(())
    }

    /// Learns rows; returns how many could be learnt.
    fn learn_interval(&mut self, rows: &RecordBatch, ctx: &OperatorContext) -> Result<u64> {
        let labels: ArrayRef = match self.label {
            Some(label) => Arc::clone(rows.column(label)),
            None => Arc::new(NullArray::new(rows.num_rows())),
        };
        let report = self.model.learn(rows, labels.as_ref()).map_err(|error| self.failed(error))?;
        let LearnReport { rows: learnt, rejected, said } = report;
        for row in rejected {
            ctx.dead_letter(&row.reason.to_string(), || show_row(rows, row.row))?;
        }
        if let Some(labels) = labels.as_boolean_opt() {
            self.measure(labels, &said);
        }
        Ok(learnt)
    }

    /// Measures what was said of rows with two classes before they were learnt: the label and the probability that it is
    /// true.
    fn measure(&mut self, labels: &BooleanArray, said: &[ArrayRef]) {
        let Some(scores) = said.last().and_then(|scores| scores.as_primitive_opt::<Float64Type>()) else { return };
        for (score, label) in scores.iter().zip(labels) {
            if let (Some(score), Some(label)) = (score, label) {
                self.auc.push(score, label);
            }
        }
    }

    fn publish(&mut self, learnt_to: i64, ctx: &OperatorContext) -> Result<Published<Vec<u8>>> {
        self.version += 1;
        let rows_learnt = self.model.rows_learnt() as i64;
        let state = self.model.snapshot().map_err(|error| self.failed(error))?;
        let auc = self.has_auc.then(|| (String::from("auc"), self.auc.auc().unwrap_or(f64::NAN)));
        let version = ModelVersion {
            model: self.name.clone(),
            version: self.version,
            learnt_to,
            rows_learnt,
            metrics: auc.into_iter().collect(),
        };
        ctx.report_model(version, &self.label_name, &state);
        self.model_bytes = state.len();
        Ok(Published { version: self.version, learnt_to, rows_learnt, state })
    }
}

/// End of the interval, of so many microseconds, that `time` is in: when a label of that time may be used.
fn interval_end(time: i64, interval: i64) -> i64 {
    time.div_euclid(interval).saturating_add(1).saturating_mul(interval)
}

/// A model's bytes as a table: they are far more than a value may be.
fn model_row(bytes: &[u8]) -> Result<RecordBatch> {
    let schema = Schema::new(vec![Field::new("model", DataType::Binary, false)]);
    Ok(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(BinaryArray::from_iter_values([bytes]))])?)
}

impl Operator for Train {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let learnt_to = self.interval_start(self.watermark);
        // A late row's interval has been published: learning it now would depend on when it came.
        self.waiting.push(without_late(batch, self.time, learnt_to, ctx)?)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        let watermark = watermarks.min();
        self.watermark = watermark;
        let bound = if watermark.is_end() { EventTime::MAX } else { self.interval_start(watermark) };
        // An interval is never parted: it makes one version.
        let interval = self.publish_every;
        let last = |time| interval_end(time, interval).saturating_sub(1);
        while let Some(rows) = self.waiting.take_stretch_before(bound, last)? {
            self.learn(&rows, ctx)?;
        }
        ctx.emit_watermark(watermark);
        Ok(())
    }

    fn on_end(&mut self, reason: EndReason, _ctx: &mut OperatorContext) -> Result<()> {
        if reason == EndReason::Finished {
            self.model.require_classes().map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        state.value("version", &self.version)?;
        state.value("auc", &self.auc.state())?;
        state.value("model_bytes", &self.model_bytes)?;
        self.waiting.snapshot(Belongs::to_first(0), &mut state.part("waiting"))?;
        let model = self.model.snapshot().map_err(|error| self.failed(error))?;
        state.rows("model", Belongs::to_first(0), [model_row(&model)?]);
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        self.version = state.value("version")?.unwrap_or_default();
        self.model_bytes = state.value("model_bytes")?.unwrap_or_default();
        if let Some(auc) = state.value::<StreamingAucState>("auc")? {
            self.auc = StreamingAuc::from_state(AUC_WINDOW_ROWS, auc).map_err(|error| self.failed(error))?;
        }
        if let Some(rows) = state.rows("model")?.first() {
            let bytes = rows.column(0).as_binary_opt::<i32>().ok_or_else(other_columns)?;
            self.model = tidemill_ml::restore(bytes.value(0)).map_err(|error| self.failed(error))?;
        }
        self.waiting.restore(&state.part("waiting"))
    }

    fn state_bytes(&self) -> usize {
        self.waiting.bytes() + self.model_bytes
    }

    fn spilled_bytes(&self) -> u64 {
        self.waiting.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
