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
use tidemill_ml::{BatchModel, FitControl, FitReport, MlError, feature_schema};
use tidemill_plans::PlanError;
use tidemill_plans::algorithm::SPLIT_COLUMN;
use tidemill_plans::catalog::{ModelVersion, UNTIMED};
use tidemill_plans::node::FitNode;
use tidemill_plans::transform::{FittedTransform, PreparedTransform, Transform, TransformFit, seal};
use tracing::warn;

use super::Operator;
use super::bad_rows::evaluate_or_route;
use super::published::{Published, version_rows};
use crate::error::{EngineError, Result};
use crate::rows::{ArrivalBuffer, show_row};
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks, TaskEnv};

/// See [`FitNode`].
pub(super) struct Fit {
    name: String,
    /// The number of its version.
    version: i64,
    label: Option<usize>,
    /// Empty without one.
    label_name: String,
    /// What its features are made of, and how.
    transform: Option<Transform>,
    /// The column by which the rows are split, if they are by one.
    split: Option<usize>,
    held: ArrivalBuffer,
    /// Where rows are held once the statistics of all are known.
    memory: StateMemory,
    input: SchemaRef,
    interrupt: Arc<AtomicBool>,
    /// Until it is fitted.
    model: Option<Box<dyn BatchModel>>,
    /// False of one whose fit was ended, too: its rows are gone, and whoever were to go on from there fails for want of them.
    is_fitted: bool,
}

impl Fit {
    pub(super) fn new(node: &FitNode, input: &SchemaRef, env: &TaskEnv) -> Result<Self> {
        let failed = |source: MlError| EngineError::Model { model: node.model.clone(), source };
        let features = match &node.transform {
            Some(transform) => transform.outputs()?,
            None => Arc::new(input.project(&node.features)?),
        };
        let schema = feature_schema(&node.model_type, &features).map_err(failed)?;
        let label = node.label.map(|label| Arc::clone(&input.fields()[label]));
        let label_type = label.as_ref().map_or(&DataType::Null, |label| label.data_type());
        let options = node.options.iter().cloned().collect();
        let model = tidemill_ml::create_batch(&node.model_type, &options, &schema, label_type);
        Ok(Self {
            name: node.model.clone(),
            version: node.version,
            label: node.label,
            label_name: label.as_ref().map(|label| label.name().clone()).unwrap_or_default(),
            transform: node.transform.clone(),
            split: split_column(node, input),
            held: ArrivalBuffer::new(input, &env.state_memory),
            memory: env.state_memory.clone(),
            input: Arc::clone(input),
            interrupt: Arc::clone(&env.interrupt),
            model: Some(model.map_err(failed)?),
            is_fitted: false,
        })
    }

    /// Whether somebody has ended the fit.
    fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Collects what features need to know of all rows. Rows whose features cannot be computed are dead letters, and the
    /// others are held again: they are needed a second time.
    fn fit_transform(&mut self, transform: &Transform, ctx: &OperatorContext) -> Result<Option<FittedTransform>> {
        let model = self.name.clone();
        let failed = |source: PlanError| EngineError::Features { model: model.clone(), source };
        let mut fit = TransformFit::new(transform)?;
        let mut again = ArrivalBuffer::new(&self.input, &self.memory);
        while let Some(rows) = self.held.take_chunk()? {
            if self.is_interrupted() {
                return Ok(None);
            }
            let (rows, arguments) = evaluate_or_route(rows, ctx, |rows| Ok(fit.arguments(rows)?))?;
            fit.add(&arguments).map_err(failed)?;
            again.push(&rows)?;
        }
        self.held = again;
        fit.finish().map(Some).map_err(failed)
    }

    /// Has the model take up all rows, which go from here to it, some at a time. False if somebody has ended that.
    fn add_rows(
        &mut self,
        model: &mut dyn BatchModel,
        transform: Option<&PreparedTransform>,
        ctx: &OperatorContext,
    ) -> Result<bool> {
        while let Some(rows) = self.held.take_chunk()? {
            if self.is_interrupted() {
                return Ok(false);
            }
            let (rows, features) = match transform {
                Some(transform) => {
                    let features = |rows: &RecordBatch| self.with_split(transform.features(rows)?, rows);
                    evaluate_or_route(rows, ctx, features)?
                }
                None => (rows.clone(), rows),
            };
            let labels = match self.label {
                Some(label) => Arc::clone(rows.column(label)),
                None => new_null_array(&DataType::Null, rows.num_rows()),
            };
            for bad in model.add(&features, &labels).map_err(|source| self.failed(source))? {
                ctx.dead_letter(&bad.reason.to_string(), || show_row(&rows, bad.row))?;
            }
        }
        Ok(true)
    }

    /// Features with the column by which the rows are split, unless it is one of them.
    fn with_split(&self, features: RecordBatch, rows: &RecordBatch) -> Result<RecordBatch> {
        let Some(split) = self.split else { return Ok(features) };
        let field = Arc::clone(&rows.schema_ref().fields()[split]);
        if features.schema_ref().column_with_name(field.name()).is_some() {
            return Ok(features);
        }
        let fields = features.schema_ref().fields().iter().cloned().chain([field]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = features.columns().iter().cloned().chain([Arc::clone(rows.column(split))]).collect();
        Ok(RecordBatch::try_new(schema, columns).map_err(PlanError::from)?)
    }

    fn failed(&self, source: MlError) -> EngineError {
        EngineError::Model { model: self.name.clone(), source }
    }

    /// Fits the model to all rows; it comes with how it came about. Nothing if somebody has ended that.
    fn fit(&mut self, mut model: Box<dyn BatchModel>, ctx: &OperatorContext) -> Result<Option<FitReport>> {
        let fitted = match self.transform.take() {
            Some(transform) => match self.fit_transform(&transform, ctx)? {
                None => return Ok(None),
                fitted => fitted,
            },
            None => None,
        };
        let prepared = fitted.as_ref().map(FittedTransform::prepare).transpose()?;
        if !self.add_rows(model.as_mut(), prepared.as_ref(), ctx)? {
            return Ok(None);
        }
        model.set_control(FitControl {
            threads: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            stop: Arc::clone(&self.interrupt),
        });
        let mut report = match model.fit() {
            Err(MlError::Stopped) => return Ok(None),
            report => report.map_err(|source| self.failed(source))?,
        };
        if !report.converged {
            warn!(
                model = self.name,
                iterations = report.iterations,
                "the model is used as it is after so many steps, which have not reached its tolerance; raise max_iterations"
            );
        }
        if report.is_no_better_than_a_guess() {
            warn!(
                model = self.name,
                measures = ?report.metrics,
                "the model does no better than a guess that looks at no feature: its features may say nothing of the label"
            );
        }
        report.model = report.kept().map_err(|source| self.failed(source))?;
        if let Some(transform) = &fitted {
            report.model = seal(transform, &report.model)?;
        }
        Ok(Some(report))
    }

    fn publish(&self, fitted: FitReport, ctx: &mut OperatorContext) -> Result<()> {
        let rows_learnt = fitted.rows as i64;
        let version = ModelVersion {
            model: self.name.clone(),
            version: self.version,
            learnt_to: UNTIMED,
            rows_learnt,
            metrics: fitted.metrics,
        };
        ctx.report_model(version, &self.label_name, &fitted.model);
        let version = Published { version: self.version, learnt_to: UNTIMED, rows_learnt, state: fitted.model };
        ctx.emit(version_rows(&[version])?);
        Ok(())
    }
}

/// Where the column is by which rows are split.
fn split_column(node: &FitNode, input: &SchemaRef) -> Option<usize> {
    let (_, name) = node.options.iter().find(|(option, _)| option == SPLIT_COLUMN)?;
    input.index_of(name).ok()
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
