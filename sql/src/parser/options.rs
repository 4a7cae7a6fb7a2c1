//! Options: `WITH (connector = 'files', path = 'x', header = true)`. Keys are bare, dotted or quoted.
//! `SECRET name` is a value that its readers do not see.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::ScriptParser;
use crate::access::secret_reference;
use crate::error::{Result, SqlError};
use crate::statement::Options;

impl ScriptParser<'_> {
    /// The parenthesised list behind WITH.
    pub(super) fn option_list(&mut self) -> Result<Options> {
        let at = self.inner.peek_token_ref().span.into();
        self.token(&Token::LParen)?;
        let mut options = Options { at, ..Options::default() };
        while self.inner.peek_token_ref().token != Token::RParen {
            let key = self.dotted_name()?;
            self.token(&Token::Eq)?;
            let value = self.option_value()?;
            if options.pairs.iter().any(|(k, _)| *k == key.text) {
                return Err(SqlError::Syntax { at: key.at, message: format!("option '{}' is given twice", key.text) });
            }
            options.places.push((key.text.clone(), key.at));
            options.pairs.push((key.text, value));
            if !self.inner.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen)?;
        Ok(options)
    }

    pub(super) fn option_value(&mut self) -> Result<String> {
        let negative = self.inner.consume_token(&Token::Minus);
        let value = match &self.inner.peek_token_ref().token {
            Token::Number(number, _) => format!("{}{number}", if negative { "-" } else { "" }),
            Token::SingleQuotedString(text) if !negative => text.clone(),
            Token::EscapedStringLiteral(text) if !negative => text.clone(),
            Token::Word(word) if !negative && word.value.eq_ignore_ascii_case("SECRET") => {
                self.inner.next_token();
                return Ok(secret_reference(&self.name()?.text));
            }
            Token::Word(word) if !negative && matches!(word.value.to_lowercase().as_str(), "true" | "false") => {
                word.value.to_lowercase()
            }
            _ => return Err(self.expected("a value: 'text', a number, true, false or SECRET name")),
        };
        self.inner.next_token();
        Ok(value)
    }
}
