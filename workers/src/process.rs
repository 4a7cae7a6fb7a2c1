//! A worker as a process of its own: registers with a coordinator and serves until told to stop.
//!
//! From one registration to the next everything is new, threads, exchange and id, but for the process: so nothing
//! of what was run before can reach what is run now, nor the other way round.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidemill_net::{Address, Connector, Tls};
use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_plans::held::StreamsHeld;
use tidemill_plans::ids::WorkerId;
use tidemill_plans::protocol::{CoordinatorLink, EventResponse, WorkerEvent};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::coordinator_link::FlightCoordinatorLink;
use crate::error::{Result, WorkersError};
use crate::events::{TIMING, deliver};
use crate::worker::{StopCause, WorkerConfig, WorkerHandle};

/// How long to look for the interface that leads to the coordinator.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the answer to a shutdown to reach the coordinator before the connection closes.
const FAREWELL: Duration = Duration::from_millis(200);

/// Between two attempts to register: at first, and at most.
const BACK_OFF: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// How long the address of the registration before may take to be free again.
const REBIND: Duration = Duration::from_secs(5);
const REBIND_INTERVAL: Duration = Duration::from_millis(50);

/// What a worker process is started with.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// Where the coordinator listens.
    pub coordinator: Address,
    /// TLS towards the coordinator and other workers, in both directions.
    pub tls: Option<Tls>,
    /// Compute threads, and so the tasks that compute at the same time.
    pub slots: u32,
    /// The address for data from other workers; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Where others reach that address, as `host:port`, if they do not as it is.
    pub advertise: Option<String>,
    /// What it does without a coordinator.
    pub without_coordinator: WithoutCoordinator,
    /// How long it waits, when it is to leave, until others have its tasks.
    pub leave_limit: Duration,
    /// The folder for state that does not fit into memory.
    pub scratch: PathBuf,
    /// What the processes of the cluster show each other, if they have to.
    pub secret: Option<ClusterSecret>,
    /// Bytes that queries as a whole may hold here.
    pub batch_memory: u64,
}

/// What a worker process does when no coordinator is there, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutCoordinator {
    /// It waits for one, and registers again.
    Waits,
    /// It ends.
    Ends,
}

/// Runs a worker until its coordinator shuts it down, or until it has left: when `leaving` becomes true, others are
/// given what it runs. Must be called inside an actix system.
///
/// # Errors
/// The address cannot be bound; for a worker that ends without a coordinator, that none has answered for a while; for
/// one that leaves, that it was not let go in time.
pub async fn run_worker(config: ProcessConfig, mut leaving: watch::Receiver<bool>) -> Result<()> {
    let mut session = tokio::select! {
        opened = Session::open(&config, None) => opened?,
        () = wanted(&mut leaving) => return Ok(()),
    };
    loop {
        let cause = tokio::select! {
            cause = session.worker.stopped() => cause,
            () = wanted(&mut leaving) => return session.leave(config.leave_limit).await,
        };
        match cause {
            StopCause::Shutdown => return session.end().await,
            StopCause::CoordinatorLost => {
                warn!(worker = %session.id, coordinator = config.coordinator.authority, "worker registers again");
                let cluster = std::mem::take(&mut session.cluster);
                drop(session);
                session = tokio::select! {
                    opened = Session::reopen(&config, &cluster) => opened?,
                    () = wanted(&mut leaving) => return Ok(()),
                };
            }
        }
    }
}

/// Ready when the worker is to leave; never, if nobody can say so any more.
async fn wanted(leaving: &mut watch::Receiver<bool>) {
    if leaving.wait_for(|leaving| *leaving).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A worker from its registration until it has to register again.
struct Session {
    worker: WorkerHandle,
    link: Arc<FlightCoordinatorLink>,
    id: WorkerId,
    /// The name of the coordinator's cluster.
    cluster: String,
}

/// What a registration is answered with.
struct Registered {
    id: WorkerId,
    lease: Duration,
    cluster: String,
}

impl Session {
    /// Registers; only in `cluster`, if there is one to stay in.
    async fn open(config: &ProcessConfig, cluster: Option<&str>) -> Result<Self> {
        let connector = Connector::new(config.tls.clone());
        let link = Arc::new(FlightCoordinatorLink::new(&config.coordinator, &connector, config.secret.clone())?);
        let of_worker = WorkerConfig {
            slots: config.slots,
            bind: Some(config.bind),
            tls: config.tls.clone(),
            scratch: config.scratch.clone(),
            secret: config.secret.clone(),
            batch_memory: Some(config.batch_memory),
            streams: StreamsHeld::default(),
        };
        let worker = WorkerHandle::start(of_worker, Arc::clone(&link) as Arc<dyn CoordinatorLink>).await?;
        let data_address = advertised(&worker, config).await;
        let slots = config.slots.max(1);
        let cluster = cluster.map(str::to_owned);
        let event = WorkerEvent::Register { data_address: data_address.clone(), slots, cluster };
        let Registered { id, lease, cluster } = register(link.as_ref(), &event, config.without_coordinator).await?;
        worker.set_registered(id, lease);
        info!(worker = %id, data_address, slots, coordinator = config.coordinator.authority, "worker registered");
        Ok(Self { worker, link, id, cluster })
    }

    /// As [`Self::open`], behind another session, whose listener may not be closed yet. Whoever was started for one
    /// cluster does not look for another: a coordinator of tomorrow at that address may be anybody's.
    async fn reopen(config: &ProcessConfig, cluster: &str) -> Result<Self> {
        let cluster = (config.without_coordinator == WithoutCoordinator::Ends).then_some(cluster);
        for _ in 0..REBIND.as_millis() / REBIND_INTERVAL.as_millis() {
            match Self::open(config, cluster).await {
                Err(WorkersError::Bind { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
                    tokio::time::sleep(REBIND_INTERVAL).await;
                }
                opened => return opened,
            }
        }
        Self::open(config, cluster).await
    }

    /// Has the coordinator give what runs here to others, and waits until it has.
    async fn leave(self, limit: Duration) -> Result<()> {
        info!(worker = %self.id, "worker leaves");
        let event = WorkerEvent::Leaving { worker: self.id };
        let left = async {
            let told = deliver(self.link.as_ref(), &event, TIMING);
            tokio::select! {
                cause = self.worker.stopped() => return cause,
                told = told => if !matches!(told, Ok(EventResponse::Done)) { return StopCause::CoordinatorLost },
            }
            self.worker.stopped().await
        };
        match tokio::time::timeout(limit, left).await {
            // Without a coordinator nothing that runs here is anybody's.
            Ok(_) => self.end().await,
            Err(_) => Err(WorkersError::StillBusy { limit }),
        }
    }

    async fn end(self) -> Result<()> {
        info!(worker = %self.id, "worker ends");
        tokio::time::sleep(FAREWELL).await;
        Ok(())
    }
}

/// Registers, as often as it takes.
async fn register(
    link: &dyn CoordinatorLink,
    event: &WorkerEvent,
    without_coordinator: WithoutCoordinator,
) -> Result<Registered> {
    let mut back_off = BACK_OFF;
    loop {
        let error = match deliver(link, event, TIMING).await {
            Ok(EventResponse::Registered { worker: id, lease, cluster }) => {
                return Ok(Registered { id, lease, cluster });
            }
            Ok(EventResponse::Refused(reason)) => WorkersError::Register(reason),
            Ok(EventResponse::Done | EventResponse::Busy | EventResponse::BatchWork(_)) => {
                WorkersError::Register(String::from("it answered without an id"))
            }
            Err(failure) => failure.into(),
        };
        if without_coordinator == WithoutCoordinator::Ends {
            return Err(error);
        }
        warn!(error = error.chain(), "not registered; trying again");
        tokio::time::sleep(back_off).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// The data address as other workers can use it. A worker that listens on every interface is known by
/// the one that leads to the coordinator; where there is none, registration will say so.
async fn advertised(worker: &WorkerHandle, config: &ProcessConfig) -> String {
    if let Some(address) = &config.advertise {
        return worker.data_url(address.clone());
    }
    let unspecified = worker.bound_address().filter(|address| address.ip().is_unspecified());
    let Some(address) = unspecified else { return worker.data_address() };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&config.coordinator.authority)).await;
    let local = connected.ok().and_then(|stream| stream.ok()?.local_addr().ok());
    let ip = local.map_or(IpAddr::from([127, 0, 0, 1]), |local| local.ip());
    worker.data_url(SocketAddr::new(ip, address.port()).to_string())
}
