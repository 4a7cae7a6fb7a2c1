//! Goes on with the jobs of a data folder whose coordinator has ended before them.

use std::path::PathBuf;

use tidemill_plans::protocol::StopMode;

use crate::cluster::{LocalCluster, Workers};
use crate::error::{Result, TidemillError};
use crate::follow::{End, follow};
use crate::interrupts::Interrupts;
use crate::output::Format;
use crate::progress::Progress;
use crate::results::Results;

/// What to go on with, and where.
pub struct Resume {
    /// The folder of the metadata.
    pub data_dir: PathBuf,
    /// Where the work is done.
    pub workers: Workers,
}

/// Goes on with all unfinished jobs until they have ended, within an actix system. An interrupt ends them.
pub async fn run(resume: Resume) -> Result<End> {
    let mut interrupts = Interrupts::listen()?;
    let mut cluster = LocalCluster::start(Some(resume.data_dir.clone()))?;
    let end = run_on(&mut cluster, &resume, &mut interrupts).await;
    cluster.shut_down().await;
    end
}

async fn run_on(cluster: &mut LocalCluster, resume: &Resume, interrupts: &mut Interrupts) -> Result<End> {
    let unfinished = cluster.coordinator.unfinished_jobs().await?;
    if unfinished.is_empty() {
        return Err(TidemillError::NothingToResume(resume.data_dir.clone()));
    }
    tokio::select! {
        started = cluster.start_workers(resume.workers) => started?,
        signal = interrupts.next() => return Ok(End::Interrupted(signal)),
    }
    let mut jobs = Vec::new();
    for (id, graph) in unfinished {
        jobs.push((cluster.coordinator.resume(id).await?, Progress::new(&graph)));
    }
    let mut end = End::Finished;
    for (job, progress) in &mut jobs {
        if let End::Interrupted(_) = end {
            job.interrupt(StopMode::Drain).await?;
        }
        // Jobs that answer a SELECT are not resumed: there are no results.
        let mut results = Results::new(Format::Table, []);
        let ended = follow(job, cluster, progress, interrupts, &mut results).await?;
        end = if end == End::Finished { ended } else { end };
    }
    Ok(end)
}
