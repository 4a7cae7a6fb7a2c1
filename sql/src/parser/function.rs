//! CREATE FUNCTION: parameters, RETURNS, and the body behind RETURN or in `AS (…)`.

use datafusion::sql::sqlparser::ast::{DataType, ExactNumberInfo};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{ScriptParser, shown};
use crate::dialect::is_word;
use crate::error::{Result, SqlError};
use crate::statement::{CreateFunction, ParameterDefinition, Statement};

impl ScriptParser<'_> {
    pub(super) fn create_function(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let parameters = self.parameters()?;
        let returns = if self.word("RETURNS") { Some(self.function_type()?) } else { None };
        self.function_attributes()?;
        let body_at = self.inner.peek_token_ref().span.into();
        let body = if self.word("RETURN") { self.with(Parser::parse_expr)? } else { self.body_in_parentheses()? };
        let create = CreateFunction { name, if_not_exists, or_replace, parameters, returns, body, body_at };
        Ok(Statement::CreateFunction(Box::new(create)))
    }

    fn parameters(&mut self) -> Result<Vec<ParameterDefinition>> {
        self.token(&Token::LParen)?;
        let mut parameters = Vec::new();
        while self.inner.peek_token_ref().token != Token::RParen {
            let name = self.name()?;
            let data_type = self.function_type()?;
            let has_default = self.word("DEFAULT") || self.inner.consume_token(&Token::Eq);
            let default = if has_default { Some(self.with(Parser::parse_expr)?) } else { None };
            parameters.push(ParameterDefinition { name, data_type, default });
            if !self.inner.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen)?;
        Ok(parameters)
    }

    /// A type, as PostgreSQL or as BigQuery writes it.
    fn function_type(&mut self) -> Result<DataType> {
        Ok(match self.with(Parser::parse_data_type)? {
            DataType::Int64 => DataType::BigInt(None),
            DataType::Float64 => DataType::Double(ExactNumberInfo::None),
            DataType::Bytes(_) => DataType::Bytea,
            other => other,
        })
    }

    /// What PostgreSQL has between RETURNS and the body, as far as it is true of every function here.
    fn function_attributes(&mut self) -> Result<()> {
        loop {
            let next = self.inner.peek_token();
            if self.word("LANGUAGE") {
                let language = self.inner.next_token();
                if !is_word(&language, "SQL") {
                    let hint = "write the body in SQL, or register a function from Rust";
                    let what = format!("LANGUAGE {}", shown(&language));
                    return Err(SqlError::unsupported(what, hint).at(language.span));
                }
            } else if is_word(&next, "VOLATILE") || is_word(&next, "STABLE") || is_word(&next, "STRICT") {
                let hint = "a function gives the same result for the same arguments, NULL or not; leave it out";
                return Err(SqlError::unsupported(shown(&next), hint).at(next.span));
            } else if !self.word("IMMUTABLE") {
                return Ok(());
            }
        }
    }

    /// The body of `AS (expression)`.
    fn body_in_parentheses(&mut self) -> Result<datafusion::sql::sqlparser::ast::Expr> {
        if !self.inner.parse_keyword(Keyword::AS) {
            return Err(self.expected("RETURN expression, or AS (expression)"));
        }
        let next = self.inner.peek_token();
        if next.token != Token::LParen {
            let hint = "write RETURN expression, or AS (expression)";
            return Err(SqlError::unsupported("a body as text", hint).at(next.span));
        }
        self.token(&Token::LParen)?;
        let body = self.with(Parser::parse_expr)?;
        self.token(&Token::RParen)?;
        Ok(body)
    }
}
