//! Single expressions outside of a query: generated columns, watermarks, a window's sizes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{ColumnDef, DataType as SqlType, Expr as SqlExpr};
use tidemill_plans::overflow::check_constants;

use super::call::complete_calls;
use super::context::{PlanningContext, parser_options};
use super::modulo::replace_modulo;
use crate::ast::quoted;
use crate::catalog::Catalog;
use crate::error::Result;
use crate::lower::expression::check_repeatable;

/// Plans expressions that may call the functions of a catalog.
pub(crate) struct Expressions<'a> {
    catalog: &'a Catalog,
    /// The functions that have been called.
    pub(crate) uses: BTreeSet<String>,
}

impl<'a> Expressions<'a> {
    pub(crate) fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, uses: BTreeSet::new() }
    }

    /// Plans an expression over the columns of `schema`, with its types made to fit and constants folded.
    pub(crate) fn plan(&mut self, mut expr: SqlExpr, schema: &Schema) -> Result<Expr> {
        replace_modulo(&mut expr);
        complete_calls(&mut expr, self.catalog, &mut self.uses)?;
        let context = PlanningContext {
            catalog: self.catalog,
            relations: HashMap::new(),
            tables: None,
            predictions: HashMap::new(),
        };
        let planner = SqlToRel::new_with_options(&context, parser_options());
        let schema = Arc::new(DFSchema::try_from(schema.clone())?);
        let expr = planner.sql_to_expr(expr, &schema, &mut PlannerContext::new())?;
        check_repeatable(&expr)?;
        let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::clone(&schema)).build());
        let expr = simplifier.coerce(expr, &schema)?;
        check_constants(&expr)?;
        Ok(simplifier.simplify(expr)?)
    }
}

/// Plans an expression that calls no created function.
pub(crate) fn plan_expression(expr: SqlExpr, schema: &Schema) -> Result<Expr> {
    Expressions::new(&Catalog::default()).plan(expr, schema)
}

/// The Arrow type of an SQL type.
pub(crate) fn plan_type(sql_type: SqlType) -> Result<DataType> {
    let catalog = Catalog::default();
    let context =
        PlanningContext { catalog: &catalog, relations: HashMap::new(), tables: None, predictions: HashMap::new() };
    let planner = SqlToRel::new_with_options(&context, parser_options());
    let column = ColumnDef { name: quoted("c"), data_type: sql_type, options: Vec::new() };
    Ok(planner.build_schema(vec![column])?.field(0).data_type().clone())
}
