//! Look-up joins: with files, and with a PostgreSQL server that the test starts.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::command::{Folder, sorted_rows};
use crate::windows_and_joins::BIDS;

const BIDS_CSV: &str = "\
ts,item,price
2024-01-01 00:00:01,a,1
2024-01-01 00:00:04,b,2
2024-01-01 00:00:09,a,3
2024-01-01 00:00:12,c,5
2024-01-01 00:00:31,,6
";

/// A PostgreSQL server on loopback with its data in a temporary folder.
struct Server {
    process: Child,
    programs: PathBuf,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
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

    fn execute(&self, sql: &str) {
        run(&mut self.psql(sql));
    }

    fn url(&self) -> String {
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

fn ask(folder: &Folder, people: &str, query: &str, arguments: &[&str]) -> Vec<String> {
    let arguments = [&["--format", "csv", "--set", "source_batch_rows=2"], arguments].concat();
    let output = folder.run(&format!("{BIDS}{people}{query};"), &arguments).success();
    sorted_rows(&output.stdout).into_iter().map(String::from).collect()
}

const QUERY: &str = "SELECT b.price, p.name, p.score FROM bids b
    LEFT JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.item = b.item";

#[test]
fn rows_of_a_server_are_joined() {
    let server = Server::start();
    server.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.fans (item TEXT, name VARCHAR(9), score NUMERIC(5, 1), since TIMESTAMP, n INT);
         INSERT INTO shop.fans VALUES ('a', 'ann', 1.5, '2024-01-02 03:04:05.5', 1), ('b', 'bob', NULL, NULL, 2),
                                      ('b', 'bea', 7, NULL, 3), (NULL, 'nobody', 0, NULL, 4);",
    );
    let people = format!(
        "CREATE TABLE people (name VARCHAR, score DOUBLE, item VARCHAR, since TIMESTAMP, n SMALLINT)
         WITH (connector = 'postgres', url = '{}', table = 'shop.fans');",
        server.url()
    );
    let folder = Folder::with(&[("bids.csv", BIDS_CSV)]);
    for spread in [&["--parallelism", "1"][..], &["--parallelism", "2", "--workers", "2"]] {
        let rows = ask(&folder, &people, QUERY, spread);
        assert_eq!(rows, ["1,ann,1.5", "2,bea,7.0", "2,bob,", "3,ann,1.5", "5,,", "6,,"], "{spread:?}");
    }
    // A number that the table's type cannot hold has no rows, and two keys are one question.
    let query = "SELECT b.price, p.since FROM bids b JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p
                 ON p.n = b.price AND p.item = b.item";
    assert_eq!(ask(&folder, &people, query, &[]), ["1,2024-01-02T03:04:05.500", "2,"]);
}

#[test]
fn a_server_that_is_not_there_or_has_no_such_table_ends_the_job() {
    let server = Server::start();
    let folder = Folder::with(&[("bids.csv", BIDS_CSV)]);
    let fail = |url: &str| {
        let people = format!(
            "CREATE TABLE people (name VARCHAR, score DOUBLE, item VARCHAR) WITH (connector = 'postgres', url = '{url}');"
        );
        folder.run(&format!("{BIDS}{people}{QUERY};"), &["--format", "csv"]).failure()
    };
    let stderr = fail(&server.url());
    assert!(stderr.contains("cannot look up rows of 'people'"), "{stderr}");
    assert!(stderr.contains("relation \"people\" does not exist"), "{stderr}");
    let url = server.url();
    drop(server);
    let stderr = fail(&url);
    assert!(stderr.contains("cannot look up rows of 'people'"), "{stderr}");
    assert!(stderr.contains("refused"), "{stderr}");
}

#[test]
fn rows_of_a_file_are_joined() {
    let people = "name,score,item\nann,1.5,a\nbob,,b\nbea,7,b\nnobody,0,\n";
    let folder = Folder::with(&[("bids.csv", BIDS_CSV), ("people.csv", people)]);
    let people = "CREATE TABLE people (name VARCHAR, score DOUBLE, item VARCHAR)
        WITH (connector = 'files', path = 'people.csv', format = 'csv', lookup = 'true');";
    for parallelism in ["1", "2"] {
        let rows = ask(&folder, people, QUERY, &["--parallelism", parallelism]);
        assert_eq!(rows, ["1,ann,1.5", "2,bea,7.0", "2,bob,", "3,ann,1.5", "5,,", "6,,"]);
        let windows = "SELECT p.name, window_start, sum(price) AS total FROM TUMBLE((
                SELECT b.ts, b.price, p.name FROM bids b JOIN people FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.item = b.item),
                DESCRIPTOR(ts), INTERVAL '10 seconds') p GROUP BY p.name, window_start, window_end";
        let rows = ask(&folder, people, windows, &["--parallelism", parallelism]);
        assert_eq!(rows, ["ann,2024-01-01T00:00:00,4", "bea,2024-01-01T00:00:00,2", "bob,2024-01-01T00:00:00,2"]);
    }
}
