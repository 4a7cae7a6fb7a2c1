//! What the command line can fail with; every message is for the person at the terminal.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use arrow::error::ArrowError;
use rustyline::error::ReadlineError;
use thiserror::Error;
use tidemill_compute::error::ComputeError;
use tidemill_coordinator::CoordinatorError;
use tidemill_net::TlsError;
use tidemill_plans::PlanError;
use tidemill_sql::SqlError;
use tidemill_sql::document::DocumentError;
use tidemill_workers::WorkersError;

/// The result of everything in this crate.
pub type Result<T, E = TidemillError> = std::result::Result<T, E>;

/// An error that ends the command.
#[derive(Debug, Error)]
pub enum TidemillError {
    /// The device that --compute-device names cannot be had.
    #[error("--compute-device")]
    Device(#[from] ComputeError),
    /// A file given on the command line cannot be read.
    #[error("cannot read {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A `--set` that is not `name=value`.
    #[error("--set takes name=value, not '{0}'")]
    SetForm(String),
    /// A setting that does not exist or does not take the value.
    #[error(transparent)]
    Setting(#[from] PlanError),
    /// A statement that cannot be run.
    #[error("{}: {source}", path.display())]
    Sql {
        /// The script.
        path: PathBuf,
        /// What is wrong, and where in it.
        source: Box<SqlError>,
    },
    /// A plan that cannot be run.
    #[error(transparent)]
    Plan(#[from] DocumentError),
    /// A job that has failed.
    #[error("{0}")]
    JobFailed(String),
    /// A worker process that ended before the job did.
    #[error("a worker process ended by itself: {0}")]
    WorkerProcess(String),
    /// A process that cannot be started.
    #[error("cannot start a worker process")]
    Spawn(#[source] io::Error),
    /// A user without a password.
    #[error("no password for {user}: put it into the environment as TIDEMILL_PASSWORD, or into a --password-file")]
    NoPassword {
        /// The user.
        user: String,
    },
    /// A file that has no secret of a cluster.
    #[error("{} has no secret of a cluster: it has {bytes_min} printable characters or more, and no spaces", path.display())]
    ClusterSecret {
        /// The file.
        path: PathBuf,
        /// How long it has to be.
        bytes_min: usize,
    },
    /// An endpoint is to be reached from other machines.
    #[error(
        "{address} can be reached from other machines, and {missing}; 127.0.0.1 is possible, and --insecure, if nobody \
         else is on the network"
    )]
    PublicBind {
        /// The address.
        address: SocketAddr,
        /// What it lacks, and what would give it that.
        missing: &'static str,
    },
    /// Certificates for a server that is spoken to plainly.
    #[error("{0} is no URL of a server with TLS, so --tls-ca and others are for nothing; grpc+tls://HOST:PORT is one")]
    PlainUrl(String),
    /// Certificates or keys that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A data folder in which every job has ended.
    #[error("no job was left unfinished in {}; jobs go on from checkpoints, which SELECT has none of", .0.display())]
    NothingToResume(PathBuf),
    /// A data folder in which jobs have ended or failed.
    #[error("no job was left unfinished in {}, but there is: {found}; --job tries one of them again", data_dir.display())]
    OnlyFailedJobs {
        /// The folder.
        data_dir: PathBuf,
        /// The jobs that have failed, and why.
        found: String,
    },
    /// A data folder that has no such job.
    #[error("no job '{name}' was left in {}; there is: {found}", data_dir.display())]
    NoSuchJob {
        /// What was asked for.
        name: String,
        /// The folder.
        data_dir: PathBuf,
        /// The jobs that were left there, and why they have failed.
        found: String,
    },
    /// A line that asks something of the shell that it cannot do.
    #[error("{0}")]
    Command(String),
    /// Somebody has had enough of a statement, and of those behind it.
    #[error("interrupted; the statements behind it were not executed")]
    Interrupted,
    /// A terminal at which nobody can type.
    #[error("cannot read from the terminal")]
    Terminal(#[source] ReadlineError),
    /// The coordinator refused or failed.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The worker refused or failed.
    #[error(transparent)]
    Worker(#[from] WorkersError),
    /// Standard output cannot be written.
    #[error("cannot write the results")]
    Output(#[from] io::Error),
    /// A result cannot be formatted.
    #[error("cannot format the results")]
    Format(#[from] ArrowError),
}

impl TidemillError {
    /// The error and its causes on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        tidemill_plans::error::chain(self)
    }
}
