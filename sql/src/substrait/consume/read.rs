//! Tables: sources and views of the catalog, by their names.

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::planner::ContextProvider;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::Consumer;
use super::names::{column_at, named};
use super::project::on_top;
use crate::ast::schema_parts;
use crate::planner::source::{column_names, type_name};
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::{Mask, NamedStruct, ReadKind, ReadRel};

/// The object that a name in a plan is of.
pub(in crate::substrait) fn object_name(names: &[String]) -> Read<String> {
    match &names[schema_parts(names)..] {
        [] => Err(Problem::new("it has no name")),
        [name] => Ok(name.clone()),
        _ => Err(Problem::new(format!("'{}' has a schema; objects have plain names", names.join(".")))),
    }
}

impl Consumer<'_> {
    pub(super) fn read(&mut self, read: &ReadRel) -> Read<LogicalPlan> {
        let schema = read.base_schema.as_ref().ok_or_else(|| Problem::new("it is missing")).within("base_schema")?;
        let mut plan = match &read.kind {
            Some(ReadKind::Named(table)) => self.named_table(&table.names, schema)?,
            Some(ReadKind::Virtual(table)) => self.virtual_table(table, schema).within("virtual_table")?,
            _ => {
                let hint = "create a source of it with SQL, and read that by its name";
                return Err(Problem::unsupported("what is no table with a name", hint));
            }
        };
        if let Some(filter) = &read.filter {
            let condition = self.expression(filter, plan.schema()).within("filter")?;
            plan = LogicalPlanBuilder::from(plan).filter(condition)?.build()?;
        }
        match &read.projection {
            Some(mask) => self.masked(plan, mask).within("projection"),
            None => Ok(plan),
        }
    }

    /// The columns of an object that a plan knows, in its order.
    fn named_table(&mut self, names: &[String], known: &NamedStruct) -> Read<LogicalPlan> {
        let name = object_name(names).within("named_table")?;
        let source = self.context.get_table_source(TableReference::bare(name.clone())).map_err(Problem::from);
        let source = source.within("named_table")?;
        let scan = LogicalPlanBuilder::scan_with_filters(TableReference::bare(name.clone()), source, None, Vec::new())?;
        let plan = scan.build()?;
        let known = self.fields(known).within("base_schema")?;
        let columns = each(&known, |field| known_column(&name, field, plan.schema())).within("base_schema")?;
        let own = plan.schema().columns().into_iter().map(Expr::Column);
        match own.eq(columns.iter().cloned()) {
            true => Ok(plan),
            false => on_top(plan, named(columns, &[])),
        }
    }

    fn masked(&mut self, plan: LogicalPlan, mask: &Mask) -> Read<LogicalPlan> {
        let Some(select) = &mask.select else { return Ok(plan) };
        self.count_columns(select.items.len())?;
        let columns = each(&select.items, |item| match item.child {
            None => column_at(plan.schema(), item.field),
            Some(_) => Err(Problem::unsupported("a part of a column", "read the column, and take its part above")),
        });
        on_top(plan, named(columns.within("struct_items").within("select")?, &[]))
    }
}

/// The column of an object that a plan takes for this.
fn known_column(table: &str, known: &Field, schema: &DFSchema) -> Read<Expr> {
    let Some(place) = schema.index_of_column_by_name(None, known.name()) else {
        let message =
            format!("'{table}' has no column '{}'; there are: {}", known.name(), column_names(schema.as_arrow()));
        return Err(Problem::new(message));
    };
    let own = schema.field(place).data_type();
    if !is_same(own, known.data_type()) {
        return Err(Problem::new(format!(
            "the column '{}' of '{table}' is {}, and the plan takes it for {}: tell its planner the types of the server",
            known.name(),
            type_name(own),
            type_name(known.data_type())
        )));
    }
    Ok(Expr::Column(schema.columns().swap_remove(place)))
}

/// Whether types are the same but for names of fields, and whether they may be NULL.
fn is_same(own: &DataType, known: &DataType) -> bool {
    own.equals_datatype(known)
}
