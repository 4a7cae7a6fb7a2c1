//! `a ASOF [LEFT] JOIN b ON a.k = b.k AND b.ts <= a.ts`: a temporal join in other words.
//!
//! The parser has marked it with GLOBAL and put a MATCH_CONDITION into ON. The condition between the
//! two times becomes the call that marks a temporal join.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Join, Spanned};
use tidemill_plans::node::VersionBound;

use super::relation::refuse_ignored_hints;
use super::temporal::{on_of, versions_table};
use super::{QueryPlanner, as_of};
use crate::ast::{normalize, quoted};
use crate::error::{Result, SqlError};
use crate::lower::scan::Leaf;
use crate::lower::stream::Stream;

impl QueryPlanner<'_> {
    pub(super) fn replace_as_of_join(&mut self, join: &mut Join) -> Result<()> {
        let span = join.relation.span();
        join.global = false;
        refuse_ignored_hints(&join.relation).map_err(|error| error.at(span))?;
        self.replace_as_of_table(join).map_err(|error| error.at(span))
    }

    fn replace_as_of_table(&mut self, join: &mut Join) -> Result<()> {
        let (ident, alias) = versions_table(&join.relation, "ASOF JOIN")?;
        let stream = self.named_stream(&ident)?;
        if stream.info.changelog {
            let hint = "join a windowed view, whose rows do not change";
            return Err(SqlError::unsupported(format!("ASOF JOIN with '{ident}', an updating view,"), hint));
        }
        let on = on_of(&mut join.join_operator, "ASOF JOIN")?;
        if !mark_time_condition(on, &alias, &stream)? {
            let time = stream.info.time_names().first().map_or("ts", |time| *time).to_owned();
            return Err(SqlError::invalid(format!(
                "ASOF JOIN needs a condition between the event times of both sides: {alias}.{time} <= a.ts"
            )));
        }
        self.put_leaf(&mut join.relation, Leaf::Temporal(stream), &alias);
        Ok(())
    }
}

/// Replaces the first condition between a version's time and something else; whether there is one.
fn mark_time_condition(on: &mut Expr, alias: &str, stream: &Stream) -> Result<bool> {
    match on {
        Expr::Nested(inner) => mark_time_condition(inner, alias, stream),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            Ok(mark_time_condition(left, alias, stream)? || mark_time_condition(right, alias, stream)?)
        }
        Expr::BinaryOp { left, op, right } => {
            // As `version (op) time`.
            let (version, op, time) = match (version_column(left, alias, stream), version_column(right, alias, stream))
            {
                (Some(version), None) => (version, op.clone(), right),
                (None, Some(version)) => (version, swapped(op), left),
                _ => return Ok(false),
            };
            let bound = match op {
                BinaryOperator::LtEq => VersionBound::AtOrBefore,
                BinaryOperator::Lt => VersionBound::Before,
                BinaryOperator::Gt | BinaryOperator::GtEq => {
                    let hint = format!("join the last one at or before it: {alias}.{version} <= {time}");
                    return Err(SqlError::unsupported("ASOF JOIN with the first row behind a time", hint));
                }
                _ => return Ok(false),
            };
            check_event_time(&version, alias, stream)?;
            let version = Expr::CompoundIdentifier(vec![quoted(alias), quoted(&version)]);
            *on = as_of::call(version, time.as_ref().clone(), bound);
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn swapped(op: &BinaryOperator) -> BinaryOperator {
    match op {
        BinaryOperator::Lt => BinaryOperator::Gt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        other => other.clone(),
    }
}

/// The right side's column that an expression names.
fn version_column(expr: &Expr, alias: &str, stream: &Stream) -> Option<String> {
    let column = match expr {
        Expr::Nested(inner) => return version_column(inner, alias, stream),
        Expr::Identifier(column) => column,
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, column] if normalize(table) == alias => column,
            _ => return None,
        },
        _ => return None,
    };
    let name = normalize(column);
    stream.schema().column_with_name(&name).map(|_| name)
}

fn check_event_time(column: &str, alias: &str, stream: &Stream) -> Result<()> {
    let times = stream.info.time_names();
    if times.contains(&column) {
        return Ok(());
    }
    let hint = match times.join(" or ") {
        none if none.is_empty() => String::from("its source declares no WATERMARK FOR, or the view dropped the column"),
        times => format!("it is {times}"),
    };
    Err(SqlError::invalid(format!("ASOF JOIN goes by the event time of '{alias}', not by {column}: {hint}")))
}
