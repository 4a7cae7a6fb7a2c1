//! Follows a job for whoever sits at the terminal.

use tidemill_coordinator::{JobHandle, JobStatus};
use tidemill_plans::ids::JobId;
use tidemill_plans::protocol::StopMode;
use tokio::signal::unix::SignalKind;

use crate::cluster::LocalCluster;
use crate::error::{Result, TidemillError};
use crate::interrupts::Interrupts;
use crate::progress::{Progress, REFRESH};
use crate::results::Results;
use crate::say::warn;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything was done.
    Finished,
    /// Somebody interrupted it, with this signal; what was written is complete.
    Interrupted(SignalKind),
}

/// Follows a job to its end: collects or prints results, shows progress, passes interrupts on; starts workers in the
/// place of those that have ended, if the job goes on with them.
pub async fn follow(
    job: &mut JobHandle,
    cluster: &mut LocalCluster,
    progress: &mut Progress,
    interrupts: &mut Interrupts,
    results: &mut Results,
) -> Result<End> {
    progress.suspended(|| results.begin())?;
    let mut refresh = tokio::time::interval(REFRESH);
    let mut interrupted: Option<SignalKind> = None;
    let mut open = true;
    let mut status = job.status.clone();
    while open {
        tokio::select! {
            rows = job.results.recv() => match rows {
                Some(rows) => {
                    progress.suspended(|| results.take(rows))?;
                    if results.are_complete() {
                        job.stop(results.stop_mode()).await?;
                    }
                }
                None => open = false,
            },
            _ = refresh.tick() => progress.show(&job.metrics.borrow()),
            signal = interrupts.next() => {
                // The first lets what was read be written; the second does not wait for it.
                let mode = if interrupted.is_some() { StopMode::Cancel } else { StopMode::Drain };
                interrupted.get_or_insert(signal);
                job.interrupt(mode).await?;
            }
            error = cluster.worker_ended(), if interrupted.is_none() => match job.recovers {
                true => cluster.replace_ended_workers()?,
                false => return Err(error),
            },
            Ok(()) = status.changed() => {
                if let JobStatus::Restarting { message, attempt } = &*status.borrow_and_update() {
                    progress.suspended(|| warn(&format!("restart {attempt} of the job: {message}")));
                }
            }
        }
    }
    let status = job.wait().await;
    // A job that failed before it read anything has nothing to sum up.
    let failed = matches!(status, JobStatus::Failed { .. });
    if !failed || job.metrics.borrow().iter().any(|operator| operator.rows_in > 0) {
        progress.finish(&job.metrics.borrow());
    }
    match status {
        JobStatus::Failed { message, .. } => Err(TidemillError::JobFailed(message)),
        JobStatus::Stopped if results.are_complete() => Ok(End::Finished),
        JobStatus::Suspended => {
            warn(&suspended(job.id));
            Ok(End::Interrupted(interrupted.unwrap_or(SignalKind::interrupt())))
        }
        JobStatus::Stopped => Ok(End::Interrupted(interrupted.unwrap_or(SignalKind::interrupt()))),
        _ => Ok(End::Finished),
    }
}

/// What to say of a job that has left off.
#[must_use]
pub fn suspended(job: JobId) -> String {
    format!("{job} was not done in time; tidemill resume --data-dir goes on with it from its newest checkpoint")
}
