//! Calls of functions that the session has created: their arguments are put in order here, where their
//! places in the text are known. DataFusion then plans them as it does any other call.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, VisitMut, VisitorMut,
};

use super::function::shown;
use crate::ast::{dotted, normalize};
use crate::batch::row_prediction::{is_row_prediction, outside_of_queries};
use crate::catalog::{Catalog, Detail, FunctionObject};
use crate::error::{Result, SqlError};

/// Gives each call of a created function in a query or an expression all its arguments, by position; notes
/// the functions in `uses`.
pub(crate) fn complete_calls(syntax: &mut impl VisitMut, catalog: &Catalog, uses: &mut BTreeSet<String>) -> Result<()> {
    match syntax.visit(&mut Calls { catalog, uses }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Calls<'a> {
    catalog: &'a Catalog,
    uses: &'a mut BTreeSet<String>,
}

impl VisitorMut for Calls<'_> {
    type Break = SqlError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let is_prediction = is_row_prediction(expr);
        let Expr::Function(call) = expr else { return ControlFlow::Continue(()) };
        if is_prediction {
            return ControlFlow::Break(outside_of_queries().at(call.name.span()));
        }
        let name = dotted(&call.name);
        let Some(Detail::Function(function)) = self.catalog.find(&name).map(|object| &object.detail) else {
            return ControlFlow::Continue(());
        };
        self.uses.insert(name.clone());
        match complete(call, &name, function) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error.at(call.name.span())),
        }
    }
}

fn complete(call: &mut Function, name: &str, function: &FunctionObject) -> Result<()> {
    if let Some(clause) = clause_of_aggregates(call) {
        let hint = format!("{name} is no aggregate, and has a value for each row");
        return Err(SqlError::unsupported(format!("{clause} behind {name}"), hint));
    }
    let FunctionArguments::List(list) = &mut call.args else {
        return Err(SqlError::invalid(format!(
            "{name} is called with arguments in parentheses: {}",
            shown(name, &function.parameters)
        )));
    };
    let given = std::mem::take(&mut list.args);
    let count = given.len();
    let mut places: Vec<Option<Expr>> = vec![None; function.parameters.len()];
    for (position, argument) in given.into_iter().enumerate() {
        place(argument, position, &mut places, name, function)?;
    }
    for (place, parameter) in places.into_iter().zip(&function.parameters) {
        let Some(argument) = place.or_else(|| parameter.default.clone()) else {
            let shown = shown(name, &function.parameters);
            let message = format!("{shown} is called with {}; '{}' is missing", arguments(count), parameter.name);
            return Err(SqlError::invalid(message));
        };
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)));
    }
    Ok(())
}

/// Puts an argument where its parameter is.
fn place(
    argument: FunctionArg,
    position: usize,
    places: &mut [Option<Expr>],
    name: &str,
    function: &FunctionObject,
) -> Result<()> {
    let at = argument.span();
    let wrong = |message: String| SqlError::invalid(message).at(at);
    let shown = || shown(name, &function.parameters);
    let (place, argument) = match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => (position, expr),
        FunctionArg::Named { name: parameter, arg: FunctionArgExpr::Expr(expr), .. }
        | FunctionArg::ExprNamed { name: Expr::Identifier(parameter), arg: FunctionArgExpr::Expr(expr), .. } => {
            let parameter = normalize(&parameter);
            let place = function.parameters.iter().position(|known| known.name == parameter);
            let place = place.ok_or_else(|| wrong(format!("{} has no parameter '{parameter}'", shown())))?;
            (place, expr)
        }
        other => return Err(wrong(format!("'{other}' is no argument of {}", shown()))),
    };
    match places.get_mut(place) {
        Some(slot @ None) => *slot = Some(argument),
        Some(Some(_)) => {
            let parameter = &function.parameters[place].name;
            return Err(wrong(format!("{} is given its '{parameter}' twice", shown())));
        }
        None => return Err(wrong(format!("{} takes {}, not more", shown(), arguments(places.len())))),
    }
    Ok(())
}

fn arguments(count: usize) -> String {
    match count {
        0 => String::from("no arguments"),
        1 => String::from("1 argument"),
        count => format!("{count} arguments"),
    }
}

/// What only an aggregate or a window function has behind its name or arguments.
fn clause_of_aggregates(call: &Function) -> Option<&'static str> {
    let FunctionArguments::List(list) = &call.args else { return None };
    if call.over.is_some() {
        Some("OVER")
    } else if call.filter.is_some() {
        Some("FILTER")
    } else if list.duplicate_treatment.is_some() {
        Some("DISTINCT or ALL")
    } else if !call.within_group.is_empty() {
        Some("WITHIN GROUP")
    } else if !list.clauses.is_empty() || call.null_treatment.is_some() {
        Some("a clause for aggregates")
    } else {
        None
    }
}
