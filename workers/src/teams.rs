//! Where the instances of an operator meet that work together: on the worker of the first of them.
//!
//! A worker keeps the rooms of those that meet here. Instances on other workers come by a Flight action for each round,
//! which is answered once all have given their parts.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use tidemill_engine::task::{LocalLink, Parts, TeamError, TeamLink, TeamRoom, Teams};
use tidemill_net::Connector;
use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_plans::ids::{OperatorId, RunId};
use tokio::runtime::Handle;
use tonic::transport::Channel;

use crate::error::Result;
use crate::exchange::{ask, flight_client, flight_endpoint};

/// The type of a Flight action that gives a part to a round; its answer has those of all.
pub(crate) const TEAM_ACTION: &str = "tidemill.team";

/// How often somebody who waits for an answer looks whether anybody still wants it.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The part of a member that is on another worker.
#[derive(Debug, bincode::Encode, bincode::Decode)]
pub(crate) struct TeamPart {
    run: RunId,
    operator: OperatorId,
    rank: u32,
    round: u64,
    part: Vec<u8>,
}

/// The rooms on this worker.
#[derive(Debug, Default)]
pub(crate) struct TeamRooms {
    rooms: Mutex<HashMap<(RunId, OperatorId), Arc<TeamRoom>>>,
}

impl TeamRooms {
    /// The room of a team of so many, which is there from now on.
    fn open(&self, run: RunId, operator: OperatorId, size: u32) -> Arc<TeamRoom> {
        Arc::clone(self.rooms().entry((run, operator)).or_insert_with(|| Arc::new(TeamRoom::new(size))))
    }

    /// Gives a part to its round, and waits for those of the others; on a thread that may block.
    pub(crate) fn give(&self, part: TeamPart) -> std::result::Result<Parts, TeamError> {
        let TeamPart { run, operator, rank, round, part } = part;
        let room = self.rooms().get(&(run, operator)).cloned();
        // The room is closed when the run's resources are gone.
        room.ok_or(TeamError::Over)?.exchange(rank, round, part, &|| false)
    }

    /// Closes the rooms of a run.
    pub(crate) fn release(&self, run: RunId) {
        self.rooms().retain(|(of, _), room| {
            if *of == run {
                room.close();
            }
            *of != run
        });
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<(RunId, OperatorId), Arc<TeamRoom>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it takes to reach other workers.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) runtime: Handle,
    pub(crate) connector: Connector,
    pub(crate) secret: Option<ClusterSecret>,
}

/// The teams of a run, as the instances on this worker find them.
#[derive(Debug)]
pub(crate) struct RunTeams {
    pub(crate) run: RunId,
    pub(crate) rooms: Arc<TeamRooms>,
    pub(crate) reach: Reach,
    /// The data addresses of the workers where teams meet that do not meet here.
    pub(crate) elsewhere: HashMap<OperatorId, String>,
}

impl Teams for RunTeams {
    fn join(&self, operator: OperatorId, rank: u32, size: u32) -> Arc<dyn TeamLink> {
        match self.elsewhere.get(&operator) {
            None => Arc::new(LocalLink { room: self.rooms.open(self.run, operator, size), rank }),
            Some(peer) => Arc::new(RemoteLink {
                client: self.reach.client(peer).map_err(|error| error.chain()),
                reach: self.reach.clone(),
                peer: peer.clone(),
                run: self.run,
                operator,
                rank,
            }),
        }
    }
}

impl Reach {
    /// Connects when it is used first.
    fn client(&self, peer: &str) -> Result<FlightServiceClient<Channel>> {
        let _entered = self.runtime.enter();
        Ok(flight_client(self.connector.connect_lazy(&flight_endpoint(peer)?)))
    }
}

/// The way to a room on another worker.
#[derive(Debug)]
struct RemoteLink {
    client: std::result::Result<FlightServiceClient<Channel>, String>,
    reach: Reach,
    peer: String,
    run: RunId,
    operator: OperatorId,
    rank: u32,
}

impl TeamLink for RemoteLink {
    fn exchange(&self, round: u64, part: Vec<u8>, is_over: &dyn Fn() -> bool) -> std::result::Result<Parts, TeamError> {
        let lost = |reason: String| TeamError::Lost(format!("worker {} cannot be reached: {reason}", self.peer));
        let client = self.client.clone().map_err(lost)?;
        let part = TeamPart { run: self.run, operator: self.operator, rank: self.rank, round, part };
        let (answers, answer) = sync_channel(1);
        let (connector, secret) = (self.reach.connector.clone(), self.reach.secret.clone());
        let calling = self.reach.runtime.spawn(async move {
            // Nobody waits for it any more where it cannot be sent.
            let _ = answers.send(ask(client, &connector, TEAM_ACTION, &part, secret.as_ref()).await);
        });
        loop {
            match answer.recv_timeout(LOOK_INTERVAL) {
                Ok(answer) => return answer.map(Arc::<Vec<Vec<u8>>>::new).map_err(lost),
                Err(RecvTimeoutError::Timeout) if !is_over() => {}
                Err(_) => {
                    calling.abort();
                    return Err(TeamError::Over);
                }
            }
        }
    }
}
