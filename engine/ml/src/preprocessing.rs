//! What is known of the columns of a training set that features are scaled, filled in or cut into buckets by: the
//! statistics behind `ML.STANDARD_SCALER` and its like. Numbers are scikit-learn's (`sklearn.preprocessing`,
//! `sklearn.impute`, 1.9).
//!
//! A statistic is collected row by row, in order, so it does not depend on how rows come in batches. NULL is left out, and
//! so is a number that no model learns: NaN, infinite, or beyond [`NUMERIC_MAGNITUDE_MAX`].

mod categories;
mod lists;
mod numbers;
mod targets;
mod terms;
#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};

use self::categories::Categories;
pub use self::lists::{
    LIST_FEATURES_MAX, ListCollector, ListFeatures, assumed_features, is_feature_list, sparse_element,
};
use self::numbers::Numbers;
use self::targets::TargetCollector;
pub use self::targets::{Encodings, TargetRows, Targets, row_draws};
use self::terms::TermCollector;
pub use self::terms::Terms;
use crate::error::{MlError, Result};
use crate::feature::moments::Moments;
use crate::model::NUMERIC_MAGNITUDE_MAX;

/// The most categories of a column that are counted: BigQuery's limit of an encoder's `top_k`.
pub const CATEGORIES_MAX: usize = 1_000_000;

/// What is to be known of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum StatisticKind {
    /// The mean, and the population's standard deviation: two numbers. A column whose deviation is within its rounding is
    /// constant, and its deviation 0.
    Moments,
    /// The least and the largest value.
    Range,
    /// The quantiles at these shares, between two values by their distance: `numpy.percentile` as it is unless told
    /// otherwise.
    Quantiles(Vec<f64>),
    /// So many quantiles from the least value to the largest, or as many as there are rows if that is less: those of
    /// `QuantileTransformer`.
    EvenQuantiles(usize),
    /// The value that is there most often; of several, the least.
    MostFrequent,
    /// The categories that are there at least so often, of these the most frequent ones, in order of their text.
    Categories {
        /// How many at most; of those that are there equally often, the first by their text.
        count_max: usize,
        /// How often one has to be there.
        frequency_min: u64,
    },
    /// The texts that are in so many lists, of these the ones that are in most, in order of their text.
    Terms {
        /// How many at most; of those that are in as many lists, the first by their text.
        count_max: usize,
        /// How many lists have to have one.
        frequency_min: u64,
    },
    /// What the label is in the rows of each category.
    Targets {
        /// How many rows' worth the label of all rows counts in each category; nothing if the labels' spread says.
        smooth: Option<f64>,
        /// The parts of the training set whose rows are encoded by the other parts.
        folds: u32,
    },
}

/// What is known of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Statistic {
    /// Numbers, in the order of the kind's.
    Numbers(Vec<f64>),
    /// Categories.
    Categories(Vec<String>),
    /// Texts in lists.
    Terms(Terms),
    /// Categories and what stands for them.
    Targets(Targets),
}

/// Collects a statistic of a column.
#[derive(Debug)]
pub struct StatisticCollector {
    kind: StatisticKind,
    held: Held,
    /// Those without a value, too.
    rows: usize,
}

#[derive(Debug)]
enum Held {
    Moments(Moments),
    Range(Option<(f64, f64)>),
    /// All of them.
    Numbers(Numbers),
    Categories(Categories),
    Terms(TermCollector),
    Targets(TargetCollector),
}

impl StatisticCollector {
    /// Collects what is to be known of a column of numbers (Float64), of categories (Utf8), or of lists of texts (List of Utf8).
    ///
    /// # Errors
    /// `NoStatistic` if columns of that type do not have it.
    pub fn new(kind: StatisticKind, data_type: &DataType) -> Result<Self> {
        let held = match (&kind, data_type) {
            (StatisticKind::Moments, DataType::Float64) => Held::Moments(Moments::default()),
            (StatisticKind::Range, DataType::Float64) => Held::Range(None),
            (
                StatisticKind::Quantiles(_) | StatisticKind::EvenQuantiles(_) | StatisticKind::MostFrequent,
                DataType::Float64,
            ) => Held::Numbers(Numbers::default()),
            (StatisticKind::Categories { .. } | StatisticKind::MostFrequent, DataType::Utf8) => {
                Held::Categories(Categories::default())
            }
            (StatisticKind::Terms { .. }, DataType::List(element)) if element.data_type() == &DataType::Utf8 => {
                Held::Terms(TermCollector::default())
            }
            (StatisticKind::Targets { smooth, folds }, DataType::Utf8) => {
                Held::Targets(TargetCollector::new(*smooth, *folds))
            }
            _ => return Err(MlError::NoStatistic { data_type: data_type.clone() }),
        };
        Ok(Self { kind, held, rows: 0 })
    }

    /// Takes the column's values in more rows, and where it goes by labels, these.
    ///
    /// # Errors
    /// `NoStatistic` if they are of another type; `TooManyCategories`, `TooManyTargets` or `ReadColumn`.
    pub fn add(&mut self, values: &ArrayRef, rows: &TargetRows<'_>) -> Result<()> {
        let other = || MlError::NoStatistic { data_type: values.data_type().clone() };
        self.rows += values.len();
        match &mut self.held {
            Held::Categories(categories) => {
                let values = values.as_string_opt::<i32>().ok_or_else(other)?;
                return values.iter().flatten().try_for_each(|category| categories.add(category));
            }
            Held::Terms(terms) => return terms.add(values.as_list_opt::<i32>().ok_or_else(other)?),
            Held::Targets(targets) => return targets.add(values.as_string_opt::<i32>().ok_or_else(other)?, rows),
            Held::Moments(_) | Held::Range(_) | Held::Numbers(_) => {}
        }
        let values = values.as_primitive_opt::<Float64Type>().ok_or_else(other)?;
        let learnt = values.iter().flatten().filter(|value| value.abs() <= NUMERIC_MAGNITUDE_MAX);
        match &mut self.held {
            Held::Moments(moments) => learnt.for_each(|value| moments.add(value)),
            Held::Range(range) => learnt.for_each(|value| {
                let (least, largest) = range.get_or_insert((value, value));
                (*least, *largest) = (least.min(value), largest.max(value));
            }),
            Held::Numbers(numbers) => learnt.for_each(|value| numbers.add(value)),
            Held::Categories(_) | Held::Terms(_) | Held::Targets(_) => {}
        }
        Ok(())
    }

    /// What is known of the values; nothing if there was none.
    #[must_use]
    pub fn finish(self) -> Option<Statistic> {
        Some(match (self.kind, self.held) {
            (_, Held::Moments(moments)) => Statistic::Numbers(vec![moments.value_mean()?, deviation(&moments)]),
            (_, Held::Range(range)) => {
                let (least, largest) = range?;
                Statistic::Numbers(vec![least, largest])
            }
            (StatisticKind::Quantiles(shares), Held::Numbers(numbers)) => {
                Statistic::Numbers(numbers.quantiles(&shares)?)
            }
            (StatisticKind::EvenQuantiles(count), Held::Numbers(numbers)) => {
                Statistic::Numbers(numbers.even_quantiles(count.min(self.rows))?)
            }
            (_, Held::Numbers(numbers)) => Statistic::Numbers(vec![numbers.most_frequent()?]),
            (StatisticKind::Terms { count_max, frequency_min }, Held::Terms(terms)) => {
                Statistic::Terms(terms.finish(count_max, frequency_min))
            }
            (_, Held::Terms(terms)) => Statistic::Terms(terms.finish(usize::MAX, 1)),
            (_, Held::Targets(targets)) => Statistic::Targets(targets.finish()?),
            (StatisticKind::Categories { count_max, frequency_min }, Held::Categories(categories)) => {
                Statistic::Categories(categories.kept(count_max, frequency_min)?)
            }
            (_, Held::Categories(categories)) => Statistic::Categories(vec![categories.most_frequent()?]),
        })
    }
}

impl Moments {
    /// The mean, if there is a value.
    fn value_mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.mean())
    }
}

/// The population's standard deviation; 0 where what is there may be rounding alone: `StandardScaler` takes such columns
/// for constant (Chan, Golub and LeVeque 1983, the bound of a two-pass variance's error).
fn deviation(moments: &Moments) -> f64 {
    let (variance, count) = (moments.variance(), moments.count() as f64);
    let rounding = count * f64::EPSILON * variance + (count * moments.mean() * f64::EPSILON).powi(2);
    if variance <= rounding { 0.0 } else { variance.sqrt() }
}
