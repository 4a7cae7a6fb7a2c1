//! Series as tables: their forecasts, with ML.FORECAST's columns of BigQuery, and what is known of each.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Float64Builder, Int64Array, ListBuilder, RecordBatch, StringArray,
};
use arrow::datatypes::{Field, Schema};

use super::normal::half_width;
use super::{Expected, FittedSeries, Outcome, SeriesModel, State, Summary};
use crate::classes::LabelKind;
use crate::error::{MlError, Result};

/// Columns as they are put together.
pub(super) struct Table {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Table {
    /// A table whose first column says which series each row is about, if there are several: these.
    pub(super) fn of_series<'a>(id: Option<(&str, LabelKind)>, names: impl Iterator<Item = &'a str>) -> Self {
        let mut table = Self { fields: Vec::new(), columns: Vec::new() };
        if let Some((column, kind)) = id {
            let ids: ArrayRef = match kind {
                LabelKind::Boolean => Arc::new(names.map(|name| Some(name == "true")).collect::<BooleanArray>()),
                LabelKind::Integer => Arc::new(names.map(|name| name.parse().ok()).collect::<Int64Array>()),
                LabelKind::Text => Arc::new(names.map(Some).collect::<StringArray>()),
            };
            table.push(column, ids);
        }
        table
    }

    pub(super) fn push(&mut self, name: &str, column: ArrayRef) {
        self.fields.push(Field::new(name, column.data_type().clone(), true));
        self.columns.push(column);
    }

    fn push_numbers(&mut self, name: &str, numbers: impl Iterator<Item = f64>) {
        self.push(name, Arc::new(Float64Array::from_iter_values(numbers)));
    }

    pub(super) fn finish(self) -> Result<RecordBatch> {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.columns)
            .map_err(|source| MlError::BuildTable { source })
    }
}

/// So many rows for each series that has a model, by series and time.
pub(super) fn forecasts<M: SeriesModel>(
    state: &State<M>,
    horizon: usize,
    confidence_level: f64,
) -> Result<RecordBatch> {
    let (mut names, mut times, mut expected) = (Vec::new(), Vec::new(), Vec::<Expected>::new());
    for series in &state.series {
        if let (Outcome::Model(model), Some(grid)) = (&series.outcome, series.grid) {
            names.extend(std::iter::repeat_n(series.name.as_str(), horizon));
            times.extend((series.points..).take(horizon).map(|point| grid.time(point)));
            expected.extend(model.forecast(horizon));
        }
    }
    let width = half_width(confidence_level);
    let bound = |side: f64| expected.iter().map(move |one| one.value + side * width * one.standard_error);
    let mut table = Table::of_series(state.id(), names.into_iter());
    table.push("forecast_timestamp", state.times.column(times)?);
    table.push_numbers("forecast_value", expected.iter().map(|one| one.value));
    table.push_numbers("standard_error", expected.iter().map(|one| one.standard_error));
    table.push_numbers("confidence_level", expected.iter().map(|_| confidence_level));
    table.push_numbers("prediction_interval_lower_bound", bound(-1.0));
    table.push_numbers("prediction_interval_upper_bound", bound(1.0));
    table.finish()
}

/// A row for each series: its model, how well it fits, and why there is none.
pub(super) fn info<M: SeriesModel>(state: &State<M>) -> Result<RecordBatch> {
    let series = &state.series;
    let count = |count: fn(&FittedSeries<M>) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(series.iter().map(|one| count(one) as i64)))
    };
    let summaries: Vec<Option<Summary>> = series.iter().map(|one| one.summary()).collect();
    let number = |number: fn(&Summary) -> f64| -> ArrayRef {
        Arc::new(summaries.iter().map(|one| one.as_ref().map(number)).collect::<Float64Array>())
    };
    let names = summaries.iter().map(|one| one.as_ref().map(|one| one.name.as_str()));
    let notes = series.iter().map(|one| match &one.outcome {
        Outcome::Model(_) => None,
        Outcome::None(note) => Some(note.to_string()),
    });
    let mut table = Table::of_series(state.id(), series.iter().map(|one| one.name.as_str()));
    table.push("model", Arc::new(names.collect::<StringArray>()));
    table.push("points", count(|one| one.points));
    table.push("missing_points", count(|one| one.points.saturating_sub(one.values)));
    table.push("log_likelihood", number(|one| one.log_likelihood));
    table.push("aicc", number(|one| one.aicc));
    table.push("variance", number(|one| one.variance));
    table.push("note", Arc::new(notes.collect::<StringArray>()));
    table.finish()
}

impl<M: SeriesModel> FittedSeries<M> {
    fn summary(&self) -> Option<Summary> {
        match &self.outcome {
            Outcome::Model(model) => Some(model.summary()),
            Outcome::None(_) => None,
        }
    }
}

/// A column of lists of numbers.
pub(super) fn lists(rows: impl Iterator<Item = Vec<f64>>) -> ArrayRef {
    let mut builder = ListBuilder::new(Float64Builder::new());
    for row in rows {
        builder.append_value(row.into_iter().map(Some));
    }
    Arc::new(builder.finish())
}

/// A column of whole numbers.
pub(super) fn integers(numbers: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(numbers))
}
