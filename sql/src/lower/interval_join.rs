//! Inner joins of two streams whose event times are bounded by each other.

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, Join};
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::node::{IntervalJoinNode, JoinSide, NodeKind};

use super::expression::{plain_column, resolve};
use super::join::{Conditions, Side, joined, joined_info, shown_times};
use super::stream::Relation;
use super::time_bounds::{TimeBounds, TimeSide};
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

/// Which columns are bounded by each other, how, and what other conditions there are.
struct Bounded {
    /// Fields of the left and right plan.
    times: (usize, usize),
    lower: i64,
    upper: i64,
    rest: Vec<Expr>,
}

impl QueryPlanner<'_> {
    pub(super) fn lower_interval_join(&mut self, join: &Join, above: Vec<Expr>) -> Result<Relation> {
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let mut conditions = Conditions::of(join, above)?;
        let left = self.lower_side(&join.left, std::mem::take(&mut conditions.left))?;
        let right = self.lower_side(&join.right, std::mem::take(&mut conditions.right))?;
        let bounded = find_bounds(&conditions, &left, &right, left_schema, right_schema)?;
        if conditions.keys.is_empty() {
            return Err(SqlError::invalid("a join of two streams needs equal keys: ON a.k = b.k"));
        }
        let (left_keys, right_keys): (Vec<&Expr>, Vec<&Expr>) = conditions.keys.iter().map(|(l, r)| (l, r)).unzip();
        let left = self.keyed_side(left, left_schema, &left_keys)?;
        let right = self.keyed_side(right, right_schema, &right_keys)?;
        self.add_interval_join(&left, &right, join, bounded)
    }

    fn add_interval_join(&mut self, left: &Side, right: &Side, join: &Join, bounded: Bounded) -> Result<Relation> {
        let (schema, columns) = joined(left, right, &join.schema, false);
        let left_time = left.relation.columns[bounded.times.0];
        let right_time = right.relation.columns[bounded.times.1];
        let output_time = if bounded.lower >= 0 { JoinSide::Right } else { JoinSide::Left };
        // Only the column that the output's watermark speaks of: another one, such as window_time beside
        // window_end, may lie behind it in rows that were held.
        let times = match output_time {
            JoinSide::Left => vec![left_time],
            JoinSide::Right => vec![left.stream.width() + right_time],
        };
        let info = joined_info(&left.stream, &right.stream, schema, times);
        let id = tidemill_plans::ids::OperatorId::default();
        let output = Relation {
            columns,
            ..Relation::all(super::stream::Stream { node: id, parallelism: 1, info: info.clone() })
        };
        let rest = bounded.rest.iter().map(|condition| resolve(condition, &output, &join.schema));
        let filter = rest.collect::<Result<Vec<_>>>()?.into_iter().reduce(Expr::and).map(StreamExpr);
        let node = NodeKind::IntervalJoin(IntervalJoinNode {
            left_keys: left.keys.clone(),
            right_keys: right.keys.clone(),
            left_time,
            right_time,
            lower: bounded.lower,
            upper: bounded.upper,
            filter,
            output_time,
        });
        let stream = self.builder.add_operator(node, self.builder.settings.parallelism, info);
        self.connect_sides(left, right, &stream);
        Ok(Relation { stream, ..output })
    }
}

/// Tries each pair of event-time columns until one is bounded on both sides.
fn find_bounds(
    conditions: &Conditions,
    left: &Relation,
    right: &Relation,
    left_schema: &DFSchema,
    right_schema: &DFSchema,
) -> Result<Bounded> {
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
                return Ok(Bounded { times: (l, r), lower, upper, rest });
            }
        }
    }
    Err(no_bounds(&shown_times(left, left_schema), &shown_times(right, right_schema)))
}

fn no_bounds(left: &str, right: &str) -> SqlError {
    if left.is_empty() || right.is_empty() {
        let side = if left.is_empty() { "left" } else { "right" };
        return SqlError::invalid(format!(
            "a join of two streams needs bounds between their event times, but the {side} side has no event-time \
             column; declare WATERMARK FOR in its source, and keep the column in the query"
        ));
    }
    SqlError::invalid(format!(
        "a join of two streams needs bounds between their event times on both ends; add {right} BETWEEN {left} AND \
         {left} + INTERVAL '…' to ON, or join the version at that time: JOIN b FOR SYSTEM_TIME AS OF {left}"
    ))
}
