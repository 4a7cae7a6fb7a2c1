//! Fits a model to a training set, once all of it has come, and emits it.
//!
//! Rows are held as they come, on disk if they have no room; the model takes them up when the last has come. What has been
//! read is in the state, so an attempt that goes on from a checkpoint fits the same rows in the same order.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_ml::{BatchModel, FeatureSchema, FitControl, FitReport, MlError};
use tidemill_plans::catalog::{ModelVersion, UNTIMED};
use tidemill_plans::node::FitNode;
use tracing::warn;

use super::Operator;
use super::published::{Published, version_rows};
use crate::error::{EngineError, Result};
use crate::rows::{ArrivalBuffer, show_row};
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// The number of the only version.
const VERSION: i64 = 1;

/// See [`FitNode`].
pub(super) struct Fit {
    name: String,
    label: Option<usize>,
    /// Empty without one.
    label_name: String,
    held: ArrivalBuffer,
    /// Until it has been fitted.
    model: Option<Box<dyn BatchModel>>,
}

impl Fit {
    pub(super) fn new(node: &FitNode, input: &SchemaRef, memory: &StateMemory) -> Result<Self> {
        let failed = |source: MlError| EngineError::Model { model: node.model.clone(), source };
        let features: Vec<_> = node.features.iter().map(|index| Arc::clone(&input.fields()[*index])).collect();
        let schema = FeatureSchema::from_arrow(&Schema::new(features)).map_err(failed)?;
        let label = node.label.map(|label| Arc::clone(&input.fields()[label]));
        let label_type = label.as_ref().map_or(&DataType::Null, |label| label.data_type());
        let options = node.options.iter().cloned().collect();
        let model = tidemill_ml::create_batch(&node.model_type, &options, &schema, label_type);
        Ok(Self {
            name: node.model.clone(),
            label: node.label,
            label_name: label.as_ref().map(|label| label.name().clone()).unwrap_or_default(),
            held: ArrivalBuffer::new(input, memory),
            model: Some(model.map_err(failed)?),
        })
    }

    /// Fits the model to all rows, which go from here to it, some at a time.
    fn fit(&mut self, mut model: Box<dyn BatchModel>, ctx: &OperatorContext) -> Result<FitReport> {
        let failed = |source: MlError| EngineError::Model { model: self.name.clone(), source };
        while let Some(rows) = self.held.take_chunk()? {
            let labels = match self.label {
                Some(label) => Arc::clone(rows.column(label)),
                None => new_null_array(&DataType::Null, rows.num_rows()),
            };
            for bad in model.add(&rows, &labels).map_err(failed)? {
                ctx.dead_letter(&bad.reason.to_string(), || show_row(&rows, bad.row))?;
            }
        }
        model.set_control(FitControl {
            threads: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            ..FitControl::default()
        });
        let fitted = model.fit().map_err(failed)?;
        if !fitted.converged {
            warn!(
                model = self.name,
                iterations = fitted.iterations,
                "the model is used as it is after so many steps, which have not reached its tolerance; raise max_iterations"
            );
        }
        Ok(fitted)
    }

    fn publish(&self, fitted: FitReport, ctx: &mut OperatorContext) -> Result<()> {
        let rows_learnt = fitted.rows as i64;
        let version = ModelVersion {
            model: self.name.clone(),
            version: VERSION,
            learnt_to: UNTIMED,
            rows_learnt,
            metrics: fitted.metrics,
        };
        ctx.report_model(version, &self.label_name, &fitted.model);
        let version = Published { version: VERSION, learnt_to: UNTIMED, rows_learnt, state: fitted.model };
        ctx.emit(version_rows(&[version])?);
        Ok(())
    }
}

impl Operator for Fit {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, _ctx: &mut OperatorContext) -> Result<()> {
        self.held.push(&batch)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        if watermarks.min().is_end()
            && let Some(model) = self.model.take()
        {
            let fitted = self.fit(model, ctx)?;
            self.publish(fitted, ctx)?;
        }
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("is_fitted", &self.model.is_none())?;
        self.held.snapshot(Belongs::to_first(0), &mut state.part("held"))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        if state.value("is_fitted")?.unwrap_or_default() {
            self.model = None;
        }
        self.held.restore(&state.part("held"))
    }

    fn state_bytes(&self) -> usize {
        self.held.bytes()
    }

    fn spilled_bytes(&self) -> u64 {
        self.held.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
