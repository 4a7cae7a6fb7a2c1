//! A PostgreSQL server that a test starts.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A PostgreSQL server on loopback with its data in a temporary folder.
pub(crate) struct Server {
    process: Child,
    programs: PathBuf,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with these settings, `name=value` each.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        if is_root() {
            // The server refuses to run as root, and its user must reach its data.
            run(Command::new("chmod").arg("755").arg(folder.path()));
            run(Command::new("chown").arg("postgres").arg(&data));
        }
        let initdb = ["--pgdata", &data.display().to_string(), "--username", "tester", "--auth", "trust", "--no-sync"];
        run(server_command(&programs.join("initdb")).args(initdb).args(["--encoding", "UTF8", "--locale", "C"]));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let process = server_command(&programs.join("postgres"))
            .args(["-D", &data.display().to_string(), "-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-c", "unix_socket_directories=", "-c", "fsync=off"])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, programs, port, _folder: folder };
        let ready = (0..200).any(|_| {
            sleep(Duration::from_millis(50));
            server.psql("SELECT 1").output().unwrap().status.success()
        });
        assert!(ready, "the server does not answer on port {port}");
        server
    }

    fn psql(&self, sql: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "tester", "-d", "postgres", "-c", sql]);
        psql
    }

    pub(crate) fn execute(&self, sql: &str) {
        run(&mut self.psql(sql));
    }

    /// The rows of a query, values parted by `|`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let output = self.psql(sql).arg("-At").output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect()
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://tester@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn programs() -> PathBuf {
    let found = glob("/usr/lib/postgresql").into_iter().map(|version| version.join("bin"));
    found.max().unwrap_or_else(|| panic!("PostgreSQL is not installed: apt-get install postgresql"))
}

/// The folders in a folder.
fn glob(folder: &str) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// A program of the server's, as a user whom it accepts.
fn server_command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(program);
    command
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
