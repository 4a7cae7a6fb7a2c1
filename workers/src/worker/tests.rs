//! A whole worker and a coordinator that only listens.

use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use datafusion::logical_expr::col;
use tidemill_plans::ErrorDomain;
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::{NodeKind, Projection, SinkNode, SourceNode};
use tidemill_plans::protocol::EventResponse;
use tidemill_plans::settings::Settings;
use tidemill_plans::stage::Stages;

use super::*;

const JOB: JobId = JobId(1);

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
    let worker = WorkerHandle::start(WorkerConfig { slots: 2, bind }, Arc::new(Listener(sender))).await.unwrap();
    (worker, events)
}

/// A job without operators: enough for the life of a job.
fn empty_job() -> WorkerRequest {
    WorkerRequest::Deploy(Box::new(Deployment {
        job: JOB,
        graph: DataflowGraph::default(),
        tasks: Vec::new(),
        workers: Vec::new(),
        settings: Settings::default(),
    }))
}

async fn check(worker: &WorkerHandle, request: WorkerRequest, expected: &str) {
    let text = match worker.request(request).await.unwrap() {
        WorkerResponse::Done => String::from("done"),
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
        check(&worker, empty_job(), "this worker is not registered yet").await;
        worker.set_id(WorkerId(7));
        check(&worker, WorkerRequest::Start(JOB), "job-1 is not deployed here").await;
        check(&worker, empty_job(), "done").await;
        check(&worker, empty_job(), "job-1 is already deployed here").await;
        check(&worker, WorkerRequest::Start(JOB), "done").await;
        check(&worker, WorkerRequest::Barrier(JOB, Epoch(1)), "done").await;
        check(&worker, WorkerRequest::Stop(JOB, StopMode::Drain), "done").await;
        check(&worker, WorkerRequest::Stop(JOB, StopMode::Cancel), "done").await;
        check(&worker, WorkerRequest::Barrier(JOB, Epoch(2)), "job-1 is not deployed here").await;
        check(&worker, WorkerRequest::Release(JOB), "done").await;
        check(&worker, WorkerRequest::Release(JOB), "done").await;
        check(&worker, empty_job(), "done").await;
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
        check(&worker, empty_job(), "done").await;
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
        let config = WorkerConfig { slots: 1, bind: worker.bound_address() };
        let (sender, _events) = mpsc::unbounded_channel();
        let error = WorkerHandle::start(config, Arc::new(Listener(sender))).await.err().unwrap();
        assert!(error.to_string().contains(&worker.bound_address().unwrap().to_string()), "{error}");
    });
}

#[tokio::test]
async fn a_worker_needs_an_actix_system() {
    let (sender, _events) = mpsc::unbounded_channel();
    let config = WorkerConfig { slots: 1, bind: None };
    let refused = WorkerHandle::start(config, Arc::new(Listener(sender))).await.err().unwrap();
    assert!(matches!(refused, WorkersError::NoSystem));
}

fn option(name: &str, value: &str) -> (String, String) {
    (String::from(name), String::from(value))
}

/// Reads CSV files and sends their rows by hash to the sinks of a result, two subtasks each.
fn files_to_result(folder: &Path) -> DataflowGraph {
    let schema: SchemaRef =
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("text", DataType::Utf8, true)]));
    let path = folder.join("*.csv").display().to_string();
    let projection = ["n", "text"].map(|name| Projection { name: String::from(name), expr: StreamExpr(col(name)) });
    let source = SourceNode {
        table: String::from("numbers"),
        connector: String::from("files"),
        options: vec![option("path", &path), option("format", "csv")],
        columns: StreamSchema(Arc::clone(&schema)),
        projection: projection.to_vec(),
        event_time: None,
    };
    let sink = SinkNode {
        table: String::from("1"),
        connector: String::from("result"),
        options: Vec::new(),
        time: None,
        upsert_keys: Vec::new(),
        order_by: Vec::new(),
        limit: None,
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
        let config = WorkerConfig { slots: 1, bind: Some(SocketAddr::from(([127, 0, 0, 1], 0))) };
        let start = || WorkerHandle::start(config, Arc::new(Listener(sender.clone())));
        let workers = [start().await.unwrap(), start().await.unwrap()];
        for (index, worker) in workers.iter().enumerate() {
            worker.set_id(WorkerId(index as u32));
        }
        Self { workers, events }
    }

    /// Deploys and starts on both; the first worker's complaint otherwise.
    async fn run(&self, graph: DataflowGraph) -> Result<(), String> {
        let tasks = Stages::of(&graph).unwrap().tasks().map(|task| (task, WorkerId(task.subtask))).collect();
        let addresses = self.workers.iter().map(WorkerHandle::data_address);
        let workers = addresses.enumerate().map(|(index, address)| (WorkerId(index as u32), address)).collect();
        let settings = Settings { channel_bytes: 4096, source_batch_rows: 100, ..Settings::default() };
        let deployment = Deployment { job: JOB, graph, tasks, workers, settings };
        self.all(WorkerRequest::Deploy(Box::new(deployment))).await?;
        self.all(WorkerRequest::Start(JOB)).await
    }

    async fn all(&self, request: WorkerRequest) -> Result<(), String> {
        for worker in &self.workers {
            if let WorkerResponse::Failed { message, .. } = worker.request(request.clone()).await.unwrap() {
                return Err(message);
            }
        }
        Ok(())
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
                WorkerEvent::Heartbeat { worker, metrics, .. } => {
                    let sinks = metrics.iter().filter(|metrics| metrics.operator.0 == 1);
                    seen[worker.0 as usize] = sinks.map(|metrics| metrics.rows_in).sum();
                }
                WorkerEvent::TaskFinished { task, .. } => finished.push(task),
                other => panic!("{other:?}"),
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..4000).collect::<Vec<i64>>());
        // The heartbeats before the last tasks' ends were complete.
        assert_eq!(seen.iter().sum::<u64>(), 4000);
        pair.all(WorkerRequest::Release(JOB)).await.unwrap();
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
        pair.all(WorkerRequest::Stop(JOB, StopMode::Cancel)).await.unwrap();
        pair.all(WorkerRequest::Release(JOB)).await.unwrap();
    });
}
