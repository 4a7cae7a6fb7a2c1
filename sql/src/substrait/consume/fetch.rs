//! ORDER BY and LIMIT.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::Consumer;
use crate::lower::sink::no_offset;
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::{Expression, FetchCount, FetchOffset, FetchRel, SortField, SortRel};

impl Consumer<'_> {
    pub(super) fn sort(&mut self, sort: &SortRel) -> Read<LogicalPlan> {
        let input = self.input(sort.input.as_ref(), "input")?;
        let sorts = self.sorts(&sort.sorts, input.schema())?;
        if sorts.is_empty() {
            return Ok(input);
        }
        Ok(LogicalPlanBuilder::from(input).sort(sorts)?.build()?)
    }

    pub(super) fn sorts(&mut self, sorts: &[SortField], schema: &DFSchema) -> Read<Vec<Sort>> {
        let sorts = each(sorts, |sort| {
            let (asc, nulls_first) = direction(sort.direction).within("direction")?;
            Ok(Sort { expr: self.required(sort.expr.as_ref(), schema, "expr")?, asc, nulls_first })
        });
        sorts.within("sorts")
    }

    pub(super) fn fetch(&mut self, fetch: &FetchRel) -> Read<LogicalPlan> {
        let input = self.input(fetch.input.as_ref(), "input")?;
        let offset = match &fetch.offset {
            None => None,
            Some(FetchOffset::Rows(rows)) => Some(*rows),
            Some(FetchOffset::Expression(expression)) => self.rows(expression).within("offset_expr")?,
        };
        if offset.unwrap_or_default() != 0 {
            return Err(no_offset().into());
        }
        let count = match &fetch.count {
            // Minus one is the older word for all.
            None | Some(FetchCount::Rows(-1)) => None,
            Some(FetchCount::Rows(rows)) => Some(*rows),
            Some(FetchCount::Expression(expression)) => self.rows(expression).within("count_expr")?,
        };
        let Some(count) = count else { return Ok(input) };
        let count = usize::try_from(count).map_err(|_| Problem::new(format!("{count} rows are less than none")))?;
        Ok(LogicalPlanBuilder::from(input).limit(0, Some(count))?.build()?)
    }

    /// A number of rows; none if it is NULL.
    fn rows(&mut self, expression: &Expression) -> Read<Option<i64>> {
        let value = match self.expression(expression, DFSchema::empty_ref())? {
            Expr::Literal(value, _) if value.is_null() => return Ok(None),
            Expr::Literal(value, _) => value.cast_to(&arrow::datatypes::DataType::Int64).ok(),
            _ => None,
        };
        match value {
            Some(ScalarValue::Int64(Some(rows))) => Ok(Some(rows)),
            _ => Err(Problem::unsupported("this number of rows", "send a whole number")),
        }
    }
}

/// Whether the least comes first, and whether NULL does.
fn direction(number: i32) -> Read<(bool, bool)> {
    match number {
        1 => Ok((true, true)),
        2 => Ok((true, false)),
        3 => Ok((false, true)),
        4 => Ok((false, false)),
        _ => {
            Err(Problem::unsupported("this order", "ascending and descending, with NULLs first or last, are possible"))
        }
    }
}
