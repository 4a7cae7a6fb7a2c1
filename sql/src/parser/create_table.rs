//! CREATE TABLE: a source under another name, or a new table of a query's rows.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;
use tidemill_plans::connector::option;

use super::{ParsedStatement, ScriptParser};
use crate::error::{Result, SqlError};
use crate::statement::{CreateSource, CreateTableAs, Options, Statement};
use crate::training_set::TRAINING_SET;

impl ScriptParser<'_> {
    /// Behind CREATE TABLE.
    pub(super) fn create_table(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        if self.inner.peek_token_ref().token == Token::LParen {
            let created = self.create_source_of(name, if_not_exists)?;
            let at = self.inner.peek_token_ref().span;
            if self.inner.parse_keyword(Keyword::AS) {
                let hint = "the query gives the columns: SELECT CAST(x AS type) AS name";
                return Err(SqlError::unsupported("a column list of a table with a query", hint).at(at));
            }
            return Ok(created);
        }
        let mut options = Options { at: self.inner.peek_token_ref().span.into(), ..Options::default() };
        if self.word("WITH") {
            options = self.option_list()?;
        }
        if !self.inner.parse_keyword(Keyword::AS) {
            if options.pairs.is_empty() {
                return Err(self.expected("(column TYPE, …), WITH (connector = '…', …), or AS and a query"));
            }
            let (columns, key, watermark) = (Vec::new(), None, None);
            let source = CreateSource {
                name,
                if_not_exists,
                listed: false,
                is_external: false,
                columns,
                key,
                watermark,
                options,
            };
            return Ok(Statement::CreateSource(Box::new(source)));
        }
        let query = self.query()?;
        Ok(Statement::CreateTableAs(Box::new(CreateTableAs {
            name,
            if_not_exists,
            or_replace,
            options,
            is_placed: false,
            query,
        })))
    }
}

impl ParsedStatement {
    /// The name of a table, or of a model that may have a training set, whose statement leaves it to others where its rows
    /// are.
    #[must_use]
    pub fn wants_place_for(&self) -> Option<&str> {
        match maker(&self.statement)? {
            Statement::CreateTableAs(create) => {
                let given = |key: &str| option(&create.options.pairs, key);
                let is_of_files = given("connector").is_none_or(|connector| connector == "files");
                (is_of_files && given("path").is_none()).then_some(create.name.text.as_str())
            }
            Statement::CreateModel(create) => {
                option(&create.options.pairs, TRAINING_SET).is_none().then_some(create.name.text.as_str())
            }
            _ => None,
        }
    }

    /// Whether it is of no use without such a place.
    #[must_use]
    pub fn needs_place(&self) -> bool {
        matches!(maker(&self.statement), Some(Statement::CreateTableAs(_)))
    }

    /// The same statement with a place for the rows, which is nobody else's.
    #[must_use]
    pub fn with_place(mut self, path: String) -> Self {
        match maker_mut(&mut self.statement) {
            Some(Statement::CreateTableAs(create)) => {
                create.is_placed = true;
                create.options.pairs.push((String::from("path"), path));
            }
            Some(Statement::CreateModel(create)) => create.place = Some(path),
            _ => {}
        }
        self
    }
}

/// The statement that makes something, which may be explained.
fn maker(statement: &Statement) -> Option<&Statement> {
    match statement {
        Statement::CreateTableAs(_) | Statement::CreateModel(_) => Some(statement),
        Statement::Explain(inner) => maker(inner),
        _ => None,
    }
}

fn maker_mut(statement: &mut Statement) -> Option<&mut Statement> {
    match statement {
        Statement::CreateTableAs(_) | Statement::CreateModel(_) => Some(statement),
        Statement::Explain(inner) => maker_mut(inner),
        _ => None,
    }
}
