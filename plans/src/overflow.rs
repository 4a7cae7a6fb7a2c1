//! Arithmetic that fails where a result does not fit its type. DataFusion's wraps around: the greatest integer and one
//! are the least. PostgreSQL, DuckDB and Spark say that a value is out of range.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;

/// An expression whose sums, differences and products fail where they do not fit, and whether there are any.
pub fn checked(expr: Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    expr.transform_up(|expr| {
        let Some(binary) = expr.downcast_ref::<BinaryExpr>().filter(|binary| may_overflow(*binary.op())) else {
            return Ok(Transformed::no(expr));
        };
        let checked: Arc<dyn PhysicalExpr> = Arc::new(binary.clone().with_fail_on_overflow(true));
        Ok(if checked.eq(&expr) { Transformed::no(expr) } else { Transformed::yes(checked) })
    })
}

fn may_overflow(op: Operator) -> bool {
    matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::expr::StreamExpr;

    #[test]
    fn what_does_not_fit_fails() {
        let schema =
            Schema::new(vec![Field::new("a", DataType::Int64, false), Field::new("f", DataType::Float64, false)]);
        let of = |a: i64, f: f64| {
            let columns: Vec<arrow::array::ArrayRef> =
                vec![Arc::new(Int64Array::from(vec![a])), Arc::new(Float64Array::from(vec![f]))];
            RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()
        };
        for expr in [col("a") + lit(1_i64), lit(-2_i64) - col("a"), lit(1_i64) + (col("a") * lit(3_i64)) % lit(7_i64)] {
            let physical = StreamExpr(expr.clone()).to_physical(&schema).unwrap();
            physical.evaluate(&of(7, 1.0)).unwrap();
            let error = physical.evaluate(&of(i64::MAX, 1.0)).unwrap_err();
            assert!(error.to_string().contains("verflow"), "{expr}: {error}");
        }
        let physical = StreamExpr(col("f") * lit(1e300)).to_physical(&schema).unwrap();
        physical.evaluate(&of(1, 1e300)).unwrap();
        assert!(!checked(physical).unwrap().transformed, "once is enough");
    }
}
