//! Arithmetic fails where a result does not fit, as in a stream: in projections, filters and what aggregates take.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use tidemill_plans::overflow::checked;

type Plan = Arc<dyn ExecutionPlan>;

/// Behind rules that make up projections, and in front of what puts them into scans.
#[derive(Debug)]
pub(crate) struct CheckArithmetic;

impl PhysicalOptimizerRule for CheckArithmetic {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        Ok(plan.transform_up(node)?.data)
    }

    fn name(&self) -> &str {
        "check_arithmetic"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn node(plan: Plan) -> Result<Transformed<Plan>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return of_projection(projection, &plan);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let predicate = checked(Arc::clone(filter.predicate()))?;
        let filter = || FilterExecBuilder::from(filter).with_predicate(predicate.data).build();
        return Ok(if predicate.transformed { Transformed::yes(Arc::new(filter()?)) } else { Transformed::no(plan) });
    }
    match plan.downcast_ref::<AggregateExec>() {
        Some(aggregate) => of_aggregate(aggregate, &plan),
        None => Ok(Transformed::no(plan)),
    }
}

fn of_projection(projection: &ProjectionExec, plan: &Plan) -> Result<Transformed<Plan>> {
    let column = |column: &ProjectionExpr| {
        let expr = checked(Arc::clone(&column.expr))?;
        Ok(expr.update_data(|expr| ProjectionExpr { expr, alias: column.alias.clone() }))
    };
    let columns = projection.expr().iter().map(column).collect::<Result<Vec<_>>>()?;
    if columns.iter().all(|column| !column.transformed) {
        return Ok(Transformed::no(Arc::clone(plan)));
    }
    let columns = columns.into_iter().map(|column| column.data);
    Ok(Transformed::yes(Arc::new(ProjectionExec::try_new(columns, Arc::clone(projection.input()))?)))
}

fn of_aggregate(aggregate: &AggregateExec, plan: &Plan) -> Result<Transformed<Plan>> {
    // The later stages of one take states.
    if aggregate.mode().input_mode() != AggregateInputMode::Raw {
        return Ok(Transformed::no(Arc::clone(plan)));
    }
    let functions = aggregate.aggr_expr().iter().map(of_function).collect::<Result<Vec<_>>>()?;
    if functions.iter().all(Option::is_none) {
        return Ok(Transformed::no(Arc::clone(plan)));
    }
    let functions = functions.into_iter().zip(aggregate.aggr_expr());
    let functions = functions.map(|(checked, as_it_was)| checked.unwrap_or_else(|| Arc::clone(as_it_was)));
    Ok(Transformed::yes(Arc::new(aggregate.with_new_aggr_exprs(functions.collect::<Vec<_>>()))))
}

/// A function whose arguments are checked, if any can be.
fn of_function(function: &Arc<AggregateFunctionExpr>) -> Result<Option<Arc<AggregateFunctionExpr>>> {
    let arguments = function.expressions().into_iter().map(checked).collect::<Result<Vec<_>>>()?;
    if arguments.iter().all(|argument| !argument.transformed) {
        return Ok(None);
    }
    let order = function.order_bys().iter().map(|by| Arc::clone(&by.expr)).collect();
    let arguments = arguments.into_iter().map(|argument| argument.data).collect();
    Ok(function.with_new_expressions(arguments, order).map(Arc::new))
}
