//! How much a server takes on, and what is left of clients that are gone.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::FlightDescriptor;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use tidemill_net::Connector;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::cluster::free_port;
use crate::command::{Folder, Output, PATIENCE, Run};

const POLL: Duration = Duration::from_millis(100);
const TRIES: u128 = PATIENCE.as_millis() / POLL.as_millis();

const SOURCE: &str = "CREATE SOURCE bids (WATERMARK FOR date_time AS date_time)
                      WITH (connector = 'nexmark', table = 'bid', rows_per_second = 2000)";

/// A SELECT that has no end.
const ENDLESS: &str = "SELECT auction FROM bids";

/// A server with these options.
struct Server {
    folder: Folder,
    run: Run,
    port: u16,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let bind = format!("127.0.0.1:{port}");
        let own = ["serve", "--bind", &bind, "--http", "127.0.0.1:0", "--slots", "2"];
        let run = Run::start(&folder.path(""), &[&own, options].concat());
        run.wait_for_line("coordinator listens");
        Self { folder, run, port }
    }

    /// Begins to execute statements as a client in a process of its own.
    fn begin(&self, sql: &str) -> Run {
        let url = format!("grpc://127.0.0.1:{}", self.port);
        Run::start(&self.folder.path(""), &["sql", "-c", sql, "--url", &url, "--format", "csv"])
    }

    fn ask(&self, sql: &str) -> Output {
        self.begin(sql).output(PATIENCE)
    }

    #[track_caller]
    fn refuses(&self, sql: &str, wanted: &str) {
        let refused = self.ask(sql).failure();
        assert!(refused.contains(wanted), "{refused}");
    }

    async fn connect(&self) -> FlightSqlServiceClient<Channel> {
        let endpoint = Connector::endpoint(&format!("http://127.0.0.1:{}", self.port)).unwrap();
        FlightSqlServiceClient::new(Connector::default().connect(&endpoint).await.unwrap())
    }

    /// How many files the server has open, threads and jobs.
    fn holds(&self) -> [usize; 3] {
        let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", self.run.pid)).unwrap().count();
        [count("fd"), count("task"), self.ask("SHOW JOBS").success().stdout.lines().count() - 1]
    }
}

async fn number(client: &mut FlightSqlServiceClient<Channel>) -> usize {
    let info = client.execute(String::from("SELECT count(*) AS n FROM (VALUES (1), (2)) v"), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let rows: Vec<_> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
    rows.iter().map(RecordBatch::num_rows).sum()
}

fn check_crowd(idle: usize, busy: usize) {
    let server = Server::start(&[]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut waiting = Vec::new();
        for _ in 0..idle {
            waiting.push(server.connect().await);
        }
        let working = (0..busy).map(|_| async {
            let mut client = server.connect().await;
            for _ in 0..3 {
                assert_eq!(number(&mut client).await, 1);
            }
            Ok::<_, ()>(())
        });
        try_join_all(working).await.unwrap();
        for client in waiting.iter_mut().step_by(20) {
            assert_eq!(number(client).await, 1);
        }
    });
    server.run.signal("TERM");
    server.run.output(PATIENCE).success();
}

#[test]
fn idle_connections_do_not_hold_busy_ones_up() {
    check_crowd(200, 16);
}

#[test]
#[ignore = "takes long, and 2,200 open files"]
fn a_thousand_idle_connections_do_not_hold_busy_ones_up() {
    check_crowd(1000, 64);
}

#[test]
fn clients_that_die_leave_nothing_behind() {
    let server = Server::start(&[]);
    let source = server.ask(SOURCE);
    source.success();
    let die = || {
        let clients: Vec<Run> = (0..3).map(|_| server.begin(ENDLESS)).collect();
        for client in &clients {
            client.wait_for_row("auction");
            client.signal("KILL");
            client.wait_killed();
        }
        // Others have not even begun to speak, or go away with a half of a request.
        let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(("127.0.0.1", server.port)).unwrap()).collect();
        Runtime::new().unwrap().block_on(async {
            let mut client = server.connect().await;
            let info = client.execute(String::from(ENDLESS), None).await.unwrap();
            let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
            assert!(rows.try_next().await.unwrap().is_some());
        });
        drop(silent);
    };
    // The first time, the server may open what it keeps.
    die();
    let before = settled(&server, [usize::MAX, usize::MAX, 0]);
    die();
    let after = settled(&server, before);
    assert!(after[2] == 0 && after[0] <= before[0] && after[1] <= before[1], "{before:?}, then {after:?}");
}

/// What the server holds once it holds no more than this, or after a long time.
fn settled(server: &Server, wanted: [usize; 3]) -> [usize; 3] {
    let is_within = |held: &[usize; 3]| held.iter().zip(wanted).all(|(held, wanted)| *held <= wanted);
    let looks = (0..TRIES / 4).map(|_| {
        thread::sleep(POLL);
        server.holds()
    });
    let mut last = [0; 3];
    for held in looks {
        last = held;
        if is_within(&held) {
            break;
        }
    }
    last
}

#[test]
fn what_is_more_than_a_server_takes_on_is_refused_with_a_word() {
    let server = Server::start(&["--max-statements", "1", "--max-statement-size", "1kB", "--max-connections", "4"]);
    server.ask(SOURCE).success();
    server.refuses(&format!("SELECT {} AS long", "1 + ".repeat(300) + "1"), "has 1216 bytes, and 1024 are possible");
    let endless = server.begin(ENDLESS);
    endless.wait_for_row("auction");
    server
        .refuses("SHOW JOBS", "the server has its 1 statements; wait until some have ended, or raise --max-statements");
    endless.signal("KILL");
    endless.wait_killed();
    let is_free = (0..TRIES).any(|_| {
        thread::sleep(POLL);
        server.ask("SHOW JOBS").status == Some(0)
    });
    assert!(is_free, "the statement of a client that is gone keeps its place");

    let runtime = Runtime::new().unwrap();
    let held: Vec<_> = (0..4).map(|_| runtime.block_on(server.connect())).collect();
    server.refuses("SHOW JOBS", "the server has its 4 connections; close some, or raise --max-connections");
    drop((held, runtime));
    assert!((0..TRIES).any(|_| server.ask("SHOW JOBS").status == Some(0)), "connections keep their places");

    let server = Server::start(&["--max-jobs", "1"]);
    server.ask(&format!("{SOURCE}; CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM bids")).success();
    server.refuses("SELECT auction FROM bids LIMIT 1", "the server has its 1 jobs");
    server.ask("DROP MATERIALIZED VIEW v").success();
    server.ask("SELECT auction FROM bids LIMIT 1").success();
}

#[test]
fn what_clients_prepare_push_and_ask_is_bounded() {
    let server = Server::start(&["--max-statements", "1", "--max-prepared-size", "64kB", "--data-dir", "meta"]);
    server.ask("CREATE SOURCE clicks (n BIGINT) WITH (connector = 'push')").success();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = server.connect().await;
        let text = format!("SELECT '{}' AS t, $1 AS v", "x".repeat(400));
        let mut prepared = client.prepare(text.clone(), None).await.unwrap();
        let refused = client.prepare(text.clone(), None).await.unwrap_err().to_string();
        assert!(refused.contains("more than 65536 bytes") && refused.contains("--max-prepared-size"), "{refused}");
        let long: ArrayRef = Arc::new(StringArray::from(vec!["y".repeat(40_000)]));
        prepared.set_parameters(RecordBatch::try_from_iter([("1", long)]).unwrap()).unwrap();
        let refused = prepared.execute().await.unwrap_err().to_string();
        assert!(refused.contains("--max-prepared-size"), "{refused}");
        prepared.close().await.unwrap();
        client.prepare(text, None).await.unwrap();

        // A push has a statement's place for as long as it lasts.
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let rows = RecordBatch::try_from_iter([("n", rows)]).unwrap();
        let descriptor = FlightDescriptor::new_path(vec![String::from("clicks")]);
        let (more, pushed) = tokio::sync::mpsc::channel(1);
        let data = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(descriptor))
            .build(received(pushed))
            .map(|data| data.unwrap());
        more.send(Ok(rows)).await.unwrap();
        let mut told = client.do_put(data).await.unwrap();
        assert!(told.try_next().await.unwrap().is_some());
        server.refuses("SHOW JOBS", "the server has its 1 statements");
        drop(more);
        assert!(told.try_next().await.unwrap().is_none());
    });
    let is_free = (0..TRIES).any(|_| {
        thread::sleep(POLL);
        server.ask("SHOW JOBS").status == Some(0)
    });
    assert!(is_free, "a push that has ended keeps its place");
}

/// What comes through a channel.
fn received<T: Send + 'static>(
    channel: tokio::sync::mpsc::Receiver<T>,
) -> impl futures::Stream<Item = T> + Send + 'static {
    futures::stream::unfold(channel, async |mut channel| Some((channel.recv().await?, channel)))
}

#[test]
fn a_query_that_holds_too_much_fails_alone() {
    let server = Server::start(&["--query-memory", "8MB"]);
    server.ask(SOURCE).success();
    let keys = "CREATE SOURCE keys (a BIGINT) WITH (connector = 'datagen', rows = 400000, fields.a.kind = 'sequence')";
    server.ask(keys).success();
    let neighbour = server.begin("SELECT auction FROM bids");
    neighbour.wait_for_row("auction");
    let many = "SELECT count(*) AS n FROM (SELECT a, count(*) AS c FROM keys GROUP BY a)";
    for query in [many.to_owned(), format!("SET query_memory = '1GB'; {many}"), format!("EXPLAIN ANALYZE {many}")] {
        server.refuses(&query, "query_memory, which is 8.0 MB here");
    }
    let lower = server.ask(&format!("SET query_memory = '1MB'; {many}")).failure();
    assert!(lower.contains("of it in Aggregate") && lower.contains("which is 1.0 MB here"), "{lower}");
    // What the error advises; and what is not somebody's query.
    let bounded = server.ask(&format!("SET state_memory = '2MB'; {many}")).success();
    assert_eq!(bounded.stdout, "n\n400000\n");
    server.ask("CREATE MATERIALIZED VIEW v AS SELECT a, count(*) AS c FROM keys GROUP BY a").success();
    let jobs = server.ask("SHOW JOBS").success().stdout;
    assert!(!jobs.contains("failed") && jobs.contains("running"), "{jobs}");
    neighbour.signal("KILL");
    neighbour.wait_killed();
}

/// A plan of a source, so many filters one behind the other, and a sink.
fn plan_of(count: usize) -> String {
    let source = r#"{"name": "n0", "operator": {"source": {"connector": "datagen",
        "options": {"rows": "10", "fields.a.kind": "sequence"}, "reads": [{"name": "a", "type": "BIGINT"}]}}}"#;
    let filters = (1..=count).map(|number| {
        let from = number - 1;
        format!(r#"{{"name": "n{number}", "inputs": [{{"from": "n{from}"}}], "operator": {{"filter": {{"predicate": "a >= 0"}}}}}}"#)
    });
    let sink = format!(
        r#"{{"name": "out", "inputs": [{{"from": "n{count}"}}], "operator": {{"sink": {{"connector": "blackhole"}}}}}}"#
    );
    let nodes: Vec<String> = [String::from(source)].into_iter().chain(filters).chain([sink]).collect();
    format!(r#"{{"version": 1, "nodes": [{}]}}"#, nodes.join(",\n"))
}

#[test]
fn deep_statements_are_refused_and_the_server_goes_on() {
    let server = Server::start(&["--max-statement-size", "8MB"]);
    server.refuses(&format!("SELECT {}1{} AS deep", "(".repeat(20_000), ")".repeat(20_000)), "nested deeper than");
    server.refuses(&format!("SELECT 1{} AS long", " + 1".repeat(20_000)), "so many operators");
    server.refuses(&format!("SELECT {}1 AS minus", "- ".repeat(20_000)), "");
    server.refuses(&format!("SELECT CAST(1 AS INT{}) AS list", "[]".repeat(20_000)), "");
    server.refuses(&format!("SELECT {}1{} AS nested", "ARRAY[".repeat(5_000), "]".repeat(5_000)), "");
    server.folder.write("deep.json", plan_of(900));
    let url = format!("grpc://127.0.0.1:{}", server.port);
    let submit = |plan: &str| Run::start(&server.folder.path(""), &["submit", plan, "--url", &url]).output(PATIENCE);
    let refused = submit("deep.json").failure();
    assert!(refused.contains("902 operators one behind the other, and 256 are possible"), "{refused}");
    server.folder.write("flat.json", plan_of(250));
    submit("flat.json").success();
    assert_eq!(server.ask("SELECT 1 AS one").success().stdout, "one\n1\n");
}

#[test]
fn queries_as_a_whole_count_as_jobs() {
    let server = Server::start(&["--max-jobs", "1"]);
    let numbers: String = (0..60_000).map(|number| format!("{number}\n")).collect();
    server.folder.write("n.csv", format!("v\n{numbers}"));
    server.ask("CREATE TABLE n (v BIGINT) WITH (connector = 'files', path = 'n.csv', format = 'csv')").success();
    // So many pairs that nobody waits for their end.
    let running = server.begin("SELECT sum(x.v - y.v) AS s FROM n x, n y WHERE x.v + y.v >= 0");
    let is_listed = (0..TRIES).any(|_| {
        thread::sleep(POLL);
        server.ask("SHOW JOBS").success().stdout.contains(",batch,")
    });
    assert!(is_listed);
    server.refuses("SELECT count(*) AS n FROM n", "the server has its 1 jobs");
    assert!(server.ask("EXPLAIN SELECT count(*) AS n FROM n").success().stdout.contains("Batch"));
    running.signal("KILL");
    running.wait_killed();
    let has_room = (0..TRIES).any(|_| {
        thread::sleep(POLL);
        server.ask("SELECT count(*) AS n FROM n").status == Some(0)
    });
    assert!(has_room, "the query of a client that is gone keeps its place");
}
