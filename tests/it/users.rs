//! A server with users, as its clients see it: they log in, may do what was granted, and are found again after a crash.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, FlightInfo};
use futures::TryStreamExt;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::Channel;

use crate::cluster::free_port;
use crate::command::{Folder, Output, PATIENCE, Run};
use crate::flight_sql::run_python;
use crate::moto::Moto;

pub(crate) const PASSWORD: &str = "correct horse";

/// A server with a superuser, `root`.
pub(crate) struct Guarded {
    pub(crate) folder: Folder,
    server: Run,
    port: u16,
    pub(crate) http: u16,
}

impl Guarded {
    pub(crate) fn start() -> Self {
        Self::start_as(&["serve", "--slots", "2"])
    }

    fn start_as(command: &[&str]) -> Self {
        let folder =
            Folder::with(&[("root.txt", PASSWORD), ("ann.txt", "ann's\n"), ("cluster.txt", "0123456789abcdef")]);
        let (port, http) = (free_port(), free_port());
        let server = serve(&folder, command, port, http);
        Self { folder, server, port, http }
    }

    /// A worker in a process of its own.
    fn worker(&self, arguments: &[&str], log: &str) -> Run {
        let coordinator = format!("127.0.0.1:{}", self.port);
        let arguments = [&["worker", "--coordinator", &coordinator, "--slots", "4"], arguments].concat();
        let log = [(String::from("TIDEMILL_LOG"), log.to_owned())];
        Run::start_with(&self.folder.path(""), &arguments, &log)
    }

    fn url(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.port)
    }

    /// What a statement comes to for a user whose password is in a file.
    pub(crate) fn sql(&self, user: &str, text: &str) -> Output {
        self.begin(user, text).output(PATIENCE)
    }

    /// A client that executes a statement.
    fn begin(&self, user: &str, text: &str) -> Run {
        let (file, url) = (format!("{user}.txt"), self.url());
        let arguments = ["sql", "--url", &url, "--user", user, "--password-file", &file, "--format", "csv", "-c", text];
        Run::start(&self.folder.path(""), &arguments)
    }

    /// What HTTP answers to a path.
    fn get(&self, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn serve(folder: &Folder, command: &[&str], port: u16, http: u16) -> Run {
    let (bind, http) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{http}"));
    let mut arguments = [command, &["--bind", &bind, "--http", &http, "--data-dir", "meta"]].concat();
    arguments.extend(["--init-user", "root", "--password-file", "root.txt", "--cluster-secret", "cluster.txt"]);
    let server = Run::start(&folder.path(""), &arguments);
    server.wait_for_line("coordinator listens");
    server
}

/// Executes a statement, and fetches its rows.
async fn ask(client: &mut FlightSqlServiceClient<Channel>, sql: &str) -> Result<usize, FlightError> {
    let info: FlightInfo = client.execute(sql.to_owned(), None).await?;
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let rows: Vec<_> = client.do_get(ticket).await?.try_collect().await?;
    Ok(rows.iter().map(arrow::array::RecordBatch::num_rows).sum())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, FlightError>, code: Code, why: &str) {
    match outcome {
        Err(FlightError::Tonic(status)) => {
            assert!(status.code() == code && status.message().contains(why), "{status}");
        }
        other => {
            let text = format!("{other:?}");
            assert!(text.contains(why), "{text}");
        }
    }
}

#[test]
fn clients_log_in_and_out() {
    let guarded = Guarded::start();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let channel =
            Channel::from_shared(format!("http://127.0.0.1:{}", guarded.port)).unwrap().connect().await.unwrap();
        let mut client = FlightSqlServiceClient::new(channel.clone());
        refused(ask(&mut client, "SELECT 1 AS a").await, Code::Unauthenticated, "say who you are");
        let wrong = client.handshake("root", "guess").await.unwrap_err().to_string();
        assert!(wrong.contains("the user or the password is wrong"), "{wrong}");
        let token = client.handshake("root", PASSWORD).await.unwrap();
        assert_eq!(token, client.token().unwrap().as_bytes());
        assert_eq!(ask(&mut client, "SELECT 1 AS a").await.unwrap(), 1);

        // The same on any call, and with what somebody else's tools make of it.
        let mut basic = FlightSqlServiceClient::new(channel);
        basic.set_header("authorization", "Basic cm9vdDpjb3JyZWN0IGhvcnNl");
        assert_eq!(ask(&mut basic, "SELECT 1 AS a").await.unwrap(), 1);

        client.do_action(Action::new("CloseSession", "")).await.unwrap();
        refused(ask(&mut client, "SELECT 1 AS a").await, Code::Unauthenticated, "log in again");
        assert_eq!(ask(&mut basic, "SELECT 1 AS a").await.unwrap(), 1);
    });
    for (header, status) in [
        ("", "401"),
        ("Authorization: Basic cm9vdDpndWVzcw==\r\n", "401"),
        ("Authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n", "200"),
    ] {
        let answer = guarded.get("/metrics", header);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert!(guarded.get("/metrics", "").to_lowercase().contains("www-authenticate: basic"));
    guarded.sql("root", "CREATE USER ann PASSWORD 'ann''s'").success();
    for (path, status) in [("/metrics", "200"), ("/api/v1/jobs", "200"), ("/api/v1/cluster", "403")] {
        let answer = guarded.get(path, "Authorization: Basic YW5uOmFubidz\r\n");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
    guarded.sql("root", "GRANT tidemill_monitor TO ann").success();
    for (path, status) in [("/api/v1/cluster", "200"), ("/api/v1/queries", "200"), ("/api/v1/catalog/nothing", "404")] {
        let answer = guarded.get(path, "Authorization: Basic YW5uOmFubidz\r\n");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
    assert!(guarded.get("/api/v1/jobs", "").starts_with("HTTP/1.1 401"));
    assert!(guarded.get("/api/v1/jobs", "Authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n").contains("\"jobs\""));
    assert!(!guarded.get("/healthz", "").starts_with("HTTP/1.1 401"));
    guarded.server.signal("TERM");
    guarded.server.output(PATIENCE).success();
}

#[test]
fn rights_survive_a_crash() {
    let mut guarded = Guarded::start();
    let made = "CREATE USER ann PASSWORD 'ann''s'; GRANT CREATE ON SCHEMA public TO ann;
                GRANT USAGE ON CONNECTOR datagen TO ann; CREATE SECRET pg AS 'hush-4711'";
    guarded.sql("root", made).success();
    let created = "CREATE SOURCE s (a BIGINT) WITH (connector = 'datagen', rows_per_second = 10, rows = 5);
                   CREATE VIEW v AS SELECT a FROM s";
    guarded.sql("ann", created).success();
    guarded.server.signal("KILL");
    guarded.server.wait_killed();
    guarded.server = serve(&guarded.folder, &["serve", "--slots", "2"], guarded.port, guarded.http);
    let refused = guarded.sql("ann", "CREATE SINK k WITH (connector = 'print')").failure();
    assert!(refused.contains("ann has no USAGE on CONNECTOR print"), "{refused}");
    let rows = guarded.sql("ann", "SELECT count(*) AS n FROM v").success().stdout;
    assert_eq!(rows, "n\n5\n");
    assert!(guarded.sql("root", "SHOW AUDIT").success().stdout.contains("CREATE SECRET pg AS '***'"));
    guarded.sql("ann", "DROP VIEW v; DROP SOURCE s").success();
    let nobody = Run::start(&guarded.folder.path(""), &["sql", "--url", &guarded.url(), "-c", "SHOW JOBS"]);
    assert!(nobody.output(PATIENCE).failure().contains("say who you are"));
    let without =
        Run::start(&guarded.folder.path(""), &["sql", "--url", &guarded.url(), "--user", "ann", "-c", "SHOW JOBS"]);
    assert!(without.output(PATIENCE).failure().contains("TIDEMILL_PASSWORD"));
    guarded.server.signal("TERM");
    let log = guarded.server.output(PATIENCE).success().stderr;
    assert!(log.contains("root is there already") && !log.contains("hush-4711"), "{log}");
    let found = Command::new("grep").args(["-r", "hush-4711"]).arg(guarded.folder.path("")).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}

#[test]
fn a_role_has_so_many_statements_until_their_clients_are_gone() {
    let guarded = Guarded::start();
    let made = "CREATE USER ann PASSWORD 'ann''s'; CREATE ROLE readers; GRANT readers TO ann;
                ALTER ROLE readers SET max_statements = 1;
                CREATE SOURCE s (a BIGINT) WITH (connector = 'datagen', rows_per_second = 10);
                GRANT SELECT ON s TO readers";
    guarded.sql("root", made).success();
    let endless = guarded.begin("ann", "SELECT a FROM s");
    endless.wait_for_row("a");
    let refused = guarded.sql("ann", "SHOW JOBS").failure();
    assert!(refused.contains("role 'readers' has its 1 statements; wait until some have ended"), "{refused}");
    guarded.sql("root", "SHOW JOBS").success();
    endless.signal("KILL");
    endless.wait_killed();
    let is_free = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(50));
        guarded.sql("ann", "SHOW JOBS").status == Some(0)
    });
    assert!(is_free, "the statement of a client that is gone keeps its place");
    guarded.server.signal("TERM");
    guarded.server.output(PATIENCE).success();
}

#[test]
fn whoever_has_begun_a_query_as_a_whole_sees_it_and_stops_it() {
    let guarded = Guarded::start();
    guarded.folder.write("bob.txt", "bob's\n");
    let numbers: String = (0..60_000).map(|number| format!("{number}\n")).collect();
    guarded.folder.write("n.csv", format!("v\n{numbers}"));
    let made = "CREATE USER ann PASSWORD 'ann''s'; CREATE USER bob PASSWORD 'bob''s';
                CREATE TABLE n (v BIGINT) WITH (connector = 'files', path = 'n.csv', format = 'csv');
                GRANT SELECT ON n TO ann; ALTER ROLE ann SET max_jobs = 1";
    guarded.sql("root", made).success();
    // So many pairs that nobody waits for their end.
    let running = guarded.begin("ann", "SELECT sum(x.v - y.v) AS s FROM n x, n y WHERE x.v + y.v >= 0");
    let job_of = |user: &str| {
        let jobs = guarded.sql(user, "SHOW JOBS").success().stdout;
        jobs.lines().nth(1).and_then(|row| row.split(',').next()).map(str::to_owned)
    };
    let job = (0..200).find_map(|_| {
        thread::sleep(Duration::from_millis(50));
        job_of("ann")
    });
    let stop = format!("STOP JOB {}", job.unwrap());
    assert_eq!(job_of("bob"), None);
    guarded.sql("bob", &stop).failure();
    let refused = guarded.sql("ann", "SELECT count(*) AS n FROM n").failure();
    assert!(refused.contains("has its 1 jobs"), "{refused}");
    guarded.sql("ann", &stop).success();
    let stopped = running.output(PATIENCE).failure();
    assert!(stopped.contains("was stopped before it had ended"), "{stopped}");
    guarded.server.signal("TERM");
    guarded.server.output(PATIENCE).success();
}

#[test]
fn workers_show_the_clusters_secret() {
    let guarded = Guarded::start();
    let stranger = guarded.worker(&["--end-without-coordinator"], "info");
    assert!(stranger.output(PATIENCE).failure().contains("--cluster-secret"));
    let worker = guarded.worker(&["--cluster-secret", "cluster.txt"], "info");
    worker.wait_for_line("worker registered");
    // Rows go between the two, which show it to each other.
    let query = "SET parallelism = 6;
                 CREATE SOURCE s (a BIGINT) WITH (connector = 'datagen', rows_per_second = 100000, rows = 10000);
                 SELECT count(*) AS n FROM (SELECT a, count(*) AS c FROM s GROUP BY a)";
    let rows = guarded.sql("root", query).success().stdout;
    assert!(rows.starts_with("n\n"), "{rows}");
    // So do those who run a query as a whole.
    fs::write(guarded.folder.path("u.csv"), "a\n1\n2\n").unwrap();
    let query = "CREATE TABLE u (a BIGINT) WITH (connector = 'files', path = 'u.csv', format = 'csv');
                 SET batch.engine = 'cluster'; SELECT sum(a) AS s FROM u";
    assert_eq!(guarded.sql("root", query).success().stdout, "s\n3\n");
    worker.signal("TERM");
    guarded.server.signal("TERM");
    guarded.server.output(PATIENCE).success();
}

#[test]
fn workers_do_not_tell_secrets_of_their_jobs() {
    let guarded = Guarded::start_as(&["coordinator"]);
    let worker = guarded.worker(&["--cluster-secret", "cluster.txt"], "info");
    worker.wait_for_line("worker registered");
    // What a secret stands for is also in a row that cannot be read, which is logged.
    fs::write(guarded.folder.path("hush-4711"), "a\n1\nhush-4711\n").unwrap();
    let query = "CREATE SECRET place AS 'hush-4711';
                 CREATE SOURCE s (a BIGINT) WITH (connector = 'files', path = SECRET place, format = 'csv');
                 SELECT count(*) AS n FROM s";
    assert_eq!(guarded.sql("root", query).success().stdout, "n\n1\n");
    worker.wait_for_line("row to dead letters");
    worker.signal("TERM");
    let log = worker.output(PATIENCE).success().stderr;
    assert!(log.contains("***") && !log.contains("hush-4711"), "{log}");
    guarded.server.signal("TERM");
    guarded.server.output(PATIENCE).success();
}

#[test]
fn keys_of_stores_are_secrets_and_are_told_to_nobody() {
    let (guarded, server) = (Guarded::start(), Moto::start("tables"));
    server.put("t/a.csv", "a,b\n3,x\n1,y\n");
    let store = server.options().replace("'nothing-4711'", "SECRET the_key");
    let root = |sql: &str| guarded.sql("root", &sql.replace("@STORE", &store));
    let printed = root(
        "CREATE SECRET the_key AS 'nothing-4711'; CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://tables/t/a.csv' \
         OPTIONS (@STORE); SELECT a FROM t ORDER BY a; EXPLAIN SELECT a FROM t; DESCRIBE t; SHOW SOURCES; \
         COPY t TO 's3://tables/copied.csv' OPTIONS (@STORE); \
         CREATE TABLE made WITH (path = 's3://tables/made', @STORE) AS SELECT * FROM t; INSERT INTO made SELECT * FROM t; \
         SELECT count(*) AS n FROM made; SET execution = 'streaming'; SELECT count(*) AS m FROM made; SHOW AUDIT",
    );
    let printed = printed.success();
    let shown = &printed.stdout;
    assert!(shown.contains("a\n1\n3\n") && shown.contains("n\n4\n") && shown.contains("m\n4\n"), "{shown}");
    assert_eq!(server.get("copied.csv"), "a,b\n1,y\n3,x\n");
    let refused = root("CREATE EXTERNAL TABLE u STORED AS CSV LOCATION 's3://other/t/' OPTIONS (@STORE)");
    assert!(refused.stderr.contains("NoSuchBucket"), "{}", refused.stderr);
    // Who may not use a secret does not learn by way of a table, or of COPY, what it opens.
    root("CREATE USER ann PASSWORD 'ann''s'; GRANT CREATE ON SCHEMA public TO ann; GRANT USAGE ON CONNECTOR files TO ann")
        .success();
    for sql in [
        "COPY (SELECT 1 AS a) TO 's3://tables/anns.csv' OPTIONS (@STORE)",
        "CREATE EXTERNAL TABLE u STORED AS CSV LOCATION 's3://tables/t/a.csv' OPTIONS (@STORE)",
    ] {
        let denied = guarded.sql("ann", &sql.replace("@STORE", &store));
        assert!(denied.stderr.contains("no USAGE on SECRET the_key"), "{}", denied.stderr);
    }
    assert_eq!(server.names_of("anns"), Vec::<String>::new());
    guarded.server.signal("TERM");
    let log = guarded.server.output(PATIENCE).success();
    for told in [shown, &printed.stderr, &refused.stderr, &log.stderr, &log.stdout] {
        assert!(!told.contains("nothing-4711"), "{told}");
    }
}

#[test]
fn python_clients_log_in() {
    let guarded = Guarded::start();
    run_python(&guarded.folder, "tests/python/users.py", &[&guarded.url(), PASSWORD]);
    guarded.server.signal("TERM");
    guarded.server.output(PATIENCE).success();
}
