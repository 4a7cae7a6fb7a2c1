//! The control endpoint: a Flight service whose actions carry workers' events, and which has SQL executed.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::Stream;
use futures::stream;
use tidemill_net::{Door, Listener, Protocol, REQUESTS_MAX, admit};
use tidemill_plans::ErrorDomain;
use tidemill_plans::cluster_secret::CLUSTER_SECRET_HEADER;
use tidemill_plans::codec::{self, MESSAGE_BYTES_MAX};
use tidemill_plans::protocol::{COORDINATOR_ACTION, EXECUTE_ACTION, PROGRESS_HEADER, SUBMIT_PLAN_ACTION, WorkerEvent};
use tidemill_sql::SqlError;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::error;

use super::execute::Executor;
use super::flight_sql::{ACTIONS, CLOSE_SESSION, CREATE_PREPARED_SUBSTRAIT_PLAN, Client, FlightSql, statement_of};
use super::{jobs, plans};
use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::handle::CoordinatorHandle;
use crate::limits::StatementPlaces;
use crate::session::SqlSession;

/// How often a connection without traffic is tried, and how long the answer may take: a client whose machine is gone
/// does not say so, and its statements are to end.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Keeps an endpoint open; dropping it closes the endpoint.
#[derive(Debug)]
#[must_use = "the endpoint closes when the guard is dropped"]
pub struct ServerGuard {
    /// The one serving task; a `JoinSet` aborts what it holds.
    pub(super) _task: JoinSet<()>,
}

/// Takes an address for an endpoint.
pub async fn bind(address: SocketAddr, door: Door) -> Result<Listener> {
    Listener::bind(address, door).await.map_err(|source| CoordinatorError::Bind { address, source })
}

/// Opens the endpoint for workers on `address`; returns where it listens, which differs if the port was 0.
pub async fn serve(coordinator: CoordinatorHandle, address: SocketAddr) -> Result<(SocketAddr, ServerGuard)> {
    let listener = bind(address, Door::new(Protocol::Http2, None)).await?;
    let address = listener.address;
    Ok((address, open(ControlService { coordinator, sql: None }, listener)))
}

/// Opens the endpoint for workers, and for clients whose statements this session executes.
pub fn serve_sql(coordinator: CoordinatorHandle, session: Arc<Mutex<SqlSession>>, listener: Listener) -> ServerGuard {
    let limits = coordinator.limits();
    let places = StatementPlaces::new(limits.statements_max, Arc::clone(coordinator.access()));
    let executor = Executor::new(Arc::clone(&session), places.clone());
    let sql = Sql { executor, flight: FlightSql::new(session, limits, places) };
    open(ControlService { coordinator, sql: Some(sql) }, listener)
}

fn open(service: ControlService, listener: Listener) -> ServerGuard {
    let service = FlightServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let service = InterceptedService::new(service, admit);
    let incoming = listener.incoming().into_stream();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .max_concurrent_streams(Some(REQUESTS_MAX));
        if let Err(error) = server.add_service(service).serve_with_incoming(incoming).await {
            error!(%error, "control endpoint ended");
        }
    });
    ServerGuard { _task: task }
}

struct ControlService {
    coordinator: CoordinatorHandle,
    /// What executes SQL, if it is to be.
    sql: Option<Sql>,
}

/// The two ways of having SQL executed, in one session.
struct Sql {
    executor: Executor,
    flight: FlightSql,
}

impl ControlService {
    /// Who sends a request.
    async fn who<T>(&self, request: &Request<T>) -> Result<Who, Status> {
        let (shown, address) = (text_of(request.metadata(), AUTHORIZATION), request.remote_addr());
        self.coordinator.access().authenticate(shown, address).await.map_err(|error| to_status(&error))
    }

    /// Passes a request on to those who execute SQL, with the client that it comes from.
    async fn enter<T>(&self, mut request: Request<T>, what: &str) -> Result<(&FlightSql, Client, Request<T>), Status> {
        let Some(Sql { flight, .. }) = &self.sql else { return Err(unimplemented(what)) };
        let who = self.who(&request).await?;
        let client = flight.client(request.metadata(), who);
        request.extensions_mut().insert(client.clone());
        Ok((flight, client, request))
    }

    async fn take_event(&self, body: &[u8]) -> Result<arrow_flight::Result, Status> {
        let event: WorkerEvent = codec::decode(body).map_err(|error| to_status(&CoordinatorError::Plan(error)))?;
        let answer = self.coordinator.answer(event).await.map_err(|error| to_status(&error))?;
        encoded(&answer)
    }

    async fn submit_plan(&self, body: &[u8], who: &Who) -> Result<arrow_flight::Result, Status> {
        let json = std::str::from_utf8(body).map_err(|_| Status::invalid_argument("the plan is not UTF-8"))?;
        self.coordinator.limits().check_text(json).map_err(|error| to_status(&error))?;
        let submitted = plans::submit(&self.coordinator, json, who).await.map_err(|error| to_status(&error))?;
        let body = serde_json::to_vec(&submitted).map_err(|error| Status::internal(error.to_string()))?;
        Ok(arrow_flight::Result { body: body.into() })
    }

    fn execute(
        &self,
        executor: &Executor,
        body: &[u8],
        who: Who,
        hears: bool,
    ) -> Result<Boxed<arrow_flight::Result>, Status> {
        let text = std::str::from_utf8(body).map_err(|_| Status::invalid_argument("the SQL is not UTF-8"))?;
        let begun =
            self.coordinator.limits().check_text(text).and_then(|()| executor.execute(text.to_owned(), who, hears));
        let parts = begun.map_err(|error| to_status(&error))?;
        Ok(Box::pin(stream::unfold(parts, async |mut parts| {
            let part = parts.recv().await?;
            Some((part.map_err(|error| to_status(&error)).and_then(|part| encoded(&part)), parts))
        })))
    }
}

/// The header by which users say who they are.
pub(super) const AUTHORIZATION: &str = "authorization";

/// The text of a header.
fn text_of<'a>(metadata: &'a MetadataMap, header: &str) -> Option<&'a str> {
    metadata.get(header)?.to_str().ok()
}

fn encoded<T: bincode::Encode>(message: &T) -> Result<arrow_flight::Result, Status> {
    let body = codec::encode(message).map_err(|error| to_status(&CoordinatorError::Plan(error)))?;
    Ok(arrow_flight::Result { body: body.into() })
}

/// What went wrong, in the words of gRPC: clients have classes of errors for these.
pub(super) fn to_status(error: &CoordinatorError) -> Status {
    let message = error.chain();
    match error {
        CoordinatorError::Plan(_) => Status::invalid_argument(message),
        CoordinatorError::Cancelled => Status::cancelled(message),
        CoordinatorError::Changed => Status::aborted(message),
        CoordinatorError::Unauthenticated { .. } => Status::unauthenticated(message),
        CoordinatorError::LogFull { .. }
        | CoordinatorError::PreparedFull { .. }
        | CoordinatorError::TooMany { .. }
        | CoordinatorError::TooManyOfRole { .. }
        | CoordinatorError::TooManyTries { .. } => Status::resource_exhausted(message),
        CoordinatorError::Denied { .. } => Status::permission_denied(message),
        CoordinatorError::Sql(sql) if matches!(**sql, SqlError::Denied { .. }) => Status::permission_denied(message),
        CoordinatorError::Sql(sql) if matches!(**sql, SqlError::Unsupported { .. }) => Status::unimplemented(message),
        CoordinatorError::Sql(sql) if matches!(**sql, SqlError::Unknown { .. }) => Status::not_found(message),
        CoordinatorError::Sql(sql) if matches!(**sql, SqlError::Duplicate { .. }) => Status::already_exists(message),
        error => match error.domain() {
            ErrorDomain::User => Status::invalid_argument(message),
            ErrorDomain::External => Status::unavailable(message),
            ErrorDomain::Internal => Status::internal(message),
        },
    }
}

fn unimplemented(what: &str) -> Status {
    let actions =
        format!("this endpoint has the actions '{COORDINATOR_ACTION}', '{EXECUTE_ACTION}' and '{SUBMIT_PLAN_ACTION}'");
    Status::unimplemented(format!("{what} is not served here: {actions}"))
}

pub(super) type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl FlightService for ControlService {
    type HandshakeStream = Boxed<HandshakeResponse>;
    type ListFlightsStream = Boxed<FlightInfo>;
    type DoGetStream = Boxed<FlightData>;
    type DoPutStream = Boxed<PutResult>;
    type DoActionStream = Boxed<arrow_flight::Result>;
    type ListActionsStream = Boxed<ActionType>;
    type DoExchangeStream = Boxed<FlightData>;

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        match (request.get_ref().r#type.as_str(), &self.sql) {
            (COORDINATOR_ACTION, _) => {
                let shown = text_of(request.metadata(), CLUSTER_SECRET_HEADER);
                self.coordinator.access().check_worker(shown).map_err(|error| to_status(&error))?;
                let result = self.take_event(&request.get_ref().body).await?;
                Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
            }
            (EXECUTE_ACTION, Some(sql)) => {
                let who = self.who(&request).await?;
                let hears = text_of(request.metadata(), PROGRESS_HEADER).is_some();
                Ok(Response::new(self.execute(&sql.executor, &request.get_ref().body, who, hears)?))
            }
            (SUBMIT_PLAN_ACTION, Some(_)) => {
                let who = self.who(&request).await?;
                let result = self.submit_plan(&request.get_ref().body, &who).await?;
                Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
            }
            (EXECUTE_ACTION | SUBMIT_PLAN_ACTION, None) => {
                Err(Status::unimplemented("SQL is executed by a coordinator in a process of its own"))
            }
            (other, None) => Err(unimplemented(&format!("action '{other}'"))),
            (_, Some(_)) => {
                let (sql, client, request) = self.enter(request, "an action").await?;
                let shown = text_of(request.metadata(), AUTHORIZATION).map(str::to_owned);
                let closes = request.get_ref().r#type == CLOSE_SESSION;
                let answer = match request.get_ref().r#type == CREATE_PREPARED_SUBSTRAIT_PLAN {
                    true => sql.create_prepared_plan(request).await,
                    false => sql.do_action(request).await,
                };
                if closes && answer.is_ok() {
                    self.coordinator.access().log_out(shown.as_deref());
                }
                client.leave(answer)
            }
        }
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let (sql, client, request) = self.enter(request, "GetFlightInfo").await?;
        client.leave(sql.get_flight_info(request).await)
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let (sql, client, request) = self.enter(request, "GetSchema").await?;
        let schema = sql.schema(&request.into_inner().cmd, &client).await;
        client.leave(schema.map(Response::new))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let (sql, client, request) = self.enter(request, "DoGet").await?;
        client.leave(sql.do_get(request).await)
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let (sql, client, request) = self.enter(request, "DoPut").await?;
        client.leave(sql.do_put(request).await)
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.who(&request).await?;
        let own =
            [(COORDINATOR_ACTION, "Takes an event of a worker."), (EXECUTE_ACTION, "Executes SQL for tidemill sql.")];
        let submit = (SUBMIT_PLAN_ACTION, "Runs a dataflow plan, a JSON document -> {\"job\": 7, \"warnings\": []}.");
        let of_clients = [submit].into_iter().chain(jobs::ACTIONS.iter().copied()).chain(ACTIONS.iter().copied());
        let actions = own.into_iter().chain(of_clients.filter(|_| self.sql.is_some()));
        let actions = actions.map(|(name, what)| Ok(ActionType { r#type: name.into(), description: what.into() }));
        Ok(Response::new(Box::pin(stream::iter(actions.collect::<Vec<_>>()))))
    }

    /// A user and a password for a token, which is in the header and in the only message: clients look in either.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let (shown, address) = (text_of(request.metadata(), AUTHORIZATION), request.remote_addr());
        let token = self.coordinator.access().log_in(shown, address).await.map_err(|error| to_status(&error))?;
        let header = MetadataValue::try_from(format!("Bearer {token}"));
        let header = header.map_err(|error| Status::internal(error.to_string()))?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.into_bytes().into() };
        let mut response: Response<Self::HandshakeStream> = Response::new(Box::pin(stream::iter([Ok(answer)])));
        response.metadata_mut().insert(AUTHORIZATION, header);
        Ok(response)
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(unimplemented("ListFlights"))
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        let (sql, client, request) = self.enter(request, "PollFlightInfo").await?;
        let polled = match statement_of(&request.get_ref().cmd) {
            Some(handle) => sql.poll(&handle, &client).await,
            None => match sql.get_flight_info(request).await {
                Ok(info) => sql.begin_polls(info.into_inner(), &client).await,
                Err(refused) => Err(refused),
            },
        };
        client.leave(polled.map(Response::new))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let (sql, client, request) = self.enter(request, "DoExchange").await?;
        client.leave(sql.do_exchange(request).await)
    }
}

#[cfg(test)]
mod tests;
