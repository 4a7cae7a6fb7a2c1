//! What the outside sees of a job.

use tidemill_plans::ErrorDomain;

/// Where a job is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// No worker is there to run it: it begins as soon as one is.
    Waiting,
    /// Its tasks are being placed and created.
    Scheduling,
    /// Its tasks run.
    Running,
    /// It has failed, and is going to be tried again from its newest checkpoint.
    Restarting {
        /// The cause of the failure, with its chain.
        message: String,
        /// Which restart this is, from 1 on.
        attempt: u32,
    },
    /// It was asked to end and has not ended yet.
    Stopping,
    /// It has read and written everything.
    Finished,
    /// It ended on request.
    Stopped,
    /// It has left off at its newest checkpoint, from which another coordinator goes on.
    Suspended,
    /// It ended because of an error.
    Failed {
        /// Who must act.
        domain: ErrorDomain,
        /// The first cause, with its chain.
        message: String,
    },
}

impl JobStatus {
    /// The status in a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting for slots",
            Self::Scheduling => "scheduling",
            Self::Running => "running",
            Self::Restarting { .. } => "restarting",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Suspended => "suspended",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether the job has ended here: no status follows.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Finished | Self::Stopped | Self::Suspended | Self::Failed { .. })
    }
}

/// Why something in a job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFailure {
    /// Who must act.
    pub domain: ErrorDomain,
    /// The whole chain of causes.
    pub message: String,
}

impl JobFailure {
    /// A failure of something outside, where trying again may help.
    #[must_use]
    pub fn external(message: String) -> Self {
        Self { domain: ErrorDomain::External, message }
    }
}

impl From<JobFailure> for JobStatus {
    fn from(failure: JobFailure) -> Self {
        Self::Failed { domain: failure.domain, message: failure.message }
    }
}
