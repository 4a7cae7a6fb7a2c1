//! What can go wrong while a job runs, and who can do something about it.

use std::path::PathBuf;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use thiserror::Error;
use tidemill_ml::MlError;
use tidemill_plans::explain::analyze::shown_bytes;
use tidemill_plans::ids::Epoch;
use tidemill_plans::prediction::AnswerError;
use tidemill_plans::{ErrorDomain, PlanError};

/// The result of everything in this crate.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// An error that ends a task. Rows that cannot be used are no errors: they go to the dead letters.
#[derive(Debug, Error)]
pub enum EngineError {
    /// An operator failed; the source says how.
    #[error("{operator} failed")]
    Operator {
        /// Name and id of the operator.
        operator: String,
        /// What happened.
        #[source]
        source: Box<EngineError>,
    },
    /// A file could not be opened, read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried: `open`, `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is there, but is not what it should be.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// No file matches a source's path.
    #[error("no file matches '{path}'; the path is relative to {}", folder.display())]
    NoFiles {
        /// The path as the user wrote it.
        path: String,
        /// The working folder.
        folder: PathBuf,
    },
    /// No object matches a source's URL.
    #[error("no object matches '{url}'")]
    NoObjects {
        /// The URL as the user wrote it.
        url: String,
    },
    /// A source's files are not those that were there when its job was deployed.
    #[error(
        "files of '{path}' came or went while the job was deployed, and its tasks do not agree on who reads what; run \
         it again once they have settled"
    )]
    FilesChanged {
        /// The path as the user wrote it.
        path: String,
    },
    /// An external table could not be asked.
    #[error("cannot look up rows of '{table}'")]
    Lookup {
        /// The table.
        table: String,
        /// What the other side, or the way to it, said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What a sink writes to could not be reached, or refused.
    #[error("cannot {action} '{table}'")]
    Destination {
        /// What was tried: `write`, `commit`.
        action: &'static str,
        /// The table or topic.
        table: String,
        /// What the other side, or the way to it, said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A sink cannot write there what it is to write.
    #[error("sink '{sink}': {reason}")]
    SinkRefused {
        /// The sink.
        sink: String,
        /// Why not, and what would work.
        reason: String,
    },
    /// A later attempt at the job has taken over what a sink writes to.
    #[error("a later attempt at the job writes to sink '{sink}'")]
    SinkTakenOver {
        /// The sink.
        sink: String,
    },
    /// Two sinks write one file.
    #[error("another job or sink is writing {}; give each sink a folder of its own", path.display())]
    FileInUse {
        /// The file.
        path: PathBuf,
    },
    /// A column that a source declares is not in its file.
    #[error("{}: no column '{column}'; the file has {available}", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The declared column.
        column: String,
        /// The file's columns.
        available: String,
    },
    /// A column's type in a file cannot become its declared type.
    #[error("{}: column '{column}' is {found}, which cannot be read as {declared}", path.display())]
    ColumnType {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type in the file.
        found: String,
        /// Its declared type.
        declared: String,
    },
    /// A changelog takes away a row that it never added: ours, or that of a source.
    #[error(
        "a change takes away a row that is not there: {row}; a source of changes lacks some, or this is a bug in Tidemill"
    )]
    UnmatchedChange {
        /// The row, as `column=value` pairs.
        row: String,
    },
    /// What a materialized view had at an epoch cannot be read any more.
    #[error("view '{view}' cannot be read at {epoch}: {reason}; ask again")]
    ViewGone {
        /// The view.
        view: String,
        /// The epoch.
        epoch: Epoch,
        /// Why not.
        reason: &'static str,
    },
    /// State that was written before cannot be read back.
    #[error("state cannot be restored: {0}")]
    State(String),
    /// A query holds more than it may.
    #[error(
        "the query holds {:.1} MB of state in memory, {:.1} MB of it in {operator}, and may not hold more than \
         query_memory, which is {:.1} MB here; SET state_memory = '…' has most operators keep less of it there and the \
         rest on disk, fewer keys or columns or a window need less, a higher query_memory, or --query-memory of the \
         server, allows more",
        megabytes(*held), megabytes(*most), megabytes(*bytes_max)
    )]
    QueryMemory {
        /// How many bytes it holds on this worker.
        held: u64,
        /// How many it may.
        bytes_max: u64,
        /// The operator that holds most.
        operator: String,
        /// How much that is.
        most: u64,
    },
    /// State that has no room in memory could not be kept on the worker's disk either.
    #[error(
        "cannot {action} scratch files in {}{}, where state goes that is over state_memory; make room there, name \
         another folder in TIDEMILL_SCRATCH, or raise state_memory",
        folder.display(),
        free.map_or(String::new(), |free| format!(", which has {} left", shown_bytes(free)))
    )]
    Scratch {
        /// What was tried, such as `create`, or `write 1.0 MiB to`.
        action: String,
        /// The folder.
        folder: PathBuf,
        /// How many bytes are free there, where that may matter and is known.
        free: Option<u64>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A model cannot be trained on what it was given.
    #[error("model {model}")]
    Model {
        /// The model's name.
        model: String,
        /// What is wrong.
        #[source]
        source: MlError,
    },
    /// A model cannot answer what it is asked about rows.
    #[error("model {model}")]
    NoAnswer {
        /// The model's name.
        model: String,
        /// Why.
        #[source]
        source: AnswerError,
    },
    /// A model's features cannot be made of its training set.
    #[error("the features of model '{model}'")]
    Features {
        /// The model's name.
        model: String,
        /// What is wrong.
        #[source]
        source: PlanError,
    },
    /// The other end of a channel or of a result is gone.
    #[error("{0} is gone")]
    Disconnected(String),
    /// An operator's code panicked: a bug.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The plan cannot be run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Arrow refused a computation.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// DataFusion refused an expression or aggregate.
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),
}

/// As settings have it: a kilobyte is 1024 bytes.
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl EngineError {
    /// Who must act.
    #[must_use]
    pub fn domain(&self) -> ErrorDomain {
        match self {
            Self::Operator { source, .. } => source.domain(),
            Self::Model { source: MlError::Team { .. }, .. } => ErrorDomain::External,
            Self::NoFiles { .. }
            | Self::NoObjects { .. }
            | Self::MissingColumn { .. }
            | Self::ColumnType { .. }
            | Self::Format { .. }
            | Self::SinkRefused { .. }
            | Self::Model { .. }
            | Self::NoAnswer { .. }
            | Self::Features { .. }
            | Self::QueryMemory { .. }
            | Self::Arrow(_)
            | Self::DataFusion(_) => ErrorDomain::User,
            Self::Lookup { .. }
            | Self::Destination { .. }
            | Self::SinkTakenOver { .. }
            | Self::File { .. }
            | Self::FilesChanged { .. }
            | Self::FileInUse { .. }
            | Self::ViewGone { .. }
            | Self::State(_)
            | Self::Scratch { .. }
            | Self::Disconnected(_) => ErrorDomain::External,
            Self::UnmatchedChange { .. } | Self::Plan(_) | Self::Panicked(_) => ErrorDomain::Internal,
        }
    }

    /// The error and all its causes on one line, outermost first.
    #[must_use]
    pub fn chain(&self) -> String {
        tidemill_plans::error::chain(self)
    }
}
