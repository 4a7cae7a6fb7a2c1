//! Joins: which kind it is, and what each condition is for.
//!
//! Conditions come from ON and from the WHERE directly above. One that reads a single side filters
//! that side below the join, where this cannot change the result.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::utils::{find_valid_equijoin_key_pair, split_conjunction};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Operator};
use tidemill_plans::graph::Partitioning;

use super::expression::{column, resolve, unaliased};
use super::project::Computed;
use super::scan::Leaf;
use super::stream::{Relation, Stream, make_unique};
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

/// The conditions of a join by what they read.
#[derive(Default)]
pub(super) struct Conditions {
    /// Pairs of expressions, left and right, that must be equal.
    pub(super) keys: Vec<(Expr, Expr)>,
    pub(super) left: Vec<Expr>,
    pub(super) right: Vec<Expr>,
    /// Everything else that reads both sides.
    pub(super) both: Vec<Expr>,
}

/// One side of a join, with exactly the columns that the join needs.
pub(super) struct Side {
    pub(super) stream: Stream,
    /// The plan's fields, then hidden key columns: indexes into the stream.
    pub(super) relation: Relation,
    pub(super) keys: Vec<usize>,
}

impl QueryPlanner<'_> {
    /// Lowers a join; `above` are the conditions of the WHERE directly above it.
    pub(super) fn lower_join(&mut self, join: &Join, above: Vec<Expr>) -> Result<Relation> {
        let lowered = self.lower_kind_of_join(join, above);
        lowered.map_err(|error| match relation_name(&join.right).and_then(|name| self.joins.get(name)) {
            Some(position) => error.at(*position),
            None => error,
        })
    }

    fn lower_kind_of_join(&mut self, join: &Join, above: Vec<Expr>) -> Result<Relation> {
        if self.is_temporal(&join.right) {
            return self.lower_temporal_join(join, above);
        }
        if join.join_type != JoinType::Inner {
            let hint = "streams have inner joins with time bounds, and LEFT JOIN … FOR SYSTEM_TIME AS OF for look-ups";
            return Err(SqlError::unsupported(
                format!("{} JOIN of two streams", join.join_type.to_string().to_uppercase()),
                hint,
            ));
        }
        self.lower_interval_join(join, above)
    }

    /// Whether a plan is the right side of a temporal join.
    fn is_temporal(&self, plan: &LogicalPlan) -> bool {
        match plan {
            LogicalPlan::TableScan(scan) => {
                matches!(self.leaves.get(scan.table_name.table()), Some(Leaf::Temporal(_)))
            }
            LogicalPlan::SubqueryAlias(alias) => self.is_temporal(&alias.input),
            LogicalPlan::Projection(projection) => self.is_temporal(&projection.input),
            _ => false,
        }
    }

    /// Lowers one input of a join, with conditions that read nothing else.
    pub(super) fn lower_side(&mut self, plan: &LogicalPlan, conditions: Vec<Expr>) -> Result<Relation> {
        let relation = self.lower_where(plan, conditions)?;
        let relation = self.assign_windows(relation)?;
        if relation.stream.info.changelog {
            let hint = "join windowed views, whose rows do not change";
            return Err(SqlError::unsupported("a join with updating rows", hint));
        }
        Ok(relation)
    }

    /// Projects an input to its fields and keys. Fields keep their places, then come computed keys.
    pub(super) fn keyed_side(&mut self, relation: Relation, schema: &DFSchema, keys: &[&Expr]) -> Result<Side> {
        let fields = relation.columns.len();
        let mut needed: Vec<Computed> = Vec::new();
        for index in &relation.columns {
            let name = relation.name(*index);
            needed.push(Computed { expr: column(&name), name });
        }
        let mut places = Vec::new();
        for key in keys {
            let expr = resolve(key, &relation, schema)?;
            let place = needed.iter().position(|computed| computed.expr == expr);
            places.push(place.unwrap_or(needed.len()));
            if place.is_none() {
                needed.push(Computed { name: format!("__key{}", needed.len() - fields), expr });
            }
        }
        let whole = needed.len() == fields && relation.columns.iter().copied().eq(0..relation.stream.width());
        let relation = if whole { relation } else { self.compute(&relation, needed)? };
        let relation = Relation { columns: (0..fields).collect(), ..relation };
        Ok(Side { stream: relation.stream.clone(), relation, keys: places })
    }

    /// Adds the two hash edges of a join.
    pub(super) fn connect_sides(&mut self, left: &Side, right: &Side, join: &Stream) {
        for (port, side) in [(0, left), (1, right)] {
            let keys = Partitioning::Hash(side.keys.clone());
            self.builder.graph.add_edge(side.stream.node, join.node, port, keys);
        }
    }
}

/// The name under which a query knows a plan, if it is one relation.
fn relation_name(plan: &LogicalPlan) -> Option<&str> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => Some(alias.alias.table()),
        LogicalPlan::TableScan(scan) => Some(scan.table_name.table()),
        LogicalPlan::Projection(projection) => relation_name(&projection.input),
        LogicalPlan::Filter(filter) => relation_name(&filter.input),
        _ => None,
    }
}

impl Conditions {
    /// Sorts the conditions of ON and of the WHERE above.
    pub(super) fn of(join: &Join, above: Vec<Expr>) -> Result<Self> {
        let mut conditions = Self { keys: join.on.clone(), ..Self::default() };
        let on = join.filter.iter().flat_map(split_conjunction).cloned();
        for condition in on.chain(above) {
            conditions.add(condition, join.left.schema(), join.right.schema())?;
        }
        Ok(conditions)
    }

    fn add(&mut self, condition: Expr, left: &DFSchema, right: &DFSchema) -> Result<()> {
        let reads = |schema: &DFSchema| condition.column_refs().iter().any(|column| schema.has_column(column));
        match (reads(left), reads(right)) {
            (_, false) => self.left.push(condition),
            (false, true) => self.right.push(condition),
            (true, true) => match equal_pair(&condition, left, right)? {
                Some(pair) => self.keys.push(pair),
                None => self.both.push(condition),
            },
        }
        Ok(())
    }
}

/// The two sides of `a = b` if each reads one input.
fn equal_pair(condition: &Expr, left: &DFSchema, right: &DFSchema) -> Result<Option<(Expr, Expr)>> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left: l, op: Operator::Eq, right: r }) => {
            Ok(find_valid_equijoin_key_pair(unaliased(l), unaliased(r), left, right)?)
        }
        _ => Ok(None),
    }
}

/// The schema of a join's output, left columns then right ones, and how the plan's fields map to it.
pub(super) fn joined(left: &Side, right: &Side, plan: &DFSchema, right_nullable: bool) -> (SchemaRef, Vec<usize>) {
    let left_width = left.stream.width();
    let columns: Vec<usize> =
        left.relation.columns.iter().copied().chain(right.relation.columns.iter().map(|c| left_width + c)).collect();
    let own = left.stream.schema().fields().iter().map(|field| field.as_ref().clone());
    let other = right.stream.schema().fields().iter().map(|field| {
        let field = field.as_ref().clone();
        if right_nullable { field.with_nullable(true) } else { field }
    });
    let fields: Vec<Field> = own.chain(other).collect();
    let plan_names = super::stream::unique_names(plan);
    let names = (0..fields.len()).map(|index| match columns.iter().position(|column| *column == index) {
        Some(field) => plan_names.get(field).cloned().unwrap_or_default(),
        None => fields.get(index).map(|field| field.name().clone()).unwrap_or_default(),
    });
    let names = make_unique(names);
    let renamed = fields.into_iter().zip(names).map(|(field, name)| field.with_name(name));
    (Arc::new(Schema::new(renamed.collect::<Vec<_>>())), columns)
}

/// What is known of a join's output.
pub(super) fn joined_info(left: &Stream, right: &Stream, schema: SchemaRef, times: Vec<usize>) -> StreamInfo {
    let bounded = left.info.bounded && right.info.bounded;
    StreamInfo { schema, times, bounded, changelog: false, upsert_keys: Vec::new() }
}

/// The names of event-time columns as a message shows them.
pub(super) fn shown_times(relation: &Relation, schema: &DFSchema) -> String {
    let names = relation.stream.info.times.iter().map(|time| shown_time(relation, schema, *time));
    names.collect::<Vec<_>>().join(" or ")
}

/// A column of the stream with its table's name. A query that does not read it has no field for it.
fn shown_time(relation: &Relation, schema: &DFSchema, column: usize) -> String {
    let field = relation.columns.iter().position(|c| *c == column).unwrap_or_default();
    let qualifier = schema.iter().nth(field).and_then(|(qualifier, _)| qualifier.cloned());
    Column::new(qualifier, relation.name(column)).flat_name()
}
