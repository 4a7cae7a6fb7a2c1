//! Functions with OVER: as expressions of a project relation, and as a relation of their own.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{WindowFunction as WindowCall, WindowFunctionParams};
use datafusion::logical_expr::planner::ContextProvider;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

use super::Consumer;
use super::function::{check_call, sql_name, unknown};
use super::names::{all_columns, named};
use super::project::on_top;
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::{
    Bound, BoundKind, DISTINCT, Expression, RANGE, ROWS, SortField, WHOLE_PHASES, WindowFunction, WindowRel,
};

impl Consumer<'_> {
    pub(super) fn window(&mut self, window: &WindowRel) -> Read<LogicalPlan> {
        let input = self.input(window.input.as_ref(), "input")?;
        let calls = each(&window.functions, |call| {
            self.count(1)?;
            self.over(call, &window.partitions, &window.sorts, input.schema())
        });
        let calls = calls.within("window_functions")?;
        let columns: Vec<Expr> = all_columns(input.schema()).chain(calls.iter().cloned()).collect();
        let plan = LogicalPlanBuilder::window_plan(input, calls)?;
        on_top(plan, named(columns, &[]))
    }

    /// A call with OVER (PARTITION BY … ORDER BY …).
    pub(super) fn over(
        &mut self,
        call: &WindowFunction,
        partitions: &[Expression],
        sorts: &[SortField],
        schema: &DFSchema,
    ) -> Read<Expr> {
        let name = self.function_name(call.function)?;
        check_call(&call.options, &call.old_arguments)?;
        check_phase(call.phase)?;
        let fun = self.window_definition(name)?;
        let mut args = self.arguments(&call.arguments, schema)?;
        if args.is_empty() && fun.name() == "count" {
            args.push(all_rows());
        }
        let partition_by = each(partitions, |expression| self.expression(expression, schema)).within("partitions")?;
        let mut order_by = self.sorts(sorts, schema)?;
        let window_frame = frame(call, !order_by.is_empty())?;
        window_frame.regularize_order_bys(&mut order_by)?;
        let distinct = call.invocation == DISTINCT;
        let params = WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame,
            filter: None,
            null_treatment: None,
            distinct,
        };
        Ok(Expr::from(WindowCall { fun, params }))
    }

    fn window_definition(&self, name: &str) -> Read<WindowFunctionDefinition> {
        let own = sql_name(name);
        let window = self.context.get_window_meta(own).map(WindowFunctionDefinition::WindowUDF);
        let aggregate = || self.context.get_aggregate_meta(own).map(WindowFunctionDefinition::AggregateUDF);
        window.or_else(aggregate).ok_or_else(|| unknown(name))
    }
}

/// What `count()` of no argument counts.
pub(super) fn all_rows() -> Expr {
    Expr::Literal(ScalarValue::from(1i64), None)
}

/// Refuses an aggregate of what others have begun, or are to end.
pub(super) fn check_phase(phase: i32) -> Read<()> {
    match WHOLE_PHASES.contains(&phase) {
        true => Ok(()),
        false => Err(Problem::unsupported("a part of an aggregation", "send it as one, from rows to results"))
            .within("phase"),
    }
}

fn frame(call: &WindowFunction, is_ordered: bool) -> Read<WindowFrame> {
    let units = match call.bounds {
        ROWS => WindowFrameUnits::Rows,
        RANGE => WindowFrameUnits::Range,
        _ if is_ordered => WindowFrameUnits::Range,
        _ => WindowFrameUnits::Rows,
    };
    let lower = bound(call.lower, WindowFrameBound::Preceding(ScalarValue::Null)).within("lower_bound")?;
    let upper = bound(call.upper, WindowFrameBound::Following(ScalarValue::Null)).within("upper_bound")?;
    Ok(WindowFrame::new_bounds(units, lower, upper))
}

fn bound(bound: Option<Bound>, unbounded: WindowFrameBound) -> Read<WindowFrameBound> {
    let offset = |offset: i64| {
        let rows = u64::try_from(offset).map_err(|_| Problem::new(format!("{offset} is less than nothing")))?;
        Ok::<_, Problem>(ScalarValue::from(rows))
    };
    Ok(match bound.and_then(|bound| bound.kind) {
        None | Some(BoundKind::Unbounded(_)) => unbounded,
        Some(BoundKind::CurrentRow(_)) => WindowFrameBound::CurrentRow,
        Some(BoundKind::Preceding(by)) => WindowFrameBound::Preceding(offset(by.offset)?),
        Some(BoundKind::Following(by)) => WindowFrameBound::Following(offset(by.offset)?),
    })
}
