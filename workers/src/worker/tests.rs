//! A whole worker and a coordinator that only listens.

use std::io::Read;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use datafusion::logical_expr::col;
use tidemill_plans::ErrorDomain;
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::{Barrier, Epoch, JobId};
use tidemill_plans::node::{NodeKind, Projection, SinkNode, SourceNode};
use tidemill_plans::protocol::EventResponse;
use tidemill_plans::settings::Settings;
use tidemill_plans::stage::Stages;

use super::*;

const RUN: RunId = RunId::first(JobId(1));

fn barrier(epoch: u64) -> Barrier {
    Barrier { epoch: Epoch(epoch), is_checkpoint: false, may_overtake: false }
}

/// Passes events on.
struct Listener(mpsc::UnboundedSender<WorkerEvent>);

impl CoordinatorLink for Listener {
    fn send(&self, event: WorkerEvent) -> Reply<EventResponse> {
        let _ = self.0.send(event);
        Box::pin(async { Ok(EventResponse::Done) })
    }
}

async fn start(bind: Option<SocketAddr>) -> (WorkerHandle, mpsc::UnboundedReceiver<WorkerEvent>) {
    let (sender, events) = mpsc::unbounded_channel();
    let worker = WorkerHandle::start(
        WorkerConfig {
            slots: 2,
            bind,
            tls: None,
            scratch: std::env::temp_dir(),
            secret: None,
            batch_memory: None,
            streams: Default::default(),
        },
        Arc::new(Listener(sender)),
    )
    .await
    .unwrap();
    (worker, events)
}

/// A job without operators: enough for the life of a job.
fn empty_job(worker: WorkerId) -> WorkerRequest {
    let deployment = Box::new(Deployment {
        run: RUN,
        graph: DataflowGraph::default(),
        tasks: Vec::new(),
        workers: Vec::new(),
        settings: Settings::default(),
        checkpoints: None,
        restore: None,
        secrets: Vec::new(),
    });
    WorkerRequest::Deploy(worker, deployment)
}

/// A version of a model for its streams.
fn model() -> WorkerRequest {
    let (model, label) = (String::from("m"), String::new());
    let weights = Arc::new(ModelWeights { model, version: 1, learnt_to: 0, label, state: vec![1] });
    WorkerRequest::Model { run: RUN, reference: String::from("m@good"), weights }
}

async fn check(worker: &WorkerHandle, request: WorkerRequest, expected: &str) {
    let text = match worker.request(request).await.unwrap() {
        WorkerResponse::Done => String::from("done"),
        WorkerResponse::Damaged { message } => message,
        WorkerResponse::Failed { domain, message } => {
            assert_eq!(domain, ErrorDomain::Internal);
            message
        }
    };
    assert_eq!(text, expected);
}

#[test]
fn a_job_is_deployed_started_stopped_and_forgotten() {
    System::new().block_on(async {
        let (worker, _events) = start(None).await;
        worker.set_id(WorkerId(7));
        check(&worker, WorkerRequest::Start(RUN), "job-1 is not deployed here").await;
        check(&worker, empty_job(WorkerId(7)), "done").await;
        check(&worker, empty_job(WorkerId(7)), "job-1 is already deployed here").await;
        check(&worker, WorkerRequest::Start(RUN), "done").await;
        check(&worker, WorkerRequest::Barrier(RUN, barrier(1)), "done").await;
        check(&worker, model(), "done").await;
        check(&worker, WorkerRequest::Stop(RUN, StopMode::Drain), "done").await;
        check(&worker, WorkerRequest::Stop(RUN, StopMode::Cut), "done").await;
        check(&worker, WorkerRequest::Stop(RUN, StopMode::Cancel), "done").await;
        check(&worker, WorkerRequest::Barrier(RUN, barrier(2)), "job-1 is not deployed here").await;
        check(&worker, model(), "job-1 is not deployed here").await;
        check(&worker, WorkerRequest::Release(RUN), "done").await;
        check(&worker, WorkerRequest::Release(RUN), "done").await;
        check(&worker, empty_job(WorkerId(7)), "done").await;
    });
}

#[test]
fn a_deployment_that_overtakes_the_registration_brings_the_id_and_one_for_another_worker_is_refused() {
    System::new().block_on(async {
        let (worker, mut events) = start(None).await;
        check(&worker, empty_job(WorkerId(7)), "done").await;
        let heartbeat = events.recv().await.unwrap();
        assert!(matches!(heartbeat, WorkerEvent::Heartbeat { worker: WorkerId(7), .. }));
        check(&worker, empty_job(WorkerId(8)), "this is worker-7, but worker-8 was addressed").await;
        worker.set_id(WorkerId(7));
        check(&worker, WorkerRequest::Start(RUN), "done").await;
    });
}

#[test]
fn a_worker_with_an_id_sends_heartbeats_and_stops_on_request() {
    System::new().block_on(async {
        let (worker, mut events) = start(Some(SocketAddr::from(([127, 0, 0, 1], 0)))).await;
        assert!(worker.data_address().starts_with("http://127.0.0.1:"));
        worker.set_id(WorkerId(7));
        let heartbeat = events.recv().await.unwrap();
        assert!(matches!(heartbeat, WorkerEvent::Heartbeat { worker: WorkerId(7), .. }));
        check(&worker, empty_job(WorkerId(7)), "done").await;
        check(&worker, WorkerRequest::Shutdown, "done").await;
        assert_eq!(worker.stopped().await, StopCause::Shutdown);
        // The last handle ends the actor: its link to the coordinator is dropped.
        drop(worker);
        while events.recv().await.is_some() {}
    });
}

#[test]
fn an_address_in_use_is_named() {
    System::new().block_on(async {
        let (worker, _events) = start(Some(SocketAddr::from(([127, 0, 0, 1], 0)))).await;
        let config = WorkerConfig {
            slots: 1,
            bind: worker.bound_address(),
            tls: None,
            scratch: std::env::temp_dir(),
            secret: None,
            batch_memory: None,
            streams: Default::default(),
        };
        let (sender, _events) = mpsc::unbounded_channel();
        let error = WorkerHandle::start(config, Arc::new(Listener(sender))).await.err().unwrap();
        assert!(error.to_string().contains(&worker.bound_address().unwrap().to_string()), "{error}");
    });
}

#[tokio::test]
async fn a_worker_needs_an_actix_system() {
    let (sender, _events) = mpsc::unbounded_channel();
    let config = WorkerConfig {
        slots: 1,
        bind: None,
        tls: None,
        scratch: std::env::temp_dir(),
        secret: None,
        batch_memory: None,
        streams: Default::default(),
    };
    let refused = WorkerHandle::start(config, Arc::new(Listener(sender))).await.err().unwrap();
    assert!(matches!(refused, WorkersError::NoSystem));
}

fn option(name: &str, value: &str) -> (String, String) {
    (String::from(name), String::from(value))
}

/// Reads CSV files and sends their rows by hash to the sinks of a result.
fn files_to_result(folder: &Path) -> DataflowGraph {
    files_to("result", Vec::new(), folder, Vec::new())
}

/// Reads CSV files and sends their rows by hash to part files in `out`.
fn files_to_files(folder: &Path, pace: Option<&str>) -> DataflowGraph {
    let out = folder.join("out").display().to_string();
    let pace = pace.map(|rate| option("rows_per_second", rate));
    files_to("files", vec![option("path", &out), option("format", "csv")], folder, pace.into_iter().collect())
}

/// Sources of the CSV files in a folder and sinks, two subtasks each.
fn files_to(
    sink: &str,
    sink_options: Vec<(String, String)>,
    folder: &Path,
    mut source_options: Vec<(String, String)>,
) -> DataflowGraph {
    let schema: SchemaRef =
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("text", DataType::Utf8, true)]));
    let path = folder.join("*.csv").display().to_string();
    source_options.extend([option("path", &path), option("format", "csv")]);
    let projection = ["n", "text"].map(|name| Projection { name: String::from(name), expr: StreamExpr(col(name)) });
    let source = SourceNode {
        table: String::from("numbers"),
        connector: String::from("files"),
        options: source_options,
        declared: schema.fields().iter().map(|field| field.name().clone()).collect(),
        columns: StreamSchema(Arc::clone(&schema)),
        projection: projection.to_vec(),
        event_time: None,
        upsert_key: Vec::new(),
    };
    let sink = SinkNode {
        table: String::from("1"),
        connector: String::from(sink),
        options: sink_options,
        time: None,
        upsert_keys: Vec::new(),
        order_by: Vec::new(),
        limit: None,
        live: false,
    };
    let mut graph = DataflowGraph::default();
    let from = graph.add_node(NodeKind::Source(source), 2, Arc::clone(&schema));
    let to = graph.add_node(NodeKind::Sink(sink), 2, schema);
    graph.add_edge(from, to, 0, Partitioning::Hash(vec![0]));
    graph
}

/// Two workers, each with one subtask of every stage, and their common coordinator's ear.
struct Pair {
    workers: [WorkerHandle; 2],
    events: mpsc::UnboundedReceiver<WorkerEvent>,
}

impl Pair {
    async fn start() -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let config = WorkerConfig {
            slots: 1,
            bind: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            tls: None,
            scratch: std::env::temp_dir(),
            secret: None,
            batch_memory: None,
            streams: Default::default(),
        };
        let start = || WorkerHandle::start(config.clone(), Arc::new(Listener(sender.clone())));
        let workers = [start().await.unwrap(), start().await.unwrap()];
        for (index, worker) in workers.iter().enumerate() {
            worker.set_id(WorkerId(index as u32));
        }
        Self { workers, events }
    }

    /// Deploys and starts on both; the first worker's complaint otherwise.
    async fn run(&self, graph: DataflowGraph) -> Result<(), String> {
        self.run_with(Settings { source_batch_rows: 100, ..Settings::default() }, graph).await
    }

    async fn run_with(&self, settings: Settings, graph: DataflowGraph) -> Result<(), String> {
        let tasks = Stages::of(&graph).unwrap().tasks().map(|task| (task, WorkerId(task.subtask))).collect();
        let addresses = self.workers.iter().map(WorkerHandle::data_address);
        let workers = addresses.enumerate().map(|(index, address)| (WorkerId(index as u32), address)).collect();
        let settings = Settings { channel_bytes: 4096, ..settings };
        let (checkpoints, restore, secrets) = (None, None, Vec::new());
        let deployment = Deployment { run: RUN, graph, tasks, workers, settings, checkpoints, restore, secrets };
        for (index, worker) in self.workers.iter().enumerate() {
            let request = WorkerRequest::Deploy(WorkerId(index as u32), Box::new(deployment.clone()));
            ask(worker, request).await?;
        }
        self.all(WorkerRequest::Start(RUN)).await
    }

    /// Waits until the sinks of both workers have been given rows.
    async fn until_sinks_have_rows(&mut self) {
        let mut seen = [false; 2];
        while seen != [true; 2] {
            if let WorkerEvent::Heartbeat { worker, metrics, .. } = self.events.recv().await.unwrap() {
                seen[worker.0 as usize] |= metrics.iter().any(|metrics| metrics.operator.0 == 1 && metrics.rows_in > 0);
            }
        }
    }

    async fn all(&self, request: WorkerRequest) -> Result<(), String> {
        for worker in &self.workers {
            ask(worker, request.clone()).await?;
        }
        Ok(())
    }
}

async fn ask(worker: &WorkerHandle, request: WorkerRequest) -> Result<(), String> {
    match worker.request(request).await.unwrap() {
        WorkerResponse::Done => Ok(()),
        WorkerResponse::Failed { message, .. } | WorkerResponse::Damaged { message } => Err(message),
    }
}

#[test]
fn two_workers_run_a_job_between_them_and_no_row_is_lost() {
    System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        for file in 0..4 {
            let rows: String = (0..1000).map(|row| format!("{},row {row}\n", file * 1000 + row)).collect();
            std::fs::write(folder.path().join(format!("{file}.csv")), format!("n,text\n{rows}")).unwrap();
        }
        let mut pair = Pair::start().await;
        pair.run(files_to_result(folder.path())).await.unwrap();
        let mut numbers = Vec::new();
        let mut finished = Vec::new();
        let mut seen = [0_u64; 2];
        while finished.len() < 4 {
            match pair.events.recv().await.unwrap() {
                WorkerEvent::ResultRows { ipc, .. } => {
                    let batches = StreamReader::try_new(ipc.as_slice(), None).unwrap();
                    let batches: Vec<RecordBatch> = batches.map(|batch| batch.unwrap()).collect();
                    numbers.extend(
                        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()),
                    );
                }
                WorkerEvent::Heartbeat { worker, metrics, .. } if !metrics.is_empty() => {
                    let sinks = metrics.iter().filter(|metrics| metrics.operator.0 == 1);
                    seen[worker.0 as usize] = sinks.map(|metrics| metrics.rows_in).sum();
                }
                WorkerEvent::Heartbeat { .. } => {}
                WorkerEvent::TaskFinished { task, .. } => finished.push(task),
                other => panic!("{other:?}"),
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..4000).collect::<Vec<i64>>());
        // The heartbeats before the last tasks' ends were complete.
        assert_eq!(seen.iter().sum::<u64>(), 4000);
        pair.all(WorkerRequest::Release(RUN)).await.unwrap();
    });
}

fn write_rows(folder: &Path, files: u32, rows: u32) {
    for file in 0..files {
        let rows: String = (0..rows).map(|row| format!("{},{}\n", file * rows + row, "text ".repeat(12))).collect();
        std::fs::write(folder.join(format!("{file}.csv")), format!("n,text\n{rows}")).unwrap();
    }
}

/// The files that sinks have left, and their lines.
fn sink_files(folder: &Path) -> Vec<(String, usize)> {
    let mut files: Vec<(String, usize)> = std::fs::read_dir(folder.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let lines = std::fs::read_to_string(entry.path()).unwrap().lines().count();
            (entry.file_name().into_string().unwrap(), lines)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_job_that_is_cut_leaves_complete_files_on_every_worker() {
    System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        write_rows(folder.path(), 2, 20_000);
        let mut pair = Pair::start().await;
        pair.run(files_to_files(folder.path(), Some("1000"))).await.unwrap();
        pair.until_sinks_have_rows().await;
        // One worker long before the other: its sink is gone while the other's still gets rows.
        pair.all(WorkerRequest::Stop(RUN, StopMode::Cut)).await.unwrap();
        let files = sink_files(folder.path());
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["part-0.csv", "part-1.csv"]);
        assert!(files.iter().all(|(_, lines)| *lines > 1), "{files:?}");
        pair.all(WorkerRequest::Release(RUN)).await.unwrap();
        assert_eq!(sink_files(folder.path()), files);
    });
}

#[test]
fn a_job_that_is_cancelled_leaves_nothing() {
    System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        write_rows(folder.path(), 2, 20_000);
        let mut pair = Pair::start().await;
        pair.run(files_to_files(folder.path(), Some("1000"))).await.unwrap();
        pair.until_sinks_have_rows().await;
        pair.all(WorkerRequest::Stop(RUN, StopMode::Cancel)).await.unwrap();
        assert_eq!(sink_files(folder.path()), []);
    });
}

/// Takes the first byte from a pipe, says so, and the rest when it may.
fn read_slowly(
    pipe: &Path,
) -> (std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>, std::thread::JoinHandle<u64>) {
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let pipe = pipe.to_owned();
    let reader = std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(pipe).unwrap();
        pipe.read_exact(&mut [0]).unwrap();
        begun.send(()).unwrap();
        may_go_on.recv().unwrap();
        std::io::copy(&mut pipe, &mut std::io::sink()).unwrap()
    });
    (has_begun, go_on, reader)
}

#[test]
fn a_shutdown_waits_for_a_tear_down_that_is_under_way() {
    System::new().block_on(async {
        // Bad rows, and for them a pipe that holds less than they are: its writer waits for the reader.
        let folder = tempfile::tempdir().unwrap();
        let bad = "no number,text\n".repeat(5_000);
        std::fs::write(folder.path().join("0.csv"), format!("n,text\n{bad}")).unwrap();
        let pipe = folder.path().join("letters");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (begun, go_on, reader) = read_slowly(&pipe);
        let pair = Pair::start().await;
        let mut graph = files_to_files(folder.path(), None);
        graph.nodes.iter_mut().for_each(|node| node.parallelism = 1);
        let dead_letter_path = pipe.display().to_string();
        pair.run_with(Settings { dead_letter_path, ..Settings::default() }, graph).await.unwrap();
        tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
        let worker = &pair.workers[0];
        let mut cancelled = worker.request(WorkerRequest::Stop(RUN, StopMode::Cancel));
        let mut ended = worker.request(WorkerRequest::Shutdown);
        let early = tokio::time::timeout(Duration::from_millis(50), futures::future::join(&mut cancelled, &mut ended));
        assert!(early.await.is_err());
        assert!(futures::poll!(&mut ended).is_pending(), "a thread of the job still writes");
        go_on.send(()).unwrap();
        assert_eq!(cancelled.await.unwrap(), WorkerResponse::Done);
        assert_eq!(ended.await.unwrap(), WorkerResponse::Done);
        drop(pair);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn a_deployment_that_fails_names_its_cause_and_leaves_nothing_behind() {
    System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let pair = Pair::start().await;
        let missing = pair.run(files_to_result(folder.path())).await.unwrap_err();
        assert!(missing.contains("no file matches"), "{missing}");
        std::fs::write(folder.path().join("0.csv"), "n,text\n1,a\n").unwrap();
        pair.run(files_to_result(folder.path())).await.unwrap();
        pair.all(WorkerRequest::Stop(RUN, StopMode::Cancel)).await.unwrap();
        pair.all(WorkerRequest::Release(RUN)).await.unwrap();
    });
}
