//! How the coordinator calls a worker in another process: a Flight action with a bincode body.

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use tidemill_net::{Connector, reason};
use tidemill_plans::cluster_secret::{CLUSTER_SECRET_HEADER, ClusterSecret};
use tidemill_plans::codec::{self, MESSAGE_BYTES_MAX};
use tidemill_plans::error::chain;
use tidemill_plans::protocol::{LinkError, Reply, WORKER_ACTION, WorkerLink, WorkerRequest, WorkerResponse};
use tonic::Request;
use tonic::transport::Channel;

use crate::error::{CoordinatorError, Result};

/// A connection to a worker's Flight endpoint. It reconnects by itself; requests are limited in time
/// by whoever makes them.
#[derive(Debug, Clone)]
pub struct FlightWorkerLink {
    address: String,
    client: FlightServiceClient<Channel>,
    /// What the worker wants to see.
    secret: Option<ClusterSecret>,
}

impl FlightWorkerLink {
    /// Connects to `http://host:port` or `https://host:port`, so that an address that leads nowhere is noticed at once.
    pub async fn connect(address: &str, connector: &Connector, secret: Option<ClusterSecret>) -> Result<Self> {
        let failed = |reason: String| CoordinatorError::ConnectBack { address: address.to_owned(), reason };
        let endpoint = Connector::endpoint(address).map_err(failed)?;
        let channel = connector.connect(&endpoint).await.map_err(failed)?;
        let client = FlightServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { address: address.to_owned(), client, secret })
    }
}

impl WorkerLink for FlightWorkerLink {
    fn request(&self, request: WorkerRequest) -> Reply<WorkerResponse> {
        let (mut client, peer, secret) = (self.client.clone(), self.address.clone(), self.secret.clone());
        Box::pin(async move {
            let answer = call(&mut client, &request, secret.as_ref()).await;
            answer.map_err(|reason| LinkError { peer: format!("worker at {peer}"), reason })
        })
    }
}

async fn call(
    client: &mut FlightServiceClient<Channel>,
    request: &WorkerRequest,
    secret: Option<&ClusterSecret>,
) -> Result<WorkerResponse, String> {
    let body = codec::encode(request).map_err(|error| chain(&error))?;
    let mut action = Request::new(Action { r#type: WORKER_ACTION.to_owned(), body: body.into() });
    if let Some(Ok(secret)) = secret.map(|secret| secret.reveal().parse()) {
        action.metadata_mut().insert(CLUSTER_SECRET_HEADER, secret);
    }
    let status = |status: tonic::Status| format!("{}: {}", status.code(), reason(&status));
    let mut results = client.do_action(action).await.map_err(status)?.into_inner();
    let result = results.message().await.map_err(status)?.ok_or("the answer is empty")?;
    codec::decode(&result.body).map_err(|error| chain(&error))
}
