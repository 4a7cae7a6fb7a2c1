//! Arithmetic that fails where a result does not fit its type. DataFusion's wraps around: the greatest integer and one
//! are the least. PostgreSQL, DuckDB and Spark say that a value is out of range.

use std::sync::Arc;

use arrow::array::{ArrayRef, Scalar};
use arrow::compute::kernels::numeric::{add, mul, neg, sub};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{BinaryExpr as Binary, Cast, Expr, LogicalPlan, Operator};
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

/// Fails where constants of a plan come to an integer that does not fit, before DataFusion folds them.
///
/// # Errors
/// Such an integer, with what it comes of.
pub fn check_constants_of(plan: &LogicalPlan) -> Result<()> {
    let check = |node: &LogicalPlan| {
        node.apply_expressions(|expr| {
            check_constants(expr)?;
            Ok(TreeNodeRecursion::Continue)
        })
    };
    plan.apply_with_subqueries(check).map(drop)
}

/// The same for one expression.
///
/// # Errors
/// Such an integer, with what it comes of.
pub fn check_constants(expr: &Expr) -> Result<()> {
    let is_computed = |expr: &Expr| match expr {
        Expr::BinaryExpr(binary) => may_overflow(binary.op),
        expr => matches!(expr, Expr::Negative(_)),
    };
    if !expr.exists(|expr| Ok(is_computed(expr)))? {
        return Ok(());
    }
    expr.clone()
        .transform_up(|expr| Ok(folded(&expr)?.map_or_else(|| Transformed::no(expr), Transformed::yes)))
        .map(drop)
}

/// The constant that an expression of constants comes to.
fn folded(expr: &Expr) -> Result<Option<Expr>> {
    let value = match expr {
        Expr::Alias(alias) => constant(&alias.expr).cloned(),
        Expr::Cast(Cast { expr, field }) => constant(expr).and_then(|value| value.cast_to(field.data_type()).ok()),
        Expr::Negative(inner) => match constant(inner) {
            Some(value) => Some(result(expr, neg(&value.to_array()?))?),
            None => None,
        },
        Expr::BinaryExpr(Binary { left, op, right }) if may_overflow(*op) => match (constant(left), constant(right)) {
            (Some(left), Some(right)) if left.data_type() == right.data_type() => {
                let (left, right) = (Scalar::new(left.to_array()?), Scalar::new(right.to_array()?));
                let of = match op {
                    Operator::Plus => add,
                    Operator::Minus => sub,
                    _ => mul,
                };
                Some(result(expr, of(&left, &right))?)
            }
            _ => None,
        },
        _ => None,
    };
    Ok(value.map(|value| Expr::Literal(value, None)))
}

/// The value of an integer that is said.
fn constant(expr: &Expr) -> Option<&ScalarValue> {
    let Expr::Literal(value, _) = expr else { return None };
    Some(value).filter(|value| value.data_type().is_integer() && !value.is_null())
}

fn result(expr: &Expr, value: std::result::Result<ArrayRef, arrow::error::ArrowError>) -> Result<ScalarValue> {
    let value =
        value.map_err(|_| exec_datafusion_err!("Overflow happened: {} does not fit its type", expr.human_display()))?;
    ScalarValue::try_from_array(&value, 0)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::expr::StreamExpr;

    #[test]
    fn constants_that_do_not_fit_fail() {
        let max = || lit(i64::MAX);
        for (expr, fits) in [
            (max() + lit(0_i64), true),
            ((max() - lit(1_i64)) + lit(1_i64) + lit(1_i64), false),
            (col("a") * (max() * lit(2_i64)), false),
            (Expr::Negative(Box::new(lit(i64::MIN))), false),
            (Expr::Negative(Box::new(max())) - lit(1_i64), true),
            (lit(200_u8) + lit(55_u8), true),
            (lit(200_u8) + lit(56_u8), false),
            (lit(1e308) * lit(1e308), true),
            (max() + lit(ScalarValue::Int64(None)), true),
        ] {
            let checked = check_constants(&expr);
            assert_eq!(checked.is_ok(), fits, "{expr}: {checked:?}");
        }
    }

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
