//! Fits a model to a training set, once all of it has come, and emits it.
//!
//! Rows are held as they come, on disk if they have no room; the model takes them up when the last has come. What has been
//! read is in the state, so an attempt that goes on from a checkpoint fits the same rows in the same order. Before that they are
//! read for what TRANSFORM goes by, and once more for what is in lists, which are as many features as the rows say.
//!
//! Of several instances the first does all that; the others learn the same rows from it, and the fit is divided.

mod giveaways;
mod team;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_ml::preprocessing::{ListFeatures, TargetRows, assumed_features, row_draws};
use tidemill_ml::{BatchModel, FitControl, FitReport, MlError, Team, feature_schema};
use tidemill_plans::PlanError;
use tidemill_plans::algorithm::SPLIT_COLUMN;
use tidemill_plans::bad_rows::{Evaluated, evaluate_good};
use tidemill_plans::catalog::{ModelVersion, UNTIMED};
use tidemill_plans::node::{FitNode, Published, version_rows};
use tidemill_plans::transform::{DRAW_COLUMN, Fitted, PreparedTransform, Transform, TransformFit, seal};
use tracing::{info, warn};

use self::giveaways::Giveaways;
pub(super) use self::team::FitTeam;
use self::team::Told;
use super::Operator;
use super::bad_rows::evaluate_or_route;
use crate::error::{EngineError, Result};
use crate::rows::{ArrivalBuffer, show_row};
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks, TaskEnv};

/// How rows are held out, and the values by which that is chance.
const SPLIT_METHOD: &str = "data_split_method";
const RANDOM_SPLITS: [&str; 2] = ["random", "stratified"];

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

    /// Collects what features need to know of all rows. Rows whose features cannot be computed are dead letters, and the
    /// others are held again: they are needed a second time.
    fn fit_transform(&mut self, transform: &Transform, ctx: &OperatorContext) -> Result<Option<Fitted>> {
        let failed = self.failed_features();
        let mut fit = TransformFit::new(transform)?;
        let mut again = ArrivalBuffer::new(&self.input, &self.memory);
        let mut count = 0;
        while let Some(rows) = self.held.take_chunk()? {
            if self.is_interrupted() {
                return Ok(None);
            }
            let (rows, arguments) = evaluate_or_route(rows, ctx, |rows| Ok(fit.arguments(rows)?))?;
            let draws = row_draws(count, rows.num_rows());
            count += rows.num_rows() as u64;
            fit.add(&arguments, &TargetRows { labels: &self.labels(&rows), draws: &draws }).map_err(&failed)?;
            again.push(&rows)?;
        }
        self.held = again;
        fit.finish().map(Some).map_err(failed)
    }

    /// Collects what is in the lists among the features. Rows without features are left to those who learn the others.
    fn fit_lists(&mut self, fitted: &Fitted) -> Result<Option<ListFeatures>> {
        let mut lists = fitted.lists();
        if lists.is_empty() {
            return Ok(Some(ListFeatures::default()));
        }
        let transform = fitted.version.prepare()?;
        let mut again = ArrivalBuffer::new(&self.input, &self.memory);
        while let Some(rows) = self.held.take_chunk()? {
            if self.is_interrupted() {
                return Ok(None);
            }
            again.push(&rows)?;
            let features = |rows: &RecordBatch| Ok::<_, EngineError>(transform.features(rows)?);
            let made = evaluate_good(rows, features, |_, _| Ok(()))?;
            lists.add(&made.result).map_err(|source| self.failed(source))?;
        }
        self.held = again;
        Ok(Some(lists.finish()))
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

    /// What the model learns of rows of the training set, the first of which has this number, and which rows these are.
    fn made(
        &self,
        rows: RecordBatch,
        first: u64,
        transform: &PreparedTransform,
        ctx: &OperatorContext,
    ) -> Result<(RecordBatch, RecordBatch)> {
        let own: Vec<usize> = (0..rows.num_columns()).collect();
        let rows = with_column(&rows, DRAW_COLUMN, Arc::new(Int64Array::from(row_draws(first, rows.num_rows()))))?;
        let features = |rows: &RecordBatch| Ok::<_, EngineError>(transform.features(rows)?);
        let refuse = |row: &RecordBatch, reason: String| {
            let row = row.project(&own)?;
            ctx.dead_letter(&reason, || show_row(&row, 0))
        };
        let Evaluated { rows, result, .. } = evaluate_good(rows, features, refuse)?;
        let rows = rows.project(&own)?;
        let features = transform.expanded(&result).map_err(|source| self.failed(source))?.into_owned();
        Ok((rows.clone(), self.with_split(features, &rows)?))
    }

    /// What looks for features that give the label away, among those that TRANSFORM makes or the columns.
    fn giveaways(&self, made: Option<&SchemaRef>) -> Giveaways {
        let split = self.split.map(|split| self.input.field(split).name().as_str());
        let features: Vec<&Field> = match made {
            Some(made) => made.fields().iter().map(AsRef::as_ref).collect(),
            None => self.node.features.iter().map(|feature| self.input.field(*feature)).collect(),
        };
        let features = features.into_iter().filter(|feature| Some(feature.name().as_str()) != split);
        Giveaways::new(features, &self.label_name, &self.label_type)
    }

    /// Rows held out by chance have others of the same time among those that are learnt.
    fn warn_of_split(&self) {
        let is_random =
            |(option, value): &(String, String)| option == SPLIT_METHOD && RANDOM_SPLITS.contains(&value.as_str());
        let time = self.input.fields().iter().find(|field| is_time(field.data_type()));
        if let (true, Some(time)) = (self.node.options.iter().any(is_random), time) {
            warn!(
                model = self.name,
                column = time.name().as_str(),
                "rows are held out by chance although they have a time: data_split_method = 'seq' with data_split_col judges \
                 the model by the last of them, as it will be asked"
            );
        }
    }

    /// The labels of rows; NULL without any.
    fn labels(&self, rows: &RecordBatch) -> ArrayRef {
        match self.node.label {
            Some(label) => Arc::clone(rows.column(label)),
            None => new_null_array(&DataType::Null, rows.num_rows()),
        }
    }

    /// Features with the column by which the rows are split, unless it is one of them.
    fn with_split(&self, features: RecordBatch, rows: &RecordBatch) -> Result<RecordBatch> {
        let Some(split) = self.split else { return Ok(features) };
        let name = rows.schema_ref().field(split).name();
        if features.schema_ref().column_with_name(name).is_some() {
            return Ok(features);
        }
        with_column(&features, name, Arc::clone(rows.column(split)))
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

/// Rows with another column behind.
fn with_column(rows: &RecordBatch, name: &str, column: ArrayRef) -> Result<RecordBatch> {
    let field = Arc::new(Field::new(name, column.data_type().clone(), true));
    let fields = rows.schema_ref().fields().iter().cloned().chain([field]);
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = rows.columns().iter().cloned().chain([column]).collect();
    Ok(RecordBatch::try_new(schema, columns).map_err(PlanError::from)?)
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
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
