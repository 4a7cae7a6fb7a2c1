//! Small pieces of syntax that the planner makes or takes apart.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Select, SetExpr, TableAlias, TableFactor, VisitMut, VisitorMut,
    visit_expressions_mut, visit_relations_mut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::dialect::TidemillDialect;
use crate::error::{Result, SqlError};

/// An identifier as names are compared: lower case unless quoted.
pub(crate) fn normalize(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The only schema, in the only catalog, which clients write in front of names.
pub(crate) const SCHEMA: [&str; 2] = ["tidemill", "public"];

/// How many parts of a name say in which schema an object is.
pub(crate) fn schema_parts(parts: &[String]) -> usize {
    let [catalog, schema] = SCHEMA;
    match parts {
        [first, second, _, ..] if first == catalog && second == schema => 2,
        [first, _, ..] if first == schema => 1,
        _ => 0,
    }
}

/// Takes the schema out of the names of a query.
pub(crate) fn leave_schema_out(query: &mut Query) {
    let _ = visit_relations_mut(query, |name| {
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(normalize).collect();
        name.0.drain(..schema_parts(&parts));
        ControlFlow::<()>::Continue(())
    });
    let _ = visit_expressions_mut(query, |expr| {
        if let Expr::CompoundIdentifier(idents) = expr {
            let parts: Vec<String> = idents.iter().map(normalize).collect();
            // A table and its column are left; what has one part fewer is a table of this name and its column.
            let schema = schema_parts(&parts);
            if idents.len() == schema + 2 {
                idents.drain(..schema);
            }
        }
        ControlFlow::<()>::Continue(())
    });
}

/// The parts of a name, normalised and joined with dots.
pub(crate) fn dotted(name: &ObjectName) -> String {
    let parts: Vec<String> =
        name.0.iter().map(|part| part.as_ident().map_or_else(|| part.to_string(), normalize)).collect();
    parts.join(".")
}

/// An identifier that means exactly this name.
pub(crate) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// The name of an expression that is a plain column or table name.
pub(crate) fn plain_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(normalize(ident)),
        Expr::Nested(inner) => plain_name(inner),
        _ => None,
    }
}

/// `SELECT * FROM name`.
pub(crate) fn select_all(name: &str) -> Result<Box<Query>> {
    Ok(Box::new(made_up(&format!("SELECT * FROM {}", quoted(name)))?))
}

/// A query that the user did not write: its positions must not reach an error message.
pub(crate) fn made_up(sql: &str) -> Result<Query> {
    let dialect = TidemillDialect::default();
    let parsed = Parser::new(&dialect).try_with_sql(sql).and_then(|mut parser| parser.parse_query());
    let mut query = *parsed.map_err(|error| SqlError::invalid(error.to_string()))?;
    let nowhere = |ident: &Ident| Ident { span: Span::empty(), ..ident.clone() };
    let _ = visit_expressions_mut(&mut query, |expr| {
        match expr {
            Expr::Identifier(ident) | Expr::Prefixed { prefix: ident, .. } => ident.span = Span::empty(),
            Expr::Value(value) => value.span = Span::empty(),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    let _ = visit_relations_mut(&mut query, |name| {
        *name = ObjectName::from(name.0.iter().filter_map(|part| part.as_ident()).map(nowhere).collect::<Vec<_>>());
        ControlFlow::<()>::Continue(())
    });
    let _ = query.visit(&mut NamelessPlaces);
    Ok(query)
}

/// Takes the positions of aliases in FROM away.
struct NamelessPlaces;

impl VisitorMut for NamelessPlaces {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } = factor
        {
            alias.name.span = Span::empty();
        }
        ControlFlow::Continue(())
    }
}

/// The SELECT of a query that was made up.
pub(crate) fn select_of(query: &mut Query) -> Result<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(no_select()),
    }
}

/// What it reads.
pub(crate) fn relation_of(select: &mut Select) -> Result<&mut TableFactor> {
    select.from.first_mut().map(|table| &mut table.relation).ok_or_else(no_select)
}

/// What a text names that stands in FROM, for tests.
#[cfg(test)]
pub(crate) fn factor_of(text: &str) -> TableFactor {
    let mut query = made_up(&format!("SELECT * FROM {text}")).unwrap();
    relation_of(select_of(&mut query).unwrap()).unwrap().clone()
}

fn no_select() -> SqlError {
    SqlError::invalid("a query that was made up is no SELECT; this is a bug")
}

/// The name of a subquery.
pub(crate) fn alias_of(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: quoted(name), columns: Vec::new(), at: None }
}
