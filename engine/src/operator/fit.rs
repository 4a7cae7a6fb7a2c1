//! Fits a model to a training set, once all of it has come, and emits it.
//!
//! Rows are held as they come, on disk if they have no room; the model takes them up when the last has come. What has been
//! read is in the state, so an attempt that goes on from a checkpoint fits the same rows in the same order.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::state::{Belongs, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks, TaskEnv};

/// The number of the only version.
const VERSION: i64 = 1;

/// See [`FitNode`].
pub(super) struct Fit {
    name: String,
    label: Option<usize>,
    /// Empty without one.
    label_name: String,
    held: ArrivalBuffer,
    interrupt: Arc<AtomicBool>,
    /// Until it is fitted.
    model: Option<Box<dyn BatchModel>>,
    /// False of one whose fit was ended, too: its rows are gone, and whoever were to go on from there fails for want of them.
    is_fitted: bool,
}

impl Fit {
    pub(super) fn new(node: &FitNode, input: &SchemaRef, env: &TaskEnv) -> Result<Self> {
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
            held: ArrivalBuffer::new(input, &env.state_memory),
            interrupt: Arc::clone(&env.interrupt),
            model: Some(model.map_err(failed)?),
            is_fitted: false,
        })
    }

    /// Fits the model to all rows, which go from here to it, some at a time. Nothing if somebody has ended that.
    fn fit(&mut self, mut model: Box<dyn BatchModel>, ctx: &OperatorContext) -> Result<Option<FitReport>> {
        let failed = |source: MlError| EngineError::Model { model: self.name.clone(), source };
        while let Some(rows) = self.held.take_chunk()? {
            if self.interrupt.load(Ordering::Relaxed) {
                return Ok(None);
            }
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
            stop: Arc::clone(&self.interrupt),
        });
        let fitted = match model.fit() {
            Err(MlError::Stopped) => return Ok(None),
            fitted => fitted.map_err(failed)?,
        };
        if !fitted.converged {
            warn!(
                model = self.name,
                iterations = fitted.iterations,
                "the model is used as it is after so many steps, which have not reached its tolerance; raise max_iterations"
            );
        }
        Ok(Some(fitted))
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
            // Whoever has ended the fit cuts the task off next.
            let Some(fitted) = self.fit(model, ctx)? else { return Ok(()) };
            self.publish(fitted, ctx)?;
            self.is_fitted = true;
        }
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("is_fitted", &self.is_fitted)?;
        self.held.snapshot(Belongs::to_first(0), &mut state.part("held"))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.is_fitted = state.value("is_fitted")?.unwrap_or_default();
        if self.is_fitted {
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

    /// A fit may take hours.
    fn is_io(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
