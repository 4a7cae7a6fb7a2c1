//! Ends of a graph: results of SELECTs and sinks of INSERTs.
//!
//! A sink where order shows is a single instance in this release, so that rows are written in event-time order.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::compute::can_cast_types;
use datafusion::common::DFSchema;
use datafusion::logical_expr::logical_plan::{FetchType, SkipType};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{Expr, ExprSchemable, Limit, LogicalPlan, SortExpr};
use tidemill_plans::connector::RESULT_CONNECTOR;
use tidemill_plans::node::{NodeKind, SinkNode, SortColumn};
use tidemill_plans::result_ticket::{GATHERS_OPTION, RESULT_OPTION};
use tidemill_plans::settings::ResultOrder;

use super::expression::{column, unaliased};
use super::plain_names;
use super::project::Computed;
use super::stream::{Relation, Stream};
use super::write::Target;
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::job::JobStatement;
use crate::planner::QueryPlanner;
use crate::planner::source::type_name;
use crate::statement::StreamQuery;

/// ORDER BY and LIMIT of the outermost SELECT, taken off its plan.
struct Presentation {
    order_by: Vec<SortColumn>,
    limit: Option<u64>,
    /// The order of a bounded result that has no ORDER BY.
    order: ResultOrder,
    /// The name under which workers hand the result out.
    result: Option<String>,
}

impl QueryPlanner<'_> {
    /// The result of a SELECT, under this name.
    pub(crate) fn select(&mut self, query: &StreamQuery, name: String, statement: &JobStatement) -> Result<Stream> {
        let plan = self.plan(query)?;
        let names = plain_names(plan.schema(), "the result")?;
        let mut presentation = Presentation::new(statement.settings.result_order);
        presentation.result.clone_from(&statement.result);
        let body = presentation.peel(&plan)?;
        let relation = self.lower(body.plan)?;
        let columns = body.fields.iter().filter_map(|field| relation.columns.get(*field).copied()).collect();
        let stream = self.materialize(Relation { columns, ..relation }, &names)?;
        self.check_emit(&stream.info)?;
        Ok(self.result_sink(&stream, name, presentation))
    }

    /// The result of a SUBSCRIBE, under this name.
    pub(crate) fn subscription(&mut self, stream: &Stream, name: String) -> Stream {
        self.result_sink(stream, name, Presentation::new(ResultOrder::Canonical))
    }

    /// Rows for a sink; `declared` are the sink's columns, if it has declared them.
    pub(crate) fn write(&mut self, query: &StreamQuery, target: Target, declared: Option<&SchemaRef>) -> Result<()> {
        let plan = self.plan(query)?;
        let mut stream = self.lower_to_stream(&plan, "the query")?;
        self.check_emit(&stream.info)?;
        if let Some(declared) = declared {
            stream = self.fit(stream, declared, &target.table)?;
        }
        self.builder.add_write(&stream, target)
    }

    /// The sink that carries the rows of a SELECT.
    fn result_sink(&mut self, stream: &Stream, table: String, presentation: Presentation) -> Stream {
        // An order is one of all rows, and so is a limit of rows that change.
        let is_of_all = !presentation.order_by.is_empty() || stream.info.changelog && presentation.limit.is_some();
        // What changes is merged at its end, if it has one.
        let is_in_any_order =
            presentation.order == ResultOrder::Arrival && stream.info.bounded && !stream.info.changelog;
        let live = !is_of_all && (!stream.info.bounded || is_in_any_order);
        let result = presentation.result.filter(|_| is_in_any_order && live && presentation.limit.is_none());
        let parallelism = if result.is_some() { stream.parallelism } else { 1 };
        let mut options: Vec<_> = result.map(|result| (RESULT_OPTION.to_owned(), result)).into_iter().collect();
        if live && is_in_any_order {
            options.push((GATHERS_OPTION.to_owned(), String::from("true")));
        }
        let node = NodeKind::Sink(SinkNode {
            table,
            connector: RESULT_CONNECTOR.to_owned(),
            options,
            time: stream.info.times.first().copied().filter(|_| !is_in_any_order),
            upsert_keys: stream.info.upsert_keys.clone(),
            order_by: presentation.order_by,
            limit: presentation.limit,
            live,
        });
        let sink = self.builder.add_operator(node, parallelism, stream.info.clone());
        self.builder.connect(stream, &sink, 0);
        sink
    }

    /// Casts and names a query's columns as a sink declares them, by position.
    pub(super) fn fit(&mut self, stream: Stream, declared: &SchemaRef, table: &str) -> Result<Stream> {
        let into = format!("sink '{table}'");
        check_width(stream.schema(), declared, &into)?;
        let input = DFSchema::try_from(Arc::clone(stream.schema()))?;
        let mut casts = Vec::new();
        for (field, target) in stream.schema().fields().iter().zip(declared.fields()) {
            check_column(field, target, &into)?;
            let expr = column(field.name()).cast_to(target.data_type(), &input)?;
            casts.push(Computed { name: target.name().clone(), expr });
        }
        let same = casts.iter().zip(stream.schema().fields()).all(|(cast, field)| cast.expr == column(field.name()));
        if same && stream.schema().fields().iter().map(|field| field.name()).eq(casts.iter().map(|cast| &cast.name)) {
            return Ok(stream);
        }
        Ok(self.compute(&Relation::all(stream), casts)?.stream)
    }
}

/// Why the rows of a result come when it is interrupted, and not before; `None` if they do.
pub(crate) fn why_silent(sink: &SinkNode, info: &StreamInfo) -> Option<String> {
    if sink.live || info.bounded {
        return None;
    }
    let is_ordered = !sink.order_by.is_empty();
    let (what, way_out) = match (is_ordered, info.changelog) {
        (true, false) => (
            "ORDER BY is over all rows",
            "LIMIT without ORDER BY, and ROW_NUMBER() in windows with a condition on it, print rows as they come",
        ),
        (true, true) => ("ORDER BY is over all rows", "without ORDER BY and LIMIT, changes are printed as they come"),
        (false, _) => ("LIMIT is of rows that change", "without it, changes are printed as they come"),
    };
    Some(format!("the rows come when the query is interrupted: {what}, and the input does not end; {way_out}"))
}

/// Whether a query has as many columns as a sink declares.
pub(crate) fn check_width(given: &Schema, declared: &Schema, into: &str) -> Result<()> {
    let (given, wanted) = (given.fields().len(), declared.fields().len());
    if given == wanted {
        return Ok(());
    }
    Err(SqlError::invalid(format!("{into} has {wanted} columns, but the query gives {given}")))
}

/// Whether a column may go into a sink's column.
pub(crate) fn check_column(given: &Field, wanted: &Field, into: &str) -> Result<()> {
    check_cast(given, wanted, into)?;
    check_nulls(given, wanted, into)
}

/// Whether a column may go into a sink's column without an explicit cast.
fn check_cast(given: &Field, wanted: &Field, into: &str) -> Result<()> {
    let (from, to) = (given.data_type(), wanted.data_type());
    let fits = from == to
        || (can_cast_types(from, to)
            && (comparison_coercion(from, to).as_ref() == Some(to) || (from.is_numeric() && to.is_numeric())));
    if fits {
        return Ok(());
    }
    Err(SqlError::invalid(format!(
        "column '{}' of {into} is {}, but the query gives {} ('{}'); write CAST({} AS {})",
        wanted.name(),
        type_name(to),
        type_name(from),
        given.name(),
        given.name(),
        type_name(to)
    )))
}

/// Whether a column may go into a sink's column that is NOT NULL.
fn check_nulls(given: &Field, wanted: &Field, into: &str) -> Result<()> {
    if wanted.is_nullable() || !given.is_nullable() {
        return Ok(());
    }
    Err(SqlError::invalid(format!(
        "column '{}' of {into} is NOT NULL, but '{}' may be; write COALESCE({}, …), or leave NOT NULL out",
        wanted.name(),
        given.name(),
        given.name()
    )))
}

/// A plan without its ORDER BY and LIMIT; `fields` are the result's columns among its own.
struct Body<'a> {
    plan: &'a LogicalPlan,
    fields: Vec<usize>,
}

impl Presentation {
    fn new(order: ResultOrder) -> Self {
        Self { order_by: Vec::new(), limit: None, order, result: None }
    }

    /// Takes a LIMIT in: of nested ones the least counts.
    fn at_most(&mut self, rows: Option<u64>) {
        self.limit = self.limit.into_iter().chain(rows).min();
    }

    /// Takes LIMIT, ORDER BY and a projection between them off the top.
    fn peel<'a>(&mut self, plan: &'a LogicalPlan) -> Result<Body<'a>> {
        match plan {
            LogicalPlan::Limit(limit) => {
                self.at_most(limit_rows(limit)?);
                self.peel(&limit.input)
            }
            LogicalPlan::Sort(sort) => {
                self.at_most(sort.fetch.map(|fetch| fetch as u64));
                let fields = (0..sort.input.schema().fields().len()).collect();
                let body = Body { plan: &sort.input, fields };
                self.order_by = sort_columns(&sort.expr, sort.input.schema(), &body.fields)?;
                Ok(body)
            }
            LogicalPlan::Projection(projection) if is_sorted(&projection.input) => {
                let input = projection.input.schema();
                let field = |expr: &Expr| match unaliased(expr) {
                    Expr::Column(column) => input.maybe_index_of_column(column),
                    _ => None,
                };
                let fields = projection.expr.iter().map(field).collect::<Option<Vec<usize>>>();
                let fields = fields.ok_or_else(order_hint)?;
                let LogicalPlan::Sort(sort) = projection.input.as_ref() else { return Err(order_hint()) };
                self.at_most(sort.fetch.map(|fetch| fetch as u64));
                self.order_by = sort_columns(&sort.expr, input, &fields)?;
                Ok(Body { plan: &sort.input, fields })
            }
            other => Ok(Body { plan: other, fields: (0..other.schema().fields().len()).collect() }),
        }
    }
}

fn is_sorted(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Sort(_))
}

/// The error about an OFFSET.
pub(crate) fn no_offset() -> SqlError {
    SqlError::unsupported("OFFSET", "use LIMIT alone")
}

fn limit_rows(limit: &Limit) -> Result<Option<u64>> {
    match (limit.get_skip_type()?, limit.get_fetch_type()?) {
        (SkipType::Literal(0), FetchType::Literal(fetch)) => Ok(fetch.map(|fetch| fetch as u64)),
        (SkipType::Literal(_), FetchType::Literal(_)) => Err(no_offset()),
        _ => Err(SqlError::unsupported("this LIMIT", "write a whole number")),
    }
}

/// The places of the sort columns among `fields`.
fn sort_columns(sort: &[SortExpr], schema: &DFSchema, fields: &[usize]) -> Result<Vec<SortColumn>> {
    let place = |expr: &Expr| match unaliased(expr) {
        Expr::Column(column) => {
            let field = schema.maybe_index_of_column(column)?;
            fields.iter().position(|f| *f == field)
        }
        _ => None,
    };
    sort.iter()
        .map(|sort| {
            let column = place(&sort.expr).ok_or_else(order_hint)?;
            Ok(SortColumn { column, descending: !sort.asc, nulls_first: sort.nulls_first })
        })
        .collect()
}

fn order_hint() -> SqlError {
    SqlError::unsupported(
        "ORDER BY an expression that is not a column of the result",
        "add it to the SELECT, and order by its name or number",
    )
}
