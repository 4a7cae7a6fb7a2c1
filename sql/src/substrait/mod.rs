//! Plans in Substrait (substrait.io), which programs that have a planner of their own send in the place of SQL.
//!
//! A plan becomes a statement: a query, or an INSERT. From there on it is one like any other, with the same catalog,
//! rights and operators. [`messages`] has what a plan is made of, [`consume`] makes DataFusion's plans of it.

mod consume;
mod messages;

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;

use self::messages::{INSERT, MODIFIED_RECORDS, Plan, PlanRelKind, ReadKind, Rel, RelKind, WriteRel, WriteTarget};
use crate::error::{Position, Result, SqlError};
use crate::parser::ParsedStatement;
use crate::problem::{Problem, Read, Within};
use crate::stack::on_deep_stack;
use crate::statement::{Insert, Name, Statement, StreamQuery};

/// A plan that was read.
#[derive(Debug, Clone)]
pub(crate) struct SubstraitPlan(Plan);

/// The tables that a statement's text names at most.
const NAMED_MAX: usize = 10;

/// Reads a plan as Substrait's Protocol Buffers message `Plan`.
///
/// # Errors
/// Why it is none, or which of its parts means no statement.
pub fn parse_substrait(plan: &[u8]) -> Result<ParsedStatement> {
    on_deep_stack(|| {
        let decoded = Plan::decode(plan).map_err(|error| undecodable(&error))?;
        let statement = statement(&decoded).map_err(Problem::into_error)?;
        let text = summary(&decoded, plan.len());
        let statement = match statement {
            None => Statement::Query(query(decoded)),
            Some((sink, columns)) => {
                Statement::Insert(Insert { sink, columns, query: query(decoded), is_of_job: false })
            }
        };
        Ok(ParsedStatement::without_text(text, statement))
    })
}

fn query(plan: Plan) -> StreamQuery {
    StreamQuery::of_substrait(Arc::new(SubstraitPlan(plan)))
}

fn undecodable(error: &prost::DecodeError) -> SqlError {
    let error = error.to_string();
    if error.contains("recursion limit") {
        // What it says is the whole path.
        return SqlError::invalid(
            "the plan is too deep: some 45 relations and 30 functions can nest; name steps as views",
        );
    }
    SqlError::invalid(format!("the bytes are no plan in Substrait: {error}"))
}

/// What a plan inserts into, if it does: the sink, and its columns.
fn statement(plan: &Plan) -> Read<Option<(Name, Vec<Name>)>> {
    let [relation] = plan.relations.as_slice() else { return Ok(None) };
    match top(relation.kind.as_ref()).and_then(|rel| rel.kind.as_ref()) {
        Some(RelKind::Write(write)) => inserted(write).map(Some).within("write").within("root"),
        _ => Ok(None),
    }
}

/// The relation whose rows a plan is about.
fn top(kind: Option<&PlanRelKind>) -> Option<&Rel> {
    match kind? {
        PlanRelKind::Rel(rel) => Some(rel),
        PlanRelKind::Root(root) => root.input.as_ref(),
    }
}

fn inserted(write: &WriteRel) -> Read<(Name, Vec<Name>)> {
    if write.operation != INSERT {
        return Err(Problem::unsupported("a write that is no INSERT", "make tables, sinks and views with SQL"));
    }
    if write.output == MODIFIED_RECORDS {
        let hint = "rows are written by a job, and nothing of it comes out: ask for no output";
        return Err(Problem::unsupported("the rows that were written as output", hint));
    }
    let Some(WriteTarget::Named(target)) = &write.target else {
        return Err(Problem::unsupported("a target without a name", "insert into a sink, by its name"));
    };
    let columns = write.table_schema.iter().flat_map(|schema| &schema.names);
    Ok((name(&consume::object_name(&target.names)?), columns.map(|column| name(column)).collect()))
}

/// A name that stands in no text.
fn name(text: &str) -> Name {
    Name { text: text.to_owned(), at: Position::UNKNOWN }
}

/// What stands for the plan where statements are listed.
fn summary(plan: &Plan, bytes: usize) -> String {
    let mut tables = BTreeSet::new();
    plan.relations.iter().filter_map(|relation| top(relation.kind.as_ref())).for_each(|rel| read_by(rel, &mut tables));
    let named: Vec<&str> = tables.iter().take(NAMED_MAX).copied().collect();
    let more = if tables.len() > NAMED_MAX { ", …" } else { "" };
    format!("Substrait plan of {bytes} bytes over {}{more}", named.join(", "))
}

/// Adds the names of the tables that a relation reads.
fn read_by<'a>(rel: &'a Rel, tables: &mut BTreeSet<&'a str>) {
    let Some(kind) = &rel.kind else { return };
    if let RelKind::Read(read) = kind
        && let Some(ReadKind::Named(table)) = &read.kind
    {
        tables.extend(table.names.last().map(String::as_str));
    }
    kind.inputs().into_iter().for_each(|input| read_by(input, tables));
}

#[cfg(test)]
mod tests;
