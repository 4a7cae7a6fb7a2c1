//! Calls of scalar functions: operators and predicates by the specification's names, all others by the names that they
//! have in SQL.

use std::sync::Arc;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction as ScalarCall;
use datafusion::logical_expr::planner::ContextProvider;
use datafusion::logical_expr::{Between, Expr, Like, Operator, binary_expr, lit};

use super::Consumer;
use crate::catalog::Detail;
use crate::problem::{Problem, Read, Within, each};
use crate::substrait::messages::{Argument, ArgumentKind, FunctionOption, ScalarFunction, Unread};

/// Operators of two operands.
const OPERATORS: [(&str, Operator); 22] = [
    ("equal", Operator::Eq),
    ("not_equal", Operator::NotEq),
    ("lt", Operator::Lt),
    ("lte", Operator::LtEq),
    ("gt", Operator::Gt),
    ("gte", Operator::GtEq),
    ("is_distinct_from", Operator::IsDistinctFrom),
    ("is_not_distinct_from", Operator::IsNotDistinctFrom),
    ("subtract", Operator::Minus),
    ("divide", Operator::Divide),
    ("modulus", Operator::Modulo),
    ("mod", Operator::Modulo),
    ("xor", Operator::NotEq),
    ("regex_match", Operator::RegexMatch),
    ("regex_imatch", Operator::RegexIMatch),
    ("regex_not_match", Operator::RegexNotMatch),
    ("regex_not_imatch", Operator::RegexNotIMatch),
    ("bitwise_and", Operator::BitwiseAnd),
    ("bitwise_or", Operator::BitwiseOr),
    ("bitwise_xor", Operator::BitwiseXor),
    ("bitwise_shift_left", Operator::BitwiseShiftLeft),
    ("bitwise_shift_right", Operator::BitwiseShiftRight),
];

/// Operators that take any number of operands.
const CHAINS: [(&str, Operator); 5] = [
    ("and", Operator::And),
    ("or", Operator::Or),
    ("add", Operator::Plus),
    ("multiply", Operator::Multiply),
    ("str_concat", Operator::StringConcat),
];

/// The names of functions in SQL that have others in the specification.
const SYNONYMS: [(&str, &str); 7] = [
    ("extract", "date_part"),
    ("is_nan", "isnan"),
    ("sign", "signum"),
    ("logb", "log"),
    ("std_dev", "stddev"),
    ("variance", "var"),
    ("approx_count_distinct", "approx_distinct"),
];

/// What a function is called in SQL.
pub(super) fn sql_name(name: &str) -> &str {
    SYNONYMS.iter().find(|(standard, _)| *standard == name).map_or(name, |(_, own)| own)
}

/// Refuses of a call what would be passed over.
pub(super) fn check_call(options: &[FunctionOption], old_arguments: &[Unread]) -> Read<()> {
    if let Some(option) = options.first() {
        let hint = "leave it out; functions do what they do in SQL";
        return Err(Problem::unsupported(format!("the option '{}'", option.name), hint)).within("options");
    }
    match old_arguments.is_empty() {
        true => Ok(()),
        false => {
            Err(Problem::unsupported("arguments without a kind", "send them in the field arguments")).within("args")
        }
    }
}

impl<'a> Consumer<'a> {
    /// The name of the function of this number.
    pub(super) fn function_name(&self, function: u32) -> Read<&'a str> {
        let found = self.functions.get(&function).copied();
        found.ok_or_else(|| Problem::new(format!("no extension declares the function {function}")))
    }

    pub(super) fn scalar_function(&mut self, call: &ScalarFunction, schema: &DFSchema) -> Read<Expr> {
        let name = self.function_name(call.function)?;
        check_call(&call.options, &call.old_arguments)?;
        let arguments = self.arguments(&call.arguments, schema)?;
        if let Some((_, operator)) = OPERATORS.iter().find(|(known, _)| *known == name) {
            let [left, right] = exactly(name, arguments)?;
            return Ok(binary_expr(left, *operator, right));
        }
        if let Some((_, operator)) = CHAINS.iter().find(|(known, _)| *known == name) {
            return chain(name, *operator, arguments);
        }
        match name {
            "like" | "like_match" => like(name, arguments, false, false),
            "like_not_match" => like(name, arguments, false, true),
            "ilike" | "like_imatch" => like(name, arguments, true, false),
            "like_not_imatch" => like(name, arguments, true, true),
            "between" => {
                let [expr, low, high] = exactly(name, arguments)?.map(Box::new);
                Ok(Expr::Between(Between { expr, negated: false, low, high }))
            }
            _ => match predicate(name) {
                Some(predicate) => {
                    let [operand] = exactly(name, arguments)?;
                    Ok(predicate(Box::new(operand)))
                }
                None => self.call(name, arguments),
            },
        }
    }

    /// The values of arguments. What the specification calls an enum is a text in SQL.
    pub(super) fn arguments(&mut self, arguments: &[Argument], schema: &DFSchema) -> Read<Vec<Expr>> {
        let values = each(arguments, |argument| match &argument.kind {
            Some(ArgumentKind::Value(value)) => self.expression(value, schema).within("value"),
            Some(ArgumentKind::Enum(choice)) => Ok(lit(choice.as_str())),
            Some(ArgumentKind::Type(_)) => {
                Err(Problem::unsupported("a type as an argument", "cast the values that have another"))
            }
            None => Err(Problem::new("it is missing")),
        });
        values.within("arguments")
    }

    /// A call of a function that SQL has.
    fn call(&mut self, name: &str, mut arguments: Vec<Expr>) -> Read<Expr> {
        // The logarithm's base comes first in SQL, and last in plans.
        if matches!(name, "log" | "logb") && arguments.len() == 2 {
            arguments.swap(0, 1);
        }
        let own = sql_name(name);
        // Two underscores begin the names of functions that the planner keeps to itself.
        let function = self.context.get_function_meta(own).filter(|_| !own.starts_with("__"));
        let Some(function) = function else { return Err(unknown(name)) };
        let created = self.context.catalog.find(own);
        if created.is_some_and(|object| matches!(object.detail, Detail::Function(_))) {
            self.uses.push(own.to_owned());
        }
        Ok(Expr::ScalarFunction(ScalarCall::new_udf(Arc::clone(&function), arguments)))
    }
}

/// The error about a function that nothing is.
pub(super) fn unknown(name: &str) -> Problem {
    Problem::new(format!("there is no function '{name}'; SHOW FUNCTIONS lists all"))
}

/// So many arguments.
fn exactly<const N: usize>(name: &str, arguments: Vec<Expr>) -> Read<[Expr; N]> {
    let count = arguments.len();
    <[Expr; N]>::try_from(arguments)
        .map_err(|_| Problem::new(format!("{name} takes {N} arguments, and has {count}")))
        .within("arguments")
}

/// A tree of operators that is no deeper than it has to be: all who look at it recurse.
fn chain(name: &str, operator: Operator, mut operands: Vec<Expr>) -> Read<Expr> {
    if operands.len() > 1 {
        let right = operands.split_off(operands.len() / 2);
        return Ok(binary_expr(chain(name, operator, operands)?, operator, chain(name, operator, right)?));
    }
    let none = || Problem::new(format!("{name} has no arguments"));
    operands.pop().ok_or_else(none).within("arguments")
}

fn predicate(name: &str) -> Option<fn(Box<Expr>) -> Expr> {
    Some(match name {
        "not" => Expr::Not,
        "negate" | "negative" => Expr::Negative,
        "is_null" => Expr::IsNull,
        "is_not_null" => Expr::IsNotNull,
        "is_true" => Expr::IsTrue,
        "is_not_true" => Expr::IsNotTrue,
        "is_false" => Expr::IsFalse,
        "is_not_false" => Expr::IsNotFalse,
        "is_unknown" => Expr::IsUnknown,
        "is_not_unknown" => Expr::IsNotUnknown,
        _ => return None,
    })
}

/// LIKE. A third argument is the character that makes the next one mean itself.
fn like(name: &str, mut arguments: Vec<Expr>, case_insensitive: bool, negated: bool) -> Read<Expr> {
    let escape_char = match arguments.len() {
        3 => arguments.pop().map(|escape| escape_of(&escape)).transpose().at(2).within("arguments")?.flatten(),
        _ => None,
    };
    let [expr, pattern] = exactly(name, arguments)?.map(Box::new);
    Ok(Expr::Like(Like { negated, expr, pattern, escape_char, case_insensitive }))
}

fn escape_of(escape: &Expr) -> Read<Option<char>> {
    match escape {
        Expr::Literal(ScalarValue::Utf8(None), _) => Ok(None),
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
            let mut characters = text.chars();
            match (characters.next(), characters.next()) {
                (first, None) => Ok(first),
                _ => Err(Problem::new(format!("'{text}' is no single character"))),
            }
        }
        _ => Err(Problem::unsupported("an escape that is no literal", "send the character")),
    }
}
