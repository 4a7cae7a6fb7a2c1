//! A connection to another worker: one `DoExchange` call, whose requests are frames and whose replies are
//! credit.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData};
use bytes::Bytes;
use tidemill_net::{Address, Connector, reason};
use tidemill_plans::cluster_secret::{CLUSTER_SECRET_HEADER, ClusterSecret};
use tidemill_plans::codec;
use tidemill_plans::error::chain;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tracing::{debug, warn};

use crate::error::{Result, WorkersError};
use crate::exchange::ExchangeFailures;
use crate::exchange::frame::{FrameHeader, FrameKind, MESSAGE_BYTES_MAX};
use crate::exchange::outgoing::{LinkCommand, OutgoingLink};

/// Commands that wait for a connection: openings and returned credit, a few for each channel.
const COMMANDS_MAX: usize = 1024;

/// How often the connection of another worker is tried that is idle, and how long the answer may take.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// HTTP/2's own windows, in bytes. Credit is what bounds memory, so these only must not slow it down.
pub(super) const STREAM_WINDOW: u32 = 16 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 32 << 20;
pub(super) const HTTP_FRAME_BYTES: u32 = 1 << 20;

/// The connection as it is held; dropping it closes it.
pub(super) struct Link {
    commands: mpsc::Sender<LinkCommand>,
    reader: AbortHandle,
}

impl Link {
    /// The way to the connection's own task.
    pub(super) fn commands(&self) -> &mpsc::Sender<LinkCommand> {
        &self.commands
    }

    /// Whether the other worker is still there, as far as is known.
    pub(super) fn lives(&self) -> bool {
        !self.commands.is_closed()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The error of a worker that cannot be connected to.
pub(super) fn connect_error(peer: &str, reason: String) -> WorkersError {
    WorkersError::Connect { peer: String::from(peer), reason }
}

/// An endpoint with this crate's HTTP/2 settings.
pub(crate) fn flight_endpoint(address: &str) -> Result<Endpoint> {
    // As people write it: without what says whether there is TLS.
    let written = || Address::from_url(address).map_or_else(|| String::from(address), |address| address.authority);
    let wrong = |_| WorkersError::Address { address: written() };
    Ok(Connector::endpoint(address)
        .map_err(wrong)?
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

/// A request that shows the secret of the cluster, if it has one.
pub(crate) fn with_secret<T>(message: T, secret: Option<&ClusterSecret>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(Ok(secret)) = secret.map(|secret| secret.reveal().parse()) {
        request.metadata_mut().insert(CLUSTER_SECRET_HEADER, secret);
    }
    request
}

/// Asks a peer something by a Flight action of this type; an error says why there is no answer.
pub(crate) async fn ask<A: bincode::Decode<()>>(
    mut client: FlightServiceClient<Channel>,
    connector: &Connector,
    action: &str,
    question: &impl bincode::Encode,
    secret: Option<&ClusterSecret>,
) -> std::result::Result<A, String> {
    let body = Bytes::from(codec::encode(question).map_err(|error| chain(&error))?);
    let action = with_secret(Action { r#type: String::from(action), body }, secret);
    let mut results = client.do_action(action).await.map_err(|status| connector.reason(&status))?.into_inner();
    let result = results.message().await.map_err(|status| connector.reason(&status))?;
    let result = result.ok_or_else(|| String::from("an empty answer"))?;
    codec::decode(&result.body).map_err(|error| chain(&error))
}

/// Connects to the worker at `peer`.
pub(super) async fn connect(
    connector: Connector,
    peer: String,
    secret: Option<ClusterSecret>,
    failures: Arc<dyn ExchangeFailures>,
) -> Result<Link> {
    let connected = connector.connect(&flight_endpoint(&peer)?).await;
    let channel = connected.map_err(|reason| connect_error(&peer, reason))?;
    let (commands, orders) = mpsc::channel(COMMANDS_MAX);
    let frames = OutgoingLink::new(orders, peer.clone(), failures);
    let opened = flight_client(channel).do_exchange(with_secret(frames, secret.as_ref())).await;
    let replies = opened.map_err(|status| connect_error(&peer, connector.reason(&status)))?;
    let reader = Handle::current().spawn(read_replies(replies.into_inner(), peer, commands.clone()));
    Ok(Link { commands, reader: reader.abort_handle() })
}

/// Hands the receiver's replies to the sending end, until the connection ends.
async fn read_replies(mut replies: Streaming<FlightData>, peer: String, commands: mpsc::Sender<LinkCommand>) {
    let reason = loop {
        let reply = match replies.message().await {
            Ok(Some(reply)) => reply,
            Ok(None) => break String::from("the peer closed it"),
            Err(status) => break reason(&status),
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
