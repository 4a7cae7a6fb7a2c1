//! ARIMA: a value follows from those before it and from their errors, once differences have made the series level.
//!
//! Box and Jenkins (1970), with seasons: `φ(B) Φ(B^m) (1 - B)^d (1 - B^m)^D (y - c x) = θ(B) Θ(B^m) ε`, where `B` goes a
//! point back, `m` is a season, and `c x` is a mean, or with one difference a drift `c t`. What is maximised is the
//! exact likelihood of normal errors, by a Kalman filter that is told nothing of the first levels ([`filter`]); missing
//! values are only predicted. Orders are found by `auto` (Hyndman and Khandakar 2008) or given.

mod auto;
pub(crate) mod config;
mod filter;
mod fit;
mod level;
mod process;
mod start;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, RecordBatch};
use bincode::{Decode, Encode};

use self::filter::Filter;
use self::process::Process;
use super::table::{Table, integers, lists};
use super::{Expected, Forecaster, SeriesModel, Summary, aicc};
use crate::error::Result;
use crate::inspect::ModelTable;
use crate::snapshot::STATE_MAGNITUDE_MAX;

/// How many of each there are: of values and errors before, and of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct Order {
    /// Values that a value follows from, `p`.
    pub(crate) ar: u8,
    /// Differences, `d`.
    pub(crate) differences: u8,
    /// Errors that a value follows from, `q`.
    pub(crate) ma: u8,
    /// The same a season and more ago: `P`, `D`, `Q`.
    pub(crate) seasonal_ar: u8,
    pub(crate) seasonal_differences: u8,
    pub(crate) seasonal_ma: u8,
    /// Points of a season, `m`; 1 without one.
    pub(crate) season: u16,
    /// Whether there is a mean, or with a difference a drift.
    pub(crate) constant: bool,
}

impl Order {
    /// Parameters of the process: of its four polynomials.
    fn coefficients(&self) -> usize {
        [self.ar, self.ma, self.seasonal_ar, self.seasonal_ma].into_iter().map(usize::from).sum()
    }

    /// All parameters, the variance included.
    fn parameters(&self) -> usize {
        self.coefficients() + usize::from(self.constant) + 1
    }

    /// Levels that nothing is known of before the first values.
    fn levels(&self) -> usize {
        usize::from(self.differences) + usize::from(self.seasonal_differences) * usize::from(self.season)
    }

    fn is_seasonal(&self) -> bool {
        self.seasonal_ar + self.seasonal_differences + self.seasonal_ma > 0
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ARIMA({},{},{})", self.ar, self.differences, self.ma)?;
        if self.is_seasonal() {
            let Self { seasonal_ar, seasonal_differences, seasonal_ma, season, .. } = self;
            write!(f, "({seasonal_ar},{seasonal_differences},{seasonal_ma})[{season}]")?;
        }
        match (self.constant, self.levels()) {
            (false, _) => Ok(()),
            (true, 0) => write!(f, " with mean"),
            (true, _) => write!(f, " with drift"),
        }
    }
}

/// A fitted model of one series.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Arima {
    order: Order,
    /// The coefficients of the polynomials: `φ`, `θ`, `Φ`, `Θ`.
    coefficients: Vec<f64>,
    /// The mean or the drift; 0 without one.
    constant: f64,
    /// Of the errors.
    variance: f64,
    log_likelihood: f64,
    /// Values that it was fitted to, without those that set the level.
    values: u32,
    /// Points, with those that are missing: the drift goes on from there.
    points: u32,
    end: End,
}

/// What is known behind the last point.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct End {
    /// The state that is expected at the next point.
    state: Vec<f64>,
    /// The lower triangle of its covariance, in units of the errors' variance; empty where all of the past is known, so
    /// that only the next error is not.
    covariance: Vec<f64>,
}

impl Arima {
    fn process(&self) -> Process {
        Process::new(&self.order, &self.coefficients)
    }

    /// What the constant adds to a point.
    fn deterministic(&self, point: usize) -> f64 {
        if self.order.levels() == 0 { self.constant } else { self.constant * point as f64 }
    }
}

impl SeriesModel for Arima {
    const MODEL_TYPE: &'static str = "arima";
    const SNAPSHOT_TAG: u8 = 50;

    fn forecast(&self, horizon: usize) -> Vec<Expected> {
        let process = self.process();
        let moments = Filter::new(&process).forecast(&self.end.state, &self.end.covariance, horizon);
        let expected = |((value, variance), point): ((f64, f64), usize)| Expected {
            value: value + self.deterministic(point),
            standard_error: (variance * self.variance).sqrt(),
        };
        moments.into_iter().zip(self.points as usize..).map(expected).collect()
    }

    fn is_plausible(&self) -> bool {
        let is_number = |number: &f64| number.abs() <= STATE_MAGNITUDE_MAX;
        let is_order = config::is_allowed(&self.order) && self.coefficients.len() == self.order.coefficients();
        if !is_order || !self.coefficients.iter().all(|coefficient| coefficient.abs() <= 1e6) {
            return false;
        }
        let width = self.process().width();
        let triangle = width * (width + 1) / 2;
        self.end.state.len() == width
            && [0, triangle].contains(&self.end.covariance.len())
            && self.end.state.iter().chain(&self.end.covariance).all(is_number)
            && (0.0..=STATE_MAGNITUDE_MAX).contains(&self.variance)
            && [self.constant, self.log_likelihood].iter().all(is_number)
    }

    fn summary(&self) -> Summary {
        let values = self.values as usize;
        Summary {
            name: self.order.to_string(),
            log_likelihood: self.log_likelihood,
            aicc: aicc(self.log_likelihood, self.order.parameters(), values),
            variance: self.variance,
        }
    }

    fn own_table(series: &Forecaster<Self>, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::ArimaCoefficients => coefficients(series).map(Some),
            ModelTable::ArimaEvaluate => evaluation(series).map(Some),
            _ => Ok(None),
        }
    }
}

/// ML.ARIMA_COEFFICIENTS: a row for each series that has a model, with lists of what its polynomials have, and its mean
/// or drift. Those of seasons are not in BigQuery's table, which has no such models.
fn coefficients(series: &Forecaster<Arima>) -> Result<RecordBatch> {
    let mut table = Table::of_series(series.state.id(), series.models().map(|(name, _)| name));
    let parts = ["ar_coefficients", "ma_coefficients", "seasonal_ar_coefficients", "seasonal_ma_coefficients"];
    for (place, column) in parts.into_iter().enumerate() {
        let part = |(_, model): (&str, &Arima)| {
            let (before, count) = process::part(&model.order, place);
            model.coefficients[before..before + count].to_vec()
        };
        table.push(column, lists(series.models().map(part)));
    }
    let constants = series.models().map(|(_, model)| model.constant);
    table.push("intercept_or_drift", Arc::new(Float64Array::from_iter_values(constants)));
    table.finish()
}

/// A column of a table, and what it has of a model.
type Column<T, N> = (&'static str, fn(&T) -> N);

/// ML.ARIMA_EVALUATE: a row for each series that has a model, with its orders and how well it fits.
fn evaluation(series: &Forecaster<Arima>) -> Result<RecordBatch> {
    let mut table = Table::of_series(series.state.id(), series.models().map(|(name, _)| name));
    let orders: [Column<Order, i64>; 7] = [
        ("non_seasonal_p", |order| order.ar.into()),
        ("non_seasonal_d", |order| order.differences.into()),
        ("non_seasonal_q", |order| order.ma.into()),
        ("seasonal_p", |order| order.seasonal_ar.into()),
        ("seasonal_d", |order| order.seasonal_differences.into()),
        ("seasonal_q", |order| order.seasonal_ma.into()),
        ("season", |order| order.season.into()),
    ];
    for (column, number) in orders {
        table.push(column, integers(series.models().map(|(_, model)| number(&model.order))));
    }
    let drifts = series.models().map(|(_, model)| Some(model.order.constant && model.order.levels() > 0));
    table.push("has_drift", Arc::new(drifts.collect::<BooleanArray>()));
    let measures: [Column<Arima, f64>; 3] = [
        ("log_likelihood", |model| model.log_likelihood),
        ("AIC", |model| 2.0 * (model.order.parameters() as f64 - model.log_likelihood)),
        ("variance", |model| model.variance),
    ];
    for (column, measure) in measures {
        let numbers = series.models().map(|(_, model)| measure(model));
        table.push(column, Arc::new(Float64Array::from_iter_values(numbers)));
    }
    table.finish()
}
