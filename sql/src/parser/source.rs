//! CREATE SOURCE: columns, generated columns, and the WATERMARK and PRIMARY KEY clauses.

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{ScriptParser, shown};
use crate::dialect::is_word;
use crate::error::{Result, SqlError};
use crate::statement::{CreateSource, Name, PrimaryKey, SourceColumn, Statement, Watermark};

/// What stands between the parentheses.
#[derive(Default)]
pub(super) struct ColumnList {
    pub(super) columns: Vec<SourceColumn>,
    pub(super) key: Option<PrimaryKey>,
    pub(super) watermark: Option<Watermark>,
}

impl ScriptParser<'_> {
    pub(super) fn create_source(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        self.create_source_of(name, if_not_exists)
    }

    /// Behind the name of a source.
    pub(super) fn create_source_of(&mut self, name: Name, if_not_exists: bool) -> Result<Statement> {
        let listed = self.inner.peek_token_ref().token == Token::LParen;
        let ColumnList { columns, key, watermark } = if listed { self.column_list()? } else { ColumnList::default() };
        if !listed && !is_word(self.inner.peek_token_ref(), "WITH") {
            return Err(self.expected("(column TYPE, …), or WITH (connector = '…', …)"));
        }
        if !self.word("WITH") {
            return Err(self.expected("WITH (connector = '…', …)"));
        }
        let options = self.option_list()?;
        let create = CreateSource { name, if_not_exists, listed, is_external: false, columns, key, watermark, options };
        Ok(Statement::CreateSource(Box::new(create)))
    }

    pub(super) fn column_list(&mut self) -> Result<ColumnList> {
        self.token(&Token::LParen)?;
        let mut list = ColumnList::default();
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
        if is_word(&first, "PRIMARY") && is_word(&second, "KEY") {
            if list.key.is_some() {
                let message = String::from("a table has one PRIMARY KEY");
                return Err(SqlError::Syntax { at: first.span.into(), message });
            }
            list.key = Some(self.primary_key()?);
            return Ok(());
        }
        if is_word(&first, "CONSTRAINT") || (is_word(&first, "UNIQUE") && is_word(&second, "KEY")) {
            let hint = "a key is written PRIMARY KEY (column, …) NOT ENFORCED";
            return Err(SqlError::unsupported("this constraint", hint).at(first.span));
        }
        list.columns.push(self.column()?);
        Ok(())
    }

    fn primary_key(&mut self) -> Result<PrimaryKey> {
        let at = self.inner.next_token().span.into();
        self.inner.next_token();
        self.token(&Token::LParen)?;
        let mut columns = vec![self.name()?];
        while self.inner.consume_token(&Token::Comma) {
            columns.push(self.name()?);
        }
        self.token(&Token::RParen)?;
        // Nobody checks it either way.
        let _ = self.inner.parse_keywords(&[Keyword::NOT, Keyword::ENFORCED]);
        Ok(PrimaryKey { columns, at })
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
