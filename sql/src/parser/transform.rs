//! The TRANSFORM clause of CREATE MODEL: `TRANSFORM (expression [AS name], …, * [EXCEPT (names)])`.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::ScriptParser;
use crate::ast::plain_name;
use crate::error::{Result, SqlError};
use crate::statement::{Name, TransformClause, TransformItem};

impl ScriptParser<'_> {
    /// Reads TRANSFORM, if it is there.
    pub(super) fn transform_clause(&mut self) -> Result<Option<TransformClause>> {
        let at = self.inner.peek_token_ref().span.into();
        if !self.word("TRANSFORM") {
            return Ok(None);
        }
        self.token(&Token::LParen)?;
        let mut items = vec![self.transform_item()?];
        while self.inner.consume_token(&Token::Comma) {
            items.push(self.transform_item()?);
        }
        self.token(&Token::RParen)?;
        Ok(Some(TransformClause { items, at }))
    }

    fn transform_item(&mut self) -> Result<TransformItem> {
        let at = self.inner.peek_token_ref().span.into();
        if self.inner.consume_token(&Token::Mul) {
            let is_narrowed = self.word("EXCEPT") || self.word("EXCLUDE");
            let except = if is_narrowed { self.names_in_parentheses()? } else { Vec::new() };
            return Ok(TransformItem::All { except, at });
        }
        let expr = self.with(Parser::parse_expr)?;
        let is_named =
            self.inner.parse_keyword(Keyword::AS) || matches!(self.inner.peek_token_ref().token, Token::Word(_));
        let name = match (is_named, plain_name(&expr)) {
            (true, _) => self.name()?,
            (false, Some(text)) => Name { text, at },
            (false, None) => {
                let message = format!("a feature of TRANSFORM needs a name: {expr} AS name");
                return Err(SqlError::invalid(message).at(at));
            }
        };
        Ok(TransformItem::Column { expr: Box::new(expr), name, at })
    }

    fn names_in_parentheses(&mut self) -> Result<Vec<Name>> {
        self.token(&Token::LParen)?;
        let mut names = vec![self.name()?];
        while self.inner.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        self.token(&Token::RParen)?;
        Ok(names)
    }
}
