//! A connection, with TLS or without.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Status};

use crate::gathered::Gathered;
use crate::stream::Stream;
use crate::tls::told;

/// A connection. One that a listener took holds its place there until it is dropped.
#[derive(Debug)]
pub struct Connection {
    stream: Gathered<Stream>,
    peer: Peer,
    opening: Option<Opening>,
    /// Its place among the connections of its listener.
    place: Option<OwnedSemaphorePermit>,
    /// Where its last error is left.
    farewell: Option<Farewell>,
}

/// What a connection has ended with, for who has made it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Farewell(Arc<Mutex<Option<String>>>);

impl Farewell {
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: &io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

/// Who is at the other end; with every request as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: Option<SocketAddr>,
    /// Our address.
    pub local: Option<SocketAddr>,
    /// How many connections there may be, for one that is too many: it is told so, and closed soon.
    refused: Option<usize>,
}

impl Peer {
    /// Why nothing is to be done for it, if it is one of too many.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.refused.map(too_many)
    }
}

/// What a connection has to have said until when: one that says nothing would hold its place for ever.
#[derive(Debug)]
struct Opening {
    /// How many bytes are missing.
    missing: usize,
    until: Pin<Box<Sleep>>,
}

impl Connection {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        let (address, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
        let peer = Peer { address, local, refused: None };
        Self { stream: Gathered::new(Stream::Plain(stream)), peer, opening: None, place: None, farewell: None }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        let (socket, _) = stream.get_ref();
        let (address, local) = (socket.peer_addr().ok(), socket.local_addr().ok());
        let peer = Peer { address, local, refused: None };
        Self { stream: Gathered::new(Stream::Tls(Box::new(stream))), peer, opening: None, place: None, farewell: None }
    }

    /// Has its last error left there.
    pub(crate) fn noting(mut self, farewell: Farewell) -> Self {
        self.farewell = Some(farewell);
        self
    }

    /// Gives it a place, and has it say something until a time.
    pub(crate) fn placed(mut self, place: OwnedSemaphorePermit, missing: usize, until: Instant) -> Self {
        self.place = Some(place);
        self.opening = Some(Opening { missing, until: Box::pin(sleep_until(until)) });
        self
    }

    /// One of more than there may be: `connections_max`.
    pub(crate) fn refused(mut self, connections_max: usize) -> Self {
        self.peer.refused = Some(connections_max);
        self
    }

    fn note(&self, error: &io::Error) {
        self.farewell.iter().for_each(|farewell| farewell.note(error));
    }

    /// Why nothing can be written any more: who closes a connection may have said why before.
    fn unwritable(&mut self, error: io::Error, cx: &mut Context<'_>) -> io::Error {
        let error = told(error);
        if let (Stream::Tls(stream), true) = (self.stream.inner_mut(), self.farewell.is_some())
            && let Poll::Ready(Err(said)) = Pin::new(stream).poll_read(cx, &mut ReadBuf::new(&mut [0; 64]))
        {
            let said = told(said);
            self.note(&said);
            return said;
        }
        error
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }
}

/// Why a connection is refused that is one of too many.
pub(crate) fn too_many(connections_max: usize) -> String {
    format!("the server has its {connections_max} connections; close some, or raise --max-connections")
}

/// Lets a request pass, unless its connection is one of too many. tonic's own methods find its address then.
///
/// # Errors
/// There are too many connections.
pub fn admit(mut request: Request<()>) -> Result<Request<()>, Status> {
    let Some(peer) = request.extensions().get::<Peer>().copied() else { return Ok(request) };
    if let Some(why) = peer.refusal() {
        return Err(Status::resource_exhausted(why));
    }
    request.extensions_mut().insert(TcpConnectInfo { local_addr: peer.local, remote_addr: peer.address });
    Ok(request)
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl Opening {
    fn poll(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.until.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "the other side has not spoken in time")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(opening) = &mut this.opening {
            opening.poll(cx)?;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Some(opening) = &mut this.opening {
            opening.missing = opening.missing.saturating_sub(buf.filled().len() - before);
        }
        this.opening.take_if(|opening| opening.missing == 0);
        read.map_err(|error| {
            let error = told(error);
            this.note(&error);
            error
        })
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream).poll_write(cx, buf).map_err(|error| this.unwritable(error, cx))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream).poll_flush(cx).map_err(|error| this.unwritable(error, cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs).map_err(|error| this.unwritable(error, cx))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
