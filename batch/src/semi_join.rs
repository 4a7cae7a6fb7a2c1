//! A semi join with few groups goes below the inner joins of the rows that it filters.
//!
//! `x IN (SELECT … GROUP BY … HAVING …)` becomes a semi join above all joins of its query, and DataFusion leaves it there: TPC-H's
//! query 18 then joins all orders with all of their lines, and drops all but one of 25,000. Where a HAVING has chosen the
//! groups, they are taken to be few, and the rows are filtered before they are joined. Without one nothing is moved: an
//! EXISTS may keep most rows, and those of a join may be fewer than those of its sides.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// See the module.
#[derive(Debug)]
pub(crate) struct PushDownSemiJoin;

/// The rule that it comes behind: from there on joins have their conditions.
const BEHIND: &str = "eliminate_cross_join";

type Rules = Vec<Arc<dyn OptimizerRule + Send + Sync>>;

/// Rules with this one among them.
pub(crate) fn with_pushed_semi_joins(mut rules: Rules) -> Rules {
    let place = rules.iter().position(|rule| rule.name() == BEHIND).map_or(rules.len(), |place| place + 1);
    rules.insert(place, Arc::new(PushDownSemiJoin));
    rules
}

impl OptimizerRule for PushDownSemiJoin {
    fn name(&self) -> &str {
        "push_down_semi_join"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(semi) = &plan else { return Ok(Transformed::no(plan)) };
        if semi.join_type != JoinType::LeftSemi || !are_chosen_groups(&semi.right) {
            return Ok(Transformed::no(plan));
        }
        Ok(match moved(&semi.left, semi, &columns_of_rows(semi))? {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(plan),
        })
    }
}

/// Whether rows are those of groups that a HAVING has chosen.
fn are_chosen_groups(plan: &LogicalPlan) -> bool {
    let mut is_filtered = false;
    let mut plan = plan;
    loop {
        plan = match plan {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Filter(filter) => {
                is_filtered = true;
                &filter.input
            }
            LogicalPlan::Aggregate(_) => return is_filtered,
            _ => return false,
        };
    }
}

/// What a semi join compares of the rows that it filters.
fn columns_of_rows(semi: &Join) -> HashSet<Column> {
    let compared = semi.on.iter().map(|(left, _)| left).chain(&semi.filter);
    let columns = compared.flat_map(Expr::column_refs).filter(|column| semi.left.schema().has_column(column));
    columns.cloned().collect()
}

/// The rows filtered by the semi join below all inner joins that it may pass; nothing if there are none.
fn moved(rows: &LogicalPlan, semi: &Join, compared: &HashSet<Column>) -> Result<Option<LogicalPlan>> {
    match rows {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            let has_all = |side: &LogicalPlan| compared.iter().all(|column| side.schema().has_column(column));
            let filtered = |side: &Arc<LogicalPlan>| match moved(side, semi, compared)? {
                Some(plan) => Ok(Arc::new(plan)),
                None => filter(side, semi),
            };
            let mut join = join.clone();
            if has_all(&join.left) {
                join.left = filtered(&join.left)?;
            } else if has_all(&join.right) {
                join.right = filtered(&join.right)?;
            } else {
                return Ok(None);
            }
            Ok(Some(LogicalPlan::Join(join)))
        }
        LogicalPlan::Filter(filter) => within(rows, &filter.input, semi, compared),
        LogicalPlan::Projection(projection) => {
            let passes = |column: &Column| projection.expr.contains(&Expr::Column(column.clone()));
            if compared.iter().all(passes) { within(rows, &projection.input, semi, compared) } else { Ok(None) }
        }
        _ => Ok(None),
    }
}

/// The same below something that the semi join does not change.
fn within(
    rows: &LogicalPlan,
    input: &LogicalPlan,
    semi: &Join,
    compared: &HashSet<Column>,
) -> Result<Option<LogicalPlan>> {
    let Some(input) = moved(input, semi, compared)? else { return Ok(None) };
    rows.with_new_exprs(rows.expressions(), vec![input]).map(Some)
}

fn filter(rows: &Arc<LogicalPlan>, semi: &Join) -> Result<Arc<LogicalPlan>> {
    let Join { right, on, filter, join_type, join_constraint, null_equality, null_aware, .. } = semi.clone();
    let rows = Arc::clone(rows);
    let join = Join::try_new(rows, right, on, filter, join_type, join_constraint, null_equality, null_aware)?;
    Ok(Arc::new(LogicalPlan::Join(join)))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::optimizer::Optimizer;
    use datafusion::prelude::SessionContext;
    use futures::executor::block_on;

    use super::*;

    /// The joins of a query over `a(x, y)`, `b(y, z)` and `c(z, w)` with a condition, each a step further in than what joins it.
    fn joins(condition: &str) -> Vec<String> {
        let rules = with_pushed_semi_joins(Optimizer::new().rules);
        let state = SessionStateBuilder::new().with_default_features().with_optimizer_rules(rules).build();
        let context = SessionContext::new_with_state(state);
        for (table, columns) in [("a", ["x", "y"]), ("b", ["y", "z"]), ("c", ["z", "w"])] {
            let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
            let rows = MemTable::try_new(Arc::new(Schema::new(fields)), vec![vec![]]).unwrap();
            context.register_table(table, Arc::new(rows)).unwrap();
        }
        let query = format!("SELECT a.x, c.w FROM a, b, c WHERE a.y = b.y AND b.z = c.z AND {condition}");
        let plan = block_on(context.sql(&query)).unwrap().into_optimized_plan().unwrap();
        let lines: Vec<String> = plan.display_indent().to_string().lines().map(str::to_owned).collect();
        lines.into_iter().filter(|line| line.contains(" Join:")).map(|line| line.trim_start().to_owned()).collect()
    }

    #[test]
    fn rows_are_filtered_by_few_groups_before_they_are_joined() {
        let of_b = joins("b.y IN (SELECT y FROM b GROUP BY y HAVING sum(z) > 3)");
        assert_eq!(of_b[..2], ["Inner Join: b.z = c.z", "Inner Join: a.y = b.y"]);
        assert!(of_b[2].starts_with("LeftSemi Join: b.y = "), "{of_b:?}");
        let of_c = joins("c.w IN (SELECT y FROM b GROUP BY y HAVING count(*) = 1)");
        assert_eq!(of_c[0], "Inner Join: b.z = c.z");
        assert!(of_c.iter().any(|join| join.starts_with("LeftSemi Join: c.w = ")), "{of_c:?}");
    }

    #[test]
    fn what_may_keep_most_rows_or_compares_both_sides_stays_above() {
        for condition in [
            "b.y IN (SELECT y FROM b WHERE z > 3)",
            "b.y IN (SELECT y FROM b GROUP BY y)",
            "EXISTS (SELECT 1 FROM b AS o WHERE o.y = a.y AND o.z <> a.x)",
            "EXISTS (SELECT 1 FROM (SELECT y, z FROM b GROUP BY y, z HAVING count(*) > 1) AS g WHERE g.y = a.x AND g.z = c.w)",
        ] {
            let joins = joins(condition);
            assert!(joins[0].starts_with("LeftSemi Join"), "{condition}: {joins:?}");
        }
        let anti = joins("b.y NOT IN (SELECT y FROM b WHERE y IS NOT NULL GROUP BY y HAVING sum(z) > 3)");
        assert!(anti[0].starts_with("LeftAnti Join"), "{anti:?}");
    }
}
