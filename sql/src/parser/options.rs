//! Options: `WITH (connector = 'files', path = 'x', header = true)`. Keys are bare, dotted or quoted.
//! `SECRET name` is a value that its readers do not see. A list, and the values among which a model's tuning chooses
//! (BigQuery's `HPARAM_RANGE(0, 1)` and `HPARAM_CANDIDATES(['a', 'b'])`), are handed on as text.

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
        if let Some(text) = self.hyperparameter()? {
            return Ok(text);
        }
        if self.inner.peek_token_ref().token == Token::LBracket {
            // The list of one thing is that thing.
            let mut items = self.option_list_items()?;
            return Ok(if items.len() == 1 { items.remove(0).0 } else { format!("[{}]", literals(&items)) });
        }
        if self.word("SECRET") {
            return Ok(secret_reference(&self.name()?.text));
        }
        Ok(self.option_literal()?.0)
    }

    /// `HPARAM_RANGE(a, b)` or `HPARAM_CANDIDATES([a, …])`, if one comes.
    fn hyperparameter(&mut self) -> Result<Option<String>> {
        if self.word("HPARAM_RANGE") {
            self.token(&Token::LParen)?;
            let low = self.option_literal()?;
            self.token(&Token::Comma)?;
            let high = self.option_literal()?;
            self.token(&Token::RParen)?;
            return Ok(Some(format!("HPARAM_RANGE({})", literals(&[low, high]))));
        }
        if self.word("HPARAM_CANDIDATES") {
            self.token(&Token::LParen)?;
            let items = self.option_list_items()?;
            self.token(&Token::RParen)?;
            return Ok(Some(format!("HPARAM_CANDIDATES([{}])", literals(&items))));
        }
        Ok(None)
    }

    /// What stands between brackets.
    fn option_list_items(&mut self) -> Result<Vec<(String, bool)>> {
        self.token(&Token::LBracket)?;
        let mut items = Vec::new();
        while self.inner.peek_token_ref().token != Token::RBracket {
            items.push(self.option_literal()?);
            if !self.inner.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RBracket)?;
        Ok(items)
    }

    /// A value, and whether it is a text.
    fn option_literal(&mut self) -> Result<(String, bool)> {
        let negative = self.inner.consume_token(&Token::Minus);
        let value = match &self.inner.peek_token_ref().token {
            Token::Number(number, _) => (format!("{}{number}", if negative { "-" } else { "" }), false),
            Token::SingleQuotedString(text) if !negative => (text.clone(), true),
            Token::EscapedStringLiteral(text) if !negative => (text.clone(), true),
            Token::Word(word) if !negative && matches!(word.value.to_lowercase().as_str(), "true" | "false") => {
                (word.value.to_lowercase(), false)
            }
            _ => return Err(self.expected("a value: 'text', a number, true, false or SECRET name")),
        };
        self.inner.next_token();
        Ok(value)
    }
}

/// Values as they are written in SQL; texts in quotes.
fn literals(values: &[(String, bool)]) -> String {
    let literal = |(value, is_text): &(String, bool)| match is_text {
        true => format!("'{}'", value.replace('\'', "''")),
        false => value.clone(),
    };
    values.iter().map(literal).collect::<Vec<_>>().join(", ")
}
