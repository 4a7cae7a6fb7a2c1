//! The coordinator as a process of its own. It has no worker: they come, go, and come again by themselves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidemill_coordinator::api::{self, Listener};
use tidemill_coordinator::session::SqlSession;
use tidemill_coordinator::{CoordinatorConfig, CoordinatorHandle};
use tidemill_plans::settings::Settings;

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

/// Runs the coordinator until a signal ends it, within an actix system. Its jobs and objects are kept:
/// the next coordinator goes on with them.
pub async fn run(config: Coordinator) -> Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let coordinator = CoordinatorHandle::start(CoordinatorConfig {
        data_dir: Some(config.data_dir),
        heartbeat_limit: config.heartbeat_timeout,
        ..CoordinatorConfig::default()
    })?;
    let listener = Listener::bind(config.bind).await?;
    let address = listener.address;
    let _http = match config.http {
        Some(address) => Some(api::serve_http(coordinator.clone(), address).await?),
        None => None,
    };
    let (session, told) = SqlSession::restore(coordinator.clone(), Settings::default()).await?;
    told.iter().for_each(|told| warn(told));
    let server = api::serve_sql(coordinator.clone(), session, listener);
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
