//! Joins of two streams whose event times are bounded by each other.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use tidemill_plans::expr::{StreamExpr, StreamSchema};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::{IntervalJoinNode, JoinKind, JoinSide, NodeKind};

use super::expression::{plain_column, resolve};
use super::join::{Inputs, Side, joined, joined_info, output_of};
use super::stream::{Relation, Stream};
use super::time_bounds::{TimeBounds, TimeSide};
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

/// Which columns are bounded by each other, how, and what other conditions there are.
pub(super) struct Bounded {
    /// Fields of the left and right plan.
    times: (usize, usize),
    lower: i64,
    upper: i64,
    rest: Vec<Expr>,
}

impl QueryPlanner<'_> {
    pub(super) fn lower_interval_join(&mut self, inputs: Inputs<'_>, bounded: Bounded) -> Result<Relation> {
        let Inputs { join, kind, conditions, left, right, schema } = inputs;
        let (mut left_keys, mut right_keys): (Vec<&Expr>, Vec<&Expr>) =
            conditions.keys.iter().map(|(l, r)| (l, r)).unzip();
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let field = |schema: &DFSchema, field| Expr::from(schema.qualified_field(field));
        let times = (field(left_schema, bounded.times.0), field(right_schema, bounded.times.1));
        // Without keys one instance would do all the work; rows of one time can be told apart by it.
        if left_keys.is_empty() && bounded.lower == bounded.upper && bounded.upper == 0 {
            left_keys.push(&times.0);
            right_keys.push(&times.1);
        }
        let left = self.keyed_side(left, left_schema, &left_keys)?;
        let right = self.keyed_side(right, right_schema, &right_keys)?;
        self.add_interval_join(&left, &right, kind, &schema, bounded)
    }

    fn add_interval_join(
        &mut self,
        left: &Side,
        right: &Side,
        kind: JoinKind,
        plan: &DFSchema,
        bounded: Bounded,
    ) -> Result<Relation> {
        let (pairs, columns) = joined(left, right, plan, kind);
        let filter = pair_filter(&bounded.rest, left, right, &pairs, &columns, plan)?;
        let left_time = left.relation.columns[bounded.times.0];
        let right_time = right.relation.columns[bounded.times.1];
        let output_time = IntervalJoinNode::output_time_of(kind, bounded.lower);
        let times = match kind.single_side() {
            None => kept_times(kind, (bounded.lower, bounded.upper), left_time, left.stream.width() + right_time),
            Some(JoinSide::Left) => vec![left_time],
            Some(JoinSide::Right) => vec![right_time],
        };
        let (info, columns) = output_of(kind, left, right, &pairs, columns, times);
        let node = NodeKind::IntervalJoin(IntervalJoinNode {
            kind,
            left_keys: left.keys.clone(),
            right_keys: right.keys.clone(),
            left_time,
            right_time,
            lower: bounded.lower,
            upper: bounded.upper,
            filter,
            pairs: StreamSchema(pairs),
            output_time,
        });
        let parallelism = if left.keys.is_empty() { 1 } else { self.builder.settings.parallelism };
        let stream = self.builder.add_operator(node, parallelism, info);
        self.connect_sides(left, right, &stream);
        Ok(Relation { columns, ..Relation::all(stream) })
    }
}

/// The conditions that no key and no bound stands for, over the pairs' fields.
pub(super) fn pair_filter(
    rest: &[Expr],
    left: &Side,
    right: &Side,
    pairs: &SchemaRef,
    columns: &[usize],
    plan: &DFSchema,
) -> Result<Option<StreamExpr>> {
    let info = joined_info(&left.stream, &right.stream, Arc::clone(pairs), Vec::new());
    let stream = Stream { node: OperatorId::default(), parallelism: 1, info };
    let relation = Relation { columns: columns.to_vec(), ..Relation::all(stream) };
    let rest = rest.iter().map(|condition| resolve(condition, &relation, plan));
    Ok(rest.collect::<Result<Vec<_>>>()?.into_iter().reduce(Expr::and).map(StreamExpr))
}

/// The event-time columns of pairs. Only what the output's watermark speaks of: another column, such as
/// window_time beside window_end, may lie behind it in rows that were held. Times that are equal in all
/// rows are as good as each other.
pub(crate) fn kept_times(kind: JoinKind, bounds: (i64, i64), left: usize, right: usize) -> Vec<usize> {
    match IntervalJoinNode::output_time_of(kind, bounds.0) {
        None => Vec::new(),
        Some(_) if kind == JoinKind::Inner && bounds == (0, 0) => vec![left, right],
        Some(JoinSide::Left) => vec![left],
        Some(JoinSide::Right) => vec![right],
    }
}

/// Tries each pair of event-time columns until one is bounded on both sides; `None` if none is.
pub(super) fn find_bounds(inputs: &Inputs<'_>) -> Result<Option<Bounded>> {
    let Inputs { join, conditions, left, right, .. } = inputs;
    if left.stream.info.changelog || right.stream.info.changelog {
        return Ok(None);
    }
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    for left_time in &left.stream.info.times {
        for right_time in &right.stream.info.times {
            let side_of = |expr: &Expr| {
                if plain_column(expr, left, left_schema) == Some(*left_time) {
                    Some(TimeSide::Left)
                } else {
                    (plain_column(expr, right, right_schema) == Some(*right_time)).then_some(TimeSide::Right)
                }
            };
            let mut bounds = TimeBounds::default();
            for (l, r) in &conditions.keys {
                bounds.narrow(&l.clone().eq(r.clone()), &side_of);
            }
            let rest: Vec<Expr> = conditions.both.iter().filter(|c| !bounds.narrow(c, &side_of)).cloned().collect();
            let place = |relation: &Relation, time| relation.columns.iter().position(|column| *column == time);
            if let (Some(lower), Some(upper)) = (bounds.lower, bounds.upper)
                && let (Some(l), Some(r)) = (place(left, *left_time), place(right, *right_time))
            {
                if lower > upper {
                    return Err(SqlError::invalid("no two rows can join: the time bounds contradict each other"));
                }
                return Ok(Some(Bounded { times: (l, r), lower, upper, rest }));
            }
        }
    }
    Ok(None)
}
