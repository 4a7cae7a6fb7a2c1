//! Fits a model to a training set, once all of it has come, and emits it.
//!
//! Rows are held as they come, on disk if they have no room; the model takes them up when the last has come. What has been
//! read is in the state, so an attempt that goes on from a checkpoint fits the same rows in the same order. Before that they are
//! read for what TRANSFORM goes by, and once more for what is in lists, which are as many features as the rows say.
//!
//! Of several instances the first does all that; the others learn the same rows from it, and the fit is divided.

mod features;
mod giveaways;
mod team;
mod warnings;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_ml::preprocessing::{ListFeatures, assumed_features};
use tidemill_ml::{BatchModel, FitControl, FitReport, MlError, Team, feature_schema};
use tidemill_plans::PlanError;
use tidemill_plans::catalog::{ModelVersion, UNTIMED};
use tidemill_plans::node::{FitNode, Published, version_rows};
use tidemill_plans::transform::{PreparedTransform, seal};
use tracing::info;

use self::features::split_column;
use self::giveaways::Giveaways;
pub(super) use self::team::FitTeam;
use self::team::Told;
use super::Operator;
use crate::error::{EngineError, Result};
use crate::rows::{ArrivalBuffer, show_row};
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks, TaskEnv};

/// See [`FitNode`].
pub(super) struct Fit {
    name: String,
    node: FitNode,
    /// Empty without one.
    label_name: String,
    label_type: DataType,
    /// The column by which the rows are split, if they are by one.
    split: Option<usize>,
    held: ArrivalBuffer,
    /// Where rows are held once the statistics of all are known.
    memory: StateMemory,
    input: SchemaRef,
    /// What the model is made for, unless there are lists.
    features: Schema,
    interrupt: Arc<AtomicBool>,
    /// The other instances, if there are any.
    team: Option<Arc<FitTeam>>,
    /// Until it is fitted.
    model: Option<Box<dyn BatchModel>>,
    /// False of one whose fit was ended, too: its rows are gone, and whoever were to go on from there fails for want of them.
    is_fitted: bool,
}

impl Fit {
    pub(super) fn new(node: &FitNode, input: &SchemaRef, env: &TaskEnv, team: Option<Arc<FitTeam>>) -> Result<Self> {
        let label = node.label.map(|label| Arc::clone(&input.fields()[label]));
        let label_type = label.as_ref().map_or(DataType::Null, |label| label.data_type().clone());
        let features = match &node.transform {
            Some(transform) => transform.outputs()?,
            None => Arc::new(input.project(&node.features)?),
        };
        let features = assumed_features(&features, 1);
        Ok(Self {
            name: node.model.clone(),
            // Where features are lists it is made again once it is known how many these are.
            model: Some(new_model(node, &features, &label_type)?),
            node: node.clone(),
            label_name: label.as_ref().map(|label| label.name().clone()).unwrap_or_default(),
            label_type,
            split: split_column(node, input),
            held: ArrivalBuffer::new(input, &env.state_memory),
            memory: env.state_memory.clone(),
            input: Arc::clone(input),
            features,
            interrupt: Arc::clone(&env.interrupt),
            team,
            is_fitted: false,
        })
    }

    /// Whether somebody has ended the fit.
    fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Has the model take up all rows, which go from here to it, some at a time. False if somebody has ended that.
    fn add_rows(
        &mut self,
        model: &mut dyn BatchModel,
        transform: Option<&PreparedTransform>,
        giveaways: &mut Giveaways,
        ctx: &OperatorContext,
    ) -> Result<bool> {
        let mut count = 0;
        while let Some(rows) = self.held.take_chunk()? {
            if self.is_interrupted() {
                return Ok(false);
            }
            let Some(transform) = transform else {
                giveaways.add(&rows, &self.labels(&rows)).map_err(PlanError::from)?;
                self.add_features(model, &rows, &rows, ctx)?;
                continue;
            };
            for piece in transform.pieces(&rows) {
                let first = count;
                count += piece.num_rows() as u64;
                let (rows, features) = self.made(piece, first, transform, ctx)?;
                giveaways.add(&features, &self.labels(&rows)).map_err(PlanError::from)?;
                self.add_features(model, &rows, &features, ctx)?;
            }
        }
        Ok(true)
    }

    /// Has the model take up the features of rows, which it refuses some of, and the others of a team, too.
    fn add_features(
        &self,
        model: &mut dyn BatchModel,
        rows: &RecordBatch,
        features: &RecordBatch,
        ctx: &OperatorContext,
    ) -> Result<()> {
        let labels = self.labels(rows);
        if let Some(team) = &self.team {
            team.tell_rows(features, &labels).map_err(|source| self.failed(source))?;
        }
        for bad in model.add(features, &labels).map_err(|source| self.failed(source))? {
            ctx.dead_letter(&bad.reason.to_string(), || show_row(rows, bad.row))?;
        }
        Ok(())
    }

    /// The labels of rows; NULL without any.
    fn labels(&self, rows: &RecordBatch) -> ArrayRef {
        match self.node.label {
            Some(label) => Arc::clone(rows.column(label)),
            None => new_null_array(&DataType::Null, rows.num_rows()),
        }
    }

    fn failed(&self, source: MlError) -> EngineError {
        EngineError::Model { model: self.name.clone(), source }
    }

    fn failed_features(&self) -> impl Fn(PlanError) -> EngineError + use<> {
        let model = self.name.clone();
        move |source| EngineError::Features { model: model.clone(), source }
    }

    /// Fits the model to all rows; it comes with how it came about. Nothing if somebody has ended that.
    fn fit(&mut self, mut model: Box<dyn BatchModel>, ctx: &OperatorContext) -> Result<Option<FitReport>> {
        let fitted = match self.node.transform.take() {
            Some(transform) => match self.fit_transform(&transform, ctx)? {
                None => return Ok(None),
                fitted => fitted,
            },
            None => None,
        };
        let lists = match &fitted {
            Some(fitted) => self.fit_lists(fitted)?,
            None => Some(ListFeatures::default()),
        };
        let Some(lists) = lists else { return Ok(None) };
        let learnt = fitted.as_ref().map(|fitted| fitted.learnt.as_ref().unwrap_or(&fitted.version).prepare());
        let learnt = learnt.transpose()?.map(|transform| transform.with_lists(lists.clone()));
        if let Some(transform) = learnt.as_ref().filter(|_| !lists.is_empty()) {
            let none = RecordBatch::new_empty(Arc::clone(transform.outputs()));
            let features = transform.expanded(&none).map_err(|source| self.failed(source))?;
            self.features = features.schema_ref().as_ref().clone();
            model = new_model(&self.node, &self.features, &self.label_type)?;
        }
        self.tell(|team| team.tell_features(&self.features))?;
        let names = learnt.as_ref().map(|transform| Arc::clone(transform.outputs()));
        let mut giveaways = self.giveaways(names.as_ref());
        if !self.add_rows(model.as_mut(), learnt.as_ref(), &mut giveaways, ctx)? {
            return Ok(None);
        }
        self.tell(FitTeam::tell_all)?;
        giveaways.warn(&self.name);
        self.warn_of_split();
        model.set_control(self.control());
        let mut report = match model.fit() {
            Err(MlError::Stopped) => return Ok(None),
            report => report.map_err(|source| self.failed(source))?,
        };
        self.warn_of(&report);
        report.model = report.kept().map_err(|source| self.failed(source))?;
        if let Some(fitted) = &fitted {
            report.model = seal(&fitted.version, &lists, &report.model)?;
        }
        Ok(Some(report))
    }

    fn control(&self) -> FitControl {
        if let Some(team) = &self.team {
            info!(model = self.name, instance = team.rank(), instances = team.size(), "fitting a part of the model");
        }
        FitControl {
            threads: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            stop: Arc::clone(&self.interrupt),
            team: self.team.clone().map(|team| team as Arc<dyn Team>),
        }
    }

    /// Tells the other instances something, if there are any.
    fn tell(&self, tell: impl FnOnce(&FitTeam) -> std::result::Result<(), MlError>) -> Result<()> {
        self.team.as_ref().map_or(Ok(()), |team| tell(team)).map_err(|source| self.failed(source))
    }

    /// Learns what the first of a team tells, and does its part of the fit.
    fn assist(&self, team: &FitTeam) -> Result<()> {
        let failed = |source| self.failed(source);
        let mut model = None;
        loop {
            match (team.told().map_err(failed)?, &mut model) {
                (Told::Features(features), _) => model = Some(new_model(&self.node, &features, &self.label_type)?),
                // Which rows it refuses, the first says.
                (Told::Rows(features, labels), Some(model)) => drop(model.add(&features, &labels).map_err(failed)?),
                (Told::Rows(..), None) => {}
                (Told::AllRows, _) => break,
            }
        }
        let Some(mut model) = model else { return Ok(()) };
        model.set_control(self.control());
        model.fit().map(drop).map_err(failed)
    }

    /// Fits the model and emits it, or assists who does. False if somebody has ended that.
    fn run(&mut self, model: Box<dyn BatchModel>, ctx: &mut OperatorContext) -> Result<bool> {
        let outcome = match self.team.clone() {
            Some(team) if !team.is_first() => self.assist(&team).map(|()| true),
            _ => self.fit(model, ctx).and_then(|fitted| match fitted {
                Some(fitted) => self.publish(fitted, ctx).map(|()| true),
                None => Ok(false),
            }),
        };
        match outcome {
            Err(EngineError::Model { source: MlError::Stopped, .. }) => Ok(false),
            outcome => outcome,
        }
    }

    fn publish(&self, fitted: FitReport, ctx: &mut OperatorContext) -> Result<()> {
        let rows_learnt = fitted.rows as i64;
        let version = ModelVersion {
            model: self.name.clone(),
            version: self.node.version,
            learnt_to: UNTIMED,
            rows_learnt,
            metrics: fitted.metrics,
        };
        ctx.report_model(version, &self.label_name, &fitted.model);
        let version = Published { version: self.node.version, learnt_to: UNTIMED, rows_learnt, state: fitted.model };
        ctx.emit(version_rows(&[version])?);
        Ok(())
    }
}

/// A model that is fitted to such features.
fn new_model(node: &FitNode, features: &Schema, label: &DataType) -> Result<Box<dyn BatchModel>> {
    let options = node.options.iter().cloned().collect();
    let model = feature_schema(&node.model_type, features)
        .and_then(|schema| tidemill_ml::create_batch(&node.model_type, &options, &schema, label));
    model.map_err(|source| EngineError::Model { model: node.model.clone(), source })
}

impl Operator for Fit {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, _ctx: &mut OperatorContext) -> Result<()> {
        self.held.push(&batch)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        if watermarks.min().is_end()
            && let Some(model) = self.model.take()
        {
            self.is_fitted = self.run(model, ctx)?;
            if !self.is_fitted {
                // Whoever has ended the fit cuts the task off next.
                return Ok(());
            }
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
