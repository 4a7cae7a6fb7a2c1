//! A session in which statements run as they come, and materialized views are read while they run.
//!
//! The statements of one text that run without an end make one job, which shares their sources and views;
//! each SELECT is a job of its own. Jobs go on until their objects are dropped or the session ends. The session of a
//! coordinator that keeps its metadata does not end: its objects are recorded with their jobs, and are there again
//! when the next coordinator begins.

mod appending;
mod dropping;
mod job_command;
mod restore;
mod saving;
mod shared;
pub(crate) mod show;
mod training;
mod view_rows;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::connector;
use tidemill_plans::graph::{DataflowGraph, Node};
use tidemill_plans::ids::{Epoch, JobId, OperatorId};
use tidemill_plans::node::NodeKind;
use tidemill_plans::prediction::TrainedModels;
use tidemill_plans::protocol::StopMode;
use tidemill_plans::settings::Settings;
use tidemill_sql::{
    JobBuilder, JobStatement, Outcome, ParsedStatement, ResultColumns, RunningView, Session, SqlError, parse_script,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::handle::{BatchJob, CoordinatorHandle, JobHandle, JobObjects};
use crate::job::JobStatus;

use self::appending::{Append, Rows, Work};
pub use self::appending::{Appended, Appending};
pub use self::dropping::Dropping;
use self::dropping::{Drops, Had, end};
pub(crate) use self::job_command::visible_jobs;
pub use self::saving::{Saved, Saving};
pub use self::shared::SharedScript;
use self::training::NewModel;
pub use self::training::Training;
use self::writing::{NewTable, remove};

/// How long a new materialized view may take until it can be read.
const FIRST_EPOCH: Duration = Duration::from_secs(30);

/// How long somebody waits for a job that has little to do. It may have to wait for a worker.
const LITTLE_WORK: Duration = Duration::from_secs(30);

/// A session.
pub struct SqlSession {
    coordinator: CoordinatorHandle,
    sql: Session,
    jobs: Vec<ObjectJob>,
    drops: Drops,
    /// Whether the objects are recorded, and outlive the process.
    is_kept: bool,
}

/// A job that writes or trains objects.
#[derive(Debug)]
struct ObjectJob {
    handle: JobHandle,
    /// The objects that are not dropped yet.
    objects: BTreeSet<String>,
    /// Whether it ends by itself.
    bounded: bool,
    /// Whether views are read of it, which workers hold until they are dropped.
    is_view: bool,
    /// Whether somebody was told that it has failed.
    failure_told: bool,
}

impl ObjectJob {
    fn new(handle: JobHandle, objects: BTreeSet<String>, graph: &DataflowGraph) -> Self {
        let (bounded, is_view) = (is_bounded(graph), graph.nodes.iter().any(Node::is_view));
        Self { handle, objects, bounded, is_view, failure_told: false }
    }
}

/// What a statement comes to.
#[derive(Debug)]
pub enum Reply {
    /// A message such as `CREATE VIEW v`.
    Done(String),
    /// A savepoint is to be written. Whoever gets it waits until it is.
    Saves(Saving),
    /// An object is being dropped. Whoever gets it waits until its jobs have ended.
    Drops(Dropping),
    /// Materialized views whose job has begun. Whoever gets it waits until they can be read, for a while.
    Begun(Beginning),
    /// Rows that are known already.
    Rows(RecordBatch),
    /// A job that writes rows which stood in its statement. Whoever gets it waits until they are written.
    Ends(Ending),
    /// A model is being fitted to rows that are there. Whoever gets it waits until it can be asked.
    Trains(Training),
    /// Rows are to be appended to what clients push. Whoever gets it waits until they are on disk.
    Appends(Appending),
    /// A SELECT that runs. Whoever gets it reads its results, or stops it.
    Query(Query),
    /// A statement that runs to see what its operators do (EXPLAIN ANALYZE).
    Analysis(Analysis),
}

/// The beginning of materialized views, up to their first epoch: before it nobody could tell an empty view from a slow
/// one.
#[derive(Debug)]
pub struct Beginning {
    epoch: watch::Receiver<Option<Epoch>>,
    status: watch::Receiver<JobStatus>,
}

impl Beginning {
    fn of(job: &JobHandle) -> Self {
        Self { epoch: job.epoch.clone(), status: job.status.clone() }
    }

    /// Waits until the views can be read, or their job has ended. After a while reading them says that they have no
    /// epoch yet.
    pub async fn wait(mut self) {
        let readable = async {
            tokio::select! {
                _ = self.epoch.wait_for(Option::is_some) => {}
                _ = self.status.wait_for(JobStatus::is_terminal) => {}
            }
        };
        let _ = timeout(FIRST_EPOCH, readable).await;
    }
}

/// The end of a job that has little to do.
#[derive(Debug)]
pub struct Ending {
    status: watch::Receiver<JobStatus>,
}

impl Ending {
    /// Waits until the job has ended; whether it has in time. An error if it has failed.
    pub async fn wait(mut self) -> Result<bool> {
        match timeout(LITTLE_WORK, self.status.wait_for(JobStatus::is_terminal)).await {
            Ok(Ok(status)) => match &*status {
                JobStatus::Failed { domain, message } => {
                    Err(CoordinatorError::JobFailed { domain: *domain, message: message.clone() })
                }
                _ => Ok(true),
            },
            Ok(Err(_)) => Err(CoordinatorError::ShutDown),
            Err(_) => Ok(false),
        }
    }
}

/// A statement that runs to see what its operators do. Its results must be read, or the job cannot end, but
/// nobody wants them.
#[derive(Debug)]
pub struct Analysis {
    /// Its job.
    pub job: JobHandle,
    /// What the user should know of it, and where the statement stands.
    pub warnings: Vec<String>,
    /// Its graph.
    pub graph: DataflowGraph,
    /// The sinks that it writes to.
    pub sinks: Vec<OperatorId>,
    /// The columns of a SELECT.
    pub result: Option<ResultColumns>,
}

/// A SELECT that runs.
#[derive(Debug)]
pub struct Query {
    /// Its job.
    pub job: JobHandle,
    /// What the user should know of it, and where the statement stands.
    pub warnings: Vec<String>,
    /// Its graph, to tell what its metrics are of.
    pub graph: DataflowGraph,
    /// Its columns, and the operator that delivers them.
    pub result: ResultColumns,
}

/// A job that was submitted.
struct Submitted {
    handle: JobHandle,
    warnings: Vec<String>,
    bounded: bool,
    views: Vec<(String, RunningView)>,
}

/// A text that is being executed.
#[derive(Debug)]
pub struct Script {
    statements: std::vec::IntoIter<ParsedStatement>,
    gathered: Gathered,
    /// The table that its last statement makes, or the training set.
    new_table: Option<NewTable>,
    /// The model that is fitted to that.
    new_model: Option<NewModel>,
    /// Its own settings, if they are not the session's.
    settings: Option<Settings>,
    /// Who has it executed.
    who: Who,
}

/// The job that the statements of a text make together.
#[derive(Debug, Default)]
struct Gathered {
    statements: Vec<JobStatement>,
    messages: Vec<String>,
    /// The objects that were created, those without a job too once there is one that they may be made of.
    created: Vec<String>,
}

impl Gathered {
    fn add(&mut self, job: JobStatement) {
        self.created.extend(job.created().map(str::to_owned));
        self.messages.push(job.message().to_owned());
        self.statements.push(job);
    }
}

impl Script {
    fn new(statements: std::vec::IntoIter<ParsedStatement>, settings: Option<Settings>, who: Who) -> Self {
        Self { statements, gathered: Gathered::default(), new_table: None, new_model: None, settings, who }
    }
}

impl SqlSession {
    /// A session without objects; `settings` are those before its first statement.
    #[must_use]
    pub fn new(coordinator: CoordinatorHandle, settings: Settings) -> Self {
        Self {
            sql: with_batches(Session::interactive(settings), &coordinator),
            coordinator,
            jobs: Vec::new(),
            drops: Drops::default(),
            is_kept: false,
        }
    }

    /// What its jobs run on.
    pub(crate) fn coordinator(&self) -> &CoordinatorHandle {
        &self.coordinator
    }

    /// Executes the statements of a text, one after the other, and hands on what each comes to. Those in
    /// front of an error have taken effect.
    ///
    /// # Errors
    /// What is wrong with the first statement that is; what `reply` returns.
    pub async fn run<E: From<CoordinatorError>>(
        &mut self,
        text: &str,
        mut reply: impl AsyncFnMut(Reply) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut script = self.read(text).await?;
        let outcome = self.run_steps(&mut script, &mut reply).await;
        if outcome.is_err() {
            self.leave(script).await;
        }
        outcome
    }

    async fn run_steps<E: From<CoordinatorError>>(
        &mut self,
        script: &mut Script,
        reply: &mut impl AsyncFnMut(Reply) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(replies) = self.step(script).await? {
            for answer in replies {
                reply(answer).await?;
            }
        }
        Ok(())
    }

    /// Reads a text, whose statements are then executed by [`Self::step`].
    pub async fn read(&mut self, text: &str) -> Result<Script> {
        self.refresh().await?;
        let statements = parse_script(text).map_err(sql_error)?.into_iter();
        Ok(Script::new(statements, None, Who::LOCAL))
    }

    /// As [`Self::read`], with settings that begin as they are and end with the text: others use the session, too. It is
    /// executed with somebody's rights.
    pub async fn read_apart(&mut self, text: &str, who: Who) -> Result<Script> {
        Ok(Script { settings: Some(Settings::default()), who, ..self.read(text).await? })
    }

    /// Executes the next statement of a text; returns what it and those before it have come to, and nothing behind
    /// the last one. After an error the text is to be left.
    pub async fn step(&mut self, script: &mut Script) -> Result<Option<Vec<Reply>>> {
        let begun = self.settle(script).await?;
        if !begun.is_empty() {
            return Ok(Some(begun));
        }
        let next = script.statements.as_slice().first().map(|statement| statement.text().to_owned());
        let mut done = self.step_on(script).await;
        if let Some(text) = next.filter(|_| self.is_kept) {
            match saving_of(&mut done) {
                // What comes of it is known later.
                Some(saving) => saving.asked = Some((script.who.clone(), text)),
                None => self.coordinator.access().note(&script.who, "statement", &text, &done).await,
            }
        }
        done
    }

    /// Sees to what the last statement has begun, and others have waited for.
    async fn settle(&mut self, script: &mut Script) -> Result<Vec<Reply>> {
        if let Some(table) = script.new_table.take() {
            return self.take_in(table, &mut script.new_model, &script.who).await;
        }
        let Some(model) = script.new_model.take() else { return Ok(Vec::new()) };
        let text = model.text().to_owned();
        let settled = self.settle_model(model, &script.who).await;
        if settled.is_err() && self.is_kept {
            self.coordinator.access().note(&script.who, "statement", &text, &settled).await;
        }
        settled.map(|()| Vec::new())
    }

    async fn step_on(&mut self, script: &mut Script) -> Result<Option<Vec<Reply>>> {
        let Script { statements, gathered, new_table, settings, who, .. } = script;
        let Some(statement) = statements.next() else {
            if gathered.statements.is_empty() {
                return Ok(None);
            }
            return Ok(Some(self.start(std::mem::take(gathered), who).await?));
        };
        let mut replies = Vec::new();
        if statement.follows_jobs() {
            replies = self.start(std::mem::take(gathered), who).await?;
            self.look_at_views().await?;
        }
        let statement = self.completed(vec![statement], who).await?.pop();
        let statement = statement.ok_or(CoordinatorError::Lost { part: "statement" })?;
        let before = self.sql.clone();
        let rights = self.coordinator.access().rights(who)?;
        let view_rows = self.view_rows(std::slice::from_ref(&statement), settings.as_ref(), who).await?;
        self.sql.set_view_rows(view_rows);
        settings.iter_mut().for_each(|own| std::mem::swap(own, &mut self.sql.settings));
        let outcome = self.sql.with_rights(rights, |sql| sql.execute(&statement)).map_err(sql_error);
        settings.iter_mut().for_each(|own| std::mem::swap(own, &mut self.sql.settings));
        self.sql.set_view_rows(BTreeMap::new());
        let outcome = outcome?;
        if let Err(error) = self.make_room(&outcome).await {
            self.sql = before;
            return Err(error);
        }
        match outcome {
            Outcome::Job(job) if job.appends().is_some() => replies.push(self.append(*job, who).await?),
            Outcome::Job(job) if job.writes_whole() => {
                // A table is there once its rows are, and may be of what stands in front of it.
                self.sql = before;
                replies.extend(self.start(std::mem::take(gathered), who).await?);
                replies.push(self.write(*job, new_table, who).await?);
            }
            Outcome::Job(job) if !job.is_select() && !job.is_analyzed() => gathered.add(*job),
            // In the order of the statements, though jobs start at the end.
            Outcome::Done(message) if !gathered.statements.is_empty() => gathered.messages.push(message),
            Outcome::Created { name, message } if !gathered.statements.is_empty() => {
                gathered.messages.push(message);
                gathered.created.push(name);
            }
            Outcome::Done(message) => replies.push(Reply::Done(message)),
            Outcome::Created { name, message } => {
                let recorded = self.record(&name, who).await;
                let reply = self.done_or_undone(recorded, message, before)?;
                if let Some(weights) = statement.imported() {
                    self.coordinator.serving().put(weights);
                    self.coordinator.serving().write().await?;
                }
                replies.push(reply);
            }
            Outcome::Dropped { name, message } => {
                if let Err(error) = self.remove(&name).await {
                    self.sql = before;
                    return Err(error);
                }
                let (log, place) = (before.is_pushed(&name), before.place_of(&name));
                let versions = before.catalog.entry(&name).is_some_and(|entry| entry.kind == ObjectKind::Model);
                if versions {
                    self.coordinator.forget_model(&name).await?;
                }
                let had = Had { jobs: self.jobs_for_nothing_but(&name), log, versions, place };
                replies.push(Reply::Drops(self.drops.begin(&self.coordinator, &name, message, had)));
            }
            Outcome::Rows(rows) => replies.push(Reply::Rows(rows)),
            Outcome::Export(command) => {
                let message = format!("EXPORT MODEL {}", command.model);
                self.coordinator.export_model(command).await?;
                replies.push(Reply::Done(message));
            }
            Outcome::Alias(command) => {
                self.coordinator.serving().alias(&command).await?;
                replies.push(Reply::Done(format!("ALTER MODEL {}", command.model)));
            }
            Outcome::JobCommand(command) => replies.push(self.job_command(command, who).await?),
            Outcome::Access(command) => replies.push(self.access_command(command, who).await?),
            Outcome::Migration { graph, settings } => {
                let migration = self.coordinator.migration(&graph, &settings).await?;
                replies.push(Reply::Rows(show::migration(&migration)?));
            }
            Outcome::Job(job) => replies.push(self.select(*job, who).await?),
        }
        Ok(Some(replies))
    }

    /// Statements with what they leave to others: the columns of their files, for somebody who may create tables, and the
    /// places of new tables. What their queries read of jobs is looked up for whoever asks.
    pub(super) async fn completed(
        &mut self,
        statements: Vec<ParsedStatement>,
        who: &Who,
    ) -> Result<Vec<ParsedStatement>> {
        let wants_files = |one: &ParsedStatement| one.wants_columns_of().is_some() || one.wants_model().is_some();
        if statements.iter().any(wants_files) {
            self.as_seen_by(who, |sql| sql.check_wanted_columns(&statements))?.map_err(sql_error)?;
        }
        for name in statements.iter().flat_map(ParsedStatement::wants_rows_of) {
            let rows = self.rows_of(name, who).await?;
            self.sql.set_rows_of(name, rows);
        }
        for model in statements.iter().filter_map(ParsedStatement::wants_versions_of) {
            self.sql.set_versions(self.coordinator.versions_by_number(model).await?);
        }
        self.coordinator.completed(statements).await
    }

    /// A statement has done what it says if that has been recorded; else the session is as it was before.
    fn done_or_undone(&mut self, recorded: Result<()>, message: String, before: Session) -> Result<Reply> {
        match recorded {
            Ok(()) => Ok(Reply::Done(message)),
            Err(error) => {
                self.sql = before;
                Err(error)
            }
        }
    }

    async fn record(&self, name: &str, who: &Who) -> Result<()> {
        match self.sql.catalog.entry(name).filter(|_| self.is_kept) {
            Some(entry) => self.coordinator.record_object(entry, who.role.clone()).await,
            None => Ok(()),
        }
    }

    /// Before an object is recorded: what an earlier one of its name has left is not to be taken for its own.
    async fn make_room(&self, outcome: &Outcome) -> Result<()> {
        match outcome {
            Outcome::Job(job) => job.created().or(job.new_table()).map_or(Ok(()), |name| self.drops.check_free(name)),
            Outcome::Created { name, .. } => {
                self.drops.check_free(name)?;
                self.begin_log(name).await
            }
            _ => Ok(()),
        }
    }

    async fn begin_log(&self, name: &str) -> Result<()> {
        match self.sql.is_pushed(name) {
            true => self.coordinator.pushed().create(name).await,
            false => Ok(()),
        }
    }

    /// Before its jobs end: once this is done, no coordinator goes on with them.
    async fn remove(&self, name: &str) -> Result<()> {
        if self.is_kept {
            self.coordinator.remove_object(name).await?;
        }
        Ok(())
    }

    /// Leaves the rest of a text in which something is wrong: what was created in front of that runs.
    pub async fn leave(&mut self, mut script: Script) {
        if let Some(table) = script.new_table
            && let Err(error) = self.take_in(table, &mut script.new_model, &script.who).await
        {
            warn!(error = error.chain(), "a table in front of an error is not there");
        }
        if let Some(model) = script.new_model {
            self.leave_model(model, &script.who).await;
        }
        if let Err(error) = self.start(script.gathered, &script.who).await {
            // The error before this one is told.
            warn!(error = error.chain(), "what stands in front of an error cannot be started");
        }
    }

    /// Starts the job of statements that run without an end.
    async fn start(&mut self, gathered: Gathered, who: &Who) -> Result<Vec<Reply>> {
        let Gathered { statements, messages, created } = gathered;
        let messages = messages.into_iter().map(Reply::Done);
        if statements.is_empty() {
            return Ok(messages.collect());
        }
        let objects: BTreeSet<String> = statements.iter().filter_map(|job| job.object().map(str::to_owned)).collect();
        match self.submit(&statements, &objects, &created, who).await {
            Ok(Submitted { handle, warnings, bounded, views }) => {
                let begun = (!views.is_empty()).then(|| Reply::Begun(Beginning::of(&handle)));
                let ends = statements.iter().all(JobStatement::writes_values);
                let ends = ends.then(|| Reply::Ends(Ending { status: handle.status.clone() }));
                let is_view = !views.is_empty();
                for (name, view) in views {
                    self.sql.view_started(&name, view);
                }
                self.jobs.retain(|job| job.is_view || *job.handle.status.borrow() != JobStatus::Finished);
                self.jobs.push(ObjectJob { handle, objects, bounded, is_view, failure_told: false });
                let warnings = warnings.into_iter().map(|warning| Reply::Done(format!("warning: {warning}")));
                Ok(begun.into_iter().chain(ends).chain(warnings).chain(messages).collect())
            }
            Err(error) => {
                // The last first: they may be made of those before.
                for name in created.iter().rev() {
                    let training_set = self.sql.training_set_of(name);
                    self.sql.take_back(name);
                    if let Some(place) = training_set {
                        remove(self.coordinator.tables(), place).await?;
                    }
                }
                Err(error)
            }
        }
    }

    async fn submit(
        &self,
        statements: &[JobStatement],
        objects: &BTreeSet<String>,
        created: &[String],
        who: &Who,
    ) -> Result<Submitted> {
        let mut builder = JobBuilder::new(&self.sql);
        let mut sinks = Vec::new();
        for statement in statements {
            let added = builder.add(statement).map_err(sql_error)?;
            sinks.extend(statement.object().map(str::to_owned).zip(added.view));
        }
        let settings = builder.job_settings().clone();
        let warnings = warnings(&builder);
        let mut graph = builder.finish().map_err(sql_error)?;
        self.coordinator.inserts().number(&mut graph, &self.sql.catalog);
        let bounded = is_bounded(&graph);
        let created = created.iter().filter_map(|name| self.sql.catalog.entry(name)).collect();
        let objects = self.is_kept.then(|| JobObjects { all: objects.clone(), created });
        let mut handle = self.coordinator.submit_for(graph, settings, who.role.clone(), objects).await?;
        // None of these has rows for the session.
        handle.results.close();
        let view = |(operator, parallelism)| RunningView { job: handle.id, operator, parallelism };
        let views: Vec<_> = sinks.into_iter().map(|(name, sink)| (name, view(sink))).collect();
        Ok(Submitted { handle, warnings, bounded, views })
    }

    async fn select(&mut self, statement: JobStatement, who: &Who) -> Result<Reply> {
        if let Some(query) = statement.batch() {
            self.as_seen_by(who, |sql| sql.check_batch(&statement))?.map_err(sql_error)?;
            let query = self.coordinator.inserts().numbered(query, &self.sql.catalog);
            let BatchJob { job, graph, result } =
                self.coordinator.run_batch(&statement, &query, who.role.clone()).await?;
            return Ok(Reply::Query(Query { job, warnings: Vec::new(), graph, result }));
        }
        let mut builder = JobBuilder::new(&self.sql);
        let added = builder.add(&statement).map_err(sql_error)?;
        // It was planned a while ago, maybe, and what was granted then may have been revoked.
        self.as_seen_by(who, |sql| sql.check_job(&statement, &added))?.map_err(sql_error)?;
        let settings = builder.job_settings().clone();
        let warnings = warnings(&builder);
        let mut graph = builder.finish().map_err(sql_error)?;
        self.coordinator.inserts().number(&mut graph, &self.sql.catalog);
        let job = self.coordinator.submit_for(graph.clone(), settings, who.role.clone(), None).await?;
        if statement.is_analyzed() {
            let sinks = added.sinks(&graph);
            return Ok(Reply::Analysis(Analysis { job, warnings, graph, sinks, result: added.result }));
        }
        let result = added.result.ok_or(CoordinatorError::Lost { part: "result" })?;
        Ok(Reply::Query(Query { job, warnings, graph, result }))
    }

    /// Begins an INSERT into what clients push.
    async fn append(&mut self, statement: JobStatement, who: &Who) -> Result<Reply> {
        let Some((target, columns)) = statement.appends() else { return Err(CoordinatorError::Changed) };
        let (target, columns, message) = (target.clone(), columns.to_vec(), statement.message().to_owned());
        let log = self.coordinator.pushed().open_log(&target.table).await?;
        let rows = match self.known_rows(&statement)? {
            Some(rows) => Rows::Known(rows),
            None => match self.select(statement, who).await? {
                Reply::Query(query) => Rows::Of(Box::new(query)),
                _ => return Err(CoordinatorError::Changed),
            },
        };
        let append = Append { rows, target, columns, log };
        Ok(Reply::Appends(Appending { work: Work::Appends(Box::new(append)), message }))
    }

    /// The rows of a statement that are known without running it.
    fn known_rows(&self, statement: &JobStatement) -> Result<Option<RecordBatch>> {
        if statement.batch().is_some() {
            return Ok(None);
        }
        let mut builder = JobBuilder::new(&self.sql);
        let added = builder.add(statement).map_err(sql_error)?;
        Ok(added.result.and_then(|result| builder.known_rows(&result)))
    }

    /// Takes the jobs out that work for no other object than this one, which is gone.
    fn jobs_for_nothing_but(&mut self, name: &str) -> Vec<JobHandle> {
        let is_over = |job: &mut ObjectJob| job.objects.remove(name) && job.objects.is_empty();
        self.jobs.extract_if(.., is_over).map(|job| job.handle).collect()
    }

    /// The jobs that have failed since the last call, as messages.
    pub fn failures(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        for job in &mut self.jobs {
            if let JobStatus::Failed { message, .. } = &*job.handle.status.borrow()
                && !std::mem::replace(&mut job.failure_told, true)
            {
                let objects: Vec<&str> = job.objects.iter().map(String::as_str).collect();
                messages.push(format!("the job of {} failed: {message}", objects.join(", ")));
            }
        }
        messages
    }

    /// Waits for the jobs that end by themselves.
    pub async fn finish(&self) {
        for job in self.jobs.iter().filter(|job| job.bounded) {
            job.handle.wait().await;
        }
    }

    /// Ends all jobs because the process is to end. Those that have checkpoints and are not done in time are left to
    /// a later one; returns them.
    pub async fn interrupt(&mut self) -> Result<Vec<JobId>> {
        let mut left = Vec::new();
        for job in std::mem::take(&mut self.jobs) {
            job.handle.interrupt(StopMode::Drain).await?;
            if job.handle.wait().await == JobStatus::Suspended {
                left.push(job.handle.id);
            }
        }
        self.drops.finish().await;
        Ok(left)
    }

    /// Ends all jobs; what they have read is written.
    pub async fn close(&mut self) -> Result<()> {
        for job in std::mem::take(&mut self.jobs) {
            end(&self.coordinator, &job.handle).await?;
        }
        self.drops.finish().await;
        Ok(())
    }
}

/// A session that runs queries as a whole if its coordinator has what does.
fn with_batches(mut sql: Session, coordinator: &CoordinatorHandle) -> Session {
    sql.set_trained_models(Arc::clone(coordinator.serving()) as Arc<dyn TrainedModels>);
    if coordinator.runs_batches() { sql.with_batches() } else { sql }
}

/// The savepoint that a statement is about, if it is.
fn saving_of(done: &mut Result<Option<Vec<Reply>>>) -> Option<&mut Saving> {
    match done.as_mut().ok()?.as_mut()?.last_mut()? {
        Reply::Saves(saving) => Some(saving),
        _ => None,
    }
}

/// What the user should know before a job runs.
fn warnings(builder: &JobBuilder) -> Vec<String> {
    builder.warnings().into_iter().map(|(at, warning)| format!("{at}{warning}")).collect()
}

/// Whether all sources of a graph end.
fn is_bounded(graph: &DataflowGraph) -> bool {
    graph.nodes.iter().all(|node| match &node.kind {
        NodeKind::Source(source) => connector::is_bounded(&source.connector, &source.options).unwrap_or(false),
        _ => true,
    })
}

fn sql_error(error: SqlError) -> CoordinatorError {
    CoordinatorError::Sql(Box::new(error))
}

#[cfg(test)]
mod tests;
