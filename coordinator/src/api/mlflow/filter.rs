//! The filters of searches: conditions on names, joined by AND, as MLflow writes them.

use arrow::array::{BooleanArray, StringArray};
use arrow::compute::like;

use super::refusal::Refusal;

/// MLflow keeps prompts as models with this tag. Its clients leave them out whenever they search models.
const IS_PROMPT: [&str; 2] = ["tag.`mlflow.prompt.is_prompt`", "tags.`mlflow.prompt.is_prompt`"];

/// What is to be found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Is(String),
    Like(String),
    /// Whether prompts are wanted, of which there are none.
    Prompt(bool),
}

/// A piece of a filter.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

impl Filter {
    /// Reads a filter; nothing finds everything.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let tokens = tokens(text)?;
        let is_and = |token: &Token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case("and"));
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { conditions: tokens.split(is_and).map(condition).collect::<Result<_, _>>()? })
    }

    /// Whether a model of this name is found.
    pub(super) fn finds(&self, name: &str) -> Result<bool, Refusal> {
        for condition in &self.conditions {
            let is_so = match condition {
                Condition::Is(wanted) => name == wanted,
                Condition::Like(pattern) => is_like(name, pattern)?,
                Condition::Prompt(is_wanted) => !is_wanted,
            };
            if !is_so {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// As SQL has it.
fn is_like(name: &str, pattern: &str) -> Result<bool, Refusal> {
    let (name, scalar) = (StringArray::from(vec![name]), StringArray::new_scalar(pattern));
    let unreadable = |error| Refusal::invalid(format!("LIKE '{pattern}' cannot be read: {error}"));
    let found: BooleanArray = like(&name, &scalar).map_err(unreadable)?;
    Ok(found.value(0))
}

fn condition(tokens: &[Token]) -> Result<Condition, Refusal> {
    let [Token::Word(key), operator, Token::Text(value)] = tokens else {
        return Err(Refusal::invalid("a filter is name = 'x' or name LIKE 'x%', or several of these with AND"));
    };
    let (Token::Word(operator) | Token::Sign(operator) | Token::Text(operator)) = operator;
    let is_prompt = IS_PROMPT.contains(&key.as_str());
    match operator.to_uppercase().as_str() {
        "=" if key == "name" => Ok(Condition::Is(value.clone())),
        "LIKE" if key == "name" => Ok(Condition::Like(value.clone())),
        "=" if is_prompt => Ok(Condition::Prompt(value == "true")),
        "!=" if is_prompt => Ok(Condition::Prompt(value != "true")),
        _ => {
            let message = format!("the filter '{key} {operator} …' is not here; name = 'x' and name LIKE 'x%' are");
            Err(Refusal::invalid(message))
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_sign = |char: char| "=!<>".contains(char);
        let (token, length) = match first {
            '\'' | '"' => quoted(rest, first)?,
            _ => {
                let is_first = is_sign(first);
                let ends =
                    |char: char| char.is_whitespace() || char == '\'' || char == '"' || is_sign(char) != is_first;
                let length = rest.find(ends).unwrap_or(rest.len());
                let own = rest[..length].to_owned();
                (if is_first { Token::Sign(own) } else { Token::Word(own) }, length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The text at the beginning, and its length with the quotes. A quote is doubled in it.
fn quoted(rest: &str, quote: char) -> Result<(Token, usize), Refusal> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char != quote {
            text.push(char);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return Ok((Token::Text(text), at + 1));
        }
    }
    Err(Refusal::invalid(format!("a text in the filter has no end: {rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(filter: &str) -> Result<Vec<&'static str>, Refusal> {
        let filter = Filter::parse(filter)?;
        let mut found = Vec::new();
        for name in ["late", "late_2", "fare", "it's"] {
            if filter.finds(name)? {
                found.push(name);
            }
        }
        Ok(found)
    }

    #[test]
    fn names_are_found() {
        for (filter, names) in [
            ("", vec!["late", "late_2", "fare", "it's"]),
            ("name = 'late'", vec!["late"]),
            ("name=\"fare\"", vec!["fare"]),
            ("name LIKE 'la%'", vec!["late", "late_2"]),
            ("name like '%a_e' and name LIKE 'f%'", vec!["fare"]),
            ("name = 'it''s'", vec!["it's"]),
            ("name LIKE 'l%' AND tag.`mlflow.prompt.is_prompt` != 'true'", vec!["late", "late_2"]),
            ("tags.`mlflow.prompt.is_prompt` = 'true'", vec![]),
        ] {
            assert_eq!(found(filter).unwrap(), names, "{filter}");
        }
    }

    #[test]
    fn others_are_refused_by_their_name() {
        for (filter, reason) in [
            ("run_id = 'x'", "'run_id = …' is not here"),
            ("name != 'x'", "'name != …' is not here"),
            ("name ILIKE 'x'", "'name ILIKE …' is not here"),
            ("tags.stage = 'x'", "'tags.stage = …' is not here"),
            ("name = 'x", "has no end"),
            ("name 'x'", "a filter is name = 'x'"),
            ("name = 'x' AND", "a filter is name = 'x'"),
        ] {
            let refused = format!("{:?}", found(filter).unwrap_err());
            assert!(refused.contains(reason), "{filter}: {refused}");
        }
    }
}
