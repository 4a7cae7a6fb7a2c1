//! Joins without bounds on time: every row may join every later one.
//!
//! Rows that only come on both sides of an inner or semi join make pairs that only come; everything else
//! gives an updating stream. Event time is not kept: a pair may come long after its rows.

use datafusion::logical_expr::Expr;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::node::{JoinKind, JoinNode, NodeKind};

use super::interval_join::pair_filter;
use super::join::{Inputs, Side, joined, output_of};
use super::stream::Relation;
use crate::catalog::StreamInfo;
use crate::error::{Result, SqlError};
use crate::planner::QueryPlanner;

impl QueryPlanner<'_> {
    pub(super) fn lower_updating_join(&mut self, inputs: Inputs<'_>) -> Result<Relation> {
        let Inputs { join, kind, conditions, left, right, schema } = inputs;
        if conditions.keys.is_empty() {
            let message = "a join of two streams needs equal keys, ON a.k = b.k, or bounds between their event times, \
                           ON b.ts BETWEEN a.ts AND a.ts + INTERVAL '…'";
            return Err(SqlError::invalid(message));
        }
        let (left_keys, right_keys): (Vec<&Expr>, Vec<&Expr>) = conditions.keys.iter().map(|(l, r)| (l, r)).unzip();
        let left = self.keyed_side(left, join.left.schema(), &left_keys)?;
        let right = self.keyed_side(right, join.right.schema(), &right_keys)?;
        let (pairs, columns) = joined(&left, &right, &schema, kind);
        let filter = pair_filter(&conditions.both, &left, &right, &pairs, &columns, &schema)?;
        let (info, columns) = output_of(kind, &left, &right, &pairs, columns, Vec::new());
        let info = StreamInfo {
            changelog: is_changelog(kind, &left, &right),
            upsert_keys: upsert_keys(kind, &left, &right),
            ..info
        };
        let ttl = [self.state_ttl_of(&join.left), self.state_ttl_of(&join.right)];
        let time = |side: &Side| side.stream.info.times.first().copied();
        let node = NodeKind::Join(JoinNode {
            kind,
            left_keys: left.keys.clone(),
            right_keys: right.keys.clone(),
            times: [time(&left), time(&right)],
            pairs: StreamSchema(pairs),
            filter,
            ttl,
        });
        let stream = self.builder.add_operator(node, self.builder.settings.parallelism, info);
        self.connect_sides(&left, &right, &stream);
        Ok(Relation { columns, ..Relation::all(stream) })
    }
}

/// Whether rows of the output may go again.
fn is_changelog(kind: JoinKind, left: &Side, right: &Side) -> bool {
    let updating = left.stream.info.changelog || right.stream.info.changelog;
    updating || !matches!(kind, JoinKind::Inner | JoinKind::LeftSemi | JoinKind::RightSemi)
}

/// The columns that identify a row of the output; none if none do. The changes of a row must come from one
/// instance, or they could overtake each other: so each side's key has to hold the columns that it is
/// spread by.
fn upsert_keys(kind: JoinKind, left: &Side, right: &Side) -> Vec<usize> {
    let keys = |side: &Side| {
        let keys = &side.stream.info.upsert_keys;
        (!keys.is_empty() && side.keys.iter().all(|key| keys.contains(key))).then(|| keys.clone())
    };
    let keys = match (kind, keys(left), keys(right)) {
        (JoinKind::LeftSemi | JoinKind::LeftAnti, left, _) => left,
        (JoinKind::RightSemi | JoinKind::RightAnti, _, right) => right,
        // Beside NULLs there is no key of the other side.
        (JoinKind::Inner, Some(own), Some(other)) => {
            Some(own.into_iter().chain(other.into_iter().map(|key| left.stream.width() + key)).collect())
        }
        _ => None,
    };
    keys.unwrap_or_default()
}
