//! The root: which relation is the result, and what its columns are called.

use std::slice::Iter;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Projection};

use super::Consumer;
use super::names::{all_columns, called};
use super::nested_literal::with_names;
use super::project::on_top;
use crate::problem::{Problem, Read, Within};
use crate::substrait::messages::{Plan, PlanRelKind, Rel, RelKind, RelRoot};

impl Consumer<'_> {
    pub(super) fn plan(&mut self, plan: &Plan) -> Read<LogicalPlan> {
        check_plan(plan)?;
        let [relation] = plan.relations.as_slice() else {
            let message =
                format!("there are {}; a statement is one: send the others by themselves", plan.relations.len());
            return Err(Problem::new(message)).within("relations");
        };
        match &relation.kind {
            Some(PlanRelKind::Root(root)) => self.root(root).within("root"),
            Some(PlanRelKind::Rel(rel)) => self.written(rel).within("root"),
            None => Err(Problem::new("it is missing")).within("root"),
        }
    }

    fn root(&mut self, root: &RelRoot) -> Read<LogicalPlan> {
        let input = root.input.as_ref().ok_or_else(|| Problem::new("it is missing")).within("input")?;
        let plan = self.written(input)?;
        let names = if root.names.is_empty() { written_names(input) } else { root.names.clone() };
        if names.is_empty() {
            return Ok(plan);
        }
        let names = own_names(&plan, &names).within("names")?;
        renamed(plan, names)
    }

    /// A relation; of one that writes, the rows that it writes.
    fn written(&mut self, rel: &Rel) -> Read<LogicalPlan> {
        match &rel.kind {
            Some(RelKind::Write(write)) => self.input(write.input.as_ref(), "input").within("write"),
            _ => self.relation(rel),
        }
    }
}

fn check_plan(plan: &Plan) -> Read<()> {
    if let Some(version) = plan.version.as_ref().filter(|version| version.major > 0) {
        let message = format!("it is {}, and this release reads 0", version.major);
        return Err(Problem::new(message)).within("major_number").within("version");
    }
    match plan.advanced.as_ref().and_then(|advanced| advanced.enhancement.as_ref()) {
        None => Ok(()),
        Some(_) => {
            Err(Problem::unsupported("an enhancement", "leave it out, or send SQL")).within("advanced_extensions")
        }
    }
}

/// What a relation that writes calls its columns.
fn written_names(rel: &Rel) -> Vec<String> {
    match &rel.kind {
        Some(RelKind::Write(write)) => {
            write.table_schema.as_ref().map(|schema| schema.names.clone()).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// The columns of a plan under the names that it has for them. Those of the fields in them are behind each column's.
fn own_names(plan: &LogicalPlan, names: &[String]) -> Read<Vec<Field>> {
    let mut rest = names.iter();
    let columns = plan.schema().fields().iter().map_while(|field| named_field(field, rest.next()?, &mut rest));
    let own: Vec<Field> = columns.collect();
    let wanted = plan.schema().fields().len();
    if own.len() != wanted || rest.next().is_some() {
        return Err(Problem::new(format!("there are {}, and the result has {wanted} columns", names.len())));
    }
    match own.iter().enumerate().find(|(place, field)| own[..*place].iter().any(|other| other.name() == field.name())) {
        None => Ok(own),
        Some((_, twice)) => {
            let message = format!("the result has two columns '{}'; give one of them another name", twice.name());
            Err(Problem::new(message))
        }
    }
}

fn named_field(field: &Field, name: &str, names: &mut Iter<'_, String>) -> Option<Field> {
    Some(field.clone().with_name(name).with_data_type(named_type(field.data_type(), names)?))
}

/// A type whose fields have the next of these names.
fn named_type(data_type: &DataType, names: &mut Iter<'_, String>) -> Option<DataType> {
    let inner = |field: &Field, names: &mut Iter<'_, String>| {
        Some(Arc::new(field.clone().with_data_type(named_type(field.data_type(), names)?)))
    };
    Some(match data_type {
        DataType::Struct(fields) => {
            let named = fields.iter().map(|field| named_field(field, names.next()?, names));
            DataType::Struct(named.collect::<Option<Fields>>()?)
        }
        DataType::List(element) => DataType::List(inner(element, names)?),
        DataType::LargeList(element) => DataType::LargeList(inner(element, names)?),
        DataType::Map(entries, sorted) => match entries.data_type() {
            // A map's entries have their names from the specification.
            DataType::Struct(parts) => {
                let parts = parts.iter().map(|part| inner(part, names)).collect::<Option<Fields>>()?;
                DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(parts))), *sorted)
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
    })
}

/// The same plan with other names, below LIMIT and where its columns are computed: ORDER BY stays near the top.
fn renamed(plan: LogicalPlan, columns: Vec<Field>) -> Read<LogicalPlan> {
    let own = plan.schema().fields().iter();
    if own
        .clone()
        .map(|field| (field.name(), field.data_type()))
        .eq(columns.iter().map(|to| (to.name(), to.data_type())))
    {
        return Ok(plan);
    }
    match plan {
        LogicalPlan::Limit(limit) => {
            let input = Arc::new(renamed(Arc::unwrap_or_clone(limit.input), columns)?);
            Ok(LogicalPlan::Limit(Limit { input, ..limit }))
        }
        LogicalPlan::Projection(projection) => {
            let columns = projection.expr.into_iter().zip(columns).map(|(expr, to)| under(unaliased(expr), to));
            Ok(LogicalPlan::Projection(Projection::try_new(columns.collect(), projection.input)?))
        }
        plan => {
            let columns = all_columns(plan.schema()).zip(columns).map(|(column, to)| under(column, to)).collect();
            on_top(plan, columns)
        }
    }
}

/// An expression under a name, and its fields under theirs where it is a value: others have had names all along.
fn under(expr: Expr, to: Field) -> Expr {
    called(with_names(expr, to.data_type()), to.name().clone())
}

fn unaliased(expr: Expr) -> Expr {
    match expr {
        Expr::Alias(alias) => unaliased(*alias.expr),
        other => other,
    }
}
