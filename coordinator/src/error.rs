//! What can go wrong in the coordinator, and who can do something about it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tidemill_plans::error::chain;
use tidemill_plans::ids::{JobId, WorkerId};
use tidemill_plans::{ErrorDomain, PlanError};
use tidemill_sql::SqlError;
use tidemill_sql::document::DocumentError;

/// The result of everything in this crate.
pub type Result<T, E = CoordinatorError> = std::result::Result<T, E>;

/// An error of the coordinator.
#[derive(Debug, Error)]
pub enum CoordinatorError {
    /// No worker, or none with a slot, could take a job's tasks.
    #[error("no worker with a slot is registered")]
    NoWorkers,
    /// Fewer workers than wanted came in time.
    #[error("{found} of {wanted} workers registered within {timeout:?}")]
    WorkersMissing {
        /// How many were waited for.
        wanted: usize,
        /// How many there are.
        found: usize,
        /// For how long.
        timeout: Duration,
    },
    /// A worker that registered cannot be called at the address that it gave.
    #[error("worker at {address} cannot be called back: {reason}")]
    ConnectBack {
        /// The address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The engine of queries that run as a whole cannot run.
    #[error(transparent)]
    Batch(#[from] tidemill_batch::BatchError),
    /// A statement of a script cannot be compiled.
    #[error(transparent)]
    Sql(Box<SqlError>),
    /// A plan that is no statement cannot be compiled.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An endpoint's address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A worker that is not, or no longer, registered; it must register again.
    #[error("{worker} is not registered")]
    NotRegistered {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker that has come to the coordinator of another cluster.
    #[error("this is {here}, and a worker of {wanted} has no place in it")]
    OtherCluster {
        /// The cluster that it is a worker of.
        wanted: String,
        /// The cluster of this coordinator.
        here: String,
    },
    /// A materialized view cannot be read.
    #[error("view '{view}' cannot be read: {reason}")]
    View {
        /// The view.
        view: String,
        /// Why not.
        reason: String,
    },
    /// The coordinator was started outside an actix system.
    #[error("the coordinator needs a running actix system")]
    NoSystem,
    /// The coordinator has shut down.
    #[error("the coordinator has shut down")]
    ShutDown,
    /// A plan or message is not what it should be.
    #[error("invalid plan or message")]
    Plan(#[from] PlanError),
    /// Another coordinator has written to the journal.
    #[error("another coordinator has taken over: journal record {sequence} is not ours")]
    Fenced {
        /// The record that was to be written.
        sequence: u64,
    },
    /// Another coordinator has sealed a checkpoint of a job that this one runs.
    #[error("another coordinator has taken over: {path} is not ours")]
    Sealed {
        /// The manifest.
        path: String,
    },
    /// No job of this id runs.
    #[error("{job} is not running")]
    NotRunning {
        /// The job.
        job: JobId,
    },
    /// Somebody has stopped what another waits for: a query as a whole, or the training of a model.
    #[error("{job} was stopped before it had ended")]
    Stopped {
        /// The query or the training.
        job: JobId,
    },
    /// A job that is to be gone on with does.
    #[error("{job} runs already")]
    AlreadyRuns {
        /// The job.
        job: JobId,
    },
    /// No job makes an object of this name.
    #[error("no job makes '{name}'; SHOW JOBS lists the jobs and what they make")]
    UnknownObject {
        /// The name.
        name: String,
    },
    /// A job that somebody waits for has failed.
    #[error("{message}")]
    JobFailed {
        /// Who must act.
        domain: ErrorDomain,
        /// The cause, with its chain.
        message: String,
    },
    /// Nobody knows who sends a request, or whether it is who it says it is.
    #[error("not logged in: {reason}")]
    Unauthenticated {
        /// What is missing or wrong.
        reason: String,
    },
    /// Somebody has failed to log in too often to be tried again at once.
    #[error("too many tries to log in have failed; try again in {} s", wait.as_secs().max(1))]
    TooManyTries {
        /// How long it takes.
        wait: Duration,
    },
    /// The file of the key that secrets are sealed with is not what it should be.
    #[error("the key of the secrets, {}: {reason}", path.display())]
    SecretKey {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would work.
        reason: String,
    },
    /// The audit log cannot be read.
    #[error("cannot read the audit log")]
    Audit {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Somebody may not do something.
    #[error("permission denied: {message}")]
    Denied {
        /// What, and who may.
        message: String,
    },
    /// A client does not want the rows of a statement any more.
    #[error("the statement was cancelled")]
    Cancelled,
    /// A client asks for something that its statement does not give.
    #[error("{message}")]
    Statement {
        /// What is wrong, and what would work.
        message: String,
    },
    /// The server does as much as it may at a time.
    #[error("the server has its {max} {what}; wait until some have ended, or raise {option}")]
    TooMany {
        /// Of what there are too many.
        what: &'static str,
        /// How many there may be.
        max: usize,
        /// What allows more.
        option: &'static str,
    },
    /// A role has as much as it may at a time.
    #[error("role '{role}' has its {max} {what}; wait until some have ended, or a superuser can say {allows}")]
    TooManyOfRole {
        /// The role that has the limit: whoever asks, or one that they belong to.
        role: String,
        /// How many there may be.
        max: u32,
        /// Of what.
        what: &'static str,
        /// The statement that allows more.
        allows: String,
    },
    /// What somebody has prepared takes too much.
    #[error(
        "with this, the prepared statements of a user take {bytes} bytes, more than {max} bytes: close those that are not \
         executed any more, bind fewer values at a time, or raise --max-prepared-size"
    )]
    PreparedFull {
        /// What they would take.
        bytes: usize,
        /// What they may take.
        max: usize,
    },
    /// A statement was planned for a client, and is not what it was when the client fetches it.
    #[error("what the statement reads has changed since it was planned; execute it again")]
    Changed,
    /// A coordinator in another process cannot be reached, or refuses.
    #[error("{url}: {reason}")]
    Remote {
        /// Where it was to be.
        url: String,
        /// What happened, or what it says.
        reason: String,
    },
    /// A job without checkpoints cannot do something.
    #[error("{job} has no checkpoints, so {what} is not possible; start it with --data-dir or checkpoint_storage")]
    NoCheckpoints {
        /// The job.
        job: JobId,
        /// What was asked for.
        what: &'static str,
    },
    /// What is pushed to a source cannot be kept, or read.
    #[error("source '{source_name}': {reason}")]
    Pushed {
        /// The source.
        source_name: String,
        /// Why not.
        reason: String,
    },
    /// A model cannot answer.
    #[error("model '{model}': {reason}")]
    Model {
        /// The model.
        model: String,
        /// Why not.
        reason: String,
    },
    /// The log of what is pushed to a source has no more room.
    #[error("source '{source_name}' is full: {reason}")]
    LogFull {
        /// The source.
        source_name: String,
        /// How full it is.
        reason: String,
    },
    /// A savepoint cannot be written, or no job can begin from it.
    #[error(transparent)]
    Savepoint(PlanError),
    /// A savepoint that was asked for does not come.
    #[error("there is no savepoint of {job}: {reason}")]
    NoSavepoint {
        /// The job.
        job: JobId,
        /// Why not.
        reason: String,
    },
    /// No job of this id is going on, nor has one been left.
    #[error("no {job} was left unfinished")]
    NoSuchJob {
        /// The job.
        job: JobId,
    },
    /// A job has checkpoints, and none of them can be read.
    #[error("none of the checkpoints of {job} can be restored; beginning anew would write rows twice")]
    NoUsableCheckpoint {
        /// The job.
        job: JobId,
    },
    /// Another process has the metadata folder open.
    #[error("metadata folder {} is in use by another coordinator", path.display())]
    InUse {
        /// The folder of the index.
        path: PathBuf,
    },
    /// A record or snapshot is damaged.
    #[error("metadata object {object} is corrupted: {reason}")]
    Corrupted {
        /// The object's path.
        object: String,
        /// How that was noticed.
        reason: String,
    },
    /// A record was not written to its end, and others have been written behind it.
    #[error("metadata object {object} is incomplete: it ends after {bytes} bytes")]
    Torn {
        /// The object's path.
        object: String,
        /// How many bytes there are.
        bytes: usize,
    },
    /// The index lacks a record that is in the journal, so nothing may be built on it any more.
    #[error("metadata index has no journal record {sequence}; restart the coordinator, which rebuilds the index")]
    IndexBehind {
        /// The record.
        sequence: u64,
    },
    /// A record of the journal is missing.
    #[error("journal record {sequence} is missing")]
    MissingRecord {
        /// Its number.
        sequence: u64,
    },
    /// The object store of the journal failed.
    #[error("metadata object store failed")]
    ObjectStore(#[from] object_store::Error),
    /// The local index failed.
    #[error("metadata index failed")]
    Index(#[from] sled::Error),
    /// The metadata folder cannot be created or moved.
    #[error("cannot use metadata folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A thread or task of the coordinator ended without an answer.
    #[error("the coordinator's {part} ended unexpectedly")]
    Lost {
        /// Which part.
        part: &'static str,
    },
}

impl CoordinatorError {
    /// Who must act.
    #[must_use]
    pub fn domain(&self) -> ErrorDomain {
        match self {
            Self::Sql(error) => error.domain(),
            Self::Document(error) => error.domain(),
            Self::Batch(error) => error.domain(),
            Self::JobFailed { domain, .. } => *domain,
            Self::Bind { .. }
            | Self::InUse { .. }
            | Self::NoSuchJob { .. }
            | Self::NotRunning { .. }
            | Self::Stopped { .. }
            | Self::AlreadyRuns { .. }
            | Self::NoCheckpoints { .. }
            | Self::UnknownObject { .. }
            | Self::Cancelled
            | Self::Changed
            | Self::Statement { .. }
            | Self::Pushed { .. }
            | Self::Model { .. }
            | Self::LogFull { .. }
            | Self::PreparedFull { .. }
            | Self::Unauthenticated { .. }
            | Self::TooManyTries { .. }
            | Self::Denied { .. }
            | Self::SecretKey { .. }
            | Self::Savepoint(_)
            // Whoever is fenced off stays so, and trying again finds no other checkpoints.
            | Self::Fenced { .. }
            | Self::NoUsableCheckpoint { .. } => ErrorDomain::User,
            Self::NoWorkers
            | Self::WorkersMissing { .. }
            | Self::ConnectBack { .. }
            | Self::NotRegistered { .. }
            | Self::OtherCluster { .. }
            | Self::View { .. }
            | Self::Sealed { .. }
            | Self::NoSavepoint { .. }
            | Self::Corrupted { .. }
            | Self::Torn { .. }
            | Self::IndexBehind { .. }
            | Self::MissingRecord { .. }
            | Self::ObjectStore(_)
            | Self::Index(_)
            | Self::Folder { .. }
            | Self::Remote { .. }
            | Self::TooMany { .. }
            | Self::TooManyOfRole { .. }
            | Self::Audit { .. }
            | Self::ShutDown => ErrorDomain::External,
            Self::NoSystem | Self::Plan(_) | Self::Lost { .. } => ErrorDomain::Internal,
        }
    }

    /// The error with its causes, for messages that cross a process.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}
