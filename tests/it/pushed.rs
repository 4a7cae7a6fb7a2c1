//! Rows that clients push: by DoPut, and by Flight SQL's bulk ingestion; with arrow-flight, pyarrow and ADBC.

use std::sync::Arc;
use std::thread;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption};
use arrow_flight::{FlightDescriptor, PutResult};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tonic::Code;

use crate::flight_sql::{POLL, Served, TRIES, connect, python, serve};

fn rows(values: std::ops::Range<i64>) -> RecordBatch {
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(values.clone().map(|n| n * 1_000_000)));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_from_iter([("n", values), ("ts", times)]).unwrap()
}

impl Served {
    /// Pushes batches to a source; the rows that were acknowledged.
    fn try_push(&mut self, source: &str, batches: Vec<RecordBatch>) -> Result<u64, tonic::Status> {
        self.push_saying(source, batches, |_| String::new())
    }

    /// The same, and says something of each message: the first one has the columns.
    fn push_saying(
        &mut self,
        source: &str,
        batches: Vec<RecordBatch>,
        says: impl Fn(usize) -> String + Send + 'static,
    ) -> Result<u64, tonic::Status> {
        let descriptor = FlightDescriptor::new_path(vec![source.to_owned()]);
        let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
        let data = encoder.build(stream::iter(batches.into_iter().map(Ok::<_, FlightError>)));
        let data = data.map(Result::unwrap).enumerate().map(move |(place, data)| data.with_app_metadata(says(place)));
        let client = self.client.inner_mut();
        let answers: Vec<PutResult> = self.runtime.block_on(async {
            let answers = client.do_put(data).await?.into_inner();
            answers.try_collect().await
        })?;
        let told = answers.iter().map(|answer| serde_json::from_slice::<Value>(&answer.app_metadata).unwrap());
        Ok(told.last().map_or(0, |told| told["rows"].as_u64().unwrap()))
    }

    #[track_caller]
    fn push(&mut self, source: &str, batches: Vec<RecordBatch>) -> u64 {
        self.try_push(source, batches).unwrap_or_else(|status| panic!("{source}: {status}"))
    }

    /// Waits until a statement comes to this number.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, sql: &str, wanted: i64) {
        let mut last = None;
        for _ in 0..TRIES {
            // A view may not be there for a moment, while its job begins again.
            last = self.try_ask(sql).ok().and_then(|rows| first_number(&rows));
            if last == Some(wanted) {
                return;
            }
            thread::sleep(POLL);
        }
        panic!("{sql}: {last:?}");
    }
}

fn first_number(rows: &[RecordBatch]) -> Option<i64> {
    let rows = rows.iter().find(|rows| rows.num_rows() > 0)?;
    Some(rows.column(0).as_primitive::<Int64Type>().value(0))
}

const CLICKS: &str = "CREATE SOURCE clicks (n BIGINT, ts TIMESTAMP NOT NULL, note VARCHAR, WATERMARK FOR ts AS ts)
                      WITH (connector = 'push')";

#[test]
fn what_runs_as_a_whole_reads_views_as_tables() {
    let mut served = Served::start();
    served.ask(CLICKS);
    served.ask(
        "SET view_interval = '50ms';
         CREATE MATERIALIZED VIEW per_key AS SELECT n % 3 AS k, count(*) AS c FROM clicks GROUP BY n % 3;
         CREATE VIEW doubled AS SELECT k, c * 2 AS d FROM per_key",
    );
    served.push("clicks", vec![rows(0..10)]);
    served.wait_for("SELECT CAST(sum(c) AS BIGINT) FROM per_key", 10);
    served.ask("COPY (SELECT * FROM doubled ORDER BY k) TO 'doubled.csv'");
    assert_eq!(served.folder.read("doubled.csv"), "k,d\n0,8\n1,6\n2,6\n");
    served.ask("CREATE TABLE before AS SELECT k, c FROM per_key");
    served.push("clicks", vec![rows(10..22)]);
    served.wait_for("SELECT CAST(sum(c) AS BIGINT) FROM per_key", 22);
    assert_eq!(served.number("SELECT CAST(sum(c) AS BIGINT) FROM before"), 10, "a table is what its query was");
    // A window over all rows, which a stream of changes has not.
    let gained = "SET execution = 'batch';
                  SELECT sum(v.c - b.c) OVER () AS gained FROM per_key AS v JOIN before AS b ON b.k = v.k LIMIT 1";
    assert_eq!(served.number(gained), 12);
    served.end();
}

#[test]
fn a_stream_has_what_is_pushed_once_also_when_the_server_is_killed() {
    let mut served = Served::start();
    served.ask(CLICKS);
    served.ask(
        "SET checkpoint_interval = '100ms'; SET view_interval = '50ms';
                CREATE MATERIALIZED VIEW total AS SELECT count(*) AS c, CAST(sum(n) AS BIGINT) AS s FROM clicks",
    );
    assert_eq!(served.push("clicks", vec![rows(0..10), rows(10..20)]), 20);
    served.wait_for("SELECT c FROM total", 20);
    assert_eq!(served.push("clicks", vec![rows(20..30)]), 10);
    served.server.signal("KILL");
    served.server.wait_killed();
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    served.push("clicks", vec![rows(30..40)]);
    served.wait_for("SELECT c FROM total", 40);
    served.wait_for("SELECT s FROM total", 780);
    // A job that begins later reads all from the first row on.
    served.ask(
        "CREATE MATERIALIZED VIEW windows AS SELECT window_end, count(*) AS c
                FROM TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY window_end",
    );
    served.wait_for("SELECT count(*) FROM windows", 3);

    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1]));
    let texts: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    let odd = RecordBatch::try_from_iter([("ts", Arc::clone(&times)), ("more", texts)]).unwrap();
    for (source, batch, code, reason) in [
        ("clicks", odd, Code::InvalidArgument, "there is no column 'more'; there are: n, ts, note"),
        ("nowhere", rows(0..1), Code::NotFound, "'nowhere'"),
        ("total", rows(0..1), Code::InvalidArgument, "connector = 'push'"),
    ] {
        let status = served.try_push(source, vec![batch]).unwrap_err();
        assert!(status.code() == code && status.message().contains(reason), "{source}: {status}");
    }
    let used = served.try_ask("DROP SOURCE clicks").unwrap_err().to_string();
    assert!(used.contains("uses it"), "{used}");
    served.ask("DROP MATERIALIZED VIEW total; DROP MATERIALIZED VIEW windows; DROP SOURCE clicks");
    served.ask(CLICKS);
    served.ask("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS c FROM clicks");
    served.push("clicks", vec![rows(0..1)]);
    served.wait_for("SELECT c FROM total", 1);
    served.end();
}

impl Served {
    /// Kills the server; the next one goes on.
    fn begin_again(&mut self) {
        self.server.signal("KILL");
        self.server.wait_killed();
        self.server = serve(&self.folder, self.port);
        self.client = connect(&self.runtime, self.port);
    }
}

#[test]
fn what_was_pushed_in_any_order_is_backfilled_and_what_comes_meanwhile_is_live() {
    let mut served = Served::start();
    served.ask(&CLICKS.replace("'push'", "'push', scan_startup_mode = 'backfill', rows_per_second = 100"));
    served.push("clicks", vec![rows(200..300), rows(0..100), rows(100..200)]);
    served.ask(
        "SET checkpoint_interval = '100ms'; SET view_interval = '50ms';
         CREATE MATERIALIZED VIEW windows AS SELECT window_end, count(*) AS c, CAST(sum(n) AS BIGINT) AS s
                FROM TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY window_end;
         CREATE MATERIALIZED VIEW total AS SELECT count(*) AS c FROM clicks",
    );
    for _ in 0..TRIES {
        if served.try_ask("SELECT c FROM total").is_ok_and(|rows| first_number(&rows).is_some_and(|c| c > 0)) {
            break;
        }
        thread::sleep(POLL);
    }
    served.push("clicks", vec![rows(300..400)]);
    // Of the rows that were read none has told its time.
    assert_eq!(served.number("SELECT count(*) FROM windows"), 0);
    served.begin_again();
    served.wait_for("SELECT count(*) FROM windows WHERE c = 10 AND window_end <= TIMESTAMP '1970-01-01 00:04:50'", 29);
    served.begin_again();
    served.push("clicks", vec![rows(400..411)]);
    served.wait_for("SELECT c FROM total", 411);
    served.wait_for("SELECT count(*) FROM windows WHERE c = 10", 41);
    served.wait_for("SELECT CAST(sum(s) AS BIGINT) FROM windows", (0..410).sum());
    served.end();
}

#[test]
fn what_was_pushed_before_a_job_began_can_be_left_out() {
    let mut served = Served::start();
    served.ask(&CLICKS.replace("'push'", "'push', scan_startup_mode = 'latest'"));
    served.push("clicks", vec![rows(0..10)]);
    // It never comes to a checkpoint: when it begins again, it begins where it began.
    served.ask(
        "SET checkpoint_interval = '1h'; CREATE MATERIALIZED VIEW total AS SELECT CAST(sum(n) AS BIGINT) AS s FROM clicks",
    );
    for first in [10, 20] {
        served.push("clicks", vec![rows(first..first + 10)]);
        served.wait_for("SELECT s FROM total", (10..first + 10).sum());
        served.begin_again();
    }
    served.wait_for("SELECT s FROM total", (10..30).sum());
    let twice = served.try_ask("CREATE TABLE t (a INT) WITH (connector = 'table', scan_startup_mode = 'latest')");
    assert!(twice.unwrap_err().to_string().contains("connector 'table' has none of these; leave it out"));
    served.end();
}

#[test]
fn a_push_that_is_sent_again_is_there_once() {
    let mut served = Served::start();
    served.ask("CREATE TABLE clicks (n BIGINT, ts TIMESTAMP) WITH (connector = 'table')");
    let says = |place: usize| match place {
        0 => String::new(),
        place => format!("{{\"id\": \"producer 1\", \"sequence\": {place}}}"),
    };
    let batches = || vec![rows(0..3), rows(3..5)];
    assert_eq!(served.push_saying("clicks", batches(), says).unwrap(), 5);
    assert_eq!(served.push_saying("clicks", batches(), says).unwrap(), 5);
    served.server.signal("KILL");
    served.server.wait_killed();
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(served.push_saying("clicks", [batches(), vec![rows(5..6)]].concat(), says).unwrap(), 6);
    assert_eq!(served.number("SELECT count(*) FROM clicks"), 6);
    assert_eq!(served.number("SELECT CAST(sum(n) AS BIGINT) FROM clicks"), 15);
    // Without an id nobody knows.
    served.push("clicks", vec![rows(0..3)]);
    assert_eq!(served.number("SELECT count(*) FROM clicks"), 9);
    let odd = served.push_saying("clicks", batches(), |_| String::from("{\"ids\": 1}")).unwrap_err();
    assert!(odd.code() == Code::InvalidArgument && odd.message().contains("\"sequence\": n"), "{odd}");
    served.end();
}

#[test]
fn a_table_is_ingested_and_read_as_it_is() {
    let mut served = Served::start();
    let mut ingest = |options: (TableNotExistOption, TableExistsOption), batches: Vec<RecordBatch>| {
        let (if_not_exist, if_exists) = (options.0 as i32, options.1 as i32);
        let command = CommandStatementIngest {
            table_definition_options: Some(TableDefinitionOptions { if_not_exist, if_exists }),
            table: String::from("Kept"),
            ..CommandStatementIngest::default()
        };
        let batches = stream::iter(batches.into_iter().map(Ok::<_, FlightError>));
        served.runtime.block_on(served.client.execute_ingest(command, batches))
    };
    let (create, fail) = (TableNotExistOption::Create, TableExistsOption::Fail);
    let missing = ingest((TableNotExistOption::Fail, TableExistsOption::Append), vec![rows(0..1)]).unwrap_err();
    assert!(missing.to_string().contains("there is no 'Kept' to append to"), "{missing}");
    assert_eq!(ingest((create, fail), vec![rows(0..3), rows(3..5)]).unwrap(), 5);
    let there = ingest((create, fail), vec![rows(0..1)]).unwrap_err().to_string();
    assert!(there.contains("already"), "{there}");
    assert_eq!(ingest((create, TableExistsOption::Append), vec![rows(5..6)]).unwrap(), 1);
    assert_eq!(served.number("SELECT count(*) FROM \"Kept\""), 6);
    assert_eq!(
        served.number("SELECT CAST(sum(n) AS BIGINT) FROM \"Kept\" WHERE ts >= TIMESTAMP '1970-01-01 00:00:02'"),
        14
    );

    served.server.signal("TERM");
    served.server.output(crate::command::PATIENCE).success();
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(served.number("SELECT count(*) FROM \"Kept\""), 6);
    let mut ingest = |if_exists: TableExistsOption, batches: Vec<RecordBatch>| {
        let options = TableDefinitionOptions { if_not_exist: create as i32, if_exists: if_exists as i32 };
        let table_definition_options = Some(options);
        let command =
            CommandStatementIngest { table_definition_options, table: String::from("Kept"), ..Default::default() };
        let batches = stream::iter(batches.into_iter().map(Ok::<_, FlightError>));
        served.runtime.block_on(served.client.execute_ingest(command, batches))
    };
    let values: ArrayRef = Arc::new(Float64Array::from(vec![0.25, 0.5]));
    let others = RecordBatch::try_from_iter([("x", values)]).unwrap();
    assert_eq!(ingest(TableExistsOption::Replace, vec![others]).unwrap(), 2);
    assert_eq!(served.number("SELECT CAST(sum(x) * 100 AS BIGINT) FROM \"Kept\""), 75);
    served.end();
}

#[test]
fn what_all_jobs_have_read_is_not_kept_for_ever() {
    let mut served = Served::start();
    let limited = CLICKS.replace("'push'", "'push', retention_bytes = 20000");
    served.ask(&format!(
        "SET checkpoint_interval = '200ms'; {limited}; CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM clicks"
    ));
    served.push("clicks", vec![rows(0..100)]);
    served.wait_for("SELECT n FROM m", 100);
    let savepoint = served.folder.path("saved").display().to_string();
    served.ask(&format!("CREATE SAVEPOINT FOR JOB m '{savepoint}'"));
    let log = served.folder.path("meta/pushed/clicks");
    let oldest = || {
        let names = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".log")).min().unwrap()
    };
    // The savepoint needs all of it.
    let mut pushed = 100;
    let mut push = |served: &mut Served, times: i64| {
        for _ in 0..times {
            served.push("clicks", vec![rows(pushed..pushed + 100)]);
            pushed += 100;
        }
        served.wait_for("SELECT n FROM m", pushed);
    };
    push(&mut served, 20);
    assert_eq!(oldest(), "0000000000000001.log");
    std::fs::remove_dir_all(savepoint).unwrap();
    for _ in 0..TRIES {
        if oldest() != "0000000000000001.log" {
            break;
        }
        push(&mut served, 1);
        thread::sleep(POLL);
    }
    assert_ne!(oldest(), "0000000000000001.log");
    // The job has had all of it, also when it begins again; a new one begins with what is kept.
    served.server.signal("KILL");
    served.server.wait_killed();
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    push(&mut served, 1);
    served.ask("CREATE MATERIALIZED VIEW late AS SELECT count(*) AS n, min(n) AS first FROM clicks");
    for _ in 0..TRIES {
        if served.try_ask("SELECT first FROM late").is_ok_and(|rows| first_number(&rows).is_some_and(|first| first > 0))
        {
            return served.end();
        }
        thread::sleep(POLL);
    }
    panic!("a new job does not begin with what is kept");
}

#[test]
fn rows_are_inserted_into_tables() {
    let mut served = Served::start();
    served.ask(
        "CREATE TABLE t (n BIGINT NOT NULL, ts TIMESTAMP, note VARCHAR) WITH (connector = 'table');
         CREATE SOURCE three (a INT) WITH (connector = 'datagen', rows = 3, 'fields.a.kind' = 'sequence')",
    );
    let update = |served: &mut Served, sql: &str| {
        served.runtime.block_on(served.client.execute_update(sql.to_owned(), None)).map_err(|error| error.to_string())
    };
    assert_eq!(update(&mut served, "INSERT INTO t VALUES (1, '1970-01-01 00:00:01', 'x'), (2, NULL, NULL)"), Ok(2));
    assert_eq!(update(&mut served, "INSERT INTO t (note, n) VALUES ('y', 3)"), Ok(1));
    assert_eq!(update(&mut served, "INSERT INTO t (n) SELECT 10 * a FROM three"), Ok(3));
    assert_eq!(update(&mut served, "INSERT INTO t SELECT n + 1000 FROM t WHERE n < 3"), Ok(3));
    assert_eq!(served.number("SELECT count(*) FROM t"), 9);
    assert_eq!(served.number("SELECT CAST(sum(n) AS BIGINT) FROM t WHERE note IS NOT NULL"), 4);
    assert_eq!(served.number("SELECT n FROM t WHERE ts = TIMESTAMP '1970-01-01 00:00:01'"), 1);

    // Nothing of it is there.
    let error = update(&mut served, "INSERT INTO t SELECT CASE WHEN a < 2 THEN a END FROM three").unwrap_err();
    assert!(error.contains("'n'"), "{error}");
    let error = update(&mut served, "INSERT INTO t (n) VALUES ('x')").unwrap_err();
    assert!(error.contains("column 'n'"), "{error}");
    served.push("t", vec![rows(100..102)]);
    assert_eq!(served.number("SELECT count(*) FROM t"), 11);
    served.ask(CLICKS);
    assert_eq!(update(&mut served, "INSERT INTO clicks (n, ts) VALUES (7, '2024-01-01 00:00:00')"), Ok(1));
    let error = update(&mut served, "INSERT INTO t (n) SELECT n FROM clicks").unwrap_err();
    assert!(error.contains("without an end"), "{error}");
    served.server.signal("KILL");
    served.server.wait_killed();
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    assert_eq!(served.number("SELECT count(*) FROM t"), 11);
    served.end();
}

#[test]
fn pushed_rows_are_kept_in_the_data_folder() {
    let folder = crate::command::Folder::new();
    let output = folder.run("CREATE TABLE t (a INT) WITH (connector = 'table'); SELECT * FROM t", &[]);
    let error = output.failure();
    assert!(error.contains("source 't'") && error.contains("--data-dir"), "{error}");
}

#[test]
fn python_clients_push_rows() {
    python("tests/python/pushing.py");
}
