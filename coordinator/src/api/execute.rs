//! SQL from other processes: one session for all of them, in which jobs live on when whoever started them is gone.

use std::sync::{Arc, Mutex as BlockingMutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use tidemill_plans::PlanError;
use tidemill_plans::explain::analyze::explain_analyze;
use tidemill_plans::protocol::{ExecutePart, StopMode};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tracing::debug;

use crate::error::{CoordinatorError, Result};
use crate::handle::JobHandle;
use crate::job::JobStatus;
use crate::session::{Analysis, Query, Reply, SqlSession};

/// Parts that wait for a client before its statement does.
const PARTS_MAX: usize = 16;

/// Executes SQL for clients.
pub(super) struct Executor {
    session: Arc<Mutex<SqlSession>>,
    /// What is being executed; ends with the endpoint.
    running: BlockingMutex<JoinSet<()>>,
}

impl Executor {
    /// An executor of statements in this session.
    pub(super) fn new(session: Arc<Mutex<SqlSession>>) -> Self {
        Self { session, running: BlockingMutex::default() }
    }

    /// Begins to execute a text; what it comes to is received. A SELECT ends when nobody receives any more.
    pub(super) fn execute(&self, text: String) -> mpsc::Receiver<Result<ExecutePart>> {
        let (sender, receiver) = mpsc::channel(PARTS_MAX);
        let session = Arc::clone(&self.session);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let parts = Parts(sender);
            if let Err(error) = run(&session, &text, &parts).await {
                // Whoever is gone does not want to know.
                let _ = parts.0.send(Err(error)).await;
            }
        });
        receiver
    }
}

/// Executes a text. The session is others' between two statements, and while rows come.
async fn run(session: &Mutex<SqlSession>, text: &str, parts: &Parts) -> Result<()> {
    let mut script = session.lock().await.read_apart(text).await?;
    loop {
        let stepped = session.lock().await.step(&mut script).await;
        let outcome = match stepped {
            Ok(None) => return Ok(()),
            Ok(Some(replies)) => parts.show_all(replies).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            session.lock().await.leave(script).await;
            return Err(error);
        }
    }
}

/// The way to a client.
struct Parts(mpsc::Sender<Result<ExecutePart>>);

impl Parts {
    async fn show_all(&self, replies: Vec<Reply>) -> Result<()> {
        for reply in replies {
            match reply {
                Reply::Done(message) => self.send(ExecutePart::Message(message)).await?,
                Reply::Begun(beginning) => beginning.wait().await,
                Reply::Rows(rows) => self.send_table(&rows).await?,
                Reply::Query(query) => self.follow(query).await?,
                Reply::Analysis(analysis) => self.analyze(analysis).await?,
            }
        }
        Ok(())
    }

    async fn send(&self, part: ExecutePart) -> Result<()> {
        self.0.send(Ok(part)).await.map_err(|_| CoordinatorError::Lost { part: "client" })
    }

    async fn send_table(&self, rows: &RecordBatch) -> Result<()> {
        self.begin(&rows.schema(), false).await?;
        self.send(ExecutePart::Rows(ipc(&rows.schema(), Some(rows))?)).await?;
        self.send(ExecutePart::End).await
    }

    async fn begin(&self, schema: &SchemaRef, is_live: bool) -> Result<()> {
        self.send(ExecutePart::Begin { ipc: ipc(schema, None)?, is_live }).await
    }

    async fn warn(&self, warnings: Vec<String>) -> Result<()> {
        for warning in warnings {
            self.send(ExecutePart::Message(format!("warning: {warning}"))).await?;
        }
        Ok(())
    }

    /// Sends a SELECT's rows as they come.
    async fn follow(&self, query: Query) -> Result<()> {
        let Query { mut job, warnings, result, .. } = query;
        self.warn(warnings).await?;
        self.begin(&result.schema, result.live).await?;
        let limit = result.limit.filter(|_| result.live);
        match self.watch(&mut job, limit, true).await? {
            JobStatus::Stopped if !result.live => Err(CoordinatorError::NotRunning { job: job.id }),
            _ => self.send(ExecutePart::End).await,
        }
    }

    /// Lets a statement run to its end, and sends what its operators did.
    async fn analyze(&self, analysis: Analysis) -> Result<()> {
        let Analysis { mut job, warnings, graph, sinks, result } = analysis;
        self.warn(warnings).await?;
        let limit = result.filter(|result| result.live).and_then(|result| result.limit);
        self.watch(&mut job, limit, false).await?;
        let text = explain_analyze(&graph, &sinks, &job.metrics.borrow());
        let lines: ArrayRef = Arc::new(StringArray::from(text.lines().collect::<Vec<_>>()));
        self.send_table(&RecordBatch::try_from_iter([("plan", lines)]).map_err(PlanError::from)?).await
    }

    /// Takes a job's rows, of which no more than `left` are wanted, and hands them on if somebody wants to see them.
    async fn watch(&self, job: &mut JobHandle, mut left: Option<u64>, is_shown: bool) -> Result<JobStatus> {
        loop {
            let rows = tokio::select! {
                rows = job.results.recv() => rows,
                () = self.0.closed() => {
                    debug!(job = %job.id, "nobody wants the rows any more");
                    job.stop(StopMode::Cancel).await?;
                    return Err(CoordinatorError::Lost { part: "client" });
                }
            };
            let Some(rows) = rows else { break };
            for batch in &rows.batches {
                left = left.map(|left| left.saturating_sub(batch.num_rows() as u64));
                if is_shown {
                    self.send(ExecutePart::Rows(ipc(&batch.schema(), Some(batch))?)).await?;
                }
            }
            if left == Some(0) {
                let mode = if is_shown { StopMode::Cancel } else { StopMode::Drain };
                job.stop(mode).await?;
            }
        }
        match job.wait().await {
            JobStatus::Failed { domain, message } => Err(CoordinatorError::JobFailed { domain, message }),
            status => Ok(status),
        }
    }
}

/// An Arrow IPC stream of these rows.
fn ipc(schema: &SchemaRef, rows: Option<&RecordBatch>) -> Result<Vec<u8>> {
    let write = || {
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, schema)?;
        rows.map_or(Ok(()), |rows| writer.write(rows))?;
        writer.finish()?;
        drop(writer);
        Ok(bytes)
    };
    Ok(write().map_err(|error: arrow::error::ArrowError| PlanError::from(error))?)
}
