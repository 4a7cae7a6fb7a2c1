//! The task loop itself, and the partitioning of batches by key.

use std::collections::HashMap;
use std::hint::black_box;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, Throughput};
use datafusion::logical_expr::{col, lit};
use tidemill_engine::state::Restore;
use tidemill_engine::task::{Message, NextSnapshot, OutEdge, Outbox, Receiver, TaskPlan, build_task, channel};
use tidemill_engine::testing::test_env;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::{ChannelId, JobId, RunId, StageId, TaskId};
use tidemill_plans::node::{FilterNode, NodeKind, ProjectNode, Projection};
use tidemill_plans::stage::Stages;

use crate::graph::{ROWS, add_input, add_sink, batch, schema};

fn drain(receivers: &mut [Receiver], cx: &mut Context<'_>) {
    for receiver in receivers {
        while let Poll::Ready(Ok(message)) = receiver.poll_recv(cx) {
            black_box(message);
        }
    }
}

/// channel -> Filter -> Project -> channel, one batch at a time. With a predicate that keeps every
/// row and plain columns, so that what is measured is the loop.
pub(crate) fn task_loop(c: &mut Criterion) {
    let mut graph = DataflowGraph::default();
    let input = add_input(&mut graph, schema());
    let filter = FilterNode { predicate: StreamExpr(lit(true)) };
    let filter = graph.add_node(NodeKind::Filter(filter), 1, schema());
    let columns = ["key", "name", "value", "ts"];
    let columns = columns.map(|name| Projection { name: String::from(name), expr: StreamExpr(col(name)) });
    let project = ProjectNode { columns: columns.to_vec() };
    let project = graph.add_node(NodeKind::Project(project), 1, schema());
    graph.add_edge(input, filter, 0, Partitioning::Rebalance);
    graph.add_edge(filter, project, 0, Partitioning::Forward);
    add_sink(&mut graph, project, schema(), Partitioning::Rebalance);
    let stages = Stages::of(&graph).expect("the graph is valid");
    let env = test_env().expect("no dead letter file is opened");
    let id = |edge| ChannelId { run: RunId::first(JobId(1)), edge, from: 0, to: 0 };
    let (to_task, from_outside) = channel(1 << 24);
    let (to_outside, from_task) = channel(1 << 24);
    let plan = TaskPlan {
        graph: &graph,
        stages: &stages,
        task: TaskId { stage: StageId(1), subtask: 0 },
        env: &env,
        receivers: HashMap::from([(id(0), from_outside)]),
        senders: HashMap::from([(id(2), to_outside)]),
        restore: Restore::default(),
        next_snapshot: NextSnapshot::default(),
    };
    let mut task = build_task(plan).expect("the stage can be built").task;
    let mut output = [from_task];
    let one = batch(0).slice(0, 1);
    c.bench_function("task loop: a batch through channel, filter, project, channel", |b| {
        let cx = &mut Context::from_waker(Waker::noop());
        b.iter(|| {
            to_task.send(Message::Batch(one.clone())).expect("the task holds the other end");
            task.poll(cx).expect("the task goes on");
            drain(&mut output, cx);
        });
    });
}

/// One batch by the hash of a key over four channels.
pub(crate) fn hash_partitioning(c: &mut Criterion) {
    let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| channel(1 << 26)).unzip();
    let mut outbox = Outbox::new(vec![OutEdge::new(Partitioning::Hash(vec![0]), senders, 0)]);
    let rows = batch(0);
    let mut group = c.benchmark_group("hash partitioning");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("8192 rows, 4 columns, to 4 channels", |b| {
        let cx = &mut Context::from_waker(Waker::noop());
        b.iter(|| {
            outbox.push(0, Message::Batch(rows.clone())).expect("the batch has the key");
            assert!(outbox.poll_flush(cx).is_ready());
            drain(&mut receivers, cx);
        });
    });
    group.finish();
}
