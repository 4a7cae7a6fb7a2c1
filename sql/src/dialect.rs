//! The lexical rules: PostgreSQL's, with `FOR SYSTEM_TIME AS OF`, and `TABLE t` and `MODEL m` as
//! arguments of table functions.
//!
//! The markers become [`Expr::Prefixed`], which no other syntax of this dialect makes; the
//! planner takes them out before DataFusion sees the query.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{Expr, Ident};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::ast::normalize;

/// Prefix of a table argument.
pub(crate) const TABLE_MARKER: &str = "TABLE";
/// Prefix of a tuple within a table argument: the table, and the columns of its PARTITION BY.
pub(crate) const PARTITION_MARKER: &str = "PARTITION";
/// Prefix of a model argument.
pub(crate) const MODEL_MARKER: &str = "MODEL";

/// Tidemill's dialect.
#[derive(Debug, Default)]
pub(crate) struct TidemillDialect {
    postgres: PostgreSqlDialect,
}

impl Dialect for TidemillDialect {
    fn dialect(&self) -> TypeId {
        self.postgres.dialect()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.postgres.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.postgres.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.postgres.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.postgres.is_identifier_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.postgres.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        self.postgres.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.postgres.prec_value(precedence)
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_comment_optimizer_hint(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_interval_options(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    /// The options of table functions, as in BigQuery: `STRUCT(3 AS top_k_features)`.
    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let [open, word] = parser.peek_tokens_ref::<2>();
        if open.token == Token::LParen && is_word(word, "VALUES") {
            return Some(parse_values(parser));
        }
        let marker = marker_ahead(parser)?;
        let token = parser.next_token();
        let prefix = Ident { value: marker.to_owned(), quote_style: None, span: token.span };
        Some(parse_argument(parser).map(|value| Expr::Prefixed { prefix, value: Box::new(value) }))
    }

    /// `EMIT ON …` and `LATE DATA …` behind a table are clauses, not its alias.
    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        explicit || (!is_clause(parser) && self.is_table_alias(keyword, parser))
    }
}

/// `(VALUES (1, 'a'), …)` as an argument: rows that are written out.
fn parse_values(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let query = parser.parse_query()?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Subquery(query))
}

/// Which marker comes next, if one does.
fn marker_ahead(parser: &Parser) -> Option<&'static str> {
    let [word, name, after] = parser.peek_tokens_ref::<3>();
    if !matches!(name.token, Token::Word(_)) {
        return None;
    }
    if is_word(word, TABLE_MARKER) {
        return Some(TABLE_MARKER);
    }
    // MODEL is an ordinary name elsewhere: only `(MODEL m)`, `(MODEL m, …` and `=> MODEL m` mean a model,
    // and `TABLE t, MODEL m`, the order that Flink has, and `STRUCT(…), MODEL m`.
    let ends = matches!(after.token, Token::Comma | Token::RParen | Token::Period | Token::AtSign);
    (is_word(word, MODEL_MARKER) && ends && is_argument(parser)).then_some(MODEL_MARKER)
}

/// Whether the parser stands at the start of a function's argument, as far as the tokens before tell.
fn is_argument(parser: &Parser) -> bool {
    let mut before = (0..parser.index()).rev().map(|index| parser.token_at(index)).filter(|token| !is_space(token));
    match before.next().map(|token| &token.token) {
        Some(Token::LParen | Token::RArrow) => true,
        Some(Token::Comma) => match before.next() {
            Some(end) if end.token == Token::RParen => is_struct(before),
            _ => before.next().is_some_and(|token| is_word(token, TABLE_MARKER)),
        },
        _ => false,
    }
}

/// Whether the parenthesis that is closed behind these tokens, the last of them first, is that of a struct.
fn is_struct<'a>(mut before: impl Iterator<Item = &'a TokenWithSpan>) -> bool {
    let mut open = 1_usize;
    for token in before.by_ref() {
        match token.token {
            Token::RParen => open += 1,
            Token::LParen => open -= 1,
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    before.next().is_some_and(|token| is_word(token, "STRUCT"))
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Whether a token is this unquoted word.
pub(crate) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Whether the word just read starts a clause that may follow a query.
fn is_clause(parser: &Parser) -> bool {
    let (word, next) = (parser.get_current_token(), parser.peek_token_ref());
    (is_word(word, "EMIT") && (is_word(next, "ON") || is_word(next, "EVERY")))
        || (is_word(word, "LATE") && is_word(next, "DATA"))
}

/// The name behind a marker, with the PARTITION BY behind it: `t PARTITION BY a` or `t PARTITION BY (a, b)`.
fn parse_argument(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parse_name(parser)?;
    let span = parser.peek_token_ref().span;
    if !parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        return Ok(name);
    }
    let mut parts = vec![name];
    if parser.consume_token(&Token::LParen) {
        parts.extend(parser.parse_comma_separated(Parser::parse_identifier)?.into_iter().map(Expr::Identifier));
        parser.expect_token(&Token::RParen)?;
    } else {
        parts.push(Expr::Identifier(parser.parse_identifier()?));
    }
    let prefix = Ident { value: PARTITION_MARKER.to_owned(), quote_style: None, span };
    Ok(Expr::Prefixed { prefix, value: Box::new(Expr::Tuple(parts)) })
}

/// The name behind a marker.
fn parse_name(parser: &mut Parser) -> Result<Expr, ParserError> {
    let name = parse_model_name(parser)?;
    if parser.peek_token_ref().token != Token::Period {
        return Ok(Expr::Identifier(name));
    }
    let mut parts = vec![name];
    while parser.consume_token(&Token::Period) {
        parts.push(parser.parse_identifier()?);
    }
    Ok(Expr::CompoundIdentifier(parts))
}

/// A name, or a model's with an alias behind it: `m@champion` is one name here, while `a @ b` is an operator elsewhere.
pub(crate) fn parse_model_name(parser: &mut Parser) -> Result<Ident, ParserError> {
    let mut name = parser.parse_identifier()?;
    if parser.consume_token(&Token::AtSign) {
        let alias = parser.parse_identifier()?;
        let parts = [&name, &alias];
        let quote_style = parts.iter().find_map(|part| part.quote_style);
        let value = parts.map(|part| if quote_style.is_some() { normalize(part) } else { part.value.clone() });
        name = Ident { value: value.join("@"), quote_style, span: name.span.union(&alias.span) };
    }
    Ok(name)
}
