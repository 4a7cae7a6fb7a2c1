//! CREATE FUNCTION: a body is checked and planned once, at creation, and calls are inlined.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF, cast};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, Ident, ObjectNamePart, Spanned, Value, visit_expressions,
};
use datafusion::sql::sqlparser::parser::Parser;
use tidemill_plans::functions;

use super::as_of;
use super::expression::{Expressions, plan_expression, plan_type};
use super::inlined::InlinedFunction;
use super::source::type_name;
use crate::ast::{dotted, normalize};
use crate::catalog::{Catalog, FunctionObject, Parameter};
use crate::dialect::TidemillDialect;
use crate::error::{Result, SqlError};
use crate::statement::{CreateFunction, Name, ParameterDefinition};

/// Plans a function; also says which others its body calls.
pub(crate) fn plan_function(create: &CreateFunction, catalog: &Catalog) -> Result<(FunctionObject, BTreeSet<String>)> {
    check_name(&create.name)?;
    let parameters = plan_parameters(&create.parameters)?;
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    check_body(&create.body, &create.name.text, &names)?;
    let mut expressions = Expressions::new(catalog);
    let body = plan_body(create, &parameters, &mut expressions)?;
    let fields = fields(&parameters);
    let returns = body.get_type(&DFSchema::try_from(Schema::new(fields.clone()))?)?;
    let shown = shown(&create.name.text, &parameters);
    let function = InlinedFunction::new(&create.name.text, shown, fields, body)?;
    let function = Arc::new(ScalarUDF::from(function));
    let object = FunctionObject { parameters, returns, body: create.body.to_string(), function };
    Ok((object, expressions.uses))
}

/// A name, its parameters and their types, as errors and SHOW have them.
pub(crate) fn shown(name: &str, parameters: &[Parameter]) -> String {
    format!("{name}({})", shown_parameters(parameters))
}

/// Parameters with their types and defaults.
pub(crate) fn shown_parameters(parameters: &[Parameter]) -> String {
    let shown = parameters.iter().map(|parameter| {
        let declared = format!("{} {}", parameter.name, type_name(&parameter.data_type));
        match &parameter.default {
            Some(default) => format!("{declared} DEFAULT {default}"),
            None => declared,
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn fields(parameters: &[Parameter]) -> Vec<Field> {
    let field = |parameter: &Parameter| Field::new(&parameter.name, parameter.data_type.clone(), true);
    parameters.iter().map(field).collect()
}

/// Refuses a name that means a function already, or that a call could not have.
fn check_name(name: &Name) -> Result<()> {
    let text = &name.text;
    if functions::is_known(text) || as_of::find(text).is_some() {
        let message = format!("there is a function '{text}' already; take another name");
        return Err(SqlError::invalid(message).at(name.at));
    }
    // Some words have a syntax of their own, such as EXTRACT(… FROM …).
    let call = format!("{}(x)", if text.chars().all(is_plain) { text.clone() } else { format!("\"{text}\"") });
    let dialect = TidemillDialect::default();
    let parsed = Parser::new(&dialect).try_with_sql(&call).and_then(|mut parser| parser.parse_expr());
    match parsed {
        Ok(SqlExpr::Function(function)) if dotted(&function.name) == *text => Ok(()),
        _ => {
            let message = format!("'{text}' is a word of SQL's own and cannot name a function; take another name");
            Err(SqlError::invalid(message).at(name.at))
        }
    }
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
}

fn plan_parameters(definitions: &[ParameterDefinition]) -> Result<Vec<Parameter>> {
    let mut parameters: Vec<Parameter> = Vec::with_capacity(definitions.len());
    for ParameterDefinition { name, data_type, default } in definitions {
        let wrong = |message: String| Err(SqlError::invalid(message).at(name.at));
        if parameters.iter().any(|parameter| parameter.name == name.text) {
            return wrong(format!("the parameter '{}' is declared twice", name.text));
        }
        let data_type = plan_type(data_type.clone()).map_err(|error| error.at(name.at))?;
        match (default, parameters.last()) {
            (None, Some(Parameter { default: Some(_), name: earlier, .. })) => {
                return wrong(format!(
                    "the parameter '{}' stands behind '{earlier}', which has a DEFAULT, and needs one too",
                    name.text
                ));
            }
            (Some(default), _) => {
                check_default(default, &name.text, &data_type).map_err(|error| error.at(default.span()).at(name.at))?
            }
            _ => {}
        }
        parameters.push(Parameter { name: name.text.clone(), data_type, default: default.clone() });
    }
    Ok(parameters)
}

/// A default is a constant that its parameter can hold.
fn check_default(default: &SqlExpr, parameter: &str, data_type: &DataType) -> Result<()> {
    let no_constant = || SqlError::invalid(format!("the DEFAULT of '{parameter}' must be a constant, not {default}"));
    let is_column = |expr: &SqlExpr| matches!(expr, SqlExpr::Identifier(_) | SqlExpr::CompoundIdentifier(_));
    let found =
        visit_expressions(
            default,
            |expr| if is_column(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) },
        );
    if found.is_break() {
        return Err(no_constant());
    }
    let Expr::Literal(value, _) = plan_expression(default.clone(), &Schema::empty())? else {
        return Err(no_constant());
    };
    if value.cast_to(data_type).is_ok() {
        return Ok(());
    }
    let message = format!("the DEFAULT of '{parameter}' is {default}, which is no {}", type_name(data_type));
    Err(SqlError::invalid(message))
}

/// The body over the parameters as columns, cast to what the function returns.
fn plan_body(create: &CreateFunction, parameters: &[Parameter], expressions: &mut Expressions) -> Result<Expr> {
    let located = |error: SqlError| error.at(create.body.span()).at(create.body_at);
    let schema = Schema::new(fields(parameters));
    let body = expressions.plan(create.body.clone(), &schema).map_err(located)?;
    let found = body.get_type(&DFSchema::try_from(schema)?)?;
    let wanted = match &create.returns {
        Some(returns) => plan_type(returns.clone()).map_err(|error| error.at(create.name.at))?,
        None if found.is_null() => {
            let message = format!("the type of {} is not known: say RETURNS and a type", create.name.text);
            return Err(SqlError::invalid(message).at(create.name.at));
        }
        None => found.clone(),
    };
    if found == wanted {
        return Ok(body);
    }
    if !can_cast_types(&found, &wanted) {
        let (found, wanted) = (type_name(&found), type_name(&wanted));
        return Err(located(SqlError::invalid(format!("the body is {found}, which cannot become {wanted}"))));
    }
    Ok(cast(body, wanted))
}

/// Refuses what a body cannot have, where it stands.
fn check_body(body: &SqlExpr, function: &str, parameters: &[&str]) -> Result<()> {
    let found = visit_expressions(body, |expr| match refused(expr, function, parameters) {
        Some(error) => ControlFlow::Break(error.at(expr.span())),
        None => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn refused(expr: &SqlExpr, function: &str, parameters: &[&str]) -> Option<SqlError> {
    match expr {
        SqlExpr::Identifier(name) => unknown(name, function, parameters),
        // A field of a parameter that is a struct.
        SqlExpr::CompoundIdentifier(parts) => unknown(parts.first()?, function, parameters),
        SqlExpr::Subquery(_) | SqlExpr::InSubquery { .. } | SqlExpr::Exists { .. } => {
            let hint =
                "a function computes with its arguments alone; join the table in the query, and pass its columns";
            Some(SqlError::unsupported("a subquery in a function's body", hint))
        }
        SqlExpr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            let hint = "parameters have names here: CREATE FUNCTION f(x INT) RETURN x + 1";
            Some(SqlError::unsupported(format!("{value} in a function's body"), hint))
        }
        SqlExpr::Function(call) => refused_call(call, function),
        _ => None,
    }
}

fn unknown(name: &Ident, function: &str, parameters: &[&str]) -> Option<SqlError> {
    if parameters.contains(&normalize(name).as_str()) {
        return None;
    }
    let hint = match parameters {
        [] => String::from("it has none; a body names no columns"),
        names => format!("there are: {}; a body names no columns", names.join(", ")),
    };
    let what = format!("parameter of '{function}' called");
    Some(SqlError::Unknown { at: name.span.into(), what, name: normalize(name), hint })
}

fn refused_call(call: &Function, function: &str) -> Option<SqlError> {
    let name = dotted(&call.name);
    if name == function {
        let hint = "a body calls functions that were created before it";
        return Some(SqlError::unsupported(format!("'{function}', which calls itself,"), hint));
    }
    let (what, hint) = if call.over.is_some() || functions::window(&name).is_some() {
        ("a window function", "compute it in the query, and pass its result")
    } else if functions::aggregate(&name).is_some() {
        ("an aggregate", "aggregate in the query, and pass the result: f(sum(x))")
    } else if name == "unnest" {
        ("UNNEST", "unnest in the query, and pass the elements")
    } else {
        return None;
    };
    let at = call
        .name
        .0
        .first()
        .and_then(ObjectNamePart::as_ident)
        .map(|ident| ident.span)
        .unwrap_or_else(|| call.name.span());
    Some(SqlError::unsupported(format!("{what} in a function's body"), hint).at(at))
}
