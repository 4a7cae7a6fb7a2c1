//! The control endpoint: a Flight service whose actions carry workers' events, and SQL of clients.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::Stream;
use futures::stream;
use tidemill_plans::ErrorDomain;
use tidemill_plans::codec::{self, MESSAGE_BYTES_MAX};
use tidemill_plans::protocol::{COORDINATOR_ACTION, EXECUTE_ACTION, SUBMIT_PLAN_ACTION, WorkerEvent};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tracing::error;

use super::execute::Executor;
use super::plans;
use crate::error::{CoordinatorError, Result};
use crate::handle::CoordinatorHandle;
use crate::session::SqlSession;

/// Keeps an endpoint open; dropping it closes the endpoint.
#[derive(Debug)]
#[must_use = "the endpoint closes when the guard is dropped"]
pub struct ServerGuard {
    /// The one serving task; a `JoinSet` aborts what it holds.
    pub(super) _task: JoinSet<()>,
}

/// The address of an endpoint, which nobody else can take any more. Whoever calls waits until it is served.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    /// Where it is, which differs from what was asked for if the port was 0.
    pub address: SocketAddr,
}

impl Listener {
    /// Takes an address.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |source| CoordinatorError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }
}

/// Opens the endpoint for workers on `address`; returns where it listens, which differs if the port was 0.
pub async fn serve(coordinator: CoordinatorHandle, address: SocketAddr) -> Result<(SocketAddr, ServerGuard)> {
    let listener = Listener::bind(address).await?;
    let address = listener.address;
    Ok((address, open(ControlService { coordinator, executor: None }, listener)))
}

/// Opens the endpoint for workers, and for clients whose statements this session executes.
pub fn serve_sql(coordinator: CoordinatorHandle, session: SqlSession, listener: Listener) -> ServerGuard {
    let executor = Some(Executor::new(Arc::new(Mutex::new(session))));
    open(ControlService { coordinator, executor }, listener)
}

fn open(service: ControlService, listener: Listener) -> ServerGuard {
    let service = FlightServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let incoming = TcpIncoming::from(listener.listener).with_nodelay(Some(true));
    let mut task = JoinSet::new();
    task.spawn(async move {
        if let Err(error) = Server::builder().add_service(service).serve_with_incoming(incoming).await {
            error!(%error, "control endpoint ended");
        }
    });
    ServerGuard { _task: task }
}

struct ControlService {
    coordinator: CoordinatorHandle,
    /// What executes SQL, if it is to be.
    executor: Option<Executor>,
}

impl ControlService {
    async fn take_event(&self, body: &[u8]) -> Result<arrow_flight::Result, Status> {
        let event: WorkerEvent = codec::decode(body).map_err(|error| to_status(&CoordinatorError::Plan(error)))?;
        let answer = self.coordinator.answer(event).await.map_err(|error| to_status(&error))?;
        encoded(&answer)
    }

    async fn submit_plan(&self, body: &[u8]) -> Result<arrow_flight::Result, Status> {
        let json = std::str::from_utf8(body).map_err(|_| Status::invalid_argument("the plan is not UTF-8"))?;
        let submitted = plans::submit(&self.coordinator, json).await.map_err(|error| to_status(&error))?;
        let body = serde_json::to_vec(&submitted).map_err(|error| Status::internal(error.to_string()))?;
        Ok(arrow_flight::Result { body: body.into() })
    }

    fn execute(executor: &Executor, body: &[u8]) -> Result<Boxed<arrow_flight::Result>, Status> {
        let text = std::str::from_utf8(body).map_err(|_| Status::invalid_argument("the SQL is not UTF-8"))?;
        let parts = executor.execute(text.to_owned());
        Ok(Box::pin(stream::unfold(parts, async |mut parts| {
            let part = parts.recv().await?;
            Some((part.map_err(|error| to_status(&error)).and_then(|part| encoded(&part)), parts))
        })))
    }
}

fn encoded<T: bincode::Encode>(message: &T) -> Result<arrow_flight::Result, Status> {
    let body = codec::encode(message).map_err(|error| to_status(&CoordinatorError::Plan(error)))?;
    Ok(arrow_flight::Result { body: body.into() })
}

fn to_status(error: &CoordinatorError) -> Status {
    let message = error.chain();
    match error {
        CoordinatorError::ShutDown => Status::unavailable(message),
        CoordinatorError::Plan(_) => Status::invalid_argument(message),
        error if error.domain() == ErrorDomain::User => Status::invalid_argument(message),
        _ => Status::internal(message),
    }
}

fn unimplemented(what: &str) -> Status {
    let actions =
        format!("this endpoint has the actions '{COORDINATOR_ACTION}', '{EXECUTE_ACTION}' and '{SUBMIT_PLAN_ACTION}'");
    Status::unimplemented(format!("{what} is not served here: {actions}"))
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

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
        let Action { r#type: kind, body } = request.into_inner();
        match (kind.as_str(), &self.executor) {
            (COORDINATOR_ACTION, _) => {
                let result = self.take_event(&body).await?;
                Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
            }
            (EXECUTE_ACTION, Some(executor)) => Ok(Response::new(Self::execute(executor, &body)?)),
            (SUBMIT_PLAN_ACTION, Some(_)) => {
                let result = self.submit_plan(&body).await?;
                Ok(Response::new(Box::pin(stream::iter([Ok(result)]))))
            }
            (EXECUTE_ACTION | SUBMIT_PLAN_ACTION, None) => {
                Err(Status::unimplemented("SQL is executed by a coordinator in a process of its own"))
            }
            (other, _) => Err(unimplemented(&format!("action '{other}'"))),
        }
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(unimplemented("Handshake"))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(unimplemented("ListFlights"))
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        Err(unimplemented("GetFlightInfo"))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(unimplemented("PollFlightInfo"))
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        Err(unimplemented("GetSchema"))
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        Err(unimplemented("DoGet"))
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        Err(unimplemented("DoPut"))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(unimplemented("DoExchange"))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(unimplemented("ListActions"))
    }
}

#[cfg(test)]
mod tests;
