//! How HTTP is served: each connection with its limits, and as long as the endpoint is open.

use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tidemill_net::{Connection, Listener};
use tokio::task::JoinSet;
use tracing::debug;

use super::ServerGuard;

/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Serves what the router has.
pub(super) fn serve(router: Router, listener: Listener) -> ServerGuard {
    let mut task = JoinSet::new();
    task.spawn(take_connections(router, listener));
    ServerGuard { _task: task }
}

async fn take_connections(router: Router, listener: Listener) {
    // Also for the head of the next request on a connection: whoever waits for longer comes again.
    let head_limit = listener.opening_limit();
    let mut incoming = listener.incoming();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            connection = incoming.accept() => {
                connections.spawn(serve_connection(router.clone(), connection, head_limit));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(router: Router, connection: Connection, head_limit: Duration) {
    let peer = connection.peer();
    let router = match (peer.refusal(), peer.address) {
        (Some(why), _) => Router::new().fallback(async move || (StatusCode::SERVICE_UNAVAILABLE, why)),
        (None, Some(address)) => router.layer(Extension(ConnectInfo(address))),
        (None, None) => router,
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_limit)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        debug!(?peer, %error, "an HTTP connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tidemill_net::{Door, Protocol};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn start() -> (SocketAddr, ServerGuard) {
        let door =
            Door { opening_limit: Duration::from_millis(200), connections_max: 1, ..Door::new(Protocol::Http1, None) };
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), door).await.unwrap();
        let address = listener.address;
        (address, serve(Router::new().route("/", get(async || "well")), listener))
    }

    /// All that the server says to a client that says this.
    async fn answer(stream: &mut TcpStream, said: &str) -> String {
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("the connection stays open").unwrap();
        text
    }

    #[tokio::test]
    async fn requests_are_answered_and_halves_of_them_are_given_up() {
        let (address, _guard) = start().await;
        let connect = async || TcpStream::connect(address).await.unwrap();
        let whole = answer(&mut connect().await, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("well"), "{whole}");
        let half = answer(&mut connect().await, "GET / HTTP/1.1\r\nX-Dribble: ").await;
        assert!(!half.contains("200"), "{half}");
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so() {
        let (address, _guard) = start().await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        // The first one has its place before the second comes: they are taken in their order.
        let mut second = TcpStream::connect(address).await.unwrap();
        let told = answer(&mut second, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("--max-connections"), "{told}");
    }
}
