//! What is known of the columns of a training set that features are scaled, filled in or cut into buckets by: the
//! statistics behind `ML.STANDARD_SCALER` and its like. Numbers are scikit-learn's (`sklearn.preprocessing`,
//! `sklearn.impute`, 1.9).
//!
//! A statistic is collected row by row, in order, so it does not depend on how rows come in batches. NULL is left out, and
//! so is a number that no model learns: NaN, infinite, or beyond [`NUMERIC_MAGNITUDE_MAX`].

mod categories;
mod numbers;
#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};

use self::categories::Categories;
use self::numbers::Numbers;
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
    /// The value that is there most often; of several, the least.
    MostFrequent,
    /// The categories that are there at least so often, of these the most frequent ones, in order of their text.
    Categories {
        /// How many at most; of those that are there equally often, the first by their text.
        count_max: usize,
        /// How often one has to be there.
        frequency_min: u64,
    },
}

/// What is known of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Statistic {
    /// Numbers, in the order of the kind's.
    Numbers(Vec<f64>),
    /// Categories.
    Categories(Vec<String>),
}

/// Collects a statistic of a column.
#[derive(Debug)]
pub struct StatisticCollector {
    kind: StatisticKind,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Moments(Moments),
    Range(Option<(f64, f64)>),
    /// All of them.
    Numbers(Numbers),
    Categories(Categories),
}

impl StatisticCollector {
    /// Collects what is to be known of a column of numbers (Float64), or of categories (Utf8).
    ///
    /// # Errors
    /// `NoStatistic` if columns of that type do not have it.
    pub fn new(kind: StatisticKind, data_type: &DataType) -> Result<Self> {
        let held = match (&kind, data_type) {
            (StatisticKind::Moments, DataType::Float64) => Held::Moments(Moments::default()),
            (StatisticKind::Range, DataType::Float64) => Held::Range(None),
            (StatisticKind::Quantiles(_) | StatisticKind::MostFrequent, DataType::Float64) => {
                Held::Numbers(Numbers::default())
            }
            (StatisticKind::Categories { .. } | StatisticKind::MostFrequent, DataType::Utf8) => {
                Held::Categories(Categories::default())
            }
            _ => return Err(MlError::NoStatistic { data_type: data_type.clone() }),
        };
        Ok(Self { kind, held })
    }

    /// Takes the column's values in more rows.
    ///
    /// # Errors
    /// `NoStatistic` if they are of another type; `TooManyCategories`.
    pub fn add(&mut self, values: &ArrayRef) -> Result<()> {
        let other = || MlError::NoStatistic { data_type: values.data_type().clone() };
        if let Held::Categories(categories) = &mut self.held {
            let values = values.as_string_opt::<i32>().ok_or_else(other)?;
            return values.iter().flatten().try_for_each(|category| categories.add(category));
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
            Held::Categories(_) => {}
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
            (_, Held::Numbers(numbers)) => Statistic::Numbers(vec![numbers.most_frequent()?]),
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
