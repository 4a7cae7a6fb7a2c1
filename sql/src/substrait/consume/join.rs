//! Joins. Columns of the right side get other names where those are the left side's: they are told apart by them.

use datafusion::common::JoinType;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};

use super::Consumer;
use super::names::apart;
use crate::problem::{Problem, Read, Within};
use crate::substrait::messages::{CrossRel, JoinRel, Rel};

impl Consumer<'_> {
    pub(super) fn join(&mut self, join: &JoinRel) -> Read<LogicalPlan> {
        let kind = join_type(join.join_type).within("type")?;
        if join.filter_above.is_some() {
            let hint = "put a filter relation above the join";
            return Err(Problem::unsupported("a filter behind the join", hint)).within("post_join_filter");
        }
        let (left, right) = self.sides(join.left.as_ref(), join.right.as_ref())?;
        let pairs = left.schema().join(right.schema())?;
        let condition = join.condition.as_ref().map(|condition| self.expression(condition, &pairs)).transpose();
        let condition = condition.within("expression")?;
        let left = LogicalPlanBuilder::from(left);
        let joined = match (kind, condition) {
            (JoinType::Inner, None) => left.cross_join(right),
            (kind, condition) => left.join_on(right, kind, [condition.unwrap_or_else(|| lit(true))]),
        };
        Ok(joined?.build()?)
    }

    pub(super) fn cross(&mut self, cross: &CrossRel) -> Read<LogicalPlan> {
        let (left, right) = self.sides(cross.left.as_ref(), cross.right.as_ref())?;
        Ok(LogicalPlanBuilder::from(left).cross_join(right)?.build()?)
    }

    fn sides(&mut self, left: Option<&Rel>, right: Option<&Rel>) -> Read<(LogicalPlan, LogicalPlan)> {
        let left = self.input(left, "left")?;
        let right = self.input(right, "right")?;
        // Semi joins have one side's columns, and yet compare both.
        self.count(right.schema().fields().len())?;
        let right = apart(right, left.schema())?;
        Ok((left, right))
    }
}

fn join_type(number: i32) -> Read<JoinType> {
    let single = "a join of which each row has one partner at most";
    let (what, hint) = match number {
        1 => return Ok(JoinType::Inner),
        2 => return Ok(JoinType::Full),
        3 => return Ok(JoinType::Left),
        4 => return Ok(JoinType::Right),
        5 => return Ok(JoinType::LeftSemi),
        6 => return Ok(JoinType::LeftAnti),
        8 => return Ok(JoinType::RightSemi),
        9 => return Ok(JoinType::RightAnti),
        // Refused where those are that SQL's planner makes.
        11 => return Ok(JoinType::LeftMark),
        12 => return Ok(JoinType::RightMark),
        7 | 10 => (single, "send a left or right join"),
        _ => ("a join of a type that is not known", "inner, outer, left, right, semi and anti joins are possible"),
    };
    Err(Problem::unsupported(what, hint))
}
