//! What the tests of both model types do.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{ArrayRef, AsArray, Date32Array, Float64Array, NullArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Float64Type};

use super::{Forecaster, SeriesModel};
use crate::goldens::{assert_all_close, expected};
use crate::{
    BatchModel, FitControl, FitReport, MlError, Result, batch_option_docs, create_batch, feature_schema,
    restore_predictor,
};

pub(super) fn try_model(model_type: &str, options: &[(&str, &str)], rows: &RecordBatch) -> Result<Box<dyn BatchModel>> {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_batch(model_type, &options, &feature_schema(model_type, &rows.schema())?, &DataType::Null)
}

pub(super) fn try_fit(model_type: &str, options: &[(&str, &str)], rows: &RecordBatch) -> Result<FitReport> {
    let mut model = try_model(model_type, options, rows)?;
    model.add(rows, &NullArray::new(rows.num_rows()))?;
    model.fit()
}

pub(super) fn forecast(report: &FitReport, horizon: usize, confidence_level: f64) -> RecordBatch {
    restore_predictor(&report.model).unwrap().forecast(horizon, confidence_level).unwrap().unwrap()
}

/// The model that was fitted to the only series.
pub(super) fn only_model<M: SeriesModel + Clone>(report: &FitReport) -> M {
    Forecaster::<M>::restore(&report.model).unwrap().models().next().unwrap().1.clone()
}

/// The bounds of twelve forecasts are those of the case, for 90 and for 95 percent.
#[track_caller]
pub(super) fn check_bounds(case: &str, report: &FitReport, tolerance: f64) {
    for (level, name) in [(0.9, "interval_90"), (0.95, "interval_95")] {
        let table = forecast(report, 12, level);
        let mut bounds = column(&table, "prediction_interval_lower_bound");
        bounds.extend(column(&table, "prediction_interval_upper_bound"));
        assert_all_close(&bounds, &expected(case, name), tolerance);
    }
}

/// The numbers of a column, which has no NULL.
pub(super) fn column(table: &RecordBatch, name: &str) -> Vec<f64> {
    let column = table.column_by_name(name).unwrap();
    assert_eq!(column.null_count(), 0);
    column.as_primitive::<Float64Type>().values().to_vec()
}

/// A row for each day and value, NULL for NaN.
pub(super) fn one_series(values: &[f64]) -> RecordBatch {
    let rows = series_of(&[("", values)]);
    rows.project(&[1, 2]).unwrap()
}

/// The same for several series, with their ids.
pub(super) fn series_of(series: &[(&str, &[f64])]) -> RecordBatch {
    let rows =
        || series.iter().flat_map(|(id, values)| values.iter().enumerate().map(move |(day, value)| (*id, day, *value)));
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(StringArray::from(rows().map(|(id, ..)| id).collect::<Vec<_>>()))),
        ("timestamp", Arc::new(Date32Array::from_iter_values(rows().map(|(_, day, _)| 10_957 + day as i32)))),
        ("value", Arc::new(Float64Array::from_iter(rows().map(|(.., value)| (!value.is_nan()).then_some(value))))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// Every option set to the default of its docs changes nothing.
pub(super) fn check_every_default(model_type: &str, rows: &RecordBatch) {
    let plain = try_fit(model_type, &[], rows).unwrap();
    for doc in batch_option_docs(model_type).unwrap() {
        assert_eq!(try_fit(model_type, &[(doc.name, &doc.default)], rows).unwrap(), plain, "{}", doc.name);
    }
}

/// A fit can be stopped, and the same rows give the same model in any order, in any batches and on any threads.
pub(super) fn check_stops_and_threads(model_type: &str, options: &[(&str, &str)], rows: &RecordBatch) {
    let alone = try_fit(model_type, options, rows).unwrap();
    let backwards = UInt32Array::from_iter_values((0..rows.num_rows() as u32).rev());
    let backwards = take_record_batch(rows, &backwards).unwrap();
    for threads in [2, 4] {
        let mut model = try_model(model_type, options, rows).unwrap();
        for (start, count) in [(0, 1), (1, 20), (21, rows.num_rows() - 21)] {
            model.add(&backwards.slice(start, count), &NullArray::new(count)).unwrap();
        }
        model.set_control(FitControl { threads: NonZeroUsize::new(threads).unwrap(), ..FitControl::default() });
        assert_eq!(model.fit().unwrap(), alone);
        assert_eq!(model.fit().unwrap(), alone);
        assert!(matches!(model.add(rows, &NullArray::new(rows.num_rows())), Err(MlError::AlreadyFitted)));
    }
    let mut stopped = try_model(model_type, options, rows).unwrap();
    stopped.add(rows, &NullArray::new(rows.num_rows())).unwrap();
    stopped.set_control(FitControl { stop: Arc::new(AtomicBool::new(true)), ..FitControl::default() });
    assert!(matches!(stopped.fit(), Err(MlError::Stopped)));
}
