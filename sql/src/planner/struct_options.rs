//! The options of table functions, as BigQuery ML writes them: `STRUCT(10 AS horizon, 0.9 AS confidence_level)`.

use std::str::FromStr;

use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Ident, Spanned, Value, ValueWithSpan};

use super::table_function::wrong_call;
use crate::ast::normalize;
use crate::error::{Result, SqlError};

/// One of them: `10 AS horizon`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StructOption<'a> {
    pub(crate) name: &'a Ident,
    pub(crate) value: &'a Expr,
}

impl StructOption<'_> {
    /// The name as it is compared.
    pub(crate) fn key(&self) -> String {
        normalize(self.name)
    }

    /// A literal number that keeps to a rule, which `expected` says in words.
    pub(crate) fn number<T: FromStr>(&self, expected: &str, keeps: impl Fn(&T) -> bool) -> Result<T> {
        let number = match self.value {
            Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.parse().ok(),
            _ => None,
        };
        number.filter(keeps).ok_or_else(|| {
            SqlError::invalid(format!("{} is {expected}, not {}", self.key(), self.value)).at(self.value.span())
        })
    }

    /// Why the function, which takes those options, does not take this one.
    pub(crate) fn unknown(&self, function: &str, options: &str) -> SqlError {
        let hint = format!("{function} takes {options}");
        SqlError::unsupported(format!("the option '{}'", self.name), hint).at(self.name.span)
    }
}

/// The options among the arguments of a call, and its other arguments.
///
/// # Errors
/// For options that come twice or have no names.
pub(crate) fn split_options<'a>(
    arguments: &'a [FunctionArg],
    usage: &str,
) -> Result<(Vec<StructOption<'a>>, Vec<&'a FunctionArg>)> {
    let (structs, others): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| fields_of(argument).is_some());
    let fields: &[Expr] = match structs.as_slice() {
        [] => &[],
        [only] => fields_of(only).unwrap_or_default(),
        [_, second, ..] => return Err(wrong_call(usage).at(second.span())),
    };
    let option = |field: &'a Expr| match field {
        Expr::Named { expr, name } => Ok(StructOption { name, value: expr }),
        _ => Err(wrong_call(usage).at(field.span())),
    };
    let options: Vec<_> = fields.iter().map(option).collect::<Result<_>>()?;
    for (place, option) in options.iter().enumerate() {
        if options[..place].iter().any(|before| before.key() == option.key()) {
            return Err(SqlError::invalid(format!("the option '{}' is there twice", option.name)).at(option.name.span));
        }
    }
    Ok((options, others))
}

/// The fields of a STRUCT without types.
fn fields_of(argument: &FunctionArg) -> Option<&[Expr]> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Struct { values, fields })) if fields.is_empty() => {
            Some(values)
        }
        _ => None,
    }
}
