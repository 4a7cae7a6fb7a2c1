//! CREATE SINK, VIEW and MODEL; which CREATE it is.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::source::ColumnList;
use super::{ScriptParser, rules, shown};
use crate::ast::select_all;
use crate::error::{Result, SqlError};
use crate::model_versions::check_name;
use crate::statement::{CreateModel, CreateSink, CreateView, Options, Statement, StreamQuery};

fn no_replacement() -> SqlError {
    let hint = "only views, functions, models, secrets and tables with a query can be replaced; DROP the old one first";
    SqlError::unsupported("OR REPLACE", hint)
}

impl ScriptParser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let or_replace = self.inner.peek_token();
        let replaces = self.inner.parse_keywords(&[Keyword::OR, Keyword::REPLACE]);
        let kind = self.inner.peek_token();
        if self.word("MATERIALIZED") {
            self.keywords(&[Keyword::VIEW])?;
            return self.create_view(replaces, true);
        }
        if self.word("VIEW") {
            return self.create_view(replaces, false);
        }
        if self.word("FUNCTION") {
            return self.create_function(replaces);
        }
        if self.word("SECRET") {
            return self.create_secret(replaces);
        }
        if self.word("MODEL") {
            return self.create_model(replaces);
        }
        if self.word("TABLE") {
            return match self.create_table(replaces)? {
                created @ Statement::CreateSource(_) if !replaces => Ok(created),
                created @ Statement::CreateTableAs(_) => Ok(created),
                _ => Err(no_replacement().at(or_replace.span)),
            };
        }
        if replaces {
            return Err(no_replacement().at(or_replace.span));
        }
        if self.word("SOURCE") {
            return self.create_source();
        }
        if self.word("EXTERNAL") {
            self.keywords(&[Keyword::TABLE])?;
            return self.create_external_table();
        }
        if self.word("SINK") {
            return self.create_sink();
        }
        if self.word("SAVEPOINT") {
            return self.create_savepoint();
        }
        if self.word("ROLE") {
            return self.create_role(false);
        }
        if self.word("USER") {
            return self.create_role(true);
        }
        let hint = "SOURCE, TABLE, EXTERNAL TABLE, SINK, VIEW, MATERIALIZED VIEW, MODEL, FUNCTION, SAVEPOINT, ROLE, USER and SECRET can \
                    be created";
        Err(SqlError::unsupported(format!("CREATE {}", shown(&kind)), hint).at(kind.span))
    }

    fn create_view(&mut self, or_replace: bool, materialized: bool) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        if self.inner.peek_token_ref().token == Token::LParen {
            let at = self.inner.peek_token_ref().span;
            let hint = "name the columns in the query: SELECT x AS name";
            return Err(SqlError::unsupported("a column list of a view", hint).at(at));
        }
        self.keywords(&[Keyword::AS])?;
        let query = self.query()?;
        Ok(Statement::CreateView(CreateView { name, if_not_exists, or_replace, materialized, query }))
    }

    fn create_sink(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let ColumnList { columns, key, .. } = match self.inner.peek_token_ref().token {
            Token::LParen => self.sink_columns()?,
            _ => ColumnList::default(),
        };
        let mut query = None;
        if self.inner.parse_keyword(Keyword::FROM) {
            let view = self.name()?;
            query = Some(StreamQuery::plain(select_all(&view.text).map_err(|error| error.at(view.at))?));
        }
        let options = self.with_options(&["WITH"])?;
        if query.is_none() && self.inner.parse_keyword(Keyword::AS) {
            query = Some(self.query()?);
        }
        if let (Some(column), Some(_)) = (columns.first(), &query) {
            let hint = "the query gives the columns; a PRIMARY KEY may stand alone";
            return Err(SqlError::unsupported("a column list of a sink with a query", hint).at(column.name.at));
        }
        Ok(Statement::CreateSink(CreateSink { name, if_not_exists, columns, key, options, query }))
    }

    fn sink_columns(&mut self) -> Result<ColumnList> {
        let list = self.column_list()?;
        match &list.watermark {
            None => Ok(list),
            Some(watermark) => {
                let hint = "a source declares it; a sink's rows come as the query gives them";
                Err(SqlError::unsupported("WATERMARK FOR in a sink", hint).at(watermark.column.at))
            }
        }
    }

    fn create_model(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        check_name(&name)?;
        if self.is_of_file() {
            return self.import_model(name, if_not_exists, or_replace);
        }
        let transform = self.transform_clause()?;
        let options = self.with_options(&["WITH", "OPTIONS"])?;
        self.keywords(&[Keyword::AS])?;
        let query = self.query()?;
        let create = CreateModel { name, if_not_exists, or_replace, transform, options, place: None, query };
        rules::spelled_out(create).map(Statement::CreateModel)
    }

    /// Options behind one of these words; an error if none of them comes.
    fn with_options(&mut self, words: &[&str]) -> Result<Options> {
        for word in words {
            if self.word(word) {
                return self.option_list();
            }
        }
        Err(self.expected(&format!("{} (…)", words.join(" or "))))
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.inner.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS])
    }
}
