//! SQL from other processes, in our own words: whole texts, and what they come to piece by piece.

use std::sync::{Arc, Mutex as BlockingMutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::ipc;
use tidemill_plans::protocol::ExecutePart;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::follow::{Taker, analyze, follow, tell};
use crate::limits::StatementPlaces;
use crate::session::{Analysis, Appending, Query, Reply, SharedScript, SqlSession, Training};

/// Parts that wait for a client before its statement does.
const PARTS_MAX: usize = 16;

/// Executes SQL for clients.
pub(super) struct Executor {
    session: Arc<Mutex<SqlSession>>,
    places: StatementPlaces,
    /// What is being executed; ends with the endpoint.
    running: BlockingMutex<JoinSet<()>>,
}

impl Executor {
    /// An executor of statements in this session.
    pub(super) fn new(session: Arc<Mutex<SqlSession>>, places: StatementPlaces) -> Self {
        Self { session, places, running: BlockingMutex::default() }
    }

    /// Begins to execute a text; what it comes to is received. A SELECT ends when nobody receives any more.
    /// The client may want to hear how far queries are.
    pub(super) fn execute(&self, text: String, who: Who, hears: bool) -> Result<mpsc::Receiver<Result<ExecutePart>>> {
        let place = self.places.take(&who)?;
        let (sender, receiver) = mpsc::channel(PARTS_MAX);
        let session = Arc::clone(&self.session);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let parts = Parts { sender, hears };
            if let Err(error) = run(session, &text, who, &parts).await {
                // Whoever is gone does not want to know.
                let _ = parts.sender.send(Err(error)).await;
            }
            drop(place);
        });
        Ok(receiver)
    }
}

/// Executes a text, with settings that end with it.
async fn run(session: Arc<Mutex<SqlSession>>, text: &str, who: Who, parts: &Parts) -> Result<()> {
    let script = session.lock().await.read_apart(text, who).await?;
    let mut script = SharedScript::new(session, script);
    while let Some(replies) = script.next().await? {
        if let Err(error) = parts.show_all(replies).await {
            script.leave().await;
            return Err(error);
        }
    }
    Ok(())
}

/// The way to a client.
struct Parts {
    sender: mpsc::Sender<Result<ExecutePart>>,
    /// Whether it wants to hear how far queries are.
    hears: bool,
}

impl Taker for Parts {
    async fn take(&self, rows: RecordBatch) -> Result<()> {
        self.send(ExecutePart::Rows(ipc::of_batch(&rows)?)).await
    }

    async fn gone(&self) -> CoordinatorError {
        self.sender.closed().await;
        CoordinatorError::Lost { part: "client" }
    }

    async fn hear(&self, progress: BatchProgress) -> Result<()> {
        if self.hears { self.send(ExecutePart::Progress(progress)).await } else { Ok(()) }
    }
}

impl Parts {
    async fn show_all(&self, replies: Vec<Reply>) -> Result<()> {
        for reply in replies {
            match reply {
                Reply::Done(message) => self.send(ExecutePart::Message(message)).await?,
                Reply::Saves(saving) => self.send(ExecutePart::Message(saving.wait().await?.message)).await?,
                Reply::Appends(appending) => self.show_appending(appending).await?,
                Reply::Drops(dropping) => self.send(ExecutePart::Message(dropping.wait().await?)).await?,
                Reply::Begun(beginning) => beginning.wait().await,
                Reply::Ends(ending) => drop(ending.wait().await?),
                Reply::Trains(training) => self.show_training(training).await?,
                Reply::Rows(rows) => self.send_table(&rows).await?,
                Reply::Query(query) => self.show_query(query).await?,
                Reply::Analysis(analysis) => self.show_analysis(analysis).await?,
            }
        }
        Ok(())
    }

    async fn send(&self, part: ExecutePart) -> Result<()> {
        self.sender.send(Ok(part)).await.map_err(|_| CoordinatorError::Lost { part: "client" })
    }

    /// Waits until rows are written, whether the client does or not.
    async fn show_appending(&self, appending: Appending) -> Result<()> {
        let progress = appending.progress();
        let mut waiting = std::pin::pin!(appending.wait());
        let appended = tokio::select! {
            appended = &mut waiting => appended,
            _ = tell(progress, self) => waiting.await,
        };
        self.send(ExecutePart::Message(appended?.message)).await
    }

    /// Waits until a model is fitted, or nobody wants to know any more.
    async fn show_training(&self, training: Training) -> Result<()> {
        tokio::select! {
            message = training.wait() => match message {
                Some(message) => self.send(ExecutePart::Message(message)).await,
                None => Ok(()),
            },
            gone = self.gone() => Err(gone),
        }
    }

    async fn send_table(&self, rows: &RecordBatch) -> Result<()> {
        self.begin(&rows.schema(), false).await?;
        self.send(ExecutePart::Rows(ipc::of_batch(rows)?)).await?;
        self.send(ExecutePart::End).await
    }

    async fn begin(&self, schema: &SchemaRef, is_live: bool) -> Result<()> {
        self.send(ExecutePart::Begin { ipc: ipc::of_schema(schema)?, is_live }).await
    }

    async fn warn(&self, warnings: &[String]) -> Result<()> {
        for warning in warnings {
            self.send(ExecutePart::Message(format!("warning: {warning}"))).await?;
        }
        Ok(())
    }

    /// Sends a SELECT's rows as they come.
    async fn show_query(&self, mut query: Query) -> Result<()> {
        // Also if nobody reads what comes first: the job has to be ended then.
        let begun = async {
            self.warn(&query.warnings).await?;
            self.begin(&query.result.schema, query.result.live).await
        };
        let begun = begun.await;
        follow(&mut query, self).await?;
        begun?;
        self.send(ExecutePart::End).await
    }

    /// Lets a statement run to its end, and sends what its operators did.
    async fn show_analysis(&self, mut analysis: Analysis) -> Result<()> {
        let warned = self.warn(&analysis.warnings).await;
        let rows = analyze(&mut analysis, self).await?;
        warned?;
        self.send_table(&rows).await
    }
}
