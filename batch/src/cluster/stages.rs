//! The stages of a plan as text: what EXPLAIN and EXPLAIN ANALYZE print of queries that workers run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::execution_plans::{ShuffleWriter, UnresolvedShuffleExec};
use ballista_scheduler::display::format_stage_metrics;
use ballista_scheduler::planner::{DefaultDistributedPlanner, DistributedPlanner};
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use ballista_scheduler::state::execution_stage::ExecutionStage;
use datafusion::common::internal_datafusion_err;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use tidemill_plans::batch::progress::Share;

use super::account::Stage;

/// How a plan is cut into stages, and how many there are.
pub(super) fn planned(plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> Result<(String, usize)> {
    let query = JobId::from("explained");
    let stages = DefaultDistributedPlanner::new().plan_query_stages(&query, plan, options);
    let stages = stages.map_err(|error| internal_datafusion_err!("the plan cannot be cut into stages: {error}"))?;
    let mut text = String::new();
    for stage in &stages {
        let plan = DisplayableExecutionPlan::new(as_plan(stage.as_ref())).indent(false).to_string();
        add(&mut text, stage.stage_id(), &plan);
    }
    Ok((text, stages.len()))
}

/// The tasks of a plan's stages, by number; none if the plan cannot be cut, of which the scheduler says more.
pub(super) fn tasks(plan: Arc<dyn ExecutionPlan>, options: &ConfigOptions) -> BTreeMap<u32, Stage> {
    let query = JobId::from("counted");
    let stages = DefaultDistributedPlanner::new().plan_query_stages(&query, plan, options).unwrap_or_default();
    let stage = |stage: &Arc<dyn ShuffleWriter>| {
        let writer = as_plan(stage.as_ref());
        // A task is a partition of what is written.
        let written = writer.children().first().map(|input| input.properties().output_partitioning().partition_count());
        let all = u32::try_from(written.unwrap_or(1).max(1)).unwrap_or(u32::MAX);
        let number = u32::try_from(stage.stage_id()).unwrap_or(u32::MAX);
        (number, Stage { tasks: Share { done: 0, all }, reads_tables: !reads_stages(writer) })
    };
    stages.iter().map(stage).collect()
}

/// Whether a plan reads what other stages have written. A plan's depth has a bound.
fn reads_stages(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<UnresolvedShuffleExec>() || plan.children().into_iter().any(|child| reads_stages(child.as_ref()))
}

/// What the stages of a plan have done.
pub(super) fn analyzed(graph: &ExecutionGraphBox) -> (String, usize) {
    let mut stages: Vec<_> = graph.stages().iter().collect();
    stages.sort_unstable_by_key(|(id, _)| **id);
    let mut text = String::new();
    for (id, stage) in &stages {
        let plan = match stage {
            ExecutionStage::Successful(stage) => format_stage_metrics(stage.plan.as_ref(), &stage.stage_metrics),
            other => DisplayableExecutionPlan::new(other.plan()).indent(false).to_string(),
        };
        add(&mut text, **id, &plan);
    }
    (text, stages.len())
}

fn add(text: &mut String, stage: usize, plan: &str) {
    // Writing to a text does not fail.
    let _ = writeln!(text, "Stage {stage}");
    for line in plan.trim_end().lines() {
        let _ = writeln!(text, "  {line}");
    }
}

fn as_plan(stage: &dyn ShuffleWriter) -> &dyn ExecutionPlan {
    stage
}
