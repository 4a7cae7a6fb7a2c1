//! ALTER MODEL: the aliases of a model's versions, in Snowflake's words.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::ScriptParser;
use crate::error::Result;
use crate::statement::{AlterModel, Statement};

impl ScriptParser<'_> {
    /// Behind ALTER MODEL: `m VERSION 3 SET ALIAS [=] champion`, or `m UNSET ALIAS champion`.
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
        Ok(Statement::AlterModel(AlterModel { name, alias, version }))
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
