//! A session: a catalog, settings, and what each statement does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use tidemill_plans::batch::{BatchQuery, Destination, Wanted};
use tidemill_plans::catalog::{ModelVersion, ObjectKind};
use tidemill_plans::connector::Direction;
use tidemill_plans::explain::explain;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::prediction::TrainedModels;
use tidemill_plans::settings::{Execution, Settings};

use crate::access::{AccessCommand, Privilege, Rights, Securable};
use crate::batch::{self, BatchPlan, Becomes};
use crate::catalog::{Catalog, Detail, Object, SinkObject};
use crate::document::PlanDocument;
use crate::error::{Position, Result, SqlError};
use crate::job::{Added, JobBuilder, JobKind, JobStatement, RunningView};
use crate::lower::plan_model;
use crate::lower::write::Target;
use crate::model_files::ExportCommand;
use crate::model_versions::AliasCommand;
use crate::parser::ParsedStatement;
use crate::planner::QueryPlanner;
use crate::planner::expression::Expressions;
use crate::planner::function::plan_function;
use crate::planner::source::{connector_of, plan_source, sink_key, sink_schema};
use crate::pushed::PushTarget;
use crate::show;
use crate::stack::on_deep_stack;
use crate::statement::{
    CreateFunction, CreateModel, CreateSink, CreateSource, CreateView, DropKind, JobCommand, Name, Statement,
    StreamQuery,
};

/// What statements are executed in.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The objects.
    pub catalog: Catalog,
    /// The settings.
    pub settings: Settings,
    /// What the registry knows of the versions of the model that somebody asks about.
    pub(crate) versions: Vec<ModelVersion>,
    /// The objects that the jobs of this session write or train.
    busy: BTreeSet<String>,
    /// Whether each statement's job starts at once, and materialized views are read while they run.
    pub(crate) keeps_views: bool,
    /// The materialized views that run.
    pub(crate) running: BTreeMap<String, RunningView>,
    /// The rights of whoever has statements executed; none where nobody is asked.
    pub(crate) rights: Option<Arc<dyn Rights>>,
    /// The names of the secrets that there are, where that is known.
    pub(crate) secrets: Option<BTreeSet<String>>,
    /// Whether there is somebody who runs queries as a whole.
    pub(crate) runs_batches: bool,
    /// The rows of tables that the coordinator knows.
    pub(crate) told: BTreeMap<&'static str, RecordBatch>,
    /// What materialized views have that the statement which is executed reads as tables.
    pub(crate) view_rows: BTreeMap<String, RecordBatch>,
}

/// What a statement comes to.
#[derive(Debug)]
pub enum Outcome {
    /// It took effect on the session; a message such as `SET parallelism`.
    Done(String),
    /// There is a new object, and nothing has to run for it; a message such as `CREATE SOURCE flights`.
    Created {
        /// The object.
        name: String,
        /// What to say.
        message: String,
    },
    /// An object is gone, and its job is to end; a message such as `DROP SINK late`.
    Dropped {
        /// The object.
        name: String,
        /// What to say.
        message: String,
    },
    /// Rows that were answered at once.
    Rows(RecordBatch),
    /// A statement about jobs, for whoever runs them.
    JobCommand(JobCommand),
    /// A version of a model is to go to a file, for whoever has it.
    Export(ExportCommand),
    /// A statement about the aliases of a model's versions, for whoever keeps these.
    Alias(AliasCommand),
    /// A statement about roles, privileges, secrets or the audit log, for whoever keeps them.
    Access(AccessCommand),
    /// EXPLAIN MIGRATION: what a job would keep of the savepoint that its settings name, for whoever can read that.
    Migration {
        /// The job's graph.
        graph: Box<DataflowGraph>,
        /// Its settings.
        settings: Box<Settings>,
    },
    /// Something that has to run; to be added to a [`JobBuilder`].
    Job(Box<JobStatement>),
}

/// What a statement would do, before the session is touched.
pub(crate) enum Effect {
    /// A new object, and the job that comes with it.
    Create { object: Arc<Object>, replace: bool, job: Option<JobKind> },
    /// A job that leaves the catalog alone.
    Run(JobKind),
    /// The object is there and IF NOT EXISTS was written.
    Nothing(String),
}

impl Session {
    /// A session without objects; `models` is the newest version of each model in the registry.
    #[must_use]
    pub fn new(settings: Settings, models: Vec<ModelVersion>) -> Self {
        let mut session = Self { settings, ..Self::default() };
        session.set_models(models);
        session
    }

    /// A session whose jobs start as soon as their statements are read, and whose materialized views can be
    /// read while they run.
    #[must_use]
    pub fn interactive(settings: Settings) -> Self {
        Self { settings, keeps_views: true, ..Self::default() }
    }

    /// Such a session with objects of an earlier one, of whose materialized views these run. What the others held is
    /// gone; those that have an end are computed anew by whoever reads them.
    #[must_use]
    pub fn restored(settings: Settings, catalog: Catalog, mut running: BTreeMap<String, RunningView>) -> Self {
        for object in catalog.objects().filter(|object| object.kind == ObjectKind::MaterializedView) {
            if matches!(&object.detail, Detail::View(_, info) if !info.bounded) {
                running.entry(object.name.clone()).or_insert(RunningView::ENDED);
            }
        }
        Self { catalog, running, ..Self::interactive(settings) }
    }

    /// The same session where somebody runs queries as a whole: such a SELECT comes to a job that has
    /// [`JobStatement::batch`].
    #[must_use]
    pub fn with_batches(self) -> Self {
        Self { runs_batches: true, ..self }
    }

    /// Takes note of the newest version of each model in the registry.
    pub fn set_models(&mut self, models: Vec<ModelVersion>) {
        self.catalog.measured = Arc::new(models);
    }

    /// Has queries as a whole ask these for predictions.
    pub fn set_trained_models(&mut self, models: Arc<dyn TrainedModels>) {
        self.catalog.trained = Some(models);
    }

    /// Takes note of the names of the secrets that there are.
    pub fn set_secrets(&mut self, names: BTreeSet<String>) {
        self.secrets = Some(names);
    }

    /// Whether whoever asks may know of everything.
    pub(crate) fn sees_all(&self) -> bool {
        self.rights.as_deref().is_none_or(Rights::is_superuser)
    }

    /// An error if a job that was planned is not for whoever asks now.
    pub fn check_job(&self, job: &JobStatement, added: &Added) -> Result<()> {
        let checked = || {
            self.require_uses(&added.uses)?;
            self.require_target(&job.kind)?;
            self.require_places(&job.settings)
        };
        checked().map_err(|error| error.at(job.position))
    }

    /// An error if whoever asks may not make tables of files, and so is not to learn what files hold; nor to write some.
    pub fn check_files(&self) -> Result<()> {
        self.require(Privilege::Create, Securable::Schema)?;
        self.require_place()
    }

    /// An error if these statements want to know columns of files that are not for whoever asks.
    pub fn check_wanted_columns(&self, statements: &[ParsedStatement]) -> Result<()> {
        for statement in statements {
            if statement.wants_model().is_some() {
                self.check_files()?;
            }
            if let Some(options) = statement.wants_columns_of() {
                self.check_files()?;
                self.require_secrets(options).map_err(|error| error.at(statement.position()))?;
            }
        }
        Ok(())
    }

    /// The same of one that runs as a whole.
    pub fn check_batch(&self, job: &JobStatement) -> Result<()> {
        let (JobKind::Batch(_, plan) | JobKind::Append { whole: Some(plan), .. } | JobKind::Train(_, Some(plan))) =
            &job.kind
        else {
            return Ok(());
        };
        let checked = || {
            self.require_target(&job.kind)?;
            self.require_uses(&plan.uses)?;
            self.require_places(&job.settings)
        };
        checked().map_err(|error| error.at(job.position))
    }

    /// Takes note of a materialized view that runs.
    pub fn view_started(&mut self, name: &str, view: RunningView) {
        self.running.insert(name.to_owned(), view);
    }

    /// Takes note of how many instances of an operator hold a view: its job may have got another parallelism.
    pub fn view_is_held(&mut self, job: JobId, operator: OperatorId, instances: u32) {
        let of_operator = |view: &&mut RunningView| view.job == job && view.operator == operator;
        self.running.values_mut().filter(of_operator).for_each(|view| view.parallelism = instances);
    }

    /// An object has a job.
    pub(crate) fn note_busy(&mut self, name: &str) {
        self.busy.insert(name.to_owned());
    }

    /// Takes an object back whose job could not be started.
    pub fn take_back(&mut self, name: &str) {
        self.busy.remove(name);
        // If it is not there, or others are made of it, there is nothing to take back.
        let _ = self.catalog.remove(&Name { text: name.to_owned(), at: Position::UNKNOWN });
    }

    /// Executes a statement. After an error the session is as it was before.
    pub fn execute(&mut self, statement: &ParsedStatement) -> Result<Outcome> {
        let at = statement.position();
        on_deep_stack(|| self.execute_inner(statement).map_err(|error| error.at(at)))
    }

    fn execute_inner(&mut self, parsed: &ParsedStatement) -> Result<Outcome> {
        if let Some((_, at)) = &parsed.from_savepoint
            && !parsed.statement.starts_job()
        {
            let hint = "INSERT INTO, CREATE SINK, CREATE MATERIALIZED VIEW and CREATE MODEL can begin from one";
            return Err(SqlError::unsupported("FROM SAVEPOINT here", hint).at(*at));
        }
        match &parsed.statement {
            Statement::Explain(inner) => self.explain(inner, parsed),
            Statement::ExplainJson(inner) => self.explain_json(inner, parsed),
            Statement::ExplainMigration(inner) => self.explain_migration(inner, parsed),
            Statement::Analyze(inner) => {
                let effect = self.plan(inner, parsed.text())?;
                if let Effect::Run(JobKind::Batch(query, plan)) = effect {
                    return Ok(self.shown(query, *plan, Wanted::Analysis, parsed));
                }
                Ok(match self.take_effect(effect, parsed)? {
                    Outcome::Job(job) if job.appends().is_some() => {
                        let hint = "analyze its query: EXPLAIN ANALYZE SELECT …";
                        return Err(SqlError::unsupported("EXPLAIN ANALYZE of an INSERT INTO a table", hint));
                    }
                    Outcome::Job(job) if job.behind_its_rows().is_some() => {
                        let hint = "analyze its query: EXPLAIN ANALYZE SELECT …";
                        return Err(SqlError::unsupported("EXPLAIN ANALYZE of a model over tables", hint));
                    }
                    Outcome::Job(job) => Outcome::Job(Box::new(JobStatement { is_analyzed: true, ..*job })),
                    other => other,
                })
            }
            Statement::Set { name, value } => {
                self.settings.set(&name.text, value).map_err(|error| SqlError::from(error).at(name.at))?;
                Ok(Outcome::Done(format!("SET {}", name.text)))
            }
            Statement::Show(what, like) => Ok(Outcome::Rows(show::show(self, what, like.as_deref())?)),
            Statement::ShowConnector(name) => Ok(Outcome::Rows(show::show_connector(name)?)),
            Statement::ShowVersions(name) => Ok(Outcome::Rows(self.show_versions(name)?)),
            Statement::AlterModel(alter) => self.alter_model(alter),
            Statement::ExportModel(export) if self.keeps_views => self.export_model(export),
            Statement::ExportModel(_) => {
                let hint = "tidemill serve and shell have models that are trained";
                Err(SqlError::unsupported("EXPORT MODEL in a script", hint))
            }
            Statement::ShowCreate(name) => Ok(Outcome::Rows(show::show_create(self, name)?)),
            Statement::Describe(name) => Ok(Outcome::Rows(show::describe(self, name)?)),
            Statement::Job(command) if self.keeps_views => Ok(Outcome::JobCommand(command.clone())),
            Statement::Job(_) => {
                let hint = "statements about jobs are for a session in which jobs go on, such as tidemill shell";
                Err(SqlError::unsupported("a statement about jobs in a script", hint))
            }
            Statement::Access(command) if self.keeps_views => Ok(Outcome::Access(command.clone())),
            Statement::Access(_) => {
                let hint = "users, privileges and secrets are those of a coordinator such as tidemill serve";
                Err(SqlError::unsupported("this statement in a script", hint))
            }
            Statement::Drop { what, if_exists, name } => self.drop(*what, *if_exists, name),
            statement => {
                let effect = self.plan(statement, parsed.text())?;
                self.take_effect(effect, parsed)
            }
        }
    }

    fn take_effect(&mut self, effect: Effect, parsed: &ParsedStatement) -> Result<Outcome> {
        if matches!(effect, Effect::Run(_) | Effect::Create { job: Some(_), .. }) {
            self.require_places(&self.job_settings(parsed))?;
        }
        let (message, job, created) = match effect {
            Effect::Nothing(message) => return Ok(Outcome::Done(message)),
            Effect::Run(job) => {
                let message = job.target().map(|target| format!("INSERT INTO {target}")).unwrap_or_default();
                (message, Some(job), None)
            }
            Effect::Create { object, replace, job } => {
                let kind = match &job {
                    Some(JobKind::Batch(..)) => String::from("TABLE"),
                    _ => object.kind.to_string().to_uppercase(),
                };
                let message = format!("CREATE {kind} {}", object.name);
                let name = object.name.clone();
                match self.catalog.find(&name).map(|old| old.kind) {
                    // Whatever is made of it can be made of the new one.
                    Some(ObjectKind::Model) if replace => self.catalog.put(object),
                    Some(_) if replace => {
                        self.catalog.remove(&Name { text: name.clone(), at: parsed.position() })?;
                        self.catalog.add(object, parsed.position())?;
                    }
                    _ => self.catalog.add(object, parsed.position())?,
                }
                (message, job, Some(name))
            }
        };
        Ok(match (job, created) {
            (None, Some(name)) => Outcome::Created { name, message },
            (None, None) => Outcome::Done(message),
            (Some(kind), created) => {
                self.busy.extend(kind.object().map(str::to_owned));
                Outcome::Job(Box::new(JobStatement { message, is_new: created.is_some(), ..self.job(kind, parsed) }))
            }
        })
    }

    fn job_settings(&self, parsed: &ParsedStatement) -> Settings {
        let mut settings = self.settings.clone();
        if let Some((url, _)) = &parsed.from_savepoint {
            settings.from_savepoint.clone_from(url);
        }
        settings
    }

    fn job(&self, kind: JobKind, parsed: &ParsedStatement) -> JobStatement {
        JobStatement {
            catalog: self.catalog.clone(),
            settings: self.job_settings(parsed),
            position: parsed.position(),
            text: parsed.text().to_owned(),
            message: String::new(),
            kind,
            is_new: false,
            is_analyzed: false,
            result: None,
        }
    }

    /// What a statement would do.
    fn plan(&self, statement: &Statement, text: &str) -> Result<Effect> {
        match statement {
            Statement::CreateSource(create) => self.create_source(create, text),
            Statement::CreateTableAs(create) => self.create_table_as(create),
            Statement::CreateSink(create) => self.create_sink(create, text),
            Statement::CreateView(create) => self.create_view(create, text),
            Statement::CreateModel(create) => self.create_model(create, text),
            Statement::ImportModel(import) => self.model_of_file(import, text),
            Statement::CreateFunction(create) => self.create_function(create, text),
            Statement::Insert(insert) => self.insert(insert).map(Effect::Run),
            Statement::Query(query) => {
                if let Some(plan) = self.batch_plan(query)? {
                    self.require_uses(&plan.uses)?;
                    return Ok(Effect::Run(JobKind::Batch(query.clone(), Box::new(plan))));
                }
                let kind = JobKind::Select(query.clone());
                // Errors belong to the statement, not to the moment when its job is put together.
                let uses = self.try_job(&kind).map_err(|error| self.why_neither(query, error))?;
                self.require_uses(&uses)?;
                Ok(Effect::Run(kind))
            }
            Statement::Copy(copy) => {
                self.check_files()?;
                self.require_secrets(&copy.target.store).map_err(|error| error.at(copy.at))?;
                if !self.runs_batches {
                    let hint = "tidemill run, shell and serve have it";
                    return Err(SqlError::unsupported("COPY where nothing runs queries as a whole", hint).at(copy.at));
                }
                let plan = batch::copied(copy, self.whole(&copy.query, &self.settings)?)?;
                self.require_uses(&plan.uses)?;
                Ok(Effect::Run(JobKind::Batch(copy.query.clone(), Box::new(plan))))
            }
            Statement::Subscribe(name) => {
                let kind = JobKind::Subscribe(Arc::clone(self.subscribed(name)?));
                self.require_uses(&self.try_job(&kind)?)?;
                Ok(Effect::Run(kind))
            }
            _ => Err(SqlError::unsupported("EXPLAIN of this statement", "explain a query, a sink, a view or a model")),
        }
    }

    /// A query as a whole, if there is somebody to run it so.
    pub(crate) fn batch_plan(&self, query: &StreamQuery) -> Result<Option<BatchPlan>> {
        let refused = |what: &str, hint: &str| Err(SqlError::unsupported(what, hint));
        match (self.with_system_tables(query)?, self.runs_batches, self.settings.execution) {
            (Some(_), true, Execution::Streaming) => {
                refused("a table about what there is in a stream", "SET execution = 'inferred'")
            }
            (Some(catalog), true, _) => batch::as_a_whole(query, &catalog, &self.settings).map(Some),
            (None, true, _) => batch::plan(query, &self.catalog, &self.settings),
            (_, false, Execution::Batch) => {
                refused("execution = 'batch' where nothing runs queries as a whole", "SET execution = 'inferred'")
            }
            (_, false, _) => Ok(None),
        }
    }

    /// What is wrong with a query that could not be planned as a whole, and as a stream neither: where a stream has not what
    /// it asks for, that is why it is no query as a whole.
    pub(crate) fn why_neither(&self, query: &StreamQuery, of_stream: SqlError) -> SqlError {
        let is_inferred = self.runs_batches && self.settings.execution == Execution::Inferred;
        if !is_inferred || !of_stream.is_unsupported() {
            return of_stream;
        }
        match self.whole(query, &self.settings) {
            Err(error) if !error.is_unsupported() => error,
            _ => of_stream,
        }
    }

    /// A query as a whole; an error if it cannot be that.
    pub(crate) fn whole(&self, query: &StreamQuery, settings: &Settings) -> Result<BatchPlan> {
        match self.with_system_tables(query)? {
            Some(catalog) => batch::as_a_whole(query, &catalog, settings),
            None => batch::as_a_whole(query, &self.catalog, settings),
        }
    }

    /// The view that somebody subscribes to.
    fn subscribed(&self, name: &Name) -> Result<&Arc<Object>> {
        let object = self.catalog.get(name)?;
        object.check_restored().map_err(|error| error.at(name.at))?;
        if object.kind != ObjectKind::MaterializedView {
            let message = format!(
                "'{}' is a {}, and SUBSCRIBE TO takes a materialized view; SELECT * FROM {} streams what has no end",
                object.name, object.kind, object.name
            );
            return Err(SqlError::invalid(message).at(name.at));
        }
        if !self.keeps_views {
            let hint = "views run in a session in which jobs go on, such as tidemill shell";
            return Err(SqlError::unsupported("SUBSCRIBE TO in a script", hint).at(name.at));
        }
        Ok(object)
    }

    fn create_source(&self, create: &CreateSource, text: &str) -> Result<Effect> {
        if let Some(effect) = self.exists(&create.name, create.if_not_exists, None)? {
            return Ok(effect);
        }
        let mut expressions = Expressions::new(&self.catalog);
        let (node, info) = plan_source(create, &self.settings, &mut expressions)?;
        self.require(Privilege::Create, Securable::Schema)?;
        self.require_options(&node.connector, &node.options).map_err(|error| error.at(create.options.at))?;
        let detail = Detail::Source(Box::new(node), info);
        let uses = expressions.uses.into_iter().collect();
        let object = object(&create.name, ObjectKind::Source, text, uses, detail);
        Ok(Effect::Create { object, replace: false, job: None })
    }

    fn create_sink(&self, create: &CreateSink, text: &str) -> Result<Effect> {
        if let Some(effect) = self.exists(&create.name, create.if_not_exists, None)? {
            return Ok(effect);
        }
        let (connector, options) = connector_of(&create.options, Direction::Sink)?;
        self.require(Privilege::Create, Securable::Schema)?;
        self.require_options(&connector, &options).map_err(|error| error.at(create.options.at))?;
        let schema = sink_schema(&create.columns)?;
        let key = sink_key(create, &connector, &options, schema.as_ref())?;
        let sink = SinkObject { connector, options, schema, key, has_query: create.query.is_some() };
        let target = sink.target(&create.name.text);
        let job = create.query.clone().map(|query| JobKind::Write { target, declared: None, query });
        let uses = match &job {
            Some(job) => self.try_job(job)?,
            None => Vec::new(),
        };
        self.require_uses(&uses)?;
        let object = object(&create.name, ObjectKind::Sink, text, uses, Detail::Sink(sink));
        Ok(Effect::Create { object, replace: false, job })
    }

    fn create_view(&self, create: &CreateView, text: &str) -> Result<Effect> {
        if let Some(effect) =
            self.exists(&create.name, create.if_not_exists, create.or_replace.then_some(ObjectKind::View))?
        {
            return Ok(effect);
        }
        let mut builder = JobBuilder::new(self);
        let mut planner = QueryPlanner::new(&mut builder, &self.catalog);
        let plan = planner.plan(&create.query)?;
        let stream = planner.lower_to_stream(&plan, "the view")?;
        planner.check_late()?;
        planner.check_state_ttls()?;
        planner.check_emit(&stream.info)?;
        let uses = planner.uses();
        if uses.contains(&create.name.text) {
            let message = format!("view '{}' cannot be made of itself", create.name.text);
            return Err(SqlError::invalid(message).at(create.name.at));
        }
        self.require(Privilege::Create, Securable::Schema)?;
        self.require_uses(&uses)?;
        let kind = if create.materialized { ObjectKind::MaterializedView } else { ObjectKind::View };
        let detail = Detail::View(create.query.clone(), stream.info);
        let object = object(&create.name, kind, text, uses, detail);
        let job = create.materialized.then(|| JobKind::MaterializedView(Arc::clone(&object)));
        Ok(Effect::Create { object, replace: create.or_replace, job })
    }

    fn create_model(&self, create: &CreateModel, text: &str) -> Result<Effect> {
        let replaced = create.or_replace.then_some(ObjectKind::Model);
        if let Some(effect) = self.exists(&create.name, create.if_not_exists, replaced)? {
            return Ok(effect);
        }
        if let Some(effect) = self.model_of_rows(create, text)? {
            return Ok(effect);
        }
        self.check_is_new(create)?;
        let mut builder = JobBuilder::new(self);
        let mut planner = QueryPlanner::new(&mut builder, &self.catalog);
        let plan = planner.plan(&create.query)?;
        let stream = planner.lower_to_stream(&plan, "the training query")?;
        planner.check_late()?;
        planner.check_state_ttls()?;
        planner.check_emit(&stream.info)?;
        let model = plan_model(create, &stream.info)?;
        let uses = planner.uses();
        self.require(Privilege::Create, Securable::Schema)?;
        self.require_uses(&uses)?;
        let object = object(&create.name, ObjectKind::Model, text, uses, Detail::Model(Box::new(model)));
        let job = Some(JobKind::Train(Arc::clone(&object), None));
        Ok(Effect::Create { object, replace: false, job })
    }

    fn create_function(&self, create: &CreateFunction, text: &str) -> Result<Effect> {
        let replaced = create.or_replace.then_some(ObjectKind::Function);
        if let Some(effect) = self.exists(&create.name, create.if_not_exists, replaced)? {
            return Ok(effect);
        }
        self.require(Privilege::Create, Securable::Schema)?;
        let (function, uses) = plan_function(create, &self.catalog)?;
        let (uses, detail) = (uses.into_iter().collect(), Detail::Function(Box::new(function)));
        let object = object(&create.name, ObjectKind::Function, text, uses, detail);
        Ok(Effect::Create { object, replace: create.or_replace, job: None })
    }

    /// A job that is run once more for whoever has described it writes to a sink that was there before.
    fn require_target(&self, kind: &JobKind) -> Result<()> {
        match kind {
            JobKind::Write { target: Target { table, .. }, .. }
            | JobKind::Append { target: PushTarget { table, .. }, .. } => {
                self.require(Privilege::Insert, Securable::Object(table.clone()))
            }
            JobKind::Batch(_, plan) => match (&plan.becomes, &plan.query.destination) {
                (Some(Becomes::RowsOf(table)), _) => self.require(Privilege::Insert, Securable::Object(table.clone())),
                (Some(Becomes::Table { .. } | Becomes::TrainingSet { .. }), _) => {
                    self.require(Privilege::Create, Securable::Schema)
                }
                (None, Destination::Files(_)) => self.check_files(),
                (None, _) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Builds a job to see whether it can be built; returns the objects it uses.
    pub(crate) fn try_job(&self, kind: &JobKind) -> Result<Vec<String>> {
        let (_, uses) = JobBuilder::new(self).build(&self.scratch_job(kind.clone()))?;
        Ok(uses)
    }

    pub(crate) fn scratch_job(&self, kind: JobKind) -> JobStatement {
        let (catalog, settings) = (self.catalog.clone(), self.settings.clone());
        let (position, text, message) = (Position::UNKNOWN, String::new(), String::new());
        let (is_new, is_analyzed) = (false, false);
        JobStatement { catalog, settings, position, text, message, kind, is_new, is_analyzed, result: None }
    }

    /// What to do about a name that may be taken, by an object of the kind `replaces` if one may be replaced;
    /// `None` to go on.
    pub(crate) fn exists(
        &self,
        name: &Name,
        if_not_exists: bool,
        replaces: Option<ObjectKind>,
    ) -> Result<Option<Effect>> {
        match self.catalog.find(&name.text) {
            None => Ok(None),
            Some(object) if if_not_exists => {
                Ok(Some(Effect::Nothing(format!("{} {} exists already", object.kind, object.name))))
            }
            Some(object) if replaces == Some(object.kind) => self.require_owner(&object.name).map(|()| None),
            Some(object) => Err(SqlError::Duplicate { at: name.at, name: name.text.clone(), kind: object.kind }),
        }
    }

    fn drop(&mut self, what: DropKind, if_exists: bool, name: &Name) -> Result<Outcome> {
        let Some(object) = self.catalog.find(&name.text) else {
            if if_exists {
                return Ok(Outcome::Done(format!("{} does not exist", name.text)));
            }
            return Err(self.catalog.get(name).err().unwrap_or_else(|| SqlError::invalid("unknown name")));
        };
        let kind = object.kind;
        let matches = match what {
            DropKind::Source => kind == ObjectKind::Source,
            DropKind::Sink => kind == ObjectKind::Sink,
            DropKind::View => matches!(kind, ObjectKind::View | ObjectKind::MaterializedView),
            DropKind::Model => kind == ObjectKind::Model,
            DropKind::Function => kind == ObjectKind::Function,
        };
        let shown = kind.to_string().to_uppercase();
        if !matches {
            let message = format!("'{}' is a {kind}; write DROP {shown} {}", name.text, name.text);
            return Err(SqlError::invalid(message).at(name.at));
        }
        self.require_owner(&name.text).map_err(|error| error.at(name.at))?;
        if self.keeps_views {
            self.catalog.remove(name)?;
            self.busy.remove(&name.text);
            self.running.remove(&name.text);
            let message = format!("DROP {shown} {}", name.text);
            return Ok(Outcome::Dropped { name: name.text.clone(), message });
        }
        if self.busy.contains(&name.text) {
            let message = format!(
                "cannot drop '{}': a statement above has a job for this {kind}, which starts when all statements have \
                 been read; leave out one of the two",
                name.text
            );
            return Err(SqlError::invalid(message).at(name.at));
        }
        self.catalog.remove(name)?;
        Ok(Outcome::Done(format!("DROP {shown} {}", name.text)))
    }

    fn explain(&self, statement: &Statement, parsed: &ParsedStatement) -> Result<Outcome> {
        use Statement::{Copy, CreateModel, CreateTableAs, Insert, Query};
        // Of a model over tables it is its query that takes time.
        if let CreateModel(create) = statement
            && let Effect::Create { job: Some(JobKind::Train(_, Some(plan))), .. } =
                self.plan(statement, parsed.text())?
        {
            return Ok(self.shown(create.query.clone(), *plan, Wanted::Plan, parsed));
        }
        if matches!(statement, Query(_) | Insert(_) | Copy(_) | CreateTableAs(_))
            && let Effect::Run(JobKind::Batch(query, plan))
            | Effect::Create { job: Some(JobKind::Batch(query, plan)), .. } = self.plan(statement, parsed.text())?
        {
            return Ok(self.shown(query, *plan, Wanted::Plan, parsed));
        }
        let (graph, _) = self.explained(statement, parsed)?;
        Ok(Outcome::Rows(show::text_rows("plan", explain(&graph).lines())?))
    }

    /// How a query that runs as a whole would run, or has: whoever runs it knows.
    fn shown(&self, query: StreamQuery, plan: BatchPlan, wanted: Wanted, parsed: &ParsedStatement) -> Outcome {
        let plan = BatchPlan { query: BatchQuery { wanted, ..plan.query }, ..plan };
        Outcome::Job(Box::new(self.job(JobKind::Batch(query, Box::new(plan)), parsed)))
    }

    fn explain_json(&self, statement: &Statement, parsed: &ParsedStatement) -> Result<Outcome> {
        let (graph, _) = self.explained(statement, parsed)?;
        let json = PlanDocument::of_graph(&graph)?.to_json();
        Ok(Outcome::Rows(show::text_rows("plan", json.lines())?))
    }

    fn explain_migration(&self, statement: &Statement, parsed: &ParsedStatement) -> Result<Outcome> {
        let (graph, settings) = self.explained(statement, parsed)?;
        if settings.from_savepoint.is_empty() {
            return Err(SqlError::invalid("EXPLAIN MIGRATION needs a savepoint: put FROM SAVEPOINT '…' at the end"));
        }
        if !self.keeps_views {
            let hint = "it is for a session in which jobs go on, such as tidemill shell";
            return Err(SqlError::unsupported("EXPLAIN MIGRATION in a script", hint));
        }
        Ok(Outcome::Migration { graph: Box::new(graph), settings: Box::new(settings) })
    }

    /// What a statement would run.
    fn explained(&self, statement: &Statement, parsed: &ParsedStatement) -> Result<(DataflowGraph, Settings)> {
        let mut session = self.clone();
        // What runs as a whole has no graph, but what is trained with its rows.
        if !matches!(statement, Statement::CreateModel(_)) {
            session.settings.execution = Execution::Streaming;
        }
        let effect = session.plan(statement, parsed.text())?;
        let job = match session.take_effect(effect, parsed)? {
            Outcome::Job(job) => *job,
            _ => self.explain_view(statement, &session, parsed)?,
        };
        let mut builder = JobBuilder::new(&session);
        builder.build(&job)?;
        Ok((builder.finish()?, job.settings))
    }

    /// A view does not run by itself; what it would cost to read it is worth seeing.
    fn explain_view(&self, statement: &Statement, session: &Self, parsed: &ParsedStatement) -> Result<JobStatement> {
        match statement {
            Statement::CreateView(view) => {
                let query = JobKind::Select(view.query.clone());
                Ok(session.job(query, parsed))
            }
            _ => Err(SqlError::unsupported("EXPLAIN of this statement", "explain a query, a sink, a view or a model")),
        }
    }
}

pub(crate) fn object(name: &Name, kind: ObjectKind, text: &str, uses: Vec<String>, detail: Detail) -> Arc<Object> {
    Arc::new(Object { name: name.text.clone(), kind, definition: text.to_owned(), uses, detail })
}
