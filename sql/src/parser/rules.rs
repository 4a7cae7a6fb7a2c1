//! CREATE MODEL of rules: `AS SELECT CASE … END AS verdict, late FROM trips` says what the answer is, and how its columns are
//! called that the answer is made of. It is short for a TRANSFORM by that expression over a query of these columns, which is
//! what is kept: so whoever asks the model has the columns, and the rule is part of each version.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, Spanned, visit_expressions_mut,
};

use crate::ast::{normalize, plain_name, quoted};
use crate::error::{Result, SqlError};
use crate::statement::{CreateModel, Name, QueryBody, TransformClause, TransformItem};

/// The `model_type`.
const RULES: &str = "rules";

/// What an answer is called of which that is not said.
const UNNAMED: &str = "rule";

/// The statement with a TRANSFORM, if it makes a model of rules and has none.
pub(super) fn spelled_out(mut create: CreateModel) -> Result<CreateModel> {
    let is_rules = create.options.get("model_type").is_some_and(|name| name.eq_ignore_ascii_case(RULES));
    let QueryBody::Sql(query) = &mut create.query.body else { return Ok(create) };
    if !is_rules || create.transform.is_some() {
        return Ok(create);
    }
    let label = create.options.get("label").map(str::to_owned);
    let select = plain_select(query).map_err(|error| error.at(create.name.at))?;
    let items = std::mem::take(&mut select.projection);
    let (rule, label_item) = told_apart(items, label.as_deref()).map_err(|error| error.at(create.name.at))?;
    let Answer { mut expr, name } = rule;
    let mut columns = columns_of(&mut expr)?;
    let at = create.name.at;
    let item =
        |expr: Expr, name: String| TransformItem::Column { expr: Box::new(expr), name: Name { text: name, at }, at };
    let mut items = vec![item(expr, name)];
    if let Some((label, label_item)) = label.zip(label_item) {
        columns.remove(&label);
        items.push(item(Expr::Identifier(quoted(&label)), label));
        select.projection.push(label_item);
    }
    let named = |(name, expr): (String, Expr)| SelectItem::ExprWithAlias { expr, alias: quoted(&name) };
    select.projection.extend(columns.into_iter().map(named));
    create.transform = Some(TransformClause { items, at });
    Ok(create)
}

/// A query whose columns may be others, and its rows stay the same.
fn plain_select(query: &mut Query) -> Result<&mut Select> {
    let is_plain = |select: &Select| {
        let is_grouped = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(by, _) => !by.is_empty(),
        };
        !is_grouped && select.distinct.is_none() && select.having.is_none() && select.qualify.is_none()
    };
    match query.body.as_mut() {
        SetExpr::Select(select) if is_plain(select) => Ok(select),
        _ => {
            let hint = "put it below: SELECT CASE … END AS verdict FROM (SELECT …) AS t";
            Err(SqlError::unsupported("a rule over groups, DISTINCT or a union", hint))
        }
    }
}

/// What the rule says, and what that is called.
struct Answer {
    expr: Expr,
    name: String,
}

/// The rule among what is selected, and the label, if there is one.
fn told_apart(items: Vec<SelectItem>, label: Option<&str>) -> Result<(Answer, Option<SelectItem>)> {
    let (mut rules, mut labels) = (Vec::new(), Vec::new());
    for item in items {
        let (expr, name) = match &item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, normalize(alias)),
            SelectItem::UnnamedExpr(expr) => (expr, column_name(expr).unwrap_or_else(|| UNNAMED.to_owned())),
            other => return Err(one_answer(&format!("{other}"))),
        };
        if Some(name.as_str()) == label {
            labels.push(item);
        } else {
            rules.push(Answer { expr: expr.clone(), name });
        }
    }
    if let (Some(label), []) = (label, labels.as_slice()) {
        let message =
            format!("the label '{label}' is not among what is selected: SELECT CASE … END AS verdict, {label} FROM …");
        return Err(SqlError::invalid(message));
    }
    let names = rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>().join(", ");
    match <[Answer; 1]>::try_from(rules) {
        Ok([rule]) => Ok((rule, labels.pop())),
        Err(_) => Err(one_answer(&names)),
    }
}

fn one_answer(found: &str) -> SqlError {
    let found = if found.is_empty() { "nothing" } else { found };
    SqlError::invalid(format!(
        "a model of rules says one thing, and its query selects that, beside the label if it has one: CASE … END AS verdict. \
         There is: {found}"
    ))
}

/// The name of a column, whatever table it is said to be of.
fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::CompoundIdentifier(idents) => idents.last().map(normalize),
        other => plain_name(other),
    }
}

/// The columns that an expression reads, by their names, which it has alone from then on.
fn columns_of(expr: &mut Expr) -> Result<BTreeMap<String, Expr>> {
    let mut columns: BTreeMap<String, Expr> = BTreeMap::new();
    let visited = visit_expressions_mut(expr, |inner| {
        if matches!(inner, Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. }) {
            let hint = "join what it looks up in the query's FROM";
            return ControlFlow::Break(SqlError::unsupported("a query within a rule", hint).at(inner.span()));
        }
        if !matches!(inner, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            return ControlFlow::Continue(());
        }
        let Some(name) = column_name(inner) else { return ControlFlow::Continue(()) };
        let span = inner.span();
        let ident = Ident { span, ..quoted(&name) };
        let read = std::mem::replace(inner, Expr::Identifier(ident));
        match columns.get(&name) {
            Some(known) if known.to_string() != read.to_string() => {
                let message =
                    format!("the rule reads two columns '{name}', {known} and {read}: give them names of their own");
                ControlFlow::Break(SqlError::invalid(message).at(span))
            }
            Some(_) => ControlFlow::Continue(()),
            None => {
                columns.insert(name, read);
                ControlFlow::Continue(())
            }
        }
    });
    match visited {
        ControlFlow::Continue(()) => Ok(columns),
        ControlFlow::Break(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse_script;
    use crate::statement::Statement;

    /// The transform and the query of a statement.
    fn spelled(sql: &str) -> Result<String> {
        let Statement::CreateModel(create) = &parse_script(sql)?[0].statement else { panic!("{sql}") };
        let QueryBody::Sql(query) = &create.query.body else { panic!("{sql}") };
        Ok(format!("{} AS {query}", create.transform.as_ref().map(ToString::to_string).unwrap_or_default()))
    }

    #[test]
    fn a_rule_is_a_transform_over_the_columns_that_it_reads() {
        for (sql, expected) in [
            (
                "CREATE MODEL m WITH (model_type = 'rules') AS SELECT CASE WHEN Fare > 9 THEN 'far' ELSE City END AS verdict FROM t",
                r#"TRANSFORM (CASE WHEN "fare" > 9 THEN 'far' ELSE "city" END AS "verdict") AS SELECT City AS "city", Fare AS "fare" FROM t"#,
            ),
            (
                "CREATE MODEL m WITH (model_type = 'RULES', label = 'late') AS
                   SELECT t.fare > 9 AND fast, u.late FROM t JOIN u ON t.a = u.a WHERE t.fare > 0 LIMIT 3",
                r#"TRANSFORM ("fare" > 9 AND "fast" AS "rule", "late" AS "late") AS SELECT u.late, t.fare AS "fare", fast AS "fast" FROM t JOIN u ON t.a = u.a WHERE t.fare > 0 LIMIT 3"#,
            ),
            (
                "CREATE MODEL m TRANSFORM (a > 1 AS x) WITH (model_type = 'rules') AS SELECT a FROM t",
                r#"TRANSFORM (a > 1 AS "x") AS SELECT a FROM t"#,
            ),
        ] {
            assert_eq!(spelled(sql).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (query, reason) in [
            ("SELECT a > 1 AS x, b > 1 AS y, late FROM t", "There is: x, y"),
            ("SELECT late FROM t", "There is: nothing"),
            ("SELECT *, late FROM t", "There is: *"),
            ("SELECT a > 1 AS x FROM t", "the label 'late' is not among what is selected"),
            ("SELECT a > 1 AS x, late FROM t GROUP BY a, late", "over groups"),
            ("SELECT a > 1 AS x, late FROM t UNION ALL SELECT TRUE, late FROM u", "a union"),
            ("SELECT t.a > u.a AS x, late FROM t, u", "two columns 'a'"),
            ("SELECT a IN (SELECT b FROM u) AS x, late FROM t", "a query within a rule"),
        ] {
            let sql = format!("CREATE MODEL m WITH (model_type = 'rules', label = 'late') AS {query}");
            let refused = spelled(&sql).unwrap_err().to_string();
            assert!(refused.contains(reason), "{query}: {refused}");
        }
    }
}
