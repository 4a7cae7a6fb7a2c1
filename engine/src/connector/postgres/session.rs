//! A connection to a server, for whoever may block.

use std::io::{self, Cursor};
use std::time::Duration;

use futures::SinkExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};

use crate::error::{EngineError, Result};

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long an answer may take. The server gives up before, and says why.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What every session begins with. Transactions are open from one checkpoint to the next, which servers from version 17
/// on may limit, too.
const BEGINNING: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
    SET statement_timeout = '50s'; SET lock_timeout = '20s'; SET idle_in_transaction_session_timeout = 0;
    SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'";

/// See the [module](self).
pub(super) struct Session {
    /// What it is for, for errors.
    table: String,
    client: Client,
    /// What drives the connection moves only while an answer is waited for, and ends with it.
    _driver: JoinSet<Result<(), tokio_postgres::Error>>,
    /// Last, for the driver is on it. None when the session goes.
    runtime: Option<Runtime>,
}

impl Session {
    /// Connects under a name that other sessions see.
    pub(super) fn open(config: &Config, name: &str, table: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| failed("connect to the server of", table, source))?;
        let mut config = config.clone();
        config.application_name(name).connect_timeout(CONNECT_LIMIT);
        let connecting = runtime.block_on(async { timeout(CONNECT_LIMIT, config.connect(NoTls)).await });
        let connected = connecting.map_err(|_| failed("connect to the server of", table, silent()))?;
        let (client, connection) = connected.map_err(|error| refused("connect to the server of", table, error))?;
        let mut driver = JoinSet::new();
        driver.spawn_on(connection, runtime.handle());
        let session = Self { table: table.to_owned(), client, _driver: driver, runtime: Some(runtime) };
        session.execute("connect to the server of", BEGINNING)?;
        Ok(session)
    }

    /// Carries statements out; `action` is what they are for.
    pub(super) fn execute(&self, action: &'static str, statements: &str) -> Result<()> {
        self.try_execute(action, statements)?.map_err(|error| refused(action, &self.table, error))
    }

    /// The same, for whoever knows what to do about a refusal.
    pub(super) fn try_execute(
        &self,
        action: &'static str,
        statements: &str,
    ) -> Result<Result<(), tokio_postgres::Error>> {
        self.wait(action, self.client.batch_execute(statements))
    }

    /// Carries a statement out that has parameters; says how many rows it was about.
    pub(super) fn change(
        &self,
        action: &'static str,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64> {
        let changed = self.wait(action, self.client.execute(statement, parameters))?;
        changed.map_err(|error| refused(action, &self.table, error))
    }

    /// Asks for rows.
    pub(super) fn query(&self, question: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        const ACTION: &str = "look at";
        let rows = self.wait(ACTION, self.client.query(question, parameters))?;
        rows.map_err(|error| refused(ACTION, &self.table, error))
    }

    /// Writes lines with a COPY statement.
    pub(super) fn copy(&self, statement: &str, lines: Vec<u8>) -> Result<()> {
        const ACTION: &str = "write to";
        let copied = self.wait(ACTION, async {
            let mut copying = Box::pin(self.client.copy_in(statement).await?);
            // If this fails, the end says why.
            let _ = copying.send(Cursor::new(lines)).await;
            copying.as_mut().finish().await
        })?;
        copied.map(drop).map_err(|error| refused(ACTION, &self.table, error))
    }

    /// An answer, or that there was none.
    fn wait<T>(&self, action: &'static str, answer: impl Future<Output = T>) -> Result<T> {
        let Some(runtime) = &self.runtime else { return Err(failed(action, &self.table, silent())) };
        let answer = runtime.block_on(async { timeout(ANSWER_LIMIT, answer).await });
        answer.map_err(|_| failed(action, &self.table, silent()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whoever drops it may be on a thread of async code, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn silent() -> io::Error {
    io::Error::from(io::ErrorKind::TimedOut)
}

/// What the server says to a statement. That rows do not fit their table is told from a server that is gone: trying
/// again would not help.
fn refused(action: &'static str, table: &str, error: tokio_postgres::Error) -> EngineError {
    let Some(answer) = error.as_db_error() else { return failed(action, table, error) };
    // Data, constraints, and what is not there or not allowed.
    let is_lasting = matches!(&answer.code().code()[..2], "22" | "23" | "28" | "3D" | "42");
    if !is_lasting {
        return failed(action, table, error);
    }
    let mut reason = format!("the server refuses: {}", answer.message());
    for more in [answer.detail(), answer.where_()].into_iter().flatten() {
        reason.push_str(&format!("; {}", more.lines().next().unwrap_or_default()));
    }
    EngineError::SinkRefused { sink: table.to_owned(), reason }
}

/// Whether the server has no prepared transaction of a name.
pub(super) fn is_gone(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_OBJECT)
}

/// Whether somebody else is about to end a prepared transaction.
pub(super) fn is_busy(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::OBJECT_IN_USE) || error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE)
}

/// What the server says to a statement, as an error.
pub(super) fn failed(
    action: &'static str,
    table: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> EngineError {
    EngineError::Destination { action, table: table.to_owned(), source: source.into() }
}
