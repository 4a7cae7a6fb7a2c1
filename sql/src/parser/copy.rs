//! COPY: the rows of a query or a table, to a file.

use std::path::Path;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;
use tidemill_plans::batch::{CopyFormat, CopyTarget};

use super::ScriptParser;
use crate::ast::select_all;
use crate::error::{Result, SqlError};
use crate::statement::{Copy, Statement, StreamQuery};

impl ScriptParser<'_> {
    /// `COPY t | (query) TO 'path' [STORED AS format]`.
    pub(super) fn copy(&mut self) -> Result<Statement> {
        let at = self.inner.next_token().span.into();
        let query = match self.inner.peek_token_ref().token {
            Token::LParen => {
                self.token(&Token::LParen)?;
                let query = self.query()?;
                self.token(&Token::RParen)?;
                query
            }
            _ => StreamQuery::plain(select_all(&self.name()?.text)?),
        };
        self.keywords(&[Keyword::TO])?;
        let path_at = self.inner.peek_token_ref().span;
        let path = self.text("a file")?;
        let stored = self.word("STORED");
        let named = if stored {
            self.keywords(&[Keyword::AS])?;
            self.name()?.text
        } else {
            let end = Path::new(&path).extension().and_then(|end| end.to_str());
            end.unwrap_or_default().to_owned()
        };
        let Some(format) = CopyFormat::named(&named) else {
            let hint = "parquet, csv, json or arrow: by the end of the file's name, or STORED AS";
            return Err(SqlError::unsupported(format!("a file of the format '{named}'"), hint).at(path_at));
        };
        Ok(Statement::Copy(Copy { query, target: CopyTarget { path, format }, at }))
    }
}
