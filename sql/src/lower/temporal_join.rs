//! `FOR SYSTEM_TIME AS OF` and `ASOF JOIN`: each left row with the newest right row as of its time.
//!
//! A condition on the right side must not filter the versions: without it the newest version is
//! another one. So only conditions on the left side go below the join.

use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::{Expr, Join};
use tidemill_plans::node::{JoinKind, NodeKind, TemporalJoinKind, TemporalJoinNode, VersionBound};

use super::expression::plain_column;
use super::join::{Conditions, joined, joined_info, refuse_updating, shown_times};
use super::stream::Relation;
use crate::error::{Result, SqlError};
use crate::planner::{QueryPlanner, as_of};

impl QueryPlanner<'_> {
    pub(super) fn lower_temporal_join(&mut self, join: &Join, above: Vec<Expr>) -> Result<Relation> {
        let (kind, join_kind) = match join.join_type {
            JoinType::Inner => (TemporalJoinKind::Inner, JoinKind::Inner),
            JoinType::Left => (TemporalJoinKind::Left, JoinKind::Left),
            other => {
                let hint = "write JOIN or LEFT JOIN";
                return Err(SqlError::unsupported(
                    format!("{} JOIN as a temporal join", other.to_string().to_uppercase()),
                    hint,
                ));
            }
        };
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let conditions = Conditions::of(join, join_kind, Vec::new())?;
        let (below, above): (Vec<Expr>, Vec<Expr>) =
            above.into_iter().partition(|c| !c.column_refs().iter().any(|column| right_schema.has_column(column)));
        let left = self.lower_side(&join.left, below)?;
        let right = self.lower_side(&join.right, Vec::new())?;
        [&left, &right].into_iter().try_for_each(refuse_updating)?;
        let as_of = as_of_columns(&conditions, &left, &right, left_schema, right_schema)?;
        let (left_keys, right_keys): (Vec<&Expr>, Vec<&Expr>) = conditions.keys.iter().map(|(l, r)| (l, r)).unzip();
        if left_keys.is_empty() {
            return Err(SqlError::invalid("a temporal join needs equal keys in ON: ON a.k = b.k"));
        }
        let left_time = place(&left, as_of.0)?;
        let right_time = place(&right, as_of.1)?;
        let left = self.keyed_side(left, left_schema, &left_keys)?;
        let right = self.keyed_side(right, right_schema, &right_keys)?;
        let (left_time, right_time) = (left.relation.columns[left_time], right.relation.columns[right_time]);
        let (schema, columns) = joined(&left, &right, &join.schema, join_kind);
        let info = joined_info(&left.stream, &right.stream, schema, vec![left_time]);
        let ttl = self.state_ttl_of(&join.right);
        let node = NodeKind::TemporalJoin(TemporalJoinNode {
            left_keys: left.keys.clone(),
            right_keys: right.keys.clone(),
            left_time,
            right_time,
            bound: as_of.2,
            kind,
            ttl,
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

/// The time columns of the `__as_of` that planning has added to ON. Anything else that is no key is
/// refused.
fn as_of_columns(
    conditions: &Conditions,
    left: &Relation,
    right: &Relation,
    left_schema: &DFSchema,
    right_schema: &DFSchema,
) -> Result<(usize, usize, VersionBound)> {
    let on = || conditions.both.iter().chain(&conditions.left).chain(&conditions.right);
    if let Some(extra) = on().find(|condition| as_of::arguments(condition).is_none()) {
        let what = format!("the condition {} in ON of a temporal join", extra.human_display());
        let hint = "ON takes equal keys only; put the rest in WHERE, or in a view on the right side";
        return Err(SqlError::unsupported(what, hint));
    }
    let columns = on().find_map(as_of::arguments).and_then(|(version_time, as_of, bound)| {
        let right_time = plain_column(version_time, right, right_schema)?;
        Some((plain_column(as_of, left, left_schema)?, right_time, bound))
    });
    match columns.filter(|(left_time, ..)| left.stream.info.times.contains(left_time)) {
        Some(columns) => Ok(columns),
        None if left.stream.info.times.is_empty() => Err(SqlError::invalid(
            "the left side of a temporal join has no event-time column; declare WATERMARK FOR in its source",
        )),
        None => {
            let valid = shown_times(left, left_schema);
            Err(SqlError::invalid(format!("a temporal join is as of the left side's event time: {valid}")))
        }
    }
}
