//! Parameters: `?`, or `$1`, `$2`, …, in SELECT and INSERT. They get their values before the statement is planned, as
//! if these had been written in their places.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType as SqlType, ExactNumberInfo, Expr, TimezoneInfo, Value, ValueWithSpan, visit_expressions,
    visit_expressions_mut,
};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::error::{Result, SqlError};
use crate::job::JobBuilder;
use crate::parser::ParsedStatement;
use crate::planner::QueryPlanner;
use crate::session::Session;
use crate::stack::on_deep_stack;
use crate::statement::{Statement, StreamQuery};

/// How many parameters a statement may have.
const PARAMETERS_MAX: usize = 1_000;

/// A value for a parameter: a row of an array.
#[derive(Debug, Clone, Copy)]
pub struct ParameterValue<'a> {
    /// The array.
    pub array: &'a dyn Array,
    /// The row.
    pub row: usize,
}

/// Gives the parameters of each statement their numbers, where they have none.
pub(crate) fn number(tokens: &mut [TokenWithSpan]) -> Result<()> {
    let (mut unnumbered, mut numbered) = (0, false);
    for token in tokens {
        let Token::Placeholder(name) = &mut token.token else {
            if token.token == Token::SemiColon {
                (unnumbered, numbered) = (0, false);
            }
            continue;
        };
        let given = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        match (name.as_str(), given) {
            ("?", _) => {
                unnumbered += 1;
                *name = format!("${unnumbered}");
            }
            (_, Some(1..=PARAMETERS_MAX)) => numbered = true,
            _ => {
                let message = format!("there is no parameter '{name}': write ?, or $1 to ${PARAMETERS_MAX}");
                return Err(SqlError::invalid(message).at(token.span));
            }
        }
        if unnumbered > 0 && numbered || unnumbered > PARAMETERS_MAX {
            let message = "parameters are written as ? or as $1, $2, …, all of a statement in one way, 1000 at most";
            return Err(SqlError::invalid(message).at(token.span));
        }
    }
    Ok(())
}

impl ParsedStatement {
    /// How many parameters it has.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let mut count = 0;
        if let Some(query) = query_of(&self.statement).and_then(StreamQuery::sql) {
            let _ = visit_expressions(query, |expr| {
                count = count.max(number_of(expr).unwrap_or(0));
                ControlFlow::<()>::Continue(())
            });
        }
        count
    }

    /// The same statement with a value in the place of each parameter.
    pub fn bind(&self, values: &[ParameterValue<'_>]) -> Result<Self> {
        let literals = values.iter().enumerate().map(|(place, value)| literal(place + 1, *value));
        self.with_literals(&literals.collect::<Result<Vec<Expr>>>()?)
    }

    /// The INSERT of rows that this one is with each of these lists of values; nothing if it is no INSERT of rows.
    pub fn bind_all<'a>(&self, lists: impl Iterator<Item = Vec<ParameterValue<'a>>>) -> Result<Option<Self>> {
        if self.inserted_values().is_none() {
            return Ok(None);
        }
        let (mut all, mut rows) = (self.clone(), Vec::new());
        for values in lists {
            let mut bound = self.bind(&values)?;
            rows.extend(
                query_of_mut(&mut bound.statement).and_then(StreamQuery::rows_mut).into_iter().flat_map(std::mem::take),
            );
        }
        if let Some(place) = query_of_mut(&mut all.statement).and_then(StreamQuery::rows_mut) {
            *place = rows;
        }
        Ok(Some(all))
    }

    fn with_literals(&self, literals: &[Expr]) -> Result<Self> {
        let wanted = self.parameter_count();
        if wanted != literals.len() {
            let message = format!("the statement has {wanted} parameters, and {} values were given", literals.len());
            return Err(SqlError::invalid(message).at(self.position()));
        }
        let mut bound = self.clone();
        if let Some(query) = query_of_mut(&mut bound.statement).and_then(StreamQuery::sql_mut) {
            let _ = visit_expressions_mut(query, |expr| {
                if let Some(literal) = number_of(expr).and_then(|number| literals.get(number - 1)) {
                    *expr = literal.clone();
                }
                ControlFlow::<()>::Continue(())
            });
        }
        Ok(bound)
    }
}

impl Session {
    /// The types that the parameters of a statement have as far as it shows, from what they are compared with.
    #[must_use]
    pub fn parameter_types(&self, parsed: &ParsedStatement) -> Vec<Option<DataType>> {
        let count = parsed.parameter_count();
        let Some(query) = query_of(&parsed.statement).and_then(StreamQuery::sql).filter(|_| count > 0) else {
            return Vec::new();
        };
        let mut builder = JobBuilder::new(self);
        let inferred = on_deep_stack(|| QueryPlanner::new(&mut builder, &self.catalog).parameter_types(query));
        // Where it cannot be planned without values nothing shows.
        let inferred: HashMap<String, Option<DataType>> = inferred.unwrap_or_default();
        (1..=count).map(|number| inferred.get(&format!("${number}")).cloned().flatten()).collect()
    }
}

/// A statement with made-up values, whose columns can be told: of the types that its parameters have. Of those that do
/// not show their type, numbers first, then texts.
pub(crate) fn samples(parsed: &ParsedStatement, types: &[Option<DataType>]) -> Result<Vec<ParsedStatement>> {
    let of = |unknown: &Expr| {
        let literals = types.iter().map(|data_type| data_type.as_ref().map_or_else(|| unknown.clone(), sample));
        parsed.with_literals(&literals.collect::<Vec<_>>())
    };
    let mut samples = vec![of(&number_literal("1"))?];
    if types.contains(&None) {
        samples.push(of(&text(""))?);
    }
    Ok(samples)
}

/// The query of a statement, if it has one.
pub(crate) fn query_of(statement: &Statement) -> Option<&StreamQuery> {
    match statement {
        Statement::Query(query) => Some(query),
        Statement::Insert(insert) => Some(&insert.query),
        Statement::Copy(copy) => Some(&copy.query),
        Statement::CreateTableAs(create) => Some(&create.query),
        Statement::Explain(inner) | Statement::ExplainJson(inner) | Statement::Analyze(inner) => query_of(inner),
        _ => None,
    }
}

fn query_of_mut(statement: &mut Statement) -> Option<&mut StreamQuery> {
    match statement {
        Statement::Query(query) => Some(query),
        Statement::Insert(insert) => Some(&mut insert.query),
        Statement::Copy(copy) => Some(&mut copy.query),
        Statement::CreateTableAs(create) => Some(&mut create.query),
        Statement::Explain(inner) | Statement::ExplainJson(inner) | Statement::Analyze(inner) => query_of_mut(inner),
        _ => None,
    }
}

/// The number of a parameter; nothing for any other expression.
fn number_of(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => name.strip_prefix('$')?.parse().ok(),
        _ => None,
    }
}

/// A value as it would be written.
fn literal(number: usize, value: ParameterValue<'_>) -> Result<Expr> {
    let ParameterValue { array, row } = value;
    let data_type = array.data_type();
    if let DataType::Dictionary(_, values) = data_type {
        let plain = cast(array, values)?;
        return literal(number, ParameterValue { array: plain.as_ref(), row });
    }
    if *data_type == DataType::Null {
        return Ok(plain(Value::Null));
    }
    let sql_type = sql_type(data_type).ok_or_else(|| {
        let hint = "numbers, texts, bytes, booleans, dates, times and timestamps are possible";
        SqlError::unsupported(format!("a parameter of the type {data_type} (${number})"), hint)
    })?;
    if array.is_null(row) {
        return Ok(as_type(plain(Value::Null), sql_type));
    }
    let shown = |array: &dyn Array| array_value_to_string(array, row);
    Ok(match data_type {
        DataType::Boolean => plain(Value::Boolean(array.as_boolean().value(row))),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text(&shown(array)?),
        data_type if data_type.is_integer() => number_literal(&shown(array)?),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            plain(Value::HexStringLiteral(shown(array)?))
        }
        // A point in time is one of UTC.
        DataType::Timestamp(_, Some(_)) => {
            let utc = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            as_type(text(&shown(utc.as_ref())?), sql_type)
        }
        _ => as_type(text(&shown(array)?), sql_type),
    })
}

/// Some value of a type. No zero: it may be what something is divided by.
fn sample(data_type: &DataType) -> Expr {
    match data_type {
        DataType::Boolean => plain(Value::Boolean(true)),
        data_type if data_type.is_integer() => number_literal("1"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text(""),
        DataType::Timestamp(..) => as_type(text("2000-01-01 00:00:00"), timestamp()),
        DataType::Date32 | DataType::Date64 => as_type(text("2000-01-01"), SqlType::Date),
        data_type if data_type.is_numeric() => match sql_type(data_type) {
            Some(sql_type) => as_type(number_literal("1"), sql_type),
            None => number_literal("1"),
        },
        data_type => {
            sql_type(data_type).map_or_else(|| plain(Value::Null), |wanted| as_type(plain(Value::Null), wanted))
        }
    }
}

/// The type in SQL that a value of an Arrow type has.
fn sql_type(data_type: &DataType) -> Option<SqlType> {
    Some(match data_type {
        DataType::Boolean => SqlType::Boolean,
        data_type if data_type.is_integer() => SqlType::BigInt(None),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => SqlType::Double(ExactNumberInfo::None),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(u64::from(*precision), i64::from(*scale)))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::Varchar(None),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            SqlType::Bytea
        }
        DataType::Date32 | DataType::Date64 => SqlType::Date,
        DataType::Time32(_) | DataType::Time64(_) => SqlType::Time(None, TimezoneInfo::None),
        DataType::Timestamp(..) => timestamp(),
        _ => return None,
    })
}

fn timestamp() -> SqlType {
    SqlType::Timestamp(None, TimezoneInfo::None)
}

/// A value that stands nowhere in the text.
fn plain(value: Value) -> Expr {
    Expr::Value(ValueWithSpan { value, span: Span::empty() })
}

fn text(value: &str) -> Expr {
    plain(Value::SingleQuotedString(value.to_owned()))
}

/// In parentheses: it may be negative, and stand behind a minus.
fn number_literal(digits: &str) -> Expr {
    let literal = |digits: &str| plain(Value::Number(digits.to_owned(), false));
    match digits.strip_prefix('-') {
        None => literal(digits),
        Some(positive) => Expr::Nested(Box::new(Expr::UnaryOp {
            op: datafusion::sql::sqlparser::ast::UnaryOperator::Minus,
            expr: Box::new(literal(positive)),
        })),
    }
}

fn as_type(value: Expr, data_type: SqlType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(value), data_type, array: false, format: None }
}
