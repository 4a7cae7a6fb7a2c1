//! Columns: those of a project relation, and the choice that any relation may make of its own.

use std::sync::Arc;

use datafusion::logical_expr::utils::find_window_exprs;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, LogicalPlanBuilder};

use super::names::{all_columns, column_at, named};
use super::{Consumer, mapping};
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::ProjectRel;

impl Consumer<'_> {
    /// A relation of its input's columns and the expressions behind them; mostly a choice of the latter.
    pub(super) fn project(&mut self, project: &ProjectRel) -> Read<LogicalPlan> {
        let input = self.input(project.input.as_ref(), "input")?;
        let computed = each(&project.expressions, |expression| self.expression(expression, input.schema()));
        let computed = computed.within("expressions")?;
        let windows = find_window_exprs(&computed);
        let all: Vec<Expr> = all_columns(input.schema()).chain(computed).collect();
        let chosen = match mapping(project.common.as_ref()) {
            None => all,
            Some(mapping) => choose(&all, mapping)?,
        };
        self.count_columns(chosen.len())?;
        let input = match windows.is_empty() {
            true => input,
            false => LogicalPlanBuilder::window_plan(input, windows)?,
        };
        on_top(input, named(chosen, &[]))
    }

    /// The columns of a relation that it says come out.
    pub(super) fn emit(&mut self, plan: LogicalPlan, mapping: &[i32]) -> Read<LogicalPlan> {
        self.count_columns(mapping.len())?;
        let chosen = each(mapping, |number| column_at(plan.schema(), *number)).within("output_mapping");
        on_top(plan, named(chosen.within("emit").within("common")?, &[]))
    }
}

fn choose(all: &[Expr], mapping: &[i32]) -> Read<Vec<Expr>> {
    let chosen = each(mapping, |number| {
        let place = usize::try_from(*number).ok();
        let found = place.and_then(|place| all.get(place)).cloned();
        found.ok_or_else(|| Problem::new(format!("there is no column {number}; there are {}", all.len())))
    });
    chosen.within("output_mapping").within("emit").within("common")
}

/// A projection on top of a plan. A LIMIT stays above it, for that is where it can be.
pub(super) fn on_top(plan: LogicalPlan, columns: Vec<Expr>) -> Read<LogicalPlan> {
    match plan {
        LogicalPlan::Limit(limit) => {
            let input = Arc::new(on_top(Arc::unwrap_or_clone(limit.input), columns)?);
            Ok(LogicalPlan::Limit(Limit { input, ..limit }))
        }
        plan => Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?),
    }
}
