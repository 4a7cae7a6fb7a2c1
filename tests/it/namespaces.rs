//! Machines of which two do not reach each other, while all others do: hosts in network namespaces, a link for each two of
//! them. It needs root and Debian's `iproute2`; without, these tests say that they are skipped.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cluster::{Cluster, Place, free_port};

/// Hosts, and a link between each two that leads over a bridge in a namespace of its own: a bridge that is down loses what is
/// sent, as a cable far away does, and neither end is told.
struct Machines {
    /// What names of these namespaces begin with.
    name: String,
    count: usize,
}

impl Machines {
    /// So many machines; nothing where they cannot be had.
    #[expect(clippy::print_stderr, reason = "says that it could not test anything")]
    fn new(count: usize) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidemill-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let machines = Self { name, count };
        if let Err(reason) = try_ip(&["netns", "add", &machines.hub()]) {
            eprintln!("no network namespaces can be made here, so no link is cut: {reason}");
            return None;
        }
        (0..count).for_each(|host| machines.add_host(host));
        for (one, other) in machines.pairs() {
            machines.link(one, other);
        }
        Some(machines)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn namespace(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.count;
        (0..count).flat_map(move |one| (one + 1..count).map(move |other| (one, other)))
    }

    fn place(&self, host: usize) -> Place {
        Place { namespace: Some(self.namespace(host)), host: address(host) }
    }

    /// A host has one address, whichever link leads to it.
    fn add_host(&self, host: usize) {
        let namespace = self.namespace(host);
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "address", "add", &format!("{}/32", address(host)), "dev", "lo"]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
    }

    fn link(&self, one: usize, other: usize) {
        let (hub, bridge) = (self.hub(), bridge(one, other));
        ip(&["-n", &hub, "link", "add", &bridge, "type", "bridge"]);
        for (from, to) in [(one, other), (other, one)] {
            let (namespace, near, far) = (self.namespace(from), format!("to{to}"), format!("p{from}-{to}"));
            ip(&["-n", &hub, "link", "add", &far, "type", "veth", "peer", "name", &near, "netns", &namespace]);
            ip(&["-n", &hub, "link", "set", &far, "master", &bridge, "up"]);
            ip(&["-n", &namespace, "link", "set", &near, "up"]);
            ip(&["-n", &namespace, "route", "add", &address(to), "dev", &near, "src", &address(from)]);
        }
        self.mend(one, other);
    }

    fn cut(&self, one: usize, other: usize) {
        ip(&["-n", &self.hub(), "link", "set", &bridge(one, other), "down"]);
    }

    fn mend(&self, one: usize, other: usize) {
        ip(&["-n", &self.hub(), "link", "set", &bridge(one, other), "up"]);
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        let hosts = (0..self.count).map(|host| self.namespace(host));
        for namespace in hosts.chain([self.hub()]) {
            // It may not have been made.
            let _ = try_ip(&["netns", "delete", &namespace]);
        }
    }
}

fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

/// Interfaces have names of fifteen letters at most.
fn bridge(one: usize, other: usize) -> String {
    format!("b{}-{}", one.min(other), one.max(other))
}

#[track_caller]
fn ip(arguments: &[&str]) {
    if let Err(reason) = try_ip(arguments) {
        panic!("ip {}: {reason}", arguments.join(" "));
    }
}

fn try_ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

const COORDINATOR: usize = 0;
const WORKERS: [usize; 2] = [1, 2];

/// A coordinator and two workers, each on a machine of its own, and a job that has committed.
fn cluster(machines: &Machines, transfers: usize) -> Cluster {
    let place = machines.place(COORDINATOR);
    let mut cluster = Cluster::open_at(place.clone(), transfers, &["--heartbeat-timeout", "2s", "--insecure"]);
    let coordinator = format!("{}:{}", place.host, cluster.port());
    for worker in WORKERS {
        let place = machines.place(worker);
        let bind = format!("{}:{}", place.host, free_port());
        cluster.add_worker_in(&place, &coordinator, &["--bind", &bind, "--insecure"]);
    }
    cluster.submit();
    cluster.wait_for_commits(2);
    cluster
}

#[test]
fn workers_that_do_not_reach_each_other_fail_their_job_until_they_do() {
    let Some(machines) = Machines::new(3) else { return };
    let cluster = cluster(&machines, 10_000);
    let [first, second] = WORKERS;
    machines.cut(first, second);
    // Both are alive, for both reach the coordinator: the job fails by its exchange, and waits longer each time.
    cluster.wait_for_jobs(|jobs| jobs[0].starts_with("1,restarting,"));
    machines.mend(first, second);
    cluster.wait_for_commits(2);
    cluster.close();
}

#[test]
fn a_coordinator_that_workers_do_not_reach_goes_on_with_them_when_they_do() {
    let Some(machines) = Machines::new(3) else { return };
    let cluster = cluster(&machines, 10_000);
    WORKERS.iter().for_each(|worker| machines.cut(COORDINATOR, *worker));
    for worker in &cluster.workers {
        worker.wait_for_line("no answer of the coordinator in 2s");
    }
    WORKERS.iter().for_each(|worker| machines.mend(COORDINATOR, *worker));
    cluster.wait_for_commits(2);
    cluster.close();
}
