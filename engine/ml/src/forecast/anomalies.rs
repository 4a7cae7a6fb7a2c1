//! Which values behind a series are anomalies: those that its forecast makes unlikely, as ML.DETECT_ANOMALIES says.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{Field, Schema};

use super::columns::SeriesReader;
use super::normal::{half_width, within};
use super::{Expected, FittedSeries, HORIZON_MAX, Outcome, SeriesModel, State};
use crate::error::{MlError, Result};

/// The part of a value that may be rounding where nothing is left to chance.
const ROUNDING: f64 = 1e-9;

/// What is said of a value.
struct Said {
    /// Below and above what is expected, between which a value lies with the probability of the threshold.
    bounds: [f64; 2],
    /// That of a value that is nearer to what is expected.
    probability: f64,
}

/// For each row `is_anomaly`, `lower_bound`, `upper_bound` and `anomaly_probability`, which are BigQuery's columns: an
/// anomaly is a value whose probability exceeds the threshold. NULL for rows of which nothing is said: without a time, a
/// value or a series that has a model, not behind the training set, or more than 10,000 points behind it.
///
/// # Errors
/// `MissingColumn`, `ChangedColumn` or `BuildTable`.
pub(super) fn anomalies<M: SeriesModel>(
    state: &State<M>,
    features: &RecordBatch,
    threshold: f64,
) -> Result<RecordBatch> {
    let reader = SeriesReader::of(&state.columns, &state.times, features)?;
    let by_name: HashMap<&str, &FittedSeries<M>> =
        state.series.iter().map(|series| (series.name.as_str(), series)).collect();
    // The series, the point behind its last, and the value of each row.
    let rows: Vec<Option<(&str, usize, f64)>> = (0..features.num_rows())
        .map(|row| {
            let (id, time, value) = reader.row(row).ok()?;
            let point = by_name.get(id)?.point_behind(time)?;
            (!value.is_nan()).then_some((id, point, value))
        })
        .collect();
    let mut horizons: HashMap<&str, usize> = HashMap::new();
    for (id, point, _) in rows.iter().flatten() {
        let horizon = horizons.entry(id).or_default();
        *horizon = (*horizon).max(point + 1);
    }
    let forecasts: HashMap<&str, Vec<Expected>> =
        horizons.iter().filter_map(|(id, horizon)| Some((*id, by_name.get(id)?.forecast(*horizon)?))).collect();
    let width = half_width(threshold);
    let said: Vec<Option<Said>> = rows
        .iter()
        .map(|row| {
            let (id, point, value) = row.as_ref()?;
            forecasts.get(id)?.get(*point).map(|expected| Said::of(expected, *value, width))
        })
        .collect();
    table(&said, threshold)
}

impl<M: SeriesModel> FittedSeries<M> {
    /// The point of a time, counted from the one behind the last; none of one that no forecast reaches.
    fn point_behind(&self, time: i64) -> Option<usize> {
        let behind = self.grid?.point(time) - i128::from(self.points);
        usize::try_from(behind).ok().filter(|point| *point < HORIZON_MAX)
    }

    fn forecast(&self, horizon: usize) -> Option<Vec<Expected>> {
        match &self.outcome {
            Outcome::Model(model) => Some(model.forecast(horizon)),
            Outcome::None(_) => None,
        }
    }
}

impl Said {
    fn of(expected: &Expected, value: f64, width: f64) -> Self {
        let Expected { value: middle, standard_error } = *expected;
        let distance = (value - middle).abs();
        let probability = match standard_error > 0.0 {
            true => within(distance / standard_error),
            // Of what is certain everything else is an anomaly.
            false => f64::from(distance > ROUNDING * middle.abs()),
        };
        Self { bounds: [middle - width * standard_error, middle + width * standard_error], probability }
    }
}

fn table(said: &[Option<Said>], threshold: f64) -> Result<RecordBatch> {
    let number = |number: fn(&Said) -> f64| -> ArrayRef {
        Arc::new(said.iter().map(|said| said.as_ref().map(number)).collect::<Float64Array>())
    };
    let is_anomaly: BooleanArray = said.iter().map(|said| Some(said.as_ref()?.probability > threshold)).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("is_anomaly", Arc::new(is_anomaly)),
        ("lower_bound", number(|said| said.bounds[0])),
        ("upper_bound", number(|said| said.bounds[1])),
        ("anomaly_probability", number(|said| said.probability)),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.map(|(_, column)| column).to_vec())
        .map_err(|source| MlError::BuildTable { source })
}
