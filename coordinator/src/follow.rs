//! Follows the jobs of SELECTs for clients: hands on their rows, and ends them when nobody wants these any more.

use std::future::pending;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_plans::PlanError;
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::explain::analyze::explain_analyze;
use tidemill_plans::protocol::StopMode;
use tokio::sync::watch;
use tracing::debug;

use crate::error::{CoordinatorError, Result};
use crate::handle::JobHandle;
use crate::job::JobStatus;
use crate::session::{Analysis, Query};

/// Who takes the rows of a SELECT.
pub(crate) trait Taker: Sync {
    /// Takes rows, when there is room for them. An error ends the job.
    fn take(&self, rows: RecordBatch) -> impl Future<Output = Result<()>> + Send;

    /// Waits until nobody wants any more; why not.
    fn gone(&self) -> impl Future<Output = CoordinatorError> + Send;

    /// Hears how far a query as a whole is, if it wants to. An error ends the query.
    fn hear(&self, progress: BatchProgress) -> impl Future<Output = Result<()>> + Send {
        let _ = progress;
        async { Ok(()) }
    }
}

/// Follows a SELECT to its end, or to its limit if it has none.
pub(crate) async fn follow(query: &mut Query, taker: &impl Taker) -> Result<()> {
    let mut left = query.result.limit.filter(|_| query.result.live);
    let status = watch(&mut query.job, &mut left, StopMode::Cancel, taker).await?;
    // Some of the rows are not the result, unless no more are wanted.
    let is_whole = left == Some(0) || query.result.live && !query.result.ends;
    match status {
        JobStatus::Stopped if query.job.progress.is_some() => Err(CoordinatorError::Stopped { job: query.job.id }),
        JobStatus::Stopped if !is_whole => Err(CoordinatorError::NotRunning { job: query.job.id }),
        _ => Ok(()),
    }
}

/// Lets a statement run to its end; returns what its operators did. The rows are nobody's.
pub(crate) async fn analyze(analysis: &mut Analysis, taker: &impl Taker) -> Result<RecordBatch> {
    let mut left = analysis.result.as_ref().filter(|result| result.live).and_then(|result| result.limit);
    watch(&mut analysis.job, &mut left, StopMode::Drain, &Nobody(taker)).await?;
    let text = explain_analyze(&analysis.graph, &analysis.sinks, &analysis.job.metrics.borrow());
    let lines: ArrayRef = Arc::new(StringArray::from(text.lines().collect::<Vec<_>>()));
    Ok(RecordBatch::try_new(analysis_columns(), vec![lines]).map_err(PlanError::from)?)
}

/// The columns of what [`analyze`] returns.
pub(crate) fn analysis_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("plan", DataType::Utf8, false)]))
}

/// Drops the rows that another waits for the end of.
struct Nobody<'a, T>(&'a T);

impl<T: Taker> Taker for Nobody<'_, T> {
    async fn take(&self, _: RecordBatch) -> Result<()> {
        Ok(())
    }

    fn gone(&self) -> impl Future<Output = CoordinatorError> + Send {
        self.0.gone()
    }

    fn hear(&self, progress: BatchProgress) -> impl Future<Output = Result<()>> + Send {
        self.0.hear(progress)
    }
}

/// Takes a job's rows, of which no more than `left` are wanted, until it has ended.
async fn watch(
    job: &mut JobHandle,
    left: &mut Option<u64>,
    at_limit: StopMode,
    taker: &impl Taker,
) -> Result<JobStatus> {
    let progress = job.progress.clone();
    let taken = tokio::select! {
        taken = take_all(job, left, at_limit, taker) => taken,
        why = taker.gone() => Err(why),
        why = tell(progress, taker) => Err(why),
    };
    if let Err(error) = taken {
        debug!(job = %job.id, why = error.chain(), "nobody wants the rows any more");
        // Whoever waits for room in the queue is not to wait for that.
        job.results.close();
        job.stop(StopMode::Cancel).await?;
        job.wait().await;
        return Err(error);
    }
    match job.wait().await {
        JobStatus::Failed { domain, message } => Err(CoordinatorError::JobFailed { domain, message }),
        status => Ok(status),
    }
}

/// Tells how far a query is, as often as that changes, until nobody wants to know; why not.
pub(crate) async fn tell(progress: Option<watch::Receiver<BatchProgress>>, taker: &impl Taker) -> CoordinatorError {
    if let Some(mut progress) = progress {
        while progress.changed().await.is_ok() {
            let news = *progress.borrow_and_update();
            if let Err(error) = taker.hear(news).await {
                return error;
            }
        }
    }
    // It has ended, and its rows say so.
    pending().await
}

async fn take_all(job: &mut JobHandle, left: &mut Option<u64>, at_limit: StopMode, taker: &impl Taker) -> Result<()> {
    while let Some(rows) = job.results.recv().await {
        for batch in rows.batches {
            *left = left.map(|left| left.saturating_sub(batch.num_rows() as u64));
            taker.take(batch).await?;
        }
        if *left == Some(0) {
            job.stop(at_limit).await?;
        }
    }
    Ok(())
}
