//! Forecasts of series: what `arima` and `exponential_smoothing` have in common.
//!
//! A training set holds one series, or one for each id, in rows of any order. Each becomes values at equal distances
//! ([`grid`]) and is fitted alone, so series cost no more together than one after another, and threads share them. A
//! series that cannot be forecast, since it is too short or has values that the model does not allow, is noted in the
//! model and keeps nobody else's from being fitted. A fitted model answers no rows: what comes after a series' last
//! point is all that it says, by [`Predictor::forecast`].

mod anomalies;
pub(crate) mod arima;
pub(crate) mod batch;
mod calendar;
pub(crate) mod columns;
mod grid;
mod normal;
mod search;
pub(crate) mod smoothing;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::fmt;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Field;
use bincode::{Decode, Encode};

use self::columns::SeriesColumns;
use self::grid::{Grid, TimeType};
use crate::classes::LabelKind;
use crate::error::{MlError, Result};
use crate::inspect::ModelTable;
use crate::model::{FeatureKind, FeatureSchema};
use crate::options::{in_range, invalid};
use crate::predictor::Predictor;
use crate::snapshot;

/// The steps that one forecast may go.
const HORIZON_MAX: usize = 10_000;

/// The probability from which on a value is an anomaly, as in BigQuery.
const ANOMALY_THRESHOLD: f64 = 0.95;

/// The rows of one table of forecasts, which is made as a whole: some hundred bytes each.
const ROWS_MAX: usize = 4_000_000;

/// What is expected of a point, and the standard deviation of the error of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Expected {
    pub(crate) value: f64,
    pub(crate) standard_error: f64,
}

/// A model of one series, which it has been fitted to.
pub(crate) trait SeriesModel: fmt::Debug + Clone + Send + Sync + Encode + Decode<()> + 'static {
    /// The name in `CREATE MODEL`.
    const MODEL_TYPE: &'static str;

    /// The byte that marks its snapshots.
    const SNAPSHOT_TAG: u8;

    /// What it expects of so many points after the series' last.
    fn forecast(&self, horizon: usize) -> Vec<Expected>;

    /// Whether a fit could have led here; of what could not, nothing is asked.
    fn is_plausible(&self) -> bool;

    /// What it is and how well it fits, for tables.
    fn summary(&self) -> Summary;

    /// A table that models of its kind alone have.
    ///
    /// # Errors
    /// `BuildTable`.
    fn own_table(_series: &Forecaster<Self>, _which: ModelTable) -> Result<Option<RecordBatch>> {
        Ok(None)
    }
}

/// What a fitted model of a series is called, and how well it fits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    /// Its name with its orders, as papers write it: `ARIMA(1,1,1)`, `ETS(A,Ad,M)`.
    pub(crate) name: String,
    pub(crate) log_likelihood: f64,
    /// Akaike's criterion corrected for short series (Hurvich and Tsai 1989): the smaller, the better.
    pub(crate) aicc: f64,
    /// The variance of the errors of one step.
    pub(crate) variance: f64,
}

/// Why a series has no forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum NoForecast {
    /// It has so many values, which are fewer than a model needs.
    TooShort { values: u32 },
    /// It has a million points and more between its first and its last value.
    TooLong,
    /// The model takes positive values only.
    NotPositive,
    /// No model of the kind asked for leads to finite numbers.
    Diverged,
}

impl fmt::Display for NoForecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { values } => write!(f, "it has {values} values at equal distances, which are too few"),
            Self::TooLong => write!(f, "its step goes more than a million times between its first and last value"),
            Self::NotPositive => write!(f, "it has values that are not positive, which a multiplicative model needs"),
            Self::Diverged => write!(f, "no fit of it leads to finite numbers"),
        }
    }
}

/// A series, and what became of it.
#[derive(Debug, Clone, Encode, Decode)]
struct FittedSeries<M> {
    /// Empty where there is no id.
    name: String,
    /// Its points, with those that are missing.
    points: u64,
    /// Those of its points that have a value.
    values: u64,
    /// None of a series without points.
    grid: Option<Grid>,
    outcome: Outcome<M>,
}

#[derive(Debug, Clone, Encode, Decode)]
enum Outcome<M> {
    Model(M),
    None(NoForecast),
}

/// Models of all series; they only forecast.
#[derive(Debug, Clone)]
pub(crate) struct Forecaster<M> {
    state: State<M>,
}

/// A model as a snapshot holds it.
#[derive(Debug, Clone, Encode, Decode)]
struct State<M> {
    schema: FeatureSchema,
    columns: SeriesColumns,
    times: TimeType,
    /// What ids look like, if there are any.
    id_kind: Option<LabelKind>,
    /// By their ids.
    series: Vec<FittedSeries<M>>,
    rows: u64,
}

impl<M: SeriesModel> Forecaster<M> {
    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// `StateVersion`, `StateTooLarge` or `CorruptState`, or the schema's errors.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self> {
        let (tag, payload) = snapshot::open(bytes)?;
        if tag != M::SNAPSHOT_TAG {
            return Err(MlError::corrupt("its model tag is not that of these series"));
        }
        let state: State<M> = snapshot::decode(payload)?;
        FeatureSchema::new(state.schema.fields().to_vec())?;
        if state.columns.check(&state.schema).is_err() || state.columns.id.is_some() != state.id_kind.is_some() {
            return Err(MlError::corrupt("the columns of the series are not its features"));
        }
        if !state.series.iter().all(FittedSeries::is_plausible) {
            return Err(MlError::corrupt("a series' model is none that a fit leads to"));
        }
        Ok(Self { state })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        snapshot::seal(M::SNAPSHOT_TAG, &self.state)
    }

    /// Each series that has a model, with its name.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, &M)> {
        self.state.series.iter().filter_map(|series| match &series.outcome {
            Outcome::Model(model) => Some((series.name.as_str(), model)),
            Outcome::None(_) => None,
        })
    }
}

impl<M> State<M> {
    /// The id's column and type, if there is one.
    fn id(&self) -> Option<(&str, LabelKind)> {
        self.columns.id.as_deref().zip(self.id_kind)
    }
}

impl<M: SeriesModel> FittedSeries<M> {
    fn is_plausible(&self) -> bool {
        let is_model = match &self.outcome {
            Outcome::Model(model) => self.grid.is_some() && model.is_plausible(),
            Outcome::None(_) => true,
        };
        is_model && self.grid.is_none_or(|grid| grid.is_plausible()) && self.points < 1 << 32
    }
}

impl<M: SeriesModel> Predictor for Forecaster<M> {
    fn model_type(&self) -> &'static str {
        M::MODEL_TYPE
    }

    fn schema(&self) -> &FeatureSchema {
        &self.state.schema
    }

    fn rows_learnt(&self) -> u64 {
        self.state.rows
    }

    fn outputs(&self, _label: &str) -> Vec<Field> {
        Vec::new()
    }

    /// # Errors
    /// `OnlyForecasts`, always.
    fn answers(&self, _features: &RecordBatch) -> Result<Vec<ArrayRef>> {
        Err(MlError::OnlyForecasts { model_type: M::MODEL_TYPE })
    }

    fn table(&self, which: ModelTable) -> Result<Option<RecordBatch>> {
        match which {
            ModelTable::SeriesInfo => table::info(&self.state).map(Some),
            _ => M::own_table(self, which),
        }
    }

    fn anomalies(&self, features: &RecordBatch, threshold: Option<f64>) -> Result<Option<RecordBatch>> {
        let threshold = threshold.unwrap_or(ANOMALY_THRESHOLD);
        if !(0.0..1.0).contains(&threshold) {
            let expected = "a number from 0 on and below 1";
            return Err(invalid("anomaly_prob_threshold", &threshold.to_string(), expected));
        }
        anomalies::anomalies(&self.state, features, threshold).map(Some)
    }

    fn forecast(&self, horizon: usize, confidence_level: f64) -> Result<Option<RecordBatch>> {
        let horizon_max = HORIZON_MAX.min(ROWS_MAX / self.models().count().max(1)).max(1);
        in_range("horizon", horizon as f64, 1.0, horizon_max as f64)?;
        if !(confidence_level > 0.0 && confidence_level < 1.0) {
            return Err(invalid("confidence_level", &confidence_level.to_string(), "a number between 0 and 1"));
        }
        table::forecasts(&self.state, horizon, confidence_level).map(Some)
    }
}

/// Akaike's criterion corrected for short series, of a model with so many parameters fitted to so many values.
fn aicc(log_likelihood: f64, parameters: usize, values: usize) -> f64 {
    let (parameters, values) = (parameters as f64, values as f64);
    let left = values - parameters - 1.0;
    // With as many parameters as values any series is fitted, and none learnt from.
    if left <= 0.0 {
        return f64::INFINITY;
    }
    2.0 * (parameters - log_likelihood) + 2.0 * parameters * (parameters + 1.0) / left
}

/// Whether a schema has a column that only series have.
pub(crate) fn time_feature(schema: &FeatureSchema) -> Option<&str> {
    schema.fields().iter().find(|field| field.kind == FeatureKind::Time).map(|field| field.name.as_str())
}
