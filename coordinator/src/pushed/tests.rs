//! Logs: what is written is read, also when the writer was killed, and rows fit or are refused.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use tidemill_plans::catalog::CatalogEntry;
use tidemill_plans::connector::STARTUP_MODE_OPTION;
use tidemill_plans::ids::{Epoch, JobId, RunId};
use tidemill_plans::node::NodeKind;
use tidemill_plans::pushed::{
    BYTES_OPTION, LogNeed, LogReader, Mark, PUSH_CONNECTOR, RETENTION_OPTION, Retention, oldest_place, segment_path,
    segments,
};
use tidemill_plans::savepoint::SAVEPOINT_FILE;
use tidemill_plans::settings::Settings;
use tokio::task::JoinSet;

use super::*;
use crate::job::record::JobRecord;
use crate::meta::JournalStore;
use crate::testing::{TestClock, run, two_stage_graph};

fn rows(values: std::ops::Range<i64>) -> Vec<Batch> {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    vec![Batch { rows: RecordBatch::try_from_iter([("a", values)]).unwrap(), mark: None }]
}

/// The same, of a client that numbers them.
fn numbered(id: &str, sequence: u64, values: std::ops::Range<i64>) -> Vec<Batch> {
    let mark = Some(Mark { id: id.to_owned(), sequence });
    rows(values).into_iter().map(|batch| Batch { mark: mark.clone(), ..batch }).collect()
}

/// Everything is kept.
const ALL: Kept = Kept { max_bytes: None, retention: Retention { ms: None, bytes: None } };

const NOW: Duration = Duration::from_secs(1_000_000);

fn at_most(bytes: u64) -> Kept {
    Kept { max_bytes: Some(bytes), ..ALL }
}

/// Logs with metadata of their own.
struct Kit {
    logs: Arc<PushedLogs>,
    metadata: MetadataHandle,
    clock: Arc<TestClock>,
    _tasks: JoinSet<()>,
}

async fn kit(folder: Option<PathBuf>) -> Kit {
    let (metadata, task) = MetadataHandle::new(Box::new(JournalStore::in_memory().await.unwrap()));
    let (mut tasks, clock) = (JoinSet::new(), Arc::new(TestClock::default()));
    tasks.spawn(task);
    clock.advance(NOW);
    let logs = PushedLogs::new(folder, metadata.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
    Kit { logs, metadata, clock, _tasks: tasks }
}

fn read(folder: &Path) -> Vec<i64> {
    let mut reader = LogReader::new(folder.to_owned(), oldest_place(folder).unwrap());
    let mut values = Vec::new();
    while let Some(rows) = reader.next_rows().unwrap() {
        values.extend(rows.column(0).as_primitive::<Int64Type>().values());
    }
    values
}

#[test]
fn what_is_acknowledged_is_there_for_the_next_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let log_folder = folder.path().join("s%20%2e");
    run(async {
        let logs = kit(Some(folder.path().to_owned())).await.logs;
        assert!(logs.open_log("s .").await.unwrap_err().to_string().contains("it has no log here"));
        logs.create("s .").await.unwrap();
        let log = logs.open_log("s .").await.unwrap();
        log.append(rows(0..3), ALL).await.unwrap();
        log.append([rows(3..5), rows(5..6)].concat(), ALL).await.unwrap();
        // The process ends while it writes.
        let mut file = OpenOptions::new().append(true).open(segment_path(&log_folder, 1)).unwrap();
        file.write_all(&[7; 100]).unwrap();

        let logs = kit(Some(folder.path().to_owned())).await.logs;
        let again = logs.open_log("s .").await.unwrap();
        let end = again.end();
        again.append(rows(6..8), at_most(1 << 20)).await.unwrap();
        assert_eq!(read(&log_folder), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(again.end() > end);
        let full = again.append(rows(8..1000), at_most(2000)).await.unwrap_err();
        assert!(full.to_string().contains("of the 2000 of its option max_bytes"), "{full}");
        again.append(Vec::new(), ALL).await.unwrap();

        logs.remove("s .").await.unwrap();
        assert!(again.append(rows(8..9), ALL).await.unwrap_err().to_string().contains("it was dropped"));
        assert!(!log_folder.exists());
        logs.create("s .").await.unwrap();
        assert_eq!(logs.open_log("s .").await.unwrap().end(), Place::default());
        let nowhere = kit(None).await.logs.create("s").await.unwrap_err();
        assert!(nowhere.to_string().contains("--data-dir"), "{nowhere}");
    });
}

#[test]
fn where_a_stream_was_when_its_job_began_is_so_for_all_attempts_of_it() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let logs = kit(Some(folder.path().to_owned())).await.logs;
        logs.create("s").await.unwrap();
        let log = logs.open_log("s").await.unwrap();
        log.append(rows(0..3), ALL).await.unwrap();
        for (mode, has_seam) in [("earliest", false), ("latest", true), ("backfill", true)] {
            let began = has_seam.then(|| log.end().to_string());
            let mut graph = two_stage_graph(1, 1);
            let NodeKind::Source(source) = &mut graph.nodes[0].kind else { panic!("no source") };
            (source.table, source.connector) = (String::from("s"), String::from(PUSH_CONNECTOR));
            source.options = vec![(STARTUP_MODE_OPTION.to_owned(), mode.to_owned())];
            logs.resolve(&mut graph).await.unwrap();
            log.append(rows(3..4), ALL).await.unwrap();
            logs.resolve(&mut graph).await.unwrap();
            let NodeKind::Source(source) = &graph.nodes[0].kind else { panic!("no source") };
            assert_eq!(option(&source.options, SEAM), began.as_deref(), "{mode}");
        }
    });
}

#[test]
fn what_could_not_be_written_is_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path().to_owned()).unwrap();
    log.append(&rows(0..2), ALL, NOW).unwrap();
    log.close();
    let mut log = Log::open(folder.path().to_owned()).unwrap();
    // Somebody has the next segment's name.
    fs::create_dir(segment_path(folder.path(), 2)).unwrap();
    assert!(log.append(&rows(2..3), ALL, NOW).is_err());
    fs::remove_dir(segment_path(folder.path(), 2)).unwrap();
    log.append(&rows(2..3), ALL, NOW).unwrap();
    assert_eq!(read(folder.path()), [0, 1, 2]);
}

#[test]
fn what_is_sent_again_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Log::open(folder.path().to_owned()).unwrap();
    let mut log = open();
    log.append(&[numbered("p", 1, 0..2), numbered("p", 2, 2..4), numbered("p", 1, 0..2)].concat(), ALL, NOW).unwrap();
    log.append(&[numbered("p", 2, 2..4), numbered("q", 1, 4..5)].concat(), ALL, NOW).unwrap();
    // What is in front of the last segment is known from its beginning.
    for _ in 0..2 {
        log = open();
        log.append(&[numbered("p", 2, 2..4), rows(5..6)].concat(), ALL, NOW).unwrap();
    }
    // The process ends before anything is in the segment that it has begun.
    fs::write(segment_path(folder.path(), 4), [7; 20]).unwrap();
    log = open();
    log.append(&[numbered("q", 1, 4..5), numbered("p", 3, 6..7)].concat(), ALL, NOW).unwrap();
    assert_eq!(read(folder.path()), [0, 1, 2, 3, 4, 5, 5, 6]);
    // One that was refused counts as not sent.
    let full = log.append(&numbered("p", 4, 7..8), at_most(10), NOW).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::QuotaExceeded);
    log.append(&numbered("p", 4, 7..8), ALL, NOW).unwrap();
    log.append(&numbered("p", 4, 7..8), ALL, NOW).unwrap();
    assert_eq!(read(folder.path()), [0, 1, 2, 3, 4, 5, 5, 6, 7]);
}

#[test]
fn large_batches_are_parted() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path().to_owned()).unwrap();
    log.append(&rows(0..3_000_000), ALL, NOW).unwrap();
    let mut reader = LogReader::new(folder.path().to_owned(), Place::default());
    let mut sizes = Vec::new();
    while let Some(rows) = reader.next_rows().unwrap() {
        sizes.push(rows.num_rows());
    }
    assert_eq!(sizes, [1_000_000; 3]);
}

#[test]
fn rows_fit_by_name_and_are_cast() {
    let columns = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", DataType::Float64, true),
    ]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("1.5"), None]));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2)]));
    let given =
        RecordBatch::try_from_iter_with_nullable([("c", Arc::clone(&texts), true), ("a", numbers, true)]).unwrap();
    let fit = Fit::new(given.schema_ref(), Arc::clone(&columns)).unwrap();
    let fitted = fit.apply(&given).unwrap();
    let wanted: [ArrayRef; 3] = [
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(StringArray::new_null(2)),
        Arc::new(Float64Array::from(vec![Some(1.5), None])),
    ];
    assert_eq!(fitted.columns(), wanted);

    let nulls: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let given = RecordBatch::try_from_iter_with_nullable([("a", nulls, true)]).unwrap();
    let error = Fit::new(given.schema_ref(), Arc::clone(&columns)).unwrap().apply(&given).unwrap_err().to_string();
    assert!(error.contains("'a'"), "{error}");
    let given = RecordBatch::try_from_iter([("a", texts)]).unwrap();
    let error = Fit::new(given.schema_ref(), Arc::clone(&columns)).unwrap().apply(&given).unwrap_err().to_string();
    assert!(error.contains("column 'a'") && error.contains("1.5"), "{error}");
    let refused = |given: Field| Fit::new(&Schema::new(vec![given]), Arc::clone(&columns)).unwrap_err().to_string();
    assert!(refused(Field::new("d", DataType::Int64, true)).contains("no column 'd'; there are: a, b, c"));
    assert!(refused(Field::new("b", DataType::Utf8, true)).contains("column 'a' is missing"));
    let map = DataType::Struct(vec![Field::new("x", DataType::Int64, true)].into());
    assert!(refused(Field::new("a", map, true)).contains("cannot be cast to Int64"));
}

/// A log of five segments, each of a row, whose source says how much is kept.
struct Shortened {
    folder: tempfile::TempDir,
    kit: Kit,
    option: (&'static str, &'static str),
}

impl Shortened {
    async fn new(name: &'static str, value: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kit = self::kit(Some(folder.path().to_owned())).await;
        kit.logs.create("s").await.unwrap();
        let path = folder.path().join("s");
        for (row, segment) in (0..5).zip(1..) {
            // Each writer begins one.
            Log::open(path.clone()).unwrap().append(&rows(row..row + 1), ALL, NOW).unwrap();
            let file = OpenOptions::new().append(true).open(segment_path(&path, segment)).unwrap();
            file.set_modified(UNIX_EPOCH + NOW).unwrap();
        }
        Self { folder, kit, option: (name, value) }
    }

    /// A job that reads it, of which nothing else is known.
    async fn job(&self, number: u64) -> JobId {
        let mut graph = two_stage_graph(1, 1);
        let NodeKind::Source(source) = &mut graph.nodes[0].kind else { panic!("no source") };
        (source.table, source.connector) = (String::from("s"), String::from(PUSH_CONNECTOR));
        source.options = vec![(self.option.0.to_owned(), self.option.1.to_owned())];
        let (run, checkpoints) = (RunId::first(JobId(number)), String::from("here"));
        let (settings, objects, owner, failure) = (Settings::default(), None, None, None);
        let record = JobRecord { run, graph, settings, checkpoints, objects, owner, failure };
        self.kit.metadata.create(Some(record), Vec::<CatalogEntry>::new(), None).await.unwrap();
        run.job
    }

    /// A job has sealed a checkpoint that needs a segment; what there is then.
    async fn sealed(&self, job: JobId, epoch: u64, segment: u64) -> Vec<u64> {
        self.kit.logs.note_need(job, Epoch(epoch), LogNeed { source: String::from("s"), segment });
        self.kit.logs.keep_for(job, Epoch(epoch)).await;
        segments(&self.folder.path().join("s")).unwrap()
    }
}

#[test]
fn what_is_old_goes_once_all_jobs_have_read_it() {
    run(async {
        let log = Shortened::new(RETENTION_OPTION, "1h").await;
        let job = log.job(1).await;
        assert_eq!(log.sealed(job, 1, 3).await, [1, 2, 3, 4, 5]);
        log.kit.clock.advance(Duration::from_secs(3601));
        assert_eq!(log.sealed(job, 2, 3).await, [3, 4, 5]);
        // One that nobody knows anything of, and then that it has come less far.
        let other = log.job(2).await;
        assert_eq!(log.sealed(job, 3, 5).await, [3, 4, 5]);
        assert_eq!(log.sealed(other, 1, 4).await, [4, 5]);
        log.kit.metadata.forget_job(other).await.unwrap();
        assert_eq!(log.sealed(job, 4, 5).await, [5]);
        assert_eq!(read(&log.folder.path().join("s")), [4]);
        // The next row is behind the last one.
        let again = log.kit.logs.open_log("s").await.unwrap();
        again.append(rows(5..6), ALL).await.unwrap();
        assert_eq!(read(&log.folder.path().join("s")), [4, 5]);
    });
}

#[test]
fn what_a_savepoint_needs_is_kept_until_the_savepoint_is_gone() {
    run(async {
        let log = Shortened::new(BYTES_OPTION, "1").await;
        let job = log.job(1).await;
        let savepoint = log.folder.path().join("savepoint");
        fs::create_dir(&savepoint).unwrap();
        fs::write(savepoint.join(SAVEPOINT_FILE), "{}").unwrap();
        log.kit.logs.note_need(job, Epoch(1), LogNeed { source: String::from("s"), segment: 2 });
        log.kit.logs.hold(job, Epoch(1), savepoint.to_str().unwrap()).await.unwrap();
        assert_eq!(log.sealed(job, 2, 5).await, [2, 3, 4, 5]);
        fs::remove_dir_all(savepoint).unwrap();
        assert_eq!(log.sealed(job, 3, 5).await, [5]);
        assert!(holds::read(&log.folder.path().join("s")).unwrap().is_empty());
    });
}

#[test]
fn segments_end_early_where_little_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path().to_owned()).unwrap();
    let kept = |ms, bytes| Kept { retention: Retention { ms, bytes }, ..ALL };
    for _ in 0..3 {
        log.append(&rows(0..1), kept(None, Some(4)), NOW).unwrap();
    }
    assert_eq!(segments(folder.path()).unwrap(), [1, 2, 3]);
    let hour = kept(Some(3_600_000), None);
    assert!(!log.append(&rows(0..1), hour, NOW + Duration::from_secs(899)).unwrap());
    assert!(log.append(&rows(0..1), hour, NOW + Duration::from_secs(900)).unwrap());
}
