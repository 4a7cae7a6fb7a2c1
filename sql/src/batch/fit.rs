//! A query's rows with the columns of what they become rows of.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder, lit};
use datafusion::scalar::ScalarValue;
use tidemill_plans::batch::BatchQuery;

use super::BatchPlan;
use crate::error::{Result, SqlError};
use crate::lower::sink::{check_column, check_width};

impl BatchPlan {
    /// The same with the columns that a table declares, by position.
    pub(crate) fn with_declared(self, declared: &SchemaRef, into: &str) -> Result<Self> {
        check_width(&self.query.columns, declared, into)?;
        let places: Vec<Option<usize>> = (0..declared.fields().len()).map(Some).collect();
        self.with_places(declared, &places, into)
    }

    /// The same with all columns of a table, of which the query gives those of these names.
    pub(crate) fn with_named(self, columns: &SchemaRef, names: &[String], into: &str) -> Result<Self> {
        let place = |name: &String| names.iter().position(|given| given == name);
        let places: Vec<Option<usize>> = columns.fields().iter().map(|field| place(field.name())).collect();
        self.with_places(columns, &places, into)
    }

    /// The same with a table's columns, each from one of its own or NULL.
    fn with_places(self, columns: &SchemaRef, places: &[Option<usize>], into: &str) -> Result<Self> {
        let given = Arc::clone(self.query.plan.schema());
        let expr = |(field, place): (&arrow::datatypes::FieldRef, &Option<usize>)| -> Result<Expr> {
            let expr = match place {
                Some(place) => {
                    check_column(self.query.columns.field(*place), field, into)?;
                    let own = Expr::Column(Column::from(given.qualified_field(*place)));
                    own.cast_to(field.data_type(), &given)?
                }
                None if field.is_nullable() => lit(ScalarValue::try_from(field.data_type())?),
                None => {
                    let message = format!("{into} has a column '{}' that is NOT NULL: insert it, too", field.name());
                    return Err(SqlError::invalid(message));
                }
            };
            Ok(expr.alias(field.name()))
        };
        let exprs = columns.fields().iter().zip(places).map(expr).collect::<Result<Vec<_>>>()?;
        let plan = LogicalPlanBuilder::from(self.query.plan.clone()).project(exprs)?.build()?;
        let columns = Arc::clone(columns);
        Ok(Self { query: BatchQuery { plan, columns, ..self.query }, ..self })
    }

    /// The columns that its rows have.
    pub(crate) fn columns(&self) -> &Schema {
        &self.query.columns
    }
}
