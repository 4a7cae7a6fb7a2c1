//! The exchange: channels between tasks of different worker processes, over Arrow Flight.
//!
//! Each ordered pair of workers has one connection with one `DoExchange` call, which carries all their
//! channels. To its tasks a remote channel is the same queue as a local one; `outgoing` empties it on
//! one side, `incoming` fills it on the other, and `credit` bounds what is under way per channel. A
//! channel is registered at the receiver ([`Exchange::incoming`]) before its sender opens it
//! ([`Exchange::open`]): that is what the two steps of a job's start are for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::flight_service_client::FlightServiceClient;
use tidemill_engine::task::{Receiver, Sender, channel};
use tidemill_plans::ids::{ChannelId, JobId};
use tidemill_plans::protocol::WorkerLink;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, warn};

use crate::error::{Result, WorkersError, chain_of};
use crate::exchange::frame::{FrameHeader, FrameKind, MESSAGE_BYTES_MAX};
use crate::exchange::incoming::{Closed, Incoming, Registry};
use crate::exchange::outgoing::{LinkCommand, Outgoing, OutgoingLink};

mod batch_codec;
mod credit;
mod flight_server;
mod frame;
mod incoming;
mod outgoing;

pub(crate) use batch_codec::split;

/// Commands that wait for a connection: openings and returned credit, a few for each channel.
const COMMANDS_MAX: usize = 1024;

/// How long another worker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an idle connection is tried, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// HTTP/2's own windows, in bytes. Credit is what bounds memory, so these only must not slow it down.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const HTTP_FRAME_BYTES: u32 = 1 << 20;

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
    registry: Arc<Registry>,
    failures: Arc<dyn ExchangeFailures>,
    /// What answers the requests of the coordinator.
    requests: Arc<OnceLock<Arc<dyn WorkerLink>>>,
    links: Mutex<HashMap<String, Link>>,
    /// Outgoing channels that wait for their job's start, with their peer.
    staged: Mutex<Vec<(String, Outgoing)>>,
    closing: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

struct Link {
    commands: mpsc::Sender<LinkCommand>,
    reader: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
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
    /// workers, but not receive from them.
    pub async fn start(runtime: Handle, bind: Option<SocketAddr>, failures: Arc<dyn ExchangeFailures>) -> Result<Self> {
        let registry = Arc::new(Registry::default());
        let requests = Arc::new(OnceLock::new());
        let closing = watch::Sender::new(false);
        let mut server = None;
        let mut address = None;
        if let Some(bind) = bind {
            let listener = listen(&runtime, bind).await?;
            address = Some(listener.local_addr().map_err(|source| WorkersError::Bind { address: bind, source })?);
            let service = flight_server::FlightServer {
                registry: Arc::clone(&registry),
                failures: Arc::clone(&failures),
                requests: Arc::clone(&requests),
                closing: closing.clone(),
            };
            server = Some(runtime.spawn(service.serve(listener)));
        }
        let shared = Shared {
            runtime,
            address,
            registry,
            failures,
            requests,
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

    /// Answers the coordinator's requests that come in over Flight with `link`.
    pub fn serve_requests(&self, link: Arc<dyn WorkerLink>) {
        // A second link would be a second worker behind one address: the first one stays.
        let _ = self.shared.requests.set(link);
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

    /// Makes a channel to a task on the worker at `peer` (`http://host:port`): the queue from the task.
    /// Nothing is sent before [`Self::open`].
    pub async fn outgoing(&self, peer: &str, id: ChannelId, schema: SchemaRef, bytes_max: usize) -> Result<Sender> {
        batch_codec::check_schema(id, &schema)?;
        self.connect(peer).await?;
        let (sender, receiver) = channel(bytes_max);
        lock(&self.shared.staged).push((String::from(peer), Outgoing { id, schema, receiver }));
        Ok(sender)
    }

    /// Opens a job's outgoing channels. All workers must have registered their incoming ones.
    pub async fn open(&self, job: JobId) -> Result<()> {
        let mut ready = Vec::new();
        {
            let mut staged = lock(&self.shared.staged);
            ready.extend(staged.extract_if(.., |(_, outgoing)| outgoing.id.job == job));
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

    /// Drops all channels of a job.
    pub async fn release(&self, job: JobId) {
        self.shared.registry.release(job);
        lock(&self.shared.staged).retain(|(_, outgoing)| outgoing.id.job != job);
        let links: Vec<_> = lock(&self.shared.links).values().map(|link| link.commands.clone()).collect();
        for commands in links {
            // A connection that is gone has dropped its channels already.
            let _ = commands.send(LinkCommand::Release(job)).await;
        }
    }

    fn link(&self, peer: &str) -> Option<mpsc::Sender<LinkCommand>> {
        let links = lock(&self.shared.links);
        links.get(peer).filter(|link| !link.commands.is_closed()).map(|link| link.commands.clone())
    }

    /// Connects to another worker, if there is no living connection.
    async fn connect(&self, peer: &str) -> Result<()> {
        if self.link(peer).is_some() {
            return Ok(());
        }
        let failures = Arc::clone(&self.shared.failures);
        let connecting = self.shared.runtime.spawn(connect(String::from(peer), failures));
        let link = connecting.await.map_err(|error| connect_error(peer, &error))??;
        lock(&self.shared.links).insert(String::from(peer), link);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens on the runtime that will accept.
async fn listen(runtime: &Handle, address: SocketAddr) -> Result<TcpListener> {
    let bound = runtime.spawn(TcpListener::bind(address)).await.map_err(std::io::Error::other);
    bound.and_then(|bound| bound).map_err(|source| WorkersError::Bind { address, source })
}

fn connect_error(peer: &str, error: &(dyn std::error::Error + 'static)) -> WorkersError {
    WorkersError::Connect { peer: String::from(peer), reason: chain_of(error) }
}

/// An endpoint with this crate's HTTP/2 settings.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint> {
    let url = if address.contains("://") { String::from(address) } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url).map_err(|_| WorkersError::Address { address: String::from(address) })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(HTTP_FRAME_BYTES))
}

/// A Flight client that takes messages as large as this crate sends.
pub(crate) fn flight_client(channel: Channel) -> FlightServiceClient<Channel> {
    FlightServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn connect(peer: String, failures: Arc<dyn ExchangeFailures>) -> Result<Link> {
    let channel = endpoint(&peer)?.connect().await.map_err(|error| connect_error(&peer, &error))?;
    let (commands, orders) = mpsc::channel(COMMANDS_MAX);
    let frames = OutgoingLink::new(orders, peer.clone(), failures);
    let replies = flight_client(channel).do_exchange(frames).await.map_err(|status| connect_error(&peer, &status))?;
    let reader = Handle::current().spawn(read_replies(replies.into_inner(), peer, commands.clone()));
    Ok(Link { commands, reader: reader.abort_handle() })
}

/// Hands the receiver's replies to the sending end, until the connection ends.
async fn read_replies(mut replies: Streaming<FlightData>, peer: String, commands: mpsc::Sender<LinkCommand>) {
    let reason = loop {
        let reply = match replies.message().await {
            Ok(Some(reply)) => reply,
            Ok(None) => break String::from("the peer closed it"),
            Err(status) => break String::from(status.message()),
        };
        let command = match FrameHeader::of(&reply, &peer).map(|header| (header.channel, header.kind)) {
            Ok((channel, FrameKind::Credit { bytes })) => LinkCommand::Credit(channel, bytes),
            Ok((channel, FrameKind::Reject { reason })) => LinkCommand::Reject(channel, reason),
            Ok((channel, _)) => break format!("a reply about {channel} that senders do not take"),
            Err(error) => break error.chain(),
        };
        if commands.send(command).await.is_err() {
            break String::from("the connection ended");
        }
    };
    debug!(peer, reason, "connection to worker ended");
    if commands.send(LinkCommand::Lost(reason)).await.is_err() {
        warn!(peer, "connection to worker was gone before its end was read");
    }
}

/// A future that is ready when the exchange closes.
fn closed(closing: &watch::Sender<bool>) -> Closed {
    let mut closing = closing.subscribe();
    Box::pin(async move {
        // An error means that the exchange is gone, which is the same.
        let _ = closing.wait_for(|closing| *closing).await;
    })
}

#[cfg(test)]
mod tests;
