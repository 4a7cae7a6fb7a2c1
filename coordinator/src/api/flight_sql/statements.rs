//! Statements of clients: planned when they are asked for, run when they are fetched.
//!
//! What has no rows is carried out when it is asked for: many clients never fetch it, and none waits for the fetching
//! before its next statement. It is carried out to its end, whether its client waits for that or not.

use std::sync::{Arc, Mutex as BlockingMutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_plans::PlanError;
use tidemill_plans::protocol::StopMode;
use tidemill_plans::settings::{ResultEndpoints, Settings};
use tidemill_sql::{Description, JobCommand, JobStatement, ParsedStatement};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use tonic::Status;

use super::super::flight::{Boxed, to_status};
use super::handed_out::{self, HandedOut};
use super::polled::Polled;
use super::stream::{self, Cancellation, Jobs};
use crate::access::{Who, show as access_rows};
use crate::error::{CoordinatorError, Result};
use crate::follow::analysis_columns;
use crate::limits::{StatementPlace, StatementPlaces};
use crate::session::{Analysis, Appended, Query, Reply, SharedScript, SqlSession, show};

/// The session that all clients share, and what runs in it.
pub(super) struct Statements {
    pub(super) session: Arc<Mutex<SqlSession>>,
    places: StatementPlaces,
    /// Ends with the endpoint.
    running: BlockingMutex<JoinSet<()>>,
}

/// What a client can fetch.
#[derive(Clone)]
pub(super) enum Pending {
    /// Rows that are there.
    Rows(RecordBatch),
    /// Statements that run when they are fetched.
    Jobs(Jobs),
    /// A statement whose result is fetched from workers.
    HandedOut(SchemaRef, Cancellation),
}

impl Pending {
    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Rows(rows) => rows.schema(),
            Self::Jobs(jobs) => Arc::clone(&jobs.schema),
            Self::HandedOut(schema, _) => Arc::clone(schema),
        }
    }
}

/// What executing a text has come to.
pub(super) struct Executed {
    pub(super) pending: Pending,
    /// Whether rows come as they are known, for there may be no end.
    pub(super) is_live: bool,
    /// How many parts the result has.
    parts: u32,
    /// What the client should know.
    pub(super) warnings: Vec<String>,
    /// The settings as the text has left them.
    pub(super) settings: Settings,
}

impl Executed {
    fn of_rows(rows: RecordBatch, warnings: Vec<String>, settings: Settings) -> Self {
        Self { pending: Pending::Rows(rows), is_live: false, parts: 1, warnings, settings }
    }
}

/// What carrying out statements has come to.
#[derive(Default)]
pub(super) struct CarriedOut {
    pub(super) messages: Vec<String>,
    rows: Option<RecordBatch>,
    /// Whether all rows that stood in the statements have been written.
    pub(super) has_written: bool,
    /// How many INSERTs have appended rows, and how many rows.
    pub(super) appended: (usize, u64),
    pub(super) settings: Settings,
}

impl CarriedOut {
    fn note(&mut self, Appended { rows, message }: Appended) {
        let (statements, before) = self.appended;
        self.appended = (statements + 1, before + rows);
        self.messages.push(message);
    }
}

impl Statements {
    pub(super) fn new(session: Arc<Mutex<SqlSession>>, places: StatementPlaces) -> Self {
        Self { session, places, running: BlockingMutex::default() }
    }

    /// The columns of a text's rows, and nothing if it has none. Nothing is done.
    pub(super) async fn columns(
        &self,
        text: &[ParsedStatement],
        settings: &Settings,
        who: &Who,
    ) -> Result<Option<SchemaRef>> {
        let described = self.session.lock().await.describe(text, settings, who).await?;
        Ok(match described {
            Description::Query { columns, .. } => Some(columns.schema),
            Description::Analysis(_) => Some(analysis_columns()),
            Description::Rows(rows) => Some(rows.schema()),
            Description::JobRows(JobCommand::ShowCheckpoints(_)) => Some(show::checkpoints(&[])?.schema()),
            Description::JobRows(JobCommand::ShowMetrics(_)) => Some(show::metrics(None)?.schema()),
            Description::JobRows(_) => Some(show::jobs(&[])?.schema()),
            Description::AccessRows(command) => Some(access_rows::columns(&command)?),
            Description::Effect => None,
        })
    }

    /// Executes texts, which differ in the values of their parameters only: what has rows is planned, anything else is
    /// carried out.
    pub(super) async fn execute(
        &self,
        texts: Vec<Vec<ParsedStatement>>,
        settings: Settings,
        who: &Who,
    ) -> Result<Executed> {
        let session = Arc::clone(&self.session);
        self.to_its_end(who, execute(session, texts, settings, who.clone())).await
    }

    /// Begins a statement whose result workers are to hand out, if it has parts and they can be reached. It runs until
    /// all is fetched or cancelled.
    pub(super) async fn hand_out(&self, executed: &mut Executed, who: &Who) -> Result<Option<HandedOut>> {
        if executed.settings.result_endpoints != ResultEndpoints::Workers || executed.parts < 2 {
            return Ok(None);
        }
        let Pending::Jobs(jobs) = &executed.pending else { return Ok(None) };
        let [statement] = jobs.statements.as_slice() else { return Ok(None) };
        let coordinator = self.session.lock().await.coordinator().clone();
        if !coordinator.can_hand_out().await? {
            return Ok(None);
        }
        let place = self.places.take(who)?;
        let (schema, cancellation) = (Arc::clone(&jobs.schema), Cancellation::new());
        let (handed_out, job) = HandedOut::begin(statement.clone(), &self.session, who).await?;
        self.spawn(handed_out::watch(job, cancellation.clone(), place));
        executed.pending = Pending::HandedOut(schema, cancellation);
        Ok(Some(handed_out))
    }

    /// Carries statements out that have no rows.
    pub(super) async fn update(
        &self,
        texts: Vec<Vec<ParsedStatement>>,
        settings: Settings,
        who: &Who,
    ) -> Result<CarriedOut> {
        let statements: Vec<ParsedStatement> = texts.into_iter().flatten().collect();
        if let Some(statement) = statements.iter().find(|statement| statement.has_rows()) {
            let message = format!("{}this statement has rows: execute it as a query", statement.position());
            return Err(CoordinatorError::Statement { message });
        }
        let session = Arc::clone(&self.session);
        self.to_its_end(who, carry_out(session, statements, settings, who.clone())).await
    }

    /// Fetches what a text has come to, for somebody who may still see it.
    pub(super) fn fetch(&self, pending: Pending, who: &Who) -> Result<Boxed<arrow_flight::FlightData>> {
        Ok(match pending {
            Pending::Rows(rows) => stream::of_rows(rows),
            Pending::HandedOut(..) => {
                let message = String::from("the parts of this result are at the locations of its endpoints");
                return Err(CoordinatorError::Statement { message });
            }
            Pending::Jobs(jobs) => {
                if let Some(rows) = jobs.polled.as_ref().and_then(|(polled, _)| polled.rows()) {
                    return Ok(stream::of_queue(jobs.schema, rows));
                }
                let place = self.places.take(who)?;
                let (rows, running) = stream::of_jobs(jobs, Arc::clone(&self.session), who.clone());
                self.spawn(async move {
                    running.await;
                    drop(place);
                });
                rows
            }
        })
    }

    /// Begins statements before anybody fetches them, for somebody who polls.
    pub(super) fn begin(&self, jobs: Jobs, who: &Who) -> Result<Polled> {
        let place = self.places.take(who)?;
        let (polled, running) = stream::polled(jobs, Arc::clone(&self.session), who.clone());
        self.spawn(async move {
            running.await;
            drop(place);
        });
        Ok(polled)
    }

    /// A place for something that a client does, for as long as that takes.
    pub(super) fn place(&self, who: &Who) -> Result<StatementPlace, Status> {
        self.places.take(who).map_err(|error| to_status(&error))
    }

    /// Does something to its end, though whoever waits for it may be gone.
    async fn to_its_end<T: Send + 'static>(
        &self,
        who: &Who,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let place = self.places.take(who)?;
        let (answer, answered) = oneshot::channel();
        self.spawn(async move {
            // Whoever is gone does not want to know.
            let _ = answer.send(work.await);
            drop(place);
        });
        answered.await.unwrap_or(Err(CoordinatorError::ShutDown))
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(work);
    }
}

async fn execute(
    session: Arc<Mutex<SqlSession>>,
    texts: Vec<Vec<ParsedStatement>>,
    settings: Settings,
    who: Who,
) -> Result<Executed> {
    let Some(first) = texts.first() else {
        let message = String::from("the statement is to be executed for no values at all: there is nothing to fetch");
        return Err(CoordinatorError::Statement { message });
    };
    let described = session.lock().await.describe(first, &settings, &who).await?;
    match (described, first.len()) {
        (query @ (Description::Query { .. } | Description::Analysis(_)), 1) => {
            let mut planned = Planned::new(query)?;
            for text in &texts[1..] {
                planned.add(session.lock().await.describe(text, &settings, &who).await?)?;
            }
            planned.executed(settings)
        }
        (Description::Query { .. } | Description::Analysis(_), _) => {
            let [mut text] = <[_; 1]>::try_from(texts).map_err(|_| CoordinatorError::Changed)?;
            let last = text.split_off(text.len() - 1);
            let CarriedOut { messages, settings, .. } =
                carry_out(Arc::clone(&session), text, settings, who.clone()).await?;
            let planned = Planned::new(session.lock().await.describe(&last, &settings, &who).await?)?;
            let executed = planned.executed(settings)?;
            Ok(Executed { warnings: messages.into_iter().chain(executed.warnings).collect(), ..executed })
        }
        (Description::Rows(rows), 1) => Ok(Executed::of_rows(rows, Vec::new(), settings)),
        _ => {
            let statements = texts.into_iter().flatten().collect();
            let CarriedOut { messages, rows, settings, .. } = carry_out(session, statements, settings, who).await?;
            match rows {
                Some(rows) => Ok(Executed::of_rows(rows, messages, settings)),
                None => Ok(Executed::of_rows(told(&messages)?, Vec::new(), settings)),
            }
        }
    }
}

/// SELECTs whose rows are one result.
struct Planned {
    schema: SchemaRef,
    statements: Vec<JobStatement>,
    /// The rows of all of them, as long as they are known.
    rows: Option<Vec<RecordBatch>>,
    is_live: bool,
    /// Of the last one's result.
    parts: u32,
    warnings: Vec<String>,
}

impl Planned {
    fn new(query: Description) -> Result<Self> {
        let rows = Some(Vec::new());
        let schema = Arc::new(Schema::empty());
        let mut planned = Self { schema, statements: Vec::new(), rows, is_live: false, parts: 1, warnings: Vec::new() };
        planned.add(query)?;
        Ok(planned)
    }

    fn add(&mut self, query: Description) -> Result<()> {
        let (job, schema, warnings, rows) = match query {
            Description::Query { job, columns, warnings, rows } => {
                self.is_live |= columns.live && !columns.ends;
                self.parts = columns.parts;
                (job, columns.schema, warnings, rows)
            }
            Description::Analysis(job) => (job, analysis_columns(), Vec::new(), None),
            _ => return Err(CoordinatorError::Changed),
        };
        if self.statements.is_empty() {
            self.schema = schema;
        } else if self.schema != schema {
            let message = String::from("the values of the parameters give the result different columns");
            return Err(CoordinatorError::Statement { message });
        }
        self.rows = self.rows.take().zip(rows).map(|(known, rows)| known.into_iter().chain([rows]).collect());
        self.statements.push(*job);
        self.warnings = warnings;
        Ok(())
    }

    fn executed(self, settings: Settings) -> Result<Executed> {
        let Self { schema, statements, rows, is_live, parts, warnings } = self;
        let pending = match rows {
            Some(rows) => Pending::Rows(concat_batches(&schema, &rows).map_err(PlanError::from)?),
            None => Pending::Jobs(Jobs { statements, schema, cancellation: Cancellation::new(), polled: None }),
        };
        Ok(Executed { pending, is_live, parts, warnings, settings })
    }
}

async fn carry_out(
    session: Arc<Mutex<SqlSession>>,
    statements: Vec<ParsedStatement>,
    settings: Settings,
    who: Who,
) -> Result<CarriedOut> {
    session.lock().await.refresh().await?;
    let mut script = SharedScript::new(session, SqlSession::script(statements, settings, who));
    let mut done = CarriedOut::default();
    while let Some(replies) = script.next().await? {
        for reply in replies {
            match reply {
                Reply::Done(message) => done.messages.push(message),
                Reply::Saves(saving) => done.messages.push(saving.wait().await?.message),
                Reply::Appends(appending) => done.note(appending.wait().await?),
                Reply::Drops(dropping) => done.messages.push(dropping.wait().await?),
                Reply::Begun(beginning) => beginning.wait().await,
                Reply::Trains(training) => done.messages.extend(training.wait().await),
                Reply::Ends(ending) => done.has_written = ending.wait().await?,
                Reply::Rows(rows) => done.rows = Some(rows),
                // They are planned, and run when they are fetched.
                Reply::Query(Query { job, .. }) | Reply::Analysis(Analysis { job, .. }) => {
                    job.stop(StopMode::Cancel).await?;
                    return Err(CoordinatorError::Changed);
                }
            }
        }
    }
    done.settings = script.into_settings().unwrap_or_default();
    Ok(done)
}

/// What statements say, a row each.
fn told(messages: &[String]) -> Result<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![Field::new("message", DataType::Utf8, false)]));
    let messages: ArrayRef = Arc::new(StringArray::from_iter_values(messages));
    Ok(RecordBatch::try_new(schema, vec![messages]).map_err(PlanError::from)?)
}
