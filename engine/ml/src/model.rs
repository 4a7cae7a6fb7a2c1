//! The contracts of models that learn from a stream: [`OnlineModel`], and of those with a label [`OnlineSupervised`]; what
//! they read, what they say.

#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeSet;
use std::fmt;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use bincode::{Decode, Encode};

use crate::error::{MlError, Result};
use crate::predictor::{Labelled, Predictions, Predictor, Supervised};

/// Probability from which on a label is predicted to be true.
pub(crate) const THRESHOLD: f64 = 0.5;

/// The label that is predicted of each probability; NULL where there is none.
#[must_use]
pub fn predicted_labels(probabilities: &Float64Array) -> BooleanArray {
    probabilities.iter().map(|probability| probability.map(|probability| probability >= THRESHOLD)).collect()
}

/// The largest magnitude of a numeric feature that can be learnt.
///
/// Its square, summed over a long stream and multiplied by a weight, stays within the range of `f64`;
/// beyond that range the column's variance, and then every weight, would turn into NaN.
pub const NUMERIC_MAGNITUDE_MAX: f64 = 1e50;

/// A model that learns one batch after another and can predict at any moment.
///
/// One task owns a model and calls it from one thread at a time; predictions take `&self`, so copies
/// for serving may be shared. Rows are learnt one by one in the order given: the same rows in the
/// same order leave the same bits, however they were cut into batches. Implementations read no
/// clock, and draw random numbers of a seed and of the rows' numbers only.
///
/// Feature columns are found by name, so a batch may carry other columns and any order. A batch of
/// the wrong shape is an error and changes nothing; a bad row is reported and skipped.
///
/// What a model says is [`Predictor::answers`]. Models with a label are [`OnlineSupervised`], and this by [`Labelled`].
pub trait OnlineModel: Predictor {
    /// Learns every acceptable row of a batch; `labels` has one value for each row, of the type that the model was
    /// made for: NULLs of the type Null for a model without a label.
    ///
    /// # Errors
    /// `MissingColumn`, `ChangedColumn`, `LabelCount` or `UnsupportedLabel`; the model is then as it was before.
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport>;

    /// Joins this model with copies of it that learnt other rows, given as their snapshots.
    ///
    /// The order of `snapshots` decides the rounding, so a caller that replays must keep it.
    ///
    /// # Errors
    /// `MergeMismatch`, or what [`restore`](crate::restore) returns for a bad snapshot; `NotMergeable`, as here, where
    /// models of the type have no average. The model is then as it was before.
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        if snapshots.is_empty() { Ok(()) } else { Err(MlError::NotMergeable { model_type: self.model_type() }) }
    }

    /// The model as bytes that [`restore`](crate::restore) reads; equal models give equal bytes.
    ///
    /// # Errors
    /// `StateTooLarge` past 256 MiB.
    fn snapshot(&self) -> Result<Vec<u8>>;

    /// Fails for a classifier that has learnt rows, but of one class only: it can only repeat itself.
    ///
    /// # Errors
    /// `OneClass` or `SameClass`.
    fn require_classes(&self) -> Result<()> {
        Ok(())
    }
}

/// A model with a label that learns one batch after another: what is said of [`OnlineModel`] holds of it.
///
/// What it says is [`Supervised::predictions`]: a category that was never learnt and a NULL number
/// contribute nothing. Before the first row is learnt, all classes that a boolean has are equally likely, other
/// classes are not known, and numbers are 0.
pub trait OnlineSupervised: Supervised {
    /// As [`OnlineModel::learn`].
    ///
    /// # Errors
    /// Those of [`OnlineModel::learn`].
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport<Predictions>>;

    /// What it says of each row as one number; see [`Predictions::scores`].
    ///
    /// # Errors
    /// `MissingColumn` or `ChangedColumn`.
    fn predict(&self, features: &RecordBatch) -> Result<Float64Array> {
        Ok(self.predictions(features)?.scores())
    }

    /// Averages this model with copies of it, as [`OnlineModel::merge`]: each counts by the rows it has learnt.
    ///
    /// # Errors
    /// Those of [`OnlineModel::merge`].
    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()>;

    /// As [`OnlineModel::snapshot`].
    ///
    /// # Errors
    /// Those of [`OnlineModel::snapshot`].
    fn snapshot(&self) -> Result<Vec<u8>>;

    /// Rows learnt of each of [`Supervised::class_names`], without the rejected ones; none of a model that predicts
    /// a number.
    fn class_rows(&self) -> Vec<u64> {
        Vec::new()
    }

    /// As [`OnlineModel::require_classes`].
    ///
    /// # Errors
    /// `OneClass` or `SameClass`.
    fn require_classes(&self) -> Result<()> {
        let mut seen = self.class_names().into_iter().zip(self.class_rows()).filter(|(_, rows)| *rows > 0);
        match (seen.next(), seen.next()) {
            (Some((class, rows)), None) => Err(MlError::SameClass { rows, class }),
            _ => Ok(()),
        }
    }
}

impl<M: OnlineSupervised + ?Sized> OnlineModel for Labelled<M> {
    fn learn(&mut self, features: &RecordBatch, labels: &dyn Array) -> Result<LearnReport> {
        let LearnReport { rows, rejected, said } = self.0.learn(features, labels)?;
        Ok(LearnReport { rows, rejected, said: said.columns() })
    }

    fn merge(&mut self, snapshots: &[&[u8]]) -> Result<()> {
        self.0.merge(snapshots)
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        self.0.snapshot()
    }

    fn require_classes(&self) -> Result<()> {
        self.0.require_classes()
    }
}

/// What one call of [`OnlineModel::learn`] did; of [`OnlineSupervised::learn`], `Said` are [`Predictions`].
#[derive(Debug, Clone, PartialEq)]
pub struct LearnReport<Said = Vec<ArrayRef>> {
    /// Rows learnt.
    pub rows: u64,
    /// Rows not learnt, by ascending row number.
    pub rejected: Vec<RejectedRow>,
    /// What the model said of each row of the batch *before* this call, in the columns of [`Predictor::outputs`]; NULL for
    /// a rejected row. This is what prequential metrics need.
    pub said: Said,
}

/// A row that was not learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Its number within the batch, from 0.
    pub row: usize,
    /// Why.
    pub reason: RejectReason,
}

/// Why a row was not learnt. Where several apply, the first in this order, then in schema order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// The label is NULL.
    NullLabel,
    /// A numeric label is NaN or infinite, or larger than [`NUMERIC_MAGNITUDE_MAX`].
    BadLabel,
    /// The label is a class that came after the most that a model can tell apart.
    TooManyClasses {
        /// The most classes that there may be.
        classes_max: usize,
    },
    /// The column that says which action was taken is NULL.
    NullAction {
        /// That column.
        column: String,
    },
    /// The action came after the most that a model can tell apart.
    TooManyActions {
        /// The most actions that there may be.
        actions_max: u32,
    },
    /// The state came after the most that a model can hold.
    TooManyStates {
        /// The most states that there may be.
        states_max: u32,
    },
    /// The column that says to which group of rows it belongs is NULL.
    NullGroup {
        /// That column.
        column: String,
    },
    /// A numeric feature is NaN.
    NotANumber {
        /// The feature's column.
        column: String,
    },
    /// A numeric feature is infinite, or larger than [`NUMERIC_MAGNITUDE_MAX`].
    TooLarge {
        /// The feature's column.
        column: String,
    },
    /// The time of a row, or the name of the series that it belongs to, is NULL.
    NullKey {
        /// The feature's column.
        column: String,
    },
    /// A numeric feature that counts something is negative.
    NegativeCount {
        /// The feature's column.
        column: String,
    },
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NullLabel => write!(f, "the label is NULL"),
            Self::BadLabel => write!(f, "the label is NaN, infinite or exceeds {NUMERIC_MAGNITUDE_MAX:e}"),
            Self::TooManyClasses { classes_max } => write!(f, "the label is a new class after the first {classes_max}"),
            Self::NullAction { column } => write!(f, "column '{column}' is NULL, so no action was taken"),
            Self::TooManyActions { actions_max } => write!(f, "the action is a new one after the first {actions_max}"),
            Self::TooManyStates { states_max } => write!(f, "the state is a new one after the first {states_max}"),
            Self::NullGroup { column } => write!(f, "column '{column}' is NULL, so the row is of no group"),
            Self::NotANumber { column } => write!(f, "column '{column}' is NaN"),
            Self::TooLarge { column } => {
                write!(f, "column '{column}' is infinite or exceeds {NUMERIC_MAGNITUDE_MAX:e}")
            }
            Self::NullKey { column } => {
                write!(f, "column '{column}' is NULL, so the row belongs to no point of a series")
            }
            Self::NegativeCount { column } => write!(f, "column '{column}' is negative, which no count is"),
        }
    }
}

/// Rows learnt of each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct ClassCounts {
    /// Rows whose label was false.
    pub negative: u64,
    /// Rows whose label was true.
    pub positive: u64,
}

impl ClassCounts {
    /// Rows of both classes.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.negative.saturating_add(self.positive)
    }

    /// Fails where there are rows, but of one class only.
    ///
    /// # Errors
    /// `OneClass`.
    pub fn require_both(&self) -> Result<()> {
        match (self.negative, self.positive) {
            (0, 0) => Ok(()),
            (rows, 0) => Err(MlError::OneClass { rows, class: false }),
            (0, rows) => Err(MlError::OneClass { rows, class: true }),
            _ => Ok(()),
        }
    }

    pub(crate) fn count(&mut self, label: bool) {
        let class = if label { &mut self.positive } else { &mut self.negative };
        *class = class.saturating_add(1);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.negative = self.negative.saturating_add(other.negative);
        self.positive = self.positive.saturating_add(other.positive);
    }
}

/// The columns that a model reads, in order, each a number or a category.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FeatureSchema {
    fields: Vec<Feature>,
}

/// One column that a model reads.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Feature {
    /// The column's name in every batch.
    pub name: String,
    /// How its values are read.
    pub kind: FeatureKind,
}

/// How a column's values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum FeatureKind {
    /// Each distinct value is its own, unordered case: text and booleans. NULL is one more.
    Categorical,
    /// A quantity: integers and floats. NULL is missing.
    Numeric,
    /// When something was: timestamps and dates. Only models of series read it.
    Time,
}

impl FeatureSchema {
    /// The places of the numeric features, then of the categorical ones: the order in which models hold them.
    pub(crate) fn numbers_first(&self) -> Vec<usize> {
        let of_kind = |kind| (0..self.fields.len()).filter(move |place| self.fields[*place].kind == kind);
        of_kind(FeatureKind::Numeric).chain(of_kind(FeatureKind::Categorical)).collect()
    }

    /// The features of a batch with this schema: every column, in order.
    ///
    /// # Errors
    /// `UnsupportedFeature`, `DuplicateFeature` or `NoFeatures`.
    pub fn from_arrow(schema: &Schema) -> Result<Self> {
        Self::of_kinds(schema, FeatureKind::of)
    }

    /// The features of a batch with this schema, of which some may be times: for models of series.
    ///
    /// # Errors
    /// `UnsupportedFeature`, `DuplicateFeature` or `NoFeatures`.
    pub fn with_times(schema: &Schema) -> Result<Self> {
        let is_time =
            |data_type: &DataType| matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        Self::of_kinds(
            schema,
            |data_type| {
                if is_time(data_type) { Some(FeatureKind::Time) } else { FeatureKind::of(data_type) }
            },
        )
    }

    fn of_kinds(schema: &Schema, kind_of: impl Fn(&DataType) -> Option<FeatureKind>) -> Result<Self> {
        let mut fields = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let kind = kind_of(field.data_type()).ok_or_else(|| MlError::UnsupportedFeature {
                column: field.name().clone(),
                data_type: field.data_type().clone(),
                hint: "cast it to DOUBLE PRECISION or VARCHAR",
            })?;
            fields.push(Feature { name: field.name().clone(), kind });
        }
        Self::new(fields)
    }

    /// A schema of these features.
    ///
    /// # Errors
    /// `DuplicateFeature` or `NoFeatures`.
    pub fn new(fields: Vec<Feature>) -> Result<Self> {
        if fields.is_empty() {
            return Err(MlError::NoFeatures);
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = fields.iter().find(|field| !names.insert(field.name.as_str())) {
            return Err(MlError::DuplicateFeature { column: twice.name.clone() });
        }
        Ok(Self { fields })
    }

    /// The schema of a snapshot: what decodes may hold a duplicate or no feature. Times are features of models of series
    /// alone.
    ///
    /// # Errors
    /// `CorruptState`, or those of [`FeatureSchema::new`].
    pub(crate) fn restored(&self) -> Result<Self> {
        let schema = Self::new(self.fields.clone())?;
        match schema.count(FeatureKind::Time) {
            0 => Ok(schema),
            _ => Err(MlError::corrupt("a feature is a time")),
        }
    }

    /// The features in order.
    #[must_use]
    pub fn fields(&self) -> &[Feature] {
        &self.fields
    }

    /// How many features are of this kind.
    pub(crate) fn count(&self, kind: FeatureKind) -> usize {
        self.fields.iter().filter(|field| field.kind == kind).count()
    }
}

impl FeatureKind {
    /// The kind of a column of this type, or `None` where a cast is needed first.
    #[must_use]
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => Some(Self::Categorical),
            integer if integer.is_integer() => Some(Self::Numeric),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Some(Self::Numeric),
            _ => None,
        }
    }

    /// The kind as messages spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Categorical => "categorical",
            Self::Numeric => "numeric",
            Self::Time => "time",
        }
    }
}

/// Checks, before any row exists, that a column of this type can be the label.
///
/// # Errors
/// `UnsupportedLabel` unless it is boolean.
pub fn check_label_type(column: &str, data_type: &DataType) -> Result<()> {
    if data_type == &DataType::Boolean {
        return Ok(());
    }
    Err(MlError::UnsupportedLabel {
        column: column.to_owned(),
        data_type: data_type.clone(),
        hint: "write a condition that is true for positive rows, such as label = 'yes' or label <> 0",
    })
}

/// The label column as booleans.
///
/// # Errors
/// `UnsupportedLabel` unless it is boolean.
pub fn boolean_labels<'a>(column: &str, labels: &'a dyn Array) -> Result<&'a BooleanArray> {
    check_label_type(column, labels.data_type())?;
    labels.as_any().downcast_ref().ok_or_else(|| MlError::UnsupportedLabel {
        column: column.to_owned(),
        data_type: labels.data_type().clone(),
        hint: "pass a plain boolean array",
    })
}
