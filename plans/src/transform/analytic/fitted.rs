//! What an analytic function is once its statistic is known: an expression of a row.

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Case, Expr, lit, when};
use tidemill_ml::preprocessing::{Encodings, Statistic, Targets, Terms};

use super::{AnalyticFunction, TfIdfFormula, wrong};
use crate::error::{PlanError, Result};
use crate::functions::features::known;
use crate::functions::{self, features};
use crate::transform::DRAW_COLUMN;

/// A range of values below this is a constant's, and divides nothing: scikit-learn's bound.
const RANGE_MIN: f64 = 10.0 * f64::EPSILON;

impl AnalyticFunction {
    /// The same as an expression of the argument alone; without a statistic there was no value.
    ///
    /// # Errors
    /// If there was no value, and there has to be one.
    pub fn fitted(&self, argument: Expr, known: Option<&Statistic>) -> Result<Expr> {
        match known {
            Some(Statistic::Numbers(numbers)) => self.of_numbers(argument, numbers),
            Some(Statistic::Categories(categories)) => self.of_categories(argument, categories),
            Some(Statistic::Terms(terms)) => self.of_terms(argument, terms),
            Some(Statistic::Targets(targets)) => encoded(argument, targets, &targets.whole),
            None => match self {
                Self::Imputer(_) => wrong(format!(
                    "{} has nothing to put in the place of NULL: the training query has no value of {argument}",
                    self.name()
                )),
                Self::LabelEncoder(_) => self.of_categories(argument, &[]),
                _ => nothing(&self.returns(&DataType::Float64)),
            },
        }
    }

    /// The same for the rows that the statistic is of, if a row has no part in what it is encoded by: it is of the other rows
    /// than those of its fold, which a draw in [`DRAW_COLUMN`] says.
    pub(in crate::transform) fn fitted_to_others(
        &self,
        argument: &Expr,
        known: Option<&Statistic>,
    ) -> Result<Option<Expr>> {
        let (Self::TargetEncoder(encoding), Some(Statistic::Targets(targets))) = (self, known) else { return Ok(None) };
        let fold = Expr::Column(Column::from_name(DRAW_COLUMN)) % lit(i64::from(encoding.folds));
        let mut folds = Vec::new();
        for (place, without) in (0_i64..).zip(&targets.without) {
            let encoded = encoded(argument.clone(), targets, without)?;
            folds.push((Box::new(fold.clone().eq(lit(place))), Box::new(encoded)));
        }
        Ok(Some(Expr::Case(Case::new(None, folds, None))))
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
                call(features::BUCKETIZE, vec![x, self::numbers(&points)])?
            }
            (Self::QuantileScaler(_), quantiles) => call(known::QUANTILE_RANK, vec![x, self::numbers(quantiles)])?,
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
        call(function, vec![category, texts(known)])
    }

    fn of_terms(&self, words: Expr, Terms { terms, lists_with, lists }: &Terms) -> Result<Expr> {
        let (rows, with) = (*lists as f64, |place: usize| lists_with[place] as f64);
        // The first is that of words which are not known, so of which no row is known to have them.
        let weights = |weight: &dyn Fn(f64) -> f64| {
            let known = (0..terms.len()).map(|place| weight(with(place)));
            numbers(&std::iter::once(weight(0.0)).chain(known).collect::<Vec<f64>>())
        };
        let terms = texts(terms);
        match self {
            Self::BagOfWords(_) => call(known::WORD_COUNTS, vec![words, terms]),
            Self::TfIdf(_, TfIdfFormula::BigQuery) => {
                let weights = weights(&|with| (rows / (1.0 + with)).ln_1p());
                call(known::WORD_SHARES, vec![words, terms, weights])
            }
            Self::TfIdf(_, TfIdfFormula::ScikitLearn) => {
                let weights = weights(&|with| ((1.0 + rows) / (1.0 + with)).ln() + 1.0);
                call(known::WORD_DIRECTIONS, vec![words, terms, weights])
            }
            _ => wrong(format!("{} does not go by words", self.name())),
        }
    }
}

/// The number that stands for a category.
fn encoded(category: Expr, targets: &Targets, by: &Encodings) -> Result<Expr> {
    let known = vec![category, texts(&targets.categories), numbers(&by.known), lit(by.null), lit(by.other)];
    call(known::CATEGORY_VALUE, known)
}

fn nothing(data_type: &DataType) -> Result<Expr> {
    Ok(lit(ScalarValue::try_from(data_type)?))
}

fn texts(texts: &[String]) -> Expr {
    let texts: Vec<_> = texts.iter().map(|text| ScalarValue::from(text.as_str())).collect();
    lit(ScalarValue::List(ScalarValue::new_list_nullable(&texts, &DataType::Utf8)))
}

fn numbers(numbers: &[f64]) -> Expr {
    let numbers: Vec<_> = numbers.iter().copied().map(ScalarValue::from).collect();
    lit(ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &DataType::Float64)))
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
