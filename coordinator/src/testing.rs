//! What the tests of this crate share: graphs, workers that only pretend, a clock that stands still.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::System;
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_plans::catalog::ModelVersion;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::{RunId, TaskId, WorkerId};
use tidemill_plans::node::{NodeKind, SourceNode, UnionNode};
use tidemill_plans::protocol::{
    CoordinatorLink, Reply, StopMode, WorkerEvent, WorkerLink, WorkerRequest, WorkerResponse,
};

use crate::clock::Clock;
use crate::job::RequestKind;

/// Runs a future in an actix system of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    System::new().block_on(future)
}

/// A source and a union behind it, joined by a hash edge.
pub(crate) fn two_stage_graph(first: u32, second: u32) -> DataflowGraph {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let source = SourceNode {
        table: "t".into(),
        connector: "files".into(),
        options: vec![],
        declared: schema.fields().iter().map(|field| field.name().clone()).collect(),
        columns: StreamSchema(Arc::clone(&schema)),
        projection: vec![],
        event_time: None,
        upsert_key: Vec::new(),
    };
    let mut graph = DataflowGraph::default();
    let from = graph.add_node(NodeKind::Source(source), first, Arc::clone(&schema));
    let to = graph.add_node(NodeKind::Union(UnionNode {}), second, schema);
    graph.add_edge(from, to, 0, Partitioning::Hash(vec![0]));
    graph
}

/// A small generator (xorshift64*), so that every run can be repeated from its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(value).unwrap() % n
    }
}

/// A version of a model.
pub(crate) fn model_version(model: &str, version: i64) -> ModelVersion {
    let metrics = vec![(String::from("auc"), 0.5)];
    ModelVersion { model: model.into(), version, learnt_to: version * 1000, rows_learnt: version * 10, metrics }
}

/// A clock that a test moves.
#[derive(Debug, Default)]
pub(crate) struct TestClock(Mutex<Duration>);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn calendar(&self) -> Duration {
        self.now()
    }
}

/// What a fake worker does with its tasks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Script {
    /// They finish as soon as they are started, behind these results.
    Finish { results: Vec<WorkerEvent> },
    /// They run until they are drained.
    Drain,
    /// They run until they are cut or cancelled.
    Hang,
    /// The worker refuses this request.
    Refuse(RequestKind),
}

/// A worker that keeps every request and plays its script.
pub(crate) struct FakeWorker {
    script: Script,
    coordinator: Arc<dyn CoordinatorLink>,
    state: Mutex<FakeState>,
}

#[derive(Default)]
struct FakeState {
    requests: Vec<String>,
    tasks: BTreeMap<RunId, Vec<TaskId>>,
    id: Option<WorkerId>,
}

impl FakeWorker {
    pub(crate) fn new(script: Script, coordinator: Arc<dyn CoordinatorLink>) -> Arc<Self> {
        Arc::new(Self { script, coordinator, state: Mutex::default() })
    }

    /// Tells the worker its id, which it needs to find its tasks.
    pub(crate) fn is(&self, id: WorkerId) {
        self.state.lock().unwrap().id = Some(id);
    }

    /// The requests so far, by kind.
    pub(crate) fn requests(&self) -> String {
        self.state.lock().unwrap().requests.join(" ")
    }

    fn note(&self, request: &WorkerRequest) -> WorkerResponse {
        let kind = RequestKind::of(request);
        let mut state = self.state.lock().unwrap();
        state.requests.push(format!("{kind:?}"));
        if let WorkerRequest::Deploy(_, deployment) = request {
            let id = state.id;
            let mine = deployment.tasks.iter().filter(|(_, on)| Some(*on) == id).map(|(task, _)| *task).collect();
            state.tasks.insert(deployment.run, mine);
        }
        if self.script == Script::Refuse(kind) {
            let message = String::from("refused by the script");
            return WorkerResponse::Failed { domain: tidemill_plans::ErrorDomain::User, message };
        }
        WorkerResponse::Done
    }

    /// The events that follow a request.
    fn play(&self, request: &WorkerRequest) -> Vec<WorkerEvent> {
        let (run, mut events) = match (&self.script, request) {
            (Script::Finish { results }, WorkerRequest::Start(run)) => (*run, results.clone()),
            (Script::Drain, WorkerRequest::Stop(run, StopMode::Drain)) => (*run, Vec::new()),
            _ => return Vec::new(),
        };
        let tasks = self.state.lock().unwrap().tasks.get(&run).cloned().unwrap_or_default();
        events.extend(tasks.into_iter().map(|task| WorkerEvent::TaskFinished { run, task, state: None }));
        events
    }
}

/// The fake as the coordinator calls it.
pub(crate) struct FakeLink(pub(crate) Arc<FakeWorker>);

impl WorkerLink for FakeLink {
    fn request(&self, request: WorkerRequest) -> Reply<WorkerResponse> {
        let worker = Arc::clone(&self.0);
        Box::pin(async move {
            let response = worker.note(&request);
            // Events before the answer: the hardest order that a real worker can produce.
            for event in worker.play(&request) {
                worker.coordinator.send(event).await?;
            }
            Ok(response)
        })
    }
}
