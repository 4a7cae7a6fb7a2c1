//! Names for columns that have numbers only.

use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use crate::lower::stream::make_unique_beside;
use crate::problem::{Problem, Read};

/// A longer name would come again in the names of all that is computed with the column.
const NAME_BYTES_MAX: usize = 64;

/// The column of this number.
pub(super) fn column_at(schema: &DFSchema, number: i32) -> Read<Expr> {
    let place = column_number(schema, number)?;
    Ok(Expr::Column(Column::from(schema.qualified_field(place))))
}

/// A number that one of the columns has.
pub(super) fn column_number(schema: &DFSchema, number: i32) -> Read<usize> {
    let count = schema.fields().len();
    let place = usize::try_from(number).ok().filter(|place| *place < count);
    place.ok_or_else(|| Problem::new(format!("there is no column {number}; the input has {count}, the first is 0")))
}

/// All columns.
pub(super) fn all_columns(schema: &DFSchema) -> impl Iterator<Item = Expr> + '_ {
    schema.columns().into_iter().map(Expr::Column)
}

/// The names of a schema's columns.
pub(super) fn names_of(schema: &DFSchema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// The same expressions under names that differ from each other and from those that are taken.
pub(super) fn named(expressions: Vec<Expr>, taken: &[String]) -> Vec<Expr> {
    let names = expressions.iter().enumerate().map(|(place, expr)| name_of(expr, place));
    let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
    let unique = make_unique_beside(&taken, names);
    expressions.into_iter().zip(unique).map(|(expr, name)| called(expr, name)).collect()
}

/// An expression under this name.
pub(super) fn called(expr: Expr, name: String) -> Expr {
    match expr {
        Expr::Column(column) if column.name == name => Expr::Column(column),
        other => other.alias(name),
    }
}

fn name_of(expr: &Expr, place: usize) -> String {
    let name = match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.schema_name().to_string(),
    };
    if name.len() <= NAME_BYTES_MAX { name } else { format!("column_{place}") }
}

/// A plan whose columns have other names than those that are taken.
pub(super) fn apart(plan: LogicalPlan, taken: &DFSchema) -> Read<LogicalPlan> {
    let (own, taken) = (names_of(plan.schema()), names_of(taken));
    if !own.iter().any(|name| taken.contains(name)) {
        return Ok(plan);
    }
    let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
    let names = make_unique_beside(&taken, own);
    let columns: Vec<Expr> = all_columns(plan.schema()).zip(names).map(|(column, name)| column.alias(name)).collect();
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}
