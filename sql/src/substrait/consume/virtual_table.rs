//! Rows that stand in a plan.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder};

use super::Consumer;
use super::names::{all_columns, called, names_of};
use super::nested_literal::with_names;
use super::project::on_top;
use crate::lower::stream::make_unique;
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::{NamedStruct, VirtualTable};

impl Consumer<'_> {
    pub(super) fn virtual_table(&mut self, table: &VirtualTable, schema: &NamedStruct) -> Read<LogicalPlan> {
        let rows = match table.expressions.is_empty() {
            true => each(&table.values, |row| each(&row.fields, |value| self.literal(value))).within("values")?,
            false => {
                each(&table.expressions, |row| each(&row.fields, |value| self.expression(value, DFSchema::empty_ref())))
                    .within("expressions")?
            }
        };
        let fields = self.fields(schema).within("base_schema")?;
        if rows.is_empty() {
            return Err(Problem::unsupported("a table without rows", "leave out what reads it"));
        }
        if let Some((place, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != fields.len()) {
            let message = format!("it has {} values, and there are {} columns", row.len(), fields.len());
            return Err(Problem::new(message)).at(place);
        }
        if fields.is_empty() {
            return one_row(rows.len());
        }
        let rows = rows.into_iter().map(|row| {
            let named = row.into_iter().zip(&fields).map(|(value, field)| with_names(value, field.data_type()));
            named.collect()
        });
        let rows: Vec<Vec<Expr>> = rows.collect();
        let schema = DFSchema::try_from(Schema::new(fields)).map(Arc::new)?;
        let names = make_unique(names_of(&schema));
        let plan = LogicalPlanBuilder::values_with_schema(rows, &schema)?.build()?;
        let columns: Vec<Expr> =
            all_columns(plan.schema()).zip(names).map(|(column, name)| called(column, name)).collect();
        on_top(plan, columns)
    }
}

/// The row that what is computed of nothing is computed of.
fn one_row(rows: usize) -> Read<LogicalPlan> {
    if rows > 1 {
        return Err(Problem::unsupported("many rows without columns", "give them one"));
    }
    Ok(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) }))
}
