//! A coordinator and its workers on this machine: all in this process, or workers as processes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::future::select_all;
use tidemill_batch::{BatchEngine, ClusterConfig, ClusterEngine, EmbeddedConfig, EmbeddedEngine};
use tidemill_coordinator::api::{self, ServerGuard};
use tidemill_coordinator::session::SqlSession;
use tidemill_coordinator::{CoordinatorConfig, CoordinatorHandle};
use tidemill_engine::tables::ConnectorTables;
use tidemill_net::{Door, Protocol, Tls};
use tidemill_plans::held::StreamsHeld;
use tidemill_plans::settings::Settings;
use tidemill_workers::{WorkerConfig, WorkerHandle};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::config::{self, Protection};
use crate::device;
use crate::error::{Result, TidemillError};

/// How long worker processes may take to start.
const WORKERS_START: Duration = Duration::from_secs(20);

/// How long worker processes may take to end when asked to.
const WORKERS_END: Duration = Duration::from_secs(3);

/// Worker processes that are started in the place of others, in all.
const REPLACEMENTS_MAX: usize = 1000;

/// Any free port of the loopback interface: a cluster of one machine is nobody else's business.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// By one worker in this process, with a slot for each core.
    Embedded,
    /// By so many worker processes, which share the cores.
    Processes(u32),
}

/// A running cluster. Dropping it kills its worker processes.
pub struct LocalCluster {
    /// The way to the coordinator.
    pub coordinator: CoordinatorHandle,
    /// Kept so that the endpoint of worker processes lives as long as the cluster.
    server: Option<ServerGuard>,
    http: Option<ServerGuard>,
    processes: Vec<Child>,
    /// How a worker process is started.
    start: Option<(SocketAddr, u32)>,
    /// How many have been started in the place of others.
    replaced: usize,
}

impl LocalCluster {
    /// Starts a coordinator, within an actix system. Its metadata are in `data_dir`, or in memory.
    pub fn start(data_dir: Option<PathBuf>) -> Result<Self> {
        let (batch, scratch) = (Some(batch_engine(ClusterConfig::default())), Some(config::scratch_folder()));
        let config = CoordinatorConfig { data_dir, batch, scratch, ..CoordinatorConfig::default() };
        Ok(Self {
            coordinator: CoordinatorHandle::start(config)?,
            server: None,
            http: None,
            processes: Vec::new(),
            start: None,
            replaced: 0,
        })
    }

    /// Serves metrics over HTTP at this address, if there is one.
    pub async fn serve_http(&mut self, address: Option<SocketAddr>) -> Result<()> {
        if let Some(address) = address {
            config::check_bind(address, Protection::NONE, false)?;
            let listener = api::bind(address, Door::new(Protocol::Http1, None)).await?;
            // Its jobs are asked of the coordinator.
            let session = SqlSession::new(self.coordinator.clone(), Settings::default());
            let session = Arc::new(Mutex::new(session));
            self.http = Some(api::serve_http(self.coordinator.clone(), session, listener));
        }
        Ok(())
    }

    /// Starts the workers; returns when every one is there.
    pub async fn start_workers(&mut self, workers: Workers) -> Result<()> {
        let cores = cores();
        match workers {
            Workers::Embedded => add_worker(&self.coordinator, cores, None, None).await,
            Workers::Processes(count) => {
                let (address, server) = api::serve(self.coordinator.clone(), LOOPBACK).await?;
                self.server = Some(server);
                let slots = cores.div_ceil(count).max(1);
                let processes: Result<Vec<Child>> = (0..count).map(|_| spawn(address, slots)).collect();
                self.processes = processes?;
                self.start = Some((address, slots));
                self.wait_for_workers(count as usize).await
            }
        }
    }

    async fn wait_for_workers(&mut self, count: usize) -> Result<()> {
        let coordinator = self.coordinator.clone();
        tokio::select! {
            ready = coordinator.wait_for_workers(count, WORKERS_START) => Ok(ready?),
            error = self.worker_ended() => Err(error),
        }
    }

    /// Waits until a worker process ends, which none does by itself.
    pub async fn worker_ended(&mut self) -> TidemillError {
        if self.processes.is_empty() {
            return std::future::pending().await;
        }
        let (status, ..) = select_all(self.processes.iter_mut().map(|process| Box::pin(process.wait()))).await;
        match status {
            Ok(status) => TidemillError::WorkerProcess(status.to_string()),
            Err(error) => TidemillError::WorkerProcess(error.to_string()),
        }
    }

    /// Starts worker processes in the place of those that have ended. An error when that has been done too often:
    /// they end as soon as they begin.
    pub fn replace_ended_workers(&mut self) -> Result<()> {
        let Some((address, slots)) = self.start else { return Ok(()) };
        for process in &mut self.processes {
            let Some(status) = process.try_wait().map_err(TidemillError::Spawn)? else { continue };
            self.replaced += 1;
            if self.replaced > REPLACEMENTS_MAX {
                return Err(TidemillError::WorkerProcess(status.to_string()));
            }
            *process = spawn(address, slots)?;
        }
        Ok(())
    }

    /// Lets the workers go, and waits until they have.
    pub async fn shut_down(mut self) {
        self.coordinator.shutdown().await;
        for process in &mut self.processes {
            if tokio::time::timeout(WORKERS_END, process.wait()).await.is_err() {
                // It did not listen; there is nothing more to lose.
                let _ = process.kill().await;
            }
        }
        drop(self.server);
    }
}

/// What runs queries of tables that end, in this process, or on worker processes that it reaches so. It begins with the
/// first of them.
#[must_use]
pub fn batch_engine(workers: ClusterConfig) -> Arc<dyn BatchEngine> {
    let config = EmbeddedConfig {
        threads: cores() as usize,
        memory: usize::try_from(config::batch_memory()).unwrap_or(usize::MAX),
        streams: streams_held(),
        scratch: config::scratch_folder(),
    };
    Arc::new(ClusterEngine::new(EmbeddedEngine::new(config, Arc::new(ConnectorTables)), workers))
}

/// What the streams of this process hold.
fn streams_held() -> StreamsHeld {
    static HELD: LazyLock<StreamsHeld> = LazyLock::new(StreamsHeld::default);
    HELD.clone()
}

/// A thread for each of them computes.
#[must_use]
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

/// Gives a coordinator a worker in this process. Other workers reach it if it listens somewhere.
pub async fn add_worker(
    coordinator: &CoordinatorHandle,
    slots: u32,
    bind: Option<SocketAddr>,
    tls: Option<Tls>,
) -> Result<()> {
    let secret = coordinator.access().cluster_secret();
    let (scratch, streams) = (config::scratch_folder(), streams_held());
    let config = WorkerConfig { slots, bind, tls, scratch, secret, batch_memory: None, streams };
    let worker = WorkerHandle::start(config, Arc::new(coordinator.clone())).await?;
    let id = coordinator.add_worker(worker.data_address(), slots, Arc::new(worker.clone())).await?;
    worker.set_id(id);
    Ok(())
}

/// Starts this program again, as a worker. Its log and what `print` sinks write go where ours go.
fn spawn(coordinator: SocketAddr, slots: u32) -> Result<Child> {
    let program = std::env::current_exe().map_err(TidemillError::Spawn)?;
    Command::new(program)
        .args(["worker", "--coordinator", &coordinator.to_string(), "--slots", &slots.to_string()])
        .arg("--end-without-coordinator")
        .args(["--compute-device", device::preference().name()])
        .stdin(Stdio::null())
        // An interrupt at the terminal goes to the whole group; the coordinator decides what it means.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(TidemillError::Spawn)
}
