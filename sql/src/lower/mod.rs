//! From a DataFusion plan to operators of the graph, one file for each kind of plan node.
//!
//! Every plan node becomes a [`Relation`]: a stream and which of its columns are the node's fields.
//! A relation costs nothing until a shuffle, a view or a sink wants exactly those columns.

mod aggregate;
mod answers;
pub(crate) mod emit;
pub(crate) mod expression;
pub(crate) mod interval_join;
mod join;
pub(crate) mod late;
pub(crate) mod lookup_join;
pub(crate) mod model;
mod normalize;
pub(crate) mod over;
mod project;
pub(crate) mod prune;
mod row_predictions;
pub(crate) mod scan;
pub(crate) mod sink;
pub(crate) mod stream;
mod temporal_join;
mod time_bounds;
mod top_n;
mod union;
mod unnest;
mod updating_join;
mod values;
pub(crate) mod write;

pub(crate) use model::{plan_fitted, plan_model};

use std::collections::HashSet;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Distinct, LogicalPlan};

use self::stream::{Relation, Stream};
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

impl QueryPlanner<'_> {
    /// Lowers a plan.
    pub(crate) fn lower(&mut self, plan: &LogicalPlan) -> Result<Relation> {
        match plan {
            LogicalPlan::TableScan(scan) => self.lower_scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input),
            LogicalPlan::Projection(projection) => self.lower_projection(projection),
            LogicalPlan::Filter(filter) => self.lower_filter(filter),
            LogicalPlan::Aggregate(aggregate) => self.lower_aggregate(aggregate),
            LogicalPlan::Join(join) => self.lower_join(join, Vec::new()),
            LogicalPlan::Window(window) => self.lower_window(window),
            LogicalPlan::Unnest(unnest) => self.lower_unnest(unnest),
            LogicalPlan::Union(union) => self.lower_union(union),
            LogicalPlan::Values(values) => self.lower_values(values),
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => self.lower_no_columns(),
            _ => Err(refuse(plan)),
        }
    }

    /// Lowers a plan to a stream that has exactly its columns, whose plain names must differ.
    pub(crate) fn lower_to_stream(&mut self, plan: &LogicalPlan, what: &str) -> Result<Stream> {
        let names = plain_names(plan.schema(), what)?;
        let relation = self.lower(plan)?;
        self.materialize(relation, &names)
    }
}

/// The names of a schema without their qualifiers, if they differ.
pub(crate) fn plain_names(schema: &DFSchema, what: &str) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name()) {
            return Err(SqlError::invalid(format!(
                "{what} has two columns '{}'; give one of them another name with AS",
                field.name()
            )));
        }
    }
    Ok(schema.fields().iter().map(|field| field.name().clone()).collect())
}

/// Why a plan node cannot run on streams.
fn refuse(plan: &LogicalPlan) -> SqlError {
    let (what, hint) = match plan {
        LogicalPlan::Sort(_) => ("ORDER BY here", "it belongs to the outermost SELECT, whose result it orders"),
        LogicalPlan::Limit(_) => ("LIMIT here", "it belongs to the outermost SELECT, whose result it limits"),
        LogicalPlan::Distinct(Distinct::On(_)) => ("DISTINCT ON", "use GROUP BY and an aggregate"),
        LogicalPlan::RecursiveQuery(_) => ("WITH RECURSIVE", "name the steps one by one"),
        LogicalPlan::Subquery(_) => {
            ("LATERAL over another stream", "join it with ON; LATERAL is for UNNEST of the row's own lists")
        }
        _ => return SqlError::unsupported(format!("'{}' on a stream", plan.display()), "write it in another way"),
    };
    SqlError::unsupported(what, hint)
}
