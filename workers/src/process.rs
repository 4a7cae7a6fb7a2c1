//! A worker as a process of its own: registers with a coordinator and serves until told to stop.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tidemill_plans::ids::WorkerId;
use tidemill_plans::protocol::{CoordinatorLink, EventResponse, WorkerEvent};
use tokio::net::TcpStream;
use tracing::info;

use crate::coordinator_link::FlightCoordinatorLink;
use crate::error::{Result, WorkersError};
use crate::events::{TIMING, deliver};
use crate::worker::{StopCause, WorkerConfig, WorkerHandle};

/// How long to look for the interface that leads to the coordinator.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the answer to a shutdown to reach the coordinator before the connection closes.
const FAREWELL: Duration = Duration::from_millis(200);

/// Runs a worker for the coordinator at `host:port` until that shuts it down; an error if the
/// coordinator cannot be reached, or not any more. Must be called inside an actix system.
pub async fn run_worker(config: WorkerConfig, coordinator: &str) -> Result<()> {
    let link = Arc::new(FlightCoordinatorLink::new(coordinator)?);
    let bind = config.bind.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let slots = config.slots.max(1);
    let config = WorkerConfig { bind: Some(bind), ..config };
    let worker = WorkerHandle::start(config, Arc::clone(&link) as Arc<dyn CoordinatorLink>).await?;
    let data_address = advertised(&worker, coordinator).await;
    let id = register(link.as_ref(), data_address.clone(), slots).await?;
    worker.set_id(id);
    info!(worker = %id, data_address, slots, coordinator, "worker registered");
    match worker.stopped().await {
        StopCause::CoordinatorLost => Err(WorkersError::CoordinatorLost),
        StopCause::Shutdown => {
            info!(worker = %id, "worker stopped by its coordinator");
            tokio::time::sleep(FAREWELL).await;
            Ok(())
        }
    }
}

async fn register(link: &dyn CoordinatorLink, data_address: String, slots: u32) -> Result<WorkerId> {
    let event = WorkerEvent::Register { data_address, slots };
    match deliver(link, &event, TIMING).await? {
        EventResponse::Registered(id) => Ok(id),
        EventResponse::Refused(reason) => Err(WorkersError::Register(reason)),
        EventResponse::Done => Err(WorkersError::Register(String::from("it answered without an id"))),
    }
}

/// The data address as other workers can use it. A worker that listens on every interface is known by
/// the one that leads to the coordinator; where there is none, registration will say so.
async fn advertised(worker: &WorkerHandle, coordinator: &str) -> String {
    let unspecified = worker.bound_address().filter(|address| address.ip().is_unspecified());
    let Some(address) = unspecified else { return worker.data_address() };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(coordinator)).await;
    let local = connected.ok().and_then(|stream| stream.ok()?.local_addr().ok());
    let ip = local.map_or(IpAddr::from([127, 0, 0, 1]), |local| local.ip());
    format!("http://{}", SocketAddr::new(ip, address.port()))
}
