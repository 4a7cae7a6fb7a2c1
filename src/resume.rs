//! Goes on with the jobs of a data folder whose coordinator has ended before them.

use std::path::PathBuf;

use tidemill_coordinator::LeftJob;
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
    /// The only job to go on with, by its number or by something that it makes.
    pub job: Option<String>,
}

/// Goes on with one job, or with all that have not ended, until they have ended, within an actix system. An interrupt ends them.
pub async fn run(resume: Resume) -> Result<End> {
    let mut interrupts = Interrupts::listen()?;
    let mut cluster = LocalCluster::start(Some(resume.data_dir.clone()))?;
    let end = run_on(&mut cluster, &resume, &mut interrupts).await;
    cluster.shut_down().await;
    end
}

async fn run_on(cluster: &mut LocalCluster, resume: &Resume, interrupts: &mut Interrupts) -> Result<End> {
    let left = chosen(cluster.coordinator.left_jobs().await?, resume)?;
    tokio::select! {
        started = cluster.start_workers(resume.workers) => started?,
        signal = interrupts.next() => return Ok(End::Interrupted(signal)),
    }
    let mut jobs = Vec::new();
    for LeftJob { id, graph, .. } in left {
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

/// The jobs to go on with, of which there is one at least.
fn chosen(left: Vec<LeftJob>, resume: &Resume) -> Result<Vec<LeftJob>> {
    let is_chosen = |job: &LeftJob| match &resume.job {
        Some(name) => job.id.to_string() == *name || job.id.0.to_string() == *name || job.makes.contains(name),
        None => job.failure.is_none(),
    };
    let (chosen, others): (Vec<_>, Vec<_>) = left.into_iter().partition(is_chosen);
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let found = others.iter().map(described).collect::<Vec<_>>().join("; ");
    let data_dir = resume.data_dir.clone();
    Err(match &resume.job {
        Some(name) => TidemillError::NoSuchJob { name: name.clone(), data_dir, found },
        None if found.is_empty() => TidemillError::NothingToResume(data_dir),
        None => TidemillError::OnlyFailedJobs { data_dir, found },
    })
}

fn described(job: &LeftJob) -> String {
    let failure = job.failure.as_ref().map(|cause| format!(" has failed: {cause}")).unwrap_or_default();
    format!("{} ({}){failure}", job.id, job.makes.join(", "))
}
