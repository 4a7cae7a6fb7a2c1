//! What of the dialect is a stream's: DataFusion would not know it, or would pass it over.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, Spanned, TableFactor, TableWithJoins, Visit, Visitor};

use crate::error::{Result, SqlError};
use crate::planner::relation::{refuse_ignored_clauses, refuse_ignored_hints, refuse_unordered};

/// An error about the first clause of a query that only a stream has.
pub(super) fn check_shape(query: &Query) -> Result<()> {
    match query.visit(&mut Shape) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Shape;

impl Visitor for Shape {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        broken(refuse_ignored_clauses(query).and_then(|()| check_body(&query.body)))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<SqlError> {
        broken(check_factor(factor).map_err(|error| error.at(factor.span())))
    }
}

fn broken(checked: Result<()>) -> ControlFlow<SqlError> {
    checked.map_or_else(ControlFlow::Break, ControlFlow::Continue)
}

/// Checks the SELECTs of a query, and not the queries in them, which are visited.
fn check_body(body: &SetExpr) -> Result<()> {
    match body {
        SetExpr::Select(select) => check_select(select),
        SetExpr::SetOperation { left, right, .. } => check_body(left).and_then(|()| check_body(right)),
        SetExpr::Query(_) | SetExpr::Values(_) => Ok(()),
        _ => Err(SqlError::unsupported("this query", "write SELECT … FROM …").at(body.span())),
    }
}

fn check_select(select: &Select) -> Result<()> {
    refuse_unordered(select)?;
    if !select.optimizer_hints.is_empty() {
        return Err(SqlError::unsupported("a hint", "leave it out: no state is kept").at(select.span()));
    }
    select.from.iter().try_for_each(check_joins)
}

fn check_joins(table: &TableWithJoins) -> Result<()> {
    match table.joins.iter().find(|join| join.global) {
        None => Ok(()),
        // How the parser leaves it.
        Some(join) => Err(SqlError::unsupported("ASOF JOIN", "join by equal keys").at(join.relation.span())),
    }
}

fn check_factor(factor: &TableFactor) -> Result<()> {
    let of_streams = |what: String| Err(SqlError::unsupported(what, "it is for streams"));
    match factor {
        TableFactor::Table { args: Some(_), name, .. } => of_streams(format!("the table function {name}")),
        TableFactor::Table { version: Some(_), name, .. } => of_streams(format!("a version of '{name}'")),
        TableFactor::Table { .. } => refuse_ignored_hints(factor),
        TableFactor::Derived { sample: None, .. }
        | TableFactor::NestedJoin { .. }
        | TableFactor::UNNEST { with_ordinality: false, with_offset: false, .. } => Ok(()),
        _ => of_streams(format!("'{factor}' in FROM")),
    }
}
