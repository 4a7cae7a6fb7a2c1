//! `INTERVAL '1 minute' * x`: PostgreSQL's way to make a length of time of a number.
//!
//! DataFusion multiplies intervals by BIGINT only. An interval of fixed length times any number is
//! planned as a duration in microseconds, which can be added to a TIMESTAMP. A number that is NULL,
//! infinite or too large gives NULL rather than ending the job.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::functions::math::expr_fn as math;
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
    // Exact up to 2^53 microseconds, some 285 years. A cast cuts off, PostgreSQL rounds: 4.1 minutes are
    // 246 s, although the product is a little less.
    let factor = lit(micros as f64);
    let micros = try_cast(math::round(vec![cast(number, DataType::Float64) * factor]), DataType::Int64);
    cast(micros, DataType::Duration(TimeUnit::Microsecond))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema};
    use datafusion::sql::sqlparser::parser::Parser;
    use tidemill_plans::expr::StreamExpr;
    use tidemill_plans::time::{event_time_type, event_times};

    use crate::dialect::TidemillDialect;
    use crate::planner::expression::plan_expression;

    /// What an expression over `ts` = 1 minute, `x` (a DOUBLE) and `n` = 2 gives, in microseconds.
    fn evaluate(text: &str, x: Option<f64>) -> Option<i64> {
        let dialect = TidemillDialect::default();
        let expr = Parser::new(&dialect).try_with_sql(text).unwrap().parse_expr().unwrap();
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let (double, bigint) = (super::DataType::Float64, super::DataType::Int64);
        let schema =
            Arc::new(Schema::new(vec![field("ts", event_time_type()), field("x", double), field("n", bigint)]));
        let ts = Arc::new(TimestampMicrosecondArray::from(vec![60_000_000]));
        let x = Arc::new(Float64Array::from(vec![x]));
        let n = Arc::new(Int64Array::from(vec![2]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ts, x, n]).unwrap();
        let physical = StreamExpr(plan_expression(expr, &schema).unwrap()).to_physical(&schema).unwrap();
        let result = physical.evaluate(&batch).unwrap().into_array(1).unwrap();
        event_times(&result).unwrap().iter().next().flatten()
    }

    #[test]
    fn any_number_makes_a_length_of_time() {
        assert_eq!(evaluate("ts + x * INTERVAL '1 minute'", Some(1.5)), Some(150_000_000));
        assert_eq!(evaluate("ts - INTERVAL '1 second' * n", None), Some(58_000_000));
        assert_eq!(evaluate("ts + INTERVAL '1 minute' * (x + n)", Some(-2.5)), Some(30_000_000));
        assert_eq!(evaluate("ts + x * INTERVAL '1 minute'", Some(4.1)), Some(306_000_000));
        assert_eq!(evaluate("ts - x * INTERVAL '1 second'", Some(1.001)), Some(58_999_000));
    }

    #[test]
    fn what_is_no_number_is_null() {
        for x in [None, Some(f64::NAN), Some(f64::INFINITY), Some(1e300)] {
            assert_eq!(evaluate("ts + x * INTERVAL '1 minute'", x), None);
        }
    }
}
