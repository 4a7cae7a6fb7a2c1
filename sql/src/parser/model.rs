//! ALTER MODEL: the aliases of a model's versions, in Snowflake's words. CREATE MODEL FROM FILE and EXPORT MODEL.

use datafusion::sql::sqlparser::ast::DataType;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{ScriptParser, is_word};
use crate::ast::normalize;
use crate::dialect::parse_model_name;
use crate::error::{Result, SqlError};
use crate::statement::{AlterModel, ExportModel, ImportModel, Name, Options, Statement};

impl ScriptParser<'_> {
    /// Whether a model's name is followed by columns, or by FROM FILE.
    pub(super) fn is_of_file(&self) -> bool {
        let (next, behind) = (self.inner.peek_token_ref(), self.inner.peek_nth_token_ref(1));
        next.token == Token::LParen || is_word(next, "FROM") && is_word(behind, "FILE")
    }

    /// Behind CREATE MODEL m: `[(column TYPE, …)] FROM FILE 'path' [WITH (…)]`.
    pub(super) fn import_model(&mut self, name: Name, if_not_exists: bool, or_replace: bool) -> Result<Statement> {
        if or_replace {
            let hint = format!("DROP MODEL {} first", name.text);
            return Err(SqlError::unsupported("OR REPLACE by a model from a file", hint).at(name.at));
        }
        let columns = match self.inner.peek_token_ref().token == Token::LParen {
            true => Some(self.model_columns()?),
            false => None,
        };
        self.keywords(&[Keyword::FROM])?;
        self.expect_word("FILE")?;
        let path = self.text("a file")?;
        let options = self.options_if_any()?;
        let import = ImportModel { name, if_not_exists, columns, path, options, state: None };
        Ok(Statement::ImportModel(Box::new(import)))
    }

    fn model_columns(&mut self) -> Result<Vec<(String, DataType)>> {
        self.token(&Token::LParen)?;
        let mut columns = Vec::new();
        loop {
            let name = self.name()?;
            columns.push((name.text, self.with(Parser::parse_data_type)?));
            if !self.inner.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen)?;
        Ok(columns)
    }

    /// `EXPORT MODEL m TO 'path' [WITH (format = '…')]`.
    pub(super) fn export_model(&mut self) -> Result<Statement> {
        self.inner.next_token();
        self.expect_word("MODEL")?;
        let at = self.inner.peek_token_ref().span.into();
        let name = Name { text: normalize(&self.with(parse_model_name)?), at };
        self.keywords(&[Keyword::TO])?;
        let path = self.text("a file")?;
        Ok(Statement::ExportModel(ExportModel { name, path, options: self.options_if_any()? }))
    }

    fn options_if_any(&mut self) -> Result<Options> {
        let at = self.inner.peek_token_ref().span.into();
        match self.word("WITH") || self.word("OPTIONS") {
            true => self.option_list(),
            false => Ok(Options { at, ..Options::default() }),
        }
    }

    /// Behind ALTER MODEL: `m VERSION 3 SET ALIAS [=] champion [FORCE]`, or `m UNSET ALIAS champion`.
    pub(super) fn alter_model(&mut self) -> Result<Statement> {
        let name = self.name()?;
        let version = match self.word("UNSET") {
            true => None,
            false => {
                self.expect_word("VERSION")?;
                let version = self.version()?;
                self.expect_word("SET")?;
                Some(version)
            }
        };
        self.expect_word("ALIAS")?;
        // As Snowflake has it; who leaves it out means the same.
        let _ = version.is_some() && self.inner.consume_token(&Token::Eq);
        let alias = self.name()?;
        let is_forced = version.is_some() && self.word("FORCE");
        Ok(Statement::AlterModel(AlterModel { name, alias, version, is_forced }))
    }

    fn version(&mut self) -> Result<i64> {
        let Token::Number(number, _) = &self.inner.peek_token_ref().token else {
            return Err(self.expected("the number of a version"));
        };
        let Ok(version) = number.parse() else { return Err(self.expected("the number of a version")) };
        self.inner.next_token();
        Ok(version)
    }
}
