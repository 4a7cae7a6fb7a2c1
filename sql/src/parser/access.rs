//! Statements about roles, privileges and secrets: PostgreSQL's, as far as there is what they speak of.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::ScriptParser;
use crate::access::{AccessCommand, Hidden, Privilege, RoleLimit, RoleOptions, Securable};
use crate::dialect::is_word;
use crate::error::{Result, SqlError};
use crate::statement::{JobName, Statement};

/// What may stand behind ON, in front of names.
const KINDS: &str = "TABLE, SOURCE, VIEW, SINK, MODEL, JOB, CONNECTOR, SECRET, SCHEMA, or a name";

impl ScriptParser<'_> {
    /// Behind CREATE ROLE and CREATE USER, which may log in.
    pub(super) fn create_role(&mut self, is_user: bool) -> Result<Statement> {
        let name = self.role()?;
        let mut options = self.role_options()?;
        options.login = options.login.or(Some(is_user));
        Ok(Statement::Access(AccessCommand::CreateRole { name, options }))
    }

    /// Behind ALTER ROLE and ALTER USER.
    pub(super) fn alter_role(&mut self) -> Result<Statement> {
        let name = self.role()?;
        if self.word("SET") {
            return self.set_limit(name);
        }
        if self.word("RESET") {
            let limit = if self.word("ALL") { None } else { Some(self.role_limit()?) };
            return Ok(Statement::Access(AccessCommand::ResetLimit { role: name, limit }));
        }
        let options = self.role_options()?;
        if options == RoleOptions::default() {
            return Err(self.expected("LOGIN, NOLOGIN, SUPERUSER, NOSUPERUSER, PASSWORD, VALID UNTIL, SET or RESET"));
        }
        Ok(Statement::Access(AccessCommand::AlterRole { name, options }))
    }

    /// Behind ALTER ROLE r SET: `max_jobs = 4`, or TO 4.
    fn set_limit(&mut self, role: String) -> Result<Statement> {
        let limit = self.role_limit()?;
        if !self.inner.consume_token(&Token::Eq) && !self.word("TO") {
            return Err(self.expected("="));
        }
        let at = self.inner.peek_token_ref().span;
        let max = self.whole_number()?;
        let max = u32::try_from(max).map_err(|_| {
            let message = format!("{} is {max}, and {} is the most; RESET takes it away", limit.name(), u32::MAX);
            SqlError::invalid(message).at(at)
        })?;
        Ok(Statement::Access(AccessCommand::SetLimit { role, limit, max }))
    }

    fn role_limit(&mut self) -> Result<RoleLimit> {
        let found = match &self.inner.peek_token_ref().token {
            Token::Word(word) => RoleLimit::of(&word.value),
            _ => None,
        };
        let found = found.ok_or_else(|| self.expected(&RoleLimit::ALL.map(RoleLimit::name).join(" or ")))?;
        self.inner.next_token();
        Ok(found)
    }

    pub(super) fn drop_role(&mut self) -> Result<Statement> {
        let if_exists = self.inner.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        Ok(Statement::Access(AccessCommand::DropRole { name: self.role()?, if_exists }))
    }

    pub(super) fn create_secret(&mut self, or_replace: bool) -> Result<Statement> {
        let name = self.name()?.text;
        // What stands here instead may be what nobody is to see.
        if !self.word("AS") {
            let message = String::from("expected AS and the secret, in quotes, behind its name");
            return Err(SqlError::Syntax { at: self.position_of(self.inner.peek_token_ref()), message });
        }
        let value = self.hidden("the secret")?;
        Ok(Statement::Access(AccessCommand::CreateSecret { name, value, or_replace }))
    }

    pub(super) fn drop_secret(&mut self) -> Result<Statement> {
        let if_exists = self.inner.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        Ok(Statement::Access(AccessCommand::DropSecret { name: self.name()?.text, if_exists }))
    }

    pub(super) fn grant(&mut self) -> Result<Statement> {
        self.inner.next_token();
        if !self.privileges_ahead() {
            let roles = self.roles()?;
            self.keywords(&[Keyword::TO])?;
            return Ok(Statement::Access(AccessCommand::GrantRoles { roles, to: self.roles()? }));
        }
        let (privileges, on) = self.privileges()?;
        self.keywords(&[Keyword::TO])?;
        let to = self.roles()?;
        if is_word(self.inner.peek_token_ref(), "WITH") {
            let at = self.inner.peek_token_ref().span;
            let hint = "the owner and superusers grant; leave it out";
            return Err(SqlError::unsupported("WITH GRANT OPTION", hint).at(at));
        }
        Ok(Statement::Access(AccessCommand::Grant { privileges, on, to }))
    }

    pub(super) fn revoke(&mut self) -> Result<Statement> {
        self.inner.next_token();
        if is_word(self.inner.peek_token_ref(), "TOKENS") {
            self.inner.next_token();
            self.keywords(&[Keyword::FROM])?;
            return Ok(Statement::Access(AccessCommand::RevokeTokens(self.role()?)));
        }
        if !self.privileges_ahead() {
            let roles = self.roles()?;
            self.keywords(&[Keyword::FROM])?;
            return Ok(Statement::Access(AccessCommand::RevokeRoles { roles, from: self.roles()? }));
        }
        let (privileges, on) = self.privileges()?;
        self.keywords(&[Keyword::FROM])?;
        Ok(Statement::Access(AccessCommand::Revoke { privileges, on, from: self.roles()? }))
    }

    pub(super) fn reassign(&mut self) -> Result<Statement> {
        self.inner.next_token();
        for word in ["OWNED", "BY"] {
            if !self.word(word) {
                return Err(self.expected(word));
            }
        }
        let from = self.role()?;
        self.keywords(&[Keyword::TO])?;
        Ok(Statement::Access(AccessCommand::Reassign { from, to: self.role()? }))
    }

    /// What SHOW shows of roles and the like, if it is that.
    pub(super) fn show_access(&mut self) -> Result<Option<Statement>> {
        let command = if self.word("ROLES") || self.word("USERS") {
            AccessCommand::ShowRoles
        } else if self.word("GRANTS") {
            let role = self.inner.parse_keyword(Keyword::FOR).then(|| self.role()).transpose()?;
            AccessCommand::ShowGrants(role)
        } else if self.word("SECRETS") {
            AccessCommand::ShowSecrets
        } else if self.word("AUDIT") {
            let limit = self.inner.parse_keyword(Keyword::LIMIT);
            AccessCommand::ShowAudit(limit.then(|| self.whole_number()).transpose()?)
        } else {
            return Ok(None);
        };
        Ok(Some(Statement::Access(command)))
    }

    fn whole_number(&mut self) -> Result<usize> {
        let number = match &self.inner.peek_token_ref().token {
            Token::Number(number, _) => number.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.expected("a whole number"))?;
        self.inner.next_token();
        Ok(number)
    }

    /// Whether privileges come, and not roles: what stands behind the list says so.
    fn privileges_ahead(&self) -> bool {
        let mut ahead = (0..).map(|place| self.inner.peek_nth_token_ref(place));
        let end = ahead.find(|token| {
            !matches!(token.token, Token::Comma) && {
                let is_end = ["ON", "TO", "FROM"].iter().any(|word| is_word(token, word));
                is_end || !matches!(token.token, Token::Word(_))
            }
        });
        end.is_some_and(|token| is_word(token, "ON"))
    }

    /// `SELECT, INSERT ON TABLE a, b`, or `ALL PRIVILEGES ON …`.
    fn privileges(&mut self) -> Result<(Vec<Privilege>, Vec<Securable>)> {
        let mut privileges = Vec::new();
        if self.word("ALL") {
            self.word("PRIVILEGES");
        } else {
            loop {
                privileges.push(self.privilege()?);
                if !self.inner.consume_token(&Token::Comma) {
                    break;
                }
            }
        }
        self.keywords(&[Keyword::ON])?;
        let on = self.securables()?;
        for securable in &on {
            if let Some(wrong) = privileges.iter().find(|privilege| !securable.privileges().contains(privilege)) {
                let possible: Vec<&str> = securable.privileges().iter().map(|privilege| privilege.name()).collect();
                let message =
                    format!("there is no {} on {securable}; {} can be granted", wrong.name(), possible.join(", "));
                return Err(SqlError::invalid(message));
            }
        }
        Ok((privileges, on))
    }

    fn privilege(&mut self) -> Result<Privilege> {
        let found = match &self.inner.peek_token_ref().token {
            Token::Word(word) => Privilege::of(&word.value),
            _ => None,
        };
        let names: Vec<&str> = Privilege::ALL.iter().map(|privilege| privilege.name()).collect();
        let found = found.ok_or_else(|| self.expected(&format!("ALL, {}", names.join(", "))))?;
        self.inner.next_token();
        Ok(found)
    }

    fn securables(&mut self) -> Result<Vec<Securable>> {
        let mut make: fn(String) -> Securable = Securable::Object;
        let behind = self.inner.peek_nth_token_ref(1);
        let ends = ["TO", "FROM"].iter().any(|word| is_word(behind, word));
        if matches!(behind.token, Token::Word(_) | Token::Number(..)) && !ends {
            let kind = self.inner.peek_token();
            if self.word("CONNECTOR") {
                make = Securable::Connector;
            } else if self.word("SECRET") {
                make = Securable::Secret;
            } else if self.word("SCHEMA") {
                return self.schema();
            } else if is_word(&kind, "JOB") {
                return self.job_object();
            } else if !(["TABLE", "SOURCE", "SINK", "MODEL", "VIEW"].iter().any(|word| self.word(word))
                || self.word("MATERIALIZED") && self.word("VIEW"))
            {
                return Err(self.expected(KINDS));
            }
        }
        let mut on = vec![make(self.name()?.text)];
        while self.inner.consume_token(&Token::Comma) {
            on.push(make(self.name()?.text));
        }
        Ok(on)
    }

    fn schema(&mut self) -> Result<Vec<Securable>> {
        let at = self.inner.peek_token_ref().span;
        match self.dotted_name()?.text.as_str() {
            "public" | "tidemill.public" => Ok(vec![Securable::Schema]),
            _ => Err(SqlError::unsupported("another schema", "all objects are in the schema public").at(at)),
        }
    }

    fn job_object(&mut self) -> Result<Vec<Securable>> {
        let at = self.inner.peek_token_ref().span;
        match self.job()? {
            JobName::Object(name) => Ok(vec![Securable::Object(name)]),
            JobName::Number(_) => {
                let hint = "a job's number is another one tomorrow; name what it makes";
                Err(SqlError::unsupported("a privilege on a job's number", hint).at(at))
            }
        }
    }

    fn roles(&mut self) -> Result<Vec<String>> {
        let mut roles = vec![self.role()?];
        while self.inner.consume_token(&Token::Comma) {
            roles.push(self.role()?);
        }
        Ok(roles)
    }

    /// The name of a role. `public` is everybody.
    fn role(&mut self) -> Result<String> {
        let at = self.inner.peek_token_ref().span;
        let name = self.name_part()?;
        if name.is_empty() || name.len() > 63 || name.contains(|c: char| c == ':' || c.is_control()) {
            let message = "a role's name has 1 to 63 bytes, and no colon, which ends it where people log in";
            return Err(SqlError::invalid(message).at(at));
        }
        Ok(name)
    }

    fn role_options(&mut self) -> Result<RoleOptions> {
        let mut options = RoleOptions::default();
        self.word("WITH");
        loop {
            if self.word("LOGIN") {
                options.login = Some(true);
            } else if self.word("NOLOGIN") {
                options.login = Some(false);
            } else if self.word("SUPERUSER") {
                options.superuser = Some(true);
            } else if self.word("NOSUPERUSER") {
                options.superuser = Some(false);
            } else if self.word("PASSWORD") {
                let is_taken = self.word("NULL");
                options.password = Some(if is_taken { None } else { Some(self.hidden("the password")?) });
            } else if self.word("VALID") {
                if !self.word("UNTIL") {
                    return Err(self.expected("UNTIL"));
                }
                options.valid_until = Some(self.valid_until()?);
            } else {
                return Ok(options);
            }
        }
    }

    fn valid_until(&mut self) -> Result<i64> {
        let at = self.inner.peek_token_ref().span;
        let text = self.text("a time such as '2027-01-01 00:00:00'")?;
        if text.eq_ignore_ascii_case("infinity") {
            return Ok(i64::MAX);
        }
        let nanos = string_to_timestamp_nanos(&text).map_err(|_| {
            SqlError::invalid(format!("'{text}' is no time; '2027-01-01 00:00:00' is one, in UTC, and 'infinity'"))
                .at(at)
        })?;
        Ok(nanos / 1000)
    }

    /// A text in quotes that is in no message.
    fn hidden(&mut self, what: &str) -> Result<Hidden> {
        let token = self.inner.peek_token();
        match token.token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                self.inner.next_token();
                Ok(Hidden::new(text))
            }
            _ => {
                let message = format!("expected {what}, in quotes, found {}", shown_kind(&token.token));
                Err(SqlError::Syntax { at: self.position_of(&token), message })
            }
        }
    }
}

/// What a token is that may be what nobody is to see.
fn shown_kind(token: &Token) -> &'static str {
    match token {
        Token::EOF | Token::SemiColon => "the end",
        Token::Word(_) => "a word",
        _ => "something else",
    }
}
