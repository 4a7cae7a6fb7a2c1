//! TLS at every port: who is let in, and what those are told who are not.

use std::thread;
use std::time::Duration;

use arrow_flight::sql::client::FlightSqlServiceClient;
use tidemill_net::tls::IdentityFiles;
use tidemill_net::{Connector, Tls, TlsFiles};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::certificates::Authority;
use crate::cluster::{Cluster, free_port};
use crate::command::{Folder, Output, PATIENCE, Run};
use crate::flight_sql::run_python;

const POLL: Duration = Duration::from_millis(100);
const TRIES: u128 = PATIENCE.as_millis() / POLL.as_millis();

/// Certificates of a cluster, in files: one for its processes, one for clients.
pub(crate) struct Certificates {
    folder: Folder,
    authority: Authority,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        Self::of("ours")
    }

    /// Those of somebody who signs for another cluster.
    fn of(authority: &str) -> Self {
        let (folder, authority) = (Folder::new(), Authority::new(authority));
        folder.write("ca.pem", authority.pem());
        authority.sign().write(&folder.path(""), "server");
        authority.sign().write(&folder.path(""), "client");
        Self { folder, authority }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name).to_str().unwrap().to_owned()
    }

    fn pair(&self, name: &str) -> Vec<String> {
        let files = [self.path(&format!("{name}.pem")), self.path(&format!("{name}.key"))];
        ["--tls-cert", "--tls-key"].into_iter().map(String::from).zip(files).flat_map(<[String; 2]>::from).collect()
    }

    fn trusting(&self, option: &str) -> Vec<String> {
        vec![String::from(option), self.path("ca.pem")]
    }

    /// What the cluster's processes are started with: each shows its certificate, and wants to see those of others.
    pub(crate) fn of_process(&self) -> Vec<String> {
        [self.pair("server"), self.trusting("--tls-ca"), self.trusting("--tls-client-ca")].concat()
    }

    /// What clients are started with.
    pub(crate) fn of_client(&self) -> Vec<String> {
        [self.pair("client"), self.trusting("--tls-ca")].concat()
    }
}

fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// A server in a folder of its own.
fn serve(folder: &Folder, port: u16, http: u16, tls: &[String]) -> Run {
    let (bind, http) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{http}"));
    let arguments = [&["serve", "--bind", &bind, "--http", &http, "--slots", "1"][..], &text(tls)].concat();
    let server = Run::start(&folder.path(""), &arguments);
    server.wait_for_line("Flight SQL at grpc+tls://127.0.0.1");
    server
}

fn ask(folder: &Folder, url: &str, tls: &[String]) -> Output {
    let arguments = [&["sql", "-c", "SELECT 1 AS one", "--format", "csv", "--url", url][..], &text(tls)].concat();
    Run::start(&folder.path(""), &arguments).output(PATIENCE)
}

#[test]
fn those_are_let_in_who_show_a_certificate_and_the_others_are_told_what_is_missing() {
    let (ours, folder, port) = (Certificates::new(), Folder::new(), free_port());
    let _server = serve(&folder, port, 0, &ours.of_process());
    let url = format!("grpc+tls://127.0.0.1:{port}");
    assert_eq!(ask(&folder, &url, &ours.of_client()).success().stdout, "one\n1\n");
    assert_eq!(ask(&folder, &format!("grpcs://localhost:{port}"), &ours.of_client()).success().stdout, "one\n1\n");

    let theirs = Certificates::of("theirs");
    let stranger = [theirs.pair("client"), ours.trusting("--tls-ca")].concat();
    for (url, tls, wanted) in [
        (format!("grpc://127.0.0.1:{port}"), vec![], "the URL is grpc+tls://HOST:PORT"),
        (url.clone(), vec![], "signed by nobody who is trusted here: --tls-ca names the file"),
        (url.clone(), theirs.of_client(), "is signed by nobody who is trusted here"),
        (url.clone(), Certificates::new().of_client(), "is signed by nobody who is trusted here"),
        (url.clone(), ours.trusting("--tls-ca"), "wants a certificate of ours: --tls-cert and --tls-key"),
        (url, stranger, "does not trust who has signed our certificate"),
        (format!("grpc://127.0.0.1:{port}"), ours.of_client(), "is no URL of a server with TLS"),
    ] {
        let refused = ask(&folder, &url, &tls).failure();
        assert!(refused.contains(wanted), "{url} {tls:?}: {refused}");
    }
    let coordinator = format!("127.0.0.1:{port}");
    let worker = ["worker", "--coordinator", &coordinator, "--end-without-coordinator"];
    let strange = [theirs.pair("server"), ours.trusting("--tls-ca")].concat();
    let strange = [&worker[..], &text(&strange)].concat();
    let refused = Run::start(&folder.path(""), &strange).output(PATIENCE).failure();
    assert!(refused.contains("does not trust who has signed our certificate"), "{refused}");
}

#[test]
fn a_job_shuffles_over_workers_that_show_each_other_certificates() {
    let mut cluster = Cluster::open_with_tls(4_000, Certificates::new());
    cluster.add_worker();
    cluster.add_worker();
    cluster.submit();
    cluster.wait_for_commits(2);
    cluster.coordinator.signal("KILL");
    cluster.coordinator.wait_killed();
    cluster.restart_coordinator();
    cluster.close();
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let (certificates, folder, port) = (Certificates::new(), Folder::new(), free_port());
    let server = serve(&folder, port, 0, &certificates.pair("server"));
    let url = format!("grpc+tls://127.0.0.1:{port}");
    let runtime = Runtime::new().unwrap();
    let mut old = connect(&runtime, port, &certificates);

    let theirs = Certificates::new();
    theirs.authority.sign().write(&certificates.folder.path(""), "server");
    let is_shown = (0..TRIES).any(|_| {
        thread::sleep(POLL);
        ask(&folder, &url, &theirs.trusting("--tls-ca")).status == Some(0)
    });
    assert!(is_shown, "the new certificate is not shown");
    // Who was there before is there still.
    runtime.block_on(old.execute(String::from("SELECT 1 AS one"), None)).unwrap();

    certificates.folder.write("server.pem", "no certificate");
    server.wait_for_line("what was there before stays in use");
    assert_eq!(ask(&folder, &url, &theirs.trusting("--tls-ca")).success().stdout, "one\n1\n");
    theirs.authority.sign_expired().write(&certificates.folder.path(""), "server");
    server.wait_for_line("has expired");
    assert_eq!(ask(&folder, &url, &theirs.trusting("--tls-ca")).success().stdout, "one\n1\n");
}

fn connect(runtime: &Runtime, port: u16, certificates: &Certificates) -> FlightSqlServiceClient<Channel> {
    let path = |name: &str| certificates.folder.path(name);
    let identity = Some(IdentityFiles { certificate: path("client.pem"), key: path("client.key") });
    let tls = Tls::open(TlsFiles { identity, client_ca: None, ca: Some(path("ca.pem")) }).unwrap();
    let endpoint = Connector::endpoint(&format!("https://127.0.0.1:{port}")).unwrap();
    FlightSqlServiceClient::new(runtime.block_on(Connector::new(Some(tls)).connect(&endpoint)).unwrap())
}

#[test]
fn python_clients_and_browsers_speak_tls() {
    let (certificates, folder, port, http) = (Certificates::new(), Folder::new(), free_port(), free_port());
    let _server = serve(&folder, port, http, &certificates.of_process());
    let files = ["ca.pem", "client.pem", "client.key"].map(|name| certificates.path(name));
    let (url, metrics) = (format!("grpc+tls://127.0.0.1:{port}"), format!("https://127.0.0.1:{http}/metrics"));
    run_python(&folder, "tests/python/tls.py", &[&url, &metrics, &files[0], &files[1], &files[2]]);
}

#[test]
fn servers_that_would_not_be_safe_do_not_start() {
    let (certificates, folder) = (Certificates::new(), Folder::new());
    let theirs = Certificates::new();
    certificates.authority.sign_expired().write(&certificates.folder.path(""), "expired");
    let other_key = vec![
        String::from("--tls-cert"),
        certificates.path("server.pem"),
        String::from("--tls-key"),
        theirs.path("server.key"),
    ];
    for (bind, tls, wanted) in [
        ("0.0.0.0:0", vec![], "there is neither encryption nor authentication: --tls-cert"),
        ("0.0.0.0:0", certificates.pair("server"), "TLS alone lets everybody in: --tls-client-ca"),
        (
            "127.0.0.1:0",
            certificates.pair("expired"),
            "expired.pem cannot be used for TLS: its certificate has expired",
        ),
        ("127.0.0.1:0", certificates.pair("absent"), "cannot read"),
        ("127.0.0.1:0", other_key, "is not that of the certificate in"),
    ] {
        let arguments = [&["serve", "--http", "127.0.0.1:0", "--bind", bind][..], &text(&tls)].concat();
        let refused = Run::start(&folder.path(""), &arguments).output(PATIENCE).failure();
        assert!(refused.contains(wanted), "{refused}");
    }
    let safe = certificates.of_process();
    let arguments = [&["serve", "--http", "0.0.0.0:0", "--bind", "0.0.0.0:0"], &text(&safe)[..]].concat();
    let server = Run::start(&folder.path(""), &arguments);
    server.wait_for_line("coordinator listens on 0.0.0.0");
}
