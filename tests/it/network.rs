//! The network between the processes of a cluster: cut, slow, and with connections that break.
//!
//! A proxy of the test's own stands in for it, which needs no privileges. Links between two workers are cut in
//! `namespaces.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, free_port};

/// What a proxy reads at a time.
const CHUNK: usize = 64 << 10;

/// How long a worker may be silent in these clusters.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Every piece of data takes so long.
    Slow(Duration),
    /// Nothing comes through, and nobody is told: what was sent comes when it is fair again.
    Parted,
}

/// The network around one worker.
struct Network {
    weather: watch::Sender<Weather>,
    /// How often its connections have been broken.
    breaks: watch::Sender<u32>,
    runtime: Arc<Runtime>,
}

impl Network {
    fn new(runtime: &Arc<Runtime>) -> Self {
        let (weather, breaks) = (watch::Sender::new(Weather::Fair), watch::Sender::new(0));
        Self { weather, breaks, runtime: Arc::clone(runtime) }
    }

    /// A port that leads to another.
    fn lead_to(&self, port: u16) -> u16 {
        let way = Way { to: SocketAddr::from(([127, 0, 0, 1], port)), weather: self.weather.subscribe() };
        let breaks = self.breaks.subscribe();
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        // The runtime ends with the test, and what runs on it.
        drop(self.runtime.spawn(way.serve(listener, breaks)));
        address.port()
    }

    fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Breaks all connections: both ends get a reset.
    fn break_connections(&self) {
        self.breaks.send_modify(|breaks| *breaks += 1);
    }
}

/// Where connections lead, and through what.
#[derive(Clone)]
struct Way {
    to: SocketAddr,
    weather: watch::Receiver<Weather>,
}

impl Way {
    async fn serve(self, listener: TcpListener, breaks: watch::Receiver<u32>) {
        let mut connections = JoinSet::new();
        loop {
            let (near, _) = listener.accept().await.unwrap();
            while connections.try_join_next().is_some() {}
            connections.spawn(self.clone().carry(near, breaks.clone()));
        }
    }

    /// Carries one connection until an end closes it or it is broken.
    async fn carry(mut self, near: TcpStream, mut breaks: watch::Receiver<u32>) {
        breaks.mark_unchanged();
        // A connection does not come about either, while nothing comes through.
        self.weather.wait_for(|weather| *weather != Weather::Parted).await.unwrap();
        let Ok(far) = TcpStream::connect(self.to).await else { return };
        for stream in [&near, &far] {
            stream.set_nodelay(true).unwrap();
            // Dropped, it resets: a close in good order would be no fault.
            stream.set_zero_linger().unwrap();
        }
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = self.clone().pump(near_read, far_write) => {}
            () = self.pump(far_read, near_write) => {}
            _ = breaks.changed() => {}
        }
    }

    async fn pump(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut chunk = vec![0; CHUNK];
        loop {
            let Ok(count @ 1..) = from.read(&mut chunk).await else { return };
            let weather = *self.weather.wait_for(|weather| *weather != Weather::Parted).await.unwrap();
            if let Weather::Slow(delay) = weather {
                tokio::time::sleep(delay).await;
            }
            if to.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
    }
}

/// A cluster of two workers, each behind a network of its own: the coordinator and the other worker reach it through
/// that, and it the coordinator.
fn cluster(transfers: usize) -> (Cluster, [Network; 2]) {
    let runtime = Arc::new(Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    let timeout = format!("{}ms", HEARTBEAT_TIMEOUT.as_millis());
    let mut cluster = Cluster::open(transfers, &["--heartbeat-timeout", &timeout]);
    let networks = [Network::new(&runtime), Network::new(&runtime)];
    for network in &networks {
        let data = free_port();
        let (bind, advertised) = (format!("127.0.0.1:{data}"), format!("127.0.0.1:{}", network.lead_to(data)));
        let coordinator = network.lead_to(cluster.port());
        cluster.add_worker_at(coordinator, &["--bind", &bind, "--advertise", &advertised]);
    }
    cluster.submit();
    cluster.wait_for_commits(2);
    (cluster, networks)
}

#[test]
fn a_worker_that_is_cut_off_for_longer_than_its_lease_does_no_harm_and_comes_back() {
    let (mut cluster, [first, second]) = cluster(12_000);
    let registered = "worker registered";
    first.set(Weather::Parted);
    // It has stopped what it ran by the time that others have got it.
    cluster.workers[0].wait_for_line("no answer of the coordinator in 2s");
    cluster.wait_for_commits(2);
    first.set(Weather::Fair);
    cluster.workers[0].wait_for_line(registered);
    // Everything is cut off now, so the job waits.
    for network in [&first, &second] {
        network.set(Weather::Parted);
    }
    cluster.wait_for_jobs(|jobs| jobs[0].starts_with("1,waiting for slots,"));
    for network in [&first, &second] {
        network.set(Weather::Fair);
    }
    cluster.wait_for_commits(1);
    // A coordinator that is gone as well is no other case.
    cluster.coordinator.signal("KILL");
    cluster.coordinator.wait_killed();
    second.set(Weather::Parted);
    cluster.restart_coordinator();
    cluster.wait_for_commits(1);
    second.set(Weather::Fair);
    cluster.close();
}

#[test]
fn connections_that_are_slow_or_break_lose_and_double_nothing() {
    let (cluster, networks) = cluster(10_000);
    networks.iter().for_each(|network| network.set(Weather::Slow(Duration::from_millis(50))));
    cluster.wait_for_commits(2);
    for network in networks.iter().chain(&networks) {
        network.break_connections();
        cluster.wait_for_commits(1);
    }
    networks.iter().for_each(|network| network.set(Weather::Fair));
    networks.iter().for_each(Network::break_connections);
    cluster.close();
}
