//! The options of table functions, as BigQuery ML writes them: `STRUCT(10 AS horizon, 0.9 AS confidence_level)`.

use std::fmt;
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

    /// TRUE or FALSE.
    pub(crate) fn boolean(&self) -> Result<bool> {
        match self.value {
            Expr::Value(ValueWithSpan { value: Value::Boolean(value), .. }) => Ok(*value),
            other => {
                let message = format!("{} is TRUE or FALSE, not {other}", self.key());
                Err(SqlError::invalid(message).at(other.span()))
            }
        }
    }

    /// One of some texts.
    pub(crate) fn choice<'t>(&self, choices: &[&'t str]) -> Result<&'t str> {
        let text = match self.value {
            Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.to_lowercase(),
            _ => String::new(),
        };
        choices.iter().copied().find(|choice| *choice == text).ok_or_else(|| {
            let all: Vec<String> = choices.iter().map(|choice| format!("'{choice}'")).collect();
            let message = format!("{} is {}, not {}", self.key(), all.join(" or "), self.value);
            SqlError::invalid(message).at(self.value.span())
        })
    }

    /// Why the function, which takes those options, does not take this one.
    pub(crate) fn unknown(&self, function: &str, options: &str) -> SqlError {
        let hint = format!("{function} takes {options}");
        SqlError::unsupported(format!("the option '{}'", self.name), hint).at(self.name.span)
    }
}

/// As it is written.
impl fmt::Display for StructOption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} AS {}", self.value, self.name)
    }
}

/// The arguments of a call without one of its options.
pub(crate) fn remove_option(arguments: &[FunctionArg], name: &str) -> Vec<FunctionArg> {
    let is_it = |field: &Expr| matches!(field, Expr::Named { name: own, .. } if normalize(own) == name);
    let mut arguments = arguments.to_vec();
    for argument in &mut arguments {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Struct { values, .. })) = argument {
            values.retain(|field| !is_it(field));
        }
    }
    arguments
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
