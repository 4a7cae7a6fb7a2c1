//! Whole tasks, polled by hand.

use std::fs;
use std::sync::Mutex;
use std::task::Waker;
use std::thread;

use arrow::array::RecordBatch;
use crossbeam::channel::{Sender as Commands, unbounded};
use datafusion::logical_expr::{Expr, col, lit};
use expect_test::{Expect, expect};
use tempfile::TempDir;
use tidemill_plans::connector::{RESULT_CONNECTOR, VIEW_CONNECTOR};
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::graph::Partitioning;
use tidemill_plans::ids::{Barrier, Epoch, RunId};
use tidemill_plans::node::{
    EventTimeSpec, FilterNode, NullEventTime, PROCTIME_COLUMN, ProjectNode, Projection, SinkNode, SourceNode,
    WindowAggregateNode, WindowSpec,
};
use tidemill_plans::protocol::OperatorMetrics;
use tidemill_plans::settings::Settings;
use tidemill_plans::time::{EventTime, Watermark};

use super::*;
use crate::task::{DriverCommand, ResultPort};
use crate::testing::graph::{call, exprs, schema};
use crate::testing::{show_rows, test_env};

/// The ends of a task's channels: those it sends to and those it receives from.
type Ends = (HashMap<ChannelId, Sender>, HashMap<ChannelId, Receiver>);

/// Keeps the rows of a result.
#[derive(Default)]
struct Session(Mutex<Vec<String>>);

impl ResultPort for Session {
    fn send(&self, _operator: OperatorId, batch: &RecordBatch) -> Result<()> {
        self.0.lock().unwrap().extend(show_rows(batch)?.lines().map(String::from));
        Ok(())
    }
}

fn barrier(epoch: u64) -> Barrier {
    Barrier { epoch: Epoch(epoch), is_checkpoint: false, may_overtake: false }
}

fn columns(columns: &[&str]) -> Vec<Projection> {
    columns.iter().map(|name| Projection { name: String::from(*name), expr: StreamExpr(col(*name)) }).collect()
}

/// `source -> filter v > 0 -> project k, v, t`, at a parallelism of two, from CSV files.
fn pipeline(graph: &mut DataflowGraph, folder: &TempDir) -> OperatorId {
    let row = schema("k:text v:int t:time");
    let source = NodeKind::Source(SourceNode {
        table: String::from("t"),
        connector: String::from("files"),
        options: vec![
            (String::from("path"), folder.path().display().to_string()),
            (String::from("format"), String::from("csv")),
        ],
        declared: row.fields().iter().map(|field| field.name().clone()).collect(),
        columns: StreamSchema(Arc::clone(&row)),
        projection: columns(&["k", "v", "t"]),
        event_time: Some(EventTimeSpec {
            column: 2,
            watermark: StreamExpr(col("t")),
            on_null: NullEventTime::DeadLetter,
        }),
        upsert_key: Vec::new(),
    });
    let source = graph.add_node(source, 2, Arc::clone(&row));
    let predicate = StreamExpr(col("v").gt(lit(0i64)));
    let filter = graph.add_node(NodeKind::Filter(FilterNode { predicate }), 2, Arc::clone(&row));
    let project = graph.add_node(NodeKind::Project(ProjectNode { columns: columns(&["k", "v", "t"]) }), 2, row);
    graph.add_edge(source, filter, 0, Partitioning::Forward);
    graph.add_edge(filter, project, 0, Partitioning::Forward);
    project
}

fn sink(connector: &str) -> NodeKind {
    NodeKind::Sink(SinkNode {
        table: String::from("out"),
        connector: connector.to_owned(),
        options: vec![],
        time: None,
        upsert_keys: vec![],
        order_by: vec![],
        limit: None,
        live: false,
    })
}

/// The pipeline, then windows of ten seconds by `k`, then a sink.
fn windows(folder: &TempDir, connector: &str) -> DataflowGraph {
    let mut graph = DataflowGraph::default();
    let project = pipeline(&mut graph, folder);
    let output = schema("k:text window_start:time window_end:time window_time:time sum:int");
    let window = WindowSpec::Tumble { size: 10_000_000, offset: 0 };
    let node = WindowAggregateNode {
        keys: vec![0],
        time: 2,
        window,
        aggregates: exprs([call("sum", "v")]),
        updates_within: 0,
    };
    let window = graph.add_node(NodeKind::WindowAggregate(node), 2, Arc::clone(&output));
    let sink = graph.add_node(sink(connector), 1, output);
    graph.add_edge(project, window, 0, Partitioning::Hash(vec![0]));
    graph.add_edge(window, sink, 0, Partitioning::Rebalance);
    graph
}

/// A job whose tasks this thread polls in turn.
struct Job {
    tasks: Vec<Task>,
    drivers: Vec<(thread::JoinHandle<Result<()>>, Commands<DriverCommand>)>,
    session: Arc<Session>,
    passed: Vec<(TaskId, Epoch)>,
}

impl Job {
    /// Builds every task; each driver is told `commands` before it runs.
    fn start(graph: &DataflowGraph, settings: Settings, commands: &[DriverCommand]) -> Self {
        Self::start_from(graph, settings, commands, &[])
    }

    /// The same, where the first stage has left this.
    fn start_from(graph: &DataflowGraph, settings: Settings, commands: &[DriverCommand], first: &[Snapshot]) -> Self {
        let session = Arc::new(Session::default());
        let results: Arc<dyn ResultPort> = Arc::<Session>::clone(&session);
        let env = TaskEnv { settings, results, checkpoints: Some(String::from("c")), ..test_env().unwrap() };
        let stages = Stages::of(graph).unwrap();
        let mut ends: HashMap<TaskId, Ends> = HashMap::new();
        for (id, from, to) in stages.channels(RunId::first(env.job), graph).unwrap() {
            let (sender, receiver) = channel(env.settings.channel_bytes as usize);
            ends.entry(from).or_default().0.insert(id, sender);
            ends.entry(to).or_default().1.insert(id, receiver);
        }
        let mut job = Self { tasks: Vec::new(), drivers: Vec::new(), session, passed: Vec::new() };
        for task in stages.tasks() {
            let (senders, receivers) = ends.remove(&task).unwrap_or_default();
            let built = build_task(TaskPlan {
                graph,
                stages: &stages,
                task,
                env: &env,
                receivers,
                senders,
                restore: if task.stage.0 == 0 { Restore::of_stage(first) } else { Restore::default() },
                next_snapshot: NextSnapshot::default(),
            })
            .unwrap();
            job.tasks.push(built.task);
            if let Some(driver) = built.driver {
                let (sender, receiver) = unbounded();
                for command in commands {
                    sender.send(*command).unwrap();
                }
                job.drivers.push((thread::spawn(move || driver.run(receiver)), sender));
            }
        }
        job
    }

    /// Polls these tasks until none has anything to do but wait; true once all have finished.
    fn poll_until_idle(&mut self, which: impl Fn(&Task) -> bool) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let (mut busy, mut finished) = (false, true);
            for task in self.tasks.iter_mut().filter(|task| which(task)) {
                let poll = task.poll(&mut cx).unwrap();
                self.passed.extend(task.take_passed_barriers().into_iter().map(|passed| (task.id(), passed.epoch)));
                busy |= poll == TaskPoll::Yielded;
                finished &= poll == TaskPoll::Finished;
            }
            if !busy {
                return finished;
            }
        }
    }

    fn run(&mut self) {
        while !self.poll_until_idle(|_| true) {
            thread::yield_now();
        }
        for (driver, _commands) in self.drivers.drain(..) {
            driver.join().unwrap().unwrap();
        }
    }

    /// The rows of the result, sorted.
    fn rows(&self) -> String {
        let mut rows = self.session.0.lock().unwrap().clone();
        rows.sort();
        rows.join("\n")
    }

    /// Rows that each instance of an operator has received.
    fn rows_in_each(&self, operator: u32) -> impl Iterator<Item = u64> {
        let stats = self.tasks.iter().flat_map(Task::stats).map(|stats| stats.snapshot());
        stats.filter(move |stats| stats.operator == OperatorId(operator)).map(|stats| stats.rows_in)
    }

    fn rows_in(&self, operator: u32) -> u64 {
        self.rows_in_each(operator).sum()
    }
}

/// Two files, so that each source subtask has one.
fn files(rows: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (index, rows) in rows.iter().enumerate() {
        fs::write(folder.path().join(format!("{index}.csv")), format!("k,v,t\n{rows}")).unwrap();
    }
    folder
}

const FIRST: &str =
    "a,1,1970-01-01 00:00:01\nb,2,1970-01-01 00:00:02\na,-9,1970-01-01 00:00:03\na,4,1970-01-01 00:00:21\n";
const SECOND: &str = "a,8,1970-01-01 00:00:05\nb,16,1970-01-01 00:00:15\nc,32,1970-01-01 00:00:22\n";

fn check(settings: Settings, commands: &[DriverCommand], expected: Expect) -> Job {
    let folder = files(&[FIRST, SECOND]);
    let mut job = Job::start(&windows(&folder, RESULT_CONNECTOR), settings, commands);
    job.run();
    expected.assert_eq(&job.rows());
    job
}

#[test]
fn a_job_reads_filters_exchanges_aggregates_and_delivers() {
    let job = check(
        Settings::default(),
        &[],
        expect![[r#"
        a @0 @10 @9.999999 9
        a @20 @30 @29.999999 4
        b @0 @10 @9.999999 2
        b @10 @20 @19.999999 16
        c @20 @30 @29.999999 32"#]],
    );
    assert_eq!([0, 1, 2, 3, 4].map(|operator| job.rows_in(operator)), [7, 7, 6, 6, 5]);
    assert_eq!(job.tasks.iter().filter(|task| task.is_io()).count(), 1, "only the sink waits for the outside");
}

#[test]
fn a_queue_of_one_byte_changes_nothing_but_time() {
    let settings = Settings { channel_bytes: 1, source_batch_rows: 1, ..Settings::default() };
    check(
        settings,
        &[],
        expect![[r#"
        a @0 @10 @9.999999 9
        a @20 @30 @29.999999 4
        b @0 @10 @9.999999 2
        b @10 @20 @19.999999 16
        c @20 @30 @29.999999 32"#]],
    );
}

#[test]
fn barriers_pass_through_every_task_in_order() {
    let commands = [DriverCommand::Barrier(barrier(1)), DriverCommand::Barrier(barrier(2))];
    let job = check(
        Settings::default(),
        &commands,
        expect![[r#"
        a @0 @10 @9.999999 9
        a @20 @30 @29.999999 4
        b @0 @10 @9.999999 2
        b @10 @20 @19.999999 16
        c @20 @30 @29.999999 32"#]],
    );
    for task in &job.tasks {
        let epochs: Vec<_> = job.passed.iter().filter(|(id, _)| *id == task.id()).map(|(_, epoch)| epoch.0).collect();
        assert_eq!(epochs, [1, 2], "{}", task.id());
    }
}

#[test]
fn time_that_follows_the_clock_goes_on_behind_what_was_promised_before_a_restart() {
    let folder = files(&["a,1,1970-01-01 00:00:01\n"]);
    let mut graph = DataflowGraph::default();
    pipeline(&mut graph, &folder);
    graph.nodes.truncate(1);
    graph.edges.clear();
    let NodeKind::Source(source) = &mut graph.nodes[0].kind else { panic!("the source is first") };
    let read_at = StreamExpr(Expr::Column(datafusion::common::Column::from_name(PROCTIME_COLUMN)));
    source.projection[2] = Projection { name: String::from("t"), expr: read_at };
    (source.columns, source.declared) = (StreamSchema(schema("k:text v:int")), vec!["k".into(), "v".into()]);
    let sink = graph.add_node(sink(RESULT_CONNECTOR), 1, schema("k:text v:int t:time"));
    graph.nodes[0].parallelism = 1;
    graph.add_edge(OperatorId(0), sink, 0, Partitioning::Forward);
    // In the year 2096; the clock has been set back since.
    let promised = Watermark(EventTime(4_000_000_000_000_000));
    let mut state = Snapshot::default();
    state.writer(Epoch(1)).value("watermarks", &vec![promised]).unwrap();
    let mut job = Job::start_from(&graph, Settings::default(), &[], &[state]);
    job.run();
    assert!(job.rows().starts_with("a 1 @4000000000"), "{}", job.rows());
}

/// A sink's task that has ended, restored: its counters.
fn ended_and_restored(graph: &DataflowGraph) -> OperatorMetrics {
    let mut job = Job::start(graph, Settings::default(), &[]);
    job.run();
    let sink = job.tasks.last_mut().unwrap();
    let (stages, env) =
        (Stages::of(graph).unwrap(), TaskEnv { checkpoints: Some(String::from("c")), ..test_env().unwrap() });
    let state = sink.take_final_state().unwrap().to_bytes().unwrap();
    let restore = [Snapshot::from_bytes(&state).unwrap()];
    let (receivers, senders) = (HashMap::new(), HashMap::new());
    let plan = TaskPlan {
        graph,
        stages: &stages,
        task: sink.id(),
        env: &env,
        receivers,
        senders,
        restore: Restore::of_stage(&restore),
        next_snapshot: NextSnapshot::default(),
    };
    build_task(plan).unwrap().task.stats()[0].snapshot()
}

#[test]
fn sinks_of_a_task_that_has_ended_still_have_what_they_had() {
    let folder = files(&[FIRST, SECOND]);
    let mut graph = windows(&folder, "blackhole");
    let checksum = |graph: &DataflowGraph| ended_and_restored(graph).checksum.unwrap();
    let NodeKind::Sink(node) = &mut graph.nodes[4].kind else { panic!("the sink is last") };
    node.options = vec![(String::from("checksum"), String::from("true"))];
    assert_ne!(checksum(&graph), 0);
    assert!(ended_and_restored(&windows(&folder, VIEW_CONNECTOR)).state_bytes > 0);
}

#[test]
fn a_stop_does_not_flush_open_windows() {
    // Told before they begin: not a row is read, and the windows and the sink end in order.
    check(Settings::default(), &[DriverCommand::Stop], expect![[""]]);

    // Told when all rows have been read at a pace that never ends: closed windows are out, open ones not.
    let folder = files(&[FIRST, SECOND]);
    let mut graph = windows(&folder, RESULT_CONNECTOR);
    if let NodeKind::Source(source) = &mut graph.nodes[0].kind {
        source.options.push((String::from("rows_per_second"), String::from("100")));
    }
    fs::write(folder.path().join("8.csv"), format!("k,v,t\n{}", "z,-1,1970-01-01 00:00:23\n".repeat(5000))).unwrap();
    fs::write(folder.path().join("9.csv"), format!("k,v,t\n{}", "z,-1,1970-01-01 00:00:23\n".repeat(5000))).unwrap();
    let mut job = Job::start(&graph, Settings { source_batch_rows: 4, ..Settings::default() }, &[]);
    while job.rows_in_each(0).any(|rows| rows < 6) {
        job.poll_until_idle(|_| true);
        thread::yield_now();
    }
    for (_, commands) in &job.drivers {
        commands.send(DriverCommand::Stop).unwrap();
    }
    job.run();
    expect![[r#"
        a @0 @10 @9.999999 9
        b @0 @10 @9.999999 2
        b @10 @20 @19.999999 16"#]]
    .assert_eq(&job.rows());
}

#[test]
fn a_sink_that_is_not_polled_holds_the_source_back() {
    let rows = "a,1,1970-01-01 00:00:01\n".repeat(2000);
    let folder = files(&[&rows, &rows]);
    let mut graph = DataflowGraph::default();
    let project = pipeline(&mut graph, &folder);
    let sink = graph.add_node(sink(RESULT_CONNECTOR), 1, schema("k:text v:int t:time"));
    graph.add_edge(project, sink, 0, Partitioning::Rebalance);
    let settings = Settings { channel_bytes: 1024, source_batch_rows: 10, ..Settings::default() };
    let mut job = Job::start(&graph, settings, &[]);
    // Long after the queues are full the source's tasks have moved on by what the queues hold only.
    let mut polls = 0;
    while job.rows_in(0) == 0 || polls < 1000 {
        job.poll_until_idle(|task| !task.is_io());
        thread::yield_now();
        polls += 1;
    }
    assert!((1..400).contains(&job.rows_in(0)), "{} rows", job.rows_in(0));
    job.run();
    assert_eq!(job.rows_in(3), 4000);
    let blocked = job.tasks.iter().flat_map(Task::stats).map(|stats| stats.snapshot().blocked_ns).max();
    assert!(blocked > Some(0));
}

#[test]
fn the_most_state_that_an_operator_held_is_remembered() {
    let folder = files(&[FIRST, SECOND]);
    let mut job = Job::start(&windows(&folder, RESULT_CONNECTOR), Settings::default(), &[]);
    job.run();
    let stats: Vec<_> = job.tasks.iter().flat_map(Task::stats).map(|stats| stats.snapshot()).collect();
    assert!(stats.iter().any(|stats| stats.state_bytes_max > 0), "windows hold rows");
    assert!(stats.iter().all(|stats| stats.state_bytes <= stats.state_bytes_max));
}

#[test]
fn a_cancelled_job_ends_without_an_end() {
    let folder = files(&[FIRST, SECOND]);
    let mut job = Job::start(&windows(&folder, RESULT_CONNECTOR), Settings::default(), &[DriverCommand::Cancel]);
    for (driver, _commands) in job.drivers.drain(..) {
        driver.join().unwrap().unwrap();
    }
    let mut cx = Context::from_waker(Waker::noop());
    let error = job.tasks[0].poll(&mut cx).unwrap_err();
    assert_eq!(error.to_string(), "t is gone");
    assert_eq!(job.rows(), "");
}

#[test]
fn what_windows_emit_when_they_close_waits_in_them_until_there_is_room() {
    let rows: String = (0..2000).map(|key| format!("k{key},1,1970-01-01 00:00:01\n")).collect();
    let folder = files(&[&rows, ""]);
    let settings = Settings { channel_bytes: 1, ..Settings::default() };
    let mut job = Job::start(&windows(&folder, RESULT_CONNECTOR), settings, &[]);
    let emitted = |job: &Job| -> u64 {
        let stats = job.tasks.iter().flat_map(Task::stats).map(|stats| stats.snapshot());
        stats.filter(|stats| stats.operator == OperatorId(3)).map(|stats| stats.rows_out).sum()
    };
    let mut polls = 0;
    while emitted(&job) == 0 || polls < 1000 {
        job.poll_until_idle(|task| !task.is_io());
        thread::yield_now();
        polls += 1;
    }
    // A slice in the queue and one before it, of each of two instances.
    assert!(emitted(&job) < 50, "{} rows", emitted(&job));
    job.run();
    assert_eq!((emitted(&job), job.rows_in(4)), (2000, 2000));
}
