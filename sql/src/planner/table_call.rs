//! `FROM t, LATERAL f(t.x)`, `LATERAL TABLE(f(t.x))` and `UNNEST(f(t.x))`: table functions from Rust.
//!
//! Such a function makes a list of each row, so a call is UNNEST of what it returns; where the list is one
//! of structs, their fields are the columns, so they are unnested too. What is written here as UNNEST is
//! planned and put on top of the row by the same code as what the user writes so.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query,
    SetExpr, Spanned, TableAlias, TableAliasColumnDef, TableFactor,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;
use tidemill_plans::functions::{RegisteredKind, RowColumns, find_registered, registered};

use super::table_function::TABLE_FUNCTIONS;
use crate::ast::{dotted, quoted};
use crate::dialect::TidemillDialect;
use crate::error::{Result, SqlError};

/// The rows that a call makes, with a name for the struct that each of them is.
const ROWS: &str = "SELECT unnest(\"__row\") FROM UNNEST(NULL) AS \"__rows\"(\"__row\")";

/// A table function's call in FROM.
struct TableCall {
    function: Function,
    alias: Option<TableAlias>,
}

/// Replaces a call of a table function from Rust by UNNEST; whether the factor was one.
pub(super) fn replace_table_call(factor: &mut TableFactor) -> Result<bool> {
    let Some(call) = table_call(factor)? else { return Ok(false) };
    let name = dotted(&call.function.name);
    let span = call.function.name.span();
    let columns = columns_of(&name).map_err(|error| error.at(span))?;
    let alias = alias_of(call.alias, &name, &columns).map_err(|error| error.at(span))?;
    let rows = TableFactor::UNNEST {
        alias: None,
        array_exprs: vec![Expr::Function(call.function)],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    };
    *factor = match columns {
        RowColumns::Element => with_alias(rows, alias),
        RowColumns::Fields(_) => fields_of(rows, alias)?,
    };
    Ok(true)
}

/// The call that a factor is, if it is one: of any function behind LATERAL or in TABLE, else of a table
/// function from Rust.
fn table_call(factor: &TableFactor) -> Result<Option<TableCall>> {
    let (function, alias) = match factor {
        TableFactor::Function { with_ordinality: true, name, .. } => return Err(no_places().at(name.span())),
        TableFactor::Function { name, args, alias, .. } if dotted(name) == "table" => match args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(call))] => (called(call)?, alias),
            _ => return Err(SqlError::invalid("TABLE has one call in it: LATERAL TABLE(f(t.x))").at(name.span())),
        },
        TableFactor::Function { name, args, alias, .. } => (call(name, args), alias),
        TableFactor::TableFunction { expr, alias } => (called(expr)?, alias),
        TableFactor::Table { name, args: Some(args), alias, .. } if is_table_function(&dotted(name)) => {
            (call(name, &args.args), alias)
        }
        TableFactor::UNNEST { array_exprs, alias, with_offset: false, with_ordinality: false, .. } => {
            match array_exprs.as_slice() {
                [Expr::Function(function)] if is_table_function(&dotted(&function.name)) => (function.clone(), alias),
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(TableCall { function, alias: alias.clone() }))
}

fn is_table_function(name: &str) -> bool {
    find_registered(name).is_some_and(|registered| registered.kind == RegisteredKind::Table)
}

fn no_places() -> SqlError {
    let hint = "leave it out; no stream says in which place an element was";
    SqlError::unsupported("WITH ORDINALITY", hint)
}

fn called(expr: &Expr) -> Result<Function> {
    match expr {
        Expr::Function(function) => Ok(function.clone()),
        Expr::Nested(inner) => called(inner),
        other => Err(SqlError::invalid(format!("TABLE has a call in it, not {other}")).at(other.span())),
    }
}

fn call(name: &ObjectName, args: &[FunctionArg]) -> Function {
    let list = FunctionArgumentList { duplicate_treatment: None, args: args.to_vec(), clauses: Vec::new() };
    Function {
        name: name.clone(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

/// The columns of a table function from Rust.
fn columns_of(name: &str) -> Result<RowColumns> {
    let found = find_registered(name).filter(|registered| registered.kind == RegisteredKind::Table);
    if let Some(columns) = found.and_then(|registered| registered.columns()) {
        return Ok(columns);
    }
    let known = registered().into_iter().filter(|(_, registered)| registered.kind == RegisteredKind::Table);
    let known: Vec<String> = known.map(|(name, _)| name).collect();
    let hint = match known.as_slice() {
        [] => format!("FROM takes {TABLE_FUNCTIONS}, and UNNEST(f(x)) makes rows of a list"),
        names => format!("from Rust there are: {}; UNNEST(f(x)) makes rows of a list", names.join(", ")),
    };
    let what = String::from("table function");
    Err(SqlError::Unknown { at: Span::empty().into(), what, name: name.to_owned(), hint })
}

/// The alias with a name for each column: the user's, else the function's own.
fn alias_of(alias: Option<TableAlias>, function: &str, columns: &RowColumns) -> Result<TableAlias> {
    let own = match columns {
        RowColumns::Element => vec![function.to_owned()],
        RowColumns::Fields(names) => names.clone(),
    };
    let none = || TableAlias { explicit: true, name: quoted(function), columns: Vec::new(), at: None };
    let mut alias = alias.unwrap_or_else(none);
    if alias.columns.is_empty() {
        let named = own.iter().map(|name| TableAliasColumnDef { name: quoted(name), data_type: None });
        alias.columns = named.collect();
    }
    if alias.columns.len() == own.len() {
        return Ok(alias);
    }
    let (given, names) = (alias.columns.len(), own.join(", "));
    Err(SqlError::invalid(format!("{function} has the columns {names}: name as many behind it, not {given}")))
}

fn with_alias(mut factor: TableFactor, given: TableAlias) -> TableFactor {
    if let TableFactor::UNNEST { alias, .. } = &mut factor {
        *alias = Some(given);
    }
    factor
}

/// The fields of the rows as columns: a subquery that unnests each row.
fn fields_of(rows: TableFactor, alias: TableAlias) -> Result<TableFactor> {
    let dialect = TidemillDialect::default();
    let parsed = Parser::new(&dialect).try_with_sql(ROWS).and_then(|mut parser| parser.parse_query());
    let mut subquery: Box<Query> = parsed.map_err(|error| SqlError::invalid(error.to_string()))?;
    if let SetExpr::Select(select) = subquery.body.as_mut() {
        // Positions in text that the user did not write must not reach an error message.
        select.select_token = AttachedToken::empty();
        for table in &mut select.from {
            let TableFactor::UNNEST { alias: Some(own), .. } = &table.relation else { continue };
            let mut own = own.clone();
            let forget = |ident: &mut Ident| ident.span = Span::empty();
            forget(&mut own.name);
            own.columns.iter_mut().for_each(|column| forget(&mut column.name));
            table.relation = with_alias(rows.clone(), own);
        }
    }
    Ok(TableFactor::Derived { lateral: true, subquery, alias: Some(alias), sample: None })
}
