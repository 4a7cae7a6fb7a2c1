//! A coordinator and workers as processes that are started by themselves, and that take blows: the bank's books are
//! right after each.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::bank::{check_books, script, transfers};
use crate::command::{Folder, Output, PATIENCE, Run};
use crate::killed::{Random, wait_for_commits};
use crate::tls::Certificates;

/// How long a change of the cluster's state may take to be seen.
const TRIES: u128 = PATIENCE.as_millis() / POLL.as_millis();
const POLL: Duration = Duration::from_millis(200);

/// A port that nobody listens on. None of those that connections are given, which another might have got by the time that
/// it is used; and each is given once.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = std::process::id().wrapping_mul(997).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = (FIRST + next % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Where a process runs, as the others reach it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The network namespace, where that is not the machine's own.
    pub(crate) namespace: Option<String>,
    pub(crate) host: String,
}

impl Place {
    fn here() -> Self {
        Self { namespace: None, host: String::from("127.0.0.1") }
    }

    fn start(&self, folder: &Folder, arguments: &[&str], variables: &[(String, String)]) -> Run {
        match &self.namespace {
            Some(namespace) => Run::start_in(namespace, &folder.path(""), arguments, variables),
            None => Run::start_with(&folder.path(""), arguments, variables),
        }
    }
}

/// A cluster whose processes share a folder.
pub(crate) struct Cluster {
    pub(crate) folder: Folder,
    /// Where the coordinator and its clients are.
    place: Place,
    port: u16,
    pub(crate) coordinator: Run,
    pub(crate) workers: Vec<Run>,
    /// What coordinators are started with beyond the folder and the port.
    arguments: Vec<String>,
    /// With which TLS is spoken, if it is.
    certificates: Option<Certificates>,
    transfers: usize,
}

impl Cluster {
    /// A bank's cluster without workers.
    pub(crate) fn open(transfers: usize, arguments: &[&str]) -> Self {
        Self::open_at(Place::here(), transfers, arguments)
    }

    /// One whose coordinator is somewhere else.
    pub(crate) fn open_at(place: Place, transfers: usize, arguments: &[&str]) -> Self {
        Self::begin(place, transfers, arguments.iter().map(|argument| String::from(*argument)).collect(), None)
    }

    /// One whose processes show each other certificates.
    pub(crate) fn open_with_tls(transfers: usize, certificates: Certificates) -> Self {
        Self::begin(Place::here(), transfers, certificates.of_process(), Some(certificates))
    }

    fn begin(place: Place, transfers: usize, arguments: Vec<String>, certificates: Option<Certificates>) -> Self {
        let books = self::transfers(transfers, &mut Random(transfers as u64));
        let folder = Folder::with(&[("transfers.csv", &books)]);
        let port = free_port();
        let coordinator = start_coordinator(&place, &folder, port, &arguments);
        Self { folder, place, port, coordinator, workers: Vec::new(), arguments, certificates, transfers }
    }

    /// Starts a worker with one slot.
    pub(crate) fn add_worker(&mut self) {
        self.add_worker_at(self.port, &[]);
    }

    /// Starts a worker with these variables in its environment.
    pub(crate) fn add_worker_with(&mut self, variables: &[(String, String)]) {
        self.start_worker(&Place::here(), &format!("127.0.0.1:{}", self.port), &[], variables);
    }

    /// Starts a worker that reaches the coordinator at another port.
    pub(crate) fn add_worker_at(&mut self, port: u16, arguments: &[&str]) {
        self.add_worker_in(&Place::here(), &format!("127.0.0.1:{port}"), arguments);
    }

    /// Starts a worker somewhere, which reaches the coordinator so.
    pub(crate) fn add_worker_in(&mut self, place: &Place, coordinator: &str, arguments: &[&str]) {
        self.start_worker(place, coordinator, arguments, &[]);
    }

    fn start_worker(&mut self, place: &Place, coordinator: &str, arguments: &[&str], variables: &[(String, String)]) {
        let tls = self.certificates.as_ref().map(Certificates::of_process).unwrap_or_default();
        let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
        let arguments = [&["worker", "--coordinator", coordinator, "--slots", "1"], arguments, &tls].concat();
        let variables = [&[(String::from("TIDEMILL_LOG"), String::from("info"))], variables].concat();
        let worker = place.start(&self.folder, &arguments, &variables);
        worker.wait_for_line("worker registered");
        self.workers.push(worker);
    }

    /// Starts to have the coordinator execute statements.
    pub(crate) fn start_sql(&self, text: &str) -> Run {
        let url = format!("grpc://127.0.0.1:{}", self.port);
        Run::start(&self.folder.path(""), &["sql", "-c", text, "--url", &url, "--format", "csv"])
    }

    /// Where the coordinator listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Has the coordinator execute statements.
    pub(crate) fn sql(&self, text: &str) -> Output {
        let scheme = if self.certificates.is_some() { "grpc+tls" } else { "grpc" };
        let url = format!("{scheme}://{}:{}", self.place.host, self.port);
        let tls = self.certificates.as_ref().map(Certificates::of_client).unwrap_or_default();
        let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
        let arguments = [&["sql", "-c", text, "--url", &url, "--format", "csv"][..], &tls].concat();
        self.place.start(&self.folder, &arguments, &[]).output(PATIENCE)
    }

    /// Submits the bank's job.
    #[track_caller]
    pub(crate) fn submit(&self) {
        let output = self.sql(&script("", 2)).success();
        assert!(output.stderr.contains("CREATE SINK balances"), "{}", output.stderr);
    }

    /// The rows of SHOW JOBS.
    #[track_caller]
    pub(crate) fn jobs(&self) -> Vec<String> {
        self.sql("SHOW JOBS").success().stdout.lines().skip(1).map(String::from).collect()
    }

    /// Waits until the jobs are as wanted.
    #[track_caller]
    pub(crate) fn wait_for_jobs(&self, is_wanted: impl Fn(&[String]) -> bool) {
        let mut jobs = Vec::new();
        for _ in 0..TRIES {
            jobs = self.jobs();
            if is_wanted(&jobs) {
                return;
            }
            thread::sleep(POLL);
        }
        panic!("after {PATIENCE:?}: {jobs:?}");
    }

    #[track_caller]
    pub(crate) fn wait_for_commits(&self, more: usize) {
        wait_for_commits(&self.folder, "kept", more);
    }

    /// Starts another coordinator in the place of one that has ended, and has ended by now.
    pub(crate) fn restart_coordinator(&mut self) {
        self.coordinator = start_coordinator(&self.place, &self.folder, self.port, &self.arguments);
    }

    /// Tells the coordinator to end, and waits until it has.
    #[track_caller]
    pub(crate) fn end_coordinator(&self) {
        self.coordinator.signal("TERM");
        self.coordinator.wait_for_line("the next one goes on");
        self.coordinator.wait_killed();
    }

    /// Waits until the job has ended, and looks at the books.
    #[track_caller]
    pub(crate) fn close(self) {
        self.wait_for_jobs(<[String]>::is_empty);
        let Self { folder, coordinator, workers, transfers, .. } = self;
        coordinator.signal("KILL");
        workers.iter().for_each(|worker| worker.signal("KILL"));
        let mut log = coordinator.output(PATIENCE).stderr;
        for worker in workers {
            log.push_str(&worker.output(PATIENCE).stderr);
        }
        assert!(!log.contains("panicked"), "{log}");
        check_books(&folder, transfers, &log);
    }
}

fn start_coordinator(place: &Place, folder: &Folder, port: u16, arguments: &[String]) -> Run {
    let bind = format!("{}:{port}", place.host);
    let own: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let arguments = [&["coordinator", "--data-dir", "meta", "--bind", &bind], &own[..]].concat();
    let run = place.start(folder, &arguments, &[]);
    run.wait_for_line("coordinator listens");
    run
}

/// Whether a process is there and has not ended.
fn lives(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

#[test]
fn workers_come_back_to_a_coordinator_that_was_killed_and_its_jobs_go_on() {
    let mut cluster = Cluster::open(10_000, &[]);
    // Before there is a worker, the job waits.
    cluster.submit();
    assert!(cluster.jobs()[0].starts_with("1,waiting for slots,"), "{:?}", cluster.jobs());
    cluster.add_worker();
    cluster.add_worker();
    cluster.wait_for_commits(3);
    cluster.coordinator.signal("KILL");
    cluster.coordinator.wait_killed();
    cluster.restart_coordinator();
    cluster.wait_for_commits(3);
    let jobs = cluster.jobs();
    assert!(jobs[0].starts_with("1,running,") && jobs.len() == 1, "{jobs:?}");
    assert!(cluster.workers.iter().all(|worker| lives(worker.pid)));
    cluster.close();
}

#[test]
fn a_worker_that_is_told_to_leave_ends_when_others_have_its_tasks() {
    let mut cluster = Cluster::open(10_000, &[]);
    cluster.add_worker();
    cluster.add_worker();
    cluster.submit();
    cluster.wait_for_commits(2);
    let leaves = cluster.workers.remove(0);
    leaves.signal("TERM");
    let left = leaves.output(PATIENCE).success();
    assert!(left.stderr.contains("worker leaves"), "{}", left.stderr);
    cluster.wait_for_commits(2);
    // Without any worker the job waits, and no row is lost either.
    let leaves = cluster.workers.remove(0);
    leaves.signal("TERM");
    leaves.output(PATIENCE).success();
    cluster.wait_for_jobs(|jobs| jobs.len() == 1 && jobs[0].starts_with("1,waiting for slots,"));
    cluster.add_worker();
    cluster.close();
}

#[test]
fn jobs_of_a_coordinator_that_is_told_to_end_go_on_with_the_next() {
    let mut cluster = Cluster::open(10_000, &[]);
    cluster.add_worker();
    cluster.add_worker();
    cluster.submit();
    cluster.wait_for_commits(2);
    cluster.end_coordinator();
    cluster.restart_coordinator();
    cluster.wait_for_commits(2);
    // Once more, while workers have hardly come back.
    cluster.end_coordinator();
    cluster.restart_coordinator();
    cluster.close();
}

#[test]
fn what_can_be_reached_from_other_machines_is_refused() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| Run::start(&folder.path(""), arguments).output(PATIENCE).failure();
    for arguments in [
        &["coordinator", "--data-dir", "meta", "--bind", "0.0.0.0:0"][..],
        &["worker", "--coordinator", "127.0.0.1:1", "--bind", "0.0.0.0:0"],
    ] {
        let refused = run(arguments);
        assert!(refused.contains("0.0.0.0:0 can be reached from other machines"), "{refused}");
        assert!(refused.contains("--insecure"), "{refused}");
    }
    let nobody = run(&["sql", "-c", "SHOW JOBS", "--url", "grpc://127.0.0.1:1"]);
    assert!(nobody.contains("grpc://127.0.0.1:1: "), "{nobody}");
}

#[test]
fn statements_of_a_client_are_answered_as_a_script_is() {
    let mut cluster = Cluster::open(1_000, &[]);
    cluster.add_worker();
    let source = "CREATE SOURCE t (id BIGINT, amount BIGINT)
                  WITH (connector = 'files', path = 'transfers.csv', format = 'csv');";
    let output =
        cluster.sql(&format!("{source} SELECT count(*) AS n FROM t; SELECT 1 AS one FROM t LIMIT 1")).success();
    assert_eq!(output.stdout, "n\n1000\none\n1\n");
    assert!(output.stderr.contains("CREATE SOURCE t"), "{}", output.stderr);
    // The session is there for the next client, and an error says where it is.
    assert_eq!(cluster.sql("SELECT max(id) AS last FROM t").success().stdout, "last\n999\n");
    let wrong = cluster.sql("SELECT nothing FROM t").failure();
    assert!(wrong.contains("line 1, column 8"), "{wrong}");
    cluster.coordinator.signal("KILL");
    cluster.workers[0].signal("KILL");
}
