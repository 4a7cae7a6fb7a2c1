//! `FROM t, UNNEST(t.list) AS u(x)` and `LATERAL (SELECT … FROM UNNEST(t.list))`; calls of table functions
//! have become these.
//!
//! DataFusion plans them as joins with a subquery that refers to the left row. One that reads nothing
//! but that row is no join: its steps are put on top of the left side here, before any other rule
//! sees it. Each step then has the left side's columns first, and its own behind them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, NullHandling};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Unnest, lit};

/// Replaces the joins of a plan whose right side reads the left row alone.
pub(crate) fn unfold(plan: LogicalPlan) -> Result<LogicalPlan> {
    let unfolded = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) if can_unfold(&join) => unfold_join(&join).map(Transformed::yes),
        LogicalPlan::Join(join) if join.join_type == JoinType::Left && reads_nothing(&join.right) => {
            Err(DataFusionError::Plan(String::from(
                "LEFT JOIN with the row's own elements takes them as they are, ON TRUE: drop LEFT, or make the list \
                 shorter in a subquery before it",
            )))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(unfolded?.data)
}

fn can_unfold(join: &Join) -> bool {
    match join.join_type {
        JoinType::Inner => reads_nothing(&join.right),
        // Behind a condition, a row could be left over that the steps have made nothing of.
        JoinType::Left => {
            let on_true = join.on.is_empty() && join.filter.as_ref().is_none_or(|filter| *filter == lit(true));
            on_true && reads_nothing(&join.right) && only_unnests(&join.right)
        }
        _ => false,
    }
}

/// Whether a plan is made of steps over one row without columns.
fn reads_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Projection(projection) => reads_nothing(&projection.input),
        LogicalPlan::Filter(filter) => reads_nothing(&filter.input),
        LogicalPlan::Unnest(unnest) => reads_nothing(&unnest.input),
        LogicalPlan::SubqueryAlias(alias) => reads_nothing(&alias.input),
        LogicalPlan::Subquery(subquery) => reads_nothing(&subquery.subquery),
        _ => false,
    }
}

/// Whether what a plan makes of no element at all is NULL.
fn only_unnests(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Unnest(unnest) => match unnest.input.as_ref() {
            LogicalPlan::Projection(projection) if is_empty(&projection.input) => true,
            // The fields of what an inner one makes.
            input => unnest.list_type_columns.is_empty() && only_unnests(input),
        },
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().all(|expr| matches!(unaliased(expr), Expr::Column(_)))
                && only_unnests(&projection.input)
        }
        LogicalPlan::SubqueryAlias(alias) => only_unnests(&alias.input),
        LogicalPlan::Subquery(subquery) => only_unnests(&subquery.subquery),
        _ => false,
    }
}

fn is_empty(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::EmptyRelation(_))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn unfold_join(join: &Join) -> Result<LogicalPlan> {
    let unfolded = put_on(&join.right, &join.left, join.join_type == JoinType::Left)?;
    let keys = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    match conjunction(keys.chain(join.filter.clone())) {
        Some(condition) if condition != lit(true) => LogicalPlanBuilder::from(unfolded).filter(condition)?.build(),
        _ => Ok(unfolded),
    }
}

/// The steps of `plan` on top of `left`.
fn put_on(plan: &LogicalPlan, left: &Arc<LogicalPlan>, outer: bool) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let input = put_on(&projection.input, left, outer)?;
            let names = projection.schema.iter();
            let steps = projection.expr.iter().zip(names).map(|(expr, (qualifier, field))| {
                Ok(of_left(unaliased(expr).clone(), left)?.alias_qualified(qualifier.cloned(), field.name()))
            });
            project_beside(input, left, steps.collect::<Result<Vec<_>>>()?)
        }
        LogicalPlan::Filter(filter) => {
            let input = put_on(&filter.input, left, outer)?;
            LogicalPlanBuilder::from(input).filter(of_left(filter.predicate.clone(), left)?)?.build()
        }
        LogicalPlan::Unnest(unnest) => {
            let input = put_on(&unnest.input, left, outer)?;
            let mut options = unnest.options.clone();
            if outer && !unnest.list_type_columns.is_empty() {
                options.null_handling = NullHandling::PreserveAndExpandEmpty;
            }
            Ok(LogicalPlan::Unnest(Unnest::try_new(Arc::new(input), unnest.exec_columns.clone(), options)?))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let input = put_on(&alias.input, left, outer)?;
            let fields = alias.input.schema().iter().zip(alias.schema.fields());
            let steps = fields.map(|((qualifier, field), named)| {
                let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                column.alias_qualified(Some(alias.alias.clone()), named.name())
            });
            let steps = steps.collect();
            project_beside(input, left, steps)
        }
        LogicalPlan::Subquery(subquery) => put_on(&subquery.subquery, left, outer),
        _ => Ok(left.as_ref().clone()),
    }
}

/// The left side's columns, and these behind them.
fn project_beside(input: LogicalPlan, left: &LogicalPlan, steps: Vec<Expr>) -> Result<LogicalPlan> {
    let own = left.schema().columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(input).project(own.chain(steps).collect::<Vec<_>>())?.build()
}

/// An expression that refers to the left row from within a subquery, as one over its columns.
fn of_left(expr: Expr, left: &LogicalPlan) -> Result<Expr> {
    let inner = expr.transform(|expr| match expr {
        Expr::OuterReferenceColumn(_, column) if left.schema().has_column(&column) => {
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(inner?.data)
}
