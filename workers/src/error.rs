//! What can go wrong between tasks, workers and the coordinator, and who can do something about it.

use std::net::SocketAddr;

use arrow::error::ArrowError;
use thiserror::Error;
use tidemill_engine::EngineError;
use tidemill_plans::error::chain;
use tidemill_plans::ids::{ChannelId, RunId, TaskId, WorkerId};
use tidemill_plans::protocol::LinkError;
use tidemill_plans::{ErrorDomain, PlanError};

/// The result of everything in this crate.
pub type Result<T, E = WorkersError> = std::result::Result<T, E>;

/// An error of a worker or of the exchange between workers.
#[derive(Debug, Error)]
pub enum WorkersError {
    /// The data address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A worker that leaves has waited long enough.
    #[error("left after {limit:?}, before the coordinator had given everything that ran here to others")]
    StillBusy {
        /// How long it has waited.
        limit: std::time::Duration,
    },
    /// A worker was started outside an actix system.
    #[error("a worker must be started inside an actix system")]
    NoSystem,
    /// A thread or runtime could not be started.
    #[error("cannot start thread {name}")]
    Thread {
        /// The thread's name.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An address is not a valid one.
    #[error("'{address}' is not an address; host:port is one")]
    Address {
        /// The text.
        address: String,
    },
    /// Another worker cannot be reached.
    #[error("cannot connect to {peer}: {reason}")]
    Connect {
        /// Its address.
        peer: String,
        /// What happened.
        reason: String,
    },
    /// The connection that carried a channel is gone.
    #[error("{channel}: lost the connection to {peer}: {reason}")]
    ChannelLost {
        /// The channel.
        channel: ChannelId,
        /// Who was at the other end.
        peer: String,
        /// What happened.
        reason: String,
    },
    /// The receiving worker refuses a channel.
    #[error("{channel}: refused by {peer}: {reason}")]
    Rejected {
        /// The channel.
        channel: ChannelId,
        /// Who refused.
        peer: String,
        /// Why.
        reason: String,
    },
    /// A frame came for a channel that no task here receives.
    #[error("no task receives {0} here")]
    UnknownChannel(ChannelId),
    /// A frame is missing, repeated or out of order.
    #[error("{channel}: frame {found} came where {expected} was due")]
    Sequence {
        /// The channel.
        channel: ChannelId,
        /// The number that was due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A frame cannot be understood.
    #[error("bad frame from {peer}: {reason}")]
    BadFrame {
        /// Who sent it.
        peer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A batch does not have the columns that the plan gives its channel, or they cannot be sent.
    #[error("{channel}: {reason}")]
    Schema {
        /// The channel.
        channel: ChannelId,
        /// What differs.
        reason: String,
    },
    /// A batch could not be written as or read from Arrow IPC.
    #[error("{channel}: batch cannot be {action}")]
    Batch {
        /// The channel.
        channel: ChannelId,
        /// `encoded` or `decoded`.
        action: &'static str,
        /// What Arrow said.
        #[source]
        source: ArrowError,
    },
    /// Rows are too large for a frame, and cannot be cut any further.
    #[error("{channel}: a batch of {rows} row(s) takes {bytes} bytes, a frame at most {limit}")]
    RowTooLarge {
        /// The channel.
        channel: ChannelId,
        /// How many rows; more than one only of types that share their bytes between rows.
        rows: usize,
        /// Their size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// This worker has no data address, so no other can send to it.
    #[error("this worker has no data address, but {0} comes from another worker")]
    NotBound(ChannelId),
    /// A job is not deployed here, or not in a state for what is asked.
    #[error("{0} is not deployed here")]
    NotDeployed(RunId),
    /// A job is deployed already.
    #[error("{0} is already deployed here")]
    AlreadyDeployed(RunId),
    /// A job was released while its tasks were being built.
    #[error("{0} was released while it was being deployed")]
    Abandoned(RunId),
    /// State that a job is to go on from cannot be read.
    #[error("the state in {path} cannot be restored: {reason}")]
    Restore {
        /// The file, below the storage of the checkpoints.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A deployment does not say where a task runs.
    #[error("the deployment places {task} nowhere")]
    NotPlaced {
        /// The task.
        task: TaskId,
    },
    /// A deployment does not give a worker's address.
    #[error("the deployment has no address for {0}")]
    NoAddress(WorkerId),
    /// A deployment or an id is for another worker.
    #[error("this is {here}, but {addressed} was addressed")]
    OtherWorker {
        /// Whom the message was for.
        addressed: WorkerId,
        /// Who it came to.
        here: WorkerId,
    },
    /// The coordinator answered a registration with something else.
    #[error("the coordinator did not accept the registration: {0}")]
    Register(String),
    /// The coordinator or a worker could not be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The plan cannot be run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The engine refuses to build a task.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl WorkersError {
    /// Who must act.
    #[must_use]
    pub fn domain(&self) -> ErrorDomain {
        match self {
            Self::Bind { .. } | Self::Address { .. } | Self::RowTooLarge { .. } => ErrorDomain::User,
            Self::Thread { .. }
            | Self::Connect { .. }
            | Self::ChannelLost { .. }
            | Self::StillBusy { .. }
            | Self::Restore { .. }
            | Self::Register(_)
            | Self::Link(_) => ErrorDomain::External,
            Self::NoSystem
            | Self::Rejected { .. }
            | Self::UnknownChannel(_)
            | Self::Sequence { .. }
            | Self::BadFrame { .. }
            | Self::Schema { .. }
            | Self::Batch { .. }
            | Self::NotBound(_)
            | Self::NotDeployed(_)
            | Self::AlreadyDeployed(_)
            | Self::Abandoned(_)
            | Self::NotPlaced { .. }
            | Self::NoAddress(_)
            | Self::OtherWorker { .. }
            | Self::Plan(_) => ErrorDomain::Internal,
            Self::Engine(error) => error.domain(),
        }
    }

    /// The error and all its causes on one line, outermost first.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}
