//! `ML.POLYNOMIAL_EXPAND(STRUCT(a, b), 2) AS p` and `ML.FEATURE_CROSS(STRUCT(a, b)) AS c` in TRANSFORM: a call is many
//! features, products of numbers or pairs of categories, and named by what they are of: `p_a_b`.
//!
//! Models read no structs, so the fields of BigQuery's are features of their own. The products are those of scikit-learn's
//! `PolynomialFeatures(include_bias=False)`.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, Value,
};

use crate::ast::{dotted, plain_name};
use crate::error::{Result, SqlError};

/// The most columns that are combined: BigQuery's limit.
const COLUMNS_MAX: usize = 10;
/// The most of them in one product.
const DEGREE_MAX: usize = 4;

/// How features are made of columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Combination {
    /// Products of numbers, each of them as often as the degree allows.
    Polynomial,
    /// Categories beside each other, each of them once.
    Cross,
}

/// The features that a call stands for, and what is behind their names; nothing if it is no such call.
pub(super) fn combined(expr: &Expr) -> Result<Option<Vec<(String, Expr)>>> {
    let Expr::Function(call) = expr else { return Ok(None) };
    let combination = match dotted(&call.name).as_str() {
        "ml.polynomial_expand" | "ml_polynomial_expand" => Combination::Polynomial,
        "ml.feature_cross" | "ml_feature_cross" => Combination::Cross,
        _ => return Ok(None),
    };
    let (columns, degree) = arguments(call).ok_or_else(|| combination.wrong().at(call.name.span()))?;
    let names: Option<Vec<String>> = columns.iter().map(plain_name).collect();
    let names = names.ok_or_else(|| combination.wrong().at(call.name.span()))?;
    if !combination.takes(columns.len(), degree) {
        return Err(combination.wrong().at(call.name.span()));
    }
    let features = combination.places(columns.len(), degree).into_iter().map(|places| {
        let suffix: Vec<&str> = places.iter().map(|place| names[*place].as_str()).collect();
        let columns = places.iter().map(|place| columns[*place].clone());
        (suffix.join("_"), combination.of(columns))
    });
    Ok(Some(features.collect()))
}

impl Combination {
    fn takes(self, columns: usize, degree: usize) -> bool {
        match self {
            Self::Polynomial => (1..=COLUMNS_MAX).contains(&columns) && (1..=DEGREE_MAX).contains(&degree),
            Self::Cross => (2..=COLUMNS_MAX).contains(&columns) && (2..=DEGREE_MAX.min(columns)).contains(&degree),
        }
    }

    fn wrong(self) -> SqlError {
        SqlError::invalid(match self {
            Self::Polynomial => format!(
                "ML.POLYNOMIAL_EXPAND takes 1 to {COLUMNS_MAX} columns of numbers, and how many of them are multiplied at most, \
                 1 to {DEGREE_MAX}: ML.POLYNOMIAL_EXPAND(STRUCT(a, b), 2)"
            ),
            Self::Cross => format!(
                "ML.FEATURE_CROSS takes 2 to {COLUMNS_MAX} columns of texts, and how many of them are put together at most, 2 to \
                 {DEGREE_MAX} and no more than there are: ML.FEATURE_CROSS(STRUCT(a, b), 2)"
            ),
        })
    }

    /// Which columns each feature is of, by the number of columns and then in order.
    fn places(self, columns: usize, degree: usize) -> Vec<Vec<usize>> {
        let mut all: Vec<Vec<usize>> = Vec::new();
        let mut last: Vec<Vec<usize>> = vec![Vec::new()];
        for count in 1..=degree {
            last = last.iter().flat_map(|places| self.longer(places, columns)).collect();
            if count > 1 || self == Self::Polynomial {
                all.extend(last.iter().cloned());
            }
        }
        all
    }

    /// The same with one more, which does not stand before the last.
    fn longer(self, places: &[usize], columns: usize) -> Vec<Vec<usize>> {
        let next = match (places.last(), self) {
            (None, _) => 0,
            (Some(last), Self::Polynomial) => *last,
            (Some(last), Self::Cross) => last + 1,
        };
        (next..columns).map(|place| [places, &[place]].concat()).collect()
    }

    fn of(self, columns: impl Iterator<Item = Expr>) -> Expr {
        let one = || Expr::value(Value::Number(String::from("1.0"), false));
        let separator = || Expr::value(Value::SingleQuotedString(String::from("_")));
        let binary = |left: Expr, op: BinaryOperator, right: Expr| Expr::BinaryOp {
            left: Box::new(left),
            op,
            right: Box::new(right),
        };
        let joined = match self {
            // As DOUBLE, so that products of integers have room.
            Self::Polynomial => columns
                .map(|column| binary(column, BinaryOperator::Multiply, one()))
                .reduce(|left, right| binary(left, BinaryOperator::Multiply, Expr::Nested(Box::new(right)))),
            Self::Cross => columns.reduce(|left, right| {
                binary(binary(left, BinaryOperator::StringConcat, separator()), BinaryOperator::StringConcat, right)
            }),
        };
        joined.unwrap_or_else(one)
    }
}

/// The columns of the struct, and the degree.
fn arguments(call: &Function) -> Option<(Vec<Expr>, usize)> {
    let (columns, rest) = match positional(call)?.split_first() {
        Some((columns, rest)) => (fields(columns)?, rest.to_vec()),
        None => return None,
    };
    match &rest[..] {
        _ if call.over.is_some() => None,
        [] => Some((columns, 2)),
        [Expr::Value(value)] => match &value.value {
            Value::Number(degree, _) => Some((columns, degree.parse().ok()?)),
            _ => None,
        },
        _ => None,
    }
}

/// What a struct is made of.
fn fields(columns: &Expr) -> Option<Vec<Expr>> {
    match columns {
        Expr::Struct { values, fields } if fields.is_empty() => Some(values.clone()),
        Expr::Tuple(columns) => Some(columns.clone()),
        Expr::Nested(column) => Some(vec![column.as_ref().clone()]),
        _ => None,
    }
}

/// Arguments without names.
fn positional(call: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}
