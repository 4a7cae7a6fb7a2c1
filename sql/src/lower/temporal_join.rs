//! `FOR SYSTEM_TIME AS OF`: each left row with the newest right row at or before its time.
//!
//! A condition on the right side must not filter the versions: without it the newest version is
//! another one. So only conditions on the left side go below the join.

use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::{Expr, Join, Operator};
use tidemill_plans::node::{NodeKind, TemporalJoinKind, TemporalJoinNode};

use super::expression::plain_column;
use super::join::{Conditions, joined, joined_info, shown_times};
use super::stream::Relation;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

impl QueryPlanner<'_> {
    pub(super) fn lower_temporal_join(&mut self, join: &Join, above: Vec<Expr>) -> Result<Relation> {
        let kind = match join.join_type {
            JoinType::Inner => TemporalJoinKind::Inner,
            JoinType::Left => TemporalJoinKind::Left,
            other => {
                let hint = "write JOIN or LEFT JOIN";
                return Err(SqlError::unsupported(
                    format!("{} JOIN with FOR SYSTEM_TIME AS OF", other.to_string().to_uppercase()),
                    hint,
                ));
            }
        };
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let conditions = Conditions::of(join, Vec::new())?;
        let (below, above): (Vec<Expr>, Vec<Expr>) =
            above.into_iter().partition(|c| !c.column_refs().iter().any(|column| right_schema.has_column(column)));
        let left = self.lower_side(&join.left, below)?;
        let right = self.lower_side(&join.right, Vec::new())?;
        let as_of = as_of_columns(&conditions, &left, &right, left_schema, right_schema)?;
        let (left_keys, right_keys): (Vec<&Expr>, Vec<&Expr>) = conditions.keys.iter().map(|(l, r)| (l, r)).unzip();
        if left_keys.is_empty() {
            return Err(SqlError::invalid("a join with FOR SYSTEM_TIME AS OF needs equal keys in ON: ON a.k = b.k"));
        }
        let left_time = place(&left, as_of.0)?;
        let right_time = place(&right, as_of.1)?;
        let left = self.keyed_side(left, left_schema, &left_keys)?;
        let right = self.keyed_side(right, right_schema, &right_keys)?;
        let (left_time, right_time) = (left.relation.columns[left_time], right.relation.columns[right_time]);
        let (schema, columns) = joined(&left, &right, &join.schema, kind == TemporalJoinKind::Left);
        let info = joined_info(&left.stream, &right.stream, schema, left.stream.info.times.clone());
        let node = NodeKind::TemporalJoin(TemporalJoinNode {
            left_keys: left.keys.clone(),
            right_keys: right.keys.clone(),
            left_time,
            right_time,
            kind,
        });
        let stream = self.builder.add_operator(node, self.builder.settings.parallelism, info);
        self.connect_sides(&left, &right, &stream);
        let mut relation = Relation { columns, ..Relation::all(stream) };
        for condition in &above {
            relation = self.filter(relation, &join.schema, condition)?;
        }
        Ok(relation)
    }
}

/// Which field of the plan a column of the stream is.
fn place(relation: &Relation, column: usize) -> Result<usize> {
    let found = relation.columns.iter().position(|c| *c == column);
    found.ok_or_else(|| SqlError::invalid("the event-time column of a temporal join was projected away"))
}

/// The time columns of `right.time <= left.time`, which planning has added to ON. Anything else that is
/// no key is refused.
fn as_of_columns(
    conditions: &Conditions,
    left: &Relation,
    right: &Relation,
    left_schema: &DFSchema,
    right_schema: &DFSchema,
) -> Result<(usize, usize)> {
    let mut found = None;
    for condition in &conditions.both {
        match as_of_pair(condition, left, right, left_schema, right_schema) {
            Some(pair) if found.is_none() => found = Some(pair),
            _ => return Err(extra_condition(condition)),
        }
    }
    if let Some(condition) = conditions.left.first().or(conditions.right.first()) {
        // The as-of column may have been one of the right side's own.
        return Err(extra_condition(condition));
    }
    let valid = shown_times(left, left_schema);
    match found {
        Some((time, right_time)) if left.stream.info.times.contains(&time) => Ok((time, right_time)),
        _ if valid.is_empty() => Err(SqlError::invalid(
            "the left side of a join with FOR SYSTEM_TIME AS OF has no event-time column; declare WATERMARK FOR in its source",
        )),
        _ => Err(SqlError::invalid(format!("FOR SYSTEM_TIME AS OF takes the left side's event time: {valid}"))),
    }
}

fn extra_condition(condition: &Expr) -> SqlError {
    let what = format!("the condition {} in ON of a join with FOR SYSTEM_TIME AS OF", condition.human_display());
    SqlError::unsupported(what, "ON takes equal keys only; put the rest in WHERE, or in a view on the right side")
}

fn as_of_pair(
    condition: &Expr,
    left: &Relation,
    right: &Relation,
    left_schema: &DFSchema,
    right_schema: &DFSchema,
) -> Option<(usize, usize)> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) = condition else { return None };
    let (older, newer) = match op {
        Operator::LtEq => (a, b),
        Operator::GtEq => (b, a),
        _ => return None,
    };
    let right_time = plain_column(older, right, right_schema)?;
    let left_time = plain_column(newer, left, left_schema)?;
    right.stream.info.times.contains(&right_time).then_some((left_time, right_time))
}
