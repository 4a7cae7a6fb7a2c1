//! STATE_TTL hints: how long an operator keeps the state of a table's rows, instead of as long as the
//! setting `state_ttl` says.
//!
//! As in Flink a hint belongs to its SELECT: it names tables of the FROM there, and goes with the joins of
//! these tables and with what groups or ranks the rows of one. A plan no longer knows which SELECT a
//! table's name is from, so a name that is hinted may stand in one FROM of a statement only.

use std::collections::HashMap;

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{OptimizerHint, OptimizerHintStyle, Select, TableFactor, TableWithJoins};
use tidemill_plans::settings::parse_duration_ms;

use super::QueryPlanner;
use crate::ast::{dotted, normalize};
use crate::error::{Position, Result, SqlError};
use crate::parser::hints;

/// The prefix of names that the optimiser gives to the subqueries of EXISTS and IN.
const SUBQUERY_PREFIX: &str = "__correlated_sq_";

/// The hints of a statement.
#[derive(Debug, Default)]
pub(crate) struct StateTtls {
    hinted: Vec<Hinted>,
    /// In how many FROM clauses each name stands.
    names: HashMap<String, usize>,
}

#[derive(Debug)]
struct Hinted {
    name: String,
    /// Microseconds of event time; `None` for ever.
    ttl: Option<i64>,
    at: Position,
    taken: bool,
}

impl StateTtls {
    /// Takes the hints of a SELECT out, whose relations have not been replaced yet.
    pub(super) fn note(&mut self, select: &mut Select) -> Result<()> {
        let mut names = Vec::new();
        select.from.iter().for_each(|table| names_of(table, &mut names));
        for OptimizerHint { prefix, text, style } in std::mem::take(&mut select.optimizer_hints) {
            // Others look like hints, but are comments in this dialect.
            if prefix.is_empty() && style == OptimizerHintStyle::MultiLine {
                self.note_hint(&text, &names)?;
            }
        }
        for name in names {
            *self.names.entry(name).or_default() += 1;
        }
        Ok(())
    }

    fn note_hint(&mut self, text: &str, names: &[String]) -> Result<()> {
        for hints::StateTtl { name, value, at } in hints::parse(text)? {
            if !names.contains(&name) {
                let hint = match names {
                    [] => String::from("give the tables of this FROM aliases"),
                    names => format!("in this FROM there are: {}", names.join(", ")),
                };
                return Err(SqlError::Unknown { at, what: String::from("table"), name, hint });
            }
            if self.hinted.iter().any(|other| other.name == name) {
                return Err(SqlError::invalid(format!("STATE_TTL of '{name}' is given twice")).at(at));
            }
            let millis = parse_duration_ms(&value).and_then(|millis| i64::try_from(millis).ok()).ok_or_else(|| {
                let message =
                    format!("STATE_TTL of '{name}' is '{value}', but takes a duration such as 1d or 6h, or 0");
                SqlError::invalid(message).at(at)
            })?;
            let ttl = Some(millis.saturating_mul(1000)).filter(|micros| *micros > 0);
            self.hinted.push(Hinted { name, ttl, at, taken: false });
        }
        Ok(())
    }
}

impl QueryPlanner<'_> {
    /// How long the state of a plan's rows is kept, in microseconds of event time; `None` for ever.
    pub(crate) fn state_ttl_of(&mut self, plan: &LogicalPlan) -> Option<i64> {
        let setting = self.builder.state_ttl();
        let Some(hinted) = self.ttls.hinted.iter_mut().find(|hinted| is_named(plan, &hinted.name)) else {
            return setting;
        };
        hinted.taken = true;
        hinted.ttl
    }

    /// Refuses hints that nothing has taken, and those that may have been taken for another table's.
    pub(crate) fn check_state_ttls(&self) -> Result<()> {
        for hinted in &self.ttls.hinted {
            let name = &hinted.name;
            if self.ttls.names.get(name).is_some_and(|places| *places > 1) {
                let message = format!(
                    "'{name}' stands in several FROM clauses of the statement; give the one that STATE_TTL means an \
                     alias of its own"
                );
                return Err(SqlError::invalid(message).at(hinted.at));
            }
            if !hinted.taken {
                let message = format!(
                    "STATE_TTL of '{name}' has no effect: it is for a join without bounds on time, the versions of a join \
                     AS OF, and for GROUP BY, DISTINCT, ROW_NUMBER() and OVER of the rows of '{name}' alone, without \
                     windows"
                );
                return Err(SqlError::invalid(message).at(hinted.at));
            }
        }
        Ok(())
    }
}

/// Whether a plan is the relation that a query knows under this name, filtered or projected.
fn is_named(plan: &LogicalPlan, name: &str) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) if alias.alias.table().starts_with(SUBQUERY_PREFIX) => {
            is_named(&alias.input, name)
        }
        LogicalPlan::SubqueryAlias(alias) => alias.alias.table() == name,
        LogicalPlan::TableScan(scan) => scan.table_name.table() == name,
        LogicalPlan::Projection(projection) => is_named(&projection.input, name),
        LogicalPlan::Filter(filter) => is_named(&filter.input, name),
        _ => false,
    }
}

/// The names of the relations of a FROM.
fn names_of(table: &TableWithJoins, names: &mut Vec<String>) {
    for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
        match factor {
            TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
                names.push(normalize(&alias.name));
            }
            TableFactor::Table { name, .. } => names.push(dotted(name)),
            TableFactor::NestedJoin { table_with_joins, .. } => names_of(table_with_joins, names),
            _ => {}
        }
    }
}
