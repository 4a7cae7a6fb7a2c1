//! The flights example on real data: its own script, on ten days of it, and on the year when asked.
//!
//! Predictions are learnt as the job goes, so they show at once whether anything depends on how the
//! work was spread, on which batch came first, or on rows of the future.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::command::{Folder, PATIENCE};

const EXAMPLE: &str = include_str!("../../examples/flights/delays.sql");

/// Where the example's script finds its data.
const DATA: &str = "examples/flights/data/";

/// Where it leaves its predictions.
const SINK: &str = "out/flights/predictions";

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

/// 2013-01-11: the slice that most tests run on ends before it.
const SLICE_END: i64 = 15_716 * DAY;

/// 2013-04-01: enough to tell a good model from a worse one.
const QUARTER_END: i64 = 15_796 * DAY;

/// Rows of a row group of the slice, so that there is something to spread.
const GROUP_ROWS: usize = 1_000;

/// What the features of the last hours are called where the model reads them.
const STREAMING_FEATURES: &str =
    ",\n       f.origin_late, f.origin_delay, f.carrier_late, f.carrier_delay, f.dest_late, f.inbound_delay";

/// What a run of the slice left.
struct Run {
    stdout: String,
    /// The sink's file as it is.
    file: Vec<u8>,
    predictions: RecordBatch,
}

/// The run that others are compared with.
static REFERENCE: LazyLock<Run> = LazyLock::new(|| run_slice(&["--parallelism", "2"]));

fn data(file: &str) -> String {
    format!("{}/{DATA}{file}", env!("CARGO_MANIFEST_DIR"))
}

fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the example no longer says {from}");
    text.replace(from, to)
}

/// Copies the rows before `end`, in small row groups.
fn write_slice(from: &str, time: &str, to: &Path, end: i64) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(GROUP_ROWS)).build();
    let mut writer = ArrowWriter::try_new(File::create(to).unwrap(), schema, Some(properties)).unwrap();
    let mut rows = 0;
    for batch in reader.build().unwrap().map(Result::unwrap) {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times = cast(batch.column_by_name(time).unwrap(), &micros).unwrap();
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let early: BooleanArray = times.iter().map(|time| time.map(|time| time < end)).collect();
        let batch = filter_record_batch(&batch, &early).unwrap();
        rows += batch.num_rows();
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
    assert!(rows > 500, "{from} has {rows} rows in the slice");
}

fn read_parquet(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// A folder with the rows before `end`.
fn sliced(end: i64) -> Folder {
    let folder = Folder::new();
    write_slice(&data("flights.parquet"), "sched_dep_ts", &folder.path("flights.parquet"), end);
    write_slice(&data("weather.parquet"), "time_hour", &folder.path("weather.parquet"), end);
    folder
}

/// A folder with the slice that most tests run on.
pub(crate) fn few_days() -> Folder {
    sliced(SLICE_END)
}

/// An empty folder, and the example's script with the data where they are and its sink in the folder.
pub(crate) fn example_in_folder() -> (Folder, String) {
    (Folder::new(), replace(&replace(EXAMPLE, DATA, &data("")), SINK, "predictions"))
}

/// Runs the example on the slice.
fn run_slice(arguments: &[&str]) -> Run {
    let folder = sliced(SLICE_END);
    let sql = replace(&replace(EXAMPLE, DATA, ""), SINK, "predictions");
    let output = folder.run(&sql, &[&["--format", "csv"], arguments].concat()).success();
    let part = folder.path("predictions/part-0.parquet");
    Run { stdout: output.stdout, file: std::fs::read(&part).unwrap(), predictions: read_parquet(&part) }
}

/// Every row as text, every digit of its numbers, sorted.
fn rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(",");
    let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
    rows.sort_unstable();
    rows
}

#[track_caller]
fn check_same(arguments: &[&str]) {
    let run = run_slice(arguments);
    let (found, expected) = (rows(&run.predictions), rows(&REFERENCE.predictions));
    assert_eq!(found.len(), expected.len(), "predictions");
    if let Some((found, expected)) = found.iter().zip(&expected).find(|(found, expected)| found != expected) {
        panic!("{arguments:?} predicts\n{found}, the reference\n{expected}");
    }
    assert_eq!(run.stdout, REFERENCE.stdout, "metrics");
}

#[test]
fn one_task_an_operator_gives_the_same() {
    check_same(&["--parallelism", "1"]);
}

#[test]
fn four_tasks_an_operator_give_the_same() {
    check_same(&["--parallelism", "4"]);
}

#[test]
fn worker_processes_give_the_same() {
    check_same(&["--parallelism", "2", "--workers", "2"]);
}

#[test]
fn small_batches_give_the_same() {
    check_same(&["--parallelism", "3", "--set", "source_batch_rows=100", "--set", "channel_bytes=65536"]);
}

#[test]
fn the_same_run_writes_the_same_bytes() {
    let again = run_slice(&["--parallelism", "2"]);
    assert!(again.file == REFERENCE.file, "files of {} and {} bytes", again.file.len(), REFERENCE.file.len());
}

#[test]
fn csv_on_stdout_is_a_header_and_rows() {
    let lines: Vec<&str> = REFERENCE.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", REFERENCE.stdout);
    assert_eq!(lines[0], "month,flights,late_share,auc,log_loss,brier");
    assert_eq!(lines[2], "Feb-Dec,0,,,,", "the slice has no other month");
    let january: Vec<&str> = lines[1].split(',').collect();
    assert_eq!(january[0], "2013-01");
    // Each flight that landed met its prediction, once.
    let flights: u64 = january[1].parse().unwrap();
    assert_eq!(flights, landed_before_the_end());
    let auc: f64 = january[3].parse().unwrap();
    assert!((0.6..0.9).contains(&auc), "ten days are enough to be better than chance: {auc}");
}

/// Flights of the slice that arrived and whose delay is known.
fn landed_before_the_end() -> u64 {
    let folder = sliced(SLICE_END);
    let flights = read_parquet(&folder.path("flights.parquet"));
    let known = |name: &str| arrow::compute::is_not_null(flights.column_by_name(name).unwrap()).unwrap();
    let landed = arrow::compute::and(&known("dep_delay"), &known("air_time")).unwrap();
    landed.true_count() as u64
}

#[test]
fn every_departure_is_predicted_once_and_from_its_past_only() {
    let predictions = &REFERENCE.predictions;
    let folder = sliced(SLICE_END);
    assert_eq!(predictions.num_rows(), read_parquet(&folder.path("flights.parquet")).num_rows());

    let column = |name: &str| predictions.column_by_name(name).unwrap();
    let departs = column("sched_dep_ts").as_primitive::<TimestampMicrosecondType>();
    let learnt_to = column("learnt_to").as_primitive::<TimestampMicrosecondType>();
    let version = column("model_version").as_primitive::<Int64Type>();
    let probability = column("p_late").as_primitive::<Float64Type>();
    let mut newest = 0;
    for row in 0..predictions.num_rows() {
        assert!(row == 0 || departs.value(row - 1) <= departs.value(row), "row {row} is not in event-time order");
        assert_eq!(version.is_null(row), learnt_to.is_null(row), "row {row}");
        if version.is_null(row) {
            assert_eq!(newest, 0, "row {row} has no version, but earlier ones have");
            continue;
        }
        assert!(learnt_to.value(row) <= departs.value(row), "row {row} was predicted by a model of its future");
        assert!(version.value(row) >= newest, "row {row} was predicted by an older version than the row before it");
        newest = version.value(row);
        let fresh = departs.value(row) - learnt_to.value(row);
        assert!(fresh < 24 * 3_600_000_000, "row {row}: the version is {fresh} microseconds old");
        assert!(probability.is_null(row) || (0.0..=1.0).contains(&probability.value(row)), "row {row}");
    }
    assert!(newest > 100, "a version for most hours of ten days, not {newest}");
    assert!(probability.null_count() < 100, "{} rows have no prediction", probability.null_count());
}

/// Flights and AUC after January, from what the example prints.
fn after_january(folder: &Folder, sql: &str, arguments: &[&str]) -> (u64, f64) {
    let run = folder.start(&replace(sql, SINK, "predictions"), &[&["--format", "csv"], arguments].concat());
    let output = run.output(PATIENCE.max(Duration::from_secs(900))).success();
    let line = output.stdout.lines().find(|line| line.starts_with("Feb-Dec,")).unwrap().to_owned();
    let columns: Vec<&str> = line.split(',').collect();
    (columns[1].parse().unwrap(), columns[3].parse().unwrap())
}

#[test]
fn what_has_just_happened_makes_predictions_better() {
    let folder = sliced(QUARTER_END);
    let with = replace(EXAMPLE, DATA, "");
    let without = replace(&with, STREAMING_FEATURES, "");
    let (flights, with) = after_january(&folder, &with, &[]);
    let (same_flights, without) = after_january(&folder, &without, &[]);
    assert_eq!((flights, same_flights), (51_513, 51_513));
    assert!(with >= 0.72, "auc {with}");
    assert!(with >= without + 0.01, "auc {with} with what has just happened, {without} without");
}

fn auc_of_the_year(sql: &str, arguments: &[&str]) -> f64 {
    let (flights, auc) = after_january(&Folder::new(), &replace(sql, DATA, &data("")), arguments);
    assert_eq!(flights, 300_948);
    auc
}

#[test]
#[ignore = "a year of flights in a debug build takes minutes; cargo test --release -- --ignored"]
fn the_year() {
    let [one, two, four] = ["1", "2", "4"].map(|tasks| auc_of_the_year(EXAMPLE, &["--parallelism", tasks]));
    let without = auc_of_the_year(&replace(EXAMPLE, STREAMING_FEATURES, ""), &["--parallelism", "2"]);
    assert!(one >= 0.745, "auc {one}");
    assert!((one - two).abs() <= 0.005 && (one - four).abs() <= 0.005, "auc {one}, {two}, {four}");
    assert!(two >= without + 0.01, "auc {two} with what has just happened, {without} without");
}
