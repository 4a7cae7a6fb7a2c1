//! The analytic functions of TRANSFORM: of a row's value and of a statistic of all rows, which is known once a model is
//! fitted. Names and arguments are BigQuery ML's, numbers scikit-learn's.
//!
//! | function | scikit-learn | what differs |
//! |---|---|---|
//! | `STANDARD_SCALER(x)` | `StandardScaler` | nothing: the population's deviation |
//! | `MIN_MAX_SCALER(x)`, `MAX_ABS_SCALER(x)` | `MinMaxScaler(clip=True)`, `MaxAbsScaler` | as in BigQuery, numbers beyond the training set's stay within the limits |
//! | `ROBUST_SCALER(x, range, with_median, with_range)` | `RobustScaler` | BigQuery's quantiles are approximate |
//! | `IMPUTER(x, strategy)` | `SimpleImputer` | NULL is filled in, NaN is not; a column without values is an error |
//! | `QUANTILE_BUCKETIZE(x, n)` | `KBinsDiscretizer(quantile_method='linear')` | BigQuery's quantiles are approximate |
//! | `LABEL_ENCODER(c, top_k, frequency)` | `OrdinalEncoder` and 1; 0 for what is not known | BigQuery's `frequency` is 5 unless given, here 1 |
//! | `ONE_HOT_ENCODER(c, 'none', top_k, frequency)` | `OneHotEncoder(handle_unknown='ignore')` | the same; nothing is dropped |
//! | `QUANTILE_SCALER(x, n)` | `QuantileTransformer(n, subsample=None)` | nothing |
//! | `TARGET_ENCODER(c, smooth, folds)` | `TargetEncoder(smooth, cv)` | rows are dealt to folds by their number, and classes are two |
//! | `BAG_OF_WORDS(words, top_k, frequency)` | `CountVectorizer(analyzer=list)` | the words in most rows are kept, and 0 is for the others, as in BigQuery |
//! | `TF_IDF(words, top_k, frequency, 'bigquery')` | none | BigQuery's formula: `count / size * ln(1 + N / (1 + n))` |
//! | `TF_IDF(words, top_k, frequency, 'scikit_learn')` | `TfidfVectorizer(analyzer=list)` | the words in most rows are kept |
//!
//! Statistics are of all rows of the training query, those without a label too. Of a column without values, scalers and
//! buckets are NULL; of a constant one, scalers are 0 as in scikit-learn.
//!
//! A model makes a number of 0 or 1 of each category by itself: an encoded category is the category, if it is one of those
//! that are to have a number, and NULL otherwise.

mod constants;
mod fitted;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use tidemill_ml::preprocessing::{StatisticKind, sparse_element};

use crate::error::{PlanError, Result};

/// An analytic function with its constants.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub enum AnalyticFunction {
    /// The distance from the mean in standard deviations.
    StandardScaler,
    /// From 0 for the least value to 1 for the largest.
    MinMaxScaler,
    /// As a part of the largest magnitude.
    MaxAbsScaler,
    /// The distance from the median as a part of the range between two quantiles.
    RobustScaler {
        /// Which quantiles, in percent.
        range: (f64, f64),
        /// Whether it is the distance from the median.
        centers: bool,
        /// Whether it is divided by the range.
        scales: bool,
    },
    /// The value, or in the place of NULL one that stands for all.
    Imputer(Imputed),
    /// Which of this many buckets of about as many rows a value is in, as text.
    QuantileBucketize(u32),
    /// The number of a category, from 1 in order of their text; 0 if it has none.
    LabelEncoder(KnownCategories),
    /// The category, or NULL if it is none of those that are told apart.
    OneHotEncoder(KnownCategories),
    /// The share of the values that are less, by this many quantiles.
    QuantileScaler(u32),
    /// What the label is in the rows of a category.
    TargetEncoder(TargetEncoding),
    /// How often a list has each word: a sparse list.
    BagOfWords(KnownCategories),
    /// The same, less for a word that many rows have.
    TfIdf(KnownCategories, TfIdfFormula),
}

/// How categories are encoded by labels.
#[derive(Debug, Clone, Copy, PartialEq, bincode::Encode, bincode::Decode)]
pub struct TargetEncoding {
    /// How many rows' worth the mean of all labels counts; nothing if their spread says.
    pub smooth: Option<f64>,
    /// The parts of the training set of which each is encoded by the others.
    pub folds: u32,
}

/// What becomes of a word's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum TfIdfFormula {
    /// The share of a row's words, times `ln(1 + rows / (1 + rows with the word))`.
    BigQuery,
    /// The count times `1 + ln((1 + rows) / (1 + rows with the word))`, and a row's of length 1.
    ScikitLearn,
}

/// What stands for a value that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Imputed {
    /// The mean.
    Mean,
    /// The median.
    Median,
    /// The most frequent value; of several, the least.
    MostFrequent,
}

/// Which categories are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct KnownCategories {
    /// How many at most, the most frequent ones.
    pub top_k: u32,
    /// How often one has to be there.
    pub frequency_min: u32,
}

/// Their names, for messages.
pub const NAMES: [&str; 12] = [
    "ML.STANDARD_SCALER",
    "ML.MIN_MAX_SCALER",
    "ML.MAX_ABS_SCALER",
    "ML.ROBUST_SCALER",
    "ML.IMPUTER",
    "ML.QUANTILE_BUCKETIZE",
    "ML.LABEL_ENCODER",
    "ML.ONE_HOT_ENCODER",
    "ML.QUANTILE_SCALER",
    "ML.TARGET_ENCODER",
    "ML.BAG_OF_WORDS",
    "ML.TF_IDF",
];

fn wrong<T>(message: impl Into<String>) -> Result<T> {
    Err(PlanError::InvalidOption(message.into()))
}

impl AnalyticFunction {
    /// The function of this name, such as `ML.IMPUTER`, with the constants behind its first argument; nothing if there is
    /// none of this name.
    ///
    /// # Errors
    /// If it takes other constants.
    pub fn named(name: &str, constants: &[ScalarValue]) -> Result<Option<Self>> {
        let function = match (name, constants) {
            ("ML.STANDARD_SCALER", []) => Self::StandardScaler,
            ("ML.MIN_MAX_SCALER", []) => Self::MinMaxScaler,
            ("ML.MAX_ABS_SCALER", []) => Self::MaxAbsScaler,
            ("ML.STANDARD_SCALER" | "ML.MIN_MAX_SCALER" | "ML.MAX_ABS_SCALER", _) => {
                return wrong(format!("{name} takes one number: {name}(x) OVER ()"));
            }
            ("ML.ROBUST_SCALER", constants) => constants::robust(constants)?,
            ("ML.IMPUTER", constants) => Self::Imputer(constants::imputed(constants)?),
            ("ML.QUANTILE_BUCKETIZE", constants) => Self::QuantileBucketize(constants::buckets(constants)?),
            ("ML.LABEL_ENCODER", constants) => Self::LabelEncoder(constants::known(constants, name, "c")?),
            ("ML.ONE_HOT_ENCODER", constants) => constants::one_hot(constants)?,
            ("ML.QUANTILE_SCALER", constants) => Self::QuantileScaler(constants::quantiles(constants)?),
            ("ML.TARGET_ENCODER", constants) => Self::TargetEncoder(constants::target_encoding(constants)?),
            ("ML.BAG_OF_WORDS", constants) => Self::BagOfWords(constants::known(constants, name, "words")?),
            ("ML.TF_IDF", constants) => constants::tf_idf(constants)?,
            _ => return Ok(None),
        };
        Ok(Some(function))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::StandardScaler => "ML.STANDARD_SCALER",
            Self::MinMaxScaler => "ML.MIN_MAX_SCALER",
            Self::MaxAbsScaler => "ML.MAX_ABS_SCALER",
            Self::RobustScaler { .. } => "ML.ROBUST_SCALER",
            Self::Imputer(_) => "ML.IMPUTER",
            Self::QuantileBucketize(_) => "ML.QUANTILE_BUCKETIZE",
            Self::LabelEncoder(_) => "ML.LABEL_ENCODER",
            Self::OneHotEncoder(_) => "ML.ONE_HOT_ENCODER",
            Self::QuantileScaler(_) => "ML.QUANTILE_SCALER",
            Self::TargetEncoder(_) => "ML.TARGET_ENCODER",
            Self::BagOfWords(_) => "ML.BAG_OF_WORDS",
            Self::TfIdf(..) => "ML.TF_IDF",
        }
    }

    /// Whether it goes by the label.
    #[must_use]
    pub fn reads_label(&self) -> bool {
        matches!(self, Self::TargetEncoder(_))
    }

    /// What an argument of some type is cast to: DOUBLE, VARCHAR, or a list of VARCHAR.
    ///
    /// # Errors
    /// If the function does not take such.
    pub fn reads(&self, argument: &DataType) -> Result<DataType> {
        let (is_number, is_text) = (argument.is_numeric() || argument.is_null(), argument.is_string());
        match self {
            Self::Imputer(Imputed::MostFrequent) if is_text => Ok(DataType::Utf8),
            Self::Imputer(_) if is_text => {
                wrong("the mean and the median are of numbers: ML.IMPUTER(c, 'most_frequent')")
            }
            Self::BagOfWords(_) | Self::TfIdf(..) if is_list_of_texts(argument) => Ok(list_of(DataType::Utf8)),
            Self::BagOfWords(_) | Self::TfIdf(..) => {
                wrong(format!("{} reads lists of VARCHAR, such as TEXT_ANALYZE makes of a text", self.name()))
            }
            Self::LabelEncoder(_) | Self::OneHotEncoder(_) | Self::TargetEncoder(_) if is_text => Ok(DataType::Utf8),
            Self::LabelEncoder(_) | Self::OneHotEncoder(_) | Self::TargetEncoder(_) => {
                wrong(format!("{} encodes VARCHAR; CAST(… AS VARCHAR) makes categories of other values", self.name()))
            }
            _ if is_number => Ok(DataType::Float64),
            _ => wrong(format!("{} reads numbers", self.name())),
        }
    }

    /// The type of its values, for an argument that was cast to what it reads.
    #[must_use]
    pub fn returns(&self, argument: &DataType) -> DataType {
        match self {
            Self::Imputer(_) => argument.clone(),
            Self::QuantileBucketize(_) | Self::OneHotEncoder(_) => DataType::Utf8,
            Self::LabelEncoder(_) => DataType::Int64,
            Self::BagOfWords(_) | Self::TfIdf(..) => list_of(sparse_element()),
            _ => DataType::Float64,
        }
    }

    /// What has to be known of all rows.
    #[must_use]
    pub fn statistic(&self) -> StatisticKind {
        match self {
            Self::StandardScaler | Self::Imputer(Imputed::Mean) => StatisticKind::Moments,
            Self::MinMaxScaler | Self::MaxAbsScaler => StatisticKind::Range,
            Self::RobustScaler { range: (low, high), .. } => {
                StatisticKind::Quantiles(vec![low / 100.0, 0.5, high / 100.0])
            }
            Self::Imputer(Imputed::Median) => StatisticKind::Quantiles(vec![0.5]),
            Self::Imputer(Imputed::MostFrequent) => StatisticKind::MostFrequent,
            Self::QuantileBucketize(buckets) => {
                let share = |point| f64::from(point) / f64::from(*buckets);
                StatisticKind::Quantiles((1..*buckets).map(share).collect())
            }
            Self::LabelEncoder(known) | Self::OneHotEncoder(known) => StatisticKind::Categories {
                count_max: known.top_k as usize,
                frequency_min: u64::from(known.frequency_min),
            },
            Self::BagOfWords(known) | Self::TfIdf(known, _) => {
                StatisticKind::Terms { count_max: known.top_k as usize, frequency_min: u64::from(known.frequency_min) }
            }
            Self::QuantileScaler(count) => StatisticKind::EvenQuantiles(*count as usize),
            Self::TargetEncoder(TargetEncoding { smooth, folds }) => {
                StatisticKind::Targets { smooth: *smooth, folds: *folds }
            }
        }
    }

    /// The call of this argument, as it is written.
    #[must_use]
    pub fn call(&self, argument: &str) -> String {
        let constants = match self {
            Self::StandardScaler | Self::MinMaxScaler | Self::MaxAbsScaler => String::new(),
            Self::RobustScaler { range: (low, high), centers, scales } => {
                format!(", [{low}, {high}], {centers}, {scales}")
            }
            Self::Imputer(Imputed::Mean) => String::from(", 'mean'"),
            Self::Imputer(Imputed::Median) => String::from(", 'median'"),
            Self::Imputer(Imputed::MostFrequent) => String::from(", 'most_frequent'"),
            Self::QuantileBucketize(buckets) => format!(", {buckets}"),
            Self::LabelEncoder(known) | Self::BagOfWords(known) => {
                format!(", {}, {}", known.top_k, known.frequency_min)
            }
            Self::TfIdf(known, TfIdfFormula::BigQuery) => format!(", {}, {}", known.top_k, known.frequency_min),
            Self::TfIdf(known, TfIdfFormula::ScikitLearn) => {
                format!(", {}, {}, 'scikit_learn'", known.top_k, known.frequency_min)
            }
            Self::QuantileScaler(count) => format!(", {count}"),
            Self::TargetEncoder(TargetEncoding { smooth: None, folds }) => format!(", 'auto', {folds}"),
            Self::TargetEncoder(TargetEncoding { smooth: Some(smooth), folds }) => format!(", {smooth}, {folds}"),
            Self::OneHotEncoder(known) => format!(", 'none', {}, {}", known.top_k, known.frequency_min),
        };
        format!("{}({argument}{constants}) OVER ()", self.name())
    }
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

fn is_list_of_texts(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            element.data_type().is_string() || element.data_type().is_null()
        }
        other => other.is_null(),
    }
}
