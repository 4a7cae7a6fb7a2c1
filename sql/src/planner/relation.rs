//! Walks a query's FROM clauses and replaces what DataFusion cannot plan.
//!
//! Clauses that sqlparser reads but that nobody would act on are refused here: a query must never
//! run with a part of it left out.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, LimitClause, ObjectName, Query, Select, SetExpr, SetOperator, Spanned, TableFactor,
    TableWithJoins, VisitMut, VisitorMut, WindowType, With, visit_expressions,
};

use super::QueryPlanner;
use super::evaluate::{Asked, replace_evaluation};
use super::fit_measures::replace_fit_measures;
use super::table_call::replace_table_call;
use super::table_function::TABLE_FUNCTIONS;
use super::threshold::replace_threshold;
use crate::ast::{alias_of, dotted, normalize, quoted, select_all};
use crate::error::{Result, SqlError};
use crate::lower::over::{ORDERED_FUNCTIONS, no_order};
use crate::lower::scan::Leaf;
use crate::lower::sink::no_offset;
use crate::lower::stream::Stream;

impl QueryPlanner<'_> {
    /// Replaces the relations of a query and of all queries in it.
    pub(super) fn replace_relations(&mut self, query: &mut Query) -> Result<()> {
        refuse_offset(query)?;
        refuse_ignored_clauses(query)?;
        let depth = self.scope.len();
        if let Some(with) = &mut query.with {
            if with.recursive {
                let hint = "name the steps one by one";
                return Err(SqlError::unsupported("WITH RECURSIVE", hint).at(with.with_token.0.span));
            }
            for cte in &mut with.cte_tables {
                self.replace_relations(&mut cte.query)?;
                self.scope.push(cte.clone());
            }
        }
        self.replace_in_body(&mut query.body)?;
        self.scope.truncate(depth);
        Ok(())
    }

    fn replace_in_body(&mut self, body: &mut SetExpr) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.replace_in_select(select),
            SetExpr::Query(query) => self.replace_relations(query),
            SetExpr::SetOperation { op, left, right, .. } => {
                if *op != SetOperator::Union {
                    let hint = "join the two, or filter with WHERE";
                    return Err(SqlError::unsupported(op.to_string(), hint).at(right.span()));
                }
                self.replace_in_body(left)?;
                self.replace_in_body(right)
            }
            SetExpr::Values(_) => Ok(()),
            _ => Err(SqlError::unsupported("this query", "write SELECT … FROM …").at(body.span())),
        }
    }

    fn replace_in_select(&mut self, select: &mut Select) -> Result<()> {
        refuse_unordered(select)?;
        self.ttls.note(select)?;
        select.from.iter_mut().try_for_each(|table| self.replace_in_joins(table))?;
        let conditions = select.selection.iter_mut().chain(&mut select.having);
        conditions.into_iter().try_for_each(|condition| self.replace_in_subqueries(condition))
    }

    /// Replaces the relations of the subqueries in a condition.
    fn replace_in_subqueries(&mut self, condition: &mut Expr) -> Result<()> {
        match VisitMut::visit(condition, &mut Subqueries(self)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    fn replace_in_joins(&mut self, table: &mut TableWithJoins) -> Result<()> {
        self.replace_factor(&mut table.relation)?;
        for join in &mut table.joins {
            self.note_join(&join.relation);
            if join.global {
                self.replace_as_of_join(join)?;
            } else if super::temporal::is_temporal(&join.relation) {
                self.replace_temporal(join)?;
            } else {
                self.replace_factor(&mut join.relation)?;
            }
        }
        Ok(())
    }

    /// Remembers where the right side of a join stands: a plan no longer knows.
    fn note_join(&mut self, factor: &TableFactor) {
        let name = match factor {
            TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
                normalize(&alias.name)
            }
            TableFactor::Table { name, .. } => dotted(name),
            _ => return,
        };
        self.joins.insert(name, factor.span().into());
    }

    fn replace_factor(&mut self, factor: &mut TableFactor) -> Result<()> {
        let span = factor.span();
        refuse_ignored_hints(factor).map_err(|error| error.at(span))?;
        if let Some(model) = replace_fit_measures(factor, self.catalog)? {
            self.note_use(&model);
            return Ok(());
        }
        replace_evaluation(factor, self.catalog, Asked::InStream)?;
        replace_threshold(factor, self.catalog)?;
        if self.replace_training_call(factor).map_err(|error| error.at(span))? {
            return Ok(());
        }
        if replace_table_call(factor).map_err(|error| error.at(span))? {
            return Ok(());
        }
        match factor {
            TableFactor::Table { args, .. } => {
                let is_function = args.is_some();
                refuse_version(factor).map_err(|error| error.at(span))?;
                if is_function { self.replace_table_function(factor).map_err(|e| e.at(span)) } else { Ok(()) }
            }
            TableFactor::Derived { subquery, sample: None, .. } => self.replace_relations(subquery),
            TableFactor::UNNEST { with_ordinality: false, with_offset: false, .. } => Ok(()),
            TableFactor::UNNEST { .. } => {
                let hint = "leave it out; no stream says in which place an element was";
                Err(SqlError::unsupported("UNNEST with the places of the elements", hint).at(span))
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.replace_in_joins(table_with_joins),
            _ => {
                let hint = format!("FROM takes sources, views, subqueries, joins, {TABLE_FUNCTIONS}");
                Err(SqlError::unsupported(format!("'{factor}' in FROM"), hint).at(span))
            }
        }
    }

    /// Puts a made-up table in the place of a table factor; `default_alias` is its name where the
    /// user gave none.
    pub(super) fn put_leaf(&mut self, factor: &mut TableFactor, leaf: Leaf, default_alias: &str) {
        let made_up = self.add_leaf(leaf);
        let TableFactor::Table { name, alias, args, version, .. } = factor else { return };
        *name = ObjectName::from(vec![quoted(&made_up)]);
        *args = None;
        *version = None;
        alias.get_or_insert_with(|| alias_of(default_alias));
    }

    /// The stream of a name: a WITH query in sight, or an object of the catalog.
    pub(super) fn named_stream(&mut self, ident: &Ident) -> Result<Stream> {
        let name = normalize(ident);
        if let Some(Leaf::Stream(made_up)) = self.leaves.get(&name) {
            return Ok(made_up.clone());
        }
        if self.is_in_scope(&name) {
            return self.scoped_stream(*select_all(&name)?);
        }
        self.catalog_stream(&name).map_err(|error| error.at(ident.span))
    }

    /// Whether a WITH query in sight has this name.
    pub(super) fn is_in_scope(&self, name: &str) -> bool {
        self.scope.iter().any(|cte| normalize(&cte.alias.name) == name)
    }

    /// The stream of a subquery that stands as an argument.
    pub(super) fn subquery_stream(&mut self, query: &Query) -> Result<Stream> {
        let mut query = query.clone();
        self.replace_relations(&mut query)?;
        self.scoped_stream(query)
    }

    /// Lowers a query, whose relations have been replaced, with the WITH queries in sight before it.
    fn scoped_stream(&mut self, mut query: Query) -> Result<Stream> {
        if !self.scope.is_empty() {
            let mut with = query.with.take().unwrap_or_else(|| With {
                with_token: datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
                recursive: false,
                cte_tables: Vec::new(),
            });
            let shadowed = |name: &str| with.cte_tables.iter().any(|cte| normalize(&cte.alias.name) == name);
            let mut tables = self.scope.clone();
            tables.retain(|cte| !shadowed(&normalize(&cte.alias.name)));
            tables.append(&mut with.cte_tables);
            with.cte_tables = tables;
            query.with = Some(with);
        }
        let plan = self.plan_replaced(query)?;
        self.lower_to_stream(&plan, "a table argument")
    }
}

/// Visits the subqueries of an expression, the outer ones first.
struct Subqueries<'a, 'b>(&'a mut QueryPlanner<'b>);

impl VisitorMut for Subqueries<'_, '_> {
    type Break = SqlError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        if let Expr::Function(function) = expr
            && dotted(&function.name) == "unnest"
        {
            let hint = "it stands in FROM or in the SELECT list: FROM t, UNNEST(t.list) AS u(x) WHERE u.x = …";
            return ControlFlow::Break(SqlError::unsupported("UNNEST in a condition", hint).at(function.name.span()));
        }
        let (Expr::InSubquery { subquery, .. } | Expr::Exists { subquery, .. } | Expr::Subquery(subquery)) = expr
        else {
            return ControlFlow::Continue(());
        };
        match self.0.replace_relations(subquery) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Refuses window functions that need an order and have none, where their position is known.
pub(crate) fn refuse_unordered(select: &Select) -> Result<()> {
    let found = visit_expressions(select, |expr| match expr {
        Expr::Function(Function { name, over: Some(WindowType::WindowSpec(spec)), .. })
            if spec.order_by.is_empty() && spec.window_name.is_none() =>
        {
            let name = dotted(name).to_lowercase();
            let ordered = ORDERED_FUNCTIONS.contains(&name.as_str());
            if ordered { ControlFlow::Break((name, expr.span())) } else { ControlFlow::Continue(()) }
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break((name, span)) => Err(no_order(&name).at(span)),
    }
}

/// Refuses OFFSET, but for one that skips nothing.
fn refuse_offset(query: &Query) -> Result<()> {
    let offset = match &query.limit_clause {
        Some(LimitClause::LimitOffset { offset: Some(offset), .. }) => &offset.value,
        Some(LimitClause::OffsetCommaLimit { offset, .. }) => offset,
        _ => return Ok(()),
    };
    if offset.to_string() == "0" {
        return Ok(());
    }
    Err(no_offset().at(offset.span()))
}

/// Refuses clauses of a query that DataFusion's planner would pass over.
pub(crate) fn refuse_ignored_clauses(query: &Query) -> Result<()> {
    let clause = if query.fetch.is_some() {
        "FETCH"
    } else if !query.locks.is_empty() {
        "FOR UPDATE"
    } else if query.for_clause.is_some() {
        "FOR"
    } else if query.settings.is_some() {
        "SETTINGS"
    } else if query.format_clause.is_some() {
        "FORMAT"
    } else if !query.pipe_operators.is_empty() {
        "|>"
    } else {
        return Ok(());
    };
    Err(SqlError::unsupported(clause, "leave it out; LIMIT limits a result").at(query.span()))
}

/// Refuses a version where no join looks it up.
fn refuse_version(factor: &TableFactor) -> Result<()> {
    let TableFactor::Table { name, version: Some(_), .. } = factor else { return Ok(()) };
    let hint = "it stands behind the right side of a join: a JOIN b FOR SYSTEM_TIME AS OF a.ts AS b ON a.k = b.k";
    Err(SqlError::unsupported(format!("a version of '{}' here", dotted(name)), hint))
}

/// Refuses what may stand around a table's name and would be passed over.
pub(crate) fn refuse_ignored_hints(factor: &TableFactor) -> Result<()> {
    let TableFactor::Table { with_hints, with_ordinality, partitions, json_path, sample, index_hints, .. } = factor
    else {
        return Ok(());
    };
    if sample.is_some() {
        return Err(SqlError::unsupported("TABLESAMPLE", "filter with WHERE"));
    }
    let hints = !with_hints.is_empty() || !index_hints.is_empty() || !partitions.is_empty();
    if hints || *with_ordinality || json_path.is_some() {
        return Err(SqlError::unsupported(format!("'{factor}'"), "write the table's name alone"));
    }
    Ok(())
}
