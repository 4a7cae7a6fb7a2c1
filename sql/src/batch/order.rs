//! What a stream orders, and DataFusion does not: a result without ORDER BY, rows that ORDER BY does not tell apart, and
//! rows of an aggregate that shows their order.
//! A stream has them in the order of all their columns, so that they are the same in every run; so has a batch.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Sort, SortExpr, Window, WindowFrameUnits,
};

/// Window functions whose result says in which of equal places a row is.
const PLACES: [&str; 4] = ["row_number", "ntile", "lag", "lead"];

/// Aggregates whose result says in which order rows come.
const ORDERED: [&str; 5] = ["array_agg", "string_agg", "first_value", "last_value", "nth_value"];

/// A plan whose rows come in the one order that a stream has them in. LIMIT takes the first of them.
pub(super) fn canonical(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Limit(mut limit) => {
            limit.input = Arc::new(canonical(Arc::unwrap_or_clone(limit.input))?);
            Ok(LogicalPlan::Limit(limit))
        }
        // Its ties are broken already.
        LogicalPlan::Sort(_) => Ok(plan),
        LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
            Ok(LogicalPlan::Projection(projection))
        }
        other => {
            let by = columns_of(other.schema()).collect::<Vec<_>>();
            if by.is_empty() { Ok(other) } else { LogicalPlanBuilder::from(other).sort(by)?.build() }
        }
    }
}

/// A plan in which no place is left to chance: all columns decide where what was ordered by does not.
pub(super) fn without_ties(plan: LogicalPlan) -> Result<LogicalPlan> {
    let broken = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Sort(sort) => {
            let expr = with_all_columns(sort.expr, sort.input.schema());
            Ok(Transformed::yes(LogicalPlan::Sort(Sort { expr, ..sort })))
        }
        LogicalPlan::Window(window) => of_window(window).map(Transformed::yes),
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    });
    Ok(broken?.data)
}

/// Those that are ordered further than others get a node of their own: all functions of a node have one order.
fn of_window(window: Window) -> Result<LogicalPlan> {
    let input = Arc::clone(&window.input);
    let break_ties = |expr| match expr {
        Expr::WindowFunction(mut function) if needs_places(&function) => {
            function.params.order_by = with_all_columns(function.params.order_by, input.schema());
            Ok(Transformed::yes(Expr::WindowFunction(function)))
        }
        other => Ok(Transformed::no(other)),
    };
    let exprs = window.window_expr.into_iter().map(|expr| changed(expr, break_ties)).collect::<Result<Vec<_>>>()?;
    let (further, as_before): (Vec<_>, Vec<_>) = exprs.into_iter().partition(|expr| expr.transformed);
    let mut plan = Arc::unwrap_or_clone(window.input);
    for exprs in [as_before, further].into_iter().filter(|exprs| !exprs.is_empty()) {
        let exprs = exprs.into_iter().map(|expr| expr.data).collect();
        plan = LogicalPlan::Window(Window::try_new(exprs, Arc::new(plan))?);
    }
    Ok(plan)
}

fn of_aggregate(aggregate: Aggregate) -> Result<LogicalPlan> {
    let input = Arc::clone(&aggregate.input);
    let order = |expr| match expr {
        Expr::AggregateFunction(mut function) if needs_order(&function) => {
            function.params.order_by = match function.params.args.first() {
                // Of equal values one is left, and the others' columns with them.
                Some(value) if function.params.distinct => vec![value.clone().sort(true, true)],
                _ => columns_of(input.schema()).collect(),
            };
            Ok(Transformed::yes(Expr::AggregateFunction(function)))
        }
        other => Ok(Transformed::no(other)),
    };
    let exprs = aggregate.aggr_expr.into_iter().map(|expr| Ok(changed(expr, order)?.data)).collect::<Result<Vec<_>>>();
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(aggregate.input, aggregate.group_expr, exprs?)?))
}

/// An expression whose functions are changed, by the name that it had.
fn changed(expr: Expr, change: impl FnMut(Expr) -> Result<Transformed<Expr>>) -> Result<Transformed<Expr>> {
    let name = NamePreserver::new_for_projection().save(&expr);
    Ok(expr.transform_down(change)?.update_data(|expr| name.restore(expr)))
}

/// Whether the result of a function depends on an order that nobody has given.
fn needs_order(function: &AggregateFunction) -> bool {
    function.params.order_by.is_empty() && ORDERED.contains(&function.func.name())
}

/// Whether a function sees in which order equal rows are.
fn needs_places(function: &WindowFunction) -> bool {
    let of_rows = function.params.window_frame.units == WindowFrameUnits::Rows;
    !function.params.order_by.is_empty() && (of_rows || PLACES.contains(&function.fun.name()))
}

fn with_all_columns(mut by: Vec<SortExpr>, schema: &DFSchema) -> Vec<SortExpr> {
    for column in columns_of(schema) {
        if by.iter().all(|known| known.expr != column.expr) {
            by.push(column);
        }
    }
    by
}

/// All columns that have an order, ascending, as a stream has them.
fn columns_of(schema: &DFSchema) -> impl Iterator<Item = SortExpr> {
    let columns = schema.iter().filter(|(_, field)| has_order(field.data_type()));
    columns.map(|column| Expr::Column(column.into()).sort(true, true))
}

fn has_order(data_type: &DataType) -> bool {
    !data_type.is_nested()
}
