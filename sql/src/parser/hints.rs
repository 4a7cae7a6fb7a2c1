//! Hints: comments such as `/*+ STATE_TTL('a' = '1d') */` directly behind a SELECT.
//!
//! sqlparser hands a hint on as text, without its place. So the place is written in front of the text,
//! before the parser sees it: nobody else reads comments, and no token moves.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::ast::normalize;
use crate::dialect::TidemillDialect;
use crate::error::{Position, Result, SqlError};

/// How long the comment's beginning is, `/*+`.
const OPENING: u64 = 3;

/// One `'name' = 'value'` of a STATE_TTL hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateTtl {
    /// A table's name or alias.
    pub(crate) name: String,
    /// The time to live as it was written.
    pub(crate) value: String,
    /// Where the name stands.
    pub(crate) at: Position,
}

/// Writes its place in front of each hint.
pub(super) fn mark(tokens: &mut [TokenWithSpan]) {
    let mut behind_select = false;
    for token in tokens {
        match &mut token.token {
            Token::Word(word) => behind_select = word.keyword == Keyword::SELECT,
            Token::Whitespace(Whitespace::MultiLineComment(comment)) if behind_select && comment.starts_with('+') => {
                let start = token.span.start;
                comment.insert_str(1, &format!("@{}:{}@", start.line, start.column));
            }
            Token::Whitespace(_) => {}
            _ => behind_select = false,
        }
    }
}

/// Reads the text of a hint, with its place in front.
pub(crate) fn parse(text: &str) -> Result<Vec<StateTtl>> {
    let (place, text) = text.strip_prefix('@').and_then(|text| text.split_once('@')).unwrap_or(("", text));
    let place = place.split_once(':').and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let at = place.map_or(Position::UNKNOWN, |(line, column)| Position { line, column });
    let tokens = Tokenizer::new(&TidemillDialect::default(), text).tokenize_with_location();
    let tokens = tokens.map_err(|error| SqlError::Syntax { at, message: error.message.trim().to_owned() })?;
    let tokens = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    HintParser { tokens, next: 0, at }.hints()
}

struct HintParser {
    tokens: Vec<TokenWithSpan>,
    next: usize,
    at: Position,
}

impl HintParser {
    fn hints(mut self) -> Result<Vec<StateTtl>> {
        let mut ttls = Vec::new();
        while self.next < self.tokens.len() {
            let at = self.position();
            let Some(Token::Word(word)) = self.token() else { return Err(self.expected("the name of a hint")) };
            if !word.value.eq_ignore_ascii_case("STATE_TTL") {
                let hint = "there is STATE_TTL('table' = '1d'), how long the state of a table's rows is kept";
                return Err(SqlError::unsupported(format!("the hint {}", word.value), hint).at(at));
            }
            self.next += 1;
            self.expect(&Token::LParen)?;
            loop {
                ttls.push(self.entry()?);
                if !self.consume(&Token::Comma) {
                    break;
                }
            }
            self.expect(&Token::RParen)?;
            self.consume(&Token::Comma);
        }
        Ok(ttls)
    }

    fn entry(&mut self) -> Result<StateTtl> {
        let at = self.position();
        let name = match self.token() {
            Some(Token::SingleQuotedString(name)) => name.clone(),
            Some(Token::Word(word)) => {
                let ident = word.clone().into_ident(self.tokens[self.next].span);
                normalize(&ident)
            }
            _ => return Err(self.expected("the name of a table in quotes, as in STATE_TTL('t' = '1d')")),
        };
        self.next += 1;
        self.expect(&Token::Eq)?;
        let Some(Token::SingleQuotedString(value)) = self.token() else {
            return Err(self.expected("a length of time in quotes, as in STATE_TTL('t' = '1d')"));
        };
        let value = value.clone();
        self.next += 1;
        Ok(StateTtl { name, value, at })
    }

    fn token(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|token| &token.token)
    }

    fn consume(&mut self, token: &Token) -> bool {
        let found = self.token() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token) -> Result<()> {
        if self.consume(token) { Ok(()) } else { Err(self.expected(&format!("{token} in the hint"))) }
    }

    fn expected(&self, what: &str) -> SqlError {
        let found = self.token().map_or_else(|| String::from("its end"), ToString::to_string);
        SqlError::Syntax { at: self.position(), message: format!("expected {what}, found {found}") }
    }

    /// Where the next token stands in the script.
    fn position(&self) -> Position {
        let place = self.tokens.get(self.next.min(self.tokens.len().saturating_sub(1))).map(|token| token.span.start);
        match place {
            Some(place) if self.at.is_known() && place.line == 1 => {
                Position { line: self.at.line, column: self.at.column + OPENING + place.column - 1 }
            }
            Some(place) if self.at.is_known() => Position { line: self.at.line + place.line - 1, column: place.column },
            _ => self.at,
        }
    }
}
