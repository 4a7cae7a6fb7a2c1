//! How a query becomes a plan that can be executed: the same for those that run here and those that workers run, but for who
//! reads its tables and what can leave a process.

use std::path::PathBuf;
use std::sync::Arc;

use ballista_core::optimizer::ballista_default_optimizer_rules;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use tidemill_plans::batch::{BatchQuery, BoundedTable, Destination, TableReader};

use crate::arithmetic::CheckArithmetic;
use crate::bad_rows::{GuardProjections, guard_filters};
use crate::cluster;
use crate::copy::{Unfinished, written};
use crate::groups::Groups;
use crate::output::on_disk;
use crate::table::{Site, Texts};
use crate::views;

/// Plans one query.
pub(crate) struct Planner {
    pub(crate) state: SessionState,
    /// The parts that it is cut into.
    pub(crate) parts: usize,
    reader: Arc<dyn TableReader>,
    site: Site,
}

impl Planner {
    /// For a query that runs there, in so many parts.
    pub(crate) fn new(site: Site, parts: usize, runtime: Arc<RuntimeEnv>, reader: &Arc<dyn TableReader>) -> Self {
        let config = match site {
            Site::Here => SessionConfig::new(),
            Site::Workers => cluster::config(),
        };
        // The pool keeps room for merges.
        let config = config.with_target_partitions(parts).with_sort_spill_reservation_bytes(0);
        let mut rules = PhysicalOptimizer::new().rules;
        // Behind those that put rows in order, and in front of what puts projections into scans.
        let place = rules.iter().position(|rule| rule.name() == "ProjectionPushdown").unwrap_or_default();
        rules.insert(place, Arc::new(GuardProjections(Arc::clone(reader))));
        rules.insert(place, Arc::new(CheckArithmetic));
        let state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime);
        let state = match site {
            Site::Here => state,
            // A NOT IN that knows of NULL would need all rows in one process.
            Site::Workers => state.with_optimizer_rules(ballista_default_optimizer_rules()),
        };
        let state = state.with_physical_optimizer_rules(rules).build();
        Self { state, parts, reader: Arc::clone(reader), site }
    }

    /// The plan of a query that writes there; `files` gets those that DataFusion reads.
    pub(crate) async fn plan(
        &self,
        query: &BatchQuery,
        output: Option<&Unfinished>,
        files: &mut Vec<PathBuf>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (plan, reader, site) = (query.plan.clone(), Arc::clone(&self.reader), self.site);
        // It looks at files.
        let (plan, found) = on_disk(move || with_providers(plan, site, &reader)).await?;
        *files = found;
        let plan = match &query.destination {
            Destination::Files(target) => {
                let path = output.map_or_else(|| PathBuf::from(&target.path), Unfinished::path);
                written(views::as_promised(plan, &query.columns)?, target, &path)?
            }
            Destination::Asker | Destination::Sink(_) => plan,
        };
        guard_filters(self.state.create_physical_plan(&plan).await?, &self.reader)
    }
}

/// A plan whose tables are what reads them, the same wherever a table is named; and the files that DataFusion reads.
fn with_providers(plan: LogicalPlan, site: Site, reader: &Arc<dyn TableReader>) -> Result<(LogicalPlan, Vec<PathBuf>)> {
    let mut files = Vec::new();
    let mut known: Vec<Groups> = Vec::new();
    // Views would be written with all that they are views of.
    let texts = if site == Site::Here && views::fit(&plan)? { Texts::Views } else { Texts::AsDeclared };
    let provided = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::TableScan(scan) = plan else {
            return match texts {
                Texts::AsDeclared => Ok(Transformed::no(plan)),
                Texts::Views => plan.recompute_schema().map(Transformed::yes),
            };
        };
        let Some(table) = scan.source.downcast_ref::<BoundedTable>().cloned() else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        if !known.iter().any(|groups| groups.is_of(&table)) {
            known.push(Groups::of(&table, (texts, site), reader, &mut files)?);
        }
        let groups = known.iter().find(|groups| groups.is_of(&table));
        let groups = groups.ok_or_else(|| DataFusionError::Internal(String::from("a table without files")))?;
        groups.in_place_of(scan).map(Transformed::yes)
    });
    Ok((provided?.data, files))
}
