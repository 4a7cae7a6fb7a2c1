//! What can go wrong in this crate, one variant for each thing that the caller can act on.
//!
//! Bad *rows* are not here: they are data, and a [`LearnReport`](crate::LearnReport) lists them.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use bincode::error::{DecodeError, EncodeError};

use crate::inspect::ModelTable;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, MlError>;

/// Why a model could not be made, fed, merged, saved or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MlError {
    /// `create` or `option_docs` was asked for a model type that does not exist.
    #[error("unknown model type '{model_type}'; valid types are {valid}")]
    UnknownModelType {
        /// The name that was given.
        model_type: String,
        /// The names that would work, separated by commas.
        valid: String,
    },
    /// An option's name is not one of the model type's.
    #[error("model type '{model_type}' has no option '{option}'; valid options are {valid}")]
    UnknownOption {
        /// The model type that was being made.
        model_type: &'static str,
        /// The name that was given.
        option: String,
        /// The names that would work, separated by commas.
        valid: String,
    },
    /// An option's value cannot be read, is out of range, or contradicts another option.
    #[error("option {option} = '{value}' is not valid; expected {expected}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// The value as it was given.
        value: String,
        /// What would work.
        expected: String,
    },
    /// The schema has no column to learn from.
    #[error("a model needs at least one feature column")]
    NoFeatures,
    /// Two feature columns share a name, so a batch's columns could not be told apart.
    #[error("feature column '{column}' appears twice; give each feature its own alias")]
    DuplicateFeature {
        /// The name they share.
        column: String,
    },
    /// A feature column's type is neither a number nor a category.
    #[error("feature column '{column}' has the unsupported type {data_type}; {hint}")]
    UnsupportedFeature {
        /// The column's name.
        column: String,
        /// Its type.
        data_type: DataType,
        /// What would work.
        hint: &'static str,
    },
    /// A model that takes numbers only was given a category.
    #[error(
        "feature column '{column}' is a category, but a model of type '{model_type}' takes numbers only; \
         leave it out or turn it into numbers"
    )]
    CategoricalFeature {
        /// The column's name.
        column: String,
        /// The model's type.
        model_type: &'static str,
    },
    /// Models of this type do not learn labels of this type.
    #[error("label column '{column}' has the unsupported type {data_type}; {hint}")]
    UnsupportedLabel {
        /// The column's name.
        column: String,
        /// Its type.
        data_type: DataType,
        /// What would work.
        hint: &'static str,
    },
    /// A column of actions has a type that no action has.
    #[error(
        "action column '{column}' has the unsupported type {data_type}; an action is a VARCHAR, a BOOLEAN or a whole number; \
         cast it to one of these"
    )]
    UnsupportedAction {
        /// The column's name.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// A batch lacks one of the model's feature columns.
    #[error("feature column '{column}' is missing; the batch has {available}")]
    MissingColumn {
        /// The column that the model was made with.
        column: String,
        /// The batch's column names, separated by commas.
        available: String,
    },
    /// A batch's column changed from a number to a category or back.
    #[error("feature column '{column}' was {expected} when the model was made but has type {data_type} now")]
    ChangedColumn {
        /// The column's name.
        column: String,
        /// What the model was made for: `numeric` or `categorical`.
        expected: &'static str,
        /// The type in the batch.
        data_type: DataType,
    },
    /// Features and labels differ in length.
    #[error("the batch has {rows} rows but {labels} labels")]
    LabelCount {
        /// Rows in the feature batch.
        rows: usize,
        /// Labels beside it.
        labels: usize,
    },
    /// A column's numbers could not be read as `f64`.
    #[error("cannot read feature column '{column}'")]
    ReadColumn {
        /// The column's name.
        column: String,
        /// What Arrow said.
        #[source]
        source: ArrowError,
    },
    /// Models of this type do not know what a table is to show.
    #[error("a model of type '{model_type}' has no {table}; it has {tables}")]
    NoTable {
        /// The model's type.
        model_type: &'static str,
        /// What was asked for.
        table: ModelTable,
        /// What it has, or `none of these tables`.
        tables: String,
    },
    /// A model was asked for what it does not have.
    #[error("a model of type '{model_type}' has no {what}: {reason}")]
    NotKnown {
        /// The model's type.
        model_type: &'static str,
        /// What was asked for: the steps of its fit, or the probabilities of its classes.
        what: &'static str,
        /// Why it has none, and what would help.
        reason: &'static str,
    },
    /// Nobody can say what that which models of this type say is made of.
    #[error("what a model of type '{model_type}' says cannot be explained; predictions of models with a label can")]
    NotExplained {
        /// The model's type.
        model_type: &'static str,
    },
    /// Predictions depend on more features than can be told apart by asking the model.
    #[error(
        "predictions of a model of this type can be explained by at most {features_max} features, not {features}; \
         fit it to those that matter"
    )]
    TooManyExplained {
        /// Features that there are.
        features: usize,
        /// The most that there may be.
        features_max: usize,
    },
    /// A table about a model could not be made.
    #[error("cannot make a table about the model")]
    BuildTable {
        /// What Arrow said.
        #[source]
        source: ArrowError,
    },
    /// A model of series was to answer rows.
    #[error(
        "a model of type '{model_type}' answers no rows; \
         ML.FORECAST(MODEL m, STRUCT(10 AS horizon)) says what comes after its training set"
    )]
    OnlyForecasts {
        /// The model's type.
        model_type: &'static str,
    },
    /// A model that was not fitted to series was to say what comes after them.
    #[error(
        "a model of type '{model_type}' was fitted to no series; ML.FORECAST takes models of arima and exponential_smoothing"
    )]
    NoSeries {
        /// The model's type.
        model_type: &'static str,
    },
    /// A model was asked for anomalies that cannot tell.
    #[error(
        "a model of type '{model_type}' does not tell anomalies; those of arima, exponential_smoothing, half_space_trees, \
         isolation_forest, one_class_svm and robust_zscore do"
    )]
    NoAnomalies {
        /// The model's type.
        model_type: &'static str,
    },
    /// No series of a training set can be forecast.
    #[error("none of the {series} series can be forecast; the first, '{name}': {reason}")]
    NoForecasts {
        /// Series of the training set.
        series: usize,
        /// The first one's id; empty without ids.
        name: String,
        /// Why it cannot.
        reason: String,
    },
    /// A feature is a time, which only models of series read.
    #[error(
        "feature column '{column}' is a time, which a model of type '{model_type}' does not read; \
         cast it to DOUBLE PRECISION or VARCHAR"
    )]
    TimeFeature {
        /// The column's name.
        column: String,
        /// The model's type.
        model_type: String,
    },
    /// Every row learnt had the same label, so nothing separates the classes.
    #[error("all {rows} rows learnt have the label {class}; a classifier needs rows of both classes")]
    OneClass {
        /// Rows learnt.
        rows: u64,
        /// The label that they all have.
        class: bool,
    },
    /// A model was to be fitted to no rows.
    #[error("there is no row to fit the model to: the query gave none, or none whose label and features can be used")]
    NoRows,
    /// There are rows, but fewer than anything can be learnt from.
    #[error("a model of type '{model_type}' needs at least {rows_min} rows, but there are {rows}")]
    TooFewRows {
        /// The model's type.
        model_type: &'static str,
        /// Rows taken.
        rows: u64,
        /// Rows that it needs.
        rows_min: u64,
    },
    /// The model reads numbers only, and no feature is one.
    #[error("a model of type '{model_type}' needs at least one numeric feature column")]
    NoNumbers {
        /// The model's type.
        model_type: &'static str,
    },
    /// Rows came after the fit, which changes those that are there.
    #[error("the model is fitted already; make a new one for more rows")]
    AlreadyFitted,
    /// A fit led to numbers that are not finite.
    #[error("the fit led to numbers beyond the range of DOUBLE PRECISION; {hint}")]
    Diverged {
        /// What would work.
        hint: &'static str,
    },
    /// A fitted model was to learn online, which its type does not.
    #[error("this model of type '{model_type}' only predicts; it cannot go on learning")]
    NotOnline {
        /// The model's type.
        model_type: &'static str,
    },
    /// Somebody ended the fit before it was done.
    #[error("the fit was stopped")]
    Stopped,
    /// A trial that one of several workers has run came to no model.
    #[error("{reason}")]
    Trial {
        /// Whether its options contradict each other, or the rows.
        is_contradiction: bool,
        /// Why.
        reason: String,
    },
    /// The others who fit the same model cannot be reached, or do something else.
    #[error("the other workers of this fit: {reason}")]
    Team {
        /// What is wrong.
        reason: String,
    },
    /// None of the trials of a search came to a model.
    #[error("none of the {trials} trials came to a model; the first")]
    NoTrial {
        /// Trials made.
        trials: usize,
        /// Why the first failed.
        #[source]
        source: Box<MlError>,
    },
    /// The rows that a model was to be judged by say nothing of it.
    #[error(
        "the rows held out have no {measure}: it needs labels of at least two values, which the model can predict; hold out \
         more rows, or take another measure"
    )]
    NoMeasure {
        /// What they were to be measured by.
        measure: &'static str,
    },
    /// Every row has the same class of several that there might have been.
    #[error("all {rows} rows have the label '{class}'; a classifier needs rows of at least two classes")]
    SameClass {
        /// Rows of the training set.
        rows: u64,
        /// The class that they all have.
        class: String,
    },
    /// A rule that would say several things.
    #[error(
        "a model of rules has one feature, which is its answer, and not several: {columns}; TRANSFORM (CASE … END AS rule) makes one"
    )]
    OneAnswer {
        /// The features.
        columns: String,
    },
    /// Models of this type have no form in another library.
    #[error("a {model_type} model cannot be exported so; {exported} can")]
    NotExported {
        /// The model's type.
        model_type: &'static str,
        /// What can.
        exported: &'static str,
    },
    /// A model of another library cannot be imported.
    #[error("the model in {format} cannot be imported: {place}: {problem}")]
    Import {
        /// The format's name.
        format: &'static str,
        /// Where in the file: a line, a node of a tree, or what is named so.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// A ranker's label is no relevance.
    #[error("the label {label} is no relevance: that of a {model_type} is a whole number from 0, of no use, to 30")]
    BadRelevance {
        /// The model's type.
        model_type: &'static str,
        /// The label.
        label: f64,
    },
    /// A ranker has nothing to put in order.
    #[error(
        "no group of rows {of} has labels that differ, so there is no order to learn; rows that are to be put in order need \
         the same value in the column '{column}'"
    )]
    NoOrder {
        /// Which rows: `to learn from`, or `held out`.
        of: &'static str,
        /// The column that says which rows are of one group.
        column: String,
    },
    /// The label has more classes than a model can tell apart.
    #[error("the label has more than {classes_max} classes; for a quantity, use the model type linear_reg")]
    TooManyClasses {
        /// The most classes that there may be.
        classes_max: usize,
    },
    /// A column has more categories than are counted.
    #[error("a column has more than {categories_max} categories; leave out what tells single rows apart")]
    TooManyCategories {
        /// The most that there may be.
        categories_max: usize,
    },
    /// A list of numbers has another length than those that the model was fitted to.
    #[error("the list in column '{column}' has {found} numbers, and {expected} were expected, as the first row had")]
    ListLength {
        /// The column's name.
        column: String,
        /// How many it has.
        found: usize,
        /// How many those of the training set have.
        expected: usize,
    },
    /// The lists of a column are too many features.
    #[error(
        "the lists in column '{column}' are more than {features_max} features: ML.BAG_OF_WORDS and ML.TF_IDF take the words that \
         most rows have, ML.TF_IDF({column}, {}) OVER (); of numbers take a part, or what tells most",
        .features_max - 1
    )]
    TooManyListFeatures {
        /// The column's name.
        column: String,
        /// The most that there may be.
        features_max: usize,
    },
    /// Categories were to be encoded by labels of more than two classes.
    #[error(
        "ML.TARGET_ENCODER goes by the mean of the label, or by how often it is the second of two classes, and this one has more: \
         {first}, {second}, {third}; ML.ONE_HOT_ENCODER goes by no label"
    )]
    TooManyTargets {
        /// Three of the classes.
        first: String,
        /// Another.
        second: String,
        /// And the one that is too many.
        third: String,
    },
    /// A statistic was to be collected of a column that cannot have it.
    #[error(
        "a column of type {data_type} has no such statistic; scalers read DOUBLE PRECISION, encoders VARCHAR, bags of words lists \
         of VARCHAR"
    )]
    NoStatistic {
        /// The column's type.
        data_type: DataType,
    },
    /// Models that differ in `what` cannot be averaged.
    #[error("cannot merge models that differ in {what}; merge only copies of one model")]
    MergeMismatch {
        /// What differs: `model type`, `options` or `features`.
        what: &'static str,
    },
    /// Models of this type have no average.
    #[error("models of type '{model_type}' cannot be merged: one task has to learn all rows")]
    NotMergeable {
        /// The model's type.
        model_type: &'static str,
    },
    /// A snapshot was written by another version of this crate.
    #[error("model state has version {found}, but this build reads version {supported}")]
    StateVersion {
        /// The version in the snapshot's first byte.
        found: u8,
        /// The version that this build writes and reads.
        supported: u8,
    },
    /// A snapshot is larger than any that this crate writes, or a model has outgrown one.
    #[error("model state of {bytes} bytes exceeds the limit of {bytes_max} bytes")]
    StateTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The largest size in bytes.
        bytes_max: usize,
    },
    /// A model that compares each two rows was to be fitted to more of them than it can be in minutes.
    #[error(
        "a model of type '{model_type}' compares each two of its rows, so it is fitted to at most {rows_max} of them, not \
         {rows}; fit it to a sample of them, or isolation_forest to all"
    )]
    TooManyPairs {
        /// The model's type.
        model_type: &'static str,
        /// Rows that it was to be fitted to.
        rows: u64,
        /// The most that there may be.
        rows_max: u64,
    },
    /// A model that holds the rows of its training set was to hold more than a snapshot has room for.
    #[error(
        "the model would hold {rows} rows, of which {rows_max} fit into its limit of {bytes_max} bytes; \
         fit it to a sample of them"
    )]
    TooManyRows {
        /// Rows that it would hold.
        rows: u64,
        /// Rows of these features that fit.
        rows_max: u64,
        /// The largest size of a snapshot in bytes.
        bytes_max: usize,
    },
    /// The trees that were grown do not fit into a snapshot.
    #[error("the trees exceed the {bytes_max} bytes of a model; {hint}")]
    TreesTooLarge {
        /// The largest size in bytes.
        bytes_max: usize,
        /// Which options would make them smaller.
        hint: &'static str,
    },
    /// A snapshot's bytes decode to nothing, or to something that no model could have written.
    #[error("model state is corrupt: {reason}")]
    CorruptState {
        /// Which rule the bytes break.
        reason: &'static str,
        /// What the decoder said, where the decoder found it.
        #[source]
        source: Option<DecodeError>,
    },
    /// A model's state could not be written.
    #[error("cannot encode model state")]
    EncodeState {
        /// What the encoder said.
        #[source]
        source: EncodeError,
    },
}

impl MlError {
    /// A snapshot that decodes but breaks one of the model's invariants.
    pub(crate) fn corrupt(reason: &'static str) -> Self {
        Self::CorruptState { reason, source: None }
    }
}
