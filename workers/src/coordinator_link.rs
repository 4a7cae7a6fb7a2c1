//! A worker process's way to its coordinator: a Flight action an event.

use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use tidemill_net::{Address, Connector};
use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_plans::protocol::{COORDINATOR_ACTION, CoordinatorLink, EventResponse, LinkError, Reply, WorkerEvent};
use tonic::transport::Channel;

use crate::error::Result;
use crate::exchange::{ask, flight_client, flight_endpoint};
use crate::results::RESULT_PATIENCE;

/// How long the coordinator may take to answer an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The coordinator as it is reached over Flight. Connects when first used, and again when it must.
#[derive(Debug, Clone)]
pub struct FlightCoordinatorLink {
    peer: String,
    connector: Connector,
    client: FlightServiceClient<Channel>,
    secret: Option<ClusterSecret>,
}

impl FlightCoordinatorLink {
    /// A link to a coordinator. Must be called inside a tokio runtime, which then holds the connection. The coordinator is
    /// shown the cluster's secret, if there is one.
    pub fn new(address: &Address, connector: &Connector, secret: Option<ClusterSecret>) -> Result<Self> {
        let channel = connector.connect_lazy(&flight_endpoint(&address.to_string())?);
        let peer = format!("coordinator {}", address.authority);
        Ok(Self { peer, connector: connector.clone(), client: flight_client(channel), secret })
    }
}

impl CoordinatorLink for FlightCoordinatorLink {
    fn send(&self, event: WorkerEvent) -> Reply<EventResponse> {
        let (client, connector, secret) = (self.client.clone(), self.connector.clone(), self.secret.clone());
        let peer = self.peer.clone();
        // A session may be slow to read its rows: that is back-pressure, not a fault.
        let limit = if matches!(event, WorkerEvent::ResultRows { .. }) { RESULT_PATIENCE } else { EVENT_TIMEOUT };
        Box::pin(async move {
            let answer =
                tokio::time::timeout(limit, ask(client, &connector, COORDINATOR_ACTION, &event, secret.as_ref())).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer in {limit:?}")));
            answer.map_err(|reason| LinkError { peer, reason })
        })
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ids::{JobId, RunId, StageId, TaskId};

    use super::*;

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_is_named() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = |authority: String| Address { has_tls: false, authority };
        let link = FlightCoordinatorLink::new(&address(free.to_string()), &Connector::default(), None).unwrap();
        let task = TaskId { stage: StageId(0), subtask: 0 };
        let refused =
            link.send(WorkerEvent::TaskFinished { run: RunId::first(JobId(1)), task, state: None }).await.unwrap_err();
        assert_eq!(refused.peer, format!("coordinator {free}"));
        let nowhere = address(String::from("not an address"));
        assert!(FlightCoordinatorLink::new(&nowhere, &Connector::default(), None).is_err());
    }
}
