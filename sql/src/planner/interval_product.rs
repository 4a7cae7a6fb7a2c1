//! `INTERVAL '1 minute' * x`: PostgreSQL's way to make a length of time of a number.
//!
//! DataFusion multiplies intervals by BIGINT only. An interval of fixed length times any number is
//! planned as a duration in microseconds, which can be added to a TIMESTAMP. A number that is NULL,
//! infinite or too large gives NULL rather than ending the job.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast, lit, try_cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::interval::literal_micros;

/// Plans the product of an interval literal and a number.
#[derive(Debug)]
pub(super) struct IntervalProduct;

impl ExprPlanner for IntervalProduct {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::Multiply {
            return Ok(PlannerResult::Original(expr));
        }
        let (micros, number) = match (literal_micros(&expr.left), literal_micros(&expr.right)) {
            (Some(micros), None) => (micros, &expr.right),
            (None, Some(micros)) => (micros, &expr.left),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        if !number.get_type(schema)?.is_numeric() {
            return Ok(PlannerResult::Original(expr));
        }
        Ok(PlannerResult::Planned(product(number.clone(), micros)))
    }
}

fn product(number: Expr, micros: i64) -> Expr {
    // Exact up to 2^53 microseconds, some 285 years.
    let factor = lit(micros as f64);
    let micros = try_cast(cast(number, DataType::Float64) * factor, DataType::Int64);
    cast(micros, DataType::Duration(TimeUnit::Microsecond))
}
