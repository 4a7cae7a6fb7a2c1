//! Names of things as numbers, each its own type so that two of them cannot be swapped.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, bincode::Encode, bincode::Decode,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A job: one dataflow graph from start to end, over all its restarts.
    JobId(u64),
    "job-"
);
id!(
    /// An operator of a job's graph: its index in [`crate::graph::DataflowGraph::nodes`].
    OperatorId(u32),
    "op-"
);
id!(
    /// A stage of a job: operators that are chained and run in the same tasks.
    StageId(u32),
    "stage-"
);
id!(
    /// A worker of the cluster, as the coordinator numbers them.
    WorkerId(u32),
    "worker-"
);
id!(
    /// A checkpoint's number within its job; it only grows.
    Epoch(u64),
    "epoch-"
);

/// One attempt at a job, from a deployment to its end or to the failure that the next attempt begins after.
/// What an attempt says means nothing to another: messages and channels carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, bincode::Encode, bincode::Decode)]
pub struct RunId {
    /// The job.
    pub job: JobId,
    /// Which attempt, from 0 on.
    pub attempt: u32,
}

impl RunId {
    /// The first attempt at a job.
    #[must_use]
    pub const fn first(job: JobId) -> Self {
        Self { job, attempt: 0 }
    }

    /// The attempt after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { attempt: self.attempt + 1, ..self }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            0 => self.job.fmt(f),
            again => write!(f, "{} (restart {again})", self.job),
        }
    }
}

/// A barrier: what is before it on a channel belongs to its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, bincode::Encode, bincode::Decode)]
pub struct Barrier {
    /// The epoch that it ends.
    pub epoch: Epoch,
    /// Whether tasks write their state for it, so that the job can go on from here.
    pub is_checkpoint: bool,
    /// Whether it may overtake rows where it has waited for too long; they are then part of the state.
    pub may_overtake: bool,
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.epoch.fmt(f)
    }
}

impl Epoch {
    /// Behind all others: the epoch of a job that has read and written everything.
    pub const END: Self = Self(u64::MAX);
}

/// One parallel instance of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct TaskId {
    /// The stage that the task is an instance of.
    pub stage: StageId,
    /// Which instance, from 0 up to the stage's parallelism.
    pub subtask: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stage, self.subtask)
    }
}

/// One channel of a graph's edge: from one sending task to one receiving task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct ChannelId {
    /// The attempt at a job.
    pub run: RunId,
    /// Index of the edge in [`crate::graph::DataflowGraph::edges`].
    pub edge: u32,
    /// Sending subtask.
    pub from: u32,
    /// Receiving subtask.
    pub to: u32,
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} edge {} {}->{}", self.run, self.edge, self.from, self.to)
    }
}
