//! Flight SQL (arrow.apache.org/docs/format/FlightSql.html): what ADBC, JDBC and other Arrow clients speak.
//!
//! This file answers requests; what they come to is next door: [`statements`] plans and runs, [`prepared`] binds
//! parameters, [`stream`] carries rows out and [`push`] rows in, [`predict`] both, [`catalog`] and [`sql_info`] describe, [`client`] tells clients apart.

mod catalog;
mod client;
mod handed_out;
mod handles;
mod incoming;
mod polled;
mod predict;
mod prepared;
mod push;
mod service;
mod session_options;
mod sql_info;
mod statements;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{
    ActionCreatePreparedStatementResult, Any, Command, ProstMessageExt, SubstraitPlan, TicketStatementQuery,
};
use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightEndpoint, FlightInfo,
    IpcMessage, PollInfo, SchemaAsIpc, SchemaResult, Ticket,
};
use prost::Message;
use prost::bytes::Bytes;
use tidemill_plans::result_ticket::ResultTicket;
use tidemill_sql::{ParsedStatement, TableInfo};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::Status;
use tonic::metadata::MetadataMap;

pub(super) use self::client::Client;
use self::client::Sessions;
use self::handed_out::HandedOut;
use self::handles::Handles;
use self::prepared::{Prepared, parameter_columns};
pub(super) use self::service::{ACTIONS, CANCEL_FLIGHT_INFO, CLOSE_SESSION, CREATE_PREPARED_SUBSTRAIT_PLAN};
use self::statements::{CarriedOut, Pending, Statements};
use self::stream::Jobs;
use super::flight::to_status;
use crate::access::Who;
use crate::clock::SystemClock;
use crate::limits::{Limits, StatementPlaces};
use crate::session::SqlSession;

/// Statements that clients may have executed and not fetched, and how long they are kept.
const PENDING_MAX: usize = 1024;
const PENDING_TTL: Duration = Duration::from_secs(5 * 60);

/// Statements that clients may have prepared, and how long they are kept that nobody executes.
const PREPARED_MAX: usize = 4096;
const PREPARED_TTL: Duration = Duration::from_secs(3600);

/// What the `app_metadata` of an endpoint is whose rows come as they are known, for there may be no end.
pub(super) const LIVE: &[u8] = b"live";

/// How long a client that cancels waits until what it cancels has ended.
const CANCEL_WAIT: Duration = Duration::from_secs(10);

/// The service.
pub(super) struct FlightSql {
    sessions: Arc<Sessions>,
    statements: Statements,
    pending: Handles<Pending>,
    prepared: Handles<Prepared>,
    limits: Limits,
}

impl FlightSql {
    /// Answers from this session, whose objects are those of all clients.
    pub(super) fn new(session: Arc<Mutex<SqlSession>>, limits: Limits, places: StatementPlaces) -> Self {
        let clock = SystemClock::shared();
        Self {
            sessions: Sessions::new(Arc::clone(&clock)),
            statements: Statements::new(session, places),
            pending: Handles::new(Arc::clone(&clock), PENDING_MAX, PENDING_TTL),
            prepared: Handles::new(clock, PREPARED_MAX, PREPARED_TTL),
            limits,
        }
    }

    /// The client that a request of somebody comes from.
    pub(super) fn client(&self, metadata: &MetadataMap, who: Who) -> Client {
        self.sessions.client(metadata, who)
    }

    /// Reads a client's text.
    fn read(&self, text: &str) -> Result<Prepared, Status> {
        let read = self.limits.check_text(text).and_then(|()| Prepared::read(text));
        read.map_err(|error| to_status(&error))
    }

    /// Reads a client's plan in Substrait.
    fn read_plan(&self, plan: Option<SubstraitPlan>) -> Result<Prepared, Status> {
        let plan = plan.unwrap_or_default().plan;
        let read = self.limits.check_text(&plan).and_then(|()| Prepared::read_plan(&plan));
        read.map_err(|error| to_status(&error))
    }

    /// Executes texts, and has the client fetch what they come to.
    async fn execute(
        &self,
        texts: Vec<Vec<ParsedStatement>>,
        client: &Client,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        check_settings(&texts, client)?;
        let before = client.settings()?;
        let refused = |error| to_status(&error);
        let mut executed = self.statements.execute(texts, before.clone(), client.who()).await.map_err(refused)?;
        let handed_out = self.statements.hand_out(&mut executed, client.who()).await.map_err(refused)?;
        if client.has_session() && executed.settings != before {
            client.keep(executed.settings);
        }
        let schema = executed.pending.schema();
        if let Some(HandedOut { name, endpoints }) = handed_out {
            self.pending.put(client.owner(), &name, executed.pending);
            let info = flight_info(&schema, Bytes::new(), descriptor)?.with_ordered(false);
            return Ok(FlightInfo { endpoint: endpoints, ..info }.with_app_metadata(executed.warnings.join("\n")));
        }
        let handle = self.pending.insert(client.owner(), executed.pending);
        let ticket = TicketStatementQuery { statement_handle: Bytes::from(handle) };
        let mut info = flight_info(&schema, ticket.as_any().encode_to_vec().into(), descriptor)?;
        if executed.is_live {
            info.endpoint.iter_mut().for_each(|endpoint| endpoint.app_metadata = Bytes::from_static(LIVE));
        }
        Ok(info.with_app_metadata(executed.warnings.join("\n")))
    }

    /// Carries statements out that have no rows; returns how many rows that concerns, or -1.
    async fn update(&self, texts: Vec<Vec<ParsedStatement>>, client: &Client) -> Result<i64, Status> {
        check_settings(&texts, client)?;
        let before = client.settings()?;
        let inserts = || texts.iter().flatten().filter(|statement| statement.is_insert());
        // A job writes the rows of a query; how many there are shows when it has read them.
        let count = inserts().count();
        let inserted: Option<usize> = inserts().map(ParsedStatement::inserted_values).sum();
        let done = self.statements.update(texts, before.clone(), client.who()).await;
        let CarriedOut { settings, has_written, appended, .. } = done.map_err(|error| to_status(&error))?;
        if client.has_session() && settings != before {
            client.keep(settings);
        }
        Ok(match inserted {
            _ if count > 0 && appended.0 == count => i64::try_from(appended.1).unwrap_or(i64::MAX),
            Some(0) => 0,
            Some(rows) if has_written => i64::try_from(rows).unwrap_or(i64::MAX),
            _ => -1,
        })
    }

    async fn prepare(
        &self,
        prepared: Prepared,
        client: &Client,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let refused = |error| to_status(&error);
        let (settings, who) = (client.settings()?, client.who());
        let columns = self.statements.columns(&prepared.statements, &settings, who).await.map_err(refused)?;
        let types = match prepared.statements.as_slice() {
            [statement] => self.statements.session.lock().await.parameter_types(statement, who).map_err(refused)?,
            _ => Vec::new(),
        };
        let dataset_schema = columns.map_or(Ok(Bytes::new()), |columns| schema_bytes(&columns))?;
        let parameter_schema = match types.is_empty() {
            true => Bytes::new(),
            false => schema_bytes(&parameter_columns(types))?,
        };
        let handle = self.prepared.next();
        self.keep_prepared(client, &handle, prepared)?;
        let handle = Bytes::from(handle);
        Ok(ActionCreatePreparedStatementResult { prepared_statement_handle: handle, dataset_schema, parameter_schema })
    }

    /// Keeps a prepared statement, if its user has room for it.
    fn keep_prepared(&self, client: &Client, handle: &str, prepared: Prepared) -> Result<(), Status> {
        let (bytes, max) = (prepared.bytes(), self.limits.prepared_bytes_max);
        let kept = self.prepared.put_if(client.owner(), handle, prepared, |others| {
            prepared::check_room(others.map(Prepared::bytes).sum::<usize>() + bytes, max)
        });
        kept.map_err(|error| to_status(&error))
    }

    /// The values of parameters that a client sends. They take a statement's place while they come.
    async fn receive(
        &self,
        stream: PeekableFlightDataStream,
        client: &Client,
    ) -> Result<Option<Vec<RecordBatch>>, Status> {
        let _place = self.statements.place(client.who())?;
        prepared::receive(stream).await
    }

    /// A prepared statement, by its handle.
    fn prepared(&self, handle: &[u8], client: &Client) -> Result<Prepared, Status> {
        known(handle).and_then(|handle| self.prepared.get(client.owner(), handle)).ok_or_else(|| {
            Status::not_found("this statement is not prepared: it was closed, or nobody has executed it for an hour")
        })
    }

    /// How far a statement is that a client has just had executed: from now on it runs, if it is a query as a whole.
    pub(super) async fn begin_polls(&self, info: FlightInfo, client: &Client) -> Result<PollInfo, Status> {
        let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.as_ref());
        let Some(handle) = ticket.and_then(|ticket| statement_of(&ticket.ticket)) else {
            return Ok(polled::complete(info));
        };
        let jobs = match self.pending.get(client.owner(), &handle) {
            Some(Pending::Jobs(jobs)) if jobs.are_whole() => jobs,
            _ => return Ok(polled::complete(info)),
        };
        let begun = self.statements.begin(jobs.clone(), client.who()).map_err(|error| to_status(&error))?;
        let jobs = Jobs { polled: Some((begun.clone(), info.clone())), ..jobs };
        self.pending.put(client.owner(), &handle, Pending::Jobs(jobs));
        polled::answer(begun.poll(true).await, &handle, info)
    }

    /// How far a statement is whose handle a client polls.
    pub(super) async fn poll(&self, handle: &str, client: &Client) -> Result<PollInfo, Status> {
        match self.pending(handle.as_bytes(), client)? {
            Pending::Jobs(Jobs { polled: Some((begun, info)), .. }) => {
                polled::answer(begun.poll(false).await, handle, info)
            }
            _ => Err(Status::invalid_argument("this is no descriptor that a poll was answered with")),
        }
    }

    fn pending(&self, handle: &[u8], client: &Client) -> Result<Pending, Status> {
        known(handle).and_then(|handle| self.pending.get(client.owner(), handle)).ok_or_else(|| {
            Status::not_found(
                "there is nothing to fetch by this ticket: it was cancelled, or is too old; execute again",
            )
        })
    }

    /// The tables that a client may know of.
    async fn tables(&self, client: &Client) -> Result<Vec<TableInfo>, Status> {
        self.statements.session.lock().await.tables(client.who()).map_err(|error| to_status(&error))
    }

    /// Ends what runs for a statement, which cannot be fetched any more.
    async fn cancel(&self, info: &FlightInfo, client: &Client) -> Result<CancelStatus, Status> {
        let mut found = CancelStatus::NotCancellable;
        for endpoint in &info.endpoint {
            let Some(handle) = endpoint.ticket.as_ref().and_then(|ticket| statement_of(&ticket.ticket)) else {
                continue;
            };
            let cancellation = match self.pending.remove(client.owner(), &handle) {
                Some(Pending::Jobs(jobs)) => jobs.cancellation,
                Some(Pending::HandedOut(_, cancellation)) => cancellation,
                Some(Pending::Rows(_)) | None => continue,
            };
            found = match timeout(CANCEL_WAIT, cancellation.cancel()).await {
                Ok(()) => CancelStatus::Cancelled,
                Err(_) => CancelStatus::Cancelling,
            };
        }
        Ok(found)
    }

    /// The columns of what a command comes to. Nothing is done.
    pub(super) async fn schema(&self, command: &[u8], client: &Client) -> Result<SchemaResult, Status> {
        let text = match command_of(command)? {
            Command::CommandStatementQuery(query) => self.read(&query.query)?.statements,
            Command::CommandStatementSubstraitPlan(query) => self.read_plan(query.plan)?.statements,
            Command::CommandPreparedStatementQuery(query) => {
                self.prepared(&query.prepared_statement_handle, client)?.statements
            }
            other => {
                let schema = service::schema_of(&other).ok_or_else(|| {
                    Status::unimplemented(format!("GetSchema of {} is not served here", other.type_url()))
                })?;
                return schema_result(&schema);
            }
        };
        let settings = client.settings()?;
        let columns =
            self.statements.columns(&text, &settings, client.who()).await.map_err(|error| to_status(&error))?;
        schema_result(&columns.map_or_else(Schema::empty, |columns| columns.as_ref().clone()))
    }

    async fn cancel_flight_info(&self, body: &[u8], client: &Client) -> Result<Vec<u8>, Status> {
        let request = CancelFlightInfoRequest::decode(body).map_err(|error| undecodable(&error))?;
        let status = self.cancel(&request.info.unwrap_or_default(), client).await?;
        Ok(CancelFlightInfoResult::new(status).encode_to_vec())
    }
}

/// Refuses a SET that nobody would notice.
fn check_settings(texts: &[Vec<ParsedStatement>], client: &Client) -> Result<(), Status> {
    if client.has_session() || !texts.iter().flatten().all(ParsedStatement::is_set) || texts.iter().all(Vec::is_empty) {
        return Ok(());
    }
    Err(Status::failed_precondition(
        "SET lasts as long as a session, and this client keeps no cookies, so it has none: turn them on (ADBC: \
         adbc.flight.sql.rpc.with_cookie_middleware = 'true'), or put SET and the statements that it is for into one text",
    ))
}

fn flight_info(schema: &Schema, ticket: Bytes, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| Status::internal(error.to_string()))?;
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
    Ok(info.with_endpoint(endpoint).with_descriptor(descriptor).with_ordered(true))
}

fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    message.map(|message| message.0).map_err(|error| Status::internal(error.to_string()))
}

fn schema_result(schema: &Schema) -> Result<SchemaResult, Status> {
    let result: Result<SchemaResult, _> = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    result.map_err(|error| Status::internal(error.to_string()))
}

/// Handles are texts.
fn known(handle: &[u8]) -> Option<&str> {
    std::str::from_utf8(handle).ok()
}

fn command_of(command: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(command).map_err(|error| undecodable(&error))?;
    Command::try_from(any).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The handle of the statement that a ticket is of, or a descriptor of one that is polled.
pub(super) fn statement_of(ticket: &[u8]) -> Option<String> {
    if let Some(ResultTicket { result, .. }) = ResultTicket::from_bytes(ticket) {
        return Some(result);
    }
    match command_of(ticket) {
        Ok(Command::TicketStatementQuery(ticket)) => String::from_utf8(ticket.statement_handle.into()).ok(),
        _ => None,
    }
}

fn undecodable(error: &prost::DecodeError) -> Status {
    Status::invalid_argument(format!("this is no message of Flight SQL: {error}"))
}

#[cfg(test)]
mod tests;
