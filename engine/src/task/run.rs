//! Builds a task from the plan, and polls it.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tidemill_plans::PlanError;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{Barrier, ChannelId, Epoch, OperatorId, TaskId};
use tidemill_plans::node::{NodeKind, SourceNode};
use tidemill_plans::stage::{Stage, Stages};

use crate::clock;
use crate::connector;
use crate::error::{EngineError, Result};
use crate::metrics::OperatorStats;
use crate::operator::build_operator;
use crate::state::{Restore, Snapshot, StateReader};
use crate::task::chain::{Gathering, Slot, Target};
use crate::task::checkpoints::{Checkpoints, NextSnapshot, has_ended, position, watermarks};
use crate::task::{
    Chain, Inbox, Input, OperatorContext, OutEdge, Outbox, Passed, Receiver, Sender, SourceDriver, TaskEnv, channel,
};

/// Inputs handled, and parts of what follows from them sent, in one poll before other tasks of the same thread get their
/// turn.
const STEPS_PER_POLL: usize = 16;

/// A poll takes no more steps once it has taken so long, in nanoseconds.
const POLL_NS_MAX: u64 = 10_000_000;

/// What a poll came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskPoll {
    /// There is more to do: poll again soon.
    Yielded,
    /// Nothing to do: the waker will be called.
    Pending,
    /// The same, but changes are being gathered: poll again after so long at the latest.
    PendingFor(Duration),
    /// All input is handled, all output sent.
    Finished,
}

/// One instance of a stage.
pub struct Task {
    id: TaskId,
    is_io: bool,
    inbox: Inbox,
    chain: Chain,
    outbox: Outbox,
    head: Arc<OperatorStats>,
    blocked_since: Option<u64>,
    checkpoints: Checkpoints,
    /// What comes once the chain has done what it was told last.
    next: Next,
}

/// What comes next in a task.
#[derive(Debug, Clone, PartialEq)]
enum Next {
    /// An input.
    Input,
    /// A barrier is passed on: what came before it belongs to its epoch, downstream too.
    Barrier(Barrier),
    /// The chain's state is written, at a barrier that has been passed on.
    Passed(Barrier),
    /// The task ends.
    End,
    /// Nothing: it has ended.
    Ended,
}

impl Task {
    /// Does some work. After an error the task must be dropped.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Result<TaskPoll> {
        let started = clock::monotonic_ns();
        for _ in 0..STEPS_PER_POLL {
            if let Some(outcome) = self.step(cx)? {
                return Ok(outcome);
            }
            if clock::monotonic_ns().saturating_sub(started) > POLL_NS_MAX {
                break;
            }
        }
        Ok(TaskPoll::Yielded)
    }

    /// Sends what waits, and then does one thing; says what the poll comes to if there is nothing to do.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<Option<TaskPoll>> {
        if self.outbox.poll_flush(cx)?.is_pending() {
            self.blocked_since.get_or_insert_with(clock::monotonic_ns);
            return Ok(Some(TaskPoll::Pending));
        }
        self.note_unblocked();
        if self.chain.is_busy() {
            self.chain.go_on(&mut self.outbox)?;
            return self.settle().map(|()| None);
        }
        if self.next == Next::Ended {
            return Ok(Some(TaskPoll::Finished));
        }
        if self.chain.gathering_left().is_some_and(|left| left.is_zero()) {
            return self.chain.pause_due(&mut self.outbox).map(|()| None);
        }
        let input = self.inbox.poll(cx);
        if let Some((barrier, in_flight)) = self.inbox.take_in_flight() {
            self.checkpoints.complete(barrier, &in_flight)?;
        }
        match input {
            Poll::Pending => {
                let left = self.chain.gathering_left().into_iter().chain(self.inbox.wait_left()).min();
                Ok(Some(left.map_or(TaskPoll::Pending, TaskPoll::PendingFor)))
            }
            Poll::Ready(input) => self.handle(input?).map(|()| None),
        }
    }

    fn handle(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Barrier(barrier) => {
                self.next = Next::Barrier(barrier);
                self.chain.pause(&mut self.outbox)?;
                return self.settle();
            }
            Input::End(_) => self.next = Next::End,
            Input::Watermarks(ref watermarks) => self.checkpoints.note(watermarks),
            _ => {}
        }
        self.chain.handle(input, &mut self.outbox)?;
        self.settle()
    }

    /// Does what comes once the chain has done all that it was told.
    fn settle(&mut self) -> Result<()> {
        while !self.chain.is_busy() {
            match std::mem::replace(&mut self.next, Next::Input) {
                Next::Barrier(barrier) => {
                    self.next = Next::Passed(barrier);
                    self.chain.handle(Input::Barrier(barrier), &mut self.outbox)?;
                }
                Next::Passed(barrier) => self.checkpoints.pass(barrier, &self.inbox, &mut self.chain)?,
                Next::End => {
                    self.next = Next::Ended;
                    self.checkpoints.end(&mut self.chain)?;
                }
                next @ (Next::Input | Next::Ended) => {
                    self.next = next;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Ends the task where it is, as a stop does, and leaves the input that waits: for a job that does not
    /// drain in time. A sink completes its files with what it has.
    pub fn cut(&mut self) -> Result<()> {
        if self.next == Next::Ended {
            return Ok(());
        }
        self.next = Next::Ended;
        self.chain.cut(&mut self.outbox)?;
        self.checkpoints.end(&mut self.chain)
    }

    fn note_unblocked(&mut self) {
        if let Some(since) = self.blocked_since.take() {
            let blocked = clock::monotonic_ns().saturating_sub(since);
            OperatorStats::add(&self.head.blocked_ns, blocked as usize);
        }
    }

    /// Which task this is.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The counters of its operators.
    #[must_use]
    pub fn stats(&self) -> Vec<Arc<OperatorStats>> {
        self.chain.stats().collect()
    }

    /// Whether its operators keep a thread waiting: it must run on an I/O thread.
    #[must_use]
    pub fn is_io(&self) -> bool {
        self.is_io
    }

    /// The barriers that have passed since the last call.
    pub fn take_passed_barriers(&mut self) -> Vec<Passed> {
        self.checkpoints.take_passed()
    }

    /// The state that the task has ended with, once, if the job has checkpoints.
    pub fn take_final_state(&mut self) -> Option<Snapshot> {
        self.checkpoints.take_final()
    }

    /// Whether it shows the outside what sealed checkpoints cover. Then it must be kept after it has finished,
    /// until the last commit.
    #[must_use]
    pub fn commits(&self) -> bool {
        self.chain.commits()
    }

    /// The checkpoint of `epoch` is sealed; the last one, [`Epoch::END`], covers everything.
    pub fn commit(&mut self, epoch: Epoch) -> Result<()> {
        self.chain.commit(epoch)
    }
}

/// What a task is built from.
pub struct TaskPlan<'a> {
    /// The job's graph.
    pub graph: &'a DataflowGraph,
    /// Its stages.
    pub stages: &'a Stages,
    /// Which task to build.
    pub task: TaskId,
    /// What the job's tasks on this worker share.
    pub env: &'a TaskEnv,
    /// The receiving ends of the channels into this task.
    pub receivers: HashMap<ChannelId, Receiver>,
    /// The sending ends of the channels out of this task.
    pub senders: HashMap<ChannelId, Sender>,
    /// The state that it goes on from.
    pub restore: Restore<'a>,
    /// What is asked of its snapshots.
    pub next_snapshot: NextSnapshot,
}

/// A task, and the driver that feeds it if it heads a source.
pub struct BuiltTask {
    /// The task.
    pub task: Task,
    /// Reads the source; runs on an I/O thread beside the task.
    pub driver: Option<SourceDriver>,
}

/// Builds a task. Sources are opened here, so a missing file fails the deployment, not the run.
pub fn build_task(mut plan: TaskPlan<'_>) -> Result<BuiltTask> {
    let stage = plan.stages.stage(plan.task.stage)?.clone();
    let head = *stage.operators.first().ok_or_else(|| invalid("a stage without operators"))?;
    let stats = Arc::new(OperatorStats::new(plan.env.job, head, plan.task.subtask));
    let state = plan.restore.at(plan.task.subtask, stage.parallelism);
    let (inputs, driver) = match &plan.graph.node(head)?.kind {
        // Nothing to read, so its inbox says at once that everything has ended.
        NodeKind::Source(_) if has_ended(&state.task())? => (Vec::new(), None),
        NodeKind::Source(source) => {
            let (input, driver) = open_driver(&plan, source, stage.parallelism, &state.task(), &stats)?;
            (vec![input], Some(driver))
        }
        _ => (take_inputs(&mut plan, head)?, None),
    };
    let (slots, edges) = build_slots(&mut plan, &stage, &stats)?;
    let mut task = Task {
        id: plan.task,
        is_io: slots.iter().any(|slot| slot.operator.is_io()),
        checkpoints: Checkpoints::new(plan.env, driver.as_ref().map(SourceDriver::positions), plan.next_snapshot),
        inbox: Inbox::new(inputs).overtaking_after(plan.env.settings.barriers_overtake_after()),
        chain: Chain::new(slots),
        outbox: Outbox::new(edges),
        head: stats,
        blocked_since: None,
        next: Next::Input,
    };
    if !state.is_empty() {
        task.checkpoints.restore(&state, &mut task.inbox, &mut task.chain)?;
    }
    Ok(BuiltTask { task, driver })
}

/// Opens a source where it is to go on; the channel from its driver is the task's input.
fn open_driver(
    plan: &TaskPlan<'_>,
    source: &SourceNode,
    parallelism: u32,
    state: &StateReader<'_>,
    stats: &Arc<OperatorStats>,
) -> Result<((usize, String, Receiver), SourceDriver)> {
    let open = || {
        let mut opened = connector::open_source(source, plan.env, Arc::clone(stats), plan.task.subtask, parallelism)?;
        if let Some(position) = position(state)? {
            opened.seek(&position)?;
        }
        let (sender, receiver) = channel(plan.env.settings.channel_bytes as usize);
        let mut driver = SourceDriver::new(source, opened, sender, plan.env, stats)?;
        if let Some(watermark) = watermarks(state)?.into_iter().min() {
            driver.go_on_at(watermark);
        }
        Ok((receiver, driver))
    };
    let (receiver, driver) = open().map_err(|error| EngineError::Operator {
        operator: format!("Source {}", source.table),
        source: Box::new(error),
    })?;
    Ok(((0, source.table.clone(), receiver), driver))
}

fn invalid(reason: &str) -> EngineError {
    EngineError::Plan(PlanError::InvalidGraph(String::from(reason)))
}

/// The head's channels, each with its port. Sorted, so that the order does not depend on a hash map.
fn take_inputs(plan: &mut TaskPlan<'_>, head: OperatorId) -> Result<Vec<(usize, String, Receiver)>> {
    let mut channels: Vec<(ChannelId, Receiver)> = plan.receivers.drain().collect();
    channels.sort_by_key(|(id, _)| *id);
    let mut inputs = Vec::with_capacity(channels.len());
    for (id, receiver) in channels {
        let edge = plan.graph.edges.get(id.edge as usize).filter(|edge| edge.to == head);
        let edge = edge.ok_or_else(|| invalid("a channel that does not lead to the stage's head"))?;
        let from = plan.graph.node(edge.from)?;
        inputs.push((edge.port as usize, format!("{} {} ({id})", from.kind.name(), from.id), receiver));
    }
    Ok(inputs)
}

/// The operators of a stage in their places, and the edges that leave it.
fn build_slots(plan: &mut TaskPlan<'_>, stage: &Stage, head: &Arc<OperatorStats>) -> Result<(Vec<Slot>, Vec<OutEdge>)> {
    let place: HashMap<OperatorId, usize> = stage.operators.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut edges = Vec::new();
    let mut slots = Vec::with_capacity(stage.operators.len());
    for id in &stage.operators {
        let mut targets = Vec::new();
        for (index, edge) in plan.graph.outputs(*id) {
            match place.get(&edge.to) {
                Some(next) => targets.push(Target::Chained(*next)),
                None => {
                    let senders = take_senders(&mut plan.senders, index);
                    if senders.is_empty() {
                        return Err(invalid("an edge without channels"));
                    }
                    targets.push(Target::Edge(edges.len()));
                    edges.push(OutEdge::new(edge.partitioning.clone(), senders, plan.task.subtask));
                }
            }
        }
        let node = plan.graph.node(*id)?;
        let stats = match slots.is_empty() {
            true => Arc::clone(head),
            false => Arc::new(OperatorStats::new(plan.env.job, *id, plan.task.subtask)),
        };
        let name = format!("{} {id}", node.kind.name());
        let operator = build_operator(plan.graph, node, plan.task.subtask, plan.env)
            .map_err(|source| EngineError::Operator { operator: name.clone(), source: Box::new(source) })?;
        let longest = Duration::from_millis(plan.env.settings.update_interval_ms);
        let gathering = Gathering::for_at_most(operator.gathers_for().unwrap_or(longest));
        let held = plan.env.query_memory.hold(&name);
        let context = OperatorContext::new(name, plan.env.clone(), stats);
        slots.push(Slot { id: *id, operator, context, targets, gathering, held });
    }
    Ok((slots, edges))
}

/// The channels of an edge, in the order of the receiving subtasks.
fn take_senders(senders: &mut HashMap<ChannelId, Sender>, edge: usize) -> Vec<Sender> {
    let mut ids: Vec<ChannelId> = senders.keys().filter(|id| id.edge as usize == edge).copied().collect();
    ids.sort();
    ids.iter().filter_map(|id| senders.remove(id)).collect()
}

#[cfg(test)]
mod tests;
