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
use datafusion::optimizer::Optimizer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use tidemill_plans::batch::{BatchQuery, BoundedTable, Destination};

use crate::arithmetic::CheckArithmetic;
use crate::bad_rows::{GuardProjections, guard_filters};
use crate::cluster::{self, PREFER_HASH_JOIN, Stays};
use crate::copy::written;
use crate::groups::Groups;
use crate::output::{Output, on_disk, planned_path};
use crate::probe_pieces::probe_in_pieces;
use crate::semi_join::with_pushed_semi_joins;
use crate::table::{Files, Site, Texts};
use crate::views;

/// Plans one query.
pub(crate) struct Planner {
    pub(crate) state: SessionState,
    /// The parts that it is cut into.
    pub(crate) parts: usize,
    files: Files,
}

impl Planner {
    /// For a query that runs where its files are read, in so many parts.
    pub(crate) fn new(files: Files, parts: usize, runtime: Arc<RuntimeEnv>) -> Self {
        let config = match files.site {
            Site::Here => SessionConfig::new(),
            Site::Workers => cluster::config(),
        };
        // The pool keeps room for merges.
        let mut config = config.with_target_partitions(parts).with_sort_spill_reservation_bytes(0);
        // It takes fields of structs, such as what a model says of a row, below the projection that names the rows' columns,
        // and keeps these there by their old names: where a column is called as another was, the plan has two of a name.
        config.options_mut().optimizer.enable_leaf_expression_pushdown = false;
        let mut rules = PhysicalOptimizer::new().rules;
        // Behind those that put rows in order, and in front of what puts projections into scans.
        let place = rules.iter().position(|rule| rule.name() == "ProjectionPushdown").unwrap_or_default();
        rules.insert(place, Arc::new(GuardProjections(Arc::clone(&files.reader))));
        rules.insert(place, Arc::new(CheckArithmetic));
        let state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime);
        let logical = match files.site {
            Site::Here => Optimizer::new().rules,
            // A NOT IN that knows of NULL would need all rows in one process.
            Site::Workers => ballista_default_optimizer_rules(),
        };
        let state = state.with_optimizer_rules(with_pushed_semi_joins(logical));
        let state = state.with_physical_optimizer_rules(rules).build();
        Self { state, parts, files }
    }

    /// The same with joins that sort rows, which have room on disk.
    pub(crate) fn with_sorted_joins(&self) -> Self {
        let config = self.state.config().clone().set_bool(PREFER_HASH_JOIN, false);
        let state = SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
        Self { state, parts: self.parts, files: self.files.clone() }
    }

    /// Makes room for a query's rows.
    pub(crate) async fn output(&self, query: &BatchQuery) -> Result<Output> {
        Output::begin(query, &self.files.reader, &self.files.objects).await
    }

    /// The plan of a query that writes there, or where it would; `found` gets the files that DataFusion reads.
    pub(crate) async fn plan(
        &self,
        query: &BatchQuery,
        path: Option<String>,
        found: &mut Vec<PathBuf>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.files.reading.begin();
        let (plan, files) = (query.plan.clone(), self.files.clone());
        // It looks at files.
        let (plan, of_datafusion) = on_disk(move || with_providers(plan, &files)).await?;
        *found = of_datafusion;
        let plan = match &query.destination {
            Destination::Files(target) => {
                let path = path.map_or_else(|| planned_path(target, &self.files.objects), Ok)?;
                written(views::as_promised(plan, &query.columns)?, target, path)?
            }
            Destination::Asker | Destination::Sink(_) => plan,
        };
        let plan = self.state.create_physical_plan(&plan).await?;
        probe_in_pieces(guard_filters(plan, &self.files.reader)?)
    }
}

/// A plan whose tables are what reads them, the same wherever a table is named; and the files that DataFusion reads.
fn with_providers(plan: LogicalPlan, readers: &Files) -> Result<(LogicalPlan, Vec<PathBuf>)> {
    let mut files = Vec::new();
    let mut known: Vec<Groups> = Vec::new();
    // Views would be written with all that they are views of.
    let texts = if readers.site == Site::Here && views::fit(&plan)? { Texts::Views } else { Texts::AsDeclared };
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
            if readers.site == Site::Workers && table.source.is_in_bucket() {
                let why = format!("'{}' is in a bucket, and those are read by the coordinator", table.source.table);
                return Err(DataFusionError::External(Box::new(Stays(why))));
            }
            known.push(Groups::of(&table, texts, readers, &mut files)?);
        }
        let groups = known.iter().find(|groups| groups.is_of(&table));
        let groups = groups.ok_or_else(|| DataFusionError::Internal(String::from("a table without files")))?;
        groups.in_place_of(scan).map(Transformed::yes)
    });
    Ok((provided?.data, files))
}
