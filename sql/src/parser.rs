//! From text to statements, as DataFusion's `DFParser` does it: sqlparser reads queries, expressions
//! and types; the statements around them are read here.
//!
//! A script is tokenised once and no token moves, so every position is one in the user's own text.

mod access;
mod as_of_join;
mod copy;
mod create;
mod create_table;
pub(crate) mod external_table;
mod function;
pub(crate) mod hints;
mod model;
mod options;
mod places;
mod rules;
mod source;
mod transform;

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use tidemill_plans::settings::Settings;

use self::places::Places;
use crate::ast::schema_parts;
use crate::dialect::{TidemillDialect, is_word};
use crate::error::{Position, Result, SqlError};
use crate::parameters;
use crate::stack::on_deep_stack;
use crate::statement::{
    DropKind, EmitClause, EmitWhen, Insert, JobCommand, JobName, LateClause, LateData, Name, Statement, StreamQuery,
};

/// How deep queries and expressions may nest: sqlparser recurses on the stack.
const DEPTH_MAX: usize = 50;

/// How many operators a statement may have: a chain of them is a tree as deep as it is long, and all
/// who drop or copy it recurse.
const OPERATORS_MAX: usize = 1_000;

/// The words that a statement can start with.
const HEADS: &str = "SELECT, WITH, SUBSCRIBE TO, INSERT INTO, CREATE SOURCE, CREATE TABLE, CREATE VIEW, CREATE \
                     MATERIALIZED VIEW, CREATE SINK, CREATE MODEL, CREATE FUNCTION, CREATE SAVEPOINT, CREATE ROLE, \
                     CREATE USER, CREATE SECRET, COPY, DROP, SHOW, DESCRIBE, EXPLAIN, SET, STOP JOB, RESUME JOB, ALTER JOB, ALTER MODEL, ALTER ROLE, EXPORT MODEL, \
                     GRANT, REVOKE, REASSIGN OWNED BY";

/// A statement of a script.
#[derive(Debug, Clone)]
pub struct ParsedStatement {
    text: String,
    position: Position,
    pub(crate) statement: Statement,
    /// FROM SAVEPOINT: what its job is to begin from, and where that stands.
    pub(crate) from_savepoint: Option<(String, Position)>,
}

impl ParsedStatement {
    /// A statement that stands in no text; `text` is what is shown of it.
    pub(crate) fn without_text(text: String, statement: Statement) -> Self {
        Self { text, position: Position::UNKNOWN, statement, from_savepoint: None }
    }

    /// The statement as the user wrote it, without the semicolon. One with a password or a secret in it is written anew,
    /// without that.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same where another stands.
    pub(crate) fn at_position_of(self, other: &Self) -> Self {
        Self { position: other.position, ..self }
    }

    /// The line it starts in, counted from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.position.line
    }

    /// Where it starts.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether it is about jobs that run, or reads what they make: those of statements before it have to be started.
    #[must_use]
    pub fn follows_jobs(&self) -> bool {
        use Statement::{
            Access, AlterModel, Analyze, Copy, Drop, ExportModel, ImportModel, Job, Query, ShowVersions, Subscribe,
        };
        matches!(
            self.statement,
            AlterModel(_)
                | ExportModel(_)
                | ImportModel(_)
                | ShowVersions(_)
                | Query(_)
                | Copy(_)
                | Subscribe(_)
                | Analyze(_)
                | Job(_)
                | Drop { .. }
                | Access(_)
        )
    }

    /// Whether it comes to rows, and has no other effect.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        use Statement::{
            Access, Analyze, Copy, Describe, Explain, ExplainJson, ExplainMigration, Job, Query, Show, ShowConnector,
            ShowCreate, ShowVersions, Subscribe,
        };
        match &self.statement {
            Query(_) | Subscribe(_) | Analyze(_) | Describe(_) | Explain(_) | ExplainJson(_) | ExplainMigration(_) => {
                true
            }
            Show(..) | ShowConnector(_) | ShowCreate(_) | ShowVersions(_) | Copy(_) => true,
            Job(command) => command.has_rows(),
            Access(command) => command.has_rows(),
            _ => false,
        }
    }

    /// Whether it is a SET, which changes nothing but settings.
    #[must_use]
    pub fn is_set(&self) -> bool {
        matches!(self.statement, Statement::Set { .. })
    }

    /// How many rows stand in it, if it is an INSERT of such rows.
    #[must_use]
    pub fn inserted_values(&self) -> Option<usize> {
        match &self.statement {
            Statement::Insert(insert) => insert.query.rows().map(Vec::len),
            _ => None,
        }
    }

    /// The INSERT that it carries out, if it is one.
    fn insert_mut(&mut self) -> Option<&mut Insert> {
        match &mut self.statement {
            Statement::Insert(insert) => Some(insert),
            Statement::Analyze(inner) => match inner.as_mut() {
                Statement::Insert(insert) => Some(insert),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it is an INSERT.
    #[must_use]
    pub fn is_insert(&self) -> bool {
        matches!(self.statement, Statement::Insert(_))
    }
}

/// Parses a script into statements with their positions.
pub fn parse_script(sql: &str) -> Result<Vec<ParsedStatement>> {
    on_deep_stack(|| parse(sql))
}

fn parse(sql: &str) -> Result<Vec<ParsedStatement>> {
    let dialect = TidemillDialect::default();
    let mut parser = ScriptParser::new(&dialect, sql)?;
    let (mut statements, mut places) = (Vec::new(), Places::of(sql));
    loop {
        while parser.inner.consume_token(&Token::SemiColon) {}
        if parser.inner.peek_token_ref().token == Token::EOF {
            note_shared_sinks(&mut statements);
            return Ok(statements);
        }
        statements.push(parser.next_statement(&mut places)?);
    }
}

/// Has INSERTs share a job whose rows are to come together in one sink, if a text has been put together of these
/// statements: each alone would put its rows in the place of the others'.
pub fn note_shared_sinks(statements: &mut [ParsedStatement]) {
    let names: Vec<String> =
        statements.iter_mut().filter_map(|one| Some(one.insert_mut()?.sink.text.clone())).collect();
    for statement in statements {
        let is_of_savepoint = statement.from_savepoint.is_some();
        if let Some(insert) = statement.insert_mut() {
            let is_shared = names.iter().filter(|name| **name == insert.sink.text).nth(1).is_some();
            insert.is_of_job |= is_of_savepoint || is_shared;
        }
    }
}

/// sqlparser's parser with the statements around it.
struct ScriptParser<'a> {
    inner: Parser<'a>,
}

impl<'a> ScriptParser<'a> {
    fn new(dialect: &'a dyn Dialect, sql: &str) -> Result<Self> {
        let mut tokens = Tokenizer::new(dialect, sql).tokenize_with_location().map_err(|error| SqlError::Syntax {
            at: error.location.into(),
            message: error.message.trim().trim_end_matches('.').to_owned(),
        })?;
        check_length(&tokens)?;
        parameters::number(&mut tokens)?;
        as_of_join::mark(&mut tokens);
        hints::mark(&mut tokens);
        let inner = Parser::new(dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
        Ok(Self { inner })
    }

    fn next_statement(&mut self, places: &mut Places) -> Result<ParsedStatement> {
        let start = self.inner.peek_token_ref().span.start;
        let statement = self.statement()?;
        let at = self.inner.peek_token_ref().span.into();
        let mut from_savepoint = None;
        if self.inner.parse_keyword(Keyword::FROM) {
            self.keywords(&[Keyword::SAVEPOINT])?;
            from_savepoint = Some((self.text("the folder or URL of a savepoint")?, at));
        }
        self.end_of_statement()?;
        let end = self.inner.peek_token_ref().span.start;
        let text = match &statement {
            Statement::Access(command) => command.to_string(),
            _ => places.slice(start, end).to_owned(),
        };
        Ok(ParsedStatement { text, position: start.into(), statement, from_savepoint })
    }

    fn statement(&mut self) -> Result<Statement> {
        let head = self.inner.peek_token();
        match &head.token {
            Token::LParen => return Ok(Statement::Query(self.query()?)),
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::SELECT | Keyword::WITH => return Ok(Statement::Query(self.query()?)),
                Keyword::CREATE => return self.create(),
                Keyword::COPY => return self.copy(),
                Keyword::INSERT => return self.insert(),
                Keyword::DROP => return self.drop(),
                Keyword::SET => return self.set(),
                Keyword::SHOW => return self.show(),
                Keyword::ALTER => return self.alter(),
                Keyword::GRANT => return self.grant(),
                Keyword::REVOKE => return self.revoke(),
                _ if is_word(&head, "EXPORT") => return self.export_model(),
                _ if is_word(&head, "REASSIGN") => return self.reassign(),
                _ if is_word(&head, "STOP") => return self.stop_job(),
                _ if is_word(&head, "RESUME") => return self.resume_job(),
                _ if is_word(&head, "SUBSCRIBE") => return self.subscribe(),
                Keyword::DESCRIBE | Keyword::DESC => {
                    self.inner.next_token();
                    if is_word(self.inner.peek_token_ref(), "FUNCTION")
                        && matches!(self.inner.peek_nth_token_ref(1).token, Token::Word(_))
                    {
                        self.inner.next_token();
                    }
                    return Ok(Statement::Describe(self.name()?));
                }
                Keyword::EXPLAIN => return self.explain(),
                _ => {}
            },
            _ => {}
        }
        Err(SqlError::Syntax {
            at: head.span.into(),
            message: format!("no statement starts with {}; valid are: {HEADS}", shown(&head)),
        })
    }

    fn subscribe(&mut self) -> Result<Statement> {
        self.inner.next_token();
        if !self.inner.parse_keyword(Keyword::TO) {
            return Err(self.expected("TO and the name of a materialized view"));
        }
        Ok(Statement::Subscribe(self.name()?))
    }

    fn explain(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let next = self.inner.peek_token();
        let has_options = next.token == Token::LParen && !self.query_ahead(1);
        let as_json = has_options && self.format_json();
        if is_word(&next, "VERBOSE") || has_options && !as_json {
            let what = format!("EXPLAIN {}", shown(&next));
            let hint = "write EXPLAIN, EXPLAIN (FORMAT JSON) or EXPLAIN ANALYZE and the statement";
            return Err(SqlError::unsupported(what, hint).at(next.span));
        }
        let analyze = !as_json && self.word("ANALYZE");
        let is_migration = !as_json && !analyze && self.word("MIGRATION");
        let next = self.inner.peek_token();
        if is_word(&next, "EXPLAIN") {
            return Err(SqlError::unsupported("EXPLAIN of EXPLAIN", "write it once").at(next.span));
        }
        let statement = Box::new(self.statement()?);
        if as_json {
            return Ok(Statement::ExplainJson(statement));
        }
        if is_migration {
            return Ok(Statement::ExplainMigration(statement));
        }
        if !analyze {
            return Ok(Statement::Explain(statement));
        }
        match *statement {
            Statement::Query(_) | Statement::Insert(_) => Ok(Statement::Analyze(statement)),
            _ => {
                let hint = "SELECT and INSERT INTO can be run and explained; EXPLAIN alone takes what is created, too";
                Err(SqlError::unsupported("EXPLAIN ANALYZE of this statement", hint).at(next.span))
            }
        }
    }

    /// Whether `(FORMAT JSON)` comes; then it is taken.
    fn format_json(&mut self) -> bool {
        let words = ["FORMAT", "JSON"];
        let ahead = (0..4).map(|place| self.inner.peek_nth_token(place)).collect::<Vec<_>>();
        let is_there = words.iter().zip(&ahead[1..]).all(|(word, token)| is_word(token, word));
        if !is_there || ahead[3].token != Token::RParen {
            return false;
        }
        ahead.iter().for_each(|_| drop(self.inner.next_token()));
        true
    }

    fn insert(&mut self) -> Result<Statement> {
        self.keywords(&[Keyword::INSERT, Keyword::INTO])?;
        let sink = self.name()?;
        let mut columns = Vec::new();
        if self.inner.peek_token_ref().token == Token::LParen && !self.query_ahead(1) {
            self.token(&Token::LParen)?;
            loop {
                columns.push(self.name()?);
                if !self.inner.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.token(&Token::RParen)?;
        }
        Ok(Statement::Insert(Insert { sink, columns, query: self.query()?, is_of_job: false }))
    }

    fn drop(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let kind = self.inner.next_token();
        if is_word(&kind, "ROLE") || is_word(&kind, "USER") {
            return self.drop_role();
        }
        if is_word(&kind, "SECRET") {
            return self.drop_secret();
        }
        let what = if is_word(&kind, "SOURCE") || is_word(&kind, "TABLE") {
            DropKind::Source
        } else if is_word(&kind, "SINK") {
            DropKind::Sink
        } else if is_word(&kind, "MODEL") {
            DropKind::Model
        } else if is_word(&kind, "FUNCTION") {
            DropKind::Function
        } else if is_word(&kind, "VIEW") || (is_word(&kind, "MATERIALIZED") && self.word("VIEW")) {
            DropKind::View
        } else {
            let what = format!("DROP {}", shown(&kind));
            let hint = "SOURCE, TABLE, SINK, VIEW, MODEL, FUNCTION, ROLE, USER and SECRET can be dropped";
            return Err(SqlError::unsupported(what, hint).at(kind.span));
        };
        let if_exists = self.inner.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        Ok(Statement::Drop { what, if_exists, name: self.name()? })
    }

    fn set(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let name = self.dotted_name()?;
        if !self.inner.consume_token(&Token::Eq) && !self.inner.parse_keyword(Keyword::TO) {
            return Err(self.expected("= or TO behind the setting's name"));
        }
        // `10s` is two tokens: everything up to the end is the value.
        let mut value = String::new();
        while !matches!(self.inner.peek_token_ref().token, Token::SemiColon | Token::EOF) {
            match self.inner.next_token().token {
                Token::SingleQuotedString(text) => value.push_str(&text),
                other => value.push_str(&other.to_string()),
            }
        }
        if value.is_empty() && !matches!(self.inner.get_current_token().token, Token::SingleQuotedString(_)) {
            return Err(self.expected("a value"));
        }
        Ok(Statement::Set { name, value })
    }

    fn show(&mut self) -> Result<Statement> {
        self.inner.next_token();
        if self.word("CREATE") {
            for kind in ["SOURCE", "TABLE", "SINK", "MATERIALIZED", "VIEW", "MODEL", "FUNCTION"] {
                // A kind may stand before the name, but is not needed: all objects share one namespace.
                if is_word(self.inner.peek_token_ref(), kind)
                    && matches!(self.inner.peek_nth_token_ref(1).token, Token::Word(_))
                {
                    self.inner.next_token();
                }
            }
            return Ok(Statement::ShowCreate(self.name()?));
        }
        if is_word(self.inner.peek_token_ref(), "VERSIONS") && is_word(self.inner.peek_nth_token_ref(1), "IN") {
            self.inner.next_token();
            self.keywords(&[Keyword::IN])?;
            self.expect_word("MODEL")?;
            return Ok(Statement::ShowVersions(self.name()?));
        }
        if self.word("CONNECTOR") {
            return Ok(Statement::ShowConnector(self.name()?));
        }
        if self.word("JOBS") {
            return Ok(Statement::Job(JobCommand::ShowJobs));
        }
        if is_word(self.inner.peek_token_ref(), "JOB") {
            return Ok(Statement::Job(JobCommand::ShowJob(self.job()?)));
        }
        if let Some(shown) = self.show_access()? {
            return Ok(shown);
        }
        if self.word("CHECKPOINTS") {
            self.keywords(&[Keyword::FOR])?;
            return Ok(Statement::Job(JobCommand::ShowCheckpoints(self.job()?)));
        }
        if self.word("METRICS") {
            self.keywords(&[Keyword::FOR])?;
            return Ok(Statement::Job(JobCommand::ShowMetrics(self.job()?)));
        }
        let what = self.dotted_name()?;
        let like = if self.word("LIKE") { Some(self.text("a pattern")?) } else { None };
        Ok(Statement::Show(what, like))
    }

    fn stop_job(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let job = self.job()?;
        if !self.word("WITH") {
            return Ok(Statement::Job(JobCommand::Stop(job)));
        }
        if !self.word("SAVEPOINT") {
            return Err(self.expected("SAVEPOINT"));
        }
        Ok(Statement::Job(JobCommand::Savepoint { job, url: self.optional_text()?, stops: true }))
    }

    fn resume_job(&mut self) -> Result<Statement> {
        self.inner.next_token();
        Ok(Statement::Job(JobCommand::Resume(self.job()?)))
    }

    /// Behind CREATE SAVEPOINT.
    fn create_savepoint(&mut self) -> Result<Statement> {
        self.keywords(&[Keyword::FOR])?;
        let job = self.job()?;
        Ok(Statement::Job(JobCommand::Savepoint { job, url: self.optional_text()?, stops: false }))
    }

    /// A text in quotes, if there is one.
    fn optional_text(&mut self) -> Result<Option<String>> {
        match self.inner.peek_token_ref().token {
            Token::SingleQuotedString(_) => self.text("a text").map(Some),
            _ => Ok(None),
        }
    }

    /// A text in quotes.
    fn text(&mut self, what: &str) -> Result<String> {
        let token = self.inner.peek_token();
        let Token::SingleQuotedString(text) = token.token else {
            return Err(self.expected(&format!("{what}, in quotes")));
        };
        self.inner.next_token();
        Ok(text)
    }

    fn alter(&mut self) -> Result<Statement> {
        self.inner.next_token();
        if self.word("ROLE") || self.word("USER") {
            return self.alter_role();
        }
        if self.word("MODEL") {
            return self.alter_model();
        }
        if !is_word(self.inner.peek_token_ref(), "JOB") {
            let next = self.inner.peek_token();
            let what = format!("ALTER {}", shown(&next));
            let hint =
                "ALTER JOB j SET parallelism = n, ALTER MODEL m VERSION n SET ALIAS a and ALTER ROLE r are there";
            return Err(SqlError::unsupported(what, hint).at(next.span));
        }
        let job = self.job()?;
        let at = self.inner.peek_token_ref().span;
        match self.set()? {
            Statement::Set { name, value } if name.text == "parallelism" => {
                let mut settings = Settings::default();
                settings.set(&name.text, &value).map_err(|error| SqlError::from(error).at(name.at))?;
                Ok(Statement::Job(JobCommand::Rescale { job, parallelism: settings.parallelism }))
            }
            Statement::Set { name, .. } => {
                let what = format!("changing {} of a job that runs", name.text);
                Err(SqlError::unsupported(what, "parallelism can be changed").at(name.at))
            }
            _ => Err(self.expected("SET parallelism").at(at)),
        }
    }

    /// Which job: `JOB` and its number, or the name of an object that it makes.
    fn job(&mut self) -> Result<JobName> {
        if !self.word("JOB") {
            return Err(self.expected("JOB and its number, or the name of what it makes"));
        }
        let token = self.inner.peek_token();
        if let Token::Number(number, _) = &token.token {
            let number = number.parse().map_err(|_| self.expected("a job's number"))?;
            self.inner.next_token();
            return Ok(JobName::Number(number));
        }
        Ok(JobName::Object(self.name()?.text))
    }

    /// Reads a query and the clauses behind it.
    fn query(&mut self) -> Result<StreamQuery> {
        let body = self.with(Parser::parse_query)?;
        let mut query = StreamQuery::plain(body);
        loop {
            let at = self.inner.peek_token_ref().span;
            if let Some(late) = self.late_clause()? {
                if query.late.replace(late).is_some() {
                    return Err(SqlError::invalid("LATE DATA is given twice").at(at));
                }
            } else if let Some(emit) = self.emit_clause()? {
                if query.emit.replace(emit).is_some() {
                    return Err(SqlError::invalid("EMIT is given twice").at(at));
                }
            } else {
                return Ok(query);
            }
        }
    }

    /// Reads EMIT, if it is there.
    fn emit_clause(&mut self) -> Result<Option<EmitClause>> {
        let at = self.inner.peek_token_ref().span.into();
        if !self.word("EMIT") {
            return Ok(None);
        }
        let when = if self.word("EVERY") {
            EmitWhen::Every(Box::new(self.with(Parser::parse_expr)?))
        } else if self.word("ON") {
            if self.word("UPDATE") {
                EmitWhen::OnUpdate
            } else if self.word("WINDOW") && self.word("CLOSE") {
                EmitWhen::OnWindowClose
            } else {
                return Err(self.expected("UPDATE or WINDOW CLOSE"));
            }
        } else {
            return Err(self.expected("ON UPDATE, ON WINDOW CLOSE or EVERY INTERVAL '…'"));
        };
        Ok(Some(EmitClause { when, at }))
    }

    /// Reads LATE DATA, if it is there.
    fn late_clause(&mut self) -> Result<Option<LateClause>> {
        let at = self.inner.peek_token_ref().span.into();
        if !is_word(self.inner.peek_token_ref(), "LATE") || !is_word(self.inner.peek_nth_token_ref(1), "DATA") {
            return Ok(None);
        }
        self.inner.next_token();
        self.inner.next_token();
        let data = if self.word("DROP") {
            LateData::Drop
        } else if self.word("INTO") {
            LateData::Into(self.name()?)
        } else if self.word("UPDATE") && self.word("WITHIN") {
            LateData::UpdateWithin(Box::new(self.with(Parser::parse_expr)?))
        } else {
            return Err(self.expected("LATE DATA DROP, INTO sink, or UPDATE WITHIN INTERVAL '…'"));
        };
        Ok(Some(LateClause { data, at }))
    }

    /// Whether a query starts at the token `ahead` of the next one.
    fn query_ahead(&self, ahead: usize) -> bool {
        let token = self.inner.peek_nth_token_ref(ahead);
        is_word(token, "SELECT") || is_word(token, "WITH") || token.token == Token::LParen
    }

    fn end_of_statement(&mut self) -> Result<()> {
        let next = self.inner.peek_token();
        if matches!(next.token, Token::SemiColon | Token::EOF) {
            return Ok(());
        }
        Err(self.expected("; or the end of the script"))
    }

    /// The name of an object, lower case unless quoted. The schema may stand in front of it.
    fn name(&mut self) -> Result<Name> {
        let at = self.inner.peek_token_ref().span;
        let mut parts = vec![self.name_part()?];
        while self.inner.consume_token(&Token::Period) {
            parts.push(self.name_part()?);
        }
        match &parts[schema_parts(&parts)..] {
            [name] => Ok(Name { text: name.clone(), at: at.into() }),
            _ => Err(SqlError::unsupported("a schema in a name", "objects have plain names").at(at)),
        }
    }

    fn name_part(&mut self) -> Result<String> {
        let Token::Word(word) = &self.inner.peek_token_ref().token else { return Err(self.expected("a name")) };
        let text = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() };
        self.inner.next_token();
        Ok(text)
    }

    /// A name with dots in it, such as a setting's or an option's key.
    fn dotted_name(&mut self) -> Result<Name> {
        let at = self.inner.peek_token_ref().span.into();
        let mut text = String::new();
        loop {
            let token = self.inner.peek_token();
            match &token.token {
                Token::Word(word) if word.quote_style.is_some() => text.push_str(&word.value),
                Token::Word(word) => text.push_str(&word.value.to_lowercase()),
                Token::SingleQuotedString(key) => text.push_str(key),
                _ => return Err(self.expected("a name")),
            }
            self.inner.next_token();
            if !self.inner.consume_token(&Token::Period) {
                return Ok(Name { text, at });
            }
            text.push('.');
        }
    }

    /// Consumes this word, a keyword or not, if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let found = is_word(self.inner.peek_token_ref(), word);
        if found {
            self.inner.next_token();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.word(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    fn token(&mut self, token: &Token) -> Result<()> {
        self.with(|parser| parser.expect_token(token).map(drop))
    }

    fn keywords(&mut self, keywords: &[Keyword]) -> Result<()> {
        self.with(|parser| parser.expect_keywords(keywords))
    }

    fn expected(&self, what: &str) -> SqlError {
        let found = self.inner.peek_token_ref();
        let message = format!("expected {what}, found {}", shown(found));
        SqlError::Syntax { at: self.position_of(found), message }
    }

    /// The end of the script has no place of its own: it is where the last token is.
    fn position_of(&self, token: &TokenWithSpan) -> Position {
        let at = Position::from(token.span);
        if at.is_known() { at } else { self.inner.get_current_token().span.into() }
    }

    /// Runs a parser of sqlparser's and makes its error one with a position.
    fn with<T>(&mut self, parse: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>) -> Result<T> {
        let start = Position::from(self.inner.peek_token_ref().span);
        parse(&mut self.inner).map_err(|error| match error {
            ParserError::RecursionLimitExceeded => SqlError::Syntax {
                at: start,
                message: format!("nested deeper than {DEPTH_MAX} levels; name the inner queries in views or WITH"),
            },
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
                let (message, at) = split_position(&message);
                let at = at.unwrap_or_else(|| self.position_of(self.inner.peek_token_ref()));
                SqlError::Syntax { at, message }
            }
        })
    }
}

/// Refuses statements with more operators than trees of them are safe to handle.
fn check_length(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut operators = 0;
    for token in tokens {
        match &token.token {
            Token::SemiColon => operators = 0,
            token if is_operator(token) => operators += 1,
            _ => {}
        }
        if operators > OPERATORS_MAX {
            let hint = format!("the limit is {OPERATORS_MAX}; cut it into views");
            return Err(SqlError::unsupported("a statement with so many operators", hint).at(token.span));
        }
    }
    Ok(())
}

/// Whether a token can join two expressions or queries to a larger one.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
        ),
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::LParen | Token::RParen | Token::EOF => false,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) => false,
        _ => true,
    }
}

/// A token as an error message shows it.
fn shown(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::EOF => String::from("the end"),
        token => token.to_string(),
    }
}

/// sqlparser writes the place behind its messages: ` at Line: 3, Column: 14`.
fn split_position(message: &str) -> (String, Option<Position>) {
    let plain = || {
        message
            .replace("Expected: ", "expected ")
            .replace("Expected ", "expected ")
            .replace("found: EOF", "found the end")
            .replace("found: ", "found ")
    };
    let Some((text, place)) = message.rsplit_once(" at Line: ") else { return (plain(), None) };
    let Some((line, column)) = place.split_once(", Column: ") else { return (plain(), None) };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (number(line), number(column)) {
        (Some(line), Some(column)) => {
            let (text, _) = split_position(text);
            (text, Some(Position { line, column }))
        }
        _ => (plain(), None),
    }
}

#[cfg(test)]
mod tests;
