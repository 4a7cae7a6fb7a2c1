//! Aggregations: GROUP BY and DISTINCT.

use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::AggregateFunction as AggregateCall;
use datafusion::logical_expr::planner::ContextProvider;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::Consumer;
use super::function::{check_call, sql_name, unknown};
use super::names::named;
use super::window::{all_rows, check_phase};
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::{AggregateFunction, AggregateRel, DISTINCT, Grouping, Measure};

impl Consumer<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &AggregateRel) -> Read<LogicalPlan> {
        let input = self.input(aggregate.input.as_ref(), "input")?;
        let schema = input.schema();
        let groups = match aggregate.groupings.as_slice() {
            [] => Vec::new(),
            [grouping] => self.grouping(grouping, aggregate, schema)?,
            _ => {
                let hint = "write one query for each grouping";
                return Err(Problem::unsupported("GROUPING SETS, CUBE and ROLLUP", hint)).within("groupings");
            }
        };
        let calls = each(&aggregate.measures, |measure| self.measure(measure, schema)).within("measures")?;
        if groups.is_empty() && calls.is_empty() {
            return Err(Problem::new("it has neither groupings nor measures"));
        }
        let count = groups.len();
        let mut columns = named(groups.into_iter().chain(calls).collect(), &[]);
        let calls = columns.split_off(count);
        Ok(LogicalPlanBuilder::from(input).aggregate(columns, calls)?.build()?)
    }

    fn grouping(&mut self, grouping: &Grouping, aggregate: &AggregateRel, schema: &DFSchema) -> Read<Vec<Expr>> {
        if !grouping.expressions.is_empty() {
            let own = each(&grouping.expressions, |expression| self.expression(expression, schema));
            return own.within("grouping_expressions").at(0).within("groupings");
        }
        let referred = each(&grouping.references, |reference| {
            let found = usize::try_from(*reference).ok().and_then(|place| aggregate.grouping_expressions.get(place));
            let expression =
                found.ok_or_else(|| Problem::new(format!("there is no grouping expression {reference}")))?;
            self.expression(expression, schema)
        });
        referred.within("expression_references").at(0).within("groupings")
    }

    fn measure(&mut self, measure: &Measure, schema: &DFSchema) -> Read<Expr> {
        self.count(1)?;
        let call = measure.function.as_ref().ok_or_else(|| Problem::new("it is missing")).within("measure")?;
        let filter = self.optional(measure.filter.as_ref(), schema, "filter")?;
        let call = self.aggregate_call(call, filter, schema).within("measure")?;
        Ok(Expr::AggregateFunction(call))
    }

    fn aggregate_call(
        &mut self,
        call: &AggregateFunction,
        filter: Option<Box<Expr>>,
        schema: &DFSchema,
    ) -> Read<AggregateCall> {
        let name = self.function_name(call.function)?;
        check_call(&call.options, &call.old_arguments)?;
        check_phase(call.phase)?;
        let function = self.context.get_aggregate_meta(sql_name(name)).ok_or_else(|| unknown(name))?;
        let mut arguments = self.arguments(&call.arguments, schema)?;
        if arguments.is_empty() && function.name() == "count" {
            arguments.push(all_rows());
        }
        let order_by = self.sorts(&call.sorts, schema)?;
        Ok(AggregateCall::new_udf(function, arguments, call.invocation == DISTINCT, filter, order_by, None))
    }
}
