//! The operators of a dataflow document: what `tidemill_plans::node` has, with columns by name and expressions as SQL.
//!
//! The comments here are the descriptions in the JSON Schema. All lengths of time are microseconds.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::ColumnDocument;
use super::expression::ExprDocument;

/// What a node does: an object with one member, which is named after the operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OperatorDocument {
    /// Reads rows from outside.
    Source(SourceDocument),
    /// Makes a changelog of rows that replace each other by key.
    Normalize(NormalizeDocument),
    /// Computes columns.
    Project(ProjectDocument),
    /// Keeps the rows for which a condition is true.
    Filter(FilterDocument),
    /// Appends window_start, window_end and window_time to each row, once for every window that it is in.
    WindowAssign(WindowAssignDocument),
    /// Appends the bounds of its session to each row, once that has closed.
    SessionAssign(SessionDocument),
    /// Appends a column that is true for rows whose windows have all closed.
    LateSplit(LateSplitDocument),
    /// Groups by keys and window; emits a window's rows once it has closed.
    WindowAggregate(WindowAggregateDocument),
    /// Groups by keys and session; emits a session's row once it has closed.
    SessionWindow(SessionWindowDocument),
    /// Groups by keys; emits a changelog.
    Aggregate(AggregateDocument),
    /// Joins rows with equal keys for as long as they are there.
    Join(JoinDocument),
    /// Joins rows with equal keys whose event times lie within an interval of each other.
    IntervalJoin(IntervalJoinDocument),
    /// Joins each row of port 0 with the newest row of port 1 as of its event time.
    TemporalJoin(TemporalJoinDocument),
    /// Joins each row with the rows of an external table as they are now.
    LookupJoin(LookupJoinDocument),
    /// Keeps the first rows of each partition in an order.
    TopN(TopNDocument),
    /// Appends the values of window functions.
    OverWindow(OverWindowDocument),
    /// Learns a model, and emits its versions.
    Train(TrainDocument),
    /// Fits a model to all rows, and emits it.
    Fit(FitDocument),
    /// Appends a model's prediction to each row of port 0; its versions come on port 1.
    Predict(PredictDocument),
    /// Puts streams of the same columns together.
    Union(UnionDocument),
    /// Makes a row of each element of lists, and columns of the fields of structs.
    Unnest(UnnestDocument),
    /// Writes rows to the outside.
    Sink(SinkDocument),
}

/// A source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceDocument {
    /// What it is called in metrics and messages; the node's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The connector, such as files.
    pub connector: String,
    /// The connector's options.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub options: IndexMap<String, String>,
    /// The columns that are read.
    pub reads: Vec<ColumnDocument>,
    /// The names of all columns in the order in which they stand in data without names; those that are read unless
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Vec<String>>,
    /// The source's own columns, over those that are read; these unless given. PROCTIME() is the time of reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<Vec<NamedExpr>>,
    /// Event time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTimeDocument>,
    /// The columns by which rows replace each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upsert_key: Vec<String>,
}

/// Event time, and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTimeDocument {
    /// A column of the source, a TIMESTAMP.
    pub column: String,
    /// The watermark behind a row, over the source's columns, such as `ts - INTERVAL '4 seconds'`; its greatest value
    /// counts.
    pub watermark: ExprDocument,
    /// What becomes of rows whose event time is NULL.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_null: OnNull,
}

/// What becomes of rows whose event time is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNull {
    /// They go to the dead letters.
    #[default]
    DeadLetter,
    /// They are counted and left out.
    Skip,
}

/// The last rows of keys as a changelog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalizeDocument {
    /// The key.
    pub keys: Vec<String>,
    /// How long the row of a key is kept that no row touches; for ever unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<TtlDocument>,
}

/// A time to live of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TtlDocument {
    /// How long, in microseconds of event time.
    pub micros: i64,
    /// The event-time column from which it counts; the watermark at which a row came unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// A column that is computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedExpr {
    /// Its name.
    pub name: String,
    /// Its value.
    pub expr: ExprDocument,
}

/// A call whose value is a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The column's name; the call as it is written unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The call, such as `count(*)`.
    pub call: ExprDocument,
}

/// Columns over the input's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectDocument {
    /// The columns in order.
    pub columns: Vec<NamedExpr>,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterDocument {
    /// A boolean expression; rows for which it is NULL go too.
    pub predicate: ExprDocument,
}

/// Windows over event time, which are half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WindowDocument {
    /// Windows that follow each other.
    Tumble {
        /// Length of a window.
        size: i64,
        /// Shift of the windows' starts against the epoch.
        #[serde(default, skip_serializing_if = "is_default")]
        offset: i64,
    },
    /// Windows of one length that start at intervals.
    Hop {
        /// From one window's start to the next.
        slide: i64,
        /// Length of a window.
        size: i64,
        /// Shift of the windows' starts against the epoch.
        #[serde(default, skip_serializing_if = "is_default")]
        offset: i64,
    },
    /// Windows that grow from one start, and then start anew.
    Cumulate {
        /// From one window's end to the next.
        step: i64,
        /// Length of the longest window, a multiple of the step.
        size: i64,
        /// Shift of the windows' starts against the epoch.
        #[serde(default, skip_serializing_if = "is_default")]
        offset: i64,
    },
}

impl WindowDocument {
    /// Windows of this length, in microseconds, that follow each other.
    #[must_use]
    pub fn tumble(size: i64) -> Self {
        Self::Tumble { size, offset: 0 }
    }

    /// Windows of a length that start at intervals, both in microseconds.
    #[must_use]
    pub fn hop(slide: i64, size: i64) -> Self {
        Self::Hop { slide, size, offset: 0 }
    }
}

/// Windows without an aggregation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowAssignDocument {
    /// An event-time column.
    pub time: String,
    /// The windows.
    pub window: WindowDocument,
}

/// Sessions: rows of a key that follow each other within a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionDocument {
    /// The key; one session at a time without any.
    #[serde(default)]
    pub keys: Vec<String>,
    /// An event-time column.
    pub time: String,
    /// The longest pause within a session.
    pub gap: i64,
}

/// What rows can come too late for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LateSplitDocument {
    /// An event-time column.
    pub time: String,
    /// The windows.
    pub windows: LateWindowsDocument,
}

/// The windows that rows come too late for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LateWindowsDocument {
    /// Those of the clock.
    Fixed(WindowDocument),
    /// Those of the rows of each key.
    Session {
        /// The key.
        keys: Vec<String>,
        /// The longest pause within a session.
        gap: i64,
    },
}

/// An aggregation within windows. Its columns: the keys, window_start, window_end, window_time, the aggregates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowAggregateDocument {
    /// The key; one group a window without any.
    #[serde(default)]
    pub keys: Vec<String>,
    /// An event-time column.
    pub time: String,
    /// The windows.
    pub window: WindowDocument,
    /// Aggregate functions over the input's columns.
    pub aggregates: Vec<Call>,
    /// For how long after a window's end late rows change its result; if for any time, the output is a changelog.
    #[serde(default, skip_serializing_if = "is_default")]
    pub updates_within: i64,
}

/// An aggregation within sessions. Its columns: the keys, window_start, window_end, window_time, the aggregates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionWindowDocument {
    /// The key; one session at a time without any.
    #[serde(default)]
    pub keys: Vec<String>,
    /// An event-time column.
    pub time: String,
    /// The longest pause within a session.
    pub gap: i64,
    /// Aggregate functions over the input's columns.
    pub aggregates: Vec<Call>,
}

/// An aggregation without windows. Its columns: the keys, the aggregates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AggregateDocument {
    /// The key; one group without any.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The event-time column in whose order rows are taken where it matters, and from which a time to live counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Aggregate functions over the input's columns.
    pub aggregates: Vec<Call>,
    /// When changes are emitted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub emit: ChangesDocument,
    /// For how many milliseconds changes are gathered; as the setting update_interval says unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gather_ms: Option<u64>,
    /// How long a group is kept that no row changes, in microseconds of event time; for ever unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
}

/// When changes are emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangesDocument {
    /// As rows come.
    #[default]
    OnUpdate,
    /// Once, when the input has ended.
    AtEnd,
}

/// The kinds of joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinKindDocument {
    /// Pairs alone.
    #[default]
    Inner,
    /// Pairs, and left rows without a partner.
    Left,
    /// Pairs, and right rows without a partner.
    Right,
    /// Pairs, and rows of both sides without a partner.
    Full,
    /// Left rows with a partner.
    LeftSemi,
    /// Left rows without a partner.
    LeftAnti,
    /// Right rows with a partner.
    RightSemi,
    /// Right rows without a partner.
    RightAnti,
}

/// A join without bounds on time; port 0 is the left side, port 1 the right one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinDocument {
    /// What becomes of rows with and without a partner.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: JoinKindDocument,
    /// The left key.
    pub left_keys: Vec<String>,
    /// The right key, of as many columns.
    pub right_keys: Vec<String>,
    /// The left event-time column, from which a time to live counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_time: Option<String>,
    /// The right event-time column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_time: Option<String>,
    /// The names of a pair's columns, the left ones first; those of the sides, made unique, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Vec<String>>,
    /// A further condition, over a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<ExprDocument>,
    /// How long left rows are kept, in microseconds of event time; for ever unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ttl: Option<i64>,
    /// How long right rows are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_ttl: Option<i64>,
}

/// Rows are partners if their keys are equal and `lower <= right time - left time <= upper`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntervalJoinDocument {
    /// What becomes of rows with and without a partner.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: JoinKindDocument,
    /// The left key; none if any two rows may be partners.
    #[serde(default)]
    pub left_keys: Vec<String>,
    /// The right key, of as many columns.
    #[serde(default)]
    pub right_keys: Vec<String>,
    /// The left event-time column.
    pub left_time: String,
    /// The right event-time column.
    pub right_time: String,
    /// The least value of right time - left time.
    pub lower: i64,
    /// The greatest value of right time - left time.
    pub upper: i64,
    /// The names of a pair's columns, the left ones first; those of the sides, made unique, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Vec<String>>,
    /// A further condition, over a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<ExprDocument>,
}

/// A join as of the left row's event time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemporalJoinDocument {
    /// The left key.
    pub left_keys: Vec<String>,
    /// The right key, of as many columns.
    pub right_keys: Vec<String>,
    /// The left event-time column.
    pub left_time: String,
    /// The right event-time column: from when on a version is valid.
    pub right_time: String,
    /// Whether a version of the left row's very time does not count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strictly_before: bool,
    /// Whether left rows without a version stay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keeps_unmatched: bool,
    /// For how many microseconds of event time a version is found; for ever unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
}

/// A join with an external table, which is asked by key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupJoinDocument {
    /// The table's name.
    pub table: String,
    /// The connector.
    pub connector: String,
    /// The connector's options.
    #[serde(default)]
    pub options: IndexMap<String, String>,
    /// The columns that are fetched.
    pub fetches: Vec<ColumnDocument>,
    /// The names of all its columns, in their order; those that are fetched unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Vec<String>>,
    /// The columns of the table that are compared.
    pub table_keys: Vec<String>,
    /// The columns of the input that they are compared with.
    pub input_keys: Vec<String>,
    /// Whether rows for which the table has none stay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keeps_unmatched: bool,
    /// How many rows of the table are kept.
    pub cache_rows: u64,
    /// For how many microseconds they are true.
    pub cache_ttl: i64,
}

/// A column to order by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SortDocument {
    /// The column.
    pub column: String,
    /// Largest first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub descending: bool,
    /// NULLs before everything else.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nulls_first: bool,
}

/// The first rows of partitions. Its columns: the input's, and the rank if it is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopNDocument {
    /// The partition's columns; one partition without any.
    #[serde(default)]
    pub partition: Vec<String>,
    /// The order.
    pub order_by: Vec<SortDocument>,
    /// How many rows are kept, at least one.
    pub limit: u64,
    /// The name of the column with the rank, from 1, if it is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<String>,
    /// When rows are emitted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub emit: TopNEmitDocument,
    /// For how many milliseconds changes are gathered; as the setting update_interval says unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gather_ms: Option<u64>,
    /// How long a partition is kept that no row touches; for ever unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<TtlDocument>,
}

/// When the first rows are emitted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TopNEmitDocument {
    /// Whenever those of a partition change: a changelog.
    #[default]
    OnUpdate,
    /// Once, when the input has ended.
    AtEnd,
    /// Once for each partition, when event time has passed one of its columns.
    OnClose {
        /// An event-time column of the partition.
        time: String,
    },
    /// Row by row as event time passes, for an order that begins with event time, oldest first.
    InOrder {
        /// The first column of the order.
        time: String,
    },
}

/// Window functions of one partition and order. Its columns: the input's, and one for each function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverWindowDocument {
    /// The partition's columns; one partition without any.
    #[serde(default)]
    pub partition: Vec<String>,
    /// The order.
    pub order_by: Vec<SortDocument>,
    /// Window functions with their order and frame, without PARTITION BY: `sum(x) OVER (ORDER BY ts)`.
    pub functions: Vec<Call>,
    /// When rows are emitted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub emit: OverEmitDocument,
    /// For how many milliseconds changes are gathered; as the setting update_interval says unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gather_ms: Option<u64>,
    /// How long a partition is kept that no row touches; for ever unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<TtlDocument>,
}

/// When the values of window functions are emitted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OverEmitDocument {
    /// Whenever the rows of a partition change: a changelog.
    #[default]
    OnUpdate,
    /// Once, when the input has ended.
    AtEnd,
    /// Each row once, when all rows have come that its frames can reach.
    InOrder {
        /// The first column of the order, an event time.
        time: String,
        /// How many rows behind a row its frames reach.
        rows_ahead: u64,
        /// How many microseconds behind a row's time its frames reach.
        micros_ahead: i64,
    },
}

/// Continuous training. Its columns: model_version, learnt_to, rows_learnt, state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainDocument {
    /// The model's name.
    pub model: String,
    /// The algorithm, such as logistic_reg.
    pub model_type: String,
    /// The algorithm's options.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub options: IndexMap<String, String>,
    /// The label's column, if the algorithm learns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The event-time column: when the label, or else the row, became known.
    pub time: String,
    /// The features' columns.
    pub features: Vec<String>,
    /// Length of a publishing interval.
    pub publish_every: i64,
}

/// Training as a whole, once all rows have come. Its columns are those of train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FitDocument {
    /// The model's name.
    pub model: String,
    /// The number that its version gets.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: i64,
    /// The algorithm, such as logistic_reg.
    pub model_type: String,
    /// The algorithm's options.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub options: IndexMap<String, String>,
    /// The label's column, if the algorithm learns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The features' columns, or those that features are made of.
    pub features: Vec<String>,
    /// How features are made of these columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformDocument>,
}

fn first() -> i64 {
    1
}

/// Takes a reference, as serde has it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_first(version: &i64) -> bool {
    *version == first()
}

/// What features a model makes of columns, whenever it is fitted or asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformDocument {
    /// Functions of all rows, whose values features read as columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub analytics: Vec<AnalyticDocument>,
    /// The features, over the columns and these values.
    pub features: Vec<NamedExpr>,
}

/// A function of all rows, such as ML.STANDARD_SCALER.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalyticDocument {
    /// The name that features have for its value.
    pub name: String,
    /// The function and its constants, called with x: ML.IMPUTER(x, 'mean') OVER ().
    pub function: String,
    /// What x is: DOUBLE for a function of numbers, VARCHAR for one of categories.
    pub argument: ExprDocument,
}

/// Predictions. Its columns: those of port 0, predicted_<label>, predicted_<label>_prob or what else the model says,
/// model_version, model_event_time. Asked for features, it has these alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictDocument {
    /// The model's name.
    pub model: String,
    /// The label's name, if the model has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The label's type as the model predicts it, such as Int64 or BIGINT; Boolean unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_type: Option<String>,
    /// What a model without a label says, or the features of one that has TRANSFORM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ColumnDocument>,
    /// The features' columns, in the order in which the model was trained.
    pub features: Vec<String>,
    /// The event-time column; without it rows are answered by the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Which version answers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub freshness: FreshnessDocument,
    /// What it is asked about each row.
    #[serde(default, skip_serializing_if = "is_default")]
    pub question: QuestionDocument,
}

/// What a model is asked about rows.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuestionDocument {
    /// What it predicts.
    #[default]
    Prediction,
    /// What it predicts, and why.
    Explanation {
        /// The most features that a row's explanation names.
        top_k_features: u32,
    },
    /// Which features its TRANSFORM makes of them.
    Features,
    /// Whether they are anomalies.
    Anomaly {
        /// The probability above which one is, of a model of series.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f64>,
    },
    /// What it predicts, and the probabilities of all classes.
    ClassProbabilities,
    /// What it predicts, and what moves that near each row; an operator has no training set and refuses it.
    LocalExplanation {
        /// The most features that a row's explanation names.
        top_k_features: u32,
        /// What the rows near one are drawn by.
        seed: u64,
    },
}

/// Which version of a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FreshnessDocument {
    /// The one that belongs to the row's time; the row waits for it.
    #[default]
    Consistent,
    /// The newest that is there and not from the row's future.
    Latest,
    /// The newest that has come while event time was before the row's.
    Live,
}

/// Streams of the same columns, all on port 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnionDocument {}

/// Lists and structs as rows and columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnnestDocument {
    /// The columns in order.
    pub columns: Vec<UnnestColumnDocument>,
    /// Whether a row stays whose lists are all NULL or empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keeps_empty: bool,
}

/// A column of rows that come from lists and structs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnnestColumnDocument {
    /// Its name; made up unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is from.
    pub from: UnnestFrom,
}

/// Where a column is from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UnnestFrom {
    /// This column as it is.
    Passed(String),
    /// The elements of this list.
    Elements(String),
    /// A field of a struct.
    Field {
        /// The struct's column.
        column: String,
        /// The field's name.
        field: String,
    },
}

/// A sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkDocument {
    /// What it is called in metrics and messages; the node's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The connector, such as files.
    pub connector: String,
    /// The connector's options.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub options: IndexMap<String, String>,
    /// The event-time column in whose order rows are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The columns that tell the rows of an updating input apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upsert_keys: Vec<String>,
    /// The order of a bounded result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<SortDocument>,
    /// At most so many rows of a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Whether a result's rows come as they are known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub live: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
