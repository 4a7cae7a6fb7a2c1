//! A worker's Flight service: the data of other workers, and the requests of the coordinator.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tidemill_batch::BatchWorker;
use tidemill_engine::task::Parts;
use tidemill_net::{Listener, REQUESTS_MAX, admit};
use tidemill_plans::cluster_secret::{CLUSTER_SECRET_HEADER, ClusterSecret};
use tidemill_plans::codec;
use tidemill_plans::error::chain;
use tidemill_plans::protocol::{WORKER_ACTION, WorkerLink, WorkerRequest, WorkerResponse};
use tidemill_plans::result_ticket::ResultTicket;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::error;

use crate::exchange::ExchangeFailures;
use crate::exchange::connection::{CONNECTION_WINDOW, HTTP_FRAME_BYTES, KEEP_ALIVE, STREAM_WINDOW};
use crate::exchange::frame::MESSAGE_BYTES_MAX;
use crate::exchange::incoming::{Closed, IncomingLink, Registry};
use crate::result_parts::{FetchedPart, PartMessage, ResultParts};
use crate::teams::{TEAM_ACTION, TeamPart, TeamRooms};

/// The service behind a worker's data address.
pub(crate) struct FlightServer {
    /// What whoever calls has to show, if anything.
    pub(crate) secret: Option<ClusterSecret>,
    /// The channels that tasks here receive.
    pub(crate) registry: Arc<Registry>,
    /// Learns which channels fail.
    pub(crate) failures: Arc<dyn ExchangeFailures>,
    /// What answers the coordinator's requests.
    pub(crate) requests: Arc<OnceLock<Arc<dyn WorkerLink>>>,
    /// The parts of results that whoever has their tickets fetches.
    pub(crate) parts: Arc<ResultParts>,
    /// The pieces that other workers fetch, of queries that run as a whole.
    pub(crate) pieces: Arc<OnceLock<Arc<BatchWorker>>>,
    /// Where instances meet that work together.
    pub(crate) teams: Arc<TeamRooms>,
    /// True once the exchange closes.
    pub(crate) closing: watch::Sender<bool>,
}

impl FlightServer {
    /// Serves until the exchange closes.
    pub(crate) async fn serve(self, listener: Listener) {
        let closed = closed(&self.closing);
        let incoming = listener.incoming().into_stream();
        let service = FlightServiceServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let served = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(HTTP_FRAME_BYTES)
            .max_concurrent_streams(Some(REQUESTS_MAX))
            .add_service(InterceptedService::new(service, admit))
            .serve_with_incoming_shutdown(incoming, closed)
            .await;
        if let Err(failure) = served {
            error!(error = chain(&failure), "the worker's Flight server failed");
        }
    }

    /// Refuses whoever is not of the cluster.
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let shown = request.metadata().get(CLUSTER_SECRET_HEADER).and_then(|shown| shown.to_str().ok());
        match &self.secret {
            Some(secret) if !shown.is_some_and(|shown| secret.is(shown)) => {
                let message =
                    "the cluster's secret is missing or wrong: start all its processes with --cluster-secret FILE";
                Err(Status::unauthenticated(message))
            }
            _ => Ok(()),
        }
    }

    async fn answer(&self, action: Action) -> Result<ActionResult, Status> {
        match action.r#type.as_str() {
            WORKER_ACTION => answered(&self.request(decoded(&action)?).await?),
            TEAM_ACTION => answered(&*self.parts_of_all(decoded(&action)?).await?),
            other => Err(Status::unimplemented(format!("no action '{other}'; a worker answers '{WORKER_ACTION}'"))),
        }
    }

    async fn request(&self, request: WorkerRequest) -> Result<WorkerResponse, Status> {
        let link = self.requests.get().ok_or_else(|| Status::unavailable("the worker is still starting"))?;
        link.request(request).await.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Waits until all of a team have given their parts, on a thread that nobody else waits for.
    async fn parts_of_all(&self, part: TeamPart) -> Result<Parts, Status> {
        let teams = Arc::clone(&self.teams);
        let given = spawn_blocking(move || teams.give(part)).await;
        let given = given.map_err(|error| Status::internal(error.to_string()))?;
        given.map_err(|error| Status::aborted(error.to_string()))
    }
}

fn decoded<T: bincode::Decode<()>>(action: &Action) -> Result<T, Status> {
    codec::decode(&action.body).map_err(|error| Status::invalid_argument(chain(&error)))
}

fn answered(answer: &impl bincode::Encode) -> Result<ActionResult, Status> {
    let body = codec::encode(answer).map_err(|error| Status::internal(chain(&error)))?;
    Ok(ActionResult { body: Bytes::from(body) })
}

/// The answer to all calls that a worker does not take.
fn unimplemented<T>() -> Result<T, Status> {
    Err(Status::unimplemented(format!(
        "a worker takes DoGet of results, DoExchange from workers and DoAction '{WORKER_ACTION}'"
    )))
}

/// A future that is ready when the exchange closes.
fn closed(closing: &watch::Sender<bool>) -> Closed {
    let mut closing = closing.subscribe();
    Box::pin(async move {
        // An error means that the exchange is gone, which is the same.
        let _ = closing.wait_for(|closing| *closing).await;
    })
}

/// A part as Flight data. What ends without its end is an error.
fn flight_data(part: FetchedPart) -> BoxStream<'static, Result<FlightData, Status>> {
    let FetchedPart { schema, messages } = part;
    let rows = stream::unfold(Some(messages), async |messages| {
        let mut messages = messages?;
        match messages.recv().await {
            Some(PartMessage::Rows(rows)) => Some((Ok(rows), Some(messages))),
            Some(PartMessage::End) => None,
            None => {
                let why = "the job has ended in front of the end of its result: it was cancelled, or has failed";
                Some((Err(FlightError::Tonic(Box::new(Status::aborted(why)))), None))
            }
        }
    });
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(rows);
    Box::pin(data.map(|data| data.map_err(Status::from)))
}

fn peer_name(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| String::from("an unknown worker"), |address| address.to_string())
}

#[tonic::async_trait]
impl FlightService for FlightServer {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = IncomingLink<Streaming<FlightData>>;
    type DoActionStream = BoxStream<'static, Result<ActionResult, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.check(&request)?;
        let peer = peer_name(request.remote_addr());
        let registry = Arc::clone(&self.registry);
        let failures = Arc::clone(&self.failures);
        Ok(Response::new(IncomingLink::new(request.into_inner(), peer, registry, failures, closed(&self.closing))))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.check(&request)?;
        let answer = self.answer(request.into_inner()).await?;
        Ok(Response::new(Box::pin(stream::iter([Ok(answer)]))))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let description = String::from("a request of the coordinator to this worker");
        let action = ActionType { r#type: String::from(WORKER_ACTION), description };
        Ok(Response::new(Box::pin(stream::iter([Ok(action)]))))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unimplemented()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        unimplemented()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        unimplemented()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unimplemented()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        unimplemented()
    }

    /// For a result, a ticket is all that has to be shown: it is told to the client that asked, and to nobody else. A piece is
    /// for those of the cluster.
    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        if let Some(piece) = self.pieces.get().and_then(|pieces| pieces.piece(&request.get_ref().ticket)) {
            self.check(&request)?;
            return Ok(Response::new(piece.await?));
        }
        let Some(ticket) = ResultTicket::from_bytes(&request.into_inner().ticket) else { return unimplemented() };
        match self.parts.take(&ticket).await {
            Some(part) => Ok(Response::new(flight_data(part))),
            None => Err(Status::not_found(
                "there is nothing to fetch by this ticket: it was fetched or cancelled, or its job has failed; execute \
                 again",
            )),
        }
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        unimplemented()
    }
}
