//! Listeners over loopback, with clients of all kinds.

use tempfile::TempDir;
use tonic::transport::server::Connected;

use super::*;
use crate::connector::Connector;
use crate::tls::certificates::Authority;
use crate::tls::{IdentityFiles, TlsFiles};

const PATIENCE: Duration = Duration::from_secs(20);

async fn listen(door: Door) -> (SocketAddr, Incoming) {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), door).await.unwrap();
    (listener.address, listener.incoming())
}

fn door(tls: Option<Tls>) -> Door {
    Door { opening_limit: Duration::from_millis(200), connections_max: 2, ..Door::new(Protocol::Http2, tls) }
}

async fn accept(incoming: &mut Incoming) -> Connection {
    timeout(PATIENCE, incoming.accept()).await.expect("no connection comes")
}

fn tls(authority: &Authority, folder: &TempDir) -> Tls {
    tls_for(&["127.0.0.1", "localhost"], authority, folder)
}

fn tls_for(names: &[&str], authority: &Authority, folder: &TempDir) -> Tls {
    authority.sign_for(names).write(folder.path(), "own");
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let path = |name: &str| folder.path().join(name);
    let identity = Some(IdentityFiles { certificate: path("own.pem"), key: path("own.key") });
    Tls::open(TlsFiles { identity, client_ca: None, ca: Some(path("ca.pem")) }).unwrap()
}

#[tokio::test]
async fn who_does_not_begin_to_speak_is_gone_after_a_while() {
    let (address, mut incoming) = listen(door(None)).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"PRI * HT").await.unwrap();
    let mut taken = accept(&mut incoming).await;
    let mut bytes = [0; 64];
    assert_eq!(taken.read(&mut bytes).await.unwrap(), 8);
    let error = timeout(PATIENCE, taken.read(&mut bytes)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);

    // Who has begun may be silent for as long as it likes.
    let mut speaks = TcpStream::connect(address).await.unwrap();
    speaks.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut taken = accept(&mut incoming).await;
    assert_eq!(taken.read(&mut bytes).await.unwrap(), 24);
    assert!(timeout(Duration::from_millis(400), taken.read(&mut bytes)).await.is_err());
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_gives_its_place_back() {
    let folder = TempDir::new().unwrap();
    let tls = tls(&Authority::new("ours"), &folder);
    let (address, mut incoming) = listen(door(Some(tls.clone()))).await;
    let silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    assert!(timeout(Duration::from_millis(600), incoming.accept()).await.is_err());
    assert_eq!(incoming.room.available_permits(), 2);
    drop(silent);

    let endpoint = Connector::endpoint(&format!("https://{address}")).unwrap();
    let connector = Connector::new(Some(tls));
    let (connected, taken) = tokio::join!(connector.connect(&endpoint), accept(&mut incoming));
    connected.unwrap();
    assert!(taken.connect_info().address.is_some() && taken.connect_info().refusal().is_none());
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_closed() {
    let (address, mut incoming) = listen(door(None)).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push((TcpStream::connect(address).await.unwrap(), accept(&mut incoming).await));
    }
    let _client = TcpStream::connect(address).await.unwrap();
    let refused = accept(&mut incoming).await;
    let why = refused.peer().refusal().unwrap();
    assert!(why.contains("its 2 connections") && why.contains("--max-connections"), "{why}");
    drop(refused);
    held.clear();
    let _client = TcpStream::connect(address).await.unwrap();
    assert!(accept(&mut incoming).await.peer().refusal().is_none());
}

#[tokio::test]
async fn what_is_wrong_between_two_ends_is_told() {
    let folders = [(); 3].map(|()| TempDir::new().unwrap());
    let authority = Authority::new("ours");
    let (ours, theirs) = (tls(&authority, &folders[0]), tls(&Authority::new("theirs"), &folders[1]));
    let (address, mut incoming) = listen(door(Some(ours.clone()))).await;
    let (elsewhere, mut incoming_elsewhere) =
        listen(door(Some(tls_for(&["a.example"], &authority, &folders[2])))).await;
    let (plain, mut plain_incoming) = listen(door(None)).await;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            drop(incoming.accept().await)
        }
    });
    serving.spawn(async move {
        loop {
            drop(incoming_elsewhere.accept().await)
        }
    });
    serving.spawn(async move {
        loop {
            let _ = plain_incoming.accept().await.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for (tls, url, wanted) in [
        (Some(theirs), format!("https://{address}"), "is signed by nobody who is trusted here: --tls-ca"),
        (Some(ours.clone()), format!("https://localhost:{}", address.port()), ""),
        (Some(ours.clone()), format!("https://{elsewhere}"), "is not for 127.0.0.1, but for DnsName(\"a.example\")"),
        (Some(ours), format!("https://{plain}"), "does not speak TLS here"),
        (None, format!("https://{address}"), "this one was started without"),
    ] {
        let connected = Connector::new(tls).connect(&Connector::endpoint(&url).unwrap()).await;
        match connected {
            Ok(_) => assert!(wanted.is_empty(), "{url} is connected to"),
            Err(error) => assert!(!wanted.is_empty() && error.contains(wanted), "{url}: {error}"),
        }
    }
    assert!(Connector::endpoint("no address").is_err() && Connector::endpoint("/path").is_err());
}
