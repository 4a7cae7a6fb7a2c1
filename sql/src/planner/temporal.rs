//! `a JOIN b FOR SYSTEM_TIME AS OF a.ts AS b ON a.k = b.k`.
//!
//! DataFusion plans it as an ordinary join: the made-up right table is known as temporal, and the
//! call `__as_of(b.ts, a.ts)` is added to ON. So DataFusion resolves the as-of column, no rule drops
//! the two time columns, and lowering finds them in the plan.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Spanned, TableFactor, TableVersion,
};
use tidemill_plans::node::{SourceNode, VersionBound};

use super::relation::refuse_ignored_hints;
use super::{QueryPlanner, as_of};
use crate::ast::{dotted, normalize, quoted};
use crate::catalog::Detail;
use crate::error::{Result, SqlError};
use crate::lower::scan::{Leaf, is_lookup};
use crate::lower::stream::Stream;

/// Whether a join's right side has a FOR SYSTEM_TIME AS OF.
pub(super) fn is_temporal(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { version: Some(_), .. })
}

impl QueryPlanner<'_> {
    pub(super) fn replace_temporal(&mut self, join: &mut Join) -> Result<()> {
        let span = join.relation.span();
        refuse_ignored_hints(&join.relation).map_err(|error| error.at(span))?;
        self.replace_temporal_table(join).map_err(|error| error.at(span))
    }

    fn replace_temporal_table(&mut self, join: &mut Join) -> Result<()> {
        let TableFactor::Table { version, .. } = &join.relation else { return Ok(()) };
        let Some(TableVersion::ForSystemTimeAsOf(as_of)) = version.clone() else {
            return Err(SqlError::unsupported("this kind of version", "write FOR SYSTEM_TIME AS OF a.ts"));
        };
        let (ident, alias) = versions_table(&join.relation, "FOR SYSTEM_TIME AS OF")?;
        if let Some(table) = self.lookup_table(&ident) {
            return self.replace_lookup(join, table, &alias, &as_of);
        }
        if !matches!(as_of, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            let message = format!("FOR SYSTEM_TIME AS OF takes the left side's event-time column, not '{as_of}'");
            return Err(SqlError::invalid(message).at(as_of.span()));
        }
        let stream = self.named_stream(&ident)?;
        let time = version_time(&stream, &normalize(&ident))?;
        let time = Expr::CompoundIdentifier(vec![quoted(&alias), quoted(&time)]);
        let on = on_of(&mut join.join_operator, "FOR SYSTEM_TIME AS OF")?;
        let valid = as_of::call(time, as_of, VersionBound::AtOrBefore);
        let keys = Expr::Nested(Box::new(on.clone()));
        *on = Expr::BinaryOp { left: Box::new(keys), op: BinaryOperator::And, right: Box::new(valid) };
        self.put_leaf(&mut join.relation, Leaf::Temporal(stream), &alias);
        Ok(())
    }
}

impl QueryPlanner<'_> {
    /// The table of a name, if it is one that is asked by key.
    fn lookup_table(&mut self, ident: &Ident) -> Option<Box<SourceNode>> {
        let name = normalize(ident);
        if self.is_in_scope(&name) {
            return None;
        }
        let object = self.catalog_object(&name)?;
        let Detail::Source(source, _) = &object.detail else { return None };
        self.note_use(&name);
        is_lookup(source).then(|| source.clone())
    }

    fn replace_lookup(&mut self, join: &mut Join, table: Box<SourceNode>, alias: &str, as_of: &Expr) -> Result<()> {
        let is_now = matches!(as_of, Expr::Function(function) if dotted(&function.name) == "proctime");
        if !is_now {
            let message = format!(
                "'{}' has no history: its rows are looked up as they are, FOR SYSTEM_TIME AS OF PROCTIME()",
                table.table
            );
            return Err(SqlError::invalid(message).at(as_of.span()));
        }
        on_of(&mut join.join_operator, "FOR SYSTEM_TIME AS OF")?;
        self.put_leaf(&mut join.relation, Leaf::Lookup(table), alias);
        Ok(())
    }
}

/// The name of the table whose rows are versions, and what the query calls it.
pub(super) fn versions_table(factor: &TableFactor, what: &str) -> Result<(Ident, String)> {
    let TableFactor::Table { name: ObjectName(parts), alias, args: None, .. } = factor else {
        let hint = "create a view over it and join that";
        return Err(SqlError::unsupported(format!("{what} behind a function or a query"), hint));
    };
    if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
        let hint = "name the table alone, and its columns in the SELECT";
        return Err(SqlError::unsupported(format!("a column list behind {what}"), hint));
    }
    let [part] = parts.as_slice() else {
        return Err(SqlError::unsupported("a schema in a name", "objects have plain names"));
    };
    let ident = part.as_ident().cloned().unwrap_or_else(|| quoted(&part.to_string()));
    let alias = alias.as_ref().map_or_else(|| normalize(&ident), |alias| normalize(&alias.name));
    Ok((ident, alias))
}

/// The column that says from when on a row of the right side is valid.
fn version_time(stream: &Stream, name: &str) -> Result<String> {
    if stream.info.changelog {
        let hint = "join a windowed view, whose rows do not change";
        return Err(SqlError::unsupported(format!("'{name}', an updating view, as the versions of a join"), hint));
    }
    let Some(time) = stream.info.times.first() else {
        return Err(SqlError::invalid(format!(
            "'{name}' has no event-time column, so it has no versions; declare WATERMARK FOR in its source, and keep \
             the column in the view"
        )));
    };
    Ok(stream.info.schema.field(*time).name().clone())
}

/// The ON of an inner or left join.
pub(super) fn on_of<'a>(operator: &'a mut JoinOperator, what: &str) -> Result<&'a mut Expr> {
    let (JoinOperator::Join(constraint)
    | JoinOperator::Inner(constraint)
    | JoinOperator::Left(constraint)
    | JoinOperator::LeftOuter(constraint)) = operator
    else {
        return Err(SqlError::unsupported(format!("this kind of join with {what}"), "write JOIN or LEFT JOIN"));
    };
    let JoinConstraint::On(on) = constraint else {
        return Err(SqlError::invalid(format!("a join with {what} needs ON with equal keys: ON a.k = b.k")));
    };
    Ok(on)
}
