//! The rows of a SELECT on their way to a client: from its jobs, through a short queue, as Flight data.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightInfo};
use futures::{StreamExt, stream};
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::protocol::StopMode;
use tidemill_sql::JobStatement;
use tokio::sync::{Mutex, mpsc, watch};
use tonic::Status;

use super::super::flight::{Boxed, to_status};
use super::polled::{ABANDONED, Polled, Teller};
use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::follow::{Taker, analyze, follow};
use crate::session::{Reply, SqlSession};

/// Batches that wait for a client before its SELECT does.
const BATCHES_MAX: usize = 4;

/// What tells the streams of a statement that it is cancelled.
#[derive(Debug, Clone)]
pub(super) struct Cancellation(Arc<watch::Sender<bool>>);

impl Cancellation {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }

    /// Tells whether the statement is cancelled. Whoever cancels waits until this is dropped.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Cancels the statement, and waits until all that ran for it has ended. It does not run again.
    pub(super) async fn cancel(&self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

/// Statements that run one after the other, and whose rows make one result.
#[derive(Clone)]
pub(super) struct Jobs {
    pub(super) statements: Vec<JobStatement>,
    pub(super) schema: SchemaRef,
    pub(super) cancellation: Cancellation,
    /// What runs since somebody has polled it. It is fetched once; who fetches again has the statements run again.
    pub(super) polled: Option<(Polled, FlightInfo)>,
}

impl Jobs {
    /// Whether all of them are queries as a whole, whose progress is known.
    pub(super) fn are_whole(&self) -> bool {
        self.statements.iter().all(|statement| statement.batch().is_some())
    }
}

/// Rows that are there.
pub(super) fn of_rows(rows: RecordBatch) -> Boxed<FlightData> {
    encoded(rows.schema(), stream::iter([Ok(rows)]).boxed())
}

/// The rows of statements that begin to run, and what is to be spawned for them.
pub(super) fn of_jobs(
    jobs: Jobs,
    session: Arc<Mutex<SqlSession>>,
    who: Who,
) -> (Boxed<FlightData>, impl Future<Output = ()> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    let schema = Arc::clone(&jobs.schema);
    let client = Client { rows: sender, cancelled: jobs.cancellation.subscribe(), teller: None };
    (of_queue(schema, receiver), run_for(jobs, session, who, client))
}

/// Begins to run statements before anybody fetches them. Returns what is polled, and what is to be spawned for them.
pub(super) fn polled(
    jobs: Jobs,
    session: Arc<Mutex<SqlSession>>,
    who: Who,
) -> (Polled, impl Future<Output = ()> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    let (polled, teller) = Polled::new(receiver);
    let abandoned = polled.end_if_abandoned(ABANDONED);
    let client = Client { rows: sender, cancelled: jobs.cancellation.subscribe(), teller: Some(teller) };
    let running = async move {
        tokio::select! {
            () = run_for(jobs, session, who, client) => {}
            () = abandoned => {}
        }
    };
    (polled, running)
}

/// Rows that come from a queue.
pub(super) fn of_queue(schema: SchemaRef, rows: mpsc::Receiver<Result<RecordBatch>>) -> Boxed<FlightData> {
    let rows = stream::unfold(rows, async |mut rows| Some((rows.recv().await?, rows)));
    encoded(schema, rows.boxed())
}

async fn run_for(jobs: Jobs, session: Arc<Mutex<SqlSession>>, who: Who, client: Client) {
    let ended = run_all(jobs, &session, &who, &client).await;
    if let Some(teller) = &client.teller {
        match &ended {
            Ok(()) => teller.ready(),
            Err(error) => teller.fail(to_status(error)),
        }
    }
    if let Err(error) = ended {
        // Whoever is gone does not want to know.
        let _ = client.rows.send(Err(error)).await;
    }
}

fn encoded(schema: SchemaRef, rows: stream::BoxStream<'static, Result<RecordBatch>>) -> Boxed<FlightData> {
    let rows = rows.map(|rows| rows.map_err(|error| FlightError::Tonic(Box::new(to_status(&error)))));
    Box::pin(FlightDataEncoderBuilder::new().with_schema(schema).build(rows).map(|data| data.map_err(Status::from)))
}

async fn run_all(jobs: Jobs, session: &Mutex<SqlSession>, who: &Who, client: &Client) -> Result<()> {
    for statement in jobs.statements {
        let begun = session.lock().await.begin(statement, who).await?;
        match begun {
            Reply::Query(mut query) => {
                let changed = query.result.schema != jobs.schema;
                if changed {
                    query.job.stop(StopMode::Cancel).await?;
                    return Err(CoordinatorError::Changed);
                }
                follow(&mut query, client).await?;
            }
            Reply::Analysis(mut analysis) => {
                let rows = analyze(&mut analysis, client).await?;
                client.take(rows).await?;
            }
            // Nothing else runs for its rows.
            _ => return Err(CoordinatorError::Changed),
        }
    }
    Ok(())
}

/// The client at the other end.
struct Client {
    rows: mpsc::Sender<Result<RecordBatch>>,
    cancelled: watch::Receiver<bool>,
    /// Says to those who poll how far it is, if anybody does.
    teller: Option<Teller>,
}

impl Taker for Client {
    async fn take(&self, rows: RecordBatch) -> Result<()> {
        self.rows.send(Ok(rows)).await.map_err(|_| CoordinatorError::Lost { part: "client" })?;
        self.teller.iter().for_each(Teller::ready);
        Ok(())
    }

    async fn hear(&self, progress: BatchProgress) -> Result<()> {
        self.teller.iter().for_each(|teller| teller.progress(progress));
        Ok(())
    }

    async fn gone(&self) -> CoordinatorError {
        let mut cancelled = self.cancelled.clone();
        tokio::select! {
            () = self.rows.closed() => CoordinatorError::Lost { part: "client" },
            _ = cancelled.wait_for(|cancelled| *cancelled) => CoordinatorError::Cancelled,
        }
    }
}
