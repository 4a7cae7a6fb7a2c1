//! Makes connections to Flight servers, with TLS where the address says so.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tidemill_plans::error::chain;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::Status;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::connection::{Connection, Farewell};
use crate::listener::keep_alive;
use crate::tls::{Tls, told};

/// How long a connection may take to come about, with its TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How often a connection without traffic is tried, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Makes connections. Clones are for the same server, as far as [`Self::reason`] goes.
#[derive(Debug, Clone, Default)]
pub struct Connector {
    tls: Option<Tls>,
    farewell: Farewell,
}

impl Connector {
    /// Makes connections with this TLS to whoever speaks it.
    #[must_use]
    pub fn new(tls: Option<Tls>) -> Self {
        Self { tls, farewell: Farewell::default() }
    }

    /// Where a server is, `http://host:port` or `https://host:port`, and how it is spoken to.
    ///
    /// # Errors
    /// The text is no such address.
    pub fn endpoint(url: &str) -> Result<Endpoint, String> {
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| chain(&error))?;
        if endpoint.uri().host().is_none() {
            return Err(String::from("no host is in it"));
        }
        Ok(endpoint.connect_timeout(CONNECT_LIMIT).http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE))
    }

    /// Connects, so that an address that leads nowhere is noticed at once.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, String> {
        // The endpoint's own limit does not cover a peer that never speaks HTTP/2.
        match timeout(CONNECT_LIMIT, endpoint.connect_with_connector(self.clone())).await {
            Ok(connected) => connected.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer within {CONNECT_LIMIT:?}")),
        }
    }

    /// Connects when it is first used.
    #[must_use]
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(self.clone())
    }

    /// As [`reason`], with what the other side has said at the end of the connection: that it wants a certificate comes
    /// when the handshake is over for us, and HTTP/2 only tells that the connection is gone.
    #[must_use]
    pub fn reason(&self, status: &Status) -> String {
        let reason = reason(status);
        match self.farewell.take().filter(|_| status.source().is_some()) {
            Some(said) if !reason.contains(&said) => format!("{reason}: {said}"),
            _ => reason,
        }
    }

    async fn open(self, uri: Uri) -> io::Result<Connection> {
        let wants_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if wants_tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        keep_alive(&stream)?;
        if !wants_tls {
            return Ok(Connection::plain(stream));
        }
        let tls = self.tls.ok_or_else(|| {
            io::Error::other("the other side speaks TLS, and this one was started without (--tls-ca, --tls-cert)")
        })?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.client()).connect(name, stream).await.map_err(told)?;
        Ok(Connection::tls(stream.into()).noting(self.farewell))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.open(uri).await.map(TokioIo::new) })
    }
}

/// Why a call has failed: what the other side says, or what became of the connection to it.
#[must_use]
pub fn reason(status: &Status) -> String {
    match status.source() {
        None => status.message().to_owned(),
        Some(_) if status.message().is_empty() => chain(status),
        Some(cause) => {
            let cause = chain(cause);
            if cause.starts_with(status.message()) { cause } else { format!("{}: {cause}", status.message()) }
        }
    }
}
