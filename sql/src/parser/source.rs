//! CREATE SOURCE: columns, generated columns and the WATERMARK clause.

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{ScriptParser, shown};
use crate::dialect::is_word;
use crate::error::{Result, SqlError};
use crate::statement::{CreateSource, SourceColumn, Statement, Watermark};

/// What stands between the parentheses.
pub(super) struct ColumnList {
    pub(super) columns: Vec<SourceColumn>,
    pub(super) watermark: Option<Watermark>,
}

impl ScriptParser<'_> {
    pub(super) fn create_source(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let listed = self.inner.peek_token_ref().token == Token::LParen;
        let ColumnList { columns, watermark } =
            if listed { self.column_list()? } else { ColumnList { columns: Vec::new(), watermark: None } };
        if !listed && !is_word(self.inner.peek_token_ref(), "WITH") {
            return Err(self.expected("(column TYPE, …), or WITH (connector = '…', …)"));
        }
        if !self.word("WITH") {
            return Err(self.expected("WITH (connector = '…', …)"));
        }
        let options = self.option_list()?;
        let create = CreateSource { name, if_not_exists, listed, columns, watermark, options };
        Ok(Statement::CreateSource(Box::new(create)))
    }

    pub(super) fn column_list(&mut self) -> Result<ColumnList> {
        self.token(&Token::LParen)?;
        let mut list = ColumnList { columns: Vec::new(), watermark: None };
        while self.inner.peek_token_ref().token != Token::RParen {
            self.column_or_clause(&mut list)?;
            if !self.inner.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen)?;
        Ok(list)
    }

    fn column_or_clause(&mut self, list: &mut ColumnList) -> Result<()> {
        let first = self.inner.peek_token();
        let second = self.inner.peek_nth_token_ref(1).clone();
        if is_word(&first, "WATERMARK") && is_word(&second, "FOR") {
            if list.watermark.is_some() {
                let message = String::from("a source has one WATERMARK clause");
                return Err(SqlError::Syntax { at: first.span.into(), message });
            }
            list.watermark = Some(self.watermark()?);
            return Ok(());
        }
        let is_key = (is_word(&first, "PRIMARY") || is_word(&first, "UNIQUE")) && is_word(&second, "KEY");
        if is_key || is_word(&first, "CONSTRAINT") {
            let hint = "leave it out: every row of a source is an insert";
            return Err(SqlError::unsupported("a key of a source", hint).at(first.span));
        }
        list.columns.push(self.column()?);
        Ok(())
    }

    fn watermark(&mut self) -> Result<Watermark> {
        self.inner.next_token();
        self.inner.next_token();
        let column = self.name()?;
        self.keywords(&[Keyword::AS])?;
        Ok(Watermark { column, expr: self.with(Parser::parse_expr)? })
    }

    fn column(&mut self) -> Result<SourceColumn> {
        let name = self.name()?;
        let generated_next = |token| is_word(token, "AS") || is_word(token, "GENERATED");
        let data_type = match self.inner.peek_token_ref() {
            token if generated_next(token) => None,
            _ => Some(self.with(Parser::parse_data_type)?),
        };
        let mut column = SourceColumn { name, data_type, not_null: false, generated: None };
        while !matches!(self.inner.peek_token_ref().token, Token::Comma | Token::RParen) {
            self.column_option(&mut column)?;
        }
        Ok(column)
    }

    fn column_option(&mut self, column: &mut SourceColumn) -> Result<()> {
        let next = self.inner.peek_token();
        if self.inner.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
            column.not_null = true;
        } else if self.inner.parse_keyword(Keyword::NULL) {
            column.not_null = false;
        } else if column.generated.is_none() && self.generated_ahead() {
            column.generated = Some(self.generated()?);
        } else {
            let hint = "a column is: name TYPE [NOT NULL], name [TYPE] AS (expression), or name AS PROCTIME()";
            return Err(
                SqlError::unsupported(format!("{} in a column", shown(&next)), hint).at(self.position_of(&next))
            );
        }
        Ok(())
    }

    /// The expression of a generated column: in parentheses, or PROCTIME() as Flink writes it.
    fn generated(&mut self) -> Result<Expr> {
        if is_word(self.inner.peek_token_ref(), "PROCTIME") {
            return self.with(Parser::parse_prefix);
        }
        self.token(&Token::LParen)?;
        let expr = self.with(Parser::parse_expr)?;
        self.token(&Token::RParen)?;
        Ok(expr)
    }

    /// Consumes `AS` or `GENERATED ALWAYS AS`.
    fn generated_ahead(&mut self) -> bool {
        self.inner.parse_keyword(Keyword::AS)
            || self.inner.parse_keywords(&[Keyword::GENERATED, Keyword::ALWAYS, Keyword::AS])
    }
}
