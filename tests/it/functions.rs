//! Functions from Rust, registered in this process and in workers of their own, called by scripts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Once};
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringBuilder, StructBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, ColumnarValue, Volatility, create_udaf, create_udf};
use tidemill::functions::{register_aggregate, register_scalar, register_table};
use tidemill_coordinator::{CoordinatorConfig, CoordinatorHandle, JobStatus, Output, api};
use tidemill_net::Address;
use tidemill_plans::settings::Settings;
use tidemill_workers::{ProcessConfig, WithoutCoordinator, WorkerConfig, WorkerHandle, run_worker};

use crate::command::Folder;

/// Tells the ignored test that is a worker where its coordinator listens.
const COORDINATOR: &str = "TIDEMILL_TEST_COORDINATOR";

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn doubled(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let values = ColumnarValue::values_to_arrays(arguments)?;
    let doubled: Int64Array = values[0].as_primitive::<Int64Type>().unary(|value| value * 2);
    Ok(ColumnarValue::Array(Arc::new(doubled)))
}

/// A product, which takes nothing back.
#[derive(Debug)]
struct Product(i64);

impl Accumulator for Product {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0 *= values[0].as_primitive::<Int64Type>().iter().flatten().product::<i64>();
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.0)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// A sum that calls itself a text.
#[derive(Debug)]
struct Mistyped;

impl Accumulator for Mistyped {
    fn update_batch(&mut self, _values: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(None)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::from("a sum"))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The numbers from 1 to each value.
fn counted(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let values = ColumnarValue::values_to_arrays(arguments)?;
    let mut lists = ListBuilder::new(Int64Builder::new());
    for value in values[0].as_primitive::<Int64Type>() {
        lists.append_option(value.map(|value| (1..=value).map(Some)));
    }
    Ok(ColumnarValue::Array(Arc::new(lists.finish())))
}

fn letter_fields() -> Fields {
    Fields::from(vec![Field::new("place", DataType::Int64, true), Field::new("letter", DataType::Utf8, true)])
}

/// The letters of each text with their places; those of nothing and of NULL are none.
fn lettered(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let texts = ColumnarValue::values_to_arrays(arguments)?;
    let mut lists = ListBuilder::new(StructBuilder::from_fields(letter_fields(), 0));
    for text in texts[0].as_string::<i32>() {
        for (place, letter) in text.unwrap_or_default().chars().enumerate() {
            let row = lists.values();
            row.field_builder::<Int64Builder>(0).unwrap().append_value(place as i64);
            row.field_builder::<StringBuilder>(1).unwrap().append_value(letter.to_string());
            row.append(true);
        }
        lists.append(text.is_some());
    }
    Ok(ColumnarValue::Array(Arc::new(lists.finish())))
}

fn register_rows(name: &str, argument: DataType, row: DataType, body: fn(&[ColumnarValue]) -> Result<ColumnarValue>) {
    let list = DataType::List(Arc::new(Field::new_list_field(row, true)));
    register_table(create_udf(name, vec![argument], list, Volatility::Immutable, Arc::new(body))).unwrap();
}

fn register_int(name: &str, body: fn(&[ColumnarValue]) -> Result<ColumnarValue>) {
    let int = DataType::Int64;
    register_scalar(create_udf(name, vec![int.clone()], int, Volatility::Immutable, Arc::new(body))).unwrap();
}

fn register_sum<A: Accumulator + 'static>(name: &str, make: fn() -> A) {
    let int = DataType::Int64;
    let (types, returned, state) = (vec![int.clone()], Arc::new(int.clone()), Arc::new(vec![int]));
    let make = Arc::new(move |_: datafusion::logical_expr::function::AccumulatorArgs<'_>| {
        Ok(Box::new(make()) as Box<dyn Accumulator>)
    });
    register_aggregate(create_udaf(name, types, returned, Volatility::Immutable, make, state)).unwrap();
}

/// Registers the functions of these tests, once in a process.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        register_int("It_Doubled", doubled);
        register_int("it_short", |_| Ok(ColumnarValue::Array(Arc::new(Int64Array::from(vec![1, 2])))));
        register_int("it_panicking", |arguments| Ok(arguments[1].clone()));
        register_rows("it_counted", DataType::Int64, DataType::Int64, counted);
        register_rows("It_Lettered", DataType::Utf8, DataType::Struct(letter_fields()), lettered);
        register_rows("it_mislisted", DataType::Int64, DataType::Utf8, counted);
        register_sum("it_product", || Product(1));
        register_sum("it_mistyped", || Mistyped);
    });
}

/// Where a job's tasks run.
#[derive(Clone, Copy)]
enum Where {
    Here,
    /// In so many processes that have the functions too.
    TestProcesses(usize),
    /// In one process that has not: the `tidemill` command.
    CommandProcess,
}

/// A worker of this test binary: an ignored test of it, which knows the functions.
fn test_process(coordinator: SocketAddr) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "functions::serves_as_a_worker", "--ignored"])
        .env(COORDINATOR, coordinator.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn command_process(coordinator: SocketAddr) -> Child {
    let coordinator = coordinator.to_string();
    let arguments = ["worker", "--coordinator", &coordinator, "--slots", "1"];
    Command::new(env!("CARGO_BIN_EXE_tidemill")).args(arguments).spawn().unwrap()
}

#[test]
#[ignore = "what the tests beside it start as a worker process"]
fn serves_as_a_worker() {
    let Ok(coordinator) = std::env::var(COORDINATOR) else { return };
    register();
    let config = ProcessConfig {
        coordinator: Address { has_tls: false, authority: coordinator },
        tls: None,
        slots: 1,
        bind: LOOPBACK,
        advertise: None,
        without_coordinator: WithoutCoordinator::Ends,
        leave_limit: Duration::from_secs(1),
        scratch: std::env::temp_dir(),
        secret: None,
        batch_memory: 1 << 30,
    };
    let (_stays, leaving) = tokio::sync::watch::channel(false);
    actix::System::new().block_on(run_worker(config, leaving)).unwrap();
}

/// The rows of a script's SELECTs, or what its job failed with.
fn answer(folder: &Path, sql: &str, place: Where) -> std::result::Result<String, String> {
    register();
    let sql = format!(
        "CREATE SOURCE t (k VARCHAR, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
           WITH (connector = 'files', path = '{}', format = 'csv', header = true);
         {sql}",
        folder.join("t.csv").display()
    );
    let mut settings = Settings::default();
    for (name, value) in [("update_interval", "0"), ("source_batch_rows", "1"), ("parallelism", "2")] {
        settings.set(name, value).unwrap();
    }
    actix::System::new().block_on(async move {
        let coordinator = CoordinatorHandle::start(CoordinatorConfig::default()).unwrap();
        let compiled = coordinator.compile(sql, settings).await.map_err(|error| error.chain())?;
        let (address, server) = api::serve(coordinator.clone(), LOOPBACK).await.unwrap();
        let mut processes: Vec<Child> = match place {
            Where::Here => {
                let link = Arc::new(coordinator.clone());
                let worker = WorkerHandle::start(
                    WorkerConfig {
                        slots: 2,
                        bind: None,
                        tls: None,
                        scratch: std::env::temp_dir(),
                        secret: None,
                        batch_memory: None,
                        streams: Default::default(),
                    },
                    link,
                )
                .await
                .unwrap();
                let link = Arc::new(worker.clone());
                let id = coordinator.add_worker(worker.data_address(), 2, link).await.unwrap();
                worker.set_id(id);
                Vec::new()
            }
            Where::TestProcesses(count) => (0..count).map(|_| test_process(address)).collect(),
            Where::CommandProcess => vec![command_process(address)],
        };
        coordinator.wait_for_workers(processes.len().max(1), Duration::from_secs(20)).await.unwrap();
        let mut job = coordinator.submit(compiled.graph.unwrap(), compiled.settings).await.unwrap();
        let mut rows: Vec<RecordBatch> = Vec::new();
        while let Some(part) = job.results.recv().await {
            rows.extend(part.batches);
        }
        let status = job.wait().await;
        coordinator.shutdown().await;
        processes.iter_mut().for_each(|process| {
            let _ = process.kill();
            process.wait().unwrap();
        });
        drop(server);
        assert!(matches!(compiled.outputs.as_slice(), [Output::Result { .. }]));
        match status {
            JobStatus::Failed { message, .. } => Err(message),
            _ => Ok(pretty_format_batches(&rows).unwrap().to_string()),
        }
    })
}

fn rows() -> Folder {
    Folder::with(&[("t.csv", "k,v,ts\na,2,1970-01-01 00:00:01\nb,3,1970-01-01 00:00:02\na,5,1970-01-01 00:00:03\n")])
}

fn check(sql: &str, place: Where, expected: &[&str]) {
    let folder = rows();
    let table = answer(folder.path("").as_path(), sql, place).unwrap();
    // Without its frame: the header, and the rows in order.
    let mut lines: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    if let Some((_, rows)) = lines.split_first_mut() {
        rows.sort_unstable();
    }
    let lines: Vec<String> = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, expected, "{sql}");
}

const IN_WINDOWS: &str = "SELECT it_product(IT_Doubled(v)) AS p
    FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10 seconds') GROUP BY window_start, window_end";

#[test]
fn functions_from_rust_run_in_windows() {
    check(IN_WINDOWS, Where::Here, &["| p |", "| 240 |"]);
}

#[test]
fn functions_from_rust_run_in_worker_processes_that_have_them() {
    check(IN_WINDOWS, Where::TestProcesses(2), &["| p |", "| 240 |"]);
}

/// The sums of `a` are 2 and then 7: a product that could not let the 2 go would be 42.
#[test]
fn an_aggregate_from_rust_lets_rows_go_though_it_cannot() {
    let view = "CREATE VIEW sums AS SELECT k, sum(v) AS s FROM t GROUP BY k;";
    check(&format!("{view} SELECT it_product(s) AS p FROM sums"), Where::Here, &["| p |", "| 21 |"]);
    let by_key =
        format!("{view} SELECT k, it_product(s) FILTER (WHERE s > 0) AS p, count(*) AS n FROM sums GROUP BY k");
    check(&by_key, Where::Here, &["| k | p | n |", "| a | 7 | 1 |", "| b | 3 | 1 |"]);
}

#[test]
fn table_functions_from_rust_make_rows() {
    let counted = "SELECT t.v, c.n FROM t, LATERAL it_counted(t.v - 1) AS c(n)";
    let rows = ["| v | n |", "| 2 | 1 |", "| 3 | 1 |", "| 3 | 2 |", "| 5 | 1 |", "| 5 | 2 |", "| 5 | 3 |", "| 5 | 4 |"];
    check(counted, Where::Here, &rows);
    check(counted, Where::TestProcesses(2), &rows);
    let lettered = "SELECT v, place, letter FROM t, LATERAL TABLE(it_lettered(k || k)) WHERE v < 5";
    let rows = ["| v | place | letter |", "| 2 | 0 | a |", "| 2 | 1 | a |", "| 3 | 0 | b |", "| 3 | 1 | b |"];
    check(lettered, Where::Here, &rows);
    let unnested = "SELECT v, u.at, u.x FROM t, UNNEST(it_lettered(k)) AS u(at, x) WHERE v < 5";
    check(unnested, Where::Here, &["| v | at | x |", "| 2 | 0 | a |", "| 3 | 0 | b |"]);
}

#[test]
fn rows_without_elements_stay_in_a_left_join() {
    let counted = "SELECT v, n FROM t LEFT JOIN LATERAL it_counted(v - 2) AS c(n) ON TRUE WHERE v < 5";
    check(counted, Where::Here, &["| v | n |", "| 2 | |", "| 3 | 1 |"]);
    // Of an empty text and of NULL.
    let lettered = "SELECT v, letter FROM t LEFT JOIN LATERAL it_lettered(nullif(substr(k, v - 1), 'b')) ON TRUE";
    check(lettered, Where::Here, &["| v | letter |", "| 2 | a |", "| 3 | |", "| 5 | |"]);
    let inner = "SELECT v, letter FROM t, LATERAL it_lettered(nullif(substr(k, v - 1), 'b'))";
    check(inner, Where::Here, &["| v | letter |", "| 2 | a |"]);
}

/// The sum of `a` is 2 and then 7: the rows of the 2 go again.
#[test]
fn a_table_function_takes_its_rows_back() {
    let sql = "CREATE VIEW sums AS SELECT k, sum(v) AS s FROM t GROUP BY k;
               SELECT c.n, count(*) AS times FROM sums, LATERAL it_counted(s) AS c(n) GROUP BY c.n HAVING n < 5";
    check(sql, Where::Here, &["| n | times |", "| 1 | 2 |", "| 2 | 2 |", "| 3 | 2 |", "| 4 | 1 |"]);
}

#[track_caller]
fn check_failure(sql: &str, place: Where, words: &[&str]) {
    let folder = rows();
    let message = answer(folder.path("").as_path(), sql, place).unwrap_err();
    for words in words {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_worker_that_lacks_a_function_says_which() {
    let words = ["the function 'it_doubled' is not there in the worker's process", "tidemill::cli::main()"];
    check_failure("SELECT it_doubled(v) AS d FROM t", Where::CommandProcess, &words);
}

#[test]
fn a_wrong_function_ends_the_job_and_is_named() {
    let words = ["the function 'it_short' returned 2 values for a batch of 1"];
    check_failure("SELECT it_short(v) AS s FROM t", Where::Here, &words);
    check_failure("SELECT v FROM t WHERE it_short(v) > 1", Where::Here, &words);
    check_failure("SELECT it_panicking(v) AS s FROM t", Where::Here, &["the function 'it_panicking' panicked: index"]);
    let mislisted = ["the function 'it_mislisted' returned List(Int64), but promised List(Utf8)"];
    check_failure("SELECT v, x FROM t, LATERAL it_mislisted(v) AS m(x)", Where::Here, &mislisted);
    let mistyped = ["the function 'it_mistyped' returned Utf8, but promised Int64"];
    check_failure("SELECT k, it_mistyped(v) AS s FROM t GROUP BY k", Where::Here, &mistyped);
    let words = ["DISTINCT in it_product, a function from Rust, is not supported"];
    check_failure("SELECT it_product(DISTINCT v) AS p FROM t", Where::Here, &words);
}
