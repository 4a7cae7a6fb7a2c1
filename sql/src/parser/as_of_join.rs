//! ASOF joins, of which sqlparser reads one form only.
//!
//! `a ASOF [LEFT] JOIN b [MATCH_CONDITION (c)] ON k` is read as `a GLOBAL [LEFT] JOIN b ON (c) AND k`.
//! GLOBAL means nothing in this dialect, so the planner finds these joins by it. Words change what
//! they are to the parser, and no token its place.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::dialect::is_word;

/// Marks the ASOF joins of a script.
pub(super) fn mark(tokens: &mut [TokenWithSpan]) {
    let words: Vec<usize> =
        (0..tokens.len()).filter(|index| !matches!(tokens[*index].token, Token::Whitespace(_))).collect();
    let mut is_as_of = false;
    for (place, index) in words.iter().enumerate() {
        let starts = starts_join(tokens, &words, place);
        let Token::Word(word) = &mut tokens[*index].token else { continue };
        if word.quote_style.is_some() {
            continue;
        }
        match word.keyword {
            Keyword::ASOF if starts => {
                word.keyword = Keyword::GLOBAL;
                is_as_of = true;
            }
            // A table's alias, as in PostgreSQL.
            Keyword::GLOBAL => word.keyword = Keyword::NoKeyword,
            Keyword::MATCH_CONDITION if is_as_of => {
                is_as_of = false;
                add_to_on(tokens, &words, place);
            }
            _ => {}
        }
    }
}

/// Whether the word in this place stands between a table and a JOIN.
fn starts_join(tokens: &[TokenWithSpan], words: &[usize], place: usize) -> bool {
    let token = |place: usize| words.get(place).map(|index| &tokens[*index]);
    let is = |place: usize, names: &[&str]| token(place).is_some_and(|token| names.iter().any(|n| is_word(token, n)));
    let behind_table = place.checked_sub(1).is_some_and(|before| {
        let name = token(before).is_some_and(|token| matches!(token.token, Token::Word(_) | Token::RParen));
        name && !is(before, &["FROM", "JOIN", "AS", "SELECT", "ON", "BY", "AND", "OR"])
    });
    let joins = is(place + 1, &["JOIN"])
        || (is(place + 1, &["LEFT", "RIGHT", "FULL", "INNER"]) && is(place + 2, &["JOIN", "OUTER"]));
    behind_table && joins
}

/// Makes `ON (c) AND` of `MATCH_CONDITION (c) ON`.
fn add_to_on(tokens: &mut [TokenWithSpan], words: &[usize], place: usize) {
    let mut depth = 0_usize;
    for next in place + 1..words.len() {
        match tokens[words[next]].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            let on = words.get(next + 1).copied().filter(|index| is_word(&tokens[*index], "ON"));
            if let Some(on) = on {
                tokens[on].token = Token::make_keyword("AND");
            }
            break;
        }
    }
    tokens[words[place]].token = Token::make_keyword("ON");
}
