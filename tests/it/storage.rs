//! Checkpoints on S3: on moto's server, which the test starts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::bank::Bank;
use crate::killed::kill_all;

const BUCKET: &str = "checkpoints";

/// An S3 server on loopback, which keeps what it gets in memory.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        // Where .ci/run installs it.
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("moto/bin/moto_server");
        assert!(program.exists(), "no {}: python3 -m venv and pip install moto, as .ci/run does", program.display());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port };
        let ready = (0..600).any(|_| {
            sleep(Duration::from_millis(50));
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        assert!(ready, "the server does not answer on port {port}");
        assert!(server.request("PUT", "").starts_with("HTTP/1.1 200"));
        server
    }

    /// Asks for something of the bucket; returns the answer.
    fn request(&self, method: &str, query: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let head = format!("{method} /{BUCKET}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The names of all objects.
    fn names(&self) -> Vec<String> {
        let listed = self.request("GET", "?list-type=2");
        listed.split("<Key>").skip(1).map(|key| key.split('<').next().unwrap().to_owned()).collect()
    }

    fn manifests(&self) -> usize {
        self.names().iter().filter(|name| name.ends_with(".manifest")).count()
    }

    /// What a process has to know of it.
    fn variables(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "nobody"),
            ("AWS_SECRET_ACCESS_KEY", "nothing"),
            ("AWS_REGION", "us-east-1"),
        ];
        variables.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_job_goes_on_from_checkpoints_in_a_bucket() {
    let server = Server::start();
    let settings = format!("SET checkpoint_storage = 's3://{BUCKET}/of/tests';");
    let mut bank = Bank::open_with(16_000, 11, &settings, &server.variables());
    bank.wait_for_commits(2);
    assert!(server.manifests() > 0);
    assert!(server.names().iter().all(|name| name.starts_with("of/tests/")));
    bank.kill_a_worker();
    bank.wait_for_commits(2);
    kill_all(&bank.run);
    let checkpoints = server.manifests();
    assert!((1..=3).contains(&checkpoints), "{checkpoints} are left of all that there have been");
    let bank = bank.resume();
    bank.wait_for_commits(2);
    bank.close();
}
