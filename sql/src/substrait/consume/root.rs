//! The root: which relation is the result, and what its columns are called.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Projection};

use super::Consumer;
use super::names::{all_columns, called};
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

/// The names of a plan's columns among those of the fields in them.
fn own_names(plan: &LogicalPlan, names: &[String]) -> Read<Vec<String>> {
    let (mut own, mut rest) = (Vec::new(), names);
    for field in plan.schema().fields() {
        let Some((name, behind)) = rest.split_first() else { break };
        own.push(name.clone());
        rest = behind.get(nested(field.data_type())..).unwrap_or_default();
    }
    let wanted = plan.schema().fields().len();
    if own.len() != wanted || !rest.is_empty() {
        return Err(Problem::new(format!("there are {}, and the result has {wanted} columns", names.len())));
    }
    match own.iter().enumerate().find(|(place, name)| own[..*place].contains(name)) {
        None => Ok(own),
        Some((_, twice)) => {
            let message = format!("the result has two columns '{twice}'; give one of them another name");
            Err(Problem::new(message))
        }
    }
}

/// How many names the fields in a type have.
fn nested(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| 1 + nested(field.data_type())).sum(),
        DataType::List(element) | DataType::LargeList(element) => nested(element.data_type()),
        _ => 0,
    }
}

/// The same plan with other names, below LIMIT and where its columns are computed: ORDER BY stays near the top.
fn renamed(plan: LogicalPlan, names: Vec<String>) -> Read<LogicalPlan> {
    if plan.schema().fields().iter().map(|field| field.name()).eq(&names) {
        return Ok(plan);
    }
    match plan {
        LogicalPlan::Limit(limit) => {
            let input = Arc::new(renamed(Arc::unwrap_or_clone(limit.input), names)?);
            Ok(LogicalPlan::Limit(Limit { input, ..limit }))
        }
        LogicalPlan::Projection(projection) => {
            let columns = projection.expr.into_iter().zip(names).map(|(expr, name)| called(unaliased(expr), name));
            Ok(LogicalPlan::Projection(Projection::try_new(columns.collect(), projection.input)?))
        }
        plan => {
            let columns = all_columns(plan.schema()).zip(names).map(|(column, name)| called(column, name)).collect();
            on_top(plan, columns)
        }
    }
}

fn unaliased(expr: Expr) -> Expr {
    match expr {
        Expr::Alias(alias) => unaliased(*alias.expr),
        other => other,
    }
}
