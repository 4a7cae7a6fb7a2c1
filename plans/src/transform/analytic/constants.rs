//! The constants behind the first argument of analytic functions.

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use tidemill_ml::preprocessing::CATEGORIES_MAX;

use super::{AnalyticFunction, Imputed, KnownCategories, TargetEncoding, TfIdfFormula, wrong};
use crate::error::Result;

/// The most buckets, or quantiles, of a column.
const BUCKETS_MAX: i64 = 10_000;

/// How many categories, or words, are told apart unless told otherwise: BigQuery's number.
const TOP_K: u32 = 32_000;

/// The quantiles of a scaler unless told otherwise: scikit-learn's number.
const QUANTILES: u32 = 1000;

/// The folds of a target encoder unless told otherwise, and the most: each has the numbers of all categories.
const FOLDS: u32 = 5;
const FOLDS_MAX: i64 = 20;

fn integer(constant: &ScalarValue) -> Option<i64> {
    match constant.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(number)) if constant.data_type().is_integer() => number,
        _ => None,
    }
}

fn number(constant: &ScalarValue) -> Option<f64> {
    match constant.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(number)) if constant.data_type().is_numeric() => number,
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

pub(super) fn robust(constants: &[ScalarValue]) -> Result<AnalyticFunction> {
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

pub(super) fn imputed(constants: &[ScalarValue]) -> Result<Imputed> {
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

pub(super) fn buckets(constants: &[ScalarValue]) -> Result<u32> {
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

fn encoder_usage(name: &str, argument: &str) -> String {
    let what = if argument == "words" { "a list of VARCHAR, how many words" } else { "VARCHAR, how many categories" };
    let rest = "are told apart, and in how many rows one has to be";
    format!("{name} takes {what} {rest}: {name}({argument}, 100, 5) OVER ()")
}

/// Those of an encoder whose argument is called so in messages.
pub(super) fn known(constants: &[ScalarValue], name: &str, argument: &str) -> Result<KnownCategories> {
    read_known(constants).map_or_else(|| wrong(encoder_usage(name, argument)), Ok)
}

fn read_known(constants: &[ScalarValue]) -> Option<KnownCategories> {
    let number = |place: usize, default: u32, most: i64| match constants.get(place) {
        None => Some(default),
        Some(number) => integer(number).filter(|number| (1..=most).contains(number)).map(|number| number as u32),
    };
    let (top_k, frequency_min) = (number(0, TOP_K, CATEGORIES_MAX as i64)?, number(1, 1, i64::from(u32::MAX))?);
    (constants.len() <= 2).then_some(KnownCategories { top_k, frequency_min })
}

/// How many quantiles.
pub(super) fn quantiles(constants: &[ScalarValue]) -> Result<u32> {
    match constants {
        [] => Ok(QUANTILES),
        [count] => match integer(count) {
            Some(count) if (2..=BUCKETS_MAX).contains(&count) => Ok(count as u32),
            _ => wrong(format!("ML.QUANTILE_SCALER goes by 2 to {BUCKETS_MAX} quantiles, and not {count}")),
        },
        _ => wrong("ML.QUANTILE_SCALER takes a number and how many quantiles: ML.QUANTILE_SCALER(x, 1000) OVER ()"),
    }
}

pub(super) fn target_encoding(constants: &[ScalarValue]) -> Result<TargetEncoding> {
    let smooth = match constants.first() {
        None => Some(None),
        Some(smooth) if text(smooth).is_some_and(|text| text.eq_ignore_ascii_case("auto")) => Some(None),
        Some(smooth) => number(smooth).filter(|smooth| *smooth >= 0.0 && smooth.is_finite()).map(Some),
    };
    let folds = match constants.get(1) {
        None => Some(FOLDS),
        Some(folds) => integer(folds).filter(|folds| (2..=FOLDS_MAX).contains(folds)).map(|folds| folds as u32),
    };
    match smooth.zip(folds) {
        Some((smooth, folds)) if constants.len() <= 2 => Ok(TargetEncoding { smooth, folds }),
        _ => wrong(format!(
            "ML.TARGET_ENCODER takes a category, how many rows' worth the mean of all labels counts or 'auto', and into how many \
             folds, 2 to {FOLDS_MAX}, the training set is cut: ML.TARGET_ENCODER(c, 'auto', {FOLDS}) OVER ()"
        )),
    }
}

pub(super) fn tf_idf(constants: &[ScalarValue]) -> Result<AnalyticFunction> {
    let (numbers, formula) = match constants {
        [top_k, frequency, formula] => ([top_k.clone(), frequency.clone()].to_vec(), text(formula)),
        numbers => (numbers.to_vec(), Some("bigquery")),
    };
    let formula = match formula.map(str::to_lowercase).as_deref() {
        Some("bigquery") => Some(TfIdfFormula::BigQuery),
        Some("scikit_learn") => Some(TfIdfFormula::ScikitLearn),
        _ => None,
    };
    match read_known(&numbers).zip(formula) {
        Some((known, formula)) => Ok(AnalyticFunction::TfIdf(known, formula)),
        None => wrong(
            "ML.TF_IDF takes a list of VARCHAR, how many words are told apart, in how many rows one has to be, and whose formula, \
             'bigquery' or 'scikit_learn': ML.TF_IDF(words, 1000, 2, 'scikit_learn') OVER ()",
        ),
    }
}

pub(super) fn one_hot(constants: &[ScalarValue]) -> Result<AnalyticFunction> {
    let (drop, rest) = constants.split_first().map_or((Some("none"), constants), |(drop, rest)| (text(drop), rest));
    if drop.is_some_and(|drop| drop.eq_ignore_ascii_case("most_frequent")) {
        return wrong(
            "ML.ONE_HOT_ENCODER drops no category, for the models here are regularised or do not need it: take 'none'",
        );
    }
    match (drop.filter(|drop| drop.eq_ignore_ascii_case("none")), read_known(rest)) {
        (Some(_), Some(known)) => Ok(AnalyticFunction::OneHotEncoder(known)),
        _ => wrong(encoder_usage("ML.ONE_HOT_ENCODER", "c, 'none'")),
    }
}
