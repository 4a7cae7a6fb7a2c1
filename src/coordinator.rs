//! The coordinator as a process of its own. It has no worker: they come, go, and come again by themselves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidemill_coordinator::api;
use tidemill_coordinator::{CoordinatorConfig, CoordinatorHandle, LeftJob};

use crate::error::Result;
use crate::interrupts::Interrupts;
use crate::say::{say, warn};

/// How the process is set up.
pub struct Coordinator {
    /// The folder of the metadata.
    pub data_dir: PathBuf,
    /// Where workers and clients reach it.
    pub bind: SocketAddr,
    /// Where metrics are served, if they are to be.
    pub http: Option<SocketAddr>,
    /// How long a worker may be silent.
    pub heartbeat_timeout: Duration,
}

/// Runs the coordinator until a signal ends it, within an actix system. Its jobs are kept: the next coordinator goes
/// on with them.
pub async fn run(config: Coordinator) -> Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let coordinator = CoordinatorHandle::start(CoordinatorConfig {
        data_dir: Some(config.data_dir),
        heartbeat_limit: config.heartbeat_timeout,
        ..CoordinatorConfig::default()
    })?;
    let (address, server) = api::serve_sql(coordinator.clone(), config.bind).await?;
    let _http = match config.http {
        Some(address) => Some(api::serve_http(coordinator.clone(), address).await?),
        None => None,
    };
    resume_jobs(&coordinator).await?;
    say(&format!("coordinator listens on {address}"));
    interrupts.next().await;
    tokio::select! {
        left = coordinator.leave() => {
            left?;
            say("coordinator ends; the next one goes on with its jobs");
        }
        // Nothing is lost: jobs go on from checkpoints that are there.
        _ = interrupts.next() => {}
    }
    drop(server);
    Ok(())
}

/// Goes on with the jobs of the coordinator before this one. What is wrong with one of them does not hold up the
/// others.
async fn resume_jobs(coordinator: &CoordinatorHandle) -> Result<()> {
    for LeftJob { id, failure, .. } in coordinator.left_jobs().await? {
        // One that has failed would fail again, unless somebody has done something about it.
        if failure.is_none()
            && let Err(error) = coordinator.resume(id).await
        {
            warn(&format!("{id} does not go on: {}", error.chain()));
        }
    }
    Ok(())
}
