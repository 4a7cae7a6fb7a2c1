//! Queries that run as a whole: a query of tables that end, in DataFusion's words, for whoever has an engine for such.
//!
//! Whether a query can is inferred: each of its tables ends, has no event time and does not change, and nothing in it is
//! the dialect's own. What cannot is a stream's. Both are to answer alike, row by row, so what a stream orders by all
//! columns is ordered so here: [`order`].

pub(crate) mod fit;
mod order;
pub(crate) mod predict;
pub(crate) mod row_prediction;
mod shape;
mod tables;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{Query, Statement};
use tidemill_plans::batch::{BatchQuery, Destination, Wanted};
use tidemill_plans::overflow::check_constants_of;
use tidemill_plans::settings::{Execution, ResultEndpoints, ResultOrder, Settings};

use self::predict::{Asked, replace_predictions};
use self::shape::check_shape;
use self::tables::Tables;
use crate::ast::leave_schema_out;
use crate::catalog::{Catalog, Object};
use crate::error::{Position, Result, SqlError};
use crate::lower::plain_names;
use crate::planner::call::complete_calls;
use crate::planner::context::{PlanningContext, parser_options};
use crate::planner::lateral;
use crate::planner::modulo::replace_modulo;
use crate::planner::source::column_names;
use crate::statement::{Copy, QueryBody, StreamQuery};

static OPTIONS: LazyLock<Arc<ConfigOptions>> = LazyLock::new(|| Arc::new(ConfigOptions::default()));

/// How many views may stand on each other: planning calls itself for each.
pub(crate) const VIEWS_MAX: usize = 100;

/// A query that runs as a whole.
#[derive(Debug, Clone)]
pub(crate) struct BatchPlan {
    pub(crate) query: BatchQuery,
    /// The names of the objects that it reads.
    pub(crate) uses: Vec<String>,
    /// What its rows become, if they are not for whoever asks.
    pub(crate) becomes: Option<Becomes>,
}

/// What the rows of a query become.
#[derive(Debug, Clone)]
pub(crate) enum Becomes {
    /// Rows of an object that is there.
    RowsOf(String),
    /// The training set of a new model, maybe in the place of one that is there.
    TrainingSet { replaces: bool },
    /// A new table, maybe in the place of one that is there.
    Table { object: Arc<Object>, replaces: bool },
}

/// A query as a whole, where that is asked for, or is possible and not ruled out.
pub(crate) fn plan(query: &StreamQuery, catalog: &Catalog, settings: &Settings) -> Result<Option<BatchPlan>> {
    let by_workers = settings.result_endpoints == ResultEndpoints::Workers;
    match settings.execution {
        Execution::Inferred if by_workers => Ok(None),
        _ => inferred(settings, || as_a_whole(query, catalog, settings)),
    }
}

/// What is planned as a whole, where that is asked for, or is possible.
pub(crate) fn inferred<T>(settings: &Settings, plan: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    match settings.execution {
        Execution::Streaming => Ok(None),
        Execution::Batch => plan().map(Some).map_err(told),
        // What is wrong with it, planning it as a stream says better.
        Execution::Inferred => Ok(plan().ok()),
    }
}

/// COPY, which nothing else does.
pub(crate) fn copied(copy: &Copy, plan: BatchPlan) -> Result<BatchPlan> {
    check_partitions(&copy.target.partition_by, &plan.query.columns).map_err(|error| error.at(copy.at))?;
    let destination = Destination::Files(copy.target.clone());
    Ok(BatchPlan { query: BatchQuery { destination, ..plan.query }, ..plan })
}

/// Whether rows with these columns can be put into folders by some of them.
fn check_partitions(by: &[String], columns: &Schema) -> Result<()> {
    if let Some(unknown) = by.iter().find(|name| columns.index_of(name).is_err()) {
        let message = format!("PARTITIONED BY names the column '{unknown}'; there are: {}", column_names(columns));
        return Err(SqlError::invalid(message));
    }
    match by.len() < columns.fields().len() {
        true => Ok(()),
        false => Err(SqlError::invalid("PARTITIONED BY names all columns, and nothing is left for the files")),
    }
}

/// An error about a query that was to run as a whole says so.
fn told(error: SqlError) -> SqlError {
    match error {
        SqlError::Unsupported { at, what, hint } => SqlError::Unsupported {
            at,
            what: format!("{what} in a query with execution = 'batch'"),
            hint: format!("{hint}, or SET execution = 'inferred'"),
        },
        other => other,
    }
}

/// A query as a whole; an error if it cannot be that.
pub(crate) fn as_a_whole(query: &StreamQuery, catalog: &Catalog, settings: &Settings) -> Result<BatchPlan> {
    let mut uses = BTreeSet::new();
    let plan = typed(names_of(query, catalog, &mut uses, 0)?)?;
    let columns = columns_of(&plan)?;
    let plan = match settings.result_order {
        ResultOrder::Canonical => order::canonical(order::without_ties(plan)?)?,
        ResultOrder::Arrival => order::without_ties(plan)?,
    };
    let query = BatchQuery { plan, columns, wanted: Wanted::Rows, destination: Destination::Asker };
    Ok(BatchPlan { query, uses: uses.into_iter().collect(), becomes: None })
}

/// A query's plan, whose names are found; so many views have been entered.
fn names_of(query: &StreamQuery, catalog: &Catalog, uses: &mut BTreeSet<String>, depth: usize) -> Result<LogicalPlan> {
    if let Some(late) = &query.late {
        return Err(SqlError::unsupported("LATE DATA", "leave it out: rows of tables are never late").at(late.at));
    }
    if let Some(emit) = &query.emit {
        return Err(SqlError::unsupported("EMIT", "leave it out: all rows come at the end").at(emit.at));
    }
    let QueryBody::Sql(query) = &query.body else {
        return Err(SqlError::unsupported("a plan in Substrait", "send SQL"));
    };
    let mut query = query.as_ref().clone();
    leave_schema_out(&mut query);
    let asked = replace_predictions(&mut query, catalog, uses)?;
    check_shape(&query)?;
    replace_modulo(&mut query);
    complete_calls(&mut query, catalog, uses)?;
    plan_names(query, catalog, asked, uses, depth)
}

fn plan_names(
    query: Query,
    catalog: &Catalog,
    asked: Asked,
    uses: &mut BTreeSet<String>,
    depth: usize,
) -> Result<LogicalPlan> {
    if depth > VIEWS_MAX {
        let message = format!("more than {VIEWS_MAX} views stand on each other; read a sink's files in between");
        return Err(SqlError::invalid(message));
    }
    let tables = Tables::new(catalog, &asked, depth);
    let find = |name: &str| tables.find(name);
    let context = PlanningContext {
        catalog,
        relations: Default::default(),
        tables: Some(&find),
        predictions: asked.predictions.clone(),
    };
    let planner = SqlToRel::new_with_options(&context, parser_options());
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query)))?;
    uses.extend(tables.used());
    Ok(lateral::unfold(plan)?)
}

/// A plan whose expressions have their types, and without columns that nobody reads.
fn typed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = Analyzer::new().execute_and_check(plan, &OPTIONS, |_, _| {})?;
    check_constants_of(&plan)?;
    let optimizer = Optimizer::with_rules(vec![Arc::new(OptimizeProjections::new())]);
    let context = OptimizerContext::new_with_config_options(Arc::clone(&OPTIONS)).without_query_execution_start_time();
    Ok(optimizer.optimize(plan, &context, |_, _| {})?)
}

/// The columns of a result, whose names must differ.
fn columns_of(plan: &LogicalPlan) -> Result<SchemaRef> {
    let names = plain_names(plan.schema(), "the result")?;
    let fields = plan.schema().fields().iter().zip(names);
    let fields = fields.map(|(field, name)| field.as_ref().clone().with_name(name).with_metadata(Default::default()));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Why a table cannot be read as a whole.
fn no_table(name: &str, why: &str) -> SqlError {
    SqlError::unsupported(format!("'{name}', which {why},"), "read files without WATERMARK FOR").at(Position::UNKNOWN)
}
