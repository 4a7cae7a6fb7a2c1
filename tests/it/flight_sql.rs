//! `tidemill serve` as Flight SQL clients see it: arrow-flight's own, and those of Python.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandStatementQuery, ProstMessageExt, SqlInfo,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightInfo,
};
use futures::TryStreamExt;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::Channel;

use crate::cluster::free_port;
use crate::command::{Folder, PATIENCE, Run};

/// How long a change of the server's state may take to be seen.
pub(crate) const TRIES: u128 = PATIENCE.as_millis() / POLL.as_millis();
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// The server, and a client of it.
pub(crate) struct Served {
    pub(crate) folder: Folder,
    pub(crate) server: Run,
    pub(crate) port: u16,
    pub(crate) runtime: Runtime,
    pub(crate) client: FlightSqlServiceClient<Channel>,
}

impl Served {
    pub(crate) fn start() -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let server = serve(&folder, port);
        let runtime = Runtime::new().unwrap();
        let client = connect(&runtime, port);
        Self { folder, server, port, runtime, client }
    }

    /// What a statement comes to.
    #[track_caller]
    pub(crate) fn ask(&mut self, sql: &str) -> Vec<RecordBatch> {
        self.try_ask(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) fn try_ask(&mut self, sql: &str) -> Result<Vec<RecordBatch>, FlightError> {
        let info = self.runtime.block_on(self.client.execute(sql.to_owned(), None))?;
        self.fetch(info)
    }

    pub(crate) fn fetch(&mut self, info: FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        self.runtime.block_on(async { self.client.do_get(ticket).await?.try_collect().await })
    }

    /// The only number that a statement comes to.
    #[track_caller]
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        let rows = self.ask(sql);
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, sql: &str, code: Code, reason: &str) {
        match self.try_ask(sql) {
            Err(FlightError::Tonic(status)) => {
                assert!(status.code() == code && status.message().contains(reason), "{status}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits until no job runs but those that make these.
    #[track_caller]
    pub(crate) fn wait_for_jobs(&mut self, wanted: &[&str]) {
        let mut makes = Vec::new();
        for _ in 0..TRIES {
            let rows = self.ask("SHOW JOBS");
            let column = rows.iter().flat_map(|batch| batch.column(2).as_string::<i32>().iter().flatten());
            makes = column.map(String::from).collect();
            if makes == wanted {
                return;
            }
            thread::sleep(POLL);
        }
        panic!("after {PATIENCE:?}: {makes:?}");
    }

    #[track_caller]
    pub(crate) fn end(self) {
        self.server.signal("TERM");
        self.server.output(PATIENCE).success();
    }
}

pub(crate) fn serve(folder: &Folder, port: u16) -> Run {
    let bind = format!("127.0.0.1:{port}");
    let arguments = ["serve", "--bind", &bind, "--http", "127.0.0.1:0", "--slots", "2", "--data-dir", "meta"];
    let server = Run::start(&folder.path(""), &arguments);
    server.wait_for_line("coordinator listens");
    server
}

pub(crate) fn connect(runtime: &Runtime, port: u16) -> FlightSqlServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    FlightSqlServiceClient::new(runtime.block_on(endpoint.connect()).unwrap())
}

pub(crate) fn shown(rows: &[RecordBatch]) -> String {
    pretty_format_batches(rows).unwrap().to_string()
}

pub(crate) const SOURCE: &str = "CREATE SOURCE bids (WATERMARK FOR date_time AS date_time)
                      WITH (connector = 'nexmark', table = 'bid', rows_per_second = 5000)";

pub(crate) const VIEW: &str =
    "CREATE MATERIALIZED VIEW per_channel AS SELECT channel, count(*) AS n FROM bids GROUP BY channel";

#[test]
fn statements_are_planned_then_run_and_end_with_their_client() {
    let mut served = Served::start();
    let told = served.ask(SOURCE);
    assert!(shown(&told).contains("CREATE SOURCE bids"), "{}", shown(&told));
    served.ask(VIEW);
    assert!(served.number("SELECT CAST(sum(n) AS BIGINT) AS n FROM per_channel") > 0);

    // The columns are known before anything runs, and nothing is left of what nobody fetches.
    let info = served.runtime.block_on(served.client.execute(String::from("SELECT auction, price FROM bids"), None));
    let schema = info.unwrap().try_decode_schema().unwrap();
    assert_eq!(schema.field(1).name(), "price");
    served.wait_for_jobs(&["per_channel"]);

    // Without an end, until the client goes away.
    let changes = "SELECT channel, count(*) AS n FROM bids GROUP BY channel";
    let info = served.runtime.block_on(served.client.execute(changes.to_owned(), None)).unwrap();
    assert_eq!(info.clone().try_decode_schema().unwrap().field(0).name(), "op");
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let runtime = &served.runtime;
    let client = &mut served.client;
    runtime.block_on(async {
        let mut rows = client.do_get(ticket).await.unwrap();
        for _ in 0..3 {
            assert!(rows.try_next().await.unwrap().unwrap().num_rows() > 0);
        }
    });
    served.wait_for_jobs(&["per_channel"]);

    served.refused("SELECT nothing FROM bids", Code::InvalidArgument, "line 1, column 8");
    served.refused("SELECT * FROM nowhere", Code::InvalidArgument, "nowhere");
    served.refused(VIEW, Code::AlreadyExists, "it is a materialized view");
    served.refused("SELECT price FROM bids ORDER BY price", Code::Unimplemented, "ORDER BY is over all rows");
    served.refused("SELECT 1 AS a; SELECT 2 AS b", Code::Unimplemented, "send the statements one by one");
    assert_eq!(served.number("SELECT 1 AS one"), 1);
    assert_eq!(served.number("SELECT count(*) AS n FROM (VALUES (1, 'a'), (2, NULL)) v (a, b) WHERE b IS NULL"), 1);
    assert!(served.number("SELECT CAST(sum(n) AS BIGINT) FROM tidemill.public.per_channel") > 0);
    served.end();
}

#[test]
fn updates_say_what_they_have_done() {
    let mut served = Served::start();
    let mut update = |sql: &str| served.runtime.block_on(served.client.execute_update(sql.to_owned(), None));
    let sink = "CREATE SINK kept (a BIGINT, b VARCHAR) WITH (connector = 'files', path = 'kept', format = 'csv')";
    assert_eq!(update(sink).unwrap(), 0);
    assert_eq!(update("INSERT INTO kept VALUES (1, 'one'), (2, NULL)").unwrap(), 2);
    let error = update("SELECT 1 AS a").unwrap_err().to_string();
    assert!(error.contains("execute it as a query"), "{error}");
    let error = update("SET parallelism = 3").unwrap_err().to_string();
    assert!(error.contains("keeps no cookies"), "{error}");
    // For the text that it stands in, it holds.
    assert_eq!(update("SET parallelism = 3; CREATE SINK other WITH (connector = 'blackhole')").unwrap(), 0);
    assert_eq!(update("DROP SINK kept; DROP SINK other").unwrap(), 0);
    assert_eq!(csv(&served.folder), ["1,one", "2,"]);
    served.end();
}

fn csv(folder: &Folder) -> Vec<String> {
    let mut rows = crate::killed::csv_rows(folder, "kept");
    rows.sort();
    rows
}

#[test]
fn prepared_statements_take_values() {
    let mut served = Served::start();
    served.ask("CREATE VIEW t AS SELECT column1 AS a, column2 AS b FROM (VALUES (1, 'x'), (2, 'y'), (3, 'y')) v");
    let runtime = &served.runtime;
    let statement = "SELECT count(*) AS n, max(a) AS last FROM t WHERE b = $2 AND a >= $1";
    let mut prepared = runtime.block_on(served.client.prepare(statement.to_owned(), None)).unwrap();
    let parameters = prepared.parameter_schema().unwrap();
    assert_eq!((parameters.field(0).data_type(), parameters.field(1).data_type()), (&DataType::Int64, &DataType::Utf8));
    assert_eq!(prepared.dataset_schema().unwrap().field(1).name(), "last");
    let unbound = runtime.block_on(prepared.execute()).unwrap_err().to_string();
    assert!(unbound.contains("2 parameters, which have no values yet"), "{unbound}");
    let columns: [ArrayRef; 2] =
        [Arc::new(Int64Array::from(vec![2, 3])), Arc::new(StringArray::from(vec!["y", "it's"]))];
    let values = RecordBatch::try_from_iter(["1", "2"].into_iter().zip(columns)).unwrap();
    prepared.set_parameters(values).unwrap();
    let info = runtime.block_on(prepared.execute()).unwrap();
    let rows = served.fetch(info).unwrap();
    let counts: Vec<i64> =
        rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(counts, [2, 0]);
    served.runtime.block_on(prepared.close()).unwrap();

    // A statement without rows has no columns either.
    let sink = "CREATE SINK kept (a BIGINT, b VARCHAR) WITH (connector = 'files', path = 'kept', format = 'csv')";
    let mut created = served.runtime.block_on(served.client.prepare(sink.to_owned(), None)).unwrap();
    assert!(created.dataset_schema().unwrap().fields().is_empty());
    assert_eq!(served.runtime.block_on(created.execute_update()).unwrap(), 0);
    let insert = String::from("INSERT INTO kept VALUES (?, ?)");
    let mut inserted = served.runtime.block_on(served.client.prepare(insert, None)).unwrap();
    let columns: [ArrayRef; 2] =
        [Arc::new(Int64Array::from(vec![Some(-7), None])), Arc::new(StringArray::from(vec!["it's", "é"]))];
    inserted.set_parameters(RecordBatch::try_from_iter(["1", "2"].into_iter().zip(columns)).unwrap()).unwrap();
    assert_eq!(served.runtime.block_on(inserted.execute_update()).unwrap(), 2);
    assert_eq!(csv(&served.folder), [",é", "-7,it's"]);
    let closed = served.runtime.block_on(async {
        let again = inserted.clone();
        inserted.close().await.unwrap();
        again.clone().execute().await.unwrap_err().to_string()
    });
    assert!(closed.contains("this statement is not prepared"), "{closed}");
    served.end();
}

#[test]
fn what_is_cancelled_ends() {
    let mut served = Served::start();
    served.ask(SOURCE);
    for fetches in [true, false] {
        let endless = String::from("SELECT auction FROM bids");
        let info = served.runtime.block_on(served.client.execute(endless, None)).unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let request = CancelFlightInfoRequest { info: Some(info) };
        let action = Action::new("CancelFlightInfo", request.encode_to_vec());
        let client = &mut served.client;
        served.runtime.block_on(async {
            let mut rows = client.do_get(ticket.clone()).await.unwrap();
            if fetches {
                rows.try_next().await.unwrap().unwrap();
            } else {
                drop(rows);
                rows = client.do_get(ticket.clone()).await.unwrap();
            }
            let answer = client.do_action(action).await.unwrap().message().await.unwrap().unwrap();
            let result = CancelFlightInfoResult::decode(answer.body).unwrap();
            assert_eq!(result.status, CancelStatus::Cancelled as i32);
            let error = loop {
                match rows.try_next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no error"),
                    Err(error) => break error,
                }
            };
            assert!(error.to_string().contains("the statement was cancelled"), "{error}");
            let again = client.do_get(ticket).await.unwrap_err().to_string();
            assert!(again.contains("it was cancelled, or is too old"), "{again}");
        });
        served.wait_for_jobs(&[]);
    }
    served.end();
}

#[test]
fn clients_find_out_what_is_there() {
    let mut served = Served::start();
    served.ask(SOURCE);
    served.ask("CREATE VIEW dear AS SELECT price, channel FROM bids WHERE price > 100");
    served.ask("CREATE SINK kept (k BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH (connector = 'files', path = 'k', format = 'upsert-json')");
    macro_rules! asked {
        ($call:expr) => {{
            let info = served.runtime.block_on($call).unwrap();
            let schema = info.clone().try_decode_schema().unwrap();
            let rows = served.fetch(info).unwrap();
            rows.iter().for_each(|batch| assert_eq!(batch.schema().as_ref(), &schema));
            shown(&rows)
        }};
    }
    assert!(asked!(served.client.get_catalogs()).contains("| tidemill "));
    assert!(asked!(served.client.get_db_schemas(CommandGetDbSchemas::default())).contains("| public "));
    let types = asked!(served.client.get_table_types());
    assert!(types.contains("MATERIALIZED VIEW") && types.contains("| TABLE "), "{types}");
    let tables = CommandGetTables {
        table_name_filter_pattern: Some(String::from("d%")),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let tables = asked!(served.client.get_tables(tables));
    assert!(tables.contains("| dear ") && !tables.contains("| bids "), "{tables}");
    let key = CommandGetPrimaryKeys { table: String::from("kept"), ..CommandGetPrimaryKeys::default() };
    let key = asked!(served.client.get_primary_keys(key));
    assert!(key.contains("| k "), "{key}");
    let foreign = CommandGetExportedKeys { table: String::from("kept"), ..CommandGetExportedKeys::default() };
    let info = served.runtime.block_on(served.client.get_exported_keys(foreign)).unwrap();
    assert_eq!(info.clone().try_decode_schema().unwrap().field(2).name(), "pk_table_name");
    assert!(served.fetch(info).unwrap().iter().all(|batch| batch.num_rows() == 0));
    assert!(asked!(served.client.get_xdbc_type_info(CommandGetXdbcTypeInfo::default())).contains("BIGINT"));
    assert!(asked!(served.client.get_sql_info(vec![SqlInfo::FlightSqlServerName])).contains("Tidemill"));

    let transaction = served.runtime.block_on(served.client.begin_transaction()).unwrap_err().to_string();
    assert!(transaction.contains("transactions are not supported"), "{transaction}");
    // The columns of a statement, without executing it.
    let query = CommandStatementQuery { query: String::from("CREATE SOURCE never WITH ()"), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    served.runtime.block_on(served.client.inner_mut().get_schema(descriptor)).unwrap_err();
    let query = CommandStatementQuery { query: String::from("SELECT * FROM dear"), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let schema = served.runtime.block_on(served.client.inner_mut().get_schema(descriptor)).unwrap().into_inner();
    let schema = arrow::datatypes::Schema::try_from(&schema).unwrap();
    assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["price", "channel"]);
    served.end();
}

#[test]
fn settings_belong_to_a_session() {
    let mut served = Served::start();
    // The first answer brings the cookie that later requests name.
    let info = served.runtime.block_on(served.client.execute(String::from("SHOW parallelism"), None)).unwrap();
    served.fetch(info).unwrap();
    served.client.set_header("cookie", "arrow_flight_session_id=new-1");
    let sql = CommandStatementQuery { query: String::from("SET parallelism = 7"), transaction_id: None };
    let mut request = tonic::Request::new(FlightDescriptor::new_cmd(sql.as_any().encode_to_vec()));
    request.metadata_mut().insert("cookie", "arrow_flight_session_id=new-1".parse().unwrap());
    let answer = served.runtime.block_on(served.client.inner_mut().get_flight_info(request)).unwrap();
    let cookie = answer.metadata().get("set-cookie").unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(shown(&served.ask("SHOW parallelism")).contains("| 7 "), "whoever loses the new cookie keeps the session");
    served.client.set_header("cookie", cookie);
    assert!(shown(&served.ask("SHOW parallelism")).contains("| 7 "));
    served.client.set_header("cookie", "arrow_flight_session_id=new-2");
    assert!(shown(&served.ask("SHOW parallelism")).contains("| 2 "));
    served.client = connect(&served.runtime, served.port);
    assert!(shown(&served.ask("SHOW parallelism")).contains("| 2 "));
    served.end();
}

#[test]
fn objects_are_there_again_when_the_server_is() {
    let mut served = Served::start();
    served.ask(SOURCE);
    served.ask(VIEW);
    served.server.signal("KILL");
    served.server.wait_killed();
    served.server = serve(&served.folder, served.port);
    served.client = connect(&served.runtime, served.port);
    let is_read = (0..TRIES).any(|_| {
        thread::sleep(POLL);
        served.try_ask("SELECT CAST(sum(n) AS BIGINT) AS n FROM per_channel").is_ok()
    });
    assert!(is_read);
    served.ask("DROP MATERIALIZED VIEW per_channel");
    served.wait_for_jobs(&[]);
    served.end();
}

#[test]
fn public_addresses_are_refused() {
    let folder = Folder::new();
    for arguments in [["--bind", "0.0.0.0:0"], ["--http", "0.0.0.0:0"]] {
        let refused = Run::start(&folder.path(""), &[&["serve"][..], &arguments].concat()).output(PATIENCE).failure();
        assert!(refused.contains("can be reached from other machines") && refused.contains("--insecure"), "{refused}");
    }
}

/// Runs a Python program against a server of its own.
#[track_caller]
pub(crate) fn python(program: &str) {
    let folder = Folder::new();
    let port = free_port();
    let server = serve(&folder, port);
    run_python(&folder, program, &[&format!("grpc://127.0.0.1:{port}")]);
    server.signal("TERM");
    server.output(PATIENCE).success();
}

/// Runs a Python program that has clients of Flight.
#[track_caller]
pub(crate) fn run_python(folder: &Folder, program: &str, arguments: &[&str]) {
    // Where .ci/run installs the packages.
    let interpreter = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("adbc/bin/python");
    assert!(interpreter.exists(), "no {}: python3 -m venv and pip install, as .ci/run does", interpreter.display());
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let mut command = Command::new(interpreter);
    command.arg(&program).args(arguments).current_dir(folder.path(""));
    let mut run = command.spawn().unwrap();
    let ended = (0..2 * TRIES).find_map(|_| {
        thread::sleep(POLL);
        run.try_wait().unwrap()
    });
    let Some(status) = ended else {
        run.kill().unwrap();
        panic!("the clients hang");
    };
    assert!(status.success(), "{}: {status}", program.display());
}

#[test]
fn python_clients_get_what_they_expect() {
    python("tests/python/clients.py");
}

#[test]
fn the_quick_start_for_python_works() {
    python("examples/python/quickstart.py");
}
