//! Expressions of a document: SQL, or bytes where SQL would not give the same again.

use arrow::datatypes::{Field, Schema};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidemill_plans::codec;
use tidemill_plans::expr::StreamExpr;

use super::operator::{Call, NamedExpr};
use crate::dialect::TidemillDialect;
use crate::lower::expression::{check_repeatable, unaliased};
use crate::planner::expression::plan_expression;
use crate::problem::{Problem, Read, wrong};

/// An expression over the columns of a stream: SQL text. What SQL cannot say, or would say otherwise, is
/// {"encoded": …}, which is only read by the release that has written it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExprDocument {
    /// SQL.
    Sql(String),
    /// The wire form in base64.
    Encoded {
        /// The bytes.
        encoded: String,
    },
}

impl From<&str> for ExprDocument {
    fn from(sql: &str) -> Self {
        Self::Sql(sql.to_owned())
    }
}

impl ExprDocument {
    /// The expression over columns of these names and types.
    pub(super) fn read(&self, input: &Schema) -> Read<Expr> {
        let expr = match self {
            Self::Sql(sql) => parse(sql, input)?,
            Self::Encoded { encoded } => decode(encoded)?,
        };
        check_repeatable(&expr)?;
        for column in expr.column_refs() {
            if column.relation.is_some() || input.column_with_name(&column.name).is_none() {
                return Err(Problem::new(format!("it reads {column}, which the input does not have")));
            }
        }
        Ok(expr)
    }

    /// How an expression is written down.
    pub(super) fn of(expr: &StreamExpr, input: &Schema) -> Self {
        let sql = Self::Sql(expr.to_string());
        match sql.read(input) {
            Ok(same) if same == expr.0 => sql,
            // What cannot be encoded cannot be sent to a worker either.
            _ => Self::Encoded { encoded: codec::encode(expr).map(|bytes| STANDARD.encode(bytes)).unwrap_or_default() },
        }
    }

    /// The text, where it is one.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Sql(sql) => Some(sql),
            Self::Encoded { .. } => None,
        }
    }
}

fn parse(sql: &str, input: &Schema) -> Read<Expr> {
    let dialect = TidemillDialect::default();
    let parsed = Parser::new(&dialect).try_with_sql(sql).and_then(|mut parser| {
        let expr = parser.parse_expr()?;
        parser.expect_token(&Token::EOF).map(|_| expr)
    });
    // Planning names some calls as they are written.
    Ok(unaliased(&plan_expression(parsed.map_err(wrong)?, input)?).clone())
}

fn decode(encoded: &str) -> Read<Expr> {
    let bytes = STANDARD.decode(encoded).map_err(|error| Problem::new(format!("it is no base64: {error}")))?;
    Ok(codec::decode::<StreamExpr>(&bytes)?.0)
}

/// The column that an expression makes.
pub(super) fn field_of(name: &str, expr: &Expr, input: &Schema) -> Read<Field> {
    let schema = DFSchema::try_from(input.clone()).map_err(wrong)?;
    let data_type = expr.get_type(&schema).map_err(wrong)?;
    Ok(Field::new(name, data_type, expr.nullable(&schema).map_err(wrong)?))
}

impl NamedExpr {
    pub(super) fn read(&self, input: &Schema) -> Read<(Expr, Field)> {
        let expr = self.expr.read(input)?;
        let field = field_of(&self.name, &expr, input)?;
        Ok((expr, field))
    }
}

impl Call {
    /// The call, and its column; it must be one that `is_fit`.
    pub(super) fn read(&self, input: &Schema, what: &str, is_fit: fn(&Expr) -> bool) -> Read<(StreamExpr, Field)> {
        let expr = self.call.read(input)?;
        if !is_fit(&expr) {
            return Err(Problem::new(format!("'{}' is no {what}", StreamExpr(expr))));
        }
        let call = StreamExpr(expr);
        let name = self.name.clone().or_else(|| self.call.text().map(str::to_owned));
        let field = field_of(&name.unwrap_or_else(|| call.to_string()), &call.0, input)?;
        Ok((call, field))
    }
}
