//! The operators, in reading order, and the trait that they share.
//!
//! An operator is plain synchronous code: rows in, rows out. It looks at no clock and starts no thread, so a test
//! calls it directly (see [`crate::testing`]). It does no I/O but through its containers, which keep on local disk
//! what has no room in memory.

mod aggregate;
mod bad_rows;
mod by_number;
mod changed_keys;
mod changed_rows;
mod filter;
mod fit;
mod groups;
mod held_rows;
mod interval_join;
mod join;
mod key_index;
mod key_numbers;
mod late_rows;
mod late_split;
mod lookup_join;
mod normalize;
mod numbered_rows;
mod over_window;
mod panes;
mod partitions;
mod predict;
mod project;
mod recency;
mod session_window;
mod sessions;
mod sink;
mod sorted_rows;
mod source;
mod spilled_partitions;
mod state_rows;
mod temporal_join;
mod time_to_live;
mod top_n;
mod train;
mod union;
mod unnest;
mod unwritten_rows;
mod window_aggregate;
mod window_assign;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_plans::graph::{DataflowGraph, Node};
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::NodeKind;
use tidemill_plans::spread::spread_by;

use self::fit::FitTeam;
pub(crate) use self::project::Columns;
use crate::connector;
use crate::error::Result;
use crate::state::{StateReader, StateWriter};
use crate::task::{EndReason, OperatorContext, PortWatermarks, TaskEnv};

/// One instance of an operator.
///
/// A task calls it from one thread, one call at a time: batches and watermarks in the order of the
/// stream, a barrier when it has come on every input, and the end last. Output goes through the
/// context; what was emitted before a call returns is downstream before the next call. So whoever has much to
/// emit emits a slice of it, and says so: it is asked for the next one before anything else comes. An error ends
/// the job: rows that cannot be used go to [`OperatorContext::dead_letter`] instead.
pub trait Operator: Send {
    /// Rows have come on a port.
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()>;

    /// The watermark of a port has moved. Passes the minimum of all ports on, unless overridden.
    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    /// All has come that a source had when its job began. Told to sources alone.
    fn on_caught_up(&mut self, _ctx: &mut OperatorContext) -> Result<()> {
        Ok(())
    }

    /// Whether it has more to emit of what follows from the last call. Asked after every call.
    fn has_more(&self) -> bool {
        false
    }

    /// Emits the next slice: there is room for it. Called while [`Self::has_more`].
    fn on_more(&mut self, _ctx: &mut OperatorContext) -> Result<()> {
        Ok(())
    }

    /// Whether it has changes that it puts off until [`Self::on_pause`].
    fn has_gathered(&self) -> bool {
        false
    }

    /// For how long it gathers changes, if not for as long as the setting `update_interval` says.
    fn gathers_for(&self) -> Option<Duration> {
        None
    }

    /// What was put off is due: changes have been gathered for long enough, or a barrier comes. Called
    /// while [`Self::has_gathered`], now and then.
    fn on_pause(&mut self, _ctx: &mut OperatorContext) -> Result<()> {
        Ok(())
    }

    /// A barrier has come on every input; it is passed on when this returns.
    fn on_barrier(&mut self, _epoch: Epoch, _ctx: &mut OperatorContext) -> Result<()> {
        Ok(())
    }

    /// All inputs have ended. Before a `Finished` end came the infinite watermark.
    fn on_end(&mut self, _reason: EndReason, _ctx: &mut OperatorContext) -> Result<()> {
        Ok(())
    }

    /// Writes what it holds, when a barrier has come and before anything behind it. Nothing is gathered then.
    /// What was written leaves the operator as it was: it goes on, and one that is restored from it goes on
    /// in the same way.
    fn snapshot(&mut self, _state: &mut StateWriter<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes up what instances of it have written; called once, before everything else.
    fn restore(&mut self, _state: &StateReader<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether what it has counts when everything has ended: rows that it holds or has yet to show.
    fn is_sink(&self) -> bool {
        false
    }

    /// A sum over the hashes of the rows so far, if it was asked for. Asked after every call.
    fn checksum(&self) -> Option<u64> {
        None
    }

    /// Whether [`Self::commit`] does anything, so that its task has to wait for it.
    fn commits(&self) -> bool {
        false
    }

    /// The checkpoint of this epoch has been sealed: what was written to the outside up to it becomes visible.
    /// May be called again. [`Epoch::END`] covers what [`Self::on_end`] wrote.
    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    /// Bytes of state held, as far as it grows with the rows; zero for operators without state. Asked after
    /// every call, so it must not look through the state: what is held is counted as it comes and goes.
    fn state_bytes(&self) -> usize {
        0
    }

    /// Bytes of state on local disk, which had no room in memory.
    fn spilled_bytes(&self) -> u64 {
        0
    }

    /// Whether it waits for the outside, or computes for long in one call, so that its task must run on an I/O thread.
    fn is_io(&self) -> bool {
        false
    }
}

/// Builds the operator of a node, for one subtask.
pub fn build_operator(graph: &DataflowGraph, node: &Node, subtask: u32, env: &TaskEnv) -> Result<Box<dyn Operator>> {
    let inputs = graph.input_schemas(node.id)?;
    let output = Arc::clone(&node.schema.0);
    Ok(match &node.kind {
        NodeKind::Source(source) => Box::new(source::SourceOperator::new(source, output)?),
        NodeKind::Normalize(node) => Box::new(normalize::Normalize::new(node, &inputs[0], output, &env.state_memory)?),
        NodeKind::Project(project) => Box::new(project::Project::new(project, &inputs[0], output)?),
        NodeKind::Filter(filter) => Box::new(filter::Filter::new(filter, &inputs[0])?),
        NodeKind::WindowAssign(assign) => Box::new(window_assign::WindowAssign::new(assign, output)),
        NodeKind::SessionAssign(session) => {
            Box::new(session_window::SessionAssign::new(session, Arc::clone(&inputs[0]), output, &env.state_memory)?)
        }
        NodeKind::LateSplit(split) => {
            Box::new(late_split::LateSplit::new(split, &inputs[0], output, &env.state_memory)?)
        }
        NodeKind::WindowAggregate(aggregate) => Box::new(window_aggregate::WindowAggregate::new(
            aggregate,
            Arc::clone(&inputs[0]),
            output,
            &env.state_memory,
        )?),
        NodeKind::SessionWindow(session) => {
            Box::new(session_window::SessionWindow::new(session, Arc::clone(&inputs[0]), output, &env.state_memory)?)
        }
        NodeKind::Aggregate(aggregate) => {
            Box::new(aggregate::Aggregate::new(aggregate, Arc::clone(&inputs[0]), output, &env.state_memory)?)
        }
        NodeKind::Join(join) => Box::new(join::Join::new(join, &inputs[0], &inputs[1], output, &env.state_memory)?),
        NodeKind::IntervalJoin(join) => {
            Box::new(interval_join::IntervalJoin::new(join, &inputs[0], &inputs[1], output, &env.state_memory)?)
        }
        NodeKind::TemporalJoin(join) => {
            Box::new(temporal_join::TemporalJoin::new(join, &inputs[0], &inputs[1], output, &env.state_memory)?)
        }
        NodeKind::TopN(top) => top_n::build(top, Arc::clone(&inputs[0]), output, &env.state_memory)?,
        NodeKind::OverWindow(over) => over_window::build(over, Arc::clone(&inputs[0]), output, &env.state_memory)?,
        NodeKind::LookupJoin(join) => Box::new(lookup_join::LookupJoin::new(join, &inputs[0], output)?),
        NodeKind::Train(train) => Box::new(train::Train::new(train, Arc::clone(&inputs[0]), &env.state_memory)?),
        NodeKind::Fit(fit) => Box::new(fit::Fit::new(fit, &inputs[0], env, FitTeam::join(node, subtask, env))?),
        NodeKind::Predict(predict) => predict::operator(predict, &inputs[0], output, &env.state_memory),
        NodeKind::Unnest(unnest) => Box::new(unnest::Unnest::new(unnest, &inputs[0], output)),
        NodeKind::Union(_) => Box::new(union::Union::new(output)),
        NodeKind::Sink(sink) => {
            let writer = connector::open_sink(sink, node.id, subtask, node.parallelism, env, Arc::clone(&inputs[0]))?;
            let spread_by = spread_by(graph, node.id);
            Box::new(sink::SinkOperator::new(sink, Arc::clone(&inputs[0]), writer, spread_by, &env.state_memory))
        }
    })
}
