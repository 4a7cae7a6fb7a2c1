//! Texts of Parquet files are string views in a plan, which DataFusion reads without copying each, and compares by their
//! first bytes. Nobody sees it: what comes out has the types that were promised.
//!
//! Plans come with the types that streams have. A plan keeps those where something else than a schema says what a text
//! is: a correlated subquery, a recursive one, a function from Rust, `arrow_typeof`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use tidemill_plans::functions::find_registered;

/// The function that says of which type a value is.
const TYPE_OF: &str = "arrow_typeof";

/// Whether texts of a plan's tables may be views.
pub(crate) fn fit(plan: &LogicalPlan) -> Result<bool> {
    let mut fit = true;
    plan.apply_with_subqueries(|plan| {
        fit &= !matches!(plan, LogicalPlan::RecursiveQuery(_));
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                fit &= !depends_on_type(expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(fit)
}

fn depends_on_type(expr: &Expr) -> bool {
    match expr {
        Expr::OuterReferenceColumn(field, _) => field.data_type().is_string(),
        Expr::ScalarFunction(call) => call.name() == TYPE_OF || find_registered(call.name()).is_some(),
        Expr::AggregateFunction(call) => find_registered(call.func.name()).is_some(),
        Expr::WindowFunction(call) => find_registered(call.fun.name()).is_some(),
        _ => false,
    }
}

/// The columns of a table whose texts are views.
pub(crate) fn of(columns: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type().is_string() {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        false => Arc::clone(field),
    };
    Arc::new(Schema::new(columns.fields().iter().map(field).collect::<Vec<_>>()))
}

/// A plan whose columns have the types of these.
pub(crate) fn as_promised(plan: LogicalPlan, columns: &Schema) -> Result<LogicalPlan> {
    let found = plan.schema();
    let is_promised =
        |((_, found), promised): ((_, &Arc<Field>), &Arc<Field>)| found.data_type() == promised.data_type();
    if found.iter().zip(columns.fields()).all(is_promised) {
        return Ok(plan);
    }
    let column = |((of, found), promised): ((Option<&_>, &Arc<Field>), &Arc<Field>)| {
        let column = Expr::from((of, found));
        match found.data_type() == promised.data_type() {
            true => column,
            false => cast(column, promised.data_type().clone()).alias_qualified(of.cloned(), found.name()),
        }
    };
    let columns: Vec<Expr> = found.iter().zip(columns.fields()).map(column).collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, out_ref_col, table_scan};
    use tidemill_plans::functions::scalar;

    use super::*;

    fn columns() -> Schema {
        let element = Arc::new(Field::new("item", DataType::Utf8, true));
        Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, false),
            Field::new("c", DataType::List(element), true),
        ])
    }

    #[test]
    fn texts_of_tables_are_views_unless_somebody_looks() {
        let plan =
            |expr: Expr| table_scan(Some("t"), &columns(), None).unwrap().project([expr]).unwrap().build().unwrap();
        let type_of = scalar("arrow_typeof").unwrap();
        assert!(fit(&plan(col("b"))).unwrap());
        assert!(!fit(&plan(type_of.call(vec![col("b")]))).unwrap());
        let outer = |data_type: DataType| {
            let filter = col("t.a").is_not_null().and(out_ref_col(data_type, "o.x").is_null());
            let rows = table_scan(Some("t"), &columns(), None).unwrap().filter(filter).unwrap().build().unwrap();
            fit(&rows).unwrap()
        };
        assert_eq!((outer(DataType::Int64), outer(DataType::Utf8)), (true, false));
    }

    #[test]
    fn what_comes_out_is_what_was_promised() {
        let views = of(&columns());
        let types = |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
        assert_eq!(types(&views)[1], DataType::Utf8View);
        assert_eq!(types(&views)[2], types(&columns())[2], "only columns are");
        assert!(!views.field(1).is_nullable());
        let plan = table_scan(Some("t"), &views, None).unwrap().build().unwrap();
        let promised = as_promised(plan.clone(), &columns()).unwrap();
        assert_eq!(types(promised.schema().as_arrow()), types(&columns()));
        assert_eq!(as_promised(plan.clone(), &views).unwrap(), plan);
    }
}
