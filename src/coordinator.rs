//! The coordinator as a process of its own. Workers come, go, and come again by themselves; it may have one in its own
//! process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidemill_coordinator::access::AccessConfig;
use tidemill_coordinator::api::{self, Listener};
use tidemill_coordinator::session::SqlSession;
use tidemill_coordinator::{CoordinatorConfig, CoordinatorHandle};
use tidemill_plans::settings::Settings;

use crate::cluster::{self, LOOPBACK};
use crate::error::Result;
use crate::interrupts::Interrupts;
use crate::say::{say, warn};

/// How the process is set up.
pub struct Coordinator {
    /// The folder of the metadata; without one they are gone with the process.
    pub data_dir: Option<PathBuf>,
    /// Where workers and clients reach it.
    pub bind: SocketAddr,
    /// Where metrics are served, if they are to be.
    pub http: Option<SocketAddr>,
    /// How long a worker may be silent.
    pub heartbeat_timeout: Duration,
    /// How users are told apart.
    pub access: AccessConfig,
    /// Who is to be there before anybody can come.
    pub first_user: Option<FirstUser>,
    /// The slots of a worker in this process, if there is to be one.
    pub slots: Option<u32>,
}

/// A superuser who is made if nobody of this name is there.
pub struct FirstUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

/// Runs the coordinator until a signal ends it, within an actix system. Its jobs and objects are kept if there is a
/// folder for them: the next coordinator goes on with them.
pub async fn run(config: Coordinator) -> Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let is_kept = config.data_dir.is_some();
    let coordinator = CoordinatorHandle::start(CoordinatorConfig {
        data_dir: config.data_dir,
        heartbeat_limit: config.heartbeat_timeout,
        access: config.access,
        ..CoordinatorConfig::default()
    })?;
    if let Some(FirstUser { name, password }) = config.first_user
        && !coordinator.access().init_user(&name, &password).await?
    {
        say(&format!("user {name} is there already, and stays as it is"));
    }
    let listener = Listener::bind(config.bind).await?;
    let address = listener.address;
    let http = match config.http {
        Some(address) => Some(api::serve_http(coordinator.clone(), address).await?),
        None => None,
    };
    if let Some(slots) = config.slots {
        // Where others find it that are started for this coordinator.
        cluster::add_worker(&coordinator, slots, Some(LOOPBACK)).await?;
    }
    let (session, told) = SqlSession::restore(coordinator.clone(), Settings::default()).await?;
    told.iter().for_each(|told| warn(told));
    let server = api::serve_sql(coordinator.clone(), session, listener);
    if let Some((address, _)) = &http {
        say(&format!("metrics at http://{address}/metrics"));
    }
    say(&format!("coordinator listens on {address}: Flight SQL at grpc://{address}"));
    interrupts.next().await;
    tokio::select! {
        left = coordinator.leave() => {
            left?;
            say(if is_kept { "coordinator ends; the next one goes on with its jobs" } else { "coordinator ends" });
        }
        // Nothing is lost: jobs go on from checkpoints that are there.
        _ = interrupts.next() => {}
    }
    drop(server);
    Ok(())
}
