//! Statements at a coordinator in another process, by Flight SQL.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tidemill_coordinator::CoordinatorError;
use tidemill_coordinator::api::{Login, RemoteRows, RemoteSession};
use tidemill_net::Connector;
use tidemill_sql::{ParsedStatement, parse_script};
use tokio::time::{Instant, interval_at};

use super::completion::Names;
use super::screen::Screen;
use crate::error::Result;
use crate::output::{self, Format, LiveRows};
use crate::progress::{PATIENCE, REFRESH, Waiting};
use crate::say::say;

/// A session there.
pub(super) struct Server {
    session: RemoteSession,
}

impl Server {
    /// Begins a session with these settings.
    pub(super) async fn connect(
        url: &str,
        connector: &Connector,
        login: Option<Login>,
        settings: &[(String, String)],
    ) -> Result<Self> {
        let mut session = RemoteSession::connect(url, connector, login).await?;
        for (name, value) in settings {
            session.query(&format!("SET {name} = '{}'", value.replace('\'', "''"))).await?;
        }
        Ok(Self { session })
    }

    pub(super) async fn execute(&mut self, text: &str, screen: &mut Screen) -> Result<()> {
        for piece in pieces(text)? {
            let Some(rows) = self.begin(&piece.text, screen).await? else { return screen.stopped() };
            screen.warn(&rows.warnings);
            if piece.has_rows {
                show(rows, screen).await?;
            } else {
                tell(rows).await?;
            }
        }
        Ok(())
    }

    /// Has a text executed; nothing if nobody waits any more. What has no rows is carried out all the same.
    async fn begin(&mut self, text: &str, screen: &mut Screen) -> Result<Option<RemoteRows>> {
        let mut refresh = interval_at(Instant::now() + PATIENCE, REFRESH);
        let mut waiting = screen.is_terminal.then(Waiting::new);
        let is_told = waiting.is_some();
        let session = &mut self.session;
        let query = async move { if is_told { session.query_told(text).await } else { session.query(text).await } };
        let mut query = std::pin::pin!(query);
        let begun = loop {
            tokio::select! {
                begun = &mut query => break begun.map(Some),
                _ = screen.interrupts.next() => break Ok(None),
                _ = refresh.tick() => waiting.iter_mut().for_each(|waiting| waiting.show(None)),
            }
        };
        waiting.iter_mut().for_each(Waiting::clear);
        Ok(begun?)
    }

    /// The rows of a statement that are known at once.
    pub(super) async fn rows(&mut self, statement: &str) -> Result<Vec<RecordBatch>> {
        let mut rows = self.session.query(statement).await?;
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }

    pub(super) async fn tables(&mut self) -> Result<Names> {
        let names = |(table, columns): (String, SchemaRef)| {
            (table, columns.fields().iter().map(|field| field.name().clone()).collect())
        };
        Ok(Names { objects: self.session.tables().await?.into_iter().map(names).collect(), functions: Vec::new() })
    }
}

/// Says what statements have done.
async fn tell(mut rows: RemoteRows) -> Result<()> {
    while let Some(batch) = rows.next().await? {
        let messages = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
        messages.into_iter().flatten().flatten().for_each(say);
    }
    Ok(())
}

/// Shows rows to their end, or to an interrupt, which has the statement cancelled; a second one does not wait for that.
async fn show(mut rows: RemoteRows, screen: &mut Screen) -> Result<()> {
    screen.announce(rows.is_live);
    let mut shown = Shown::begin(&rows, screen)?;
    let (mut cancels, mut polls) = (FuturesUnordered::new(), FuturesUnordered::new());
    polls.extend(rows.poll());
    let mut is_interrupted = false;
    let mut refresh = interval_at(Instant::now() + PATIENCE, REFRESH);
    let mut waiting = (screen.is_terminal && !rows.is_live).then(Waiting::new);
    let outcome = loop {
        tokio::select! {
            batch = rows.next() => match batch {
                Ok(Some(batch)) => shown.take(batch)?,
                Ok(None) => break Ok(()),
                Err(CoordinatorError::Cancelled) if is_interrupted => break Ok(()),
                Err(error) => break Err(error),
            },
            _ = screen.interrupts.next() => {
                if std::mem::replace(&mut is_interrupted, true) {
                    break Ok(());
                }
                cancels.push(rows.cancel());
            }
            Some(cancelled) = cancels.next(), if !cancels.is_empty() => {
                if let Err(error) = cancelled {
                    break Err(error);
                }
            }
            Some(polled) = polls.next(), if !polls.is_empty() => {
                let words = polled.map(|polled| rows.take_polled(polled));
                waiting.iter_mut().for_each(|waiting| waiting.tell(words.clone()));
                polls.extend(rows.poll());
            }
            _ = refresh.tick() => waiting.iter_mut().for_each(|waiting| waiting.show(Some(shown.count))),
        }
    };
    waiting.iter_mut().for_each(Waiting::clear);
    outcome?;
    shown.end(is_interrupted)?;
    if is_interrupted { screen.stopped() } else { Ok(()) }
}

/// The rows of a statement, as far as they have come.
struct Shown {
    format: Format,
    schema: SchemaRef,
    /// They are printed as they come.
    live: Option<LiveRows>,
    /// They are printed when they are complete.
    held: Vec<RecordBatch>,
    count: u64,
}

impl Shown {
    fn begin(rows: &RemoteRows, screen: &Screen) -> Result<Self> {
        let schema = Arc::clone(&rows.schema);
        let live = rows.is_live.then(|| LiveRows::new(screen.format, Arc::clone(&schema)));
        live.iter().try_for_each(LiveRows::print_header)?;
        Ok(Self { format: screen.format, schema, live, held: Vec::new(), count: 0 })
    }

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        self.count += batch.num_rows() as u64;
        match &self.live {
            Some(live) => live.print(&batch),
            None => {
                self.held.push(batch);
                Ok(())
            }
        }
    }

    fn end(self, is_interrupted: bool) -> Result<()> {
        match self.live {
            Some(live) => live.print_end(),
            None if is_interrupted => Ok(()),
            None => output::print(self.format, &self.schema, &self.held),
        }
    }
}

/// What is sent at once: a statement with rows, or all between two of these, which share their sources.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    has_rows: bool,
}

fn pieces(text: &str) -> Result<Vec<Piece>> {
    let statements = parse_script(text).map_err(|error| CoordinatorError::Sql(Box::new(error)))?;
    let mut pieces: Vec<Piece> = Vec::new();
    for statement in statements {
        let has_rows = statement.has_rows();
        if has_rows || pieces.last().is_none_or(|piece| piece.has_rows) {
            pieces.push(Piece { text: String::new(), has_rows });
        }
        pieces.iter_mut().last().into_iter().for_each(|piece| piece.add(&statement));
    }
    Ok(pieces)
}

impl Piece {
    /// Adds a statement where it stands in the whole text: so do positions in errors.
    fn add(&mut self, statement: &ParsedStatement) {
        let at = statement.position();
        let lines = self.text.matches('\n').count() as u64 + 1;
        (lines..at.line).for_each(|_| self.text.push('\n'));
        let column = self.text.rsplit('\n').next().map_or(0, |line| line.chars().count()) as u64 + 1;
        (column..at.column).for_each(|_| self.text.push(' '));
        self.text.push_str(statement.text());
        self.text.push(';');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_sent_together_and_stay_where_they_are() {
        let text = "\nSET a = 1; CREATE VIEW v AS\n  SELECT 1 AS x; SELECT * FROM v; SHOW VIEWS;\n DROP VIEW v";
        let piece = |text: &str, has_rows| Piece { text: text.to_owned(), has_rows };
        assert_eq!(
            pieces(text).unwrap(),
            [
                piece("\nSET a = 1; CREATE VIEW v AS\n  SELECT 1 AS x;", false),
                piece("\n\n                 SELECT * FROM v;", true),
                piece("\n\n                                  SHOW VIEWS;", true),
                piece("\n\n\n DROP VIEW v;", false),
            ]
        );
        assert_eq!(pieces("  ; ").unwrap(), []);
        let wrong = pieces("SELECT 1;\n  SELEC").unwrap_err();
        assert!(wrong.chain().starts_with("line 2, column 3: "), "{}", wrong.chain());
    }
}
