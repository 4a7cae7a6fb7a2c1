//! The coordinator as a process of its own. Workers come, go, and come again by themselves; it may have one in its own
//! process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidemill_batch::ClusterConfig;
use tidemill_coordinator::access::AccessConfig;
use tidemill_coordinator::api;
use tidemill_coordinator::session::SqlSession;
use tidemill_coordinator::{CoordinatorConfig, CoordinatorHandle, Limits};
use tidemill_net::{Connector, Door, Protocol, Renewal, Tls};
use tidemill_plans::settings::Settings;
use tokio::sync::Mutex;

use crate::cluster::{self, LOOPBACK};
use crate::config::{self, Protection};
use crate::error::Result;
use crate::interrupts::Interrupts;
use crate::jwt_file::JwtFile;
use crate::say::{say, warn};

/// How the process is set up.
pub struct Coordinator {
    /// The folder of the metadata; without one they are gone with the process.
    pub data_dir: Option<PathBuf>,
    /// Where workers and clients reach it.
    pub bind: SocketAddr,
    /// Where metrics are served, if they are to be.
    pub http: Option<SocketAddr>,
    /// TLS of both, and towards workers.
    pub tls: Option<Tls>,
    /// Whether other machines may reach both, though encryption or authentication is missing.
    pub insecure: bool,
    /// How many connections each of them has at a time.
    pub connections_max: usize,
    /// How much it takes on.
    pub limits: Limits,
    /// How long a worker may be silent.
    pub heartbeat_timeout: Duration,
    /// How users are told apart.
    pub access: AccessConfig,
    /// The keys of tokens that others make, if there are any.
    pub jwt_keys: Option<JwtFile>,
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
    let connector = Connector::new(config.tls.clone());
    let workers = ClusterConfig { connector: connector.clone(), secret: config.access.cluster_secret.clone() };
    let coordinator = CoordinatorHandle::start(CoordinatorConfig {
        data_dir: config.data_dir,
        heartbeat_limit: config.heartbeat_timeout,
        connector,
        limits: config.limits,
        access: config.access,
        batch: Some(cluster::batch_engine(workers)),
        scratch: Some(config::scratch_folder()),
        ..CoordinatorConfig::default()
    })?;
    if let Some(FirstUser { name, password }) = config.first_user
        && !coordinator.access().init_user(&name, &password).await?
    {
        say(&format!("user {name} is there already, and stays as it is"));
    }
    // Whether there are users is in the metadata.
    let protection = Protection::by(config.tls.as_ref(), coordinator.access().is_on());
    for address in [Some(config.bind), config.http].into_iter().flatten() {
        config::check_bind(address, protection, config.insecure)?;
    }
    let connections_max = config.connections_max;
    let door = |protocol| Door { connections_max, ..Door::new(protocol, config.tls.clone()) };
    let listener = api::bind(config.bind, door(Protocol::Http2)).await?;
    let address = listener.address;
    let http = match config.http {
        Some(address) => Some(api::bind(address, door(Protocol::Http1)).await?),
        None => None,
    };
    if let Some(slots) = config.slots {
        // Where others find it that are started for this coordinator.
        let data = data_address(config.bind, config.tls.as_ref());
        cluster::add_worker(&coordinator, slots, Some(data), config.tls.clone()).await?;
    }
    let (session, told) = SqlSession::restore(coordinator.clone(), Settings::default()).await?;
    told.iter().for_each(|told| warn(told));
    let session = Arc::new(Mutex::new(session));
    let server = api::serve_sql(coordinator.clone(), Arc::clone(&session), listener);
    let scheme = |plain, with_tls| if config.tls.is_some() { with_tls } else { plain };
    if let Some(listener) = &http {
        say(&format!("metrics at {}://{}/metrics", scheme("http", "https"), listener.address));
    }
    let http = http.map(|listener| api::serve_http(coordinator.clone(), session, listener));
    let _renewals = [config.tls.as_ref().map(Tls::renew), config.jwt_keys.map(Renewal::start)];
    say(&format!("coordinator listens on {address}: Flight SQL at {}://{address}", scheme("grpc", "grpc+tls")));
    interrupts.next().await;
    tokio::select! {
        left = coordinator.leave() => {
            left?;
            say(if is_kept { "coordinator ends; the next one goes on with its jobs" } else { "coordinator ends" });
        }
        // Nothing is lost: jobs go on from checkpoints that are there.
        _ = interrupts.next() => {}
    }
    drop((server, http));
    Ok(())
}

/// Where the worker of this process takes data from others. They are let in from other machines only if TLS tells who
/// they are: who reaches a worker can have it do anything.
fn data_address(bind: SocketAddr, tls: Option<&Tls>) -> SocketAddr {
    if tls.is_some_and(Tls::asks_for_certificates) && !bind.ip().is_unspecified() {
        return SocketAddr::new(bind.ip(), 0);
    }
    LOOPBACK
}
