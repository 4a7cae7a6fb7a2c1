use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::common::JoinType;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};
use tidemill_plans::batch::progress::{Fraction, Share};
use tidemill_plans::batch::{BoundedTable, Destination, FileGroup, Part, ReadCounts, RowSink, TableReader, TableRows};
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::node::{SinkNode, SourceNode};

use super::*;

/// Bytes of the table's file, and of what is read of it for each batch.
const FILE_BYTES: u64 = 100;
const BATCH_BYTES: u64 = 10;

/// A table of the numbers 1, 2, 3 in each part's every batch; so many batches, or without an end. The batches of the table
/// `large` repeat them.
#[derive(Debug)]
struct Numbers {
    batches: Option<usize>,
    /// Batches that have been read.
    read: AtomicU64,
    /// Told when somebody lets go of a part.
    gone: Mutex<Sender<()>>,
}

struct Rows {
    left: Option<usize>,
    table: Arc<Numbers>,
    /// How often a batch has the numbers.
    times: usize,
    gone: Sender<()>,
}

impl Drop for Rows {
    fn drop(&mut self) {
        let _ = self.gone.send(());
    }
}

impl TableRows for Rows {
    fn next_rows(&mut self) -> DataFusionResult<Option<RecordBatch>> {
        match &mut self.left {
            Some(0) => return Ok(None),
            Some(left) => *left -= 1,
            None => {}
        }
        self.table.read.fetch_add(1, Ordering::Relaxed);
        let numbers = Arc::new(Int64Array::from([1, 2, 3].repeat(self.times)));
        Ok(Some(RecordBatch::try_new(columns(), vec![numbers])?))
    }
}

/// The same for each query.
#[derive(Debug, Clone)]
struct Tables(Arc<Numbers>);

impl TableReaders for Tables {
    fn columns(&self, _options: &[(String, String)]) -> DataFusionResult<SchemaRef> {
        Ok(columns())
    }

    fn begin(&self, _settings: &Settings) -> DataFusionResult<Arc<dyn TableReader>> {
        Ok(Arc::new(self.clone()))
    }
}

impl TableReader for Tables {
    fn groups(&self, _table: &BoundedTable) -> DataFusionResult<Vec<FileGroup>> {
        Ok(vec![FileGroup { files: Vec::new(), partition: Vec::new(), missing: Vec::new(), bytes: FILE_BYTES }])
    }

    fn open(&self, table: &BoundedTable, _columns: &[usize], _part: Part) -> DataFusionResult<Box<dyn TableRows>> {
        assert_ne!(table.source.table, "broken", "a reader with a bug");
        let gone = self.0.gone.lock().unwrap().clone();
        let times = if table.source.table == "large" { 2700 } else { 1 };
        Ok(Box::new(Rows { left: self.0.batches, table: Arc::clone(&self.0), times, gone }))
    }

    fn writer(&self, _sink: &SinkNode, _columns: SchemaRef) -> DataFusionResult<Box<dyn RowSink>> {
        Err(DataFusionError::Execution(String::from("nothing is written here")))
    }

    fn refuse(&self, _operator: &str, _row: &RecordBatch, _reason: String) -> DataFusionResult<()> {
        Ok(())
    }

    fn counts(&self) -> ReadCounts {
        let batches = self.0.read.load(Ordering::Relaxed);
        ReadCounts { rows: 3 * batches, bytes: BATCH_BYTES * batches, ..ReadCounts::default() }
    }
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
}

fn scan(table: &str) -> LogicalPlanBuilder {
    let source = SourceNode {
        table: table.to_owned(),
        connector: String::from("files"),
        options: Vec::new(),
        declared: Vec::new(),
        columns: StreamSchema(columns()),
        projection: Vec::new(),
        event_time: None,
        upsert_key: Vec::new(),
    };
    LogicalPlanBuilder::scan(table, Arc::new(BoundedTable { source, columns: columns(), files: None }), None).unwrap()
}

fn engine(batches: Option<usize>) -> (EmbeddedEngine, Receiver<()>) {
    engine_of(2, batches)
}

fn engine_of(threads: usize, batches: Option<usize>) -> (EmbeddedEngine, Receiver<()>) {
    let (sender, gone) = channel();
    let config =
        EmbeddedConfig { threads, memory: 64 << 20, streams: Default::default(), scratch: std::env::temp_dir() };
    let numbers = Numbers { batches, read: AtomicU64::new(0), gone: Mutex::new(sender) };
    (EmbeddedEngine::new(config, Arc::new(Tables(Arc::new(numbers)))), gone)
}

fn query(plan: LogicalPlanBuilder) -> BatchQuery {
    let plan = plan.build().unwrap();
    BatchQuery {
        columns: Arc::clone(plan.schema().inner()),
        plan,
        wanted: Wanted::Rows,
        destination: Destination::Asker,
    }
}

/// Waits on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn rows_come_and_end() {
    let (engine, _gone) = engine(Some(4));
    let plan = scan("t")
        .filter(col("a").gt(lit(1_i64)))
        .unwrap()
        .aggregate(Vec::<datafusion::prelude::Expr>::new(), [sum(col("a"))]);
    let mut run = engine.run(query(plan.unwrap()), &Settings::default()).unwrap();
    let rows = wait(run.next()).unwrap().unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[20]);
    assert!(wait(run.next()).is_none() && wait(run.next()).is_none());
    assert_eq!(run.counts().rows, 12);
}

#[test]
fn a_query_says_how_far_it_is() {
    let (engine, _gone) = engine(Some(4));
    let mut run = engine.run(query(scan("t")), &Settings::default()).unwrap();
    let mut told = vec![run.progress()];
    while wait(run.next()).is_some() {
        told.push(run.progress());
    }
    told.push(run.progress());
    assert!(told.is_sorted_by_key(|progress| progress.fraction), "{told:?}");
    assert!(told[..4].iter().all(|progress| progress.fraction <= Some(Fraction::NEARLY)), "{told:?}");
    let last = told[told.len() - 1];
    assert_eq!((last.fraction, last.tasks), (Some(Fraction::WHOLE), Share { done: 1, all: 1 }));
    assert_eq!((last.rows, last.rows_all, last.bytes, last.bytes_all), (12, None, 40, Some(FILE_BYTES)));
}

#[test]
fn a_query_that_reads_more_than_there_was_is_never_done() {
    let (engine, _gone) = engine(None);
    let mut run = engine.run(query(scan("t")), &Settings::default()).unwrap();
    let enough = FILE_BYTES / BATCH_BYTES + 10;
    (0..enough).for_each(|_| drop(wait(run.next()).unwrap().unwrap()));
    let progress = run.progress();
    assert_eq!((progress.fraction, progress.tasks), (Some(Fraction::NEARLY), Share { done: 0, all: 1 }));
    assert!(progress.bytes > FILE_BYTES && progress.to_string().contains("read 100 B/100 B"), "{progress}");
}

#[test]
fn a_query_ends_with_its_run() {
    let (engine, gone) = engine(None);
    let mut run = engine.run(query(scan("t")), &Settings::default()).unwrap();
    wait(run.next()).unwrap().unwrap();
    drop(run);
    gone.recv_timeout(Duration::from_secs(20)).unwrap();
}

/// A join of so many pairs that nobody waits for their end; none of them is a row.
fn endless_join(large: LogicalPlanBuilder) -> LogicalPlanBuilder {
    let small = large.clone().alias("other").unwrap().build().unwrap();
    let sum = (col("large.a") + col("other.a")).gt(lit(100_i64));
    large.join_on(small, JoinType::Inner, [sum]).unwrap()
}

#[test]
fn a_join_that_takes_long_holds_nobody_up() {
    let (engine, gone) = engine_of(1, Some(64));
    let join = engine.run(query(endless_join(scan("large"))), &Settings::default()).unwrap();
    // One side is there, and pairs are made before long.
    gone.recv_timeout(Duration::from_secs(20)).unwrap();
    let (answered, is_answered) = channel();
    let others = std::thread::spawn(move || {
        for _ in 0..20 {
            let mut other = engine.run(query(scan("t")), &Settings::default()).unwrap();
            answered.send(wait(other.next()).unwrap().is_ok()).unwrap();
        }
    });
    for _ in 0..20 {
        assert!(is_answered.recv_timeout(Duration::from_secs(60)).unwrap());
    }
    others.join().unwrap();
    // It ends where it is.
    drop(join);
}

#[test]
fn a_panic_is_an_error() {
    let (engine, _gone) = engine(None);
    let mut run = engine.run(query(scan("broken")), &Settings::default()).unwrap();
    let error = wait(run.next()).unwrap().unwrap_err();
    assert_eq!(error.domain(), tidemill_plans::ErrorDomain::Internal);
    assert!(wait(run.next()).is_none());
    // The engine has not been harmed.
    let mut run = engine.run(query(scan("t")), &Settings::default()).unwrap();
    assert!(wait(run.next()).unwrap().is_ok());
}
