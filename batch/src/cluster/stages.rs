//! The stages of a plan as text: what EXPLAIN and EXPLAIN ANALYZE print of queries that workers run.

use std::fmt::Write;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::execution_plans::ShuffleWriter;
use ballista_scheduler::display::format_stage_metrics;
use ballista_scheduler::planner::{DefaultDistributedPlanner, DistributedPlanner};
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use ballista_scheduler::state::execution_stage::ExecutionStage;
use datafusion::common::internal_datafusion_err;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;

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
