//! The rows of a SELECT on their way to a client: from its jobs, through a short queue, as Flight data.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{StreamExt, stream};
use tidemill_plans::protocol::StopMode;
use tidemill_sql::JobStatement;
use tokio::sync::{Mutex, mpsc, watch};
use tonic::Status;

use super::super::flight::{Boxed, to_status};
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
    let cancelled = jobs.cancellation.subscribe();
    let running = async move {
        let client = Client { rows: sender, cancelled };
        if let Err(error) = run_all(jobs, &session, &who, &client).await {
            // Whoever is gone does not want to know.
            let _ = client.rows.send(Err(error)).await;
        }
    };
    let rows = stream::unfold(receiver, async |mut rows| Some((rows.recv().await?, rows)));
    (encoded(schema, rows.boxed()), running)
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
}

impl Taker for Client {
    async fn take(&self, rows: RecordBatch) -> Result<()> {
        self.rows.send(Ok(rows)).await.map_err(|_| CoordinatorError::Lost { part: "client" })
    }

    async fn gone(&self) -> CoordinatorError {
        let mut cancelled = self.cancelled.clone();
        tokio::select! {
            () = self.rows.closed() => CoordinatorError::Lost { part: "client" },
            _ = cancelled.wait_for(|cancelled| *cancelled) => CoordinatorError::Cancelled,
        }
    }
}
