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
    /// The job.
    pub job: JobId,
    /// Index of the edge in [`crate::graph::DataflowGraph::edges`].
    pub edge: u32,
    /// Sending subtask.
    pub from: u32,
    /// Receiving subtask.
    pub to: u32,
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} edge {} {}->{}", self.job, self.edge, self.from, self.to)
    }
}
