//! An S3 server on loopback, moto's, which keeps what it gets in memory; and what stands between it and a client, to count
//! what is fetched.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

/// The server, with a bucket.
pub(crate) struct Moto {
    process: Child,
    port: u16,
    bucket: &'static str,
}

impl Moto {
    pub(crate) fn start(bucket: &'static str) -> Self {
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
        let server = Self { process, port, bucket };
        let ready = (0..600).any(|_| {
            sleep(Duration::from_millis(50));
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        assert!(ready, "the server does not answer on port {port}");
        server.request("PUT", "", b"");
        server
    }

    /// Asks for something of the bucket, such as `/name` or `?list-type=2`; returns what comes behind the head.
    #[track_caller]
    fn request(&self, method: &str, place: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let (bucket, length) = (self.bucket, body.len());
        let head = format!("{method} /{bucket}{place} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 20"), "{method} {place}: {}", String::from_utf8_lossy(&answer));
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        answer.split_off(head + 4)
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        self.request("PUT", &format!("/{name}"), content.as_ref());
    }

    pub(crate) fn get(&self, name: &str) -> String {
        String::from_utf8(self.request("GET", &format!("/{name}"), b"")).unwrap()
    }

    /// The names of all objects, in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        let listed = String::from_utf8(self.request("GET", "?list-type=2", b"")).unwrap();
        listed.split("<Key>").skip(1).map(|key| key.split('<').next().unwrap().to_owned()).collect()
    }

    /// Those that begin so.
    pub(crate) fn names_of(&self, beginning: &str) -> Vec<String> {
        self.names().into_iter().filter(|name| name.starts_with(beginning)).collect()
    }

    /// How many uploads are neither completed nor given up.
    pub(crate) fn uploads(&self) -> usize {
        String::from_utf8(self.request("GET", "?uploads", b"")).unwrap().matches("<UploadId>").count()
    }

    /// What a process has to know of it.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
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

    /// The same as options of a table.
    pub(crate) fn options(&self) -> String {
        options_of(self.port)
    }
}

/// Options of a table that is at this port.
pub(crate) fn options_of(port: u16) -> String {
    format!(
        "aws_endpoint = 'http://127.0.0.1:{port}', aws_allow_http = true, aws_region = 'us-east-1', \
         aws_access_key_id = 'nobody', aws_secret_access_key = 'nothing-4711'"
    )
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Stands in front of a server.
pub(crate) struct Counting {
    pub(crate) port: u16,
    /// Bytes that the server has sent.
    bytes: Arc<AtomicU64>,
    /// What it was asked.
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Counting {
    pub(crate) fn before(server: &Moto) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, behind) = (listener.local_addr().unwrap().port(), server.port);
        let (bytes, asked) = (Arc::default(), Arc::default());
        let counting = Self { port, bytes: Arc::clone(&bytes), asked: Arc::clone(&asked) };
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).unwrap());
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (bytes, asked) = (Arc::clone(&bytes), Arc::clone(&asked));
                thread::spawn(move || carry(from_client, to_server, |part| asked.lock().unwrap().extend(part)));
                thread::spawn(move || {
                    carry(server, client, |part| _ = bytes.fetch_add(part.len() as u64, Ordering::SeqCst))
                });
            }
        });
        counting
    }

    /// Bytes that have been fetched, and how many requests for objects there were, since this was asked before.
    pub(crate) fn fetched(&self) -> (u64, usize) {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let gets = String::from_utf8_lossy(&asked).matches("GET /").count();
        (self.bytes.swap(0, Ordering::SeqCst), gets)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        note(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// A port where each request is answered so.
pub(crate) fn answering(status: &'static str, body: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = vec![0; 64 << 10];
            let read = client.read(&mut request).unwrap_or_default();
            let body = if request[..read].starts_with(b"HEAD") { "" } else { body };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = client.write_all(format!("{head}{body}").as_bytes());
        }
    });
    port
}
