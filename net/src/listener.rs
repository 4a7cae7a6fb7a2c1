//! Takes connections: as many as there is room for, each of which has to begin to speak in time.
//!
//! Whoever only connects, or dribbles, is gone after [`OPENING_LIMIT`]. From then on it is the protocol's own signs of
//! life that tell a client that waits from one that is gone. A connection that is one too many is taken for a moment,
//! to be told why; with many of those, the rest is closed without a word.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use socket2::{SockRef, TcpKeepalive};
use tidemill_plans::error::chain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::connection::{Connection, too_many};
use crate::tls::{Tls, told};

/// How many connections a listener has, if nobody says.
const CONNECTIONS_MAX: usize = 4096;

/// How many requests of one HTTP/2 connection are worked on at a time; more of them wait at the client. A worker has all
/// its jobs' events on one connection, of which some wait for slow clients.
pub const REQUESTS_MAX: u32 = 1024;

/// How long a connection may take until it speaks: its TLS handshake, and the first bytes of its protocol.
const OPENING_LIMIT: Duration = Duration::from_secs(10);

/// Connections beyond those that are told so at the same time, and how long each may take to hear it.
const REFUSED_MAX: usize = 64;
const REFUSED_LIMIT: Duration = Duration::from_secs(3);

/// How long a client may take to read why there is no TLS with it.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// How long a listener waits when the system has no room for another connection.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(200);

/// When a connection without traffic is tried by the system, how often, and how often until it is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TRIES: u32 = 3;

/// What is spoken at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Metrics and others for browsers.
    Http1,
    /// Flight.
    Http2,
}

impl Protocol {
    /// Its name in a TLS handshake.
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    /// The bytes with which a client shows that it speaks it. HTTP/1 has a limit of its own for all that follows.
    fn opening_bytes(self) -> usize {
        match self {
            Self::Http1 => 1,
            Self::Http2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len(),
        }
    }
}

/// How an endpoint takes connections.
#[derive(Debug, Clone)]
pub struct Door {
    /// What is spoken there.
    pub protocol: Protocol,
    /// TLS, if it is spoken there.
    pub tls: Option<Tls>,
    /// How many connections there may be at a time.
    pub connections_max: usize,
    /// How long a connection may take until it speaks.
    pub opening_limit: Duration,
}

impl Door {
    /// A door for this protocol, with limits that are sound.
    #[must_use]
    pub fn new(protocol: Protocol, tls: Option<Tls>) -> Self {
        Self { protocol, tls, connections_max: CONNECTIONS_MAX, opening_limit: OPENING_LIMIT }
    }
}

/// An address that nobody else can take any more. Whoever connects waits until it is served.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    door: Door,
    /// Where it is, which differs from what was asked for if the port was 0.
    pub address: SocketAddr,
}

impl Listener {
    /// Takes an address.
    ///
    /// # Errors
    /// What the system says: the address is taken, or not one of this machine.
    pub async fn bind(address: SocketAddr, door: Door) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, door, address })
    }

    /// How long a connection may take until it speaks.
    #[must_use]
    pub fn opening_limit(&self) -> Duration {
        self.door.opening_limit
    }

    /// The connections, from now on.
    #[must_use]
    pub fn incoming(self) -> Incoming {
        let room = Arc::new(Semaphore::new(self.door.connections_max));
        let spare = Arc::new(Semaphore::new(REFUSED_MAX));
        Incoming { listener: self.listener, door: self.door, room, spare, is_full: false, handshakes: JoinSet::new() }
    }
}

/// The connections of a listener as they come.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    door: Door,
    /// Places of connections, and of those that are told that there is none.
    room: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    /// Whether it was said that there is no room.
    is_full: bool,
    /// Each has a place.
    handshakes: JoinSet<Option<Connection>>,
}

impl Incoming {
    /// The next connection. Never an error: what is wrong with one is no reason to take no others.
    pub async fn accept(&mut self) -> Connection {
        loop {
            let accepted = tokio::select! {
                Some(opened) = self.handshakes.join_next() => match opened {
                    Ok(Some(connection)) => return connection,
                    _ => continue,
                },
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.begin(stream),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    /// As a stream for tonic's server.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        futures::stream::unfold(self, async |mut incoming| Some((Ok(incoming.accept().await), incoming)))
    }

    /// Begins with a connection, if there is any room for it.
    fn begin(&mut self, stream: TcpStream) {
        let Some(place) = self.place() else { return };
        set_options(&stream);
        let limit = if place.is_refused { REFUSED_LIMIT } else { self.door.opening_limit };
        let opening = Opening { door: self.door.clone(), place, until: Instant::now() + limit };
        self.handshakes.spawn(opening.open(stream));
    }

    fn place(&mut self) -> Option<Place> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            self.is_full = false;
            return Some(Place { permit, is_refused: false });
        }
        if !std::mem::replace(&mut self.is_full, true) {
            warn!("a connection is refused: {}", too_many(self.door.connections_max));
        }
        let permit = Arc::clone(&self.spare).try_acquire_owned().ok()?;
        Some(Place { permit, is_refused: true })
    }
}

struct Place {
    permit: OwnedSemaphorePermit,
    /// Whether it is one of too many.
    is_refused: bool,
}

/// A connection that is being opened.
struct Opening {
    door: Door,
    place: Place,
    until: Instant,
}

impl Opening {
    async fn open(self, stream: TcpStream) -> Option<Connection> {
        let connection = match &self.door.tls {
            None => Connection::plain(stream),
            Some(tls) => self.hand_shake(tls, stream).await?,
        };
        let Place { permit, is_refused } = self.place;
        if is_refused {
            // It is closed at its time, whatever it says.
            return Some(connection.placed(permit, usize::MAX, self.until).refused(self.door.connections_max));
        }
        Some(connection.placed(permit, self.door.protocol.opening_bytes(), self.until))
    }

    async fn hand_shake(&self, tls: &Tls, stream: TcpStream) -> Option<Connection> {
        let peer = stream.peer_addr().ok();
        let Some(config) = tls.server(self.door.protocol) else {
            warn!("a connection is closed: there is no certificate to show");
            return None;
        };
        let shaken = timeout_at(self.until, TlsAcceptor::from(config).accept(stream).into_fallible()).await;
        match shaken {
            Ok(Ok(stream)) => Some(Connection::tls(stream.into())),
            Ok(Err((error, stream))) => {
                debug!(?peer, error = chain(&told(error)), "no TLS with a client");
                take_leave(stream).await;
                None
            }
            Err(_) => {
                debug!(?peer, "a client has not done its part of the TLS handshake in time");
                None
            }
        }
    }
}

/// Waits for a client to close a connection that is over. Closed while something of it is unread, the connection would be
/// reset, and the client would not read why.
async fn take_leave(mut stream: TcpStream) {
    let mut unread = [0; 1024];
    let leave = async {
        let _ = stream.shutdown().await;
        while let Ok(1..) = stream.read(&mut unread).await {}
    };
    let _ = timeout(LEAVE_LIMIT, leave).await;
}

/// Without them a connection only works worse.
fn set_options(stream: &TcpStream) {
    if let Err(error) = keep_alive(stream) {
        debug!(%error, "a connection's options cannot be set");
    }
}

/// Has a connection send what it has at once, and notice when the other machine is gone.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tries =
        TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE_INTERVAL).with_retries(KEEP_ALIVE_TRIES);
    SockRef::from(stream).set_tcp_keepalive(&tries)
}

/// A client that is gone again is no trouble; a system without room for more connections needs time.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        warn!(%error, "the system takes no connection; has the process too many open files (ulimit -n)?");
        sleep(NO_ROOM_PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
