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
//!
//! Statistics are of all rows of the training query, those without a label too. Of a column without values, scalers and
//! buckets are NULL; of a constant one, scalers are 0 as in scikit-learn.
//!
//! A model makes a number of 0 or 1 of each category by itself: an encoded category is the category, if it is one of those
//! that are to have a number, and NULL otherwise.

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit, when};
use tidemill_ml::preprocessing::{CATEGORIES_MAX, Statistic, StatisticKind};

use crate::error::{PlanError, Result};
use crate::functions::{self, features};

/// The most buckets of a column.
const BUCKETS_MAX: i64 = 10_000;

/// How many categories an encoder tells apart unless told otherwise: BigQuery's number.
const TOP_K: u32 = 32_000;

/// A range of values below this is a constant's, and divides nothing: scikit-learn's bound.
const RANGE_MIN: f64 = 10.0 * f64::EPSILON;

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
pub const NAMES: [&str; 8] = [
    "ML.STANDARD_SCALER",
    "ML.MIN_MAX_SCALER",
    "ML.MAX_ABS_SCALER",
    "ML.ROBUST_SCALER",
    "ML.IMPUTER",
    "ML.QUANTILE_BUCKETIZE",
    "ML.LABEL_ENCODER",
    "ML.ONE_HOT_ENCODER",
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
            ("ML.ROBUST_SCALER", constants) => robust(constants)?,
            ("ML.IMPUTER", constants) => Self::Imputer(imputed(constants)?),
            ("ML.QUANTILE_BUCKETIZE", constants) => Self::QuantileBucketize(buckets(constants)?),
            ("ML.LABEL_ENCODER", constants) => match known(constants) {
                Some(known) => Self::LabelEncoder(known),
                None => return wrong(format!("{name} takes {}", encoder_usage("ML.LABEL_ENCODER(c"))),
            },
            ("ML.ONE_HOT_ENCODER", constants) => one_hot(constants)?,
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
        }
    }

    /// What an argument of some type is cast to: DOUBLE or VARCHAR.
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
            Self::LabelEncoder(_) | Self::OneHotEncoder(_) if is_text => Ok(DataType::Utf8),
            Self::LabelEncoder(_) | Self::OneHotEncoder(_) => {
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
        }
    }

    /// The same as an expression of the argument alone; without a statistic there was no value.
    ///
    /// # Errors
    /// If there was no value, and there has to be one.
    pub fn fitted(&self, argument: Expr, known: Option<&Statistic>) -> Result<Expr> {
        match known {
            Some(Statistic::Numbers(numbers)) => self.of_numbers(argument, numbers),
            Some(Statistic::Categories(categories)) => self.of_categories(argument, categories),
            None => match self {
                Self::Imputer(_) => wrong(format!(
                    "{} has nothing to put in the place of NULL: the training query has no value of {argument}",
                    self.name()
                )),
                Self::LabelEncoder(_) => self.of_categories(argument, &[]),
                _ => Ok(lit(ScalarValue::try_from(&self.returns(&DataType::Float64))?)),
            },
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
            Self::LabelEncoder(known) => format!(", {}, {}", known.top_k, known.frequency_min),
            Self::OneHotEncoder(known) => format!(", 'none', {}, {}", known.top_k, known.frequency_min),
        };
        format!("{}({argument}{constants}) OVER ()", self.name())
    }

    fn of_numbers(&self, x: Expr, numbers: &[f64]) -> Result<Expr> {
        Ok(match (self, numbers) {
            (Self::StandardScaler, [mean, deviation]) => {
                (x - lit(*mean)) / lit(if *deviation > 0.0 { *deviation } else { 1.0 })
            }
            (Self::MinMaxScaler, [least, largest]) => clamp((x - lit(*least)) / lit(range(*largest - *least)), 0.0)?,
            (Self::MaxAbsScaler, [least, largest]) => clamp(x / lit(range(least.abs().max(largest.abs()))), -1.0)?,
            (Self::RobustScaler { centers, scales, .. }, [low, median, high]) => {
                let centered = if *centers { x - lit(*median) } else { x };
                if *scales { centered / lit(range(*high - *low)) } else { centered }
            }
            (Self::Imputer(_), [value, ..]) => filled(x, lit(*value))?,
            (Self::QuantileBucketize(_), points) => {
                let mut points = points.to_vec();
                points.dedup();
                let points: Vec<_> = points.into_iter().map(ScalarValue::from).collect();
                let list = ScalarValue::List(ScalarValue::new_list_nullable(&points, &DataType::Float64));
                call(features::BUCKETIZE, vec![x, lit(list)])?
            }
            _ => return wrong(format!("{} does not go by {} numbers", self.name(), numbers.len())),
        })
    }

    fn of_categories(&self, category: Expr, known: &[String]) -> Result<Expr> {
        if let (Self::Imputer(_), [most_frequent]) = (self, known) {
            return filled(category, lit(most_frequent.as_str()));
        }
        let function = match self {
            Self::LabelEncoder(_) => features::CATEGORY_NUMBER,
            Self::OneHotEncoder(_) => features::KNOWN_CATEGORY,
            _ => return wrong(format!("{} does not go by categories", self.name())),
        };
        let known: Vec<_> = known.iter().map(|category| ScalarValue::from(category.as_str())).collect();
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&known, &DataType::Utf8));
        call(function, vec![category, lit(list)])
    }
}

/// A value, or another where it is NULL: what coalesce() is planned as, which has no kernel of its own.
fn filled(value: Expr, other: Expr) -> Result<Expr> {
    Ok(when(value.clone().is_not_null(), value).otherwise(other)?)
}

/// What a value is divided by: nothing if all are the same.
fn range(range: f64) -> f64 {
    if range < RANGE_MIN { 1.0 } else { range }
}

fn clamp(x: Expr, low: f64) -> Result<Expr> {
    call(features::CLAMP, vec![x, lit(low), lit(1.0)])
}

fn call(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    match functions::scalar(name) {
        Some(function) => Ok(function.call(arguments)),
        None => Err(PlanError::Function(format!("there is no function '{name}'"))),
    }
}

fn integer(constant: &ScalarValue) -> Option<i64> {
    match constant.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(number)) if constant.data_type().is_integer() => number,
        _ => None,
    }
}

fn boolean(constant: Option<&ScalarValue>) -> Option<bool> {
    match constant {
        None => Some(true),
        Some(ScalarValue::Boolean(value)) => *value,
        Some(_) => None,
    }
}

fn text(constant: &ScalarValue) -> Option<&str> {
    match constant {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => text.as_deref(),
        _ => None,
    }
}

/// A list of two percentages.
fn quantile_range(constant: &ScalarValue) -> Option<(f64, f64)> {
    let ScalarValue::List(list) = constant else { return None };
    let elements: Vec<_> = (0..list.values().len())
        .map(|place| ScalarValue::try_from_array(list.values(), place).and_then(|one| one.cast_to(&DataType::Float64)))
        .collect();
    match &elements[..] {
        [Ok(ScalarValue::Float64(Some(low))), Ok(ScalarValue::Float64(Some(high)))]
            if 0.0 <= *low && low < high && *high <= 100.0 =>
        {
            Some((*low, *high))
        }
        _ => None,
    }
}

fn robust(constants: &[ScalarValue]) -> Result<AnalyticFunction> {
    let range = constants.first().map_or(Some((25.0, 75.0)), quantile_range);
    match (range, boolean(constants.get(1)), boolean(constants.get(2))) {
        (Some(range), Some(centers), Some(scales)) if constants.len() <= 3 => {
            Ok(AnalyticFunction::RobustScaler { range, centers, scales })
        }
        _ => wrong(
            "ML.ROBUST_SCALER takes a number, a range of percentages, and whether the median is taken off and whether the \
             rest is divided by the range: ML.ROBUST_SCALER(x, [25, 75], TRUE, TRUE) OVER ()",
        ),
    }
}

fn imputed(constants: &[ScalarValue]) -> Result<Imputed> {
    match constants {
        [strategy] => match text(strategy).map(str::to_lowercase).as_deref() {
            Some("mean") => Ok(Imputed::Mean),
            Some("median") => Ok(Imputed::Median),
            Some("most_frequent") => Ok(Imputed::MostFrequent),
            _ => {
                wrong(format!("the strategy of ML.IMPUTER is 'mean', 'median' or 'most_frequent', and not {strategy}"))
            }
        },
        _ => wrong("ML.IMPUTER takes a column and a strategy: ML.IMPUTER(x, 'mean') OVER ()"),
    }
}

fn buckets(constants: &[ScalarValue]) -> Result<u32> {
    let [count] = constants else {
        return wrong(
            "ML.QUANTILE_BUCKETIZE takes a number and how many buckets: ML.QUANTILE_BUCKETIZE(x, 10) OVER ()",
        );
    };
    match integer(count) {
        Some(count) if (2..=BUCKETS_MAX).contains(&count) => Ok(count as u32),
        _ => wrong(format!("ML.QUANTILE_BUCKETIZE makes 2 to {BUCKETS_MAX} buckets, and not {count}")),
    }
}

fn encoder_usage(call: &str) -> String {
    format!("VARCHAR, how many categories are told apart, and how often one has to be there: {call}, 100, 5) OVER ()")
}

fn known(constants: &[ScalarValue]) -> Option<KnownCategories> {
    let number = |place: usize, default: u32, most: i64| match constants.get(place) {
        None => Some(default),
        Some(number) => integer(number).filter(|number| (1..=most).contains(number)).map(|number| number as u32),
    };
    let (top_k, frequency_min) = (number(0, TOP_K, CATEGORIES_MAX as i64)?, number(1, 1, i64::from(u32::MAX))?);
    (constants.len() <= 2).then_some(KnownCategories { top_k, frequency_min })
}

fn one_hot(constants: &[ScalarValue]) -> Result<AnalyticFunction> {
    let (drop, rest) = constants.split_first().map_or((Some("none"), constants), |(drop, rest)| (text(drop), rest));
    if drop.is_some_and(|drop| drop.eq_ignore_ascii_case("most_frequent")) {
        return wrong(
            "ML.ONE_HOT_ENCODER drops no category, for the models here are regularised or do not need it: take 'none'",
        );
    }
    match (drop.filter(|drop| drop.eq_ignore_ascii_case("none")), known(rest)) {
        (Some(_), Some(known)) => Ok(AnalyticFunction::OneHotEncoder(known)),
        _ => wrong(format!("ML.ONE_HOT_ENCODER takes {}", encoder_usage("ML.ONE_HOT_ENCODER(c, 'none'"))),
    }
}
