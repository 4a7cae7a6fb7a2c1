//! Rows that clients push into sources: by DoPut with the source's name as the descriptor's path, and by Flight SQL's
//! bulk ingestion, which makes tables, too.

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow_flight::PutResult;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use futures::stream;
use serde::Deserialize;
use serde_json::json;
use tidemill_plans::pushed::Mark;
use tidemill_sql::{PushTarget, create_table};
use tokio::sync::watch;
use tonic::Status;

use super::super::flight::{Boxed, to_status};
use super::client::{CATALOG, Client, SCHEMA};
use super::incoming::{Arrived, Incoming};
use super::prepared::Prepared;
use super::service::NO_TRANSACTIONS;
use super::{FlightSql, catalog};
use crate::access::Who;
use crate::error::CoordinatorError;
use crate::pushed::{Batch, Fit, PushedLog};

/// The longest id of a client that numbers its batches.
const ID_BYTES_MAX: usize = 200;

/// What has been written of the rows of a client.
#[derive(Debug, Default)]
struct Written {
    /// So many are on disk.
    rows: u64,
    /// Why there will be no more.
    failure: Option<Status>,
}

impl FlightSql {
    /// Takes rows for the source that a path names; answers with how many of them are on disk, whenever there are more.
    pub(super) async fn push(
        &self,
        path: &[String],
        incoming: Incoming,
        who: &Who,
    ) -> Result<Boxed<PutResult>, Status> {
        let place = self.statements.place(who)?;
        let (target, log) = self.push_target(table_of(path)?, who).await?;
        let (told, written) = watch::channel(Written::default());
        let user = who.role.clone();
        self.statements.spawn(async move {
            let tell = |rows| told.send_modify(|written| written.rows = rows);
            let pushed = write(incoming, &target, &log, |said| mark(user.as_deref(), said), tell).await;
            if let Err(failure) = pushed {
                told.send_modify(|written| written.failure = Some(failure));
            }
            drop(place);
        });
        Ok(Box::pin(acknowledgements(written)))
    }

    /// Takes rows for a table, which may be made for them; returns how many there were.
    pub(super) async fn ingest(
        &self,
        command: CommandStatementIngest,
        mut incoming: Incoming,
        client: &Client,
    ) -> Result<i64, Status> {
        check(&command)?;
        let columns = incoming.columns().await?;
        // Whatever statements that takes have places of their own.
        self.see_to_table(&command, &columns, client).await?;
        let _place = self.statements.place(client.who())?;
        let (target, log) = self.push_target(&command.table, client.who()).await?;
        let rows = write(incoming, &target, &log, |_| Ok(None), |_| {}).await?;
        Ok(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    async fn push_target(&self, table: &str, who: &Who) -> Result<(PushTarget, PushedLog), Status> {
        self.statements.session.lock().await.push_target(table, who).await.map_err(|error| to_status(&error))
    }

    /// Makes the table, or makes it anew, if the client says so.
    async fn see_to_table(
        &self,
        command: &CommandStatementIngest,
        columns: &Schema,
        client: &Client,
    ) -> Result<(), Status> {
        let options = command.table_definition_options.unwrap_or_default();
        let exists = self.statements.session.lock().await.has_object(&command.table, client.who());
        let exists = exists.map_err(|error| to_status(&error))?;
        let create = || create_table(&command.table, columns).map_err(sql_status);
        let text = match (exists, options.if_exists(), options.if_not_exist()) {
            (false, _, TableNotExistOption::Fail) => return Err(missing(&command.table)),
            (false, ..) => create()?,
            (true, TableExistsOption::Append, _) => return Ok(()),
            (true, TableExistsOption::Replace, _) => {
                // What cannot be pushed to is not dropped either.
                self.push_target(&command.table, client.who()).await?;
                format!("DROP TABLE \"{}\"; {}", command.table.replace('"', "\"\""), create()?)
            }
            (true, ..) => {
                let message = format!("there is a '{}' already; append to it, or replace it", command.table);
                return Err(Status::already_exists(message));
            }
        };
        let texts = Prepared::read(&text).and_then(|text| text.bound()).map_err(|error| to_status(&error))?;
        self.update(texts, client).await.map(drop)
    }
}

fn sql_status(error: tidemill_sql::SqlError) -> Status {
    to_status(&CoordinatorError::Sql(Box::new(error)))
}

fn missing(table: &str) -> Status {
    Status::not_found(format!("there is no '{table}' to append to; create it, or have it created (mode 'create')"))
}

/// Refuses what ingestion cannot do here.
fn check(command: &CommandStatementIngest) -> Result<(), Status> {
    if command.transaction_id.is_some() {
        return Err(Status::unimplemented(NO_TRANSACTIONS));
    }
    if command.temporary {
        let message = "there are no temporary tables: objects are those of all clients; leave 'temporary' out";
        return Err(Status::unimplemented(message));
    }
    match catalog::is_here(&command.catalog, CATALOG) && catalog::is_here(&command.schema, SCHEMA) {
        true => Ok(()),
        false => Err(Status::not_found(format!("the only catalog is '{CATALOG}', and its only schema '{SCHEMA}'"))),
    }
}

/// The source that a path names, behind its catalog and schema if these are given.
fn table_of(path: &[String]) -> Result<&str, Status> {
    match path {
        [table] => Ok(table),
        [catalog, schema, table] if catalog == CATALOG && schema == SCHEMA => Ok(table),
        _ => Err(Status::invalid_argument(
            "rows are pushed to a source: the path of the descriptor is its name, such as [\"clicks\"]",
        )),
    }
}

/// What a client says of a batch that it may send again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbered {
    id: String,
    sequence: u64,
}

/// By what a batch of a user is known if it is sent again: ids are its user's own.
fn mark(user: Option<&str>, said: &[u8]) -> Result<Option<Mark>, Status> {
    if said.is_empty() {
        return Ok(None);
    }
    let numbered: Option<Numbered> = serde_json::from_slice(said).ok();
    let Some(Numbered { id, sequence }) = numbered.filter(|numbered| numbered.id.len() <= ID_BYTES_MAX) else {
        let message = format!(
            "the app_metadata of a batch is {{\"id\": \"…\", \"sequence\": n}}, with an id of {ID_BYTES_MAX} bytes at \
             most, or nothing"
        );
        return Err(Status::invalid_argument(message));
    };
    // No user has a colon.
    let id = user.map_or_else(|| id.clone(), |user| format!("{user}:{id}"));
    Ok(Some(Mark { id, sequence }))
}

/// Writes rows as they come, each batch with the mark that its client gives it; tells how many are on disk, and returns
/// how many there were.
async fn write(
    mut incoming: Incoming,
    target: &PushTarget,
    log: &PushedLog,
    mark: impl Fn(&[u8]) -> Result<Option<Mark>, Status>,
    tell: impl Fn(u64),
) -> Result<u64, Status> {
    let refused = |error: CoordinatorError| to_status(&error);
    let given = incoming.columns().await?;
    let fit = Fit::new(&given, Arc::clone(&target.columns)).map_err(refused)?;
    let mut rows = 0;
    while let Some(group) = incoming.next_group().await? {
        let fitted = |(rows, said): &Arrived| Ok(Batch { rows: fit.apply(rows).map_err(refused)?, mark: mark(said)? });
        let batches: Result<Vec<Batch>, Status> = group.iter().map(fitted).collect();
        rows += group.iter().map(|(batch, _)| batch.num_rows() as u64).sum::<u64>();
        log.append(batches?, target.kept).await.map_err(refused)?;
        tell(rows);
    }
    Ok(rows)
}

/// How many rows are on disk, whenever there are more: who does not read that is told less often.
fn acknowledgements(written: watch::Receiver<Written>) -> impl futures::Stream<Item = Result<PutResult, Status>> {
    stream::unfold(Some((written, 0)), async |state| {
        let (mut written, told) = state?;
        let (rows, failure) = {
            let more = written.wait_for(|written| written.rows > told || written.failure.is_some()).await.ok()?;
            (more.rows, more.failure.clone())
        };
        match failure {
            Some(failure) if rows == told => Some((Err(failure), None)),
            _ => {
                let app_metadata = json!({ "rows": rows }).to_string().into();
                Some((Ok(PutResult { app_metadata }), Some((written, rows))))
            }
        }
    })
}
