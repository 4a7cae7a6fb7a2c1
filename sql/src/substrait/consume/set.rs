//! UNION ALL and UNION.

use std::sync::Arc;

use datafusion::logical_expr::{Distinct, LogicalPlan, Union};

use super::Consumer;
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::SetRel;

const UNION_DISTINCT: i32 = 5;
const UNION_ALL: i32 = 6;

impl Consumer<'_> {
    pub(super) fn set(&mut self, set: &SetRel) -> Read<LogicalPlan> {
        if ![UNION_DISTINCT, UNION_ALL].contains(&set.operation) {
            let hint = "join the inputs, or filter";
            return Err(Problem::unsupported("a set operation other than UNION", hint)).within("op");
        }
        if set.inputs.is_empty() {
            return Err(Problem::new("there are none")).within("inputs");
        }
        let inputs = each(&set.inputs, |input| self.relation(input).map(Arc::new)).within("inputs")?;
        let all = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
        Ok(match set.operation {
            UNION_ALL => all,
            _ => LogicalPlan::Distinct(Distinct::All(Arc::new(all))),
        })
    }
}
