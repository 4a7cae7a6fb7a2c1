//! The operators of a dataflow graph as data, one file each.
//!
//! A node says what to compute, never how: `tidemill-engine` has an operator of the same name for
//! each. Column references are indexes into the node's input; expressions name input fields.

mod aggregate;
mod filter;
mod fit;
mod interval_join;
mod join;
mod join_kind;
mod late_split;
mod lookup_join;
mod normalize;
mod over_window;
mod predict;
mod project;
mod published;
mod session_assign;
mod session_window;
mod sink;
mod source;
mod temporal_join;
mod time_to_live;
mod top_n;
mod train;
mod union;
mod unnest;
mod window_aggregate;
mod window_assign;

pub use aggregate::{AggregateEmit, AggregateNode};
pub use filter::FilterNode;
pub use fit::{FIT_WORKERS_MAX, FitNode};
pub use interval_join::IntervalJoinNode;
pub use join::JoinNode;
pub use join_kind::{JoinKind, JoinSide};
pub use late_split::{LateSplitNode, LateWindows};
pub use lookup_join::{LookupJoinNode, LookupTable};
pub use normalize::NormalizeNode;
pub use over_window::{OverEmit, OverWindowNode};
pub use predict::{ModelFreshness, PredictNode, predicted_fields};
pub use project::{ProjectNode, Projection};
pub use published::{Published, version_rows};
pub use session_assign::SessionAssignNode;
pub use session_window::SessionWindowNode;
pub use sink::{SinkNode, SortColumn};
pub use source::{EventTimeSpec, NullEventTime, PROCTIME_COLUMN, SourceNode, SourceTiming, add_columns};
pub use temporal_join::{TemporalJoinKind, TemporalJoinNode, VersionBound};
pub use time_to_live::TimeToLive;
pub use top_n::{TopNEmit, TopNNode};
pub use train::{TrainNode, model_version_schema};
pub use union::UnionNode;
pub use unnest::{UnnestColumn, UnnestNode};
pub use window_aggregate::WindowAggregateNode;
pub use window_assign::{TimeWindow, WindowAssignNode, WindowSpec};

/// What a node of the graph does.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub enum NodeKind {
    /// Reads rows from outside.
    Source(SourceNode),
    /// Makes a changelog of rows that replace each other by key.
    Normalize(NormalizeNode),
    /// Computes columns.
    Project(ProjectNode),
    /// Keeps rows.
    Filter(FilterNode),
    /// Appends each row's windows, one output row a window.
    WindowAssign(WindowAssignNode),
    /// Appends each row's session once it has closed.
    SessionAssign(SessionAssignNode),
    /// Tells late rows from others.
    LateSplit(LateSplitNode),
    /// Groups and aggregates within windows; emits when a window closes.
    WindowAggregate(WindowAggregateNode),
    /// Groups and aggregates within sessions; emits when a session closes.
    SessionWindow(SessionWindowNode),
    /// Groups and aggregates without a window; emits a changelog.
    Aggregate(AggregateNode),
    /// Joins rows for as long as they are there; emits a changelog where rows may go.
    Join(JoinNode),
    /// Joins rows whose times are near each other.
    IntervalJoin(IntervalJoinNode),
    /// Joins each row with the version of the other side that was valid at its time.
    TemporalJoin(TemporalJoinNode),
    /// Keeps the first rows of each partition in an order.
    TopN(TopNNode),
    /// Appends the values of window functions.
    OverWindow(OverWindowNode),
    /// Joins each row with the rows of an external table as they are now.
    LookupJoin(LookupJoinNode),
    /// Learns a model and emits its versions.
    Train(TrainNode),
    /// Fits a model to all rows and emits it.
    Fit(FitNode),
    /// Applies the model version that belongs to each row's time.
    Predict(PredictNode),
    /// Puts several streams of one schema together.
    Union(UnionNode),
    /// Makes a row of each element of a list.
    Unnest(UnnestNode),
    /// Writes rows to the outside.
    Sink(SinkNode),
}

impl NodeKind {
    /// The operator's one name: in EXPLAIN, in errors and in file names.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Source(_) => "Source",
            Self::Normalize(_) => "Normalize",
            Self::Project(_) => "Project",
            Self::Filter(_) => "Filter",
            Self::WindowAssign(_) => "WindowAssign",
            Self::SessionAssign(_) => "SessionAssign",
            Self::LateSplit(_) => "LateSplit",
            Self::WindowAggregate(_) => "WindowAggregate",
            Self::SessionWindow(_) => "SessionWindow",
            Self::Aggregate(_) => "Aggregate",
            Self::Join(_) => "Join",
            Self::IntervalJoin(_) => "IntervalJoin",
            Self::TemporalJoin(_) => "TemporalJoin",
            Self::TopN(_) => "TopN",
            Self::OverWindow(_) => "OverWindow",
            Self::LookupJoin(_) => "LookupJoin",
            Self::Train(_) => "Train",
            Self::Fit(_) => "Fit",
            Self::Predict(_) => "Predict",
            Self::Union(_) => "Union",
            Self::Unnest(_) => "Unnest",
            Self::Sink(_) => "Sink",
        }
    }

    /// The connector and its options, of what is outside.
    #[must_use]
    pub fn connector(&self) -> Option<(&str, &[(String, String)])> {
        match self {
            Self::Source(source) => Some((&source.connector, &source.options)),
            Self::LookupJoin(join) => Some((&join.table.connector, &join.table.options)),
            Self::Sink(sink) => Some((&sink.connector, &sink.options)),
            _ => None,
        }
    }

    /// The options of its connector, to be changed.
    pub fn options_mut(&mut self) -> Option<&mut Vec<(String, String)>> {
        match self {
            Self::Source(source) => Some(&mut source.options),
            Self::LookupJoin(join) => Some(&mut join.table.options),
            Self::Sink(sink) => Some(&mut sink.options),
            _ => None,
        }
    }

    /// Whether its operator puts what has no room in memory on disk.
    #[must_use]
    pub fn spills(&self) -> bool {
        match self {
            Self::Aggregate(aggregate) => {
                !aggregate.keys.is_empty() || aggregate.has_distinct() || aggregate.may_wait()
            }
            Self::Join(join) => !join.left_keys.is_empty(),
            Self::IntervalJoin(join) => !join.left_keys.is_empty(),
            Self::WindowAggregate(aggregate) => {
                !aggregate.keys.is_empty() || aggregate::may_need_order(&aggregate.aggregates)
            }
            Self::LateSplit(split) => matches!(split.windows, LateWindows::Session { .. }),
            Self::Normalize(_) | Self::SessionWindow(_) | Self::SessionAssign(_) => true,
            // Rows that wait for event time to pass them, or for the last one.
            Self::TemporalJoin(_) | Self::Train(_) | Self::Fit(_) => true,
            Self::Predict(predict) => predict.freshness.waits(),
            Self::Sink(sink) => sink.waits_by().is_some(),
            Self::TopN(top) => match top.emit {
                TopNEmit::InOrder { .. } => true,
                TopNEmit::OnClose { .. } => false,
                _ => !top.partition.is_empty(),
            },
            Self::OverWindow(over) => matches!(over.emit, OverEmit::InOrder { .. }) || !over.partition.is_empty(),
            _ => false,
        }
    }

    /// How many inputs (ports) the node has; a union takes any number on port 0.
    #[must_use]
    pub fn ports(&self) -> usize {
        match self {
            Self::Source(_) => 0,
            Self::Join(_) | Self::IntervalJoin(_) | Self::TemporalJoin(_) | Self::Predict(_) => 2,
            _ => 1,
        }
    }
}

/// A duration in microseconds as EXPLAIN prints it, in its largest whole unit.
pub(crate) fn window_assign_micros(micros: i64) -> impl std::fmt::Display {
    window_assign::Micros(micros)
}
