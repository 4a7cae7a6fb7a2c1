//! Rows of many series, their times and ids, and the table of forecasts; each model type has tests of its own.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, NullArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampSecondArray,
};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::pretty::pretty_format_batches;
use expect_test::expect;
use proptest::prelude::*;

use super::testing::{column, forecast, one_series, series_of, try_fit, try_model};
use crate::{FeatureSchema, MlError, ModelTable, anomalies_of, create_batch, restore_predictor, table_of};

const LEVEL: (&str, &[(&str, &str)]) = ("exponential_smoothing", &[("trend_type", "none"), ("error_type", "additive")]);
const WITH_ID: [(&str, &str); 3] = [("trend_type", "none"), ("error_type", "additive"), ("time_series_id_col", "id")];

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, column)| (*name, Arc::clone(column), true)))
        .unwrap()
}

#[test]
fn forecasts_follow_each_series() {
    let values: Vec<f64> = (0..12).map(|point| f64::from(point % 3)).collect();
    let rows = series_of(&[("north", &values), ("east", &[4.0; 6]), ("west", &[1.0, 2.0])]);
    let report = try_fit(LEVEL.0, &WITH_ID, &rows).unwrap();
    let table = forecast(&report, 2, 0.9);
    let schema = table.schema();
    let fields: Vec<String> =
        schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    expect![[r#"
        id Utf8
        forecast_timestamp Date32
        forecast_value Float64
        standard_error Float64
        confidence_level Float64
        prediction_interval_lower_bound Float64
        prediction_interval_upper_bound Float64"#]]
    .assert_eq(&fields.join("\n"));
    let keys = table.project(&[0, 1]).unwrap();
    expect![[r#"
        +-------+--------------------+
        | id    | forecast_timestamp |
        +-------+--------------------+
        | east  | 2000-01-07         |
        | east  | 2000-01-08         |
        | north | 2000-01-13         |
        | north | 2000-01-14         |
        +-------+--------------------+"#]]
    .assert_eq(&pretty_format_batches(&[keys]).unwrap().to_string());
    let (values, errors) = (column(&table, "forecast_value"), column(&table, "standard_error"));
    let (lower, upper) =
        (column(&table, "prediction_interval_lower_bound"), column(&table, "prediction_interval_upper_bound"));
    for row in 0..4 {
        assert!((upper[row] - values[row] - 1.644_853_626_951_472 * errors[row]).abs() < 1e-12);
        assert!((upper[row] + lower[row] - 2.0 * values[row]).abs() < 1e-12);
    }
    let model = restore_predictor(&report.model).unwrap();
    let info = table_of(model.as_ref(), ModelTable::SeriesInfo).unwrap();
    let info = info.project(&[0, 1, 2, 3, 7]).unwrap();
    expect![[r#"
        +-------+------------+--------+----------------+-------------------------------------------------------+
        | id    | model      | points | missing_points | note                                                  |
        +-------+------------+--------+----------------+-------------------------------------------------------+
        | east  | ETS(A,N,N) | 6      | 0              |                                                       |
        | north | ETS(A,N,N) | 12     | 0              |                                                       |
        | west  |            | 2      | 0              | it has 2 values at equal distances, which are too few |
        +-------+------------+--------+----------------+-------------------------------------------------------+"#]]
    .assert_eq(&pretty_format_batches(&[info]).unwrap().to_string());
}

#[test]
fn times_and_ids_keep_their_types() {
    let zone: Arc<str> = "+02:00".into();
    let hour = 3_600_000_000;
    let times =
        TimestampMicrosecondArray::from_iter_values((0..20).map(|point| point * hour)).with_timezone(Arc::clone(&zone));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..20).map(|point| f64::from(point % 4))));
    let columns = [("timestamp", Arc::new(times) as ArrayRef), ("value", Arc::clone(&values))];
    let table = forecast(&try_fit(LEVEL.0, LEVEL.1, &batch(&columns)).unwrap(), 2, 0.5);
    assert_eq!(table.column(0).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some(zone)));
    assert_eq!(table.column(0).as_primitive::<TimestampMicrosecondType>().values(), &[20 * hour, 21 * hour]);

    // Whole numbers are times, too, and ids come by their size; booleans are ids.
    let years: ArrayRef = Arc::new(Int64Array::from_iter_values((0..20).map(|point| 1990 + point / 2)));
    let numbers: ArrayRef =
        Arc::new(Int64Array::from_iter_values((0..20).map(|point| if point % 2 == 0 { 10 } else { 9 })));
    let flags: ArrayRef = Arc::new(BooleanArray::from_iter((0..20).map(|point| Some(point % 2 == 0))));
    let with = |ids: &ArrayRef| {
        batch(&[("timestamp", Arc::clone(&years)), ("value", Arc::clone(&values)), ("id", Arc::clone(ids))])
    };
    let table = forecast(&try_fit(LEVEL.0, &WITH_ID, &with(&numbers)).unwrap(), 1, 0.5);
    assert_eq!(table.column(0).as_primitive::<Int64Type>().values(), &[9, 10]);
    assert_eq!(table.column(1).as_primitive::<Int64Type>().values(), &[2000, 2000]);
    let table = forecast(&try_fit(LEVEL.0, &WITH_ID, &with(&flags)).unwrap(), 1, 0.5);
    assert_eq!(table.column(0).as_boolean().iter().collect::<Vec<_>>(), [Some(false), Some(true)]);
}

#[test]
fn rows_without_a_time_an_id_or_a_number_are_not_taken() {
    let rows = batch(&[
        ("timestamp", Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(3), Some(4), Some(5)]))),
        (
            "value",
            Arc::new(Float64Array::from(vec![Some(1.0), Some(1.0), Some(1.0), Some(f64::NAN), Some(1e60), None])),
        ),
        ("id", Arc::new(StringArray::from(vec![Some("a"), Some("a"), None, Some("a"), Some("a"), Some("a")]))),
    ]);
    let mut model = try_model("arima", &[("time_series_id_col", "id")], &rows).unwrap();
    let rejected = model.add(&rows, &NullArray::new(6)).unwrap();
    let shown: Vec<String> = rejected.iter().map(|of| format!("{}: {}", of.row, of.reason)).collect();
    expect![[r#"
        1: column 'timestamp' is NULL, so the row belongs to no point of a series
        2: column 'id' is NULL, so the row belongs to no point of a series
        3: column 'value' is NaN
        4: column 'value' is infinite or exceeds 1e50"#]]
    .assert_eq(&shown.join("\n"));
    assert_eq!(model.rows(), 2);
}

#[test]
fn a_batch_of_other_types_is_an_error() {
    let rows = one_series(&[1.0; 20]);
    let mut model = try_model("arima", &[], &rows).unwrap();
    model.add(&rows, &NullArray::new(20)).unwrap();
    let other = |times: ArrayRef| batch(&[("timestamp", times), ("value", Arc::new(Float64Array::from(vec![1.0])))]);
    let error = |times: ArrayRef, model: &mut Box<dyn crate::BatchModel>| {
        model.add(&other(times), &NullArray::new(1)).unwrap_err()
    };
    let changed = error(Arc::new(Int64Array::from(vec![1])), &mut model);
    assert!(matches!(changed, MlError::ChangedColumn { .. }), "{changed}");
    let fraction = error(Arc::new(Float64Array::from(vec![1.5])), &mut model);
    expect!["feature column 'timestamp' has the unsupported type Float64; times are a TIMESTAMP, a DATE or whole numbers; cast it to one of these"]
        .assert_eq(&fraction.to_string());
    let missing = model.add(&rows.project(&[0]).unwrap(), &NullArray::new(20)).unwrap_err();
    assert!(matches!(missing, MlError::MissingColumn { .. }), "{missing}");
    assert_eq!(model.rows(), 20);
}

#[test]
fn it_answers_no_rows_and_forecasts_within_bounds() {
    let rows = one_series(&[1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    let model = restore_predictor(&try_fit(LEVEL.0, LEVEL.1, &rows).unwrap().model).unwrap();
    assert!(model.outputs("").is_empty());
    expect!["a model of type 'exponential_smoothing' answers no rows; ML.FORECAST(MODEL m, STRUCT(10 AS horizon)) says what comes after its training set"]
        .assert_eq(&model.answers(&rows).unwrap_err().to_string());
    for (horizon, level) in [(0, 0.9), (10_001, 0.9), (1, 0.0), (1, 1.0), (1, f64::NAN)] {
        assert!(matches!(model.forecast(horizon, level), Err(MlError::InvalidOption { .. })), "{horizon} {level}");
    }
    assert_eq!(model.forecast(10_000, 0.999).unwrap().unwrap().num_rows(), 10_000);
}

#[test]
fn values_that_a_forecast_makes_unlikely_are_anomalies() {
    let values: Vec<f64> = (0..40).map(|point| f64::from(point * point * 7919 % 101)).collect();
    let report = try_fit(LEVEL.0, &WITH_ID, &series_of(&[("a", &values), ("b", &[4.0; 6]), ("c", &[1.0])])).unwrap();
    let model = restore_predictor(&report.model).unwrap();
    let next = column(&forecast(&report, 1, 0.9), "forecast_value")[0];
    let error = column(&forecast(&report, 1, 0.9), "standard_error")[0];
    // The days from 2000-01-01: a point within the training set, the next of `a`, likely and not, and far ahead; NULL.
    let (first, next_day, far) = (10_957, 10_997, 30_000);
    let rows = batch(&[
        ("id", Arc::new(StringArray::from(vec!["a", "a", "a", "a", "a", "b", "b", "c", "nobody"]))),
        (
            "timestamp",
            Arc::new(Date32Array::from(vec![
                Some(first),
                Some(next_day),
                Some(next_day),
                Some(far),
                None,
                Some(first + 6),
                Some(first + 7),
                Some(first + 9),
                Some(first + 9),
            ])),
        ),
        (
            "value",
            Arc::new(Float64Array::from(vec![
                1.0,
                next + 1.9 * error,
                next - 2.1 * error,
                1.0,
                1.0,
                4.0,
                4.5,
                1.0,
                1.0,
            ])),
        ),
    ]);
    let said = anomalies_of(model.as_ref(), &rows, None).unwrap();
    let is_anomaly: Vec<Option<bool>> = said.column(0).as_boolean().iter().collect();
    assert_eq!(is_anomaly, [None, Some(false), Some(true), None, None, Some(false), Some(true), None, None]);
    let probabilities = said.column_by_name("anomaly_probability").unwrap().as_primitive::<Float64Type>();
    // scipy.stats.norm: 1 - 2 * sf(1.9), 1 - 2 * sf(2.1).
    assert!((probabilities.value(1) - 0.942_566_880_367_996_4).abs() < 1e-12, "{probabilities:?}");
    assert!((probabilities.value(2) - 0.964_271_158_874_366_9).abs() < 1e-12, "{probabilities:?}");
    let table = forecast(&report, 1, 0.95);
    for (name, bound) in
        [("lower_bound", "prediction_interval_lower_bound"), ("upper_bound", "prediction_interval_upper_bound")]
    {
        let found = said.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(1);
        assert_eq!(found, column(&table, bound)[0]);
    }
    // Other units and types of the same times and ids.
    let seconds = rows.column(1).as_primitive::<Date32Type>().iter().map(|day| day.map(|day| i64::from(day) * 86_400));
    let other = batch(&[
        ("timestamp", Arc::new(TimestampSecondArray::from_iter(seconds))),
        ("value", Arc::clone(rows.column(2))),
        ("id", arrow::compute::cast(rows.column(0), &DataType::Utf8View).unwrap()),
    ]);
    assert_eq!(anomalies_of(model.as_ref(), &other, None).unwrap(), said);
}

#[test]
fn who_cannot_tell_anomalies_says_so() {
    let rows = one_series(&[1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    let model = restore_predictor(&try_fit(LEVEL.0, LEVEL.1, &rows).unwrap().model).unwrap();
    for threshold in [-0.1, 1.0, f64::NAN] {
        let error = anomalies_of(model.as_ref(), &rows, Some(threshold)).unwrap_err();
        assert!(matches!(error, MlError::InvalidOption { .. }), "{error}");
    }
    let missing = anomalies_of(model.as_ref(), &rows.project(&[0]).unwrap(), None).unwrap_err();
    assert!(matches!(missing, MlError::MissingColumn { .. }), "{missing}");
    let features = rows.project(&[1]).unwrap();
    let fitted = |model_type: &str| {
        restore_predictor(&try_fit(model_type, &[("num_clusters", "2")], &features).unwrap().model).unwrap()
    };
    expect!["a model of type 'kmeans' does not tell anomalies; those of arima, exponential_smoothing, half_space_trees, isolation_forest, one_class_svm and robust_zscore do"]
        .assert_eq(&anomalies_of(fitted("kmeans").as_ref(), &features, None).unwrap_err().to_string());
    let trees = restore_predictor(&try_fit("isolation_forest", &[], &features).unwrap().model).unwrap();
    assert_eq!(anomalies_of(trees.as_ref(), &features, None).unwrap().num_columns(), 2);
    expect!["option anomaly_prob_threshold = '0.9' is not valid; expected nothing: what an anomaly is was said in CREATE MODEL"]
        .assert_eq(&anomalies_of(trees.as_ref(), &features, Some(0.9)).unwrap_err().to_string());
}

#[test]
fn a_table_of_many_series_has_an_end() {
    let names: Vec<String> = (0..500).map(|name| format!("series {name}")).collect();
    let series: Vec<(&str, &[f64])> = names.iter().map(|name| (name.as_str(), &[4.0; 4][..])).collect();
    let model = restore_predictor(&try_fit(LEVEL.0, &WITH_ID, &series_of(&series)).unwrap().model).unwrap();
    expect!["option horizon = '8001' is not valid; expected a number from 1 to 8000"]
        .assert_eq(&model.forecast(8_001, 0.9).unwrap_err().to_string());
    assert_eq!(model.forecast(2, 0.9).unwrap().unwrap().num_rows(), 1000);
}

#[test]
fn sets_without_a_series_are_an_error() {
    let none = one_series(&[]);
    assert!(matches!(try_fit("arima", &[], &none), Err(MlError::NoRows)));
    let missing = one_series(&[f64::NAN; 20]);
    expect![
        "none of the 1 series can be forecast; the first, '': it has 0 values at equal distances, which are too few"
    ]
    .assert_eq(&try_fit("arima", &[], &missing).unwrap_err().to_string());
}

#[test]
fn times_are_features_of_series_alone() {
    let rows = one_series(&[1.0; 3]);
    assert!(matches!(FeatureSchema::from_arrow(&rows.schema()), Err(MlError::UnsupportedFeature { .. })));
    let schema = FeatureSchema::with_times(&rows.schema()).unwrap();
    let error = create_batch("kmeans", &Default::default(), &schema, &DataType::Null).err().unwrap();
    expect!["feature column 'timestamp' is a time, which a model of type 'kmeans' does not read; cast it to DOUBLE PRECISION or VARCHAR"]
        .assert_eq(&error.to_string());
    let online = crate::create("logistic_reg", &Default::default(), &schema, &DataType::Boolean);
    assert!(matches!(online, Err(MlError::TimeFeature { .. })));
}

#[test]
fn the_last_times_that_a_column_holds_are_null_behind() {
    let last = i64::MAX - 2;
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values((0..9).map(|back| last - back)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..9).map(|point| f64::from(point % 2))));
    let report = try_fit(LEVEL.0, LEVEL.1, &batch(&[("timestamp", times), ("value", values)])).unwrap();
    let table = forecast(&report, 4, 0.9);
    let times: Vec<Option<i64>> = table.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(times, [Some(last + 1), Some(last + 2), None, None]);
    assert_eq!(column(&table, "forecast_value").len(), 4);
}

/// Settings of both kinds, with and without seasons.
const SETTINGS: [(&str, &[(&str, &str)]); 6] = [
    ("arima", &[("auto_arima_max_order", "2")]),
    ("arima", &[("non_seasonal_order", "0,1,1")]),
    ("arima", &[("seasonality", "4"), ("auto_arima_max_order", "1"), ("max_iterations", "20")]),
    ("arima", &[("seasonality", "4"), ("non_seasonal_order", "1,0,1"), ("seasonal_order", "1,1,1")]),
    ("exponential_smoothing", &[]),
    ("exponential_smoothing", &[("seasonality", "4"), ("max_iterations", "50")]),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn short_series_have_finite_forecasts_or_none(
        values in prop::collection::vec(prop::option::weighted(0.8, -3_i8..30), 0..24),
        setting in 0..SETTINGS.len(),
        scale in prop::sample::select(vec![1e-6, 1.0, 1e9]),
    ) {
        let values: Vec<f64> = values.into_iter().map(|of| of.map_or(f64::NAN, |of| scale * f64::from(of))).collect();
        let (model_type, options) = SETTINGS[setting];
        match try_fit(model_type, options, &one_series(&values)) {
            Ok(report) => {
                let table = forecast(&report, 9, 0.9);
                for name in ["forecast_value", "prediction_interval_lower_bound", "prediction_interval_upper_bound"] {
                    prop_assert!(column(&table, name).iter().all(|value| value.is_finite()), "{values:?}");
                }
            }
            Err(error) => prop_assert!(matches!(error, MlError::NoRows | MlError::NoForecasts { .. }), "{error}"),
        }
    }
}
