//! Expressions of a plan as expressions over a stream: qualified columns become the stream's own,
//! unique names; what an operator cannot evaluate row by row is refused.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, Volatility};

use super::row_predictions::{call_in, refused_call};
use super::stream::Relation;
use crate::error::{Result, SqlError};
use crate::planner::row_call::asked_in;

/// The column of exactly this name. (`col` would parse the text.)
pub(crate) fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// Refuses functions that give another answer when a row is replayed.
pub(crate) fn check_repeatable(expr: &Expr) -> Result<()> {
    let mut found = None;
    expr.apply(|inner| match inner {
        // A model is asked by an operator, which keeps to the versions of the rows.
        Expr::ScalarFunction(call)
            if call.func.signature().volatility != Volatility::Immutable && asked_in(inner).is_none() =>
        {
            found = Some(call.func.name().to_owned());
            Ok(TreeNodeRecursion::Stop)
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    match found {
        None => Ok(()),
        Some(name) => Err(SqlError::unsupported(
            format!("{name}()"),
            "it gives another answer each time a row is replayed; use a column of the row, such as its event time",
        )),
    }
}

/// What is behind an alias.
pub(crate) fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The stream's column that an expression is, if it is a plain column.
pub(crate) fn plain_column(expr: &Expr, relation: &Relation, schema: &DFSchema) -> Option<usize> {
    let Expr::Column(column) = unaliased(expr) else { return None };
    relation.columns.get(schema.maybe_index_of_column(column)?).copied()
}

/// Whether an expression reads a column that a waiting window function adds, and whether it reads
/// others.
pub(crate) fn window_use(expr: &Expr, relation: &Relation, schema: &DFSchema) -> (bool, bool) {
    let (mut window, mut other) = (false, false);
    for column in expr.column_refs() {
        let index = schema.maybe_index_of_column(column).and_then(|index| relation.columns.get(index));
        match index {
            Some(index) if relation.is_window_column(*index) => window = true,
            _ => other = true,
        }
    }
    (window, other)
}

/// `expr`, over the plan's `schema`, as an expression over the relation's stream.
pub(crate) fn resolve(expr: &Expr, relation: &Relation, schema: &DFSchema) -> Result<Expr> {
    match call_in(expr) {
        Some(_) => Err(refused_call()),
        None => resolve_with_calls(expr, relation, schema),
    }
}

/// The same where models that it calls are asked in operators below.
pub(super) fn resolve_with_calls(expr: &Expr, relation: &Relation, schema: &DFSchema) -> Result<Expr> {
    check_supported(expr)?;
    let resolved = expr.clone().transform(|inner| match inner {
        Expr::Column(name) => {
            let index = schema.index_of_column(&name)?;
            let index =
                relation.columns.get(index).copied().ok_or_else(|| {
                    DataFusionError::Internal(format!("column {name} of the plan is not in the stream"))
                })?;
            Ok(Transformed::yes(column(&relation.name(index))))
        }
        Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
        other => Ok(Transformed::no(other)),
    })?;
    let resolved = resolved.data;
    // An alias inside an alias comes to light only once the outer one is gone.
    let plain = resolved.transform_down(|inner| match inner {
        Expr::Alias(alias) => Ok(Transformed::yes(unaliased(&alias.expr).clone())),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plain.data)
}

/// Refuses what no operator computes of a row.
pub(crate) fn check_supported(expr: &Expr) -> Result<()> {
    check_repeatable(expr)?;
    let mut refused = None;
    expr.apply(|inner| {
        refused = match inner {
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                Some(SqlError::unsupported("a subquery in an expression", "join its table instead"))
            }
            Expr::OuterReferenceColumn(..) => {
                Some(SqlError::unsupported("a reference to an outer query", "join the tables instead"))
            }
            Expr::WindowFunction(_) => Some(SqlError::unsupported(
                "OVER here",
                "compute it in the SELECT of a subquery, and use it around that",
            )),
            Expr::GroupingSet(_) => {
                Some(SqlError::unsupported("GROUPING SETS, CUBE and ROLLUP", "write one query for each grouping"))
            }
            Expr::Unnest(_) => Some(SqlError::unsupported(
                "UNNEST here",
                "it stands in FROM or in the SELECT list: FROM t, UNNEST(t.list) AS u(x)",
            )),
            Expr::Placeholder(_) => {
                Some(SqlError::unsupported("a parameter without a value", "write the value, or give one"))
            }
            _ => None,
        };
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    refused.map_or(Ok(()), Err)
}
