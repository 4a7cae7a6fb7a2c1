//! A worker's end of all its connections: makes, opens and releases channels.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::datatypes::SchemaRef;
use tidemill_batch::BatchWorker;
use tidemill_engine::task::{Receiver, Sender, channel};
use tidemill_net::{Connector, Door, Listener, Protocol, Tls};
use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_plans::ids::{ChannelId, OperatorId, RunId};
use tidemill_plans::protocol::WorkerLink;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::error::{Result, WorkersError};
use crate::exchange::batch_codec;
use crate::exchange::connection::{Link, connect, connect_error};
use crate::exchange::flight_server::FlightServer;
use crate::exchange::incoming::{Incoming, Registry};
use crate::exchange::outgoing::{LinkCommand, Outgoing};
use crate::result_parts::ResultParts;
use crate::teams::{Reach, RunTeams, TeamRooms};

/// Learns which channels fail, and why. Called on any thread, for any job, also for jobs that have
/// ended: it must not block.
pub trait ExchangeFailures: Send + Sync {
    /// A channel has failed: the tasks at its ends cannot go on.
    fn channel_failed(&self, channel: ChannelId, error: &WorkersError);
}

/// A worker's end of all its connections. Clones are the same exchange; it closes when the last is
/// dropped, and with it every channel.
#[derive(Clone)]
pub struct Exchange {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Handle,
    address: Option<SocketAddr>,
    /// How other workers are reached.
    tls: Option<Tls>,
    secret: Option<ClusterSecret>,
    registry: Arc<Registry>,
    failures: Arc<dyn ExchangeFailures>,
    /// What answers the requests of the coordinator.
    requests: Arc<OnceLock<Arc<dyn WorkerLink>>>,
    links: Mutex<HashMap<String, Link>>,
    /// Outgoing channels that wait for their job's start, with their peer.
    staged: Mutex<Vec<(String, Outgoing)>>,
    /// What others fetch of the results of jobs here.
    parts: Arc<ResultParts>,
    /// What others fetch of queries that run as a whole.
    pieces: Arc<OnceLock<Arc<BatchWorker>>>,
    /// Where instances meet that work together.
    teams: Arc<TeamRooms>,
    closing: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Ends the calls of other workers; the server then ends by itself.
        self.closing.send_replace(true);
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl Exchange {
    /// Starts an exchange whose connections live on `runtime`. Without an address it can send to other
    /// workers, but not receive from them. With TLS, others reach it with TLS only; a secret is shown to them, and they
    /// have to show it.
    pub async fn start(
        runtime: Handle,
        bind: Option<SocketAddr>,
        tls: Option<Tls>,
        secret: Option<ClusterSecret>,
        failures: Arc<dyn ExchangeFailures>,
    ) -> Result<Self> {
        let registry = Arc::new(Registry::default());
        let requests = Arc::new(OnceLock::new());
        let parts = Arc::new(ResultParts::default());
        let pieces = Arc::new(OnceLock::new());
        let teams = Arc::new(TeamRooms::default());
        let closing = watch::Sender::new(false);
        let mut server = None;
        let mut address = None;
        if let Some(bind) = bind {
            let listener = listen(&runtime, bind, tls.clone()).await?;
            address = Some(listener.address);
            let service = FlightServer {
                secret: secret.clone(),
                registry: Arc::clone(&registry),
                failures: Arc::clone(&failures),
                requests: Arc::clone(&requests),
                parts: Arc::clone(&parts),
                pieces: Arc::clone(&pieces),
                teams: Arc::clone(&teams),
                closing: closing.clone(),
            };
            server = Some(runtime.spawn(service.serve(listener)));
        }
        let shared = Shared {
            runtime,
            address,
            tls,
            secret,
            registry,
            failures,
            requests,
            parts,
            pieces,
            teams,
            links: Mutex::default(),
            staged: Mutex::default(),
            closing,
            server,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The address that other workers connect to, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.address
    }

    /// What others fetch of the results of jobs here.
    pub(crate) fn result_parts(&self) -> Arc<ResultParts> {
        Arc::clone(&self.shared.parts)
    }

    /// The teams of a run, of which those meet on another worker whose address is here.
    pub(crate) fn teams(&self, run: RunId, elsewhere: HashMap<OperatorId, String>) -> RunTeams {
        let reach = Reach {
            runtime: self.shared.runtime.clone(),
            connector: Connector::new(self.shared.tls.clone()),
            secret: self.shared.secret.clone(),
        };
        RunTeams { run, rooms: Arc::clone(&self.shared.teams), reach, elsewhere }
    }

    /// Answers the coordinator's requests that come in over Flight with `link`.
    pub fn serve_requests(&self, link: Arc<dyn WorkerLink>) {
        // A second link would be a second worker behind one address: the first one stays.
        let _ = self.shared.requests.set(link);
    }

    /// Hands out what parts of queries have written here.
    pub(crate) fn serve_pieces(&self, pieces: Arc<BatchWorker>) {
        // There is one such part.
        let _ = self.shared.pieces.set(pieces);
    }

    /// Registers a channel that a task here receives from another worker: the queue to the task. At
    /// most about `bytes_max` bytes wait in it.
    pub fn incoming(&self, id: ChannelId, schema: SchemaRef, bytes_max: usize) -> Result<Receiver> {
        if self.shared.address.is_none() {
            return Err(WorkersError::NotBound(id));
        }
        batch_codec::check_schema(id, &schema)?;
        // A bound of one byte makes the queue wake the connection whenever the task takes something.
        let (sender, receiver) = channel(1);
        self.shared.registry.add(id, Incoming { schema, sender, granted: bytes_max as u64 });
        Ok(receiver)
    }

    /// Makes a channel to a task on the worker at `peer` (`http://host:port`, or `https`): the queue from the task.
    /// Nothing is sent before [`Self::open`].
    pub async fn outgoing(&self, peer: &str, id: ChannelId, schema: SchemaRef, bytes_max: usize) -> Result<Sender> {
        batch_codec::check_schema(id, &schema)?;
        self.connect(peer).await?;
        let (sender, receiver) = channel(bytes_max);
        lock(&self.shared.staged).push((String::from(peer), Outgoing { id, schema, receiver }));
        Ok(sender)
    }

    /// Opens a job's outgoing channels. All workers must have registered their incoming ones.
    pub async fn open(&self, job: RunId) -> Result<()> {
        let mut ready = Vec::new();
        {
            let mut staged = lock(&self.shared.staged);
            ready.extend(staged.extract_if(.., |(_, outgoing)| outgoing.id.run == job));
        }
        for (peer, outgoing) in ready {
            let id = outgoing.id;
            let commands = self.link(&peer);
            let lost = |reason| WorkersError::ChannelLost { channel: id, peer: peer.clone(), reason };
            let commands = commands.ok_or_else(|| lost(String::from("the connection ended")))?;
            let sent = commands.send(LinkCommand::Open(outgoing)).await;
            sent.map_err(|_| lost(String::from("the connection ended")))?;
        }
        Ok(())
    }

    /// Drops all channels of a job, and closes the rooms of its teams.
    pub async fn release(&self, job: RunId) {
        self.shared.teams.release(job);
        self.shared.registry.release(job);
        lock(&self.shared.staged).retain(|(_, outgoing)| outgoing.id.run != job);
        let links: Vec<_> = lock(&self.shared.links).values().map(|link| link.commands().clone()).collect();
        for commands in links {
            // A connection that is gone has dropped its channels already.
            let _ = commands.send(LinkCommand::Release(job)).await;
        }
    }

    fn link(&self, peer: &str) -> Option<mpsc::Sender<LinkCommand>> {
        let links = lock(&self.shared.links);
        links.get(peer).filter(|link| link.lives()).map(|link| link.commands().clone())
    }

    /// Connects to another worker, if there is no living connection.
    async fn connect(&self, peer: &str) -> Result<()> {
        if self.link(peer).is_some() {
            return Ok(());
        }
        let (failures, secret) = (Arc::clone(&self.shared.failures), self.shared.secret.clone());
        let connector = Connector::new(self.shared.tls.clone());
        let connecting = self.shared.runtime.spawn(connect(connector, String::from(peer), secret, failures));
        let link = connecting.await.map_err(|error| connect_error(peer, error.to_string()))??;
        self.keep(peer, link);
        Ok(())
    }

    /// Keeps a new connection, unless another job has made one meanwhile: that may carry channels already.
    pub(super) fn keep(&self, peer: &str, link: Link) {
        let mut links = lock(&self.shared.links);
        links.retain(|_, link| link.lives());
        links.entry(String::from(peer)).or_insert(link);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens on the runtime that will accept.
async fn listen(runtime: &Handle, address: SocketAddr, tls: Option<Tls>) -> Result<Listener> {
    let door = Door::new(Protocol::Http2, tls);
    let bound = runtime.spawn(Listener::bind(address, door)).await.map_err(std::io::Error::other);
    bound.and_then(|bound| bound).map_err(|source| WorkersError::Bind { address, source })
}
